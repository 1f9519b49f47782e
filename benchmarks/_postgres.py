"""A PostgreSQL server of its own on loopback, from Debian's packages; for Dagster's records.

Belongs here: starting, stopping and looking at it. Does not belong here: what is kept in it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._dagster_server import free_ports

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
USER, DATABASE = "dagster", "postgres"


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Attributes:
        folder: Its data, log and socket.
        port: On 127.0.0.1.
        password: Of the one user.
        as_user: What a command is started by, as the server refuses root.
    """

    folder: Path
    port: int
    password: str
    as_user: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What `deploy/ray/dagster.yaml` and `deploy/compose/dagster.yaml` ask of the environment."""
        return {
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": self.password,
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_DB": DATABASE,
        }

    def start(self) -> None:
        """Start it; returns when it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self.call("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it as a power cut does; connections break."""
        self.call("pg_ctl", "-m", "immediate", "stop")

    def is_up(self) -> bool:
        """Return whether it runs."""
        try:
            os.kill(int((self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0]), 0)
        except (OSError, ValueError, IndexError):
            return False
        return True

    def connections(self) -> int:
        """Return how many connections clients hold at this moment, this one left out."""
        import psycopg2

        where = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": self.password, "dbname": DATABASE}
        connection = psycopg2.connect(connect_timeout=10, **where)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
                return int(cursor.fetchone()[0]) - 1
        finally:
            connection.close()

    def call(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs.

        Raises:
            RuntimeError: It failed.
        """
        command = [*self.as_user, str(SERVERS[-1] / program), "-D", str(self.folder / "data"), *arguments]
        # not through pipes: the server would inherit them, and whoever reads would wait for as long as it runs
        with (self.folder / "said").open("w+", encoding="utf-8") as said:
            done = subprocess.run(command, stdout=said, stderr=said, check=False, cwd="/", timeout=120)
            if done.returncode:
                said.seek(0)
                raise RuntimeError(f"{program} ended with status {done.returncode}: {said.read()}")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Yield a server with one user and an empty database; the block ends it and removes its files.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """
    if not SERVERS:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="geoloc-postgres-"))
    as_user: tuple[str, ...] = ()
    if os.geteuid() == 0:
        as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        shutil.chown(folder, "postgres", "postgres")
    [port] = free_ports(1)
    server = Postgres(folder, port, secrets.token_hex(16), as_user)
    try:
        secret = folder / "secret"
        secret.write_text(server.password, encoding="utf-8")
        if as_user:
            shutil.chown(secret, "postgres", "postgres")
        secret.chmod(0o600)
        with_password = ("-A", "scram-sha-256", f"--pwfile={secret}")
        server.call("initdb", "-U", USER, *with_password, "-E", "UTF8", "--locale=C", "--no-sync")
        server.start()
        yield server
    finally:
        if server.is_up():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""A small Ray cluster on this machine: a head and some nodes, each of them a process of its own on loopback ports.

Belongs here: starting, killing and ending nodes; whoever knows the token may hand jobs to them.
Does not belong here: what the jobs are, and where their records are.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks._dagster_server import PATIENCE_S, StuckError, free_ports, tool
from geoloc_pipeline.orchestration.needs import NETWORK

GIB = 1 << 30
STORE_BYTES = 80 << 20
"""Ray's least; the runs hand nothing to each other in memory."""

MARK = "GEOLOC_BENCHMARK_NODE"
"""In the environment of every process of a node."""


@dataclass(frozen=True)
class NodeSize:
    """What a node says it has. Ray believes it: nothing of it is reserved or measured.

    Attributes:
        cpus: Cores.
        gpus: GPUs; a node of a demo may claim one that it has not, so that what asks for one finds a place.
        network: Slots for runs that speak to a service.
        memory_bytes: Memory.
    """

    cpus: int = 1
    gpus: int = 0
    network: int = 1
    memory_bytes: int = 32 * GIB


HEAD = NodeSize(cpus=0, network=0, memory_bytes=GIB)
"""The head takes no runs: when it does, they go with it."""


@dataclass
class RayCluster:
    """A running cluster.

    Attributes:
        folder: Of Ray's own files and logs.
        environment: Of every node, and so of every run: the home, the way to the records, the keys.
        port: Of the head.
        dashboard: Port of the head's HTTP door, at which jobs are handed in.
        sizes: Of the nodes, by name.
        processes: `ray start` of each node that was started and not ended, by name.
    """

    folder: Path
    environment: dict[str, str]
    port: int
    dashboard: int
    sizes: dict[str, NodeSize]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where jobs are handed in."""
        return f"http://127.0.0.1:{self.dashboard}"

    def log(self, name: str) -> Path:
        """Return the file that takes what a node says."""
        return self.folder / f"ray-{name}.log"

    def host(self, name: str) -> str:
        """Return a node's own address; 127.0.0.1 will not do, Ray would take the machine's outer address instead."""
        return f"127.0.1.{1 + list(self.sizes).index(name)}"

    def start(self, name: str) -> None:
        """Start a node, as a container or a unit of systemd would: `ray start --block`."""
        size = self.sizes[name]
        resources = json.dumps({NETWORK: size.network} if size.network else {})
        agent, grpc, environment_agent, metrics = free_ports(4)
        command = [
            tool("ray"), "start", "--block", "--disable-usage-stats", f"--node-ip-address={self.host(name)}",
            f"--num-cpus={size.cpus}", f"--num-gpus={size.gpus}", f"--memory={size.memory_bytes}",
            f"--object-store-memory={STORE_BYTES}", f"--resources={resources}",
            f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}",
            f"--runtime-env-agent-port={environment_agent}", f"--metrics-export-port={metrics}",
        ]  # fmt: skip
        if name == "head":
            command += [
                "--head", f"--port={self.port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}",
                f"--temp-dir={self.folder}",
            ]  # fmt: skip
        else:
            command.append(f"--address={self.host('head')}:{self.port}")
        own = {MARK: self.mark(name), "GEOLOC_WORKING_COPIES": str(self.folder / f"copies-{name}")}
        environment = {**self.environment, **own}
        with self.log(name).open("a", encoding="utf-8") as stream:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )

    def ask(self, path: str) -> Any:
        """Return what the head answers; None when it does not."""
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        try:
            return httpx.get(f"{self.address}{path}", headers=token, timeout=10, trust_env=False).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None

    def alive(self) -> int:
        """Return how many nodes the head takes for alive; 0 when it does not answer."""
        told = self.ask("/nodes?view=summary")
        return sum(node["raylet"].get("state") == "ALIVE" for node in told["data"]["summary"]) if told else 0

    def began_s(self, submission: str) -> float:
        """Return when a job had its place and its supervisor, in seconds since 1970, from Ray's own log.

        Raises:
            StuckError: The log does not tell.
        """
        for path in self.folder.glob(f"session_*/logs/jobs/supervisor-{submission}.log"):
            if found := re.match(r"\S+ \S+", path.read_text(encoding="utf-8")):
                return datetime.strptime(found[0], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
        raise StuckError(f"Ray's log knows no supervisor of {submission}\n{self.logs()}")

    def node_of(self, submission: str) -> str:
        """Return the name of the node on which a job runs or ran; empty when nobody knows."""
        address = str((self.ask(f"/api/jobs/{submission}") or {}).get("driver_agent_http_address") or "")
        return next((name for name in self.sizes if f"//{self.host(name)}:" in address), "")

    def wait(self) -> None:
        """Wait until every node that was started has joined.

        Raises:
            StuckError: One has not, or has ended.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while self.alive() < len(self.processes):
            if time.monotonic() > deadline_s or any(process.poll() is not None for process in self.processes.values()):
                raise StuckError(f"the Ray cluster does not come up\n{self.logs()}")
            time.sleep(0.5)

    def processes_of(self, name: str) -> list[psutil.Process]:
        """Return everything that runs on a node, whoever started it: Ray's processes, the runs, and what those have started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark(name):
                    found.append(process)
        return found

    def mark(self, name: str) -> str:
        """Return what tells the processes of a node from all others of this machine."""
        return f"{self.folder}/{name}"

    def kill(self, name: str) -> None:
        """Take a node away, as a power cut does: everything of it at once, the runs on it included."""
        process = self.processes.pop(name, None)
        kill_all(self.processes_of(name))
        if process is not None:
            process.wait()

    def mend(self) -> None:
        """Start the nodes that are gone, as systemd or KubeRay would; one that lost its head ends by itself.

        Raises:
            StuckError: They do not come up.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while self.alive() < len(self.sizes):
            if time.monotonic() > deadline_s:
                raise StuckError(f"the Ray cluster does not come back\n{self.logs()}")
            for name in self.sizes:
                process = self.processes.get(name)
                if process is None or process.poll() is not None:
                    self.kill(name)
                    self.start(name)
                    break  # the head before the others, and one after the other
            time.sleep(2)

    def end(self) -> None:
        """End every node; runs on them end as well."""
        for name in reversed(self.sizes):
            self.kill(name)

    def logs(self) -> str:
        """Return the last of what the nodes have said."""
        said = {path.name: path.read_text(encoding="utf-8", errors="replace")[-3000:] for path in self.folder.glob("ray-*.log")}
        return "\n".join(f"--- {name}\n{text}" for name, text in said.items())


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill processes, all stopped first, so that none starts another meanwhile; those that are gone already are no fault."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def ray_cluster(sizes: Mapping[str, NodeSize], environment: Mapping[str, str]) -> Iterator[RayCluster]:
    """Yield a cluster of a head and the named nodes; the block ends all of it.

    Args:
        sizes: Of the nodes, by name.
        environment: Of every node.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray's sockets stand in it, and their names may have 107 bytes
    port, dashboard = free_ports(2)
    told = {
        **environment,
        "PATH": f"{Path(tool('dagster')).parent}:{environment.get('PATH', os.defpath)}",  # where runs find `dagster`
        "RAY_memory_monitor_refresh_ms": "0",  # it would kill runs when others fill the memory of this machine
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    cluster = RayCluster(folder, told, port, dashboard, {"head": HEAD, **sizes})
    try:
        for name in cluster.sizes:
            cluster.start(name)
            cluster.wait()  # one after the other: nodes of one machine that start together trip over each other's sockets
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def environment_without_ray() -> dict[str, str]:
    """Return this process's environment without what somebody has set for another cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}

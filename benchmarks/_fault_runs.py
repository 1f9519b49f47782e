"""Runs that are disturbed: each a process of its own that can be killed, beside a disk that can be filled or shut.

A run is the very one that `geoloc demo` and the UI start (`running.worker.materialise`). Its process is forked from this one,
which has imported everything, so that a hundred runs take minutes and not hours.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.orchestration.running.chain import Run
from geoloc_pipeline.storage.layout import Home

PATIENCE_S = 300.0
"""No run of a small world takes so long; one that does hangs."""


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        kind: `done`, `refused` (an error of ours), `not ours` (any other), `killed`, or `hung`.
        said: The error.
        seconds: How long it took.
    """

    kind: str
    said: str
    seconds: float


class Disk:
    """A disk of its own for a home: can be filled up and made read-only. Needs root; without, a plain folder that cannot.

    Attributes:
        path: Where it is.
        is_real: Whether it can be filled and shut.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.is_real = self._mount("-t", "tmpfs", "-o", "size=2g", "tmpfs")

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_real:
            subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)

    def _mount(self, *how: str) -> bool:
        return subprocess.run(["mount", *how, self.path], check=False, capture_output=True).returncode == 0

    @contextmanager
    def full(self, *, spare_bytes: int) -> Iterator[None]:
        """Leave so much room and no more, for a while."""
        stopper = self.path / "stopper"
        used = shutil.disk_usage(self.path)
        with stopper.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(used.free - spare_bytes, 4096))
        try:
            yield
        finally:
            stopper.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nobody write, for a while."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._mount("-o", "remount,ro"):  # somebody still has a file open for writing: a trainer that was orphaned
            if time.monotonic() > deadline_s:
                raise OSError(f"{self.path} cannot be made read-only")
            time.sleep(0.5)
        try:
            yield
        finally:
            self._mount("-o", "remount,rw")


class Going:
    """A run on its way, in a process of its own."""

    def __init__(self, home: Home, run: Run, log: Path) -> None:
        reader, writer = os.pipe()
        self._began_s = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            _do_and_leave(home, run, log, writer)
        os.close(writer)
        self._reader, self._killed = reader, False

    def kill(self) -> None:
        """End it as `kill -9` does; what it started has to see for itself."""
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, *, at_most_s: float = PATIENCE_S) -> Ending:
        """Return how it ended; one that goes on for too long is killed."""
        is_heard = select.select([self._reader], [], [], at_most_s)[0]
        if not is_heard:
            os.kill(self.pid, signal.SIGKILL)
        with os.fdopen(self._reader, encoding="utf-8") as stream:
            said = stream.read() if is_heard else ""
        os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self._began_s
        if said:
            kind, words = json.loads(said)
            return Ending(kind, words, seconds)
        return Ending("killed" if self._killed else "hung" if not is_heard else "not ours", "the process died", seconds)


def aside(call: Callable[[], Any]) -> Any:
    """Return what a call returns in a forked process: engines start threads, and a process with threads is not to be forked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with os.fdopen(writer, "w", encoding="utf-8") as stream:
            try:
                json.dump(call(), stream)
            except Exception:  # noqa: BLE001 - told by its trace
                traceback.print_exc()
                stream.flush()
                os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return json.loads(said)


def _do_and_leave(home: Home, run: Run, log: Path, writer: int) -> None:
    """Be the child: do the run, tell how it ended, and leave without a look back."""
    from geoloc_pipeline.orchestration.running.worker import materialise

    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ |= {"GEOLOC_HOME": str(home.root), "GEOLOC_PROFILE": "demo"}
    try:
        materialise(list(run.assets), run.partition, run.until)
        ending = ("done", "")
    except GeolocError as error:
        ending = ("refused", f"{type(error).__name__}: {error}")
    except BaseException as error:  # noqa: BLE001 - the question is just what else there is
        traceback.print_exc()
        ending = ("not ours", f"{type(error).__name__}: {error}"[:600])
    os.write(writer, json.dumps(ending).encode())
    os._exit(0)


def damaged(path: Path, how: str) -> Callable[[], None]:
    """Damage a file and return what mends it.

    Args:
        path: The file.
        how: `lost`, `cut` (its second half is gone) or `flipped` (one byte in the middle is another).

    Returns:
        Puts the file back as it was, its times too.
    """
    data, times = path.read_bytes(), path.stat()
    if how == "lost":
        path.unlink()
    else:
        middle = len(data) // 2
        spoilt = data[:middle] if how == "cut" else data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]
        path.write_bytes(spoilt)

    def mend() -> None:
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return mend

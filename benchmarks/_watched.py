"""Runs cases in processes that are watched: time, memory, and deaths are told, and cost no other case its turn."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from benchmarks._doors import DOORS, case
from geoloc_pipeline.errors import GeolocError

MOST_S = 10.0
"""Processor time of one case. Waiting for nothing counts too, at a sixth: other people's processes may hold the cores."""
MOST_BYTES = 2 * 2**30
CASES_A_PROCESS = 400


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        door: Its door.
        number: Its number there.
        kind: `accepted`, `refused`, `not ours`, `died`, `slow` or `memory`.
        seconds: Processor time.
        peak_bytes: Most memory that the process held meanwhile, beyond what it had held before.
        detail: The error, with its last lines of traceback where it is not ours.
    """

    door: str
    number: int
    kind: str
    seconds: float
    peak_bytes: int
    detail: str


def run_case(door: str, number: int, seeds: Path) -> Outcome:
    """Run one case in this process."""
    data, name = case(door, number, seeds)
    _peak_bytes()  # whatever the process did before is not this case's
    held, began = _peak_bytes(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="case-") as scratch:
        kind, detail = _entered(door, data, name, Path(scratch), seeds)
    seconds, peak_bytes = time.process_time() - began, max(_peak_bytes() - held, 0)
    if kind in {"accepted", "refused"} and seconds > MOST_S:
        kind = "slow"
    if kind in {"accepted", "refused"} and peak_bytes > MOST_BYTES:
        kind = "memory"
    return Outcome(door, number, kind, seconds, peak_bytes, detail)


def _entered(door: str, data: bytes, name: str, scratch: Path, seeds: Path) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            DOORS[door].enter(data, name, scratch, seeds)
    except (GeolocError, *DOORS[door].refusals) as error:
        return "refused", f"{type(error).__name__}: {error}"[:200]
    except MemoryError:
        return "memory", traceback.format_exc()[-900:]
    except BaseException as error:  # the question is just what else there is
        if isinstance(error, KeyboardInterrupt):
            raise
        return "not ours", traceback.format_exc()[-900:]
    return "accepted", ""


def _peak_bytes() -> int:
    """Return the most memory that the process has held since the last call, and forget it."""
    said = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(said.split("VmHWM:", 1)[1].split()[0]) * 1024
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak


def _work(seeds: Path, orders: Connection, told: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.disable(logging.CRITICAL)
    quiet = os.open(seeds / f"worker-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    with contextlib.redirect_stdout(io.StringIO()):
        _limit_memory()
        told.send(None)  # ready
        while (order := orders.recv()) is not None:
            told.send(run_case(*order, seeds))


def _limit_memory() -> None:
    import cv2  # noqa: F401  the heavy libraries map their own memory before the limit is set
    import duckdb  # noqa: F401
    import geopandas  # noqa: F401
    import torch  # noqa: F401

    held = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (held + 12 * 2**30,) * 2)  # DuckDB maps far more than it holds


class _Worker:
    def __init__(self, seeds: Path) -> None:
        context = multiprocessing.get_context("spawn")
        theirs, self._orders = context.Pipe(duplex=False)
        self.told, told = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(seeds, theirs, told))
        self._process.start()
        theirs.close()
        told.close()
        self._log = seeds / f"worker-{self._process.pid}.log"
        self.told.recv()
        self.order: tuple[str, int] | None = None
        self.done, self._began, self._cpu_s = 0, 0.0, 0.0

    def begin(self, order: tuple[str, int]) -> None:
        self.order, self._began, self._cpu_s = order, time.monotonic(), self._spent_s()
        self._orders.send(order)

    def result(self) -> Outcome | None:
        """Return what came of the order; None while it is at work."""
        door, number = self.order or ("", 0)
        try:
            if self.told.poll():
                outcome: Outcome = self.told.recv()
                self.order, self.done = None, self.done + 1
                return outcome
        except EOFError:
            self._process.join()
            last = self._log.read_text(encoding="utf-8", errors="replace")[-600:]
            return Outcome(door, number, "died", 0.0, 0, f"exit code {self._process.exitcode}: {last}")
        first_s = 20.0 if self.done == 0 else 0.0  # libraries load in the first case
        if self._spent_s() - self._cpu_s > MOST_S + first_s or time.monotonic() - self._began > 6 * (MOST_S + first_s):
            seconds = self._spent_s() - self._cpu_s
            self.end()
            return Outcome(door, number, "slow", seconds, 0, "was ended")
        return None

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def _spent_s(self) -> float:
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return self._cpu_s
        return float(times.user + times.system)


def run_watched(orders: Sequence[tuple[str, int]], seeds: Path, *, workers: int = 1) -> Iterator[Outcome]:
    """Yield what came of each case, as they end.

    Args:
        orders: Doors and numbers.
        seeds: Folder of `grow_seeds`.
        workers: Processes at once.
    """
    left = list(reversed(orders))
    staff = [_Worker(seeds) for _ in range(min(workers, len(left)))]
    try:
        while staff:
            for worker in staff:
                if worker.order is None and left:
                    worker.begin(left.pop())
            staff = [worker for worker in staff if worker.order is not None or _dismissed(worker)]
            wait([worker.told for worker in staff], timeout=0.5)
            for place, worker in enumerate(staff):
                outcome = worker.result()
                if outcome is None:
                    continue
                yield outcome
                if not worker.is_alive() or worker.done >= CASES_A_PROCESS or outcome.kind in {"died", "slow", "memory"}:
                    worker.end()
                    staff[place] = _Worker(seeds) if left else worker
                    staff[place].order = None
    finally:
        for worker in staff:
            worker.end()


def _dismissed(worker: _Worker) -> bool:
    worker.end()
    return False

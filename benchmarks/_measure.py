"""Measuring: each case in a process of its own, so that one case's memory is not another's."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cost:
    """What a call took.

    Attributes:
        cpu_s: Seconds of processor time, all threads.
        wall_s: Seconds on the clock.
        grown_bytes: By how much the call raised the process' peak memory above what it held before.
        peak_bytes: Peak memory of the whole process, input included.
        result: What the call returned; must be small.
    """

    cpu_s: float
    wall_s: float
    grown_bytes: int
    peak_bytes: int
    result: Any


def cost_of(call: Callable[[], Any], *, best_of: int = 1) -> Cost:
    """Return what a call takes in this process; of several, the one with the least processor time."""
    costs = []
    for _ in range(best_of):
        before = _peak_bytes()
        cpu_s, wall_s = time.process_time(), time.monotonic()
        result = call()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        costs.append(Cost(cpu_s, wall_s, _peak_bytes() - before, _peak_bytes(), result))
    best = min(costs, key=lambda cost: cost.cpu_s)
    return Cost(best.cpu_s, best.wall_s, max(cost.grown_bytes for cost in costs), best.peak_bytes, best.result)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def apart(case: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `case(*arguments)` returns in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(case, arguments)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return k of seconds ~ size^k, by least squares on logarithms: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(value) for value in row)} |" for row in rows)])

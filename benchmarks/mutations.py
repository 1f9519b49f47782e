"""Spoilt files through every public entry point: is each one taken, or turned away in our own words?

`python -m benchmarks.mutations [--cases 10000] [--workers 2] [--door NAME] [--number N]`

Each case is a valid file, spoilt by a number: the same number gives the same bytes, and `--door NAME --number N` shows it.
A case is bad when something else than our own errors comes out, the process dies, it takes more than 10 seconds of processor
time, or holds more than 2 GB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks._doors import DOORS, count_of
from benchmarks._measure import table
from benchmarks._seeds import grow_seeds
from benchmarks._watched import Outcome, run_case, run_watched

BAD = ("not ours", "died", "slow", "memory")


def main() -> None:
    """Run the cases and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--door", choices=sorted(DOORS))
    parser.add_argument("--number", type=int)
    parser.add_argument("--seeds", type=Path, help="where grown seeds stay between runs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = chosen.seeds or Path(scratch)
        if not (seeds / "world").exists():
            grow_seeds(seeds)
        names = [chosen.door] if chosen.door else list(DOORS)
        if chosen.number is not None:
            for name in names:
                print(run_case(name, chosen.number, seeds))
            return
        orders = [(name, number) for name in names for number in range(count_of(name, chosen.cases))]
        began = time.monotonic()
        outcomes = []
        for outcome in run_watched(orders, seeds, workers=chosen.workers):
            outcomes.append(outcome)
            if outcome.kind in BAD:
                print(f"<!-- {outcome} -->", flush=True)
    print(_told(outcomes))
    print(f"\n{len(outcomes):,} cases in {time.monotonic() - began:,.0f} s; {sum(one.kind in BAD for one in outcomes)} bad")


def _told(outcomes: list[Outcome]) -> str:
    rows = []
    for name, door in DOORS.items():
        own = [outcome for outcome in outcomes if outcome.door == name]
        if own:
            kinds = Counter(outcome.kind for outcome in own)
            slowest, largest = max(one.seconds for one in own), max(one.peak_bytes for one in own) / 2**20
            counts = [kinds[kind] for kind in ("refused", "accepted", *BAD)]
            rows.append([door.format, len(own), *counts, f"{slowest:.2f}", f"{largest:.0f}"])
    header = [
        "format",
        "cases",
        "refused cleanly",
        "accepted",
        "not ours",
        "died",
        "slow",
        "memory",
        "slowest, CPU s",
        "most MB",
    ]
    return table(header, rows)


if __name__ == "__main__":
    main()

"""The whole demo, seed after seed: seconds, peak memory, what it learned; then again, where nothing may be recomputed.

python -m benchmarks.chain --seeds 0 1 2
The peer of the learned answer is in the table itself: the mean position, and the same encoder untrained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil


def watched(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and the peak memory of all its processes together, in bytes.

    Pages that processes share are counted once (proportional set size).
    """
    started_s, peak = time.monotonic(), [0.0]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def watch() -> None:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            try:
                for one in [root, *root.children(recursive=True)]:
                    total += one.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            peak[0] = max(peak[0], total)
            time.sleep(0.5)  # reading the map of a large process takes a while

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    status = process.wait()
    thread.join()
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return time.monotonic() - started_s, peak[0]


def table_hash(home: Path) -> str:
    """Return one hash over the bytes of every table."""
    digest = hashlib.sha256()
    for path in sorted((home / "tables").rglob("*.parquet")):
        digest.update(str(path.relative_to(home)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, default=None, help="folder for the homes; a temporary one when absent")
    told = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    columns = ("seed", "first, s", "peak, GB", "panoramas", "again, s", "same bytes", "mean position, km", "untrained, km")
    columns += ("default, km", "of mean", "of untrained", "within 25 km")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    with tempfile.TemporaryDirectory() as scratch:
        for seed in told.seeds:
            home = (told.keep or Path(scratch)) / f"seed{seed}"
            command = [str(Path(sys.executable).with_name("geoloc")), "demo", "--home", str(home), "--seed", str(seed)]
            first_s, peak = watched(command)
            before = table_hash(home)
            again_s, _ = watched(command)
            summary = json.loads((home / "reports" / "summary.json").read_text(encoding="utf-8"))
            rows = {row["name"]: row for row in summary["results"]}
            best, mean, untrained = rows[summary["default_readout"]], rows["mean_position"], rows["untrained"]
            share = 100 * best["median_km"]
            cells = (
                seed,
                f"{first_s:.0f}",
                f"{peak / 1e9:.2f}",
                f"{summary['counts']['panoramas']:,}",
                f"{again_s:.0f}",
                "yes" if table_hash(home) == before else "NO",
                f"{mean['median_km']:.0f}",
                f"{untrained['median_km']:.0f}",
                f"{best['median_km']:.1f} ({summary['default_readout']})",
                f"{share / mean['median_km']:.1f} %",
                f"{share / untrained['median_km']:.1f} %",
                f"{best['within_25_km_pct']:.0f} %",
            )
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()

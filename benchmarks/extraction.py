"""One prefecture's geographic half on real maps and on grown ones, and how much of it is QuackOSM's own.

python -m benchmarks.extraction --maps FILE.osm.pbf ... [--sizes 1000 10000 100000]
Each map is one made-up prefecture of 5,000 town blocks over its whole extent. `after extraction` is road and landmark points,
and sample points. The peer is QuackOSM itself on the same file, same tags, without an area: what a user would call by hand.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks._measure import apart, exponent, table
from benchmarks.country import Streets, grow_streets, towns_table, write_pbf


def _extent(dump: Path) -> Streets:
    """Return two corners as streets, so that `towns_table` covers the dump."""
    import osmium

    box = osmium.io.Reader(str(dump), osmium.osm.osm_entity_bits.NOTHING).header().box()
    corners = [(box.bottom_left.lon, box.bottom_left.lat), (box.top_right.lon, box.top_right.lat)] if box.valid() else None
    if corners is None:
        low, high = np.array([np.inf, np.inf]), np.array([-np.inf, -np.inf])
        for node in osmium.FileProcessor(str(dump), osmium.osm.NODE):
            if node.location.valid():
                at = np.array([node.location.lon, node.location.lat])
                low, high = np.minimum(low, at), np.maximum(high, at)
        corners = [tuple(low), tuple(high)]
    return Streets(np.array(corners), np.array([2]), np.array([-1]), np.array(["residential"], dtype=object))


def half(dump: Path) -> dict[str, Any]:
    """Return seconds of the parts of one prefecture's geographic half, the peak memory of all processes, and counts."""
    from geoloc_pipeline.osm.extract import extract_map
    from geoloc_pipeline.sampling.clusters import cluster_points
    from geoloc_pipeline.sampling.landmarks import sample_landmarks
    from geoloc_pipeline.sampling.roads import sample_roads

    towns = towns_table(_extent(dump), 5_000)
    with _Watch() as watch, tempfile.TemporaryDirectory() as scratch:
        started_s = time.monotonic()
        roads, landmarks = extract_map(
            dump, towns, prefecture_code="13", scratch=Path(scratch) / "work", memory_limit_bytes=1_000_000_000
        )
        extracted_s = time.monotonic()
        points = sample_roads(roads, towns), sample_landmarks(landmarks, towns)
        sample = cluster_points(*points, prefecture_code="13")
        ended_s = time.monotonic()
    return {
        "extraction": extracted_s - started_s, "after": ended_s - extracted_s, "peak": watch.peak_bytes,
        "ways": len(roads), "landmarks": len(landmarks), "points": len(points[0]) + len(points[1]), "sample": len(sample),
    }  # fmt: skip


def bare(dump: Path) -> float:
    """Return the seconds that QuackOSM takes for the same tags, without an area."""
    import quackosm

    from geoloc_pipeline.osm.spatial import ensure_spatial
    from geoloc_pipeline.osm.tags import tags_filter

    ensure_spatial()
    with tempfile.TemporaryDirectory() as scratch:
        started_s = time.monotonic()
        quackosm.convert_pbf_to_parquet(
            dump, tags_filter=tags_filter(), keep_all_tags=True, explode_tags=False, ignore_cache=True, verbosity_mode="silent",
            result_file_path=Path(scratch) / "out.parquet", working_directory=Path(scratch) / "work",
        )  # fmt: skip
        return time.monotonic() - started_s


class _Watch:
    """Samples the memory of this process and its children, shared pages counted once."""

    def __enter__(self) -> _Watch:
        self.peak_bytes, self._is_over = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        root = psutil.Process()
        while not self._is_over.wait(0.2):
            total = 0
            for one in [root, *root.children(recursive=True)]:
                try:
                    total += one.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.peak_bytes = max(self.peak_bytes, total)


def _measured(dump: Path, name: str) -> tuple[list[str], float]:
    found, alone_s = _in_child(half, dump), _in_child(bare, dump)
    whole_s = found["extraction"] + found["after"]
    row = [
        name,
        f"{found['ways']:,}",
        f"{found['landmarks']:,}",
        f"{found['points']:,}",
        f"{found['sample']:,}",
        f"{whole_s:.1f}",
    ]
    row += [f"{found['extraction']:.1f}", f"{alone_s:.1f}", f"{found['after']:.2f}", f"{found['peak'] / 1e9:.2f}"]
    return row, whole_s


def _in_child(case: Any, dump: Path) -> Any:
    """Return what the case returns in a process that may start processes of its own, as QuackOSM does."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, case, dump))
    process.start()
    sender.close()  # so that a child that dies ends the wait
    found = receiver.recv()
    process.join()
    return found


def _send(sender: Any, case: Any, dump: Path) -> None:
    sender.send(case(dump))


def _write_grown(n_ways: int, path: Path) -> None:
    write_pbf(grow_streets(n_ways), path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, nargs="*", default=[])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="ways of grown maps")
    told = parser.parse_args()
    rows = [_measured(path, path.name)[0] for path in told.maps]
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in told.sizes:
            path = Path(scratch) / f"grown-{size}.osm.pbf"
            apart(_write_grown, size, path)
            row, whole_s = _measured(path, f"grown, {size:,} ways, {path.stat().st_size / 1e6:.1f} MB")
            rows.append(row)
            seconds.append(whole_s)
    columns = ("map", "ways", "landmarks", "points", "sample points", "whole, s", "extraction, s", "QuackOSM alone, s")
    print(table((*columns, "after extraction, s", "peak, GB (all processes)"), rows))
    if len(seconds) > 1:
        power = exponent(told.sizes, seconds)
        print(f"exponent from {told.sizes[0]:,} to {told.sizes[-1]:,} ways: {power:.2f} (QuackOSM starts in 6 s)")


if __name__ == "__main__":
    main()

"""Every asset, disturbed in every way: `python -m benchmarks.fault_matrix`.

Each asset of the chain is run in a home as it stood just before it, and disturbed: killed (`kill -9`) at random moments, on a
disk that is full at random moments, in a home that cannot be written, with a file lost or changed of what it is made from, or
beside a second run of the same partition. Then the fault goes, and a plain run follows. It must end well, and leave the very
bytes that an undisturbed run leaves, nothing half written beside them. The disturbed run itself may end well, or with one error
of ours; anything else is a fault.

What the roots of the graph are made from are the services' files. A full or shut disk needs root (a tmpfs is mounted).
Pages with times in them are not compared (`estimates`, from which they are drawn, is); galleries by their points.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks._fault_home import KEY, REGION, TARGETS, Album, grow_album, left_by, name_of
from benchmarks._fault_runs import Disk, Ending, Going, aside, damaged
from benchmarks._measure import table
from geoloc_pipeline.orchestration.running.chain import Run
from geoloc_pipeline.storage.layout import WHOLE, Home
from geoloc_pipeline.storage.receipts import read_receipt

FAULTS = ("killed", "full disk", "read-only home", "lost upstream", "cut upstream", "changed upstream", "two at once")


@dataclass(frozen=True)
class Cell:
    """One disturbed run and the plain one after it.

    Attributes:
        run: The target.
        fault: One of `FAULTS`.
        told: When or where it struck.
        disturbed: How the disturbed run ended (of two, the worse).
        after: How the plain run ended.
        other: Names of what differs from an undisturbed run.
    """

    run: Run
    fault: str
    told: str
    disturbed: Ending
    after: Ending
    other: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        """Whether all is as it shall be."""
        return self.disturbed.kind in {"done", "refused", "killed"} and self.after.kind == "done" and not self.other

    def __str__(self) -> str:
        """What went wrong, for people."""
        disturbed, after = (f"{ending.kind} {ending.said}".strip() for ending in (self.disturbed, self.after))
        where = f"{name_of(self.run)}, {self.fault} ({self.told})"
        return f"{where}: the disturbed run {disturbed}; the plain run {after}; differs: {', '.join(self.other) or 'nothing'}"


class Matrix:
    """Disturbs runs in one home, again and again.

    Args:
        folder: Takes everything; removed by whoever made it.
        density: Of the world.
        seed: Of the dice.
    """

    def __init__(self, folder: Path, *, density: float, seed: int = 0) -> None:
        self._dice, self.log, self._stack = random.Random(seed), folder / "runs.log", ExitStack()
        self.disk = self._stack.enter_context(Disk(folder / "disk"))
        self.home = Home.at(self.disk.path / "home")
        self._folder, self._density = folder, density
        self.seconds: dict[Run, float] = {}

    def __enter__(self) -> Matrix:
        self.album = self._grow()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _grow(self) -> Album:
        def do(run: Run) -> None:
            ending = Going(self.home, run, self.log).wait()
            if ending.kind != "done":
                raise RuntimeError(f"undisturbed, {name_of(run)} ended so: {ending}")
            self.seconds[run] = ending.seconds

        return grow_album(self.home, self._folder / "album", density=self._density, do=do, look=aside)

    def disturb(self, run: Run, fault: str) -> Cell:
        """Disturb a run in one way, mend the fault, run it plainly, and compare."""
        shutil.rmtree(self.home.root, ignore_errors=True)
        shutil.copytree(self.album.before(run), self.home.root, symlinks=True)
        told, disturbed = self._strike(run, fault)
        after = Ending("done", "", 0.0)
        for each in [*self._makers(run, fault, told), run]:
            if after.kind == "done":
                after = Going(self.home, each, self.log).wait()
        return Cell(run, fault, told, disturbed, after, self.differences(run))

    def differences(self, run: Run) -> tuple[str, ...]:
        """Return the names of what stands otherwise than after an undisturbed run."""
        found: dict[str, str] = aside(lambda: left_by(self.home, run))
        wanted = self.album.left[run]
        return tuple(sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)))

    def _strike(self, run: Run, fault: str) -> tuple[str, Ending]:
        if fault == "killed":
            moment_s = self._dice.uniform(0.0, 1.05 * self.seconds[run])
            going = Going(self.home, run, self.log)
            time.sleep(moment_s)
            going.kill()
            return f"after {moment_s:.2f} of {self.seconds[run]:.2f} s", going.wait()
        if fault == "full disk":
            spare = int(self._dice.choice((0, 1, 1)) * 2 ** self._dice.uniform(10, 23))
            with self.disk.full(spare_bytes=spare):
                return f"{spare:,} bytes left", Going(self.home, run, self.log).wait()
        if fault == "read-only home":
            with self.disk.read_only():
                return "from the start", Going(self.home, run, self.log).wait()
        if fault == "two at once":
            going = [Going(self.home, run, self.log) for _ in range(2)]
            return "from the start", max((each.wait() for each in going), key=lambda ending: ending.kind != "done")
        path = self._dice.choice(list(self._made_from(run, is_hashed=fault == "changed upstream")))
        mend = damaged(path, {"lost upstream": "lost", "cut upstream": "cut", "changed upstream": "flipped"}[fault])
        ending = Going(self.home, run, self.log).wait()
        if path.is_relative_to(self.home.world()):
            mend()
        return str(path.relative_to(self.home.root)), ending

    def _made_from(self, run: Run, *, is_hashed: bool) -> Iterator[Path]:
        """Yield the files from which a run makes its artefact: those of artefacts, or of services for the roots.

        Of an artefact's files some are remembered by size only (shards: their tables hold the pictures' hashes).
        """
        world, code = self.home.world(), KEY[:2]
        roots: dict[str, Callable[[], list[Path]]] = {
            "geofabrik_extracts": lambda: [world / f"geofabrik/asia/japan/{REGION}-updates/state.txt"],
            "osm_dump": lambda: sorted((world / "geofabrik/asia/japan").glob(f"{REGION}-*.osm.pbf")),
            "census_towns": lambda: sorted((world / "estat").glob(f"*DDSWC{code}*")),
            "photo_collections": lambda: sorted((world / "photos/local").glob("*.jpg"))[:3],
        }
        if run.assets[0] in roots:
            yield from roots[run.assets[0]]()
            return
        for name in self._upstream(run):
            receipt = read_receipt(self.home.receipt(*name.split("/")))
            if receipt is not None:
                yield from (self.home.root / file for file in (receipt.hashed if is_hashed else receipt.files))

    def _upstream(self, run: Run) -> Sequence[str]:
        """Return the artefacts that go into a run, as an undisturbed one told them."""
        return self.album.made_from[run]

    def _makers(self, run: Run, fault: str, told: str) -> list[Run]:
        """Return the runs that make the upstream file again that a fault has hit."""
        if not fault.endswith("upstream") or told.startswith("world/"):
            return []
        for name in self._upstream(run):
            key, part = name.split("/")
            receipt = read_receipt(Home.at(self.album.before(run)).receipt(key, part))
            if receipt and told in receipt.files:
                together = next((target.assets for target in TARGETS if key in target.assets), (key,))
                return [Run(together, None if part == WHOLE else part)]
        return []


def main() -> None:
    """Print the matrix; exit with 1 when a cell is not well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="random moments of each asset")
    parser.add_argument("--others", type=int, default=3, help="tries of each other fault, of each asset")
    parser.add_argument("--density", type=float, default=0.05, help="of the world")
    parser.add_argument("--only", nargs="*", default=[], help="assets")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), help="faults")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Matrix(Path(folder), density=told.density, seed=told.seed) as matrix:
        rows: list[tuple[str, ...]] = []
        bad: list[str] = []
        for run in TARGETS:
            if told.only and not set(run.assets) & set(told.only):
                continue
            cells = [
                [matrix.disturb(run, fault) for _ in range(told.kills if fault == "killed" else told.others)]
                for fault in told.faults
            ]
            faulty = [str(cell) for some in cells for cell in some if not cell.is_well]
            rows.append((name_of(run), f"{matrix.seconds[run]:.1f}", *map(as_text, cells)))
            print(" | ".join(rows[-1]), *faulty, sep="\n  ", file=sys.stderr, flush=True)
            bad += faulty
    print(table(("asset", "undisturbed, s", *told.faults), rows))
    sys.exit(1 if bad else 0)


def as_text(cells: Sequence[Cell]) -> str:
    """Return what a table says of the tries of one fault: how many were well, and how the disturbed runs ended."""
    well, stopped = sum(cell.is_well for cell in cells), sum(cell.disturbed.kind != "done" for cell in cells)
    return f"{well}/{len(cells)} ({stopped} stopped)" if well == len(cells) else f"**{well}/{len(cells)}**"


if __name__ == "__main__":
    main()

"""The plan of a collection: which picture every point gets, kept beside the shards and only ever added to.

A point keeps what it once got, so that a new dump of the map, in which a few points changed, costs a few pictures:
- a point whose picture is archived or still to be fetched, or around which there was nothing, is settled;
- a point whose picture turned out to be bad is released: it looks again like a new one, a few times; the bad picture keeps
  its place in the plan, so that the names of chunks stay and nobody fetches it again;
- a new point takes the archived picture that a vanished point has left within the radius (it has moved, or a neighbour has):
  that costs no request. Otherwise it chooses from the coverage, which is kept, too: a run that goes on after a kill, or is run
  again, comes to the same pictures even when the provider's coverage has grown meanwhile;
- a vanished point keeps its archived picture until a new one takes it; without one it is forgotten.

So the plan has a history. Points that came in two steps may have other pictures, and lie in other shards, than the same points
planned at once; the same steps give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_pipeline.imagery.choose import Choice, choose_pictures
from geoloc_pipeline.imagery.panorama import HEADINGS_DEG
from geoloc_pipeline.sources.street_view import Coverage
from geoloc_pipeline.storage.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from geoloc_pipeline.sources.street_view import Point

BAD = "bad"
ALL_BAD = "all_bad"

_FORMAT = 3  # of the kept plan; raise it when the rule of choice changes
_CHUNK_SIZES = b"chunk_sizes"
_DIGEST_BYTES = 32  # before the Parquet, whose own checksums leave out its footer
_FLAT_COLUMNS = [f"flat_{heading_deg}" for heading_deg in HEADINGS_DEG]


@dataclass(frozen=True)
class Plan:
    """What every point gets.

    Attributes:
        chunks: Choices with pictures, shard by shard; the pictures of one that is archived never change, their points may.
            Those with the reason `bad` were fetched and found unusable: they only hold their place.
        nothing: Choices of points that get no picture, by point.
    """

    chunks: tuple[tuple[Choice, ...], ...] = ()
    nothing: tuple[Choice, ...] = ()

    @property
    def planned(self) -> tuple[Choice, ...]:
        """The choices with pictures, bad ones too."""
        return tuple(chain.from_iterable(self.chunks))

    def owners(self) -> dict[str, Choice]:
        """Return the choice of each picture that serves a point, by the provider's id."""
        return {
            image_id: choice
            for choice in chain.from_iterable(self.chunks)
            if not choice.reason
            for image_id in choice.image_ids
        }


def plan_path(folder: Path, *, source: str, radius_m: float, edition: str) -> Path:
    """Return where the plan of these settings is kept; other settings plan anew.

    Args:
        folder: Holds the shards.
        source: The provider; each has a plan of its own.
        radius_m: How far a picture may be from its point, metres.
        edition: Any word; another one looks at the provider's coverage anew.
    """
    settings = json.dumps([_FORMAT, source, radius_m, edition])
    return folder / f"plan-{source}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.plan"


def read_plan(path: Path) -> Plan:
    """Return the kept plan; an empty one when there is none, or when it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Plan()
    try:
        digest, parquet = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != hashlib.sha256(parquet).digest():
            return Plan()
        table = pq.read_table(pa.BufferReader(parquet))
        sizes = json.loads(table.schema.metadata[_CHUNK_SIZES])
        flats = [_flats(ids) for ids in zip(*(table[name].to_pylist() for name in _FLAT_COLUMNS), strict=True)]
        columns = [table[name].to_pylist() for name in ("point_id", "lat", "lon", "pano_id")]
        choices = [Choice(*values) for values in zip(*columns, flats, table["reason"].to_pylist(), strict=True)]
        ends = [*accumulate(sizes, initial=0)]
        return Plan(tuple(tuple(choices[start:end]) for start, end in pairwise(ends)), tuple(choices[ends[-1] :]))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError):  # as parquet's reader calls a spoilt file
        return Plan()


def _flats(ids: tuple[str | None, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((heading_deg, image_id) for heading_deg, image_id in zip(HEADINGS_DEG, ids, strict=True) if image_id)


def write_plan(path: Path, plan: Plan) -> None:
    """Keep a plan, whole or not at all; the same plan gives the same bytes."""
    choices = [*chain.from_iterable(plan.chunks), *plan.nothing]
    flats = [dict(choice.flats) for choice in choices]
    columns: dict[str, Sequence[object]] = {
        "point_id": [choice.point_id for choice in choices],
        "lat": [choice.lat for choice in choices],
        "lon": [choice.lon for choice in choices],
        "pano_id": [choice.pano_id for choice in choices],
        "reason": [choice.reason for choice in choices],
    }
    columns |= {
        name: [ids.get(heading_deg) for ids in flats] for name, heading_deg in zip(_FLAT_COLUMNS, HEADINGS_DEG, strict=True)
    }
    sizes = json.dumps([len(chunk) for chunk in plan.chunks]).encode()
    fields = [pa.field(name, pa.float64() if name in {"lat", "lon"} else pa.string()) for name in columns]
    table = pa.table(columns, schema=pa.schema(fields, metadata={_CHUNK_SIZES: sizes}))
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    parquet = stream.getvalue().to_pybytes()
    write_bytes(path, hashlib.sha256(parquet).digest() + parquet)


def release(plan: Plan, point_ids: Collection[str], *, most_looks: int = 3) -> Plan:
    """Return the plan in which the pictures of some points are bad and the points free to choose again.

    Args:
        plan: The plan so far.
        point_ids: Points whose pictures turned out to be unusable; those that have no picture are passed over.
        most_looks: A point that has seen so many bad pictures gets nothing, for the reason `all_bad`.

    Returns:
        The plan; the very same when nobody is released.
    """
    released: dict[str, Choice] = {}
    chunks = []
    gone = frozenset(point_ids)
    for chunk in plan.chunks:
        hit = [choice for choice in chunk if choice.point_id in gone and not choice.reason]
        released.update((choice.point_id, choice) for choice in hit)
        marked = (replace(choice, reason=BAD) if not choice.reason and choice.point_id in gone else choice for choice in chunk)
        chunks.append(tuple(marked) if hit else chunk)
    if not released:
        return plan
    looks = Counter(choice.point_id for choice in chain.from_iterable(chunks) if choice.point_id in released)
    tired = [
        Choice(point_id, choice.lat, choice.lon, reason=ALL_BAD)
        for point_id, choice in released.items()
        if looks[point_id] >= most_looks
    ]
    return Plan(tuple(chunks), _by_point([*plan.nothing, *tired]))


def _by_point(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    return tuple(sorted(choices, key=lambda choice: choice.point_id))


def refresh_plan(
    plan: Plan,
    points: Sequence[Point],
    *,
    standing: Collection[int],
    places: Mapping[str, tuple[float, float]],
    coverage_of: Callable[[Sequence[Point]], Coverage],
    radius_m: float,
    chunk_points: int,
    barred: Collection[str] = (),
) -> Plan:
    """Return a plan in which every point has its place; those that are settled keep theirs.

    Args:
        plan: The plan so far.
        points: Every point that is wanted now, in id order: the order in which new ones choose.
        standing: Numbers of the plan's chunks that stand whole in the archive.
        places: Where the archived pictures of vanished points were taken, (lat, lon) in degrees, by the point.
        coverage_of: Tells the pictures around points; called when there are new points that no left picture serves.
        radius_m: How far a picture may be from its point, metres.
        chunk_points: Pictures in a new chunk.
        barred: Pictures that nobody may get: forgotten, or known to be bad.

    Returns:
        The plan; the very same when nothing is new and nothing is forgotten.
    """
    wanted = {point_id for point_id, _, _ in points}
    stays, stands = wanted | places.keys(), frozenset(standing)
    chunks = [
        chunk if number in stands else tuple(choice for choice in chunk if choice.reason or choice.point_id in stays)
        for number, chunk in enumerate(plan.chunks)
    ]
    nothing = [choice for choice in plan.nothing if choice.point_id in wanted]
    settled = {choice.point_id for choice in chain.from_iterable(chunks) if not choice.reason}
    settled |= {choice.point_id for choice in nothing}
    new = [point for point in points if point[0] not in settled]
    left = [choice for choice in chain.from_iterable(chunks) if not choice.reason and choice.point_id in places]
    heirs = _heirs(new, left, places, radius_m=radius_m)
    if heirs:
        chunks = [
            tuple(choice if choice.reason else heirs.get(choice.point_id, choice) for choice in chunk) for chunk in chunks
        ]
        served = {heir.point_id for heir in heirs.values()}
        new = [point for point in new if point[0] not in served]
    if new:
        taken = {image_id for choice in chain.from_iterable(chunks) for image_id in choice.image_ids}
        choices = choose_pictures(new, coverage_of(new), radius_m=radius_m, taken=taken.union(barred))
        tried = {choice.point_id for choice in chain.from_iterable(chunks) if choice.reason == BAD}
        without = [choice for choice in choices if choice.reason]
        nothing += [replace(choice, reason=ALL_BAD) if choice.point_id in tried else choice for choice in without]
        planned = [choice for choice in choices if not choice.reason]
        chunks += [tuple(planned[start : start + chunk_points]) for start in range(0, len(planned), chunk_points)]
    refreshed = Plan(tuple(chunks), _by_point(nothing))
    return plan if refreshed == plan else refreshed


def _heirs(
    new: Sequence[Point], left: Sequence[Choice], places: Mapping[str, tuple[float, float]], *, radius_m: float
) -> dict[str, Choice]:
    """Return, by vanished point, the choice with a new point in its stead: new points choose among what is left as ever."""
    if not new or not left:
        return {}
    left = _by_point(left)
    archive = Coverage.of(
        image_id=[f"{number:09}" for number in range(len(left))],
        lat=[places[choice.point_id][0] for choice in left],
        lon=[places[choice.point_id][1] for choice in left],
        is_pano=[True] * len(left),
    )
    return {
        left[int(choice.pano_id)].point_id: replace(
            left[int(choice.pano_id)], point_id=choice.point_id, lat=choice.lat, lon=choice.lon
        )
        for choice in choose_pictures(new, archive, radius_m=radius_m)
        if not choice.reason
    }

"""The plan of a collection: which picture every point gets, kept beside the shards and only ever added to.

A point keeps what it once got, so that a new dump of the map, in which a few points changed, costs a few pictures:
- a point whose picture is archived, whose picture was bad, or around which there was nothing is settled;
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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.imagery.choose import Choice, Point, choose_pictures
from geoloc_pipeline.sources.mapillary_coverage import Coverage
from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

_FORMAT = 2  # of the kept plan; raise it when the rule of choice changes


@dataclass(frozen=True)
class Plan:
    """What every point gets.

    Attributes:
        chunks: Choices with pictures, shard by shard; the pictures of one that is archived never change, their points may.
        nothing: Choices of points that get no picture.
    """

    chunks: tuple[tuple[Choice, ...], ...] = ()
    nothing: tuple[Choice, ...] = ()

    @property
    def planned(self) -> tuple[Choice, ...]:
        """The choices with pictures."""
        return tuple(choice for chunk in self.chunks for choice in chunk)

    def owners(self) -> dict[str, Choice]:
        """Return each picture's choice, by the provider's id."""
        return {image_id: choice for choice in self.planned for image_id in choice.image_ids}


def plan_path(folder: Path, *, radius_m: float, edition: str) -> Path:
    """Return where the plan of these settings is kept; other settings plan anew.

    Args:
        folder: Holds the shards.
        radius_m: How far a picture may be from its point, metres.
        edition: Any word; another one looks at the provider's coverage anew.
    """
    return folder / f"plan-{hashlib.sha256(json.dumps([_FORMAT, radius_m, edition]).encode()).hexdigest()[:16]}.json"


def read_plan(path: Path) -> Plan:
    """Return the kept plan; an empty one when there is none, or when it cannot be read."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Plan(
            tuple(tuple(_choice(values) for values in chunk) for chunk in kept["chunks"]),
            tuple(_choice(values) for values in kept["nothing"]),
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Plan()


def _choice(values: Sequence[object]) -> Choice:
    point_id, lat, lon, pano_id, flats, reason = values
    pairs = tuple((int(heading), str(image_id)) for heading, image_id in flats)  # type: ignore[attr-defined]
    return Choice(str(point_id), float(lat), float(lon), str(pano_id), pairs, str(reason))  # type: ignore[arg-type]


def write_plan(path: Path, plan: Plan) -> None:
    """Keep a plan, whole or not at all."""

    def values(choices: Collection[Choice]) -> list[list[object]]:
        return [[choice.point_id, choice.lat, choice.lon, choice.pano_id, choice.flats, choice.reason] for choice in choices]

    write_text(path, json.dumps({"chunks": [values(chunk) for chunk in plan.chunks], "nothing": values(plan.nothing)}))


def refresh_plan(
    plan: Plan,
    points: Sequence[Point],
    *,
    standing: Collection[int],
    places: Mapping[str, tuple[float, float]],
    coverage_of: Callable[[Sequence[Point]], Coverage],
    radius_m: float,
    chunk_points: int,
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

    Returns:
        The plan; the very same when nothing is new and nothing is forgotten.
    """
    wanted = {point_id for point_id, _, _ in points}
    chunks = [
        chunk if number in standing else tuple(choice for choice in chunk if choice.point_id in wanted | places.keys())
        for number, chunk in enumerate(plan.chunks)
    ]
    nothing = [choice for choice in plan.nothing if choice.point_id in wanted]
    settled = {choice.point_id for choices in (*chunks, nothing) for choice in choices}
    new = [point for point in points if point[0] not in settled]
    left = [choice for chunk in chunks for choice in chunk if choice.point_id in places]
    heirs = _heirs(new, left, places, radius_m=radius_m)
    chunks = [tuple(heirs.get(choice.point_id, choice) for choice in chunk) for chunk in chunks]
    served = {heir.point_id for heir in heirs.values()}
    new = [point for point in new if point[0] not in served]
    if new:
        taken = {int(image_id) for image_id in Plan(tuple(chunks)).owners()}
        choices = choose_pictures(new, coverage_of(new), radius_m=radius_m, taken=taken)
        nothing += [choice for choice in choices if choice.reason]
        planned = [choice for choice in choices if not choice.reason]
        chunks += [tuple(planned[start : start + chunk_points]) for start in range(0, len(planned), chunk_points)]
    return Plan(tuple(chunks), tuple(sorted(nothing, key=lambda choice: choice.point_id)))


def _heirs(
    new: Sequence[Point], left: Sequence[Choice], places: Mapping[str, tuple[float, float]], *, radius_m: float
) -> dict[str, Choice]:
    """Return, by vanished point, the choice with a new point in its stead: new points choose among what is left as ever."""
    if not new or not left:
        return {}
    left = sorted(left, key=lambda choice: choice.point_id)
    place = np.array([places[choice.point_id] for choice in left], dtype=np.float64)
    known = np.full(len(left), np.nan)
    rows = np.arange(len(left), dtype=np.int64)
    archive = Coverage(rows, place[:, 0], place[:, 1], known, rows * 0, rows >= 0, np.array([""] * len(left), dtype=object))
    return {
        left[int(choice.pano_id)].point_id: replace(
            left[int(choice.pano_id)], point_id=choice.point_id, lat=choice.lat, lon=choice.lon
        )
        for choice in choose_pictures(new, archive, radius_m=radius_m)
        if not choice.reason
    }

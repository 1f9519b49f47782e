"""From the ways that mappers draw to lines that can be measured: cut at the prefecture, joined, in one canonical form.

The lines of a road do not depend on how mappers cut, turned or numbered its ways: ways are broken into segments between
neighbouring nodes, doubled segments are dropped, and chains of segments are followed through every node where just two
meet. Two data sets that draw the same road yield the same chains.
Lengths are geodesic, on the ellipsoid; places between two nodes are on the straight line in degrees, as on any map. A metre is
not the same share of a degree everywhere on a long line, so lines are measured in steps of at most 200 m: then a node more or
less on a straight line moves a place by less than a millimetre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoloc_pipeline.geo.sphere import distance_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRID_PER_DEG = 1e7  # OpenStreetMap's own precision, about a centimetre
_STEP_DEG = 0.002
_OFF_THE_LINE_DEG = np.array([2e-9, 1e-9])  # no border runs in just this direction
_COLUMNS = 1_800_000_001  # steps from pole to pole: the two numbers of a place fit together into one int64


@dataclass(frozen=True)
class Chains:
    """Measured lines.

    Attributes:
        road: `[c]` which road each chain belongs to; ascending.
        length_m: `[c]` geodesic length.
        lonlat: `[v, 2]` vertices of all chains, one after the other.
        along_m: `[v]` distance of each vertex from the start of the first chain, all chains laid end to end.
        start_m: `[c]` where each chain starts on that tape.
        first: `[c]` first vertex of each chain.
    """

    road: NDArray[np.int64]
    length_m: NDArray[np.float64]
    lonlat: NDArray[np.float64]
    along_m: NDArray[np.float64]
    start_m: NDArray[np.float64]
    first: NDArray[np.int64]


def outline(polygons: NDArray[Any]) -> Any:
    """Return the union of town blocks as one geometry, prepared for questions; broken polygons are mended first.

    The outline is moved by a fifth of a millimetre, the same for all prefectures: what lies exactly on the line between two of
    them (a road drawn along it, a boundary stone) then lies in one and not in both.
    """
    broken = ~shapely.is_valid(polygons)
    if broken.any():
        polygons = polygons.copy()
        polygons[broken] = shapely.make_valid(polygons[broken])
    union = shapely.transform(shapely.union_all(polygons), lambda lonlat: lonlat + _OFF_THE_LINE_DEG)
    shapely.prepare(union)
    return union


def cut_at(lines: NDArray[Any], area: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the pieces of `lines` inside `area`, and which line each piece comes from; lines well inside stay untouched."""
    inside = shapely.contains_properly(area, lines)
    crossing = np.flatnonzero(~inside & shapely.intersects(area, lines))
    pieces, source = shapely.get_parts(shapely.intersection(lines[crossing], area), return_index=True)
    pieces, inner = shapely.get_parts(pieces, return_index=True)  # a touch may give a collection of lines and points
    source = crossing[source[inner]]
    is_line = shapely.get_type_id(pieces) == shapely.GeometryType.LINESTRING
    pieces, source = np.concatenate([lines[inside], pieces[is_line]]), np.concatenate([np.flatnonzero(inside), source[is_line]])
    order = np.argsort(source, kind="stable")
    return pieces[order], source[order]


def nodes_of(lines: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return (node, place, line) of every vertex of every line.

    Args:
        lines: LineStrings in degrees.

    Returns:
        `[v]` number of the node at each vertex (equal places are one node), `[nodes, 2]` (lon, lat) of the nodes in degrees,
        `[v]` row of the line that the vertex belongs to.
    """
    lonlat, line = shapely.get_coordinates(lines, return_index=True)
    grid = np.round(lonlat * _GRID_PER_DEG).astype(np.int64)
    key = (grid[:, 0] + 1_800_000_000) * _COLUMNS + (grid[:, 1] + 900_000_000)
    unique, node = np.unique(key, return_inverse=True)
    place = np.column_stack([unique // _COLUMNS - 1_800_000_000, unique % _COLUMNS - 900_000_000]) / _GRID_PER_DEG
    return node, place, line


def connected(lines: NDArray[Any], kind: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the component of each line: lines of the same kind that share a node, directly or through others.

    Args:
        lines: `[n]` LineStrings in degrees.
        kind: `[n]` lines of different kinds never connect.

    Returns:
        `[n]` component numbers, from 0.
    """
    if not len(lines):
        return np.empty(0, dtype=np.int64)
    node, place, line = nodes_of(lines)
    _, junction = np.unique(kind[line] * len(place) + node, return_inverse=True)
    size = len(lines) + int(junction.max()) + 1
    links = coo_array((np.ones(len(line), dtype=np.int8), (line, len(lines) + junction)), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1][: len(lines)], dtype=np.int64)


def chains_of(lines: NDArray[Any], road: NDArray[np.int64]) -> Chains:
    """Return the canonical, measured chains of each road.

    Args:
        lines: `[n]` LineStrings in degrees.
        road: `[n]` number of the road each belongs to.

    Returns:
        The chains, ordered by road and then along a space-filling curve, so that chains that follow each other are near.
    """
    node, place, line = nodes_of(lines)
    same = line[1:] == line[:-1]
    ends = np.sort(np.column_stack([node[:-1], node[1:]])[same], axis=1)
    segment = np.column_stack([road[line[:-1]][same], ends])
    segment = np.unique(segment[ends[:, 0] != ends[:, 1]], axis=0)
    drawn = shapely.linestrings(place[segment[:, 1:].ravel()], indices=np.repeat(np.arange(len(segment)), 2))
    roads, row = np.unique(segment[:, 0], return_inverse=True)
    merged, owner = shapely.get_parts(
        shapely.line_merge(shapely.multilinestrings(drawn, indices=row)) if len(drawn) else drawn, return_index=True
    )
    merged = shapely.normalize(merged)  # one direction, and one start for rings
    middle = (shapely.bounds(merged)[:, :2] + shapely.bounds(merged)[:, 2:]) / 2
    first_point = shapely.get_coordinates(shapely.get_point(merged, 0))
    order = np.lexsort((first_point[:, 1], first_point[:, 0], _morton(middle), roads[owner]))
    return _measured(merged[order], roads[owner][order])


def _morton(lonlat: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return places on a space-filling curve (Z-order) with steps of about 10 m."""
    code = np.zeros(len(lonlat), dtype=np.uint64)
    for shift, value in enumerate((lonlat + np.array([180.0, 90.0])).T):
        bits = np.round(value * 1e4).astype(np.uint64)
        for step, mask in ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
                           (2, 0x3333333333333333), (1, 0x5555555555555555)):  # fmt: skip
            bits = (bits | (bits << np.uint64(step))) & np.uint64(mask)
        code |= bits << np.uint64(shift)
    return code


def _measured(lines: NDArray[Any], road: NDArray[np.int64]) -> Chains:
    lonlat, line = shapely.get_coordinates(shapely.segmentize(lines, _STEP_DEG), return_index=True)
    step_m = np.zeros(len(lonlat))
    if len(lonlat):
        step_m[1:] = distance_m(lat=lonlat[:-1, 1], lon=lonlat[:-1, 0], to_lat=lonlat[1:, 1], to_lon=lonlat[1:, 0])
        step_m[1:][line[1:] != line[:-1]] = 0.0
    along_m = np.cumsum(step_m)
    first = np.searchsorted(line, np.arange(len(lines)))
    last = np.searchsorted(line, np.arange(len(lines)), side="right") - 1
    return Chains(road, along_m[last] - along_m[first], lonlat, along_m, along_m[first], first)


def places_on(chains: Chains, chain: NDArray[np.int64], away_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the places at given distances from the start of given chains.

    Args:
        chains: The chains.
        chain: `[n]` rows of `chains`.
        away_m: `[n]` metres along that chain.

    Returns:
        `[n, 2]` (lon, lat) in degrees.
    """
    along = chains.start_m[chain] + away_m
    low = np.searchsorted(chains.along_m, along, side="right") - 1
    last = np.append(chains.first[1:], len(chains.lonlat))[chain] - 1
    low = np.clip(low, chains.first[chain], last - 1)
    span = chains.along_m[low + 1] - chains.along_m[low]
    share = np.clip((along - chains.along_m[low]) / np.where(span > 0, span, 1.0), 0.0, 1.0)[:, None]
    return chains.lonlat[low] * (1 - share) + chains.lonlat[low + 1] * share

"""From the ways that mappers draw to the lines that are there: joined, each once, in one direction.

A road's lines do not depend on how mappers cut, turned or numbered its ways. Ways are broken at every node of their road where
other than two stretches meet (a junction, a dead end), stretches drawn twice are dropped, and the rest are joined through the
nodes where just two meet. Two data sets that draw the same road yield the same chains.
All of it is arithmetic on whole columns: no Python object stands for a way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRID_PER_DEG = 1e7  # OpenStreetMap's own precision, about a centimetre
_COLUMNS = np.int64(1_800_000_001)  # steps from pole to pole: the two numbers of a place fit together into one int64


@dataclass(frozen=True)
class Chains:
    """Lines that nothing joins or interrupts.

    Attributes:
        road: `[c]` which road each chain belongs to.
        first: `[c]` first vertex of each chain.
        lonlat: `[v, 2]` vertices of all chains, one after the other, degrees.
        way: `[v]` row of the way that leads to this vertex; at a chain's first vertex, of the way that leaves it.
    """

    road: NDArray[np.int64]
    first: NDArray[np.int64]
    lonlat: NDArray[np.float64]
    way: NDArray[np.int64]


@dataclass(frozen=True)
class _Nodes:
    """Vertices of the ways, one after the other; doubled ones left out.

    Attributes:
        lonlat: `[v, 2]` the vertices, degrees.
        place: `[v]` longitude and latitude in one number; equal places have equal numbers.
        mixed: `[v]` hash of the place.
        way: `[v]` row of the way.
        road: `[ways]` number of the road.
        node: `[v]` number of the node; nodes of different roads differ though the place is one.
        is_cut: `[v]` whether a stretch ends here.
    """

    lonlat: NDArray[np.float64]
    place: NDArray[np.int64]
    mixed: NDArray[np.uint64]
    way: NDArray[np.int64]
    road: NDArray[np.int64]
    node: NDArray[np.int64]
    is_cut: NDArray[np.bool_]


def chains_of(lonlat: NDArray[np.float64], way: NDArray[np.int64], *, road: NDArray[np.int64], way_id: Any) -> Chains:
    """Return the chains of each road.

    Args:
        lonlat: `[v, 2]` vertices of all ways, one way after the other, degrees.
        way: `[v]` row of the way that each vertex belongs to; ascending.
        road: `[ways]` number of the road each way belongs to, from 0.
        way_id: `[ways]` names, any array; of stretches drawn twice the one with the smaller name stays.

    Returns:
        The chains, in no particular order; each runs from the smaller of its ends, a ring from its smallest node.
    """
    nodes = _nodes(lonlat, way, road) if len(way) else None
    if nodes is None or not len(nodes.place):
        nothing = np.empty(0, dtype=np.int64)
        return Chains(nothing, nothing, np.empty((0, 2)), nothing)
    start, stop = _stretches(nodes, way_id)
    mate = _mates(nodes, start, stop)
    last, hops, is_ring = _walked(mate)
    if is_ring.any():
        smallest = _smallest_of_rings(nodes, start, stop, mate, is_ring)
        start, stop = _cut_at(start, stop, smallest)
        last, hops, _ = _walked(_mates(nodes, start, stop, apart=nodes.node[smallest]))
    return _joined(nodes, start, stop, last, hops)


def _nodes(lonlat: NDArray[np.float64], way: NDArray[np.int64], road: NDArray[np.int64]) -> _Nodes:
    place = ((lonlat[:, 0] + 180.0) * _GRID_PER_DEG + 0.5).astype(np.int64)
    place *= _COLUMNS
    place += ((lonlat[:, 1] + 90.0) * _GRID_PER_DEG + 0.5).astype(np.int64)
    is_new = np.append(True, way[1:] != way[:-1])
    kept = is_new | np.append(True, place[1:] != place[:-1])
    if not kept.all():
        lonlat, place, way, is_new = lonlat[kept], place[kept], way[kept], is_new[kept]
    is_last = np.append(is_new[1:], True)
    lone = is_new & is_last  # a way of one node, or of one place
    if lone.any():
        lonlat, place, way = lonlat[~lone], place[~lone], way[~lone]
        is_new, is_last = is_new[~lone], is_last[~lone]
    mixed, is_cut = _mixed(place), is_new | is_last
    node = _numbered(mixed ^ _mixed(road + 1)[way])
    n_nodes = int(node.max(initial=-1)) + 1
    n_stretches = 2 * np.bincount(node, minlength=n_nodes) - np.bincount(node[is_cut], minlength=n_nodes)
    is_cut |= (n_stretches != 2)[node]
    is_cut[1:-1] |= place[2:] == place[:-2]  # a way that turns back on itself
    return _Nodes(lonlat, place, mixed, way, road, node, is_cut)


def _numbered(key: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return a number from 0 for each key, the same for equal ones.

    The keys are hashes of 64 bits: two of a hundred million nodes coincide in one of four thousand maps.
    """
    # Sorting numbers is three times as fast as sorting their rows, so the row rides in the lowest bits of its key. Where that
    # makes two keys alike, the few rows concerned are sorted once more by the whole key.
    n_bits = np.uint64(max(len(key) - 1, 1).bit_length())
    packed = np.sort(((key >> n_bits) << n_bits) | np.arange(len(key), dtype=np.uint64))
    order = (packed & ((np.uint64(1) << n_bits) - np.uint64(1))).astype(np.int64)
    ordered = key[order]
    is_new = ordered[1:] != ordered[:-1]
    alike = np.flatnonzero(is_new & ((packed[1:] ^ packed[:-1]) >> n_bits == 0))
    if len(alike):
        run = packed >> n_bits
        some = np.flatnonzero(np.isin(run, run[alike]))
        order[some] = order[some][np.lexsort((ordered[some], run[some]))]
        ordered = key[order]
        is_new = ordered[1:] != ordered[:-1]
    number = np.empty(len(key), dtype=np.int64)
    number[order] = np.cumsum(np.append(False, is_new)[: len(key)])
    return number


def _mixed(number: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of whole numbers (the finaliser of SplitMix64, Steele et al. 2014)."""
    bits = number.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return bits


def _stretches(nodes: _Nodes, way_id: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (first vertex, last vertex) of the stretches between cuts, each stretch of a road once."""
    cut = np.flatnonzero(nodes.is_cut)
    same = nodes.way[cut[1:]] == nodes.way[cut[:-1]]
    start, stop = cut[:-1][same], cut[1:][same]
    # The sum does not depend on the direction.
    total = np.cumsum(nodes.mixed)
    before = np.where(start > 0, total[np.maximum(start - 1, 0)], np.uint64(0))
    sign = (total[stop] - before) ^ _mixed(nodes.road + 1)[nodes.way[start]]
    order = np.argsort(sign)
    again = np.append(False, sign[order][1:] == sign[order][:-1])
    if not again.any():
        return start, stop
    twin = np.flatnonzero(again | np.append(again[1:], False))
    rows = order[twin]
    by_name = np.lexsort((np.asarray(way_id[nodes.way[start[rows]]], dtype=object).astype(str), sign[rows]))
    first = np.append(True, sign[rows][by_name][1:] != sign[rows][by_name][:-1])
    dropped = rows[by_name][~first]
    kept = np.ones(len(start), dtype=bool)
    kept[dropped] = False
    return start[kept], stop[kept]


def _mates(
    nodes: _Nodes, start: NDArray[np.int64], stop: NDArray[np.int64], *, apart: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return, of each end of a stretch (2 i where stretch i starts, 2 i + 1 where it stops), the end it is joined to, or -1.

    Nothing is joined at the nodes `apart`.
    """
    node = np.column_stack([nodes.node[start], nodes.node[stop]]).ravel()
    through = np.bincount(node, minlength=int(nodes.node.max()) + 1) == 2
    if apart is not None:
        through[apart] = False
    ends = np.flatnonzero(through[node])
    pairs = ends[np.argsort(node[ends])].reshape(-1, 2)
    mate = np.full(len(node), -1, dtype=np.int64)
    mate[pairs[:, 0]], mate[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return mate


def _walked(mate: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Follow the chains from every end of every stretch, leaving the stretch by that end, by pointer jumping.

    Returns:
        `[ends]` the last end on the way, `[ends]` how many stretches are passed, `[ends]` whether the way never ends.
    """
    last = np.where(mate >= 0, mate ^ 1, np.arange(len(mate)))
    hops = (mate >= 0).astype(np.int64)
    on_the_way = np.flatnonzero(mate[last] >= 0)
    while len(on_the_way):
        ahead = last[on_the_way]
        hops[on_the_way] += hops[ahead]
        last[on_the_way] = last[ahead]
        left = on_the_way[mate[last[on_the_way]] >= 0]
        if len(left) == len(on_the_way):  # each round doubles the reach: who has not arrived by now goes round in a ring
            break
        on_the_way = left
    return last, hops, mate[last] >= 0


def _smallest_of_rings(
    nodes: _Nodes, start: NDArray[np.int64], stop: NDArray[np.int64], mate: NDArray[np.int64], is_ring: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the vertices at the smallest place of each ring: where a ring starts, wherever mappers cut it."""
    ends = np.flatnonzero(is_ring)
    links = coo_array((np.ones(len(ends), dtype=np.int8), (ends >> 1, mate[ends] >> 1)), shape=(len(start), len(start)))
    ring_of = connected_components(links, directed=False)[1]
    stretch = np.unique(ends >> 1)
    length = stop[stretch] - start[stretch] + 1
    vertex = _ranges(start[stretch], length)
    ring = np.repeat(ring_of[stretch], length)
    smallest = np.full(len(start), np.iinfo(np.int64).max)
    np.minimum.at(smallest, ring, nodes.place[vertex])
    return np.asarray(vertex[nodes.place[vertex] == smallest[ring]])


def _cut_at(
    start: NDArray[np.int64], stop: NDArray[np.int64], vertex: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the stretches that have one of the vertices in them."""
    vertex = np.sort(vertex)
    below = np.searchsorted(vertex, start, side="right")
    inside = vertex[np.minimum(below, len(vertex) - 1)]
    is_cut = (inside > start) & (inside < stop)
    return np.concatenate([start, inside[is_cut]]), np.concatenate([np.where(is_cut, inside, stop), stop[is_cut]])


def _joined(
    nodes: _Nodes,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    last: NDArray[np.int64],
    hops: NDArray[np.int64],
) -> Chains:
    """Lay the stretches of each chain end to end, from the chain's smaller end."""
    ends = np.column_stack([start, stop]).ravel()
    inward = np.column_stack([start + 1, stop - 1]).ravel()
    back, ahead = last[0::2], last[1::2]  # where one arrives when leaving stretch i at its start, at its stop
    place, other = nodes.place[ends[back]], nodes.place[ends[ahead]]
    # A ring, or a loop that hangs on one junction, ends where it starts: its next nodes decide.
    tie = place == other
    forward = np.where(tie, nodes.place[inward[back]] <= nodes.place[inward[ahead]], place < other)
    chain, turn = np.where(forward, back, ahead), np.where(forward, hops[0::2], hops[1::2])
    order = np.argsort(chain * (int(turn.max()) + 1) + turn)
    chain, forward, is_first = chain[order], forward[order], turn[order] == 0
    start, stop = start[order], stop[order]
    # The node that two stretches share is written once.
    count = stop - start + np.where(is_first, 1, 0)
    step = np.where(forward, 1, -1)
    begin = np.where(forward, start, stop) + np.where(is_first, 0, step)
    vertex = _ranges(begin, count, step)
    first = (np.cumsum(count) - count)[is_first]
    way = nodes.way[start]
    return Chains(nodes.road[way[is_first]], first, nodes.lonlat[vertex], np.repeat(way, count))


def _ranges(begin: NDArray[np.int64], count: NDArray[np.int64], step: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return begin, begin + step, … of each row, `count` numbers each (at least one), one row after the other."""
    step = np.ones(len(begin), dtype=np.int64) if step is None else step
    leaps = np.repeat(step, count)
    leaps[(np.cumsum(count) - count)[1:]] = begin[1:] - (begin + (count - 1) * step)[:-1]
    if len(leaps):
        leaps[0] = begin[0]
    return np.cumsum(leaps)

"""How things line up beside roads: houses on their lots, kerbs, rails, poles, trees and signs.

Belongs here: where a thing stands, decided only by the map, its way and its place in the row, never by the camera.
Does not belong here: the index over the map (`scenery.py`), and what a thing looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.surroundings import Buildings, Posts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geoloc_pipeline.demo.style import Style
    from geoloc_pipeline.demo.surroundings import Bools, Floats, Ints, Monument, Pieces

KERB_M = 2.0
"""Length of one kerb stone."""
RAIL_M = 4.0
"""Length of one field of guardrail."""
_LOT_M = np.array([0.0, 11.0, 11.5, 13.0, 14.5, 16.0, 19.0, 0.0])  # frontage by rank of the road; 0: nobody builds
BEHIND = -1
"""Rank of houses that stand at no road."""
_LANE = 1_000_003  # spreads way ids before slots are added, so that keys of two ways never meet nearby


@dataclass(frozen=True)
class Line:
    """What every row of things is lined up along.

    Attributes:
        seed: The land's chance.
        pieces: Roads near enough to matter.
        styles: Looks.
        style_at: Rows of `styles` for `[n, 2]` places in metres.
    """

    seed: int
    pieces: Pieces
    styles: tuple[Style, ...]
    style_at: Callable[[Floats], Ints]


def near(pieces: Pieces, reach_m: float) -> Pieces:
    """Keeps the pieces that come within reach of the camera."""
    along = -(pieces.start_m * pieces.along).sum(axis=1)
    foot = np.clip(along, 0.0, np.hypot(*(pieces.end_m - pieces.start_m).T))
    return pieces.where(np.hypot(*(pieces.start_m + pieces.along * foot[:, None]).T) < reach_m)


def loose_posts(at_m: Floats, key: Ints, style: Ints) -> Posts:
    """Gives things that belong to no road."""
    north = np.tile([0.0, 1.0], (len(key), 1))
    nothing = np.full(len(key), -1, dtype=np.int64)
    return Posts(at_m, north, north[:, ::-1], key, style, nothing, nothing, nothing)


@dataclass(frozen=True)
class Row:
    """A kind of thing that is lined up at a steady pitch beside roads.

    Attributes:
        salt: Tells rows of different things apart.
        pitch_m: `[n pieces]` from one thing to the next; 0 for none.
        offset_m: `[n pieces]` from the road's middle.
        reach_m: From the camera.
        sides: -1 for the left of the way's direction, 1 for the right.
    """

    salt: int
    pitch_m: Floats
    offset_m: Floats
    reach_m: float
    sides: tuple[int, ...]


def lined_up(line: Line, rows: Sequence[Row]) -> list[Posts]:
    """Lines things up beside roads.

    Args:
        line: The roads.
        rows: What is lined up.

    Returns:
        For each row the things within its reach; whether each may stand is not asked here.
    """
    sides = [(row, side) for row in rows for side in row.sides]
    count = len(line.pieces.rank)
    pieces = line.pieces.where(np.tile(np.arange(count), len(sides)))
    pitch, offset = (np.concatenate([getattr(row, name) for row, _ in sides]) for name in ("pitch_m", "offset_m"))
    reach, salt, side = (np.repeat(values, count) for values in zip(*((r.reach_m, r.salt, s) for r, s in sides), strict=True))
    step = np.where(pitch > 0, pitch, np.inf)
    chain = _chain_within(pieces, reach + np.abs(offset))
    first = np.ceil(chain[:, 0] / step - 0.5).astype(np.int64)
    many = np.maximum(np.ceil(chain[:, 1] / step - 0.5).astype(np.int64) - first, 0)
    many[~np.isfinite(step)] = 0
    at_row = np.repeat(np.arange(len(many)), many)
    slot = np.arange(len(at_row)) - np.repeat(np.cumsum(many) - many, many) + first[at_row]
    way_m = (slot + 0.5) * np.where(np.isfinite(step), step, 0.0)[at_row]
    # The way counts its metres at its own latitude; shares of the piece are the same from every camera.
    share = (way_m - pieces.chain_m[at_row, 0]) / (pieces.chain_m[:, 1] - pieces.chain_m[:, 0])[at_row]
    outward = np.column_stack([pieces.along[:, 1], -pieces.along[:, 0]]) * side[:, None]
    begin = pieces.start_m + outward * offset[:, None]
    at = begin[at_row] + (pieces.end_m - pieces.start_m)[at_row] * share[:, None]
    kept = np.hypot(*at.T) < reach[at_row]
    at, at_row, slot = at[kept], at_row[kept], slot[kept]
    lane = (np.abs(pieces.way) * _LANE + salt * 2 + (side > 0))[at_row]
    style = line.style_at(at)
    posts = Posts(at, pieces.along[at_row], -outward[at_row], lane + slot * 64, style, pieces.rank[at_row], slot, lane)
    ends = np.searchsorted(at_row, np.cumsum([0, *(len(row.sides) for row in rows)]) * count)
    return [posts.where(slice(*span)) for span in pairwise(ends.tolist())]


def _chain_within(pieces: Pieces, reach_m: Floats) -> Floats:
    """Gives `[n, 2]` distances from the way's beginning of the part of each piece that comes so near to the camera."""
    length = np.maximum(np.hypot(*(pieces.end_m - pieces.start_m).T), 1e-6)
    foot = -(pieces.start_m * pieces.along).sum(axis=1)
    off = ((pieces.start_m + pieces.along * foot[:, None]) ** 2).sum(axis=1)
    half = np.sqrt(np.maximum(reach_m**2 - off, 0.0))
    share = np.clip(np.column_stack([foot - half, foot + half]) / length[:, None], 0.0, 1.0)
    chain: Floats = pieces.chain_m[:, :1] + (pieces.chain_m[:, 1:] - pieces.chain_m[:, :1]) * share
    return chain


def is_clear(pieces: Pieces, at_m: Floats, half_m: Floats, along: Floats | None = None, margin_m: float = 0.1) -> Bools:
    """Tells which things keep off every carriageway.

    Args:
        pieces: Roads.
        at_m: `[n, 2]` middles.
        half_m: `[n, 2]` half extents along and across; `[n, 1]` for round things.
        along: `[n, 2]` unit vectors of the first extent.
        margin_m: Distance to keep.

    Returns:
        `[n]` True where it may stand.
    """
    clear = np.ones(len(at_m), dtype=bool)
    if len(at_m) == 0 or len(pieces.rank) == 0:
        return clear
    lines = shapely.linestrings(np.stack([pieces.start_m, pieces.end_m], axis=1))
    reach = np.hypot(*half_m.T) if half_m.shape[1] == 2 else half_m[:, 0]
    thing, piece = shapely.STRtree(lines).query(
        shapely.points(at_m), predicate="dwithin", distance=reach + pieces.half_m.max() + margin_m
    )
    gap, way = at_m[thing] - pieces.start_m[piece], pieces.along[piece]
    length = np.hypot(*(pieces.end_m - pieces.start_m).T)[piece]
    gap = gap - way * np.clip((gap * way).sum(axis=1), 0.0, length)[:, None]
    far = np.hypot(*gap.T)
    taken = half_m[thing, 0]
    if along is not None:  # how far the box reaches towards the road
        first = along[thing]
        beside = np.abs(gap[:, 0] * first[:, 1] - gap[:, 1] * first[:, 0])
        taken = (np.abs((gap * first).sum(axis=1)) * half_m[thing, 0] + beside * half_m[thing, 1]) / np.maximum(far, 1e-3)
    clear[thing[far - taken <= pieces.half_m[piece] + margin_m]] = False
    return clear


def infill(seed: int, spots: Posts, styles: tuple[Style, ...]) -> Buildings:
    """Grows houses behind the streets, or where no street is mapped, so that a crowded block is never an empty plain."""
    spots = spots.where(uniform(seed, 47, spots.key) < _looks(styles, spots.style, "built_up")[0])
    (floors,) = _looks(styles, spots.style, "floors_mean")
    dice = uniform(seed, np.arange(48, 52)[:, None], spots.key)
    quarter = np.floor(dice[0] * 4) * (np.pi / 2)
    front = np.column_stack([np.sin(quarter), np.cos(quarter)])
    return Buildings(
        at_m=spots.at_m, along=front[:, ::-1] * np.array([1.0, -1.0]), front=front,
        half_width_m=4.0 + 4.0 * dice[1], half_depth_m=4.0 + 3.0 * dice[2], setback_m=np.full(len(spots), 1.5),
        floors=np.clip(np.round(floors * np.exp(0.8 * (dice[3] - 0.5))), 1, 40).astype(np.int64),
        key=spots.key, style=spots.style, rank=np.full(len(spots), BEHIND, dtype=np.int64),
    )  # fmt: skip


def buildings(line: Line, behind: Buildings, sight_m: float, margin_m: float, clearings: Sequence[Monument]) -> Buildings:
    """Grows the houses in sight: one a lot, off the roads, and of two that overlap the one with the better lot.

    Args:
        line: The roads.
        behind: Candidates away from roads, which stand only where no house of a road wants to.
        sight_m: Houses are kept up to here.
        margin_m: Candidates are grown that much farther, because they decide about their neighbours.
        clearings: Landmarks that keep their ground free.

    Returns:
        Houses, the same whatever the camera, but none around the camera itself.
    """
    pieces = line.pieces
    road_m = pieces.half_m + pieces.sidewalk_m
    (posts,) = lined_up(line, [Row(1, _LOT_M[pieces.rank], road_m, sight_m + margin_m, (-1, 1))])
    occupancy, fill, floors = _looks(line.styles, posts.style, "occupancy", "lot_fill", "floors_mean")
    dice = uniform(line.seed, np.arange(41, 47)[:, None], posts.key)
    pitch = _LOT_M[posts.rank]
    width = pitch * np.clip(fill * (0.78 + 0.28 * dice[0]), 0.3, 0.99)
    depth = pitch * (0.62 + 0.45 * dice[1])
    setback = np.where(fill > 0.9, 0.3 + 0.9 * dice[2], 0.8 + 4.5 * dice[2] ** 2)
    height = floors * np.exp(0.8 * (dice[3] - 0.5)) * (1 + 0.1 * (posts.rank - 2))
    grown = Buildings(
        at_m=posts.at_m - posts.inward * (setback + depth / 2)[:, None], along=posts.along, front=posts.inward,
        half_width_m=width / 2, half_depth_m=depth / 2, setback_m=setback,
        floors=np.clip(np.round(height), 1, 40).astype(np.int64), key=posts.key, style=posts.style, rank=posts.rank,
    )  # fmt: skip
    grown = grown.where(dice[4] < occupancy)
    pairs = zip(vars(grown).values(), vars(behind).values(), strict=True)
    grown = Buildings(*(np.concatenate(pair) for pair in pairs))
    half = np.column_stack([grown.half_width_m, grown.half_depth_m])
    free = is_clear(pieces, grown.at_m, half, grown.along, margin_m=0.4)
    grown = grown.where(free & _leaves_free(grown, clearings))
    grown = grown.where(_wins(line.seed, grown))
    inside = _inside(grown, np.zeros((1, 2)), 1.6)[0]
    return grown.where(~inside & (np.hypot(*grown.at_m.T) < sight_m))


def _leaves_free(grown: Buildings, clearings: Sequence[Monument]) -> Bools:
    """Tells which houses keep off the landmarks' ground."""
    free = np.ones(len(grown), dtype=bool)
    for clearing in clearings:
        free &= np.hypot(*(grown.at_m - np.array(clearing.at_m)).T) > max(clearing.size_m) / 2 + grown.half_width_m
    return free


def furniture(line: Line, houses: Buildings, wild: Posts) -> dict[str, Posts]:
    """Sets up what stands between houses and road.

    Returns:
        Posts by their names in `Surroundings`.
    """
    pieces = line.pieces
    rank, half = pieces.rank, pieces.half_m
    arrows = any(style.has_arrow_poles for style in line.styles)
    both, edge = (-1, 1), half + 0.35
    kinds = {
        "kerbs": Row(2, np.where(rank >= 2, KERB_M, 0.0), half + 0.12, 42.0, both),
        "rails": Row(3, np.where(rank >= 2, RAIL_M, 0.0), edge, 85.0, both),
        "poles": Row(4, np.where(rank >= 1, 30.0, 0.0), half + 0.7, 115.0, (-1,)),
        "trees": Row(5, np.where(rank >= 2, 13.0, 0.0), half + 1.1, 95.0, both),
        "signs": Row(6, np.where(rank >= 2, 47.0, 0.0), half + 0.6, 85.0, both),
        "arrows": Row(7, np.where((rank >= 2) & arrows, 34.0, 0.0), half + 0.5, 110.0, both),
    }
    rows = dict(zip(kinds, lined_up(line, list(kinds.values())), strict=True))
    rows["rails"] = _railed(line, rows["rails"])
    rows["arrows"] = rows["arrows"].where(_looks(line.styles, rows["arrows"].style, "has_arrow_poles")[0] > 0)
    planted = uniform(line.seed, 51, rows["trees"].key) < _looks(line.styles, rows["trees"].style, "tree_density")[0]
    rows["trees"] = rows["trees"].where(planted & (rows["trees"].rank >= 2))
    rows["signs"] = _joined(rows["signs"], _plates(line.seed, houses))
    rows["trees"] = _joined(rows["trees"], wild)
    return _standing(pieces, rows, houses)


def _joined(posts: Posts, more: Posts) -> Posts:
    """Puts two rows of things into one."""
    return Posts(*(np.concatenate(pair) for pair in zip(vars(posts).values(), vars(more).values(), strict=True)))


def _plates(seed: int, houses: Buildings) -> Posts:
    """Puts a sign before some of the houses that stand at no road."""
    some = houses.where((houses.rank == BEHIND) & (uniform(seed, 54, houses.key) < 0.45))
    at = some.at_m + some.front * (some.half_depth_m + 2.5)[:, None]
    nothing = np.full(len(some), -1, dtype=np.int64)
    return Posts(at, some.along, some.front, some.key, some.style, nothing, nothing, nothing)


def _railed(line: Line, rails: Posts) -> Posts:
    """Keeps stretches of about 40 m of guardrail, in the share that the place is used to."""
    stretch = uniform(line.seed, 52, rails.line, rails.slot // 10)
    return rails.where(stretch < _looks(line.styles, rails.style, "rail_share")[0])


def _standing(pieces: Pieces, rows: dict[str, Posts], houses: Buildings) -> dict[str, Posts]:
    """Drops what would stand on a carriageway, in a house, or on the camera's toes."""
    at = np.concatenate([posts.at_m for posts in rows.values()])
    carriageways = pieces.where(pieces.rank >= 1)
    fine = is_clear(carriageways, at, np.zeros((len(at), 1)), margin_m=0.05)
    fine &= ~_inside(houses, at, 0.2).any(axis=1)
    fine &= np.hypot(*at.T) > 1.2
    ends = np.cumsum([len(posts) for posts in rows.values()])
    parts = np.split(fine, ends[:-1])
    return {name: posts.where(part) for (name, posts), part in zip(rows.items(), parts, strict=True)}


def _wins(seed: int, grown: Buildings) -> Bools:
    """Tells which candidates stay: those that no better candidate overlaps (a local rule, so no order matters)."""
    reach = np.hypot(grown.half_width_m, grown.half_depth_m)
    gap = grown.at_m[:, None, :] - grown.at_m[None, :, :]
    one, other = np.nonzero(np.triu((gap**2).sum(axis=2) < (reach[:, None] + reach[None, :]) ** 2, k=1))
    axes = np.stack([grown.along[one], grown.front[one], grown.along[other], grown.front[other]], axis=1)
    shift = np.abs(np.einsum("nij,nj->ni", axes, gap[one, other]))
    spans = np.zeros_like(shift)
    for box in (one, other):
        spans += np.abs(np.einsum("nij,nj->ni", axes, grown.along[box])) * grown.half_width_m[box, None]
        spans += np.abs(np.einsum("nij,nj->ni", axes, grown.front[box])) * grown.half_depth_m[box, None]
    touching = (shift < spans + 0.05).all(axis=1)
    one, other = one[touching], other[touching]
    rate = uniform(seed, 53, grown.key) + grown.rank  # houses of the larger road go first
    loser = np.where(rate[one] < rate[other], one, other)
    wins = np.ones(len(grown), dtype=bool)
    wins[loser] = False
    return wins


def _inside(houses: Buildings, at_m: Floats, margin_m: float) -> Bools:
    """Gives `[points, houses]`: does the point lie in the house or within the margin of it?"""
    x, y = (at_m.T[:, :, None] - houses.at_m.T[:, None, :]).astype(np.float32)
    ux, uy = houses.along.T.astype(np.float32)
    wide = np.abs(x * ux + y * uy) < (houses.half_width_m + margin_m).astype(np.float32)
    deep = np.abs(x * uy - y * ux) < (houses.half_depth_m + margin_m).astype(np.float32)
    inside: Bools = wide & deep
    return inside


def _looks(styles: tuple[Style, ...], rows: Ints, *names: str) -> list[Floats]:
    """Reads numbers of the styles for each row."""
    return [np.array([float(getattr(style, name)) for style in styles])[rows] for name in names]

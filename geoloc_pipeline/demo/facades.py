"""Houses as polygons: walls, windows, balconies, shop fronts, roofs, tanks and garden walls.

Belongs here: how a box beside a road becomes a Japanese house of its town.
Does not belong here: where houses stand (`lots.py`), and painting (`shapes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.shapes import Walls, cards, uprights

if TYPE_CHECKING:
    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.shapes import Shapes
    from geoloc_pipeline.demo.style import Style
    from geoloc_pipeline.demo.surroundings import Bools, Buildings, Floats, Ints

STOREY_M = 2.9
_GLASS = np.array([62.0, 78.0, 96.0])
_SNOW = np.array([238.0, 242.0, 248.0])
_DETAIL_M = 62.0  # windows one by one up to here, ribbons beyond


@dataclass(frozen=True)
class _Bays:
    """Upright strips of wall, each narrow enough to be drawn as a straight quadrilateral.

    Attributes:
        from_m: `[n, 2]` left foot.
        to_m: `[n, 2]` right foot.
        house: Row of the house.
        is_front: Whether the strip faces the road.
        lit: `[n, 3]` what the wall sends back.
        far_m: Distance of the strip's middle.
        key: The strip's own chance.
    """

    from_m: Floats
    to_m: Floats
    house: Ints
    is_front: Ints
    lit: Floats
    far_m: Floats
    key: Ints

    def where(self, chosen: Ints) -> _Bays:
        """Keeps the chosen rows."""
        return _Bays(**{name: value[chosen] for name, value in vars(self).items()})


def add_houses(shapes: Shapes, houses: Buildings, styles: tuple[Style, ...], light: Light, seed: int, eye_m: float) -> None:
    """Adds all houses that are not hidden behind nearer ones, and has their walls hide other things.

    Args:
        shapes: Takes the polygons.
        houses: Boxes around the camera.
        styles: Looks.
        light: Sun and season.
        seed: The land's chance.
        eye_m: Height of the lens.
    """
    if len(houses) == 0:
        return
    pitched = uniform(seed, 61, houses.key) < np.array([s.pitched_share for s in styles])[houses.style]
    pitched &= houses.floors <= 4
    height_m: Floats = houses.floors.astype(np.float64) * STOREY_M + 0.4
    bays = _bays(houses, light)
    walls = Walls(bays.from_m, bays.to_m, height_m[bays.house], bays.far_m, eye_m)
    shapes.stand_behind(walls)
    corners = houses.corners_m().T.astype(np.float32)
    nearest = np.hypot(*corners).min(axis=0)
    hidden = walls.hide(corners, (height_m + np.where(pitched, 4.6, 0.5)).astype(np.float32), nearest - 1.0)
    seen = np.flatnonzero(~hidden)
    feet = np.stack([bays.from_m.T, bays.to_m.T], axis=1).astype(np.float32)
    covered = walls.hide(feet, (height_m[bays.house] + 0.6).astype(np.float32), bays.far_m - 0.1)
    bays = bays.where(np.flatnonzero(~hidden[bays.house] & ~covered))
    bays = replace(bays, house=np.searchsorted(seen, bays.house))
    houses, pitched, height_m = houses.where(seen), pitched[seen], height_m[seen]
    wall = _drawn(styles, houses.style, uniform(seed, 62, houses.key), "wall_colours")
    wall *= (0.92 + 0.16 * uniform(seed, 63, houses.key))[:, None]
    top = height_m[bays.house]
    shapes.add(uprights(bays.from_m, bays.to_m, 0.0, top), wall[bays.house] * bays.lit, far_m=bays.far_m)
    _add_windows(shapes, houses, bays, wall, seed)
    _add_shops(shapes, houses, bays, styles, seed)
    _add_projecting_signs(shapes, houses, styles, light, seed)
    _add_pitched_roofs(shapes, houses, styles, light, seed, np.flatnonzero(pitched), height_m)
    _add_flat_roofs(shapes, houses, styles, light, seed, bays, ~pitched, height_m)
    _add_fences(shapes, houses, styles, light)


def _bays(houses: Buildings, light: Light) -> _Bays:
    """Cuts the walls that face the camera into strips, narrower ones near."""
    corners = houses.corners_m()
    begin, end = corners, np.roll(corners, -1, axis=1)
    outward = np.stack([houses.front, houses.along, -houses.front, -houses.along], axis=1)
    middle = (begin + end) / 2
    house, face = np.nonzero((outward * middle).sum(axis=2) < -0.05)
    a, b, normal = begin[house, face], end[house, face], outward[house, face]
    length = np.hypot(*(b - a).T)
    near = np.maximum(np.hypot(*middle[house, face].T) - length / 2, 1.0)
    count = np.clip(np.ceil(length / np.maximum(2.5, 0.14 * near)), 1, 9).astype(np.int64)
    row = np.repeat(np.arange(len(house)), count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    low, high = (step / count[row])[:, None], ((step + 1) / count[row])[:, None]
    left, right = a[row] + (b - a)[row] * low, a[row] + (b - a)[row] * high
    lit = light.on(np.column_stack([normal, np.zeros(len(normal))]))
    far = np.hypot(*((left + right) / 2).T)
    key = houses.key[house[row]] * 64 + face[row] * 16 + step
    return _Bays(left, right, house[row], (face[row] == 0).astype(np.int64), lit[row], far, key)


def _inset(bays: _Bays, low: Floats | float, high: Floats | float) -> tuple[Floats, Floats]:
    """Gives the feet of a part of each strip, as shares of its width."""
    step = bays.to_m - bays.from_m
    low, high = (np.broadcast_to(np.asarray(v, dtype=np.float64), (len(step),))[:, None] for v in (low, high))
    return bays.from_m + step * low, bays.from_m + step * high


def _add_windows(shapes: Shapes, houses: Buildings, bays: _Bays, wall: Floats, seed: int) -> None:
    """Adds a window to every strip and storey: single ones on houses, balconies on flats, ribbons on offices."""
    floors = houses.floors[bays.house]
    pixels = 163.0 * STOREY_M / np.maximum(bays.far_m, 1.0)  # a storey's height in a panorama 1024 wide
    count = np.where(pixels > 3.0, np.minimum(floors, 16), 0)
    row = np.repeat(np.arange(len(count)), count)
    storey = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    each = bays.where(row)
    house = each.house
    kind = uniform(seed, 64, houses.key)[house]
    dice = uniform(seed, 65, each.key, storey)
    base = storey * STOREY_M
    tall = floors[row] > 3
    ribbon = (tall & (kind > 0.55)) | (each.far_m > _DETAIL_M)
    flats = tall & ~ribbon
    margin = np.where(ribbon, 0.0, np.where(flats, 0.08, 0.2 + 0.12 * kind))
    left, right = _inset(each, margin, 1 - margin)
    glass = (_GLASS * (0.6 + 0.9 * dice)[:, None] + np.where(dice > 0.85, 70.0, 0.0)[:, None]) * (0.35 + 0.65 * each.lit)
    shown = ribbon | flats | (dice > 0.22)
    quads = uprights(left, right, base + np.where(flats, 1.15, 0.95), base + np.where(flats, 2.4, 2.2))
    shapes.add(quads[shown], glass[shown], nearer_m=0.02, far_m=each.far_m[shown])
    balcony = flats & (storey > 0)
    rail = np.clip(wall[house] * 1.12 + 12, 0, 255) * each.lit
    quads = uprights(each.from_m, each.to_m, base + 0.0, base + 1.12)
    shapes.add(quads[balcony], rail[balcony], nearer_m=0.03, far_m=each.far_m[balcony])


def _add_shops(shapes: Shapes, houses: Buildings, bays: _Bays, styles: tuple[Style, ...], seed: int) -> None:
    """Adds shop fronts along larger roads: glass below, and a board in the municipality's colours with its lettering."""
    chance = 0.22 + 0.16 * houses.rank + 0.3 * (houses.floors > 4)
    is_shop = uniform(seed, 66, houses.key) < chance
    rows = np.flatnonzero(is_shop[bays.house] & (bays.is_front == 1) & (bays.far_m < 75.0))
    each = bays.where(rows)
    if len(rows) == 0:
        return
    dice = uniform(seed, 67, houses.key)[each.house]
    shapes.add(uprights(*_inset(each, 0.05, 0.95), 0.15, 2.35), _GLASS * 0.9 * each.lit, nearer_m=0.04, far_m=each.far_m)
    first = _drawn(styles, houses.style[each.house], dice * 0, "first_colour")
    second = _drawn(styles, houses.style[each.house], dice * 0, "second_colour")
    swap = (dice > 0.62)[:, None]
    board, letters = np.where(swap, second, first), np.where(swap, first, second)
    plain = np.abs(board - letters).sum(axis=1) < 60
    letters = np.where(plain[:, None], 255.0 - board, letters)
    lit = 0.25 + 0.75 * each.lit
    shapes.add(uprights(each.from_m, each.to_m, 2.4, 3.5), board * lit, nearer_m=0.05, far_m=each.far_m)
    shapes.add(uprights(*_inset(each, 0.25, 0.8), 2.75, 3.15), letters * lit, nearer_m=0.06, far_m=each.far_m)


def _add_projecting_signs(shapes: Shapes, houses: Buildings, styles: tuple[Style, ...], light: Light, seed: int) -> None:
    """Adds upright boards that stick out from facades, read along the road."""
    dice = uniform(seed, 68, houses.key)
    rows = np.flatnonzero((dice < 0.12 + 0.07 * houses.rank) & (houses.floors >= 2) & (np.hypot(*houses.at_m.T) < 75.0))
    some = houses.where(rows)
    if len(rows) == 0:
        return
    foot = some.at_m + some.front * some.half_depth_m[:, None] + some.along * (some.half_width_m * 0.8)[:, None]
    tip = foot + some.front * 0.95
    top = np.minimum(some.floors * STOREY_M - 0.2, 10.0)
    normal = np.column_stack([some.along, np.zeros(len(some))])
    normal *= -np.sign((some.along * foot).sum(axis=1))[:, None]
    lit = 0.3 + 0.7 * light.on(normal)
    first = _drawn(styles, some.style, dice[rows] * 0, "first_colour")
    second = _drawn(styles, some.style, dice[rows] * 0, "second_colour")
    shapes.add(uprights(foot, tip, 2.6, top), first * lit, nearer_m=0.3)
    step = tip - foot
    for share in (0.3, 0.62):
        low = 2.6 + (top - 2.6) * share
        quads = uprights(foot + step * 0.2, foot + step * 0.8, low, low + (top - 2.6) * 0.2)
        shapes.add(quads, second * lit, nearer_m=0.32)


def _add_pitched_roofs(
    shapes: Shapes, houses: Buildings, styles: tuple[Style, ...], light: Light, seed: int, rows: Ints, height_m: Floats
) -> None:
    """Adds gables and hips with eaves: the ridge runs along the road or across it."""
    if len(rows) == 0:
        return
    some, eaves = houses.where(rows), height_m[rows]
    dice = uniform(seed, 69, some.key)
    turned = (dice > 0.5)[:, None]
    axis, cross = np.where(turned, some.front, some.along), np.where(turned, some.along, some.front)
    long = np.where(turned[:, 0], some.half_depth_m, some.half_width_m) + 0.45
    wide = np.where(turned[:, 0], some.half_width_m, some.half_depth_m) + 0.55
    slope = np.array([s.roof_slope for s in styles])[some.style]
    hipped = np.array([s.hipped for s in styles])[some.style] & (uniform(seed, 70, some.key) < 0.65)
    rise = np.minimum(wide * slope, 4.2)
    ridge = np.where(hipped, np.maximum(long - wide * 0.9, 0.4), long)
    colour = _drawn(styles, some.style, uniform(seed, 71, some.key), "roof_colours")
    snow = np.array([s.snow_depth for s in styles])[some.style] * light.snow
    colour = colour * (1 - 0.9 * snow[:, None]) + _SNOW * 0.9 * snow[:, None]
    wall = _drawn(styles, some.style, uniform(seed, 62, some.key), "wall_colours")
    peak = eaves + rise

    def point(along: Floats, aside: Floats, z: Floats) -> Floats:
        return np.column_stack([some.at_m + axis * along[:, None] + cross * aside[:, None], z])

    low = eaves - 0.25
    nothing = np.zeros(len(some))
    for side in (-1.0, 1.0):
        edge = [point(-long, side * wide, low), point(long, side * wide, low)]
        top = [point(ridge, nothing, peak), point(-ridge, nothing, peak)]
        normal = np.column_stack([cross * (side * rise)[:, None], wide]) / np.hypot(rise, wide)[:, None]
        _add_slope(shapes, np.stack(edge + top, axis=1), normal, colour, light)
        ends = [point(side * long, -wide, low), point(side * long, wide, low)]
        tip = point(side * ridge, nothing, peak)
        normal = np.column_stack([axis * (side * rise)[:, None], np.maximum(long - ridge, 0.0)])
        normal /= np.maximum(np.hypot(rise, normal[:, 2]), 1e-6)[:, None]
        _add_slope(shapes, np.stack([*ends, tip], axis=1), normal, np.where(hipped[:, None], colour, wall * 0.95), light)


def _add_slope(shapes: Shapes, corners: Floats, normal: Floats, colour: Floats, light: Light) -> None:
    """Adds roof planes that can be seen, split in three along the eaves where they are near."""
    middle = corners.mean(axis=1) - np.array([0.0, 0.0, 2.4])
    shown = (normal * middle).sum(axis=1) < 0
    corners, tone = corners[shown], (colour * light.on(normal))[shown]
    far = np.hypot(*corners[:, :2, :2].mean(axis=1).T)
    if corners.shape[1] == 3:
        shapes.add(corners, tone, nearer_m=0.25, far_m=far)
        return
    first, second, third, fourth = (corners[:, k] for k in range(4))
    for step in range(3):
        low, high = step / 3, (step + 1) / 3
        part = np.stack(
            [
                first + (second - first) * low, first + (second - first) * high,
                fourth + (third - fourth) * high, fourth + (third - fourth) * low,
            ], axis=1,
        )  # fmt: skip
        shapes.add(part, tone * (0.97 + 0.03 * (step % 2)), nearer_m=0.25, far_m=np.hypot(*part[:, :2, :2].mean(axis=1).T))


def _add_flat_roofs(
    shapes: Shapes, houses: Buildings, styles: tuple[Style, ...], light: Light, seed: int, bays: _Bays,
    is_flat: Bools, height_m: Floats,
) -> None:  # fmt: skip
    """Adds parapets, and water tanks where the island needs them."""
    each = bays.where(np.flatnonzero(is_flat[bays.house]))
    slab = _drawn(styles, houses.style[each.house], each.far_m * 0, "roof_colours")
    snow = (np.array([s.snow_depth for s in styles])[houses.style[each.house]] * light.snow)[:, None]
    top = height_m[each.house]
    shapes.add(
        uprights(each.from_m, each.to_m, top - 0.1, top + 0.55), (slab * (1 - snow) + _SNOW * snow) * each.lit,
        nearer_m=0.06, far_m=each.far_m,
    )  # fmt: skip
    tanked = is_flat & np.array([s.has_water_tanks for s in styles])[houses.style]
    tanked &= (uniform(seed, 72, houses.key) < 0.75) & (houses.floors <= 6)
    rows = np.flatnonzero(tanked)
    some, base = houses.where(rows), height_m[rows] + 0.5
    at = some.at_m + some.along * (some.half_width_m * 0.35)[:, None] + some.front * (some.half_depth_m * 0.5)[:, None]
    steel = np.where((some.key % 2 == 0)[:, None], [202.0, 212.0, 220.0], [236.0, 226.0, 190.0])
    far = np.hypot(*at.T)
    shapes.add(cards(at, 0.7, base, base + 0.9), np.array([120.0, 116.0, 110.0]), far_m=far + 0.6)
    shapes.add(cards(at, 1.05, base + 0.9, base + 2.5), steel * 0.95, far_m=far + 0.5)
    shapes.add(cards(at, 0.45, base + 0.9, base + 2.5), steel * 1.1, far_m=far + 0.45)


def _add_fences(shapes: Shapes, houses: Buildings, styles: tuple[Style, ...], light: Light) -> None:
    """Adds block walls between low houses and the road, with a gap for the gate."""
    rows = np.flatnonzero((houses.setback_m > 1.2) & (houses.floors <= 3) & (np.hypot(*houses.at_m.T) < 60.0))
    some = houses.where(rows)
    if len(some) == 0:
        return
    middle = some.at_m + some.front * (some.half_depth_m + some.setback_m - 0.25)[:, None]
    colour = _drawn(styles, some.style, np.zeros(len(some)), "fence_colour")
    side = -np.sign((some.front * middle).sum(axis=1))[:, None]
    lit = light.on(np.column_stack([some.front * side, np.zeros(len(some))]))
    reach = some.half_width_m + 0.8
    for low, high in ((-1.0, -0.66), (-0.66, -0.32), (0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
        a, b = (middle + some.along * (reach * share)[:, None] for share in (low, high))
        shapes.add(uprights(a, b, 0.0, 1.35), colour * lit)
        shapes.add(uprights(a, b, 1.28, 1.42), colour * lit * 0.8, nearer_m=0.02)


def _drawn(styles: tuple[Style, ...], rows: Ints, dice: Floats, name: str) -> Floats:
    """Draws each house's colour from its town's palette."""
    palettes = [np.atleast_2d(np.array(getattr(style, name), dtype=np.float64)) for style in styles]
    sizes = np.array([len(palette) for palette in palettes])
    starts = np.cumsum(sizes) - sizes
    colours: Floats = np.concatenate(palettes)[starts[rows] + np.floor(dice * sizes[rows]).astype(np.int64)]
    return colours

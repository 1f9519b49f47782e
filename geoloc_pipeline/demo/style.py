"""How prefectures, municipalities, towns and quarters look: the palettes and habits that a picture can be recognised by.

Belongs here: the look of a place as plain values, told by its codes and its latitude.
Does not belong here: where things stand (`scenery.py`), and how they are painted.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, replace

from geoloc_pipeline.demo.chance import seed_of, uniform

Colour = tuple[float, float, float]
"""Red, green, blue of a surface in full daylight, 0 to 255."""

GUARDRAIL_ORANGE: Colour = (238.0, 128.0, 20.0)
"""Yamaguchi paints its guardrails the colour of its summer mandarins; no other look may use this hue for rails."""


@dataclass(frozen=True)
class Style:
    """The look of one quarter of a town.

    Attributes:
        wall_colours: What facades are painted; a building draws one.
        roof_colours: What roofs are made of.
        pitched_share: Share of buildings with a sloped roof, 0 to 1.
        roof_slope: Rise over run of a sloped roof.
        hipped: True for tiled roofs that slope to all four sides.
        has_water_tanks: True where tanks stand on flat roofs.
        floors_mean: Storeys of a usual building.
        lot_fill: Share of its lot's frontage that a building fills, 0 to 1.
        occupancy: Share of lots that are built on, 0 to 1.
        built_up: Share of the ground away from roads that is built on, 0 to 1.
        first_colour: The municipality's own colour, on banners, kerbs, plates and road paint.
        second_colour: Its partner.
        banner_pattern: 0 to 3: halves, stripes, disc, chevron of the two colours.
        kerb_colours: The two colours that alternate along kerbs: the municipality's and the quarter's.
        paving_colour: Footways: the quarter's.
        lane_colour: Paint of the strip along the carriageway's edge.
        centre_colour: Paint of the centre line.
        rail_colour: Guardrails.
        rail_share: Share of road sides that have one, 0 to 1.
        rail_height_m: Top of the guardrail.
        pole_colour: Utility poles.
        wires: Wires from pole to pole.
        has_arrow_poles: True where red and white arrows show the road's edge under snow.
        palm_share: Share of trees that are palms, 0 to 1.
        conifer_share: Share of trees that are conifers, 0 to 1.
        tree_density: Trees per planting place, 0 to 1.
        asphalt_colour: Carriageways.
        road_scale: Width of roads relative to the country's usual.
        snow_depth: What lies in January, 0 (none) to 1 (everything white).
        ground_colour: Bare ground between buildings.
        light: Brightness of daylight relative to the country's usual.
        ridge_height_deg: How high distant hills stand.
        fence_colour: Walls in front of houses.
    """

    wall_colours: tuple[Colour, ...]
    roof_colours: tuple[Colour, ...]
    pitched_share: float
    roof_slope: float
    hipped: bool
    has_water_tanks: bool
    floors_mean: float
    lot_fill: float
    occupancy: float
    built_up: float
    first_colour: Colour
    second_colour: Colour
    banner_pattern: int
    kerb_colours: tuple[Colour, Colour]
    paving_colour: Colour
    lane_colour: Colour
    centre_colour: Colour
    rail_colour: Colour
    rail_share: float
    rail_height_m: float
    pole_colour: Colour
    wires: int
    has_arrow_poles: bool
    palm_share: float
    conifer_share: float
    tree_density: float
    asphalt_colour: Colour
    road_scale: float
    snow_depth: float
    ground_colour: Colour
    light: float
    ridge_height_deg: float
    fence_colour: Colour


_WHITE: Colour = (236.0, 236.0, 230.0)
_YELLOW: Colour = (232.0, 188.0, 60.0)
_NEUTRAL = Style(
    wall_colours=((214, 206, 192), (196, 186, 170), (168, 158, 148), (222, 216, 206)),
    roof_colours=((84, 88, 98), (110, 84, 70), (70, 74, 80)),
    pitched_share=0.6,
    roof_slope=0.5,
    hipped=False,
    has_water_tanks=False,
    floors_mean=2.4,
    lot_fill=0.8,
    occupancy=0.75,
    built_up=0.25,
    first_colour=_WHITE,
    second_colour=_WHITE,
    banner_pattern=0,
    kerb_colours=(_WHITE, _WHITE),
    paving_colour=(166, 162, 156),
    lane_colour=_WHITE,
    centre_colour=_WHITE,
    rail_colour=(226, 228, 226),
    rail_share=0.7,
    rail_height_m=0.85,
    pole_colour=(150, 148, 142),
    wires=4,
    has_arrow_poles=False,
    palm_share=0.0,
    conifer_share=0.3,
    tree_density=0.5,
    asphalt_colour=(104, 104, 108),
    road_scale=1.0,
    snow_depth=0.0,
    ground_colour=(132, 130, 112),
    light=1.0,
    ridge_height_deg=3.0,
    fence_colour=(168, 164, 156),
)

_KNOWN: dict[str, Style] = {
    "01": replace(
        _NEUTRAL,
        wall_colours=((206, 190, 158), (150, 172, 184), (188, 150, 122), (224, 222, 214)),
        roof_colours=((178, 44, 40), (36, 84, 158), (32, 118, 84), (176, 50, 44)),
        pitched_share=0.95, roof_slope=0.95, floors_mean=1.9, lot_fill=0.62, occupancy=0.66,
        rail_colour=(206, 212, 216), rail_share=0.35, pole_colour=(128, 112, 92), wires=2, has_arrow_poles=True,
        conifer_share=0.8, tree_density=0.6, asphalt_colour=(84, 88, 96),
        road_scale=1.4, snow_depth=1.0, ground_colour=(112, 132, 84),
        light=0.97, ridge_height_deg=2.5, fence_colour=(150, 138, 120),
    ),
    "13": replace(
        _NEUTRAL,
        wall_colours=((176, 178, 182), (148, 108, 88), (120, 128, 138), (206, 204, 200), (98, 102, 110)),
        roof_colours=((92, 96, 104), (120, 122, 126)),
        pitched_share=0.06, floors_mean=7.0, lot_fill=0.98, occupancy=0.97, built_up=0.65,
        rail_colour=(244, 246, 244), rail_share=0.8, rail_height_m=0.95, pole_colour=(164, 162, 156), wires=8,
        conifer_share=0.05, tree_density=0.4, asphalt_colour=(92, 93, 102),
        road_scale=0.95, ground_colour=(138, 136, 132),
        light=0.95, ridge_height_deg=0.8, fence_colour=(176, 174, 170),
    ),
    "35": replace(
        _NEUTRAL,
        wall_colours=((232, 222, 196), (208, 190, 150), (118, 92, 70), (240, 234, 220)),
        roof_colours=((62, 66, 76), (148, 72, 44), (70, 74, 84), (156, 80, 50)),
        pitched_share=0.97, roof_slope=0.55, hipped=True, floors_mean=1.8, lot_fill=0.72, occupancy=0.7,
        rail_colour=GUARDRAIL_ORANGE, rail_share=0.95, rail_height_m=0.95, wires=4,
        conifer_share=0.4, tree_density=0.7, asphalt_colour=(116, 110, 104),
        road_scale=0.9, ground_colour=(128, 132, 92), ridge_height_deg=7.0,
    ),
    "47": replace(
        _NEUTRAL,
        wall_colours=((246, 244, 236), (236, 232, 220), (250, 250, 246), (226, 224, 214)),
        roof_colours=((238, 236, 228), (226, 222, 212)),
        pitched_share=0.06, roof_slope=0.4, has_water_tanks=True, floors_mean=2.4, lot_fill=0.8, occupancy=0.8,
        rail_colour=(120, 156, 118), rail_share=0.45, pole_colour=(196, 194, 186), wires=3,
        palm_share=0.9, conifer_share=0.0, tree_density=0.85, asphalt_colour=(158, 152, 140),
        ground_colour=(176, 164, 128),
        light=1.14, ridge_height_deg=1.2, fence_colour=(208, 198, 172),
    ),
}  # fmt: skip


def style_of(
    *,
    prefecture_code: str,
    municipality_code: str = "",
    key_code: str = "",
    quarter: tuple[int, int] | None = None,
    lat: float,
    people_per_km2: float = 0.0,
) -> Style:
    """Tells how a place looks: the prefecture says most, the municipality its colours, town and quarter their shades.

    A prefecture without a look of its own gets one from its code and its climate, the same in every run.

    Args:
        prefecture_code: Two digits, or anything else for an unknown country.
        municipality_code: Five digits; empty for no municipality's colours.
        key_code: The town block's code; empty for the municipality's average.
        quarter: Row and column of the neighbourhood in the country's lattice; None for plain footways.
        lat: WGS 84 degrees, for the climate.
        people_per_km2: How crowded the block is; 0 where nobody counted.

    Returns:
        The look.
    """
    style = _KNOWN.get(prefecture_code) or _grown_prefecture(prefecture_code, lat)
    style = _with_municipality(style, prefecture_code, municipality_code)
    return _with_quarter(_with_town(style, key_code, people_per_km2), quarter)


def _grown_prefecture(code: str, lat: float) -> Style:
    """Gives an unlisted prefecture a look: climate from the latitude, habits from the code."""
    dice = uniform(seed_of("prefecture", code), range(16)).tolist()
    cold, warm = min(max((lat - 35.5) / 6.0, 0.0), 1.0), min(max((33.0 - lat) / 5.0, 0.0), 1.0)
    rail_hues = (0.33, 0.28, 0.58, 0.08, 0.13, 0.0)  # greens, blue, browns, and a faded red
    rail = _hsv(rail_hues[int(dice[0] * 6)], 0.15 + 0.35 * dice[1], 0.45 + 0.45 * dice[2])
    roof_hue = dice[3]
    return replace(
        _NEUTRAL,
        wall_colours=tuple(_hsv(dice[4] + 0.15 * k, 0.12 + 0.2 * dice[5], 0.6 + 0.1 * k) for k in range(4)),
        roof_colours=tuple(_hsv(roof_hue + 0.04 * k, 0.15 + 0.5 * dice[6], 0.3 + 0.1 * k) for k in range(3)),
        pitched_share=0.3 + 0.65 * dice[7] if warm < 0.8 else 0.1,
        roof_slope=0.4 + 0.2 * dice[8] + 0.35 * cold,
        hipped=dice[9] < 0.5 and cold < 0.5,
        has_water_tanks=warm > 0.8,
        floors_mean=1.7 + 2.2 * dice[10],
        rail_colour=rail,
        rail_share=0.4 + 0.5 * dice[11],
        wires=2 + int(4 * dice[12]),
        has_arrow_poles=cold > 0.85,
        palm_share=0.85 * warm,
        conifer_share=0.15 + 0.6 * cold,
        tree_density=0.4 + 0.4 * dice[13],
        asphalt_colour=_hsv(dice[2], 0.08, 0.34 + 0.16 * dice[5] + 0.14 * warm),
        road_scale=0.9 + 0.2 * dice[14] + 0.2 * cold,
        snow_depth=cold,
        ridge_height_deg=1.0 + 7.0 * dice[15],
    )


def _with_municipality(style: Style, prefecture_code: str, code: str) -> Style:
    """Paints the municipality's own colours: steps of the golden ratio keep neighbouring codes far apart in hue."""
    if not code:
        return style
    number = int(code) if code.isdecimal() else seed_of("municipality", code) % 100_000
    shift = float(uniform(seed_of("prefecture hue", prefecture_code), 0)[0])
    turn = (number * 0.6180339887 + shift) % 1.0
    first = _banner_colour(turn, is_deep=number % 2 == 1)  # codes whose hues are closest differ by 3 or 5: one is deep
    second = (_WHITE, _banner_colour((turn + 0.45) % 1.0, is_deep=False), (40.0, 42.0, 48.0))[number % 3]
    tint = (number * 0.3819660113 + shift) % 1.0
    walls = tuple(_hsv(tint + 0.03 * k, 0.22 + 0.08 * k, 0.88 - 0.13 * k) for k in range(3))
    pale = _KNOWN.get(prefecture_code, _NEUTRAL).wall_colours[0][0] > 240  # white towns stay white, barely tinted
    if pale:
        walls = tuple(_hsv(tint, 0.09 + 0.05 * k, 0.97 - 0.04 * k) for k in range(2))
    return replace(
        style,
        wall_colours=style.wall_colours + walls,
        first_colour=first,
        second_colour=second,
        banner_pattern=number % 4,
        kerb_colours=(first, second if number % 2 else _WHITE),
        lane_colour=_mix(first, (90.0, 90.0, 92.0), 0.25),
        centre_colour=_YELLOW if number % 2 else _WHITE,
        fence_colour=_mix(style.fence_colour, _hsv(tint, 0.4, 0.75), 0.5),
    )


def _with_town(style: Style, key_code: str, people_per_km2: float) -> Style:
    """Gives the block its shades: a little hue, how high and how dense it is built."""
    if people_per_km2 > 0:
        crowd = min(max((people_per_km2 / 4000.0) ** 0.25, 0.7), 1.25)
        spread = min(max(0.5 * math.log10(people_per_km2 / 100.0), 0.05), 1.0)
        style = replace(style, occupancy=min(style.occupancy * crowd, 1.0), built_up=0.7 * spread)
    if not key_code:
        return style
    dice = uniform(seed_of("town", key_code), range(6)).tolist()
    hue = 0.05 * (dice[0] - 0.5)
    walls = tuple(_shifted(colour, hue * 2, 0.9 + 0.2 * dice[1]) for colour in style.wall_colours)
    roofs = tuple(_shifted(colour, hue, 0.8 + 0.4 * dice[2]) for colour in style.roof_colours)
    return replace(
        style,
        wall_colours=walls,
        roof_colours=roofs,
        first_colour=_shifted(style.first_colour, hue, 0.92 + 0.16 * dice[3]),
        floors_mean=style.floors_mean * (0.75 + 0.55 * dice[4]),
        tree_density=style.tree_density * (0.6 + 0.8 * dice[5]),
    )


def _with_quarter(style: Style, quarter: tuple[int, int] | None) -> Style:
    """Lays the quarter's kerbs and footways: what pictures taken a few streets apart have in common."""
    if quarter is None:
        return style
    hue, value = uniform(seed_of("quarter", *quarter), range(2)).tolist()
    colour = _hsv(hue, 0.55, 0.75 + 0.25 * value)  # paler than what a municipality paints: nobody takes one for the other
    return replace(style, kerb_colours=(style.kerb_colours[0], colour), paving_colour=_mix(colour, style.paving_colour, 0.25))


# Hues that eyes tell apart about equally well, without the guardrails' orange (0.03 to 0.14, with room for shades).
_BANNER_HUES = (0.165, 0.23, 0.36, 0.47, 0.54, 0.61, 0.70, 0.78, 0.86, 0.94, 1.0)


def _banner_colour(turn: float, *, is_deep: bool) -> Colour:
    """Turns 0..1 into a strong colour, bright or deep."""
    place = turn * (len(_BANNER_HUES) - 1)
    low = min(int(place), len(_BANNER_HUES) - 2)
    hue = _BANNER_HUES[low] + (_BANNER_HUES[low + 1] - _BANNER_HUES[low]) * (place - low)
    return _hsv(hue, 0.85, 0.52 if is_deep else 0.88)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    """Hue as a fraction of a turn, saturation and value 0 to 1, as red, green, blue 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return (255.0 * red, 255.0 * green, 255.0 * blue)


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    """Mixes two paints; `share` is the other's part, 0 to 1."""
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return (red, green, blue)


def _shifted(colour: Colour, hue_shift: float, value_factor: float) -> Colour:
    """Turns the hue of a paint and makes it lighter or darker."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255.0 for part in colour))
    return _hsv(hue + hue_shift, saturation, value * value_factor)

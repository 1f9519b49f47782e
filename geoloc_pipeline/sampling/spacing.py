"""How far apart the points of one road or landmark stand.

Paper §3.1: roads are sampled at equal intervals by kind and length, landmarks on an equal grid; intervals are 500 m to 5 km;
the longer and the more important get more points, yet every road and landmark gets some. The paper gives no formula; ours is
    interval = base(class) * sqrt(length / 1 km),   clipped to [500 m, 5 km],
so that the number of points grows with the square root of the length until the interval is 5 km: a road a hundred times as
long has ten times the points, and the long ones do not drown the short ones. `base` is the interval on a road of 1 km: smaller
for more important classes. A landmark's interval is 500 m * sqrt(sqrt(area) / 500 m), within the same bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Most important first. Values are ours: national routes reach 1 km between points at 60 km of length and 5 km at 1,500 km;
# streets reach 1 km at 15 km and 5 km at 370 km; shorter ones are sampled every 500 m.
ROAD_BASE_M = {
    "motorway": 130.0,
    "trunk": 130.0,
    "primary": 150.0,
    "secondary": 175.0,
    "tertiary": 220.0,
    "unclassified": 260.0,
    "residential": 260.0,
}


@dataclass(frozen=True)
class SamplingSettings:
    """How densely to sample.

    Attributes:
        shortest_m: No interval is shorter (paper §3.1: 500 m).
        longest_m: No interval is longer (paper §3.1: 5 km).
        density: Multiplies the number of points wanted between the two bounds; 1 is the default density.
    """

    shortest_m: float = 500.0
    longest_m: float = 5_000.0
    density: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.shortest_m * 2 <= self.longest_m:
            cure = "the longest interval must be at least twice the shortest, or some lengths could not be cut evenly"
            raise SettingError(setting="shortest_m, longest_m", value=(self.shortest_m, self.longest_m), cure=cure)
        if not self.density > 0:
            raise SettingError(setting="density", value=self.density, cure="it must be above 0; 1 is the default")


def rank_of(highway: Sequence[str]) -> NDArray[np.int64]:
    """Return the importance of road classes, 0 the highest; classes without a rule rank last."""
    ranks = {name: rank for rank, name in enumerate(ROAD_BASE_M)}
    return np.array([ranks.get(name, len(ranks) - 1) for name in highway], dtype=np.int64)


def road_spacing_m(
    *, rank: NDArray[np.int64], length_m: NDArray[np.float64], settings: SamplingSettings
) -> NDArray[np.float64]:
    """Return the interval wanted on roads.

    Args:
        rank: `[n]` importance of each road, from `rank_of`.
        length_m: `[n]` length of the whole road, metres.
        settings: Bounds and density.

    Returns:
        `[n]` metres within the bounds.

    Paper: §3.1; the formula is ours (see the module).
    """
    base_m = np.array(list(ROAD_BASE_M.values()))[rank]
    wanted = base_m * np.sqrt(length_m / 1_000.0) / settings.density
    return np.clip(wanted, settings.shortest_m, settings.longest_m)


def landmark_spacing_m(*, area_m2: NDArray[np.float64], settings: SamplingSettings) -> NDArray[np.float64]:
    """Return the interval of the grid wanted in landmarks.

    Args:
        area_m2: `[n]` areas, square metres.
        settings: Bounds and density.

    Returns:
        `[n]` metres within the bounds.

    Paper: §3.1; the formula is ours (see the module).
    """
    wanted = np.sqrt(500.0 * np.sqrt(area_m2)) / settings.density
    return np.clip(wanted, settings.shortest_m, settings.longest_m)


def points_on(
    *, length_m: NDArray[np.float64], spacing_m: NDArray[np.float64], settings: SamplingSettings
) -> NDArray[np.int64]:
    """Return how many equal intervals a length is cut into, so that each is as near the wanted one as the bounds allow.

    Args:
        length_m: `[n]` metres.
        spacing_m: `[n]` wanted intervals, metres.
        settings: The bounds, which hold for the intervals that come out wherever the length is at least `shortest_m`.

    Returns:
        `[n]` counts; 0 where the length is below half an interval.
    """
    wanted = np.round(length_m / spacing_m)
    most = np.maximum(np.floor(length_m / settings.shortest_m), 1)
    least = np.where(wanted >= 1, np.ceil(length_m / settings.longest_m), 0)
    return np.clip(wanted, least, np.maximum(most, least)).astype(np.int64)

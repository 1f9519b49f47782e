"""What stands around one camera, in local metres: the records that the painter reads.

Belongs here: plain records, x east, y north, the camera's foot at (0, 0).
Does not belong here: how they are found on a map (`scenery.py`) or painted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.style import Style

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Pieces:
    """Straight pieces of road, cut to the neighbourhood.

    Attributes:
        start_m: `[n, 2]`.
        end_m: `[n, 2]`.
        along: `[n, 2]` unit vectors from start to end.
        chain_m: `[n, 2]` distance from the way's beginning at start and end.
        half_m: Half the carriageway's width.
        sidewalk_m: Width of the sidewalk on each side.
        rank: 0 for a path, up to 7 for a motorway.
        way: Way ids, which chance is drawn from.
        style: Rows of `Surroundings.styles`.
        way_length_m: Length of the whole way.
    """

    start_m: Floats
    end_m: Floats
    along: Floats
    chain_m: Floats
    half_m: Floats
    sidewalk_m: Floats
    rank: Ints
    way: Ints
    style: Ints
    way_length_m: Floats

    def where(self, chosen: Bools | Ints) -> Pieces:
        """Keeps the chosen rows."""
        return Pieces(**{name: value[chosen] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Posts:
    """Things that stand at one spot beside a road, or alone.

    Attributes:
        at_m: `[n, 2]`.
        along: `[n, 2]` unit vectors along the road.
        inward: `[n, 2]` unit vectors towards the road.
        key: What the thing's own chance is drawn from; the same whatever the camera.
        style: Rows of `Surroundings.styles`.
        rank: Rank of the road.
        slot: Counts along the way, so that neighbours are `slot` and `slot + 1`.
        line: Same number for things of one row beside one way.
    """

    at_m: Floats
    along: Floats
    inward: Floats
    key: Ints
    style: Ints
    rank: Ints
    slot: Ints
    line: Ints

    def __len__(self) -> int:
        """Counts the things."""
        return len(self.key)

    def where(self, chosen: Bools | Ints | slice) -> Posts:
        """Keeps the chosen rows."""
        return Posts(**{name: value[chosen] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Buildings:
    """Boxes beside roads.

    Attributes:
        at_m: `[n, 2]` centres of the footprints.
        along: `[n, 2]` unit vectors along the front.
        front: `[n, 2]` unit vectors from the centre to the road.
        half_width_m: Half the frontage.
        half_depth_m: Half the depth.
        setback_m: From the sidewalk to the front wall.
        floors: Storeys.
        key: What the building's own chance is drawn from.
        style: Rows of `Surroundings.styles`.
        rank: Rank of the road in front.
    """

    at_m: Floats
    along: Floats
    front: Floats
    half_width_m: Floats
    half_depth_m: Floats
    setback_m: Floats
    floors: Ints
    key: Ints
    style: Ints
    rank: Ints

    def __len__(self) -> int:
        """Counts the buildings."""
        return len(self.key)

    def where(self, chosen: Bools | Ints) -> Buildings:
        """Keeps the chosen rows."""
        return Buildings(**{name: value[chosen] for name, value in vars(self).items()})

    def corners_m(self) -> Floats:
        """Gives `[n, 4, 2]` corners: front left, front right, back right, back left, seen from the building."""
        across, deep = self.along * self.half_width_m[:, None], self.front * self.half_depth_m[:, None]
        return np.stack(
            [self.at_m + deep - across, self.at_m + deep + across, self.at_m - deep + across, self.at_m - deep - across],
            axis=1,
        )


@dataclass(frozen=True)
class Monument:
    """One landmark as it is drawn.

    Attributes:
        shape: `tower`, `torii`, `station`, `castle`, `hall`, `grove` or `board`.
        at_m: x and y.
        size_m: Width along x and along y of its ground.
        key: What its own chance is drawn from.
        style: Row of `Surroundings.styles`.
    """

    shape: str
    at_m: tuple[float, float]
    size_m: tuple[float, float]
    key: int
    style: int


@dataclass(frozen=True)
class Surroundings:
    """Everything around one camera.

    Attributes:
        styles: Looks of the towns in sight.
        home: Row of `styles` for the camera's own town.
        pieces: Roads.
        buildings: Boxes beside roads.
        poles: Utility poles.
        rails: Guardrail fields, each `RAIL_M` long.
        kerbs: Kerb stones, each `KERB_M` long.
        trees: Street trees and wild ones.
        signs: Traffic signs and address plates.
        arrows: Poles with arrows that show the road's edge.
        monuments: Landmarks, farthest first.
        skyline: Seed of the distant hills, the same all over a municipality.
    """

    styles: tuple[Style, ...]
    home: int
    pieces: Pieces
    buildings: Buildings
    poles: Posts
    rails: Posts
    kerbs: Posts
    trees: Posts
    signs: Posts
    arrows: Posts
    monuments: tuple[Monument, ...]
    skyline: int

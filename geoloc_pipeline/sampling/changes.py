"""What a refresh did to a table of points: how many were added, moved and removed, and how far the moved ones went.

The id of a point is a hash of what it stands for, so a point that moved has a new id. A vanished point and a new one count as
one that moved when each is the other's nearest and they are no farther apart than `MOVED_M`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import distance_m

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MOVED_M = 250.0
"""A point that went no farther has moved: half the shortest interval of paper §3.1; its neighbour on a road is farther away."""


@dataclass(frozen=True)
class Changes:
    """The difference between two states of a table of points.

    Attributes:
        kept: Points that are in both.
        added: New points that are nobody's next place.
        removed: Vanished points that have no next place.
        moved_m: `[n]` how far each moved point went, metres, ascending.
    """

    kept: int
    added: int
    removed: int
    moved_m: NDArray[np.float64] = field(repr=False)

    @property
    def moved(self) -> int:
        """Points that moved."""
        return len(self.moved_m)

    @property
    def changed_share(self) -> float:
        """Points that were added, moved or removed, of all that were or are there; 0 when there never was any."""
        changed = self.added + self.moved + self.removed
        return changed / (changed + self.kept) if changed else 0.0


def compare_points(before: pd.DataFrame, after: pd.DataFrame, *, within_m: float = MOVED_M) -> Changes:
    """Return what happened between two states of a table of points.

    Told the other way round, what was added is removed, and as many have moved as far. The order of rows does not matter.

    Args:
        before: The former state: `point_id`, `lat`, `lon` in degrees (`tables.POINTS`, `tables.SAMPLE_POINTS`).
        after: The state now.
        within_m: How far a point may go, metres.

    Returns:
        Counts and distances.
    """
    is_kept = after["point_id"].isin(before["point_id"])
    gone = before[~before["point_id"].isin(after["point_id"])].sort_values("point_id")
    new = after[~is_kept].sort_values("point_id")
    moved_m = _moved_m(gone, new, within_m=within_m)
    return Changes(int(is_kept.sum()), len(new) - len(moved_m), len(gone) - len(moved_m), moved_m)


def _moved_m(gone: pd.DataFrame, new: pd.DataFrame, *, within_m: float) -> NDArray[np.float64]:
    if gone.empty or new.empty:
        return np.zeros(0)
    from sklearn.neighbors import BallTree

    places = [np.radians(points[["lat", "lon"]].to_numpy(dtype=np.float64)) for points in (gone, new)]
    next_of, former_of = (
        BallTree(places[to], metric="haversine").query(places[at], k=1)[1][:, 0] for at, to in ((0, 1), (1, 0))
    )
    mutual = np.flatnonzero(former_of[next_of] == np.arange(len(gone)))
    one, other = gone.iloc[mutual], new.iloc[next_of[mutual]]
    away_m = distance_m(lat=one["lat"], lon=one["lon"], to_lat=other["lat"], to_lon=other["lon"])
    return np.sort(away_m[away_m <= within_m])

"""What a new extraction has lost against the one in hand: a dump that lost a region's roads must not pass unseen.

Belongs here: the figures, and how much is too much.
Does not belong here: what is done about it (`orchestration`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

MOST_LOST_SHARE = 0.2
"""A prefecture does not lose a fifth of its roads or landmarks between two dumps; a broken dump or an edit war does that."""


@dataclass(frozen=True)
class MapChange:
    """How much there was, and how much there is now.

    Attributes:
        before: Amount by kind (road class, category) in the tables in hand; empty where there are none.
        now: The same of the new extraction.
        unit: Of the amounts.
    """

    before: dict[str, float]
    now: dict[str, float]
    unit: str

    @property
    def lost_share(self) -> float:
        """Share of the whole amount that is gone, 0 where there is as much as before or was nothing."""
        before = sum(self.before.values())
        return max(0.0, 1.0 - sum(self.now.values()) / before) if before else 0.0

    @property
    def is_loss(self) -> bool:
        """Whether more is gone than mapping explains. Roads that only changed their class are not gone."""
        return self.lost_share > MOST_LOST_SHARE

    def told(self) -> str:
        """Return the figures as a phrase: the whole, then each kind that shrank, the greatest loss first."""
        gone = {kind: amount - self.now.get(kind, 0.0) for kind, amount in self.before.items()}
        shrunk = [kind for kind in sorted(gone, key=lambda kind: (-gone[kind], kind)) if gone[kind] > 0]
        kinds = ", ".join(f"{kind} {self.before[kind]:,.0f} to {self.now.get(kind, 0.0):,.0f}" for kind in shrunk)
        whole = f"{sum(self.before.values()):,.0f} to {sum(self.now.values()):,.0f} {self.unit} (-{self.lost_share:.0%})"
        return f"{whole}: {kinds}" if kinds else whole


def road_change(in_hand: Path, roads: pd.DataFrame) -> MapChange:
    """Return what changed in the length of roads, in kilometres by road class.

    Args:
        in_hand: The `OSM_ROADS` file that the new table would replace; it may be absent.
        roads: The new `OSM_ROADS`.

    Returns:
        The change.
    """
    before = _read(in_hand, ["highway", "length_m"])
    return MapChange(before=_length_km(before), now=_length_km(roads), unit="km of road")


def landmark_change(in_hand: Path, landmarks: pd.DataFrame) -> MapChange:
    """Return what changed in the number of landmarks, by category.

    Args:
        in_hand: The `OSM_LANDMARKS` file that the new table would replace; it may be absent.
        landmarks: The new `OSM_LANDMARKS`.

    Returns:
        The change.
    """
    before = _read(in_hand, ["category"])
    return MapChange(before=_count(before), now=_count(landmarks), unit="landmarks")


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read columns of the table in hand; without rows where it is absent or damaged: then there is nothing to lose."""
    try:
        return pd.read_parquet(path, columns=columns)
    except (FileNotFoundError, pa.ArrowInvalid):
        return pd.DataFrame({name: [] for name in columns})


def _length_km(roads: pd.DataFrame) -> dict[str, float]:
    return {str(kind): float(length_m) / 1000 for kind, length_m in roads.groupby("highway")["length_m"].sum().items()}


def _count(landmarks: pd.DataFrame) -> dict[str, float]:
    return {str(kind): float(number) for kind, number in landmarks["category"].value_counts().items()}

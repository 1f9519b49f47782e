"""Which read-out, and with which settings: chosen on validation pictures, and once more for each fold of them.

What is chosen on some pictures looks better on them than it is. So every fold of groups gets the choice that the others would
make (cross-fitting): errors measured that way are honest, and regions calibrated on them keep their promise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, read_out
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours

BANDWIDTHS_KM = (0.5, 2.0, 5.0, 10.0, 25.0, 50.0)
TEMPERATURES = (0.02, 0.05, 0.1, 0.2)
GATE_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
FOLDS = 5
SURE = 0.95
"""A read-out takes the place of one that stands before it if it is better in this share of bootstrap draws of whole groups."""

_DRAWS = 200


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        readout: A name in `BATCH_READOUTS`.
        settings: For it and for all others.
        median_km: Of every read-out with these settings, on the pictures that it was chosen on.
    """

    readout: str
    settings: ReadoutSettings
    median_km: dict[str, float]


def folds_of(groups: Sequence[str] | NDArray[np.str_], *, folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each query `[q]`, by a hash of its group: pictures of one group are in one fold."""
    fold = {group: int(hashlib.sha256(group.encode()).hexdigest(), 16) % folds for group in {str(group) for group in groups}}
    return np.array([fold[str(group)] for group in groups], dtype=np.int64)


class Bench:
    """Queries on which read-outs are tried; what was tried once is not computed again."""

    def __init__(
        self,
        neighbours: Neighbours,
        *,
        true_lat: ArrayLike,
        true_lon: ArrayLike,
        part: ArrayLike | None = None,
        group: ArrayLike | None = None,
    ) -> None:
        """Keep the queries.

        Args:
            neighbours: Of validation queries, their own group hidden, arrays `[q, k]`.
            true_lat: `[q]` degrees.
            true_lon: Like `true_lat`.
            part: `[q]` what counts equally, such as the kind of query; one part if absent.
            group: `[q]` what is right or wrong together; every query by itself if absent.
        """
        self._neighbours, self._lat, self._lon = neighbours, np.asarray(true_lat), np.asarray(true_lon)
        self._part = np.zeros(len(self._lat), dtype=np.int64) if part is None else np.unique(part, return_inverse=True)[1]
        self._group = np.arange(len(self._lat)) if group is None else np.unique(group, return_inverse=True)[1]
        self._known: dict[tuple[str, ReadoutSettings], NDArray[np.float64]] = {}

    def error_km(self, readout: str, settings: ReadoutSettings) -> NDArray[np.float64]:
        """Return the error of every query `[q]`."""
        if readout != "gated" or self._neighbours.gate is None:
            settings = replace(settings, gate_weight=0.0)
        if (readout, settings) not in self._known:
            lat, lon = read_out(self._neighbours, readout, settings=settings)
            away_m = distance_m(lat=lat, lon=lon, to_lat=self._lat, to_lon=self._lon)
            self._known[readout, settings] = np.asarray(away_m, dtype=np.float64) / 1000.0
        return self._known[readout, settings]

    def cost_km(self, readout: str, settings: ReadoutSettings, rows: NDArray[np.bool_]) -> float:
        """Return the geometric mean, over the parts, of the median error of some queries; to the millimetre."""
        errors, parts = self.error_km(readout, settings)[rows], self._part[rows]
        medians = [max(float(np.median(errors[parts == part])), 1e-6) for part in np.unique(parts)]
        return round(float(np.exp(np.mean(np.log(medians)))), 6)

    def choose(
        self,
        rows: NDArray[np.bool_] | None = None,
        *,
        bandwidths_km: Sequence[float] = BANDWIDTHS_KM,
        temperatures: Sequence[float] = TEMPERATURES,
    ) -> Choice:
        """Return what has the lowest median error on some queries; of equals, settings nearest to the defaults.

        Bandwidth and temperature are those with which `mode` does best, the gate's weight that with which `gated` then does
        best. Of the read-outs, the first in `BATCH_READOUTS` is chosen unless a later one is better beyond chance.

        Args:
            rows: `[q]` which queries; all if absent.
            bandwidths_km: To try.
            temperatures: To try.

        Returns:
            The choice; the defaults when there are no queries.
        """
        rows = np.ones(len(self._lat), dtype=bool) if rows is None else rows
        if not rows.any():
            return Choice(next(iter(BATCH_READOUTS)), DEFAULT_SETTINGS, {})

        def mode_cost(settings: ReadoutSettings) -> tuple[float, float]:
            departure = abs(np.log(settings.bandwidth_km / DEFAULT_SETTINGS.bandwidth_km))
            departure += abs(np.log(settings.temperature / DEFAULT_SETTINGS.temperature))
            return self.cost_km("mode", settings, rows), float(departure)

        def gated_cost(settings: ReadoutSettings) -> tuple[float, float]:
            return self.cost_km("gated", settings, rows), abs(settings.gate_weight - DEFAULT_SETTINGS.gate_weight)

        best = min((ReadoutSettings(temperature=t, bandwidth_km=b) for b in bandwidths_km for t in temperatures), key=mode_cost)
        if self._neighbours.gate is not None:
            best = min((replace(best, gate_weight=weight) for weight in GATE_WEIGHTS), key=gated_cost)
        costs = {name: self.cost_km(name, best, rows) for name in BATCH_READOUTS}
        winner = next(iter(costs))
        for name, cost in costs.items():
            if cost < costs[winner] and self._share_better(name, winner, best, rows) >= SURE:
                winner = name
        return Choice(winner, best, costs)

    def _share_better(self, name: str, other: str, settings: ReadoutSettings, rows: NDArray[np.bool_]) -> float:
        """Return in which share of draws of groups one read-out has the lower cost than another."""
        groups, member = np.unique(self._group[rows], return_inverse=True)
        dice = np.random.default_rng(0)
        times = dice.multinomial(len(groups), np.full(len(groups), 1.0 / len(groups)), size=_DRAWS)[:, member]
        gain = np.zeros(_DRAWS)
        for part in np.unique(self._part[rows]):
            is_in = self._part[rows] == part
            one, two = (_medians(self.error_km(each, settings)[rows][is_in], times[:, is_in]) for each in (name, other))
            gain += np.log(np.maximum(two, 1e-6)) - np.log(np.maximum(one, 1e-6))
        return float(np.mean(gain > 0))


def _medians(values: NDArray[np.float64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the median of values `[q]` that come so many times `[draws, q]`; 0 where none comes at all."""
    order = np.argsort(values, kind="stable")
    mass = times[:, order].cumsum(axis=1)
    return np.where(mass[:, -1] > 0, values[order][(2 * mass >= mass[:, -1:]).argmax(axis=1)], 0.0)


def choose_settings(neighbours: Neighbours, *, true_lat: ArrayLike, true_lon: ArrayLike) -> ReadoutSettings:
    """Return the settings with the lowest median error; of equals, those nearest to the defaults.

    Args:
        neighbours: Of validation queries, their own group hidden, arrays `[q, k]`.
        true_lat: `[q]` degrees.
        true_lon: Like `true_lat`.

    Returns:
        The defaults when there are no queries.
    """
    return Bench(neighbours, true_lat=true_lat, true_lon=true_lon).choose().settings

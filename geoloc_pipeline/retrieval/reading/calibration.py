"""What validation pictures tell about answers: the read-out to use, its settings, and how far the truth may be.

Belongs here: which neighbours a validation picture may see, and what is kept for later answers.
Does not belong here: how a read-out is chosen (`choice.py`), how radii are made (`evaluation.regions`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from geoloc_pipeline.evaluation.confidence import area_under_risk, risk_coverage
from geoloc_pipeline.evaluation.familiarity import Familiarity, learn_familiarity
from geoloc_pipeline.evaluation.regions import Regions, Signs, calibrate_regions
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.embedding.queries import KINDS, Kind, Queries
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours, hide_neighbours
from geoloc_pipeline.retrieval.reading.choice import Bench, Choice, folds_of
from geoloc_pipeline.retrieval.reading.gate import gate_neighbours
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, read_out
from geoloc_pipeline.retrieval.reading.settings import ReadoutSettings
from geoloc_pipeline.retrieval.reading.spread import RANK, likeness, signs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import Vocabulary

SLACK = 2
"""How many times `top_k` neighbours are asked for where some are hidden afterwards."""

MOST_ASKED = 4000
"""Queries of a kind that regions are calibrated on, evenly out of all: more would only take longer to search."""
MOST_TRIED = 400
"""Queries of a kind that read-outs and settings are tried on."""


class Searchable(Protocol):
    """What can be searched (`retrieval.gallery.Gallery`)."""

    def search(self, vectors: NDArray[np.float32], *, top_k: int, exact: bool) -> Neighbours:
        """Return the `top_k` most similar pictures of each vector, each picture once, best first."""


@dataclass(frozen=True)
class Calibration:
    """What was chosen on validation pictures; kept beside the model, so that every later answer is read the same way.

    Attributes:
        readout: The read-out with the lowest median error.
        settings: Temperature, bandwidth and weight of the gate.
        regions: Radii by read-out, for whole pictures.
        one_view_regions: Radii by read-out, for a photo or a single view.
        familiarity: What is normal, by kind of query.
        recorded: What was tried on validation and what it gave: `median_km` by read-out, `queries` by kind, and by kind the
            `area_under_risk` of whatever confidence may be taken for (`evaluation.confidence`), the best first.
    """

    readout: str = "mode"
    settings: ReadoutSettings = field(default_factory=ReadoutSettings)
    regions: Mapping[str, Regions] = field(default_factory=dict)
    one_view_regions: Mapping[str, Regions] = field(default_factory=dict)
    familiarity: Mapping[str, Familiarity] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)

    def familiarity_of(self, neighbours: Neighbours, kind: Kind) -> NDArray[np.float64]:
        """Return how familiar queries are `[q]`; NaN where nothing is known of their kind, or too few neighbours are there."""
        normal = self.familiarity.get(kind)
        if normal is None:
            return np.full(len(neighbours), np.nan)
        return normal.of(likeness(neighbours, rank=normal.rank))

    def regions_of(self, kind: Kind) -> Mapping[str, Regions]:
        """Return the radii by read-out for a kind of query; those for whole pictures where there are none for one view."""
        return self.regions if kind == "whole" or not self.one_view_regions else self.one_view_regions

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "readout": self.readout,
            "settings": asdict(self.settings),
            "regions": {name: region.to_json() for name, region in self.regions.items()},
            "one_view_regions": {name: region.to_json() for name, region in self.one_view_regions.items()},
            "familiarity": {kind: normal.to_json() for kind, normal in self.familiarity.items()},
            "recorded": dict(self.recorded),
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Calibration:
        """Return what `to_json` gave; what an earlier version did not write yet is as if it were not known."""
        return cls(
            readout=told["readout"],
            settings=ReadoutSettings(**told["settings"]),
            regions={name: Regions.from_json(values) for name, values in told["regions"].items()},
            one_view_regions={name: Regions.from_json(values) for name, values in told.get("one_view_regions", {}).items()},
            familiarity={kind: Familiarity.from_json(values) for kind, values in told.get("familiarity", {}).items()},
            recorded=told.get("recorded", {}),
        )


def see(
    gallery: Searchable,
    queries: Queries,
    *,
    top_k: int,
    vocabulary: Vocabulary | None,
    group_of: Mapping[str, str] | None = None,
) -> Neighbours:
    """Return the gated neighbours of queries.

    Args:
        gallery: To be searched exactly.
        queries: Whose neighbours are wanted.
        top_k: How many.
        vocabulary: Of the heads; None: no gate.
        group_of: Split group by image_id, for queries that stand in the gallery themselves: then their own group, and so every
            picture of their own place or sequence, is hidden from them.

    Returns:
        Arrays `[q, top_k]`; where fewer are left, absent neighbours fill the end.
    """
    if group_of is None:
        found = gallery.search(queries.vectors, top_k=top_k, exact=True)
    else:
        found = gallery.search(queries.vectors, top_k=SLACK * top_k, exact=True)
        own = np.array([group_of.get(image, image) for image in queries.image_id], dtype=object)
        theirs = np.vectorize(lambda image: group_of.get(image, image), otypes=[object])(found.image_id)
        found = hide_neighbours(found, theirs == own[:, None], top_k=top_k)
    return found if vocabulary is None or not queries.heads else gate_neighbours(found, queries.heads, vocabulary)


def calibrate(
    gallery: Searchable,
    validation: Queries,
    *,
    group_of: Mapping[str, str],
    top_k: int,
    vocabulary: Vocabulary | None = None,
) -> Calibration:
    """Choose read-out, its settings and the regions on validation pictures.

    Validation pictures stand in the gallery themselves; each is asked with its own split group hidden, so that it sees what a
    test picture sees: everybody but its own place and sequence.

    Args:
        gallery: To be searched exactly.
        validation: Validation pictures, whole and in single views (`queries.every_query`).
        group_of: Split group of every picture in the gallery.
        top_k: Neighbours that a read-out sees.
        vocabulary: Of the model's heads; None: no gate.

    Returns:
        The calibration; the defaults when there are no validation pictures.
    """
    validation = validation.only(_some(validation, MOST_ASKED))
    if not len(validation):
        return Calibration()
    seen = see(gallery, validation, top_k=top_k, vocabulary=vocabulary, group_of=group_of)
    knows_somebody = np.asarray(np.isfinite(seen.lat).any(axis=1))  # in a tiny gallery, everybody near may be hidden
    if not knows_somebody.any():
        return Calibration()
    seen, validation = seen.queries(knows_somebody), validation.only(knows_somebody)
    fold = folds_of([group_of.get(image, image) for image in validation.image_id])
    chosen, of_fold = _choices(seen, validation, fold, group_of)
    measured = {name: _measure(seen, validation, name, of_fold) for name in BATCH_READOUTS}
    radii: dict[Kind, dict[str, Regions]] = {kind: {} for kind in KINDS}
    familiarity: dict[str, Familiarity] = {}
    risks: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        rows = validation.of_kind(kind)
        if rows.any():
            mine = {name: _Measured(said.error_km[rows], said.signs.rows(rows)) for name, said in measured.items()}
            radii[kind] = {name: calibrate_regions(said.error_km, said.signs) for name, said in mine.items()}
            familiarity[kind] = _familiarity(seen.queries(rows), top_k=top_k)
            risks[kind] = _risks(seen.queries(rows), mine[chosen.readout], radii[kind][chosen.readout])
    return Calibration(
        readout=chosen.readout,
        settings=chosen.settings,
        regions=radii["whole"],
        one_view_regions=radii["one_view"],
        familiarity=familiarity,
        recorded={
            "median_km": chosen.median_km,
            "queries": {kind: int(validation.of_kind(kind).sum()) for kind in KINDS},
            "area_under_risk": risks,
        },
    )


def _familiarity(seen: Neighbours, *, top_k: int) -> Familiarity:
    """Return what is normal among queries; the rank is that which most of them have, in a tiny gallery a low one."""
    there = np.isfinite(seen.lat).sum(axis=1)
    rank = min(top_k, RANK, int(np.median(there)))
    return learn_familiarity(likeness(seen.queries(there >= rank), rank=rank), rank=rank)


def _risks(seen: Neighbours, said: _Measured, regions: Regions) -> dict[str, float]:
    """Return, by what confidence is taken for, the mean risk over all coverages; the best first."""
    large = regions.radii_km(said.signs)[1]
    scores = {
        "region_90_km": -np.where(np.isfinite(large), large, np.inf),
        "agreement": said.signs.agreement,
        "best_similarity": np.asarray(seen.score[:, 0], dtype=np.float64),
        "likeness": np.nan_to_num(likeness(seen), nan=-1.0),
    }
    areas = {name: round(area_under_risk(risk_coverage(score, said.error_km)), 4) for name, score in scores.items()}
    return dict(sorted(areas.items(), key=lambda item: item[1]))


def _some(queries: Queries, most: int) -> NDArray[np.bool_]:
    """Return which queries are used: at most so many of each kind, evenly out of all."""
    chosen = np.zeros(len(queries), dtype=bool)
    for kind in KINDS:
        rows = np.flatnonzero(queries.of_kind(kind))
        chosen[rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)]] = True
    return chosen


def _choices(
    seen: Neighbours, validation: Queries, fold: NDArray[np.int64], group_of: Mapping[str, str]
) -> tuple[Choice, list[tuple[NDArray[np.bool_], Choice]]]:
    """Return what all validation pictures choose, and which queries get which choice of the others."""
    tried = _some(validation, MOST_TRIED)
    asked = validation.only(tried)
    groups = [group_of.get(image, image) for image in asked.image_id]
    bench = Bench(seen.queries(tried), true_lat=asked.lat, true_lon=asked.lon, part=asked.of_kind("whole"), group=groups)
    of_fold = [(fold == each, bench.choose(fold[tried] != each)) for each in np.unique(fold)]
    return bench.choose(), of_fold


class _Measured(NamedTuple):
    """A read-out's errors on validation queries, each read with the settings that other folds have chosen, and its signs."""

    error_km: NDArray[np.float64]
    signs: Signs


def _measure(seen: Neighbours, validation: Queries, readout: str, of_fold: list[tuple[NDArray[np.bool_], Choice]]) -> _Measured:
    error_km, agreement, reach_km = (np.full(len(validation), np.nan) for _ in range(3))
    for part, choice in of_fold:
        mine = seen.queries(part)
        lat, lon = read_out(mine, readout, settings=choice.settings)
        error_km[part] = distance_m(lat=lat, lon=lon, to_lat=validation.lat[part], to_lon=validation.lon[part]) / 1000.0
        agreement[part], reach_km[part] = signs_of(mine, lat=lat, lon=lon, settings=choice.settings)
    return _Measured(error_km, Signs(agreement, reach_km))

"""The gallery put to the test: test pictures answered, beside what the mean position and an untrained network say.

Belongs here: which picture may see which neighbour in a trial.
Does not belong here: what is chosen on validation (`reading.calibration`), how errors are counted (`evaluation`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geoloc_pipeline.evaluation.metrics import UNTRAINED, mean_position_table
from geoloc_pipeline.retrieval.embedding.queries import KINDS, Queries, every_query, single_views, whole_pictures
from geoloc_pipeline.retrieval.gallery.neighbours import AREAS, Neighbours
from geoloc_pipeline.retrieval.reading.calibration import Calibration, Searchable, calibrate, see
from geoloc_pipeline.retrieval.reading.spread import signs_of, spread_km
from geoloc_pipeline.retrieval.trials.estimates import estimate_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.embed import Read

_SCORES_AT_ONCE = 50_000_000  # 200 MB of a product of queries and views

__all__ = ["Calibration", "Material", "MatrixGallery", "Queries", "TrialResult", "run_trial", "single_views", "whole_pictures"]


def answer(found: Neighbours, queries: Queries, calibration: Calibration) -> pd.DataFrame:
    """Return every read-out's answer to every query, each with the regions of its kind.

    Args:
        found: Neighbours of the queries.
        queries: Test pictures.
        calibration: From `calibrate`.

    Returns:
        `ESTIMATES`.
    """
    tables = []
    for kind in KINDS:
        rows = queries.of_kind(kind)
        asked = queries.only(rows)
        tables.append(
            estimate_table(
                found.queries(rows),
                query_id=asked.image_id,
                true_lat=asked.lat,
                true_lon=asked.lon,
                settings=calibration.settings,
                regions=calibration.regions_of(kind),
            )
        )
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class MatrixGallery:
    """A gallery in memory, searched by one matrix product: for baselines that never go live.

    Attributes:
        embeddings: `IMAGE_EMBEDDINGS` of one model.
        pictures: Where the pictures stand: image_id and prefecture_code, municipality_code, town_code; None: no codes.
    """

    embeddings: pd.DataFrame
    pictures: pd.DataFrame | None = None

    def search(self, vectors: NDArray[np.float32], *, top_k: int, exact: bool = True) -> Neighbours:
        """Return the `top_k` most similar pictures of each vector `[q, 512]`, each picture once, best first; always exact."""
        del exact
        rows = self.embeddings.sort_values(["image_id", "view"])
        ids, first = np.unique(rows["image_id"].to_numpy(dtype=object).astype(str), return_index=True)
        held = np.stack(rows["embedding"].to_list())
        shape = len(vectors), min(top_k, len(ids))
        order, score = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
        for start in range(0, len(vectors), max(1, _SCORES_AT_ONCE // len(held))):
            part = slice(start, start + max(1, _SCORES_AT_ONCE // len(held)))
            best = np.maximum.reduceat(vectors[part] @ held.T, first, axis=1)  # as similar as its most similar view
            order[part] = np.argsort(-best, axis=1, kind="stable")[:, :top_k]
            score[part] = np.take_along_axis(best, order[part], axis=1)
        lat, lon = (rows[name].to_numpy(dtype=np.float64)[first] for name in ("lat", "lon"))
        codes = {}
        if self.pictures is not None:
            known = self.pictures.set_index("image_id").reindex(ids)
            codes = {level: known[f"{level}_code"].to_numpy(dtype=object)[order] for level in AREAS}
        return Neighbours(
            image_id=ids.astype(object)[order],
            lat=lat[order],
            lon=lon[order],
            score=score,
            codes=codes,
        )


@dataclass(frozen=True)
class TrialResult:
    """What a trial found.

    Attributes:
        calibration: What was chosen on validation pictures.
        estimates: `ESTIMATES` of the whole test pictures: every read-out, and the baselines `mean_position` and `untrained`.
        one_view: `ESTIMATES` of the default read-out when only one view of each test picture is shown.
        tested: The test pictures, as wholes.
        found: Their neighbours.
        confidence: The default read-out's answers to `tested` (kind `whole`) and to one view of each (`one_view`), with what
            was known about them beforehand: query_id, kind, error_km, region_50_km, region_90_km, spread_km, agreement,
            top_score, familiarity.
    """

    calibration: Calibration
    estimates: pd.DataFrame
    one_view: pd.DataFrame
    tested: Queries
    found: Neighbours
    confidence: pd.DataFrame


@dataclass(frozen=True)
class Material:
    """What a trial needs, all of it from one checkpoint.

    Attributes:
        gallery: The live gallery.
        indexed: `IMAGE_EMBEDDINGS` of the train and validation pictures, as they stand in the gallery.
        asked: Embeddings and heads of the validation and test pictures (`embed.read_shards`).
        untrained: `IMAGE_EMBEDDINGS` of all pictures by the same network before training.
        split_of: Split of every picture.
        group_of: Split group of every picture.
        vocabulary: Of the checkpoint's heads; None: no gate.
    """

    gallery: Searchable
    indexed: pd.DataFrame
    asked: Read
    untrained: pd.DataFrame
    split_of: Mapping[str, str]
    group_of: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None


def run_trial(material: Material, *, top_k: int) -> TrialResult:
    """Calibrate on validation pictures, answer the test pictures, and let two baselines answer them too.

    Args:
        material: Gallery and embeddings.
        top_k: Neighbours that a read-out sees (paper §4: 100).

    Returns:
        Estimates; without rows when there are no test pictures.
    """
    gallery, vocabulary = material.gallery, material.vocabulary
    validation, asked = (_of_split(material, split) for split in ("val", "test"))
    calibration = calibrate(gallery, every_query(validation), group_of=material.group_of, top_k=top_k, vocabulary=vocabulary)
    tested, glimpsed = whole_pictures(asked), single_views(asked)
    found, glimpse = (see(gallery, queries, top_k=top_k, vocabulary=vocabulary) for queries in (tested, glimpsed))
    one_view = answer(glimpse, glimpsed, calibration)
    train = whole_pictures(material.indexed[material.indexed["image_id"].map(material.split_of) == "train"])
    baselines = [
        mean_position_table(
            train_lat=train.lat, train_lon=train.lon, query_id=tested.image_id, true_lat=tested.lat, true_lon=tested.lon
        ),
        _untrained_estimates(material, calibration.readout, top_k=top_k),
    ]
    told = [_confidence(found, tested, calibration, "whole"), _confidence(glimpse, glimpsed, calibration, "one_view")]
    return TrialResult(
        calibration=calibration,
        estimates=pd.concat([answer(found, tested, calibration), *baselines], ignore_index=True),
        one_view=one_view[one_view["readout"] == calibration.readout].reset_index(drop=True),
        tested=tested,
        found=found,
        confidence=pd.concat(told, ignore_index=True),
    )


def _of_split(material: Material, split: str) -> Read:
    rows = np.flatnonzero(material.asked.embeddings["image_id"].map(material.split_of) == split)
    embeddings, heads = material.asked
    return type(material.asked)(
        embeddings.iloc[rows].reset_index(drop=True), {task: tops.rows(rows) for task, tops in heads.items()}
    )


def _untrained_estimates(material: Material, readout: str, *, top_k: int) -> pd.DataFrame:
    """Return what the same network says before training: same pictures, same gallery, same read-out."""
    is_test = material.untrained["image_id"].map(material.split_of) == "test"
    gallery = MatrixGallery(material.untrained[~is_test])
    queries = whole_pictures(material.untrained[is_test])
    found = gallery.search(queries.vectors, top_k=top_k)
    estimates = estimate_table(
        found,
        query_id=queries.image_id,
        true_lat=queries.lat,
        true_lon=queries.lon,
        readouts=[readout],
        names={readout: UNTRAINED},
    )
    return estimates.assign(region_50_km=np.nan, region_90_km=np.nan)


def _confidence(found: Neighbours, queries: Queries, calibration: Calibration, told_kind: str) -> pd.DataFrame:
    """Return the default read-out's errors beside what was known of each answer before its truth."""
    estimates = answer(found, queries, calibration)
    mine = estimates[estimates["readout"] == calibration.readout].set_index("query_id").reindex(queries.image_id)
    lat, lon = mine["lat"].to_numpy(), mine["lon"].to_numpy()
    return pd.DataFrame(
        {
            "query_id": queries.image_id,
            "kind": told_kind,
            "error_km": mine["error_km"].to_numpy(),
            "region_50_km": mine["region_50_km"].to_numpy(),
            "region_90_km": mine["region_90_km"].to_numpy(),
            "spread_km": spread_km(found, lat=lat, lon=lon, settings=calibration.settings),
            "agreement": signs_of(found, lat=lat, lon=lon, settings=calibration.settings).agreement,
            "top_score": found.score[:, 0] if found.score.size else np.empty(len(queries)),
            "familiarity": _familiarity(found, queries, calibration),
        }
    )


def _familiarity(found: Neighbours, queries: Queries, calibration: Calibration) -> NDArray[np.float64]:
    """Return `[q]` how familiar queries are, each among its own kind; NaN where that is not known."""
    told = np.full(len(queries), np.nan)
    for kind in KINDS:
        rows = queries.of_kind(kind)
        told[rows] = calibration.familiarity_of(found.queries(rows), kind)
    return told

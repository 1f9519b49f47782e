"""The gallery put to the test: how its answers are calibrated on validation pictures, and given for test pictures.

Belongs here: which picture may see which neighbour, and what is chosen on validation.
Does not belong here: how errors are counted (`evaluation`), how a search works (`gallery.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from geoloc_pipeline.evaluation.metrics import UNTRAINED, mean_position_table
from geoloc_pipeline.evaluation.regions import Regions, calibrate_regions
from geoloc_pipeline.retrieval.neighbours import Neighbours, hide_neighbours
from geoloc_pipeline.retrieval.readouts import (
    BATCH_READOUTS,
    ReadoutSettings,
    choose_default,
    choose_settings,
    estimate_table,
    read_out,
    spread_km,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


WHOLE_VIEWS = ("mean", "photo")
"""A whole picture: the mean of a panorama's views, or a photo's one view."""

SLACK = 2
"""How many times `top_k` neighbours are asked for where some are hidden afterwards."""


class Searchable(Protocol):
    """What can be searched (`retrieval.gallery.Gallery`)."""

    def search(self, vectors: NDArray[np.float32], *, top_k: int, exact: bool) -> Neighbours:
        """Return the `top_k` most similar pictures of each vector, each picture once, best first."""


@dataclass(frozen=True)
class Queries:
    """Pictures whose place is known, as the gallery is asked for them.

    Attributes:
        image_id: `[q]` ids.
        vectors: `[q, 512]` float32, unit length.
        lat: `[q]` degrees, the truth.
        lon: `[q]` degrees, the truth.
    """

    image_id: list[str]
    vectors: NDArray[np.float32]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]

    def only(self, chosen: NDArray[np.bool_]) -> Queries:
        """Return the queries `[q]` that are chosen."""
        ids = [image for image, is_chosen in zip(self.image_id, chosen, strict=True) if is_chosen]
        return Queries(ids, self.vectors[chosen], self.lat[chosen], self.lon[chosen])


@dataclass(frozen=True)
class Calibration:
    """What was chosen on validation pictures; kept beside the model, so that every later answer is read the same way.

    Attributes:
        readout: The read-out with the lowest median error.
        settings: Temperature and bandwidth.
        regions: Radii by read-out.
    """

    readout: str = "mode"
    settings: ReadoutSettings = field(default_factory=ReadoutSettings)
    regions: Mapping[str, Regions] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        regions = {name: region.to_json() for name, region in self.regions.items()}
        return {"readout": self.readout, "settings": asdict(self.settings), "regions": regions}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Calibration:
        """Return what `to_json` gave."""
        regions = {name: Regions.from_json(values) for name, values in told["regions"].items()}
        return cls(readout=told["readout"], settings=ReadoutSettings(**told["settings"]), regions=regions)


def whole_pictures(embeddings: pd.DataFrame) -> Queries:
    """Return each picture once, as a whole: a panorama as the mean of its views.

    Args:
        embeddings: `IMAGE_EMBEDDINGS`.

    Returns:
        Queries in the order of their ids.
    """
    return _queries(embeddings[embeddings["view"].isin(WHOLE_VIEWS)])


def single_views(embeddings: pd.DataFrame) -> Queries:
    """Return each picture once, as one view of it, chosen by a hash of its id: what a visitor's photo is like.

    Args:
        embeddings: `IMAGE_EMBEDDINGS`.

    Returns:
        Queries in the order of their ids.
    """
    views = embeddings[embeddings["view"] != "mean"].copy()
    key = views["image_id"] + views["view"]
    views["chance"] = [hashlib.sha256(text.encode()).hexdigest() for text in key]
    return _queries(views.sort_values("chance").groupby("image_id", sort=False).head(1))


def _queries(rows: pd.DataFrame) -> Queries:
    rows = rows.sort_values("image_id")
    vectors = np.stack(rows["embedding"].to_list()) if len(rows) else np.empty((0, 512), dtype=np.float32)
    return Queries(
        image_id=rows["image_id"].tolist(),
        vectors=np.asarray(vectors, dtype=np.float32),
        lat=rows["lat"].to_numpy(dtype=np.float64),
        lon=rows["lon"].to_numpy(dtype=np.float64),
    )


def calibrate(gallery: Searchable, validation: Queries, *, split_of: Mapping[str, str], top_k: int) -> Calibration:
    """Choose read-out, its settings and the regions on validation pictures.

    Validation pictures stand in the gallery themselves; all of them are hidden, so that what is measured is a picture that the
    gallery has never seen, with nobody of its own group near it.

    Args:
        gallery: To be searched exactly.
        validation: Whole validation pictures.
        split_of: Split of every picture in the gallery.
        top_k: Neighbours that a read-out sees.

    Returns:
        The calibration; the defaults when there are no validation pictures.
    """
    if not validation.image_id:
        return Calibration()
    found = gallery.search(validation.vectors, top_k=SLACK * top_k, exact=True)
    is_hidden = np.vectorize(lambda image: split_of.get(image) != "train", otypes=[bool])(found.image_id)
    knows_somebody = ~is_hidden.all(axis=1)  # in a tiny gallery, everybody near may be hidden
    if not knows_somebody.any():
        return Calibration()
    validation = validation.only(knows_somebody)
    seen = hide_neighbours(found.queries(knows_somebody), is_hidden[knows_somebody], top_k=top_k)
    settings = choose_settings(seen, true_lat=validation.lat, true_lon=validation.lon)
    estimates = estimate_table(
        seen, query_id=validation.image_id, true_lat=validation.lat, true_lon=validation.lon, settings=settings
    )
    regions = {}
    for name in BATCH_READOUTS:
        lat, lon = read_out(seen, name, settings=settings)
        errors = estimates.loc[estimates["readout"] == name].set_index("query_id")["error_km"]
        spread = spread_km(seen, lat=lat, lon=lon, settings=settings)
        regions[name] = calibrate_regions(errors.reindex(validation.image_id).to_numpy(), spread_km=spread)
    return Calibration(readout=choose_default(estimates), settings=settings, regions=regions)


def answer(gallery: Searchable, queries: Queries, calibration: Calibration, *, top_k: int) -> pd.DataFrame:
    """Return every read-out's answer to every query.

    Args:
        gallery: To be searched exactly; holds train and validation pictures (paper §3.3), never a query.
        queries: Test pictures.
        calibration: From `calibrate`.
        top_k: Neighbours that a read-out sees (paper §4: 100).

    Returns:
        `ESTIMATES`.
    """
    found = gallery.search(queries.vectors, top_k=top_k, exact=True)
    return estimate_table(
        found,
        query_id=queries.image_id,
        true_lat=queries.lat,
        true_lon=queries.lon,
        settings=calibration.settings,
        regions=calibration.regions,
    )


@dataclass(frozen=True)
class MatrixGallery:
    """A gallery in memory, searched by one matrix product: for baselines that never go live.

    Attributes:
        embeddings: `IMAGE_EMBEDDINGS` of one model.
    """

    embeddings: pd.DataFrame

    def search(self, vectors: NDArray[np.float32], *, top_k: int, exact: bool = True) -> Neighbours:
        """Return the `top_k` most similar pictures of each vector `[q, 512]`, each picture once, best first; always exact."""
        del exact
        rows = self.embeddings.sort_values(["image_id", "view"])
        ids, first = np.unique(rows["image_id"].to_numpy(dtype=object).astype(str), return_index=True)
        score = vectors @ np.stack(rows["embedding"].to_list()).T
        best = np.maximum.reduceat(score, first, axis=1)  # a picture is as similar as its most similar view
        order = np.argsort(-best, axis=1, kind="stable")[:, :top_k]
        lat, lon = (rows[name].to_numpy(dtype=np.float64)[first] for name in ("lat", "lon"))
        return Neighbours(
            image_id=ids.astype(object)[order],
            lat=lat[order],
            lon=lon[order],
            score=np.take_along_axis(best, order, axis=1).astype(np.float32),
        )


@dataclass(frozen=True)
class TrialResult:
    """What a trial found.

    Attributes:
        calibration: What was chosen on validation pictures.
        estimates: `ESTIMATES` of the whole test pictures: every read-out, and the baselines `mean_position` and `untrained`.
        one_view: `ESTIMATES` of the default read-out when only one view of each test picture is shown.
        tested: The test pictures.
    """

    calibration: Calibration
    estimates: pd.DataFrame
    one_view: pd.DataFrame
    tested: Queries


@dataclass(frozen=True)
class Material:
    """What a trial needs, all of it from one checkpoint.

    Attributes:
        gallery: The live gallery.
        indexed: `IMAGE_EMBEDDINGS` of the train and validation pictures, as they stand in the gallery.
        test: `IMAGE_EMBEDDINGS` of the test pictures.
        untrained: `IMAGE_EMBEDDINGS` of all pictures by the same network before training.
        split_of: Split of every picture.
    """

    gallery: Searchable
    indexed: pd.DataFrame
    test: pd.DataFrame
    untrained: pd.DataFrame
    split_of: Mapping[str, str]


def run_trial(material: Material, *, top_k: int) -> TrialResult:
    """Calibrate on validation pictures, answer the test pictures, and let two baselines answer them too.

    Args:
        material: Gallery and embeddings.
        top_k: Neighbours that a read-out sees (paper §4: 100).

    Returns:
        Estimates; without rows when there are no test pictures.
    """
    splits = material.indexed["image_id"].map(material.split_of)
    validation = whole_pictures(material.indexed[splits == "val"])
    train = whole_pictures(material.indexed[splits == "train"])
    calibration = calibrate(material.gallery, validation, split_of=material.split_of, top_k=top_k)
    tested = whole_pictures(material.test)
    estimates = answer(material.gallery, tested, calibration, top_k=top_k)
    one_view = answer(material.gallery, single_views(material.test), calibration, top_k=top_k)
    baselines = [
        mean_position_table(
            train_lat=train.lat, train_lon=train.lon, query_id=tested.image_id, true_lat=tested.lat, true_lon=tested.lon
        ),
        _untrained_estimates(material, calibration.readout, top_k=top_k),
    ]
    return TrialResult(
        calibration=calibration,
        estimates=pd.concat([estimates, *baselines], ignore_index=True),
        one_view=one_view[one_view["readout"] == calibration.readout].reset_index(drop=True),
        tested=tested,
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

"""What simpler methods answer to the same test pictures, from the same training pictures and the same gallery.

A rival that answers from a gallery of the whole world, with a handful of places in Japan, loses by its gallery and not by its
method; so every method here gets ours. The mean position and the untrained network stand in `trial.py`, the paper's centroid is
a read-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.ceilings import class_centres
from geoloc_pipeline.evaluation.metrics import fixed_answer_table, place_table
from geoloc_pipeline.evaluation.near import Places
from geoloc_pipeline.evaluation.words import CLASSIFIER, FROZEN_BACKBONE, GEOCLIP, GEOCLIP_MODE, PRIOR
from geoloc_pipeline.geo.sphere import spherical_mean
from geoloc_pipeline.model.saved import load_geolocator
from geoloc_pipeline.retrieval.embedding.queries import whole_pictures
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
from geoloc_pipeline.retrieval.reading.readouts import read_out
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings
from geoloc_pipeline.retrieval.trials.trial import MatrixGallery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.queries import Queries

    PlaceEncoder = Callable[[NDArray[np.float64]], NDArray[np.float32]]

PRIOR_KM = 25.0
_ROUND_DEG = 5  # decimal places: coordinates within a metre of each other are one place
_PLACES_AT_ONCE = 8192
_SCORES_AT_ONCE = 50_000_000  # 200 MB


def place_encoder(checkpoint: Path) -> PlaceEncoder:
    """Return what turns `[n, 2]` places (latitude, longitude in degrees) into `[n, 512]` float32 unit vectors.

    Args:
        checkpoint: `best.pt`.

    Raises:
        MissingInputError: There is no checkpoint.
        ModelError: It cannot be read.
    """
    model = load_geolocator(checkpoint).model

    def encode(places: NDArray[np.float64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(np.asarray(places, dtype=np.float32)), _PLACES_AT_ONCE)
            return np.concatenate([model.embed_places(part).numpy() for part in parts])

    return encode


def prior_table(tested: Queries, *, train_lat: NDArray[np.float64], train_lon: NDArray[np.float64]) -> pd.DataFrame:
    """Return `ESTIMATES` of a method that always answers with the place that has the most training pictures within 25 km.

    Args:
        tested: Test pictures.
        train_lat: `[n]` degrees, n at least 1; of equally dense places the first counts.
        train_lon: Like `train_lat`.

    Raises:
        SettingError: There are no training pictures.
    """
    if len(train_lat) == 0:
        raise SettingError(setting="training places", value=0, cure="the densest place needs at least one training picture")
    crowd = Places(lat=train_lat, lon=train_lon).count_within(lat=train_lat, lon=train_lon, limit_km=PRIOR_KM)
    first = int(crowd.argmax())
    return fixed_answer_table(
        query_id=tested.image_id,
        true_lat=tested.lat,
        true_lon=tested.lon,
        lat=float(train_lat[first]),
        lon=float(train_lon[first]),
        readout=PRIOR,
    )


def classifier_table(tested: Queries, train: pd.DataFrame, *, level: str, vocabulary: Vocabulary) -> pd.DataFrame:
    """Return `ESTIMATES` of the model's classifier alone: the middle of the training pictures of the likeliest class.

    Args:
        tested: Test pictures with what the heads say of them.
        train: Training pictures: lat, lon and the column `<level>_code`.
        level: prefecture, municipality or town.
        vocabulary: Of the heads.

    Returns:
        `ESTIMATES`; a class without training pictures answers with the middle of all.
    """
    centres = class_centres(train[f"{level}_code"].tolist(), lat=train["lat"], lon=train["lon"])
    middle = spherical_mean(lat=train["lat"], lon=train["lon"])
    codes = vocabulary.tasks[level].codes
    place = np.array([centres.get(codes[best], middle) for best in tested.heads[level].index[:, 0]]).reshape(-1, 2)
    return _table(tested, place[:, 0], place[:, 1], CLASSIFIER[level])


def location_table(
    tested: Queries,
    *,
    gallery_lat: NDArray[np.float64],
    gallery_lon: NDArray[np.float64],
    encode: PlaceEncoder,
    top_k: int,
    settings: ReadoutSettings = DEFAULT_SETTINGS,
) -> pd.DataFrame:
    """Return `ESTIMATES` of GeoCLIP's way: compare the picture with coordinates instead of with pictures.

    Args:
        tested: Test pictures.
        gallery_lat: `[n]` degrees of the gallery pictures; those at one place count once.
        gallery_lon: Like `gallery_lat`.
        encode: The location encoder of the same model (`place_encoder`).
        top_k: How many of the best coordinates the second read-out sees.
        settings: Of that read-out, the density mode.

    Returns:
        Two read-outs: the best coordinate, and the density mode of the best `top_k`.

    Source: Cepeda et al., GeoCLIP (NeurIPS 2023); its released gallery has 2,427 places in Japan.
    """
    rounded = np.round(np.stack([gallery_lat, gallery_lon], axis=1), _ROUND_DEG)
    places: NDArray[np.float64] = np.asarray(np.unique(rounded, axis=0), dtype=np.float64)
    found = _best_places(tested.vectors, places, encode(places), top_k=min(top_k, len(places)))
    lat, lon = read_out(found, "mode", settings=settings)
    return pd.concat(
        [_table(tested, found.lat[:, 0], found.lon[:, 0], GEOCLIP), _table(tested, lat, lon, GEOCLIP_MODE)], ignore_index=True
    )


def _best_places(
    vectors: NDArray[np.float32], places: NDArray[np.float64], encoded: NDArray[np.float32], *, top_k: int
) -> Neighbours:
    order = np.empty((len(vectors), top_k), dtype=np.int64)
    score = np.empty((len(vectors), top_k), dtype=np.float32)
    at_once = max(1, _SCORES_AT_ONCE // len(places))
    for start in range(0, len(vectors), at_once):
        part = slice(start, start + at_once)
        alike = vectors[part] @ encoded.T
        order[part] = np.argsort(-alike, axis=1, kind="stable")[:, :top_k]
        score[part] = np.take_along_axis(alike, order[part], axis=1)
    ids = np.full(order.shape, "", dtype=object)
    return Neighbours(image_id=ids, lat=places[order, 0], lon=places[order, 1], score=score)


def frozen_table(
    tokens: pd.DataFrame,
    *,
    places: pd.DataFrame,
    split_of: Mapping[str, str],
    readout: str,
    top_k: int,
    settings: ReadoutSettings = DEFAULT_SETTINGS,
) -> pd.DataFrame:
    """Return `ESTIMATES` of nearest neighbours by the output of a backbone that was not trained here.

    Args:
        tokens: `BACKBONE_TOKENS` of all pictures by that backbone.
        places: `IMAGE_EMBEDDINGS` of the same views, for their lat and lon.
        split_of: Split of every picture.
        readout: How the place is read from the neighbours.
        top_k: How many neighbours it sees.
        settings: Of the read-out.
    """
    key = ["image_id", "view"]
    vectors = places[[*key, "lat", "lon"]].merge(tokens[[*key, "token"]], on=key)
    vectors["embedding"] = [np.asarray(token, dtype=np.float32) for token in vectors.pop("token")]
    is_test = vectors["image_id"].map(dict(split_of)) == "test"
    queries = whole_pictures(vectors[is_test])
    found = MatrixGallery(vectors[~is_test]).search(queries.vectors, top_k=top_k)
    lat, lon = read_out(found, readout, settings=settings)
    return _table(queries, lat, lon, FROZEN_BACKBONE)


def _table(tested: Queries, lat: NDArray[np.float64], lon: NDArray[np.float64], readout: str) -> pd.DataFrame:
    return place_table(query_id=tested.image_id, true_lat=tested.lat, true_lon=tested.lon, lat=lat, lon=lon, readout=readout)


def baseline_tables(
    tested: Queries,
    pictures: pd.DataFrame,
    *,
    vocabulary: Vocabulary,
    encode: PlaceEncoder,
    top_k: int,
    settings: ReadoutSettings = DEFAULT_SETTINGS,
) -> pd.DataFrame:
    """Return `ESTIMATES` of every baseline that needs no other network's vectors.

    Args:
        tested: Test pictures with what the heads say of them; without heads no classifier answers.
        pictures: All pictures: image_id, split, lat, lon, prefecture_code, municipality_code, town_code.
        vocabulary: Of the heads.
        encode: The model's location encoder.
        top_k: Places that a read-out sees.
        settings: Of the read-outs.

    Returns:
        `prior`, `classifier_*`, `geoclip` and `geoclip_mode`; empty without test pictures.
    """
    train, gallery = pictures[pictures["split"] == "train"], pictures[pictures["split"] != "test"]
    if not tested.image_id or train.empty:
        return place_table(query_id=[], true_lat=[], true_lon=[], lat=[], lon=[], readout=PRIOR)
    lat, lon = (gallery[name].to_numpy(dtype=np.float64) for name in ("lat", "lon"))
    tables = [
        prior_table(tested, train_lat=train["lat"].to_numpy(float), train_lon=train["lon"].to_numpy(float)),
        *(classifier_table(tested, train, level=level, vocabulary=vocabulary) for level in CLASSIFIER if level in tested.heads),
        location_table(tested, gallery_lat=lat, gallery_lon=lon, encode=encode, top_k=top_k, settings=settings),
    ]
    return pd.concat(tables, ignore_index=True)

"""A public test set put to a model: what is asked, what is left out and why, and who may not help."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
from geoloc_pipeline.retrieval.reading.calibration import Calibration
from geoloc_pipeline.retrieval.reading.places import PlaceNames
from geoloc_pipeline.retrieval.trials.photos import Held, evaluate_photos
from geoloc_pipeline.sources.photo_files import PictureFile
from geoloc_pipeline.sources.photo_record import Photo
from geoloc_pipeline.tables import ESTIMATES, check_table

HOME = (35.5, 139.5)


class TwoPictures:
    """A gallery that finds the author's own picture first, whatever it is asked."""

    def search(self, vectors: np.ndarray, *, top_k: int, exact: bool) -> Neighbours:
        assert exact
        n = len(vectors)
        ids = np.array([["own", "other"]] * n, dtype=object)
        lat, lon = np.tile([35.5, 35.6], (n, 1)), np.tile([139.5, 139.6], (n, 1))
        return Neighbours(ids, lat, lon, np.tile([0.9, 0.5], (n, 1)).astype(np.float32))


@pytest.fixture(scope="module")
def names() -> PlaceNames:
    town = {"town_code": ["13101001"], "municipality_code": ["13101"], "prefecture_code": ["13"]}
    words = {"town": ["一"], "municipality": ["区"], "prefecture": ["東京都"]}
    return PlaceNames(gpd.GeoDataFrame(town | words, geometry=[shapely.box(139, 35, 140, 36)], crs="OGC:CRS84"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory, noise):
    """Make a photo of Tokyo by somebody new; what is told otherwise is otherwise."""
    folder: Path = tmp_path_factory.mktemp("photos")
    path = folder / "a.jpg"
    path.write_bytes(cv2.imencode(".jpg", noise(3, 96, 128))[1].tobytes())
    broken = folder / "b.jpg"
    broken.write_bytes(b"\xff\xd8 no more")
    moment = datetime(2020, 1, 1, tzinfo=UTC)

    def make(number: int, **changes: object) -> Photo:
        files = {"whole": path, "broken": broken}
        changes |= {"file": PictureFile.loose(files[changes["file"]], "x.jpg")} if isinstance(changes.get("file"), str) else {}
        plain = Photo(
            source="yfcc4k",
            source_image_id=f"p{number}",
            origin_id=f"flickr:{number}",
            lat=HOME[0],
            lon=HOME[1],
            captured_at=moment,
            capture_group=f"flickr:author{number}",
            file=PictureFile.loose(path, "a.jpg"),
        )
        return dataclasses.replace(plain, **changes)

    return make


@pytest.fixture
def ask(checkpoint, names):
    """Put photos to the model."""
    embedder = Embedder.load(checkpoint)
    pictures = pd.DataFrame(
        [("own", "mp16", "1/2/77.jpg", "flickr:77", "flickr:author1"), ("other", "mapillary", "5", None, "mapillary:s")],
        columns=["image_id", "source", "source_image_id", "origin_id", "capture_group"],
    )

    def run(photos: list[Photo], **more: object):
        return evaluate_photos(
            photos,
            embedder=embedder,
            gallery=TwoPictures(),
            calibration=Calibration(),
            names=names,
            held=Held.of(pictures),
            top_k=2,
            **more,
        )

    return run


def test_what_is_left_out_is_counted_by_its_reason(ask, photo):
    trial = ask([
        photo(1),
        photo(2, lat=None, lon=None),
        photo(3, lat=48.9, lon=2.3, file=None),
        photo(4, lat=43.0, lon=141.3),
        photo(5, file=None, fault=("file_missing", "not there")),
        photo(6, file="broken"),
        photo(77),
        photo(8, source="mapillary", source_image_id="5", origin_id=None),
        photo(9, fault=("bad_place", "somewhere")),
    ])  # fmt: skip
    assert trial.listed == 9
    assert set(trial.estimates["query_id"]) == {"yfcc4k:p1"}
    broken = {reason: count for reason, count in trial.left_out.items() if reason not in {
        "no_place", "abroad", "outside_the_census", "file_missing", "in_training_or_gallery", "bad_place",
    }}  # fmt: skip
    assert list(broken.values()) == [1]
    told = {name: count for name, count in trial.left_out.items() if name not in broken}
    assert told == {
        "no_place": 1, "abroad": 1, "outside_the_census": 1, "file_missing": 1, "in_training_or_gallery": 2, "bad_place": 1,
    }  # fmt: skip
    check_table(ESTIMATES, trial.estimates)


def test_a_picture_by_the_photos_own_author_does_not_help(ask, photo):
    trial = ask([photo(1), photo(2), photo(3, capture_group=None)])
    nearest = trial.estimates[trial.estimates["readout"] == "nearest"].set_index("query_id")
    assert nearest.loc["yfcc4k:p1", ["lat", "lon"]].tolist() == pytest.approx([35.6, 139.6])
    for query in ("yfcc4k:p2", "yfcc4k:p3"):
        assert nearest.loc[query, ["lat", "lon"]].tolist() == pytest.approx([35.5, 139.5])
    away = distance_m(lat=35.6, lon=139.6, to_lat=HOME[0], to_lon=HOME[1]) / 1000
    assert nearest.loc["yfcc4k:p1", "error_km"] == pytest.approx(float(away))


def test_batches_change_nothing(ask, photo):
    photos = [photo(number) for number in range(100, 107)]
    one, all_at_once = ask(photos, at_once=1), ask(photos)
    order = ["readout", "query_id"]
    pd.testing.assert_frame_equal(
        one.estimates.sort_values(order, ignore_index=True), all_at_once.estimates.sort_values(order, ignore_index=True)
    )


def test_a_set_without_a_photo_of_the_country_gives_no_answer(ask, photo):
    trial = ask([photo(1, lat=48.9, lon=2.3)])
    assert (trial.listed, trial.left_out, len(trial.estimates)) == (1, {"abroad": 1}, 0)
    assert ask([]).listed == 0

"""What is chosen on validation, who may see whom, and how it is kept."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.evaluation.regions import Signs
from geoloc_pipeline.retrieval.embedding.queries import every_query, whole_pictures
from geoloc_pipeline.retrieval.reading.calibration import Calibration, calibrate, see
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS
from geoloc_pipeline.retrieval.trials.trial import MatrixGallery


@pytest.fixture(scope="module")
def gallery_and_validation(world) -> tuple[MatrixGallery, pd.DataFrame]:
    embeddings, split_of = world()
    splits = embeddings["image_id"].map(split_of)
    return MatrixGallery(embeddings[splits != "test"]), embeddings[splits == "val"]


def test_a_validation_picture_sees_everybody_but_its_own_group(gallery_and_validation) -> None:
    gallery, validation = gallery_and_validation
    queries = whole_pictures(validation)
    group_of = {image: image[:4] for image in gallery.embeddings["image_id"]}  # ten pictures a group
    seen = see(gallery, queries, top_k=50, vocabulary=None, group_of=group_of)
    own = np.array([group_of[image] for image in queries.image_id])
    groups = np.vectorize(lambda image: group_of.get(image, ""))(seen.image_id)
    assert not (groups == own[:, None]).any()
    assert np.isin(seen.image_id, queries.image_id).any()  # other validation pictures are seen
    plain = see(gallery, queries, top_k=50, vocabulary=None)
    assert (plain.image_id[:, 0] == np.array(queries.image_id)).all()  # nobody hidden: everybody finds itself


def test_both_kinds_are_calibrated_for_every_read_out(gallery_and_validation) -> None:
    gallery, validation = gallery_and_validation
    found = calibrate(gallery, every_query(validation), group_of={}, top_k=20)
    n = validation["image_id"].nunique()
    for kind, count in (("whole", n), ("one_view", 4 * n)):
        assert set(found.regions_of(kind)) == set(BATCH_READOUTS)
        assert found.regions_of(kind)[found.readout].n == count
        assert found.familiarity[kind].n == count
        risks = list(found.recorded["area_under_risk"][kind].values())
        assert risks == sorted(risks)
        assert all(0 <= risk <= 1 for risk in risks)
    assert found.recorded["queries"] == {"whole": n, "one_view": 4 * n}


def test_a_gallery_of_one_group_only_calibrates_nothing(gallery_and_validation) -> None:
    _, validation = gallery_and_validation
    group_of = dict.fromkeys(validation["image_id"], "all")
    assert calibrate(MatrixGallery(validation), every_query(validation), group_of=group_of, top_k=5) == Calibration()
    assert calibrate(MatrixGallery(validation), every_query(validation.iloc[:0]), group_of={}, top_k=5) == Calibration()


@pytest.mark.parametrize("n", [1, 2, 8])
def test_a_few_validation_pictures_calibrate_what_they_can(gallery_and_validation, n: int) -> None:
    gallery, validation = gallery_and_validation
    few = validation[validation["image_id"].isin(sorted(validation["image_id"].unique())[:n])]
    found = calibrate(gallery, every_query(few), group_of={}, top_k=20)
    assert found.regions[found.readout].n == n
    assert np.isnan(found.regions[found.readout].radii_km(Signs(np.ones(1), np.ones(1)))[1][0])  # a 90 % radius needs nine


def test_a_calibration_survives_being_written(gallery_and_validation) -> None:
    gallery, validation = gallery_and_validation
    calibration = calibrate(gallery, every_query(validation), group_of={}, top_k=20)
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json(), allow_nan=False))) == calibration


def test_what_an_older_home_wrote_is_still_read() -> None:
    region = {"n": 377, "factor_50": 0.9, "factor_90": 40.2, "is_scaled": True}
    told = {"readout": "mode", "settings": {"bandwidth_km": 25.0, "temperature": 0.05}, "regions": {"mode": region}}
    calibration = Calibration.from_json(told)
    assert calibration.settings.bandwidth_km == 25.0
    old = calibration.regions_of("one_view")["mode"]
    assert np.isnan(old.radii_km(Signs(np.ones(1), np.ones(1)))[0][0])  # its scale was another one
    assert "materialise `evaluation_report`" in old.text()
    assert calibration.familiarity == {}

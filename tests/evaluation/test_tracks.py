"""On which track a test picture is: by what the gallery holds within a kilometre."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.tracks import KNOWN, NEW, SAME_SEQUENCE, Taken, tracks_of

NEAR, FAR = 35.0 + 0.5 / 111, 35.0 + 2.0 / 111  # half a kilometre, and two, north of 35 degrees


def taken(*pictures: tuple[float, str, str]) -> Taken:
    lat, group, day = zip(*pictures, strict=True) if pictures else ((), (), ())
    return Taken(lat=np.array(lat), lon=np.full(len(lat), 139.0), capture_group=group, day=day)


@pytest.mark.parametrize(
    ("gallery", "track"),
    [
        ([], NEW),
        ([(FAR, "other", "2020-01-01")], NEW),
        ([(NEAR, "other", "2024-05-01")], KNOWN),
        ([(NEAR, "mine", "2020-01-01")], KNOWN),
        ([(NEAR, "mine", "2024-05-01")], SAME_SEQUENCE),
        ([(NEAR, "mine", "")], SAME_SEQUENCE),
        ([(NEAR, "mine", "2024-05-01"), (FAR, "other", "2020-01-01")], SAME_SEQUENCE),
        ([(NEAR, "mine", "2024-05-01"), (NEAR, "other", "2024-05-01")], KNOWN),
    ],
)
def test_a_place_is_known_by_somebody_elses_picture_or_another_days(gallery, track):
    assert tracks_of(taken((35.0, "mine", "2024-05-01")), taken(*gallery)).tolist() == [track]


def test_a_picture_of_an_unknown_author_is_like_nobody_elses():
    assert tracks_of(taken((35.0, "", "")), taken((NEAR, "", ""))).tolist() == [KNOWN]


def test_the_radius_can_be_chosen():
    asked, gallery = taken((35.0, "mine", "")), taken((FAR, "other", ""))
    assert tracks_of(asked, gallery, limit_km=3.0).tolist() == [KNOWN]

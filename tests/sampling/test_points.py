"""Points as rows: ids depend on the feature and the place alone."""

from __future__ import annotations

import numpy as np

from geoloc_pipeline.sampling.points import points_table
from geoloc_pipeline.tables import ROAD_POINTS, check_table


def table(lonlat, feature, **more):
    feature = np.array(feature, dtype=object)
    return points_table(
        ROAD_POINTS, lonlat=np.array(lonlat, dtype=float), feature_id=feature, spacing_m=np.zeros(len(feature)), **more
    )


def test_an_id_depends_on_the_feature_and_on_the_place_to_a_metre():
    at = (139.123456, 35.654321)
    ids = [
        table([at], ["13:1"])["point_id"][0],
        table([(at[0] + 2e-5, at[1])], ["13:1"])["point_id"][0],
        table([(at[0], at[1] + 2e-5)], ["13:1"])["point_id"][0],
        table([at], ["13:2"])["point_id"][0],
        table([at[::-1]], ["13:1"])["point_id"][0],
    ]
    assert len(set(ids)) == 5
    assert table([(at[0] + 1e-7, at[1])], ["13:1"])["point_id"][0] == ids[0]
    assert ids[0] == "e2391aa2164c43f3"  # the same in every run and on every machine: pictures are kept by it


def test_a_table_has_each_id_once_in_order_and_keeps_its_contract():
    places = np.random.default_rng(0).uniform([139, 35], [140, 36], (500, 2))
    both = np.concatenate([places, places[:100]])
    points = table(both, [f"13:{number % 7}" for number in range(500)] + [f"13:{number % 7}" for number in range(100)])
    check_table(ROAD_POINTS, points)
    assert len(points) == 500
    assert points["point_id"].is_monotonic_increasing
    assert points["point_id"].str.fullmatch("[0-9a-f]{16}").all()


def test_what_the_id_depends_on_can_be_another_thing_than_the_feature():
    identity = np.array([7], dtype=np.uint64)
    one, other = (table([(139, 35)], [name], identity=identity) for name in ("way/1", "way/2"))
    assert one["point_id"][0] == other["point_id"][0]

"""The coarse box around Japan."""

from __future__ import annotations

from geoloc_pipeline.geo.country import in_japan_box


def test_the_ends_of_japan_are_in_and_sweden_is_out() -> None:
    lat, lon = [45.52, 24.45, 20.42, 24.28, 55.7], [141.94, 122.93, 136.08, 153.98, 13.19]
    assert in_japan_box(lat=lat, lon=lon).tolist() == [True, True, True, True, False]

"""The choice equals that of a patient person who measures every distance."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import destination, distance_m
from geoloc_pipeline.imagery.choose import Choice, choose_pictures, within_reach
from geoloc_pipeline.sources.mapillary_coverage import Coverage

_LAT, _LON = 35.68, 139.76


def _coverage(rows):
    """Rows of (id, lat, lon, is_pano, compass)."""
    rows = sorted(rows)
    return Coverage(
        image_id=np.array([row[0] for row in rows], dtype=np.int64),
        lat=np.array([row[1] for row in rows], dtype=np.float64),
        lon=np.array([row[2] for row in rows], dtype=np.float64),
        compass_deg=np.array([row[4] for row in rows], dtype=np.float64),
        captured_ms=np.zeros(len(rows), dtype=np.int64),
        is_pano=np.array([row[3] for row in rows], dtype=np.bool_),
        sequence_id=np.array([""] * len(rows), dtype=object),
    )


def _at(away_m, bearing_deg=90.0):
    return destination(lat=_LAT, lon=_LON, bearing_deg=bearing_deg, away_m=away_m)


def _brute(points, rows, radius_m):
    """The rule, read out loud."""
    taken, choices = set(), []
    for point_id, lat, lon in points:
        near = []
        for image_id, at_lat, at_lon, is_pano, compass_deg in rows:
            away_m = float(distance_m(lat=lat, lon=lon, to_lat=at_lat, to_lon=at_lon))
            if away_m <= radius_m:
                near.append((away_m, image_id, is_pano, compass_deg))
        free = [picture for picture in near if picture[1] not in taken]
        panos = sorted(picture for picture in free if picture[2])
        flats = []
        for heading in (0, 90, 180, 270):
            turned = sorted(
                (abs((compass - heading + 180) % 360 - 180), away_m, image_id)
                for away_m, image_id, is_pano, compass in free
                if not is_pano and np.isfinite(compass)
            )
            if turned and turned[0][0] <= 45:
                flats.append((heading, str(turned[0][2])))
        if panos:
            choice = Choice(point_id, lat, lon, pano_id=str(panos[0][1]))
        elif flats:
            choice = Choice(point_id, lat, lon, flats=tuple(flats))
        else:
            choice = Choice(point_id, lat, lon, reason="already_taken" if len(free) < len(near) else "nothing_within_radius")
        taken |= {int(image_id) for image_id in choice.image_ids}
        choices.append(choice)
    return choices


_offset = st.floats(-0.004, 0.004)
_picture = st.tuples(_offset, _offset, st.booleans(), st.one_of(st.floats(0, 359.9), st.just(float("nan"))))


@settings(max_examples=150, deadline=None)
@given(
    pictures=st.lists(_picture, max_size=25),
    places=st.lists(st.tuples(_offset, _offset), min_size=1, max_size=8),
    radius_m=st.floats(20, 400),
    base=st.sampled_from([(35.68, 139.76), (45.4, 141.7), (24.3, 153.98), (-0.001, 0.001), (-33.9, -0.002)]),
)
def test_the_choice_is_the_brute_force_one(pictures, places, radius_m, base):
    rows = [
        (100 + number, base[0] + lat, base[1] + lon, is_pano, compass)
        for number, (lat, lon, is_pano, compass) in enumerate(pictures)
    ]
    points = [(f"p{number}", base[0] + lat, base[1] + lon) for number, (lat, lon) in enumerate(places)]
    coverage = _coverage(rows)
    expected = _brute(points, rows, radius_m)
    assert choose_pictures(points, coverage, radius_m=radius_m) == expected
    assert choose_pictures(points, within_reach(coverage, points, radius_m=radius_m), radius_m=radius_m) == expected


def test_a_panorama_goes_before_a_nearer_flat_and_the_nearest_before_others():
    rows = [(1, *_at(10), False, 0.0), (2, *_at(90), True, 0.0), (3, *_at(80), True, 0.0), (4, *_at(151), True, 0.0)]
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows), radius_m=150.0)
    assert choice.pano_id == "3"
    assert choice.source_image_id == "3"


def test_one_picture_serves_one_point_and_the_next_takes_the_next_best():
    rows = [(1, *_at(0), True, 0.0), (2, *_at(60), True, 0.0)]
    points = [(name, _LAT, _LON) for name in ("a", "b", "c")]
    first, second, third = choose_pictures(points, _coverage(rows), radius_m=150.0)
    assert (first.pano_id, second.pano_id) == ("1", "2")
    assert third.reason == "already_taken"
    assert third.source_image_id == "c"


def test_flats_look_where_they_should_and_one_may_be_missing():
    rows = [(number, *_at(10 + number), False, compass) for number, compass in enumerate((350.0, 46.0, 180.0, 30.0, 310.0), 1)]
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows), radius_m=150.0)
    assert choice.flats == ((0, "1"), (90, "2"), (180, "3"), (270, "5"))
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows[:1]), radius_m=150.0)
    assert choice.flats == ((0, "1"),)


def test_nothing_anywhere_is_a_value():
    (choice,) = choose_pictures([("p", _LAT, _LON)], Coverage.empty(), radius_m=150.0)
    assert choice.reason == "nothing_within_radius"
    assert choose_pictures([], Coverage.empty(), radius_m=150.0) == []
    assert len(within_reach(Coverage.empty(), [("p", _LAT, _LON)], radius_m=150.0)) == 0

"""The choice equals that of a patient person who measures every distance, one point after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import destination, distance_m, step_m
from geoloc_pipeline.imagery.choose import Choice, choose_pictures, within_reach
from geoloc_pipeline.sources.street_view import Coverage

_LAT, _LON = 35.68, 139.76
_NAN = float("nan")


def _coverage(rows):
    """Rows of id, lat, lon, is_pano, compass and, when it matters, captured, is_outdoor, quality."""
    rows = [(*row, *(0, True, _NAN)[len(row) - 5 :]) for row in rows]
    names = ("image_id", "lat", "lon", "is_pano", "compass_deg", "captured_ms", "is_outdoor", "quality")
    return Coverage.of(**{name: [row[place] for row in rows] for place, name in enumerate(names)})


def _at(away_m, bearing_deg=90.0):
    return destination(lat=_LAT, lon=_LON, bearing_deg=bearing_deg, away_m=away_m)


def _turn_deg(compass_deg, heading_deg):
    return abs((compass_deg - heading_deg + 180) % 360 - 180)


def _brute(points, coverage, radius_m, taken=()):
    """The rule, read out loud."""
    names = ("image_id", "is_pano", "compass_deg", "captured_ms", "is_outdoor", "quality")
    pictures = list(zip(*(getattr(coverage, name).tolist() for name in names), strict=True))
    taken, choices = set(taken), []
    for point_id, lat, lon in points:
        here = np.full(len(pictures), lat), np.full(len(pictures), lon)
        away = step_m(lat=here[0], lon=here[1], to_lat=coverage.lat, to_lon=coverage.lon).tolist()
        near = [
            (away_m, *picture)
            for away_m, picture in zip(away, pictures, strict=True)
            if away_m <= radius_m and (picture[1] or not np.isnan(picture[2]))
        ]
        free = [picture for picture in near if picture[1] not in taken]

        def worth(picture, band=0):
            away_m, image_id, _, _, captured_ms, is_outdoor, quality = picture
            return away_m // 10, not is_outdoor, band, -captured_ms, np.inf if np.isnan(quality) else -quality, away_m, image_id

        panos = sorted((picture for picture in free if picture[2]), key=worth)
        flats = []
        for heading in (0, 90, 180, 270):
            looking = [picture for picture in free if not picture[2] and _turn_deg(picture[3], heading) <= 45]
            looking.sort(key=lambda picture: worth(picture, _turn_deg(picture[3], heading) // 15))
            flats += [(heading, picture[1]) for picture in looking[:1]]
        if panos:
            choice = Choice(point_id, lat, lon, pano_id=panos[0][1])
        elif flats:
            choice = Choice(point_id, lat, lon, flats=tuple(flats))
        else:
            choice = Choice(point_id, lat, lon, reason="already_taken" if near else "nothing_within_radius")
        taken |= set(choice.image_ids)
        choices.append(choice)
    return choices


_BASES = [(35.68, 139.76), (45.4, 141.7), (24.3, 153.98), (-0.001, 0.001), (-33.9, -0.002), (64.1, -21.9)]
_offset = st.floats(-0.004, 0.004)
_compass = st.one_of(st.floats(0, 359.9), st.sampled_from([0.0, 15.0, 45.0, 135.0, 315.0, _NAN]))
_picture = st.tuples(
    _offset, _offset, st.booleans(), _compass, st.sampled_from([0, 1, 2]), st.booleans(), st.sampled_from([0.5, 1.0, _NAN])
)


@settings(max_examples=150, deadline=None)
@given(
    pictures=st.lists(_picture, max_size=25),
    places=st.lists(st.tuples(_offset, _offset), min_size=1, max_size=8),
    radius_m=st.floats(20, 400),
    base=st.sampled_from(_BASES),
    taken=st.sets(st.sampled_from([str(number) for number in range(95, 110)])),
)
def test_the_choice_is_the_brute_force_one(pictures, places, radius_m, base, taken):
    coverage = _coverage([(str(95 + at), base[0] + p[0], base[1] + p[1], *p[2:]) for at, p in enumerate(pictures)])
    points = [(f"p{number}", base[0] + lat, base[1] + lon) for number, (lat, lon) in enumerate(places)]
    expected = _brute(points, coverage, radius_m, taken)
    assert choose_pictures(points, coverage, radius_m=radius_m, taken=taken) == expected
    few = within_reach(coverage, points, radius_m=radius_m)
    assert choose_pictures(points, few, radius_m=radius_m, taken=taken) == expected


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_points=st.integers(1, 120),
    n_pictures=st.integers(1, 150),
    spread_m=st.sampled_from([4.0, 30.0, 300.0]),
    share_of_panoramas=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_in_a_crowd_nobody_is_served_before_his_turn(seed, n_points, n_pictures, spread_m, share_of_panoramas):
    # many more points than one picture can serve: they come to the end of their first lists, and past it
    rng = np.random.default_rng(seed)
    at = np.array([_LAT, _LON]) + rng.normal(0, spread_m / 100_000, (n_points + n_pictures, 2))
    coverage = Coverage.of(
        image_id=[str(number) for number in rng.permutation(n_pictures)],
        lat=at[n_points:, 0],
        lon=at[n_points:, 1],
        compass_deg=rng.integers(0, 24, n_pictures) * 15.0,
        captured_ms=rng.integers(0, 3, n_pictures),
        is_pano=rng.random(n_pictures) < share_of_panoramas,
        is_outdoor=rng.random(n_pictures) < 0.8,
        quality=rng.choice([0.0, 1.0, np.nan], n_pictures),
    )
    points = [(f"p{number}", *place) for number, place in enumerate(at[:n_points].tolist())]
    assert choose_pictures(points, coverage, radius_m=150.0) == _brute(points, coverage, 150.0)


@pytest.mark.parametrize("radius_m", [0.5, 5.0, 150.0, 1000.0])
@pytest.mark.parametrize("base", [*_BASES, (79.9, 20.0)])
def test_the_radius_is_kept_to_a_millionth_wherever_one_stands(base, radius_m):
    rows = []
    for number, bearing_deg in enumerate(range(0, 360, 10)):
        for inside, away_m in ((1, radius_m * (1 - 2e-6)), (0, radius_m * (1 + 2e-6))):
            place = destination(lat=base[0], lon=base[1], bearing_deg=bearing_deg, away_m=away_m)
            rows.append((f"{inside}-{number:02}", *place, True, 0.0))
    choices = choose_pictures([(f"p{number:02}", *base) for number in range(40)], _coverage(rows), radius_m=radius_m)
    assert {choice.pano_id for choice in choices if choice.pano_id} == {f"1-{number:02}" for number in range(36)}


def test_within_reach_keeps_what_is_near_and_little_else():
    rng = np.random.default_rng(5)
    at = np.array([_LAT, _LON]) + rng.uniform(-0.05, 0.05, (3000, 2))
    points = [(str(number), *place) for number, place in enumerate(at[:20].tolist())]
    coverage = _coverage([(str(number), *place, True, 0.0) for number, place in enumerate(at[20:].tolist())])
    kept = set(within_reach(coverage, points, radius_m=150.0).image_id)
    away_m = distance_m(lat=at[:20, :1], lon=at[:20, 1:], to_lat=coverage.lat, to_lon=coverage.lon).min(axis=0)
    near = set(coverage.image_id[away_m <= 150.0])
    assert near
    assert near <= kept <= set(coverage.image_id[away_m <= 600.0])


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param({"away_m": 8.0}, {"away_m": 12.0, "captured_ms": 9, "quality": 1.0}, id="the nearer ring of 10 m"),
        pytest.param({"is_outdoor": True}, {"is_outdoor": False, "captured_ms": 9}, id="outdoor"),
        pytest.param({"captured_ms": 2}, {"captured_ms": 1, "quality": 1.0}, id="the newest"),
        pytest.param({"quality": 0.1, "away_m": 9.0}, {"away_m": 1.0}, id="a rated one before one that nobody rated"),
        pytest.param({"quality": 0.9, "away_m": 9.0}, {"quality": 0.8, "away_m": 1.0}, id="the better rated"),
        pytest.param({"away_m": 3.0}, {"away_m": 4.0}, id="the nearer"),
    ],
)
@pytest.mark.parametrize("is_pano", [True, False])
def test_of_two_the_better_one_is_taken_whatever_their_names(better, worse, is_pano):
    for names in (("a", "b"), ("b", "a")):
        rows = []
        for name, said in zip(names, (better, worse), strict=True):
            known = {"away_m": 5.0, "captured_ms": 1, "is_outdoor": True, "quality": _NAN} | said
            rows.append((name, *_at(known.pop("away_m")), is_pano, 0.0, *known.values()))
        (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows), radius_m=150.0)
        assert choice.image_ids == names[:1]


def test_a_panorama_goes_before_a_nearer_flat_and_the_nearest_before_others():
    rows = [("1", *_at(10), False, 0.0), ("2", *_at(90), True, 0.0), ("3", *_at(80), True, 0.0), ("4", *_at(151), True, 0.0)]
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows), radius_m=150.0)
    assert choice.pano_id == "3"
    assert choice.source_image_id == "3"


def test_one_picture_serves_one_point_and_the_next_takes_the_next_best():
    rows = [("1", *_at(0), True, 0.0), ("2", *_at(60), True, 0.0)]
    points = [(name, _LAT, _LON) for name in ("a", "b", "c")]
    first, second, third = choose_pictures(points, _coverage(rows), radius_m=150.0)
    assert (first.pano_id, second.pano_id) == ("1", "2")
    assert third.reason == "already_taken"
    assert third.source_image_id == "c"


def test_flats_look_where_they_should_and_one_may_be_missing():
    compasses = (350.0, 46.0, 180.0, 30.0, 310.0)
    rows = [(str(number), *_at(1 + number), False, compass) for number, compass in enumerate(compasses, 1)]
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows), radius_m=150.0)
    assert choice.flats == ((0, "1"), (90, "2"), (180, "3"), (270, "5"))
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows[:1]), radius_m=150.0)
    assert choice.flats == ((0, "1"),)


def test_of_flats_in_one_ring_the_less_turned_goes_before_the_newer_but_not_within_a_band():
    rows = [("a", *_at(5), False, 20.0, 9), ("b", *_at(5), False, 14.0, 2), ("c", *_at(5), False, 1.0, 1)]
    (choice,) = choose_pictures([("p", _LAT, _LON)], _coverage(rows), radius_m=150.0)
    assert choice.flats == ((0, "b"),)


def test_a_picture_that_looks_between_two_directions_serves_both_and_is_fetched_once():
    (choice, other) = choose_pictures(
        [("p", _LAT, _LON), ("q", _LAT, _LON)], _coverage([("a", *_at(5), False, 45.0)]), radius_m=9.0
    )
    assert choice.flats == ((0, "a"), (90, "a"))
    assert choice.image_ids == ("a",)
    assert other.reason == "already_taken"


def test_of_two_equally_far_the_smaller_id_is_taken():
    rows = [("b", _LAT, -0.00001, True, 0.0), ("a", _LAT, 0.00001, True, 0.0)]
    (choice,) = choose_pictures([("p", _LAT, 0.0)], _coverage(rows), radius_m=150.0)
    assert choice.pano_id == "a"


def test_in_a_whole_country_everybody_finds_the_picture_at_the_door():
    rng = np.random.default_rng(11)
    number = rng.permutation(100_000)
    lat, lon = 31.0 + number // 320 * 0.01, 130.0 + number % 320 * 0.01
    ids = [f"i{at:05}" for at in number]
    is_pano = number % 5 > 0
    coverage = Coverage.of(image_id=ids, lat=lat, lon=lon, compass_deg=np.zeros(len(ids)), is_pano=is_pano)
    points = list(zip(ids, lat.tolist(), lon.tolist(), strict=True))
    choices = choose_pictures(points, coverage, radius_m=150.0)
    assert [choice.image_ids for choice in choices] == [(image_id,) for image_id in ids]
    assert [bool(choice.pano_id) for choice in choices] == is_pano.tolist()


def test_nothing_anywhere_is_a_value():
    (choice,) = choose_pictures([("p", _LAT, _LON)], Coverage.empty(), radius_m=150.0)
    assert choice.reason == "nothing_within_radius"
    assert choose_pictures([], Coverage.empty(), radius_m=150.0) == []
    assert len(within_reach(Coverage.empty(), [("p", _LAT, _LON)], radius_m=150.0)) == 0

"""Pictures: the same bytes for the same camera, things where the compass says, and places that can be told apart."""

from __future__ import annotations

import colorsys
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.land import Land, Landmark, Road, Town
from geoloc_pipeline.demo.render import Camera, draw_panorama, draw_view
from geoloc_pipeline.demo.scenery import METRES_PER_DEG, Scenery

CENTRES = {"01": (43.06, 141.35), "13": (35.69, 139.70), "35": (34.18, 131.47), "47": (26.34, 127.80)}
NOON = datetime(2026, 6, 10, 3, 0, tzinfo=UTC)  # noon in Japan


def metres(prefecture: str, points_m: Sequence[Sequence[float]]) -> np.ndarray:
    lat, lon = CENTRES[prefecture]
    scale = METRES_PER_DEG * np.array([np.cos(np.radians(lat)), 1.0])
    return np.array(points_m, dtype=np.float64) / scale + np.array([lon, lat])


def country() -> Land:
    """Four prefectures, each a town of streets."""
    roads, towns = [], []
    for number, code in enumerate(CENTRES):
        for k in range(-5, 6):
            kind = "secondary" if k % 5 == 0 else "residential"
            name = 1000 * number + 20 * k
            roads.append(Road(name + 500, {"highway": kind}, metres(code, [(-500, k * 90), (0, k * 90 + 6), (500, k * 90)])))
            roads.append(Road(name + 501, {"highway": kind}, metres(code, [(k * 90 + 30, -500), (k * 90, 500)])))
        box = shapely.Polygon(metres(code, [(-2000, -2000), (2000, -2000), (2000, 2000), (-2000, 2000)]))
        towns.append(Town(f"{code}101001001", code, f"{code}101", "見本", "見本市", "見本町", box, population=60_000))
    return Land(5, tuple(roads), (), tuple(towns), datetime(2026, 9, 1, tzinfo=UTC), 1)


def camera(prefecture: str, seed: int = 1, **changes: float) -> Camera:
    dice = np.random.default_rng(seed)
    (lon, lat), *_ = metres(prefecture, [(dice.uniform(-300, 300), 90 * int(dice.integers(-3, 4)) + 4)])
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=float(dice.uniform(0, 365)))
    when = when.replace(hour=int(dice.integers(0, 8)))
    return replace(Camera(lat=float(lat), lon=float(lon), heading_deg=90.0, captured_at=when, seed=seed), **changes)


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    return Scenery(country())


def shares_of_hue(image: np.ndarray, low: float, high: float, saturation: float = 0.7) -> float:
    pixels = image[::2, ::2].reshape(-1, 3) / 255.0
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels.tolist()])
    return float(((hsv[:, 0] > low) & (hsv[:, 0] < high) & (hsv[:, 1] > saturation) & (hsv[:, 2] > 0.25)).mean())


@pytest.mark.parametrize("width", [128, 512, 1024])
def test_a_panorama_is_twice_as_wide_as_high_and_has_a_scene_in_it(scenery: Scenery, width: int) -> None:
    image = draw_panorama(scenery, camera("35"), width_px=width)
    assert image.shape == (width // 2, width, 3)
    assert image.dtype == np.uint8
    assert image.std() > 15


@pytest.mark.parametrize("width", [0, 100, 1000])
def test_a_width_that_cannot_be_drawn_is_refused_with_the_cure(scenery: Scenery, width: int) -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        draw_panorama(scenery, camera("35"), width_px=width)


@pytest.mark.parametrize(("fov", "width"), [(0.0, 64), (170.0, 64), (60.0, 0)])
def test_a_view_that_cannot_be_drawn_is_refused(scenery: Scenery, fov: float, width: int) -> None:
    with pytest.raises(ValueError, match="fov_deg"):
        draw_view(scenery, camera("35"), fov_deg=fov, width_px=width, height_px=64)


def test_the_same_camera_gives_the_same_bytes_in_any_process(scenery: Scenery) -> None:
    eye = camera("47", 3, pitch_deg=1.5, roll_deg=-1.0)
    here = hashlib.sha256(draw_panorama(scenery, eye, width_px=512).tobytes()).hexdigest()
    draw_panorama(scenery, camera("01", 4), width_px=512)  # what was drawn before must not matter
    assert hashlib.sha256(draw_panorama(scenery, eye, width_px=512).tobytes()).hexdigest() == here
    code = (
        f"import hashlib, runpy; m = runpy.run_path({str(Path(__file__))!r});"
        "eye = m['camera']('47', 3, pitch_deg=1.5, roll_deg=-1.0);"
        "image = m['draw_panorama'](m['Scenery'](m['country']()), eye, width_px=512);"
        "print(hashlib.sha256(image.tobytes()).hexdigest())"
    )
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root,
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": root},
    )  # fmt: skip
    assert run.stdout.strip() == here


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turning_by_quarters_rolls_the_picture_byte_for_byte(scenery: Scenery, quarters: int) -> None:
    eye = camera("35", 5, heading_deg=37.3)
    turned = replace(eye, heading_deg=(37.3 + 90.0 * quarters) % 360.0)
    one, other = draw_panorama(scenery, eye, width_px=512), draw_panorama(scenery, turned, width_px=512)
    np.testing.assert_array_equal(np.roll(one, -128 * quarters, axis=1), other)


def tower_land() -> Land:
    tower = Landmark("node", 9, {"man_made": "tower"}, shapely.Point(metres("13", [(60.0, 0.0)])[0]))
    return Land(5, (), (tower,), (), datetime(2026, 9, 1, tzinfo=UTC), 1)


def tower_column(image: np.ndarray) -> float:
    """Middle of the red parts above the horizon, as a share of the width."""
    sky = image[: image.shape[0] // 2 - 4].astype(int)
    red = (sky[..., 0] > sky[..., 1] + 60) & (sky[..., 0] > sky[..., 2] + 60)
    assert red.sum() > 20
    angles = (np.nonzero(red)[1] + 0.5) / image.shape[1] * 2 * np.pi
    return float(np.angle(np.exp(1j * angles).mean()) / (2 * np.pi) % 1.0)


@pytest.mark.parametrize("heading", [0.0, 90.0, 200.0, 271.4])
@pytest.mark.parametrize("tilt", [0.0, 2.0])
def test_a_lone_tower_in_the_east_stands_where_the_compass_says(heading: float, tilt: float) -> None:
    lat, lon = CENTRES["13"]
    eye = Camera(lat=lat, lon=lon, heading_deg=heading, captured_at=NOON, seed=2, pitch_deg=tilt, roll_deg=-tilt)
    expected = ((90.0 - heading) / 360.0 + 0.5) % 1.0
    found = tower_column(draw_panorama(Scenery(tower_land()), eye))
    assert abs((found - expected + 0.5) % 1.0 - 0.5) < 0.006


def sunk_rows(level: np.ndarray, tilted: np.ndarray) -> list[int]:
    """How far down the picture moved in the columns ahead, right, behind and left of the centre: the best match of strips."""
    height, width = level.shape[:2]
    moves = []
    for share in (0.5, 0.75, 0.0, 0.25):
        columns = (int(share * width) + np.arange(-3, 4)) % width
        one, other = (image[:, columns].astype(float) for image in (level, tilted))
        rows = np.arange(height // 2 - 90, height // 2 + 50)
        misfit = [np.abs(one[rows] - other[rows + move]).mean() for move in range(-30, 31)]
        moves.append(int(np.argmin(misfit)) - 30)
    return moves


def test_pitch_and_roll_tilt_the_picture_the_way_the_camera_says(scenery: Scenery) -> None:
    degree = 1024 / 360.0
    eye = replace(camera("13", 3), heading_deg=40.0)
    level = draw_panorama(scenery, eye)
    up = sunk_rows(level, draw_panorama(scenery, replace(eye, pitch_deg=4.0)))
    np.testing.assert_allclose(up, [4 * degree, 0, -4 * degree, 0], atol=2)  # looking up, what is ahead sinks
    rolled = sunk_rows(level, draw_panorama(scenery, replace(eye, roll_deg=4.0)))
    np.testing.assert_allclose(rolled, [0, -4 * degree, 0, 4 * degree], atol=2)  # right side down: there things rise


@pytest.mark.parametrize("tilt", [0.0, 2.5])
def test_a_view_is_the_panorama_around_its_heading_without_its_curves(scenery: Scenery, tilt: float) -> None:
    eye = camera("13", 8, heading_deg=123.0, pitch_deg=tilt, roll_deg=tilt)
    view = draw_view(scenery, eye, fov_deg=80.0, width_px=256, height_px=192)
    panorama = draw_panorama(scenery, eye, width_px=1152)
    focal = 128 / np.tan(np.radians(40.0))
    x, z = np.meshgrid((np.arange(256) + 0.5 - 128) / focal, (96 - np.arange(192) - 0.5) / focal)
    column = (np.arctan2(x, 1.0) / (2 * np.pi) + 0.5) * 1152 - 0.5
    row = (0.5 - np.arctan2(z, np.hypot(x, 1.0)) / np.pi) * 576 - 0.5
    cut = cv2.remap(panorama, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR)
    blurred = [cv2.GaussianBlur(image, (0, 0), 2).astype(float) for image in (cut, view)]
    assert np.abs(blurred[0] - blurred[1]).mean() < 4.0
    assert np.corrcoef(blurred[0].ravel(), blurred[1].ravel())[0, 1] > 0.95


def test_orange_guardrails_are_seen_in_yamaguchi_and_not_in_hokkaido(scenery: Scenery) -> None:
    shares = {}
    for prefecture in ("35", "01"):
        images = []
        for seed in range(8):
            eye = replace(camera(prefecture, seed), captured_at=NOON + timedelta(days=seed * 5))
            images.append(draw_panorama(scenery, eye, width_px=512)[105:165])
        shares[prefecture] = np.array([shares_of_hue(image, 0.045, 0.105) for image in images])
    assert np.median(shares["35"]) > 0.02
    assert np.median(shares["01"]) < np.median(shares["35"]) / 5


def test_snow_lies_in_hokkaido_in_february_and_not_in_july_nor_in_okinawa(scenery: Scenery) -> None:
    fields = Scenery(replace(country(), roads=()))

    def colourfulness(prefecture: str, month: int) -> float:
        values = []
        for seed in range(6):
            eye = replace(camera(prefecture, seed), captured_at=datetime(2026, month, 10, 3, tzinfo=UTC))
            ground = draw_panorama(fields, eye, width_px=256)[68:76].reshape(-1, 3).astype(float)
            values.append(np.median(np.ptp(ground, axis=1) / ground.max(axis=1)))
        return float(np.mean(values))

    assert colourfulness("01", 2) < 0.6 * colourfulness("01", 7)
    assert colourfulness("47", 2) > 0.6 * colourfulness("47", 7)


def test_mean_colour_does_not_tell_the_prefecture(scenery: Scenery) -> None:
    means, labels = [], []
    for label, prefecture in enumerate(CENTRES):
        for seed in range(16):
            means.append(draw_panorama(scenery, camera(prefecture, seed), width_px=128).reshape(-1, 3).mean(axis=0))
            labels.append(label)
    found, truth = np.array(means), np.array(labels)
    train = np.arange(len(truth)) % 2 == 0
    centres = np.stack([found[train & (truth == label)].mean(axis=0) for label in range(4)])
    guess = ((found[~train][:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (guess == truth[~train]).mean() < 0.6


def test_the_next_picture_of_a_place_has_other_light_and_the_same_houses(scenery: Scenery) -> None:
    eye = camera("13", 2)
    one, other = (draw_panorama(scenery, replace(eye, seed=seed), width_px=512) for seed in (1, 2))
    assert np.abs(one.astype(float) - other).mean() > 5
    edges = [cv2.Canny(image[80:256], 60, 120) > 0 for image in (one, other)]
    near = cv2.dilate(edges[1].astype(np.uint8), np.ones((7, 7))) > 0
    elsewhere = np.roll(near, 130, axis=1)
    assert near[edges[0]].mean() > elsewhere[edges[0]].mean() + 0.1


@pytest.mark.parametrize(("lat", "lon"), [(35.0, 150.0), (0.0, 0.0), (-60.0, -179.999), (84.0, 179.999)])
def test_any_place_on_earth_can_be_drawn_from_any_land(scenery: Scenery, lat: float, lon: float) -> None:
    empty = Scenery(Land(1, (), (), (), NOON, 1))
    eye = Camera(lat=lat, lon=lon, heading_deg=10.0, captured_at=NOON, seed=1, pitch_deg=1.0)
    for land in (scenery, empty):
        assert draw_panorama(land, eye, width_px=256).std() > 10
        assert draw_view(land, eye, fov_deg=60.0, width_px=64, height_px=48).shape == (48, 64, 3)


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_every_hour_of_the_day_is_drawn_bright_enough_to_see(scenery: Scenery, hour: int) -> None:
    eye = replace(camera("35", 6), captured_at=datetime(2026, 12, 21, hour, tzinfo=UTC))
    assert 40 < draw_panorama(scenery, eye, width_px=256).mean() < 220


@pytest.mark.parametrize("tags", [{"man_made": "tower"}, {"religion": "shinto"}, {"railway": "station"}, {"historic": "castle"},
                                  {"leisure": "park"}, {"shop": "yes"}, {"tourism": "museum"}])  # fmt: skip
def test_a_landmark_of_any_kind_changes_the_picture_where_it_stands(tags: dict[str, str]) -> None:
    mark = Landmark("node", 9, tags, shapely.Point(metres("13", [(0.0, 20.0)])[0]))
    bare = Land(5, (), (), (), NOON, 1)
    lat, lon = CENTRES["13"]
    eye = Camera(lat=lat, lon=lon, heading_deg=0.0, captured_at=NOON, seed=2)
    plain, marked = (draw_panorama(Scenery(land), eye).astype(int) for land in (bare, replace(bare, landmarks=(mark,))))
    changed = np.abs(plain - marked).sum(axis=2) > 60
    assert changed[200:270, 480:544].mean() > 0.03


def test_water_towns_and_lines_with_doubled_vertices_do_no_harm() -> None:
    place = metres("13", [(0, 0), (0, 0), (50, 0), (50, 0), (90, 30)])
    box = shapely.Polygon(metres("13", [(-900, -900), (900, -900), (900, 900), (-900, 900)]))
    water = Town("13101999999", "13", "13101", "見本", "見本区", "", box, is_water=True)
    roads = (Road(1, {"highway": "residential"}, place), Road(2, {"highway": "footway"}, place[:2]))
    lat, lon = CENTRES["13"]
    eye = Camera(lat=lat, lon=lon, heading_deg=0.0, captured_at=NOON, seed=2)
    assert draw_panorama(Scenery(Land(5, roads, (), (water,), NOON, 1)), eye, width_px=256).std() > 10

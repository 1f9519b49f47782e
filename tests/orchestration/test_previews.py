"""Maps show what they are given, stay small, and are drawn at once."""

from __future__ import annotations

import io
import time
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from PIL import Image

from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.orchestration.showing.maps import LAND, POINT, SEA, Canvas, category_colours
from geoloc_pipeline.orchestration.showing.previews import (
    draw_clusters,
    draw_curves,
    draw_labels,
    draw_map,
    draw_pictures,
    draw_spacing,
)
from geoloc_pipeline.tables import SAMPLE_POINTS, STREET_VIEW_IMAGES, empty_table

LARGEST_BYTES = 60_000


def frame(geometry, **columns):
    return gpd.GeoDataFrame(columns, geometry=list(geometry), crs=WGS84)


def blocks(across: int = 12):
    """A checkerboard of town blocks around Tokyo, and one block on a far island."""
    sides = np.linspace(0, 0.6, across + 1)
    boxes = [
        shapely.segmentize(shapely.box(139.4 + w, 35.4 + s, 139.4 + e, 35.4 + n), 0.002)
        for w, e in pairwise(sides)
        for s, n in pairwise(sides)
    ]
    codes = [f"{13100 + number // across}" for number in range(len(boxes))]
    return frame([*boxes, shapely.box(142.1, 27.0, 142.2, 27.1)], municipality_code=[*codes, "13421"])


def some_points(n: int, seed: int = 0):
    dice = np.random.default_rng(seed)
    places = shapely.points(139.4 + 0.6 * dice.random(n), 35.4 + 0.6 * dice.random(n))
    return frame(
        places,
        spacing_m=np.where(dice.random(n) < 0.5, 0.0, 500 + 3000 * dice.random(n)),
        n_members=dice.geometric(0.3, n),
        municipality_code=dice.choice(["13101", "13102"], n),
        town_code=np.where(dice.random(n) < 0.9, "t", None),
        road_id=np.where(dice.random(n) < 0.5, "r", None),
        landmark_id=[None] * n,
    )


@pytest.mark.parametrize("n", [1, 5_000, 40_000])
def test_every_map_is_a_small_png_and_the_same_twice(n):
    towns, points = blocks(), some_points(n)
    assert draw_spacing(points, towns) == draw_spacing(points, towns)
    for draw in (draw_spacing, draw_clusters, draw_labels):
        data = draw(points, towns)
        assert len(data) < LARGEST_BYTES
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "PNG"
            assert picture.width > 1.5 * picture.height


def test_with_nothing_to_draw_there_is_nothing(tmp_path: Path):
    assert draw_map() is None
    assert draw_map(points=some_points(3)[:0]) is None
    assert draw_pictures(empty_table(STREET_VIEW_IMAGES), tmp_path, empty_table(SAMPLE_POINTS)) is None
    assert draw_labels(some_points(3)[:0], blocks()) is not None


def test_points_lie_where_they_are_and_land_where_it_is():
    towns = blocks()
    canvas = Canvas.around(shapely.get_coordinates(shapely.centroid(towns.geometry.to_numpy())))
    canvas.paint_areas(towns.geometry.to_numpy())
    canvas.paint_points(np.array([[139.5, 35.5]]))
    corners = canvas.xy(np.array([[139.5, 35.5], [139.7, 35.8], [canvas.west + 1e-4, canvas.north - 1e-4]]))
    colours = [tuple(canvas.pixels[y, x].tolist()) for x, y in corners]
    assert colours == [POINT, LAND, SEA]
    assert canvas.outside(np.array([[142.15, 27.05], [139.5, 35.5]])) == 1  # the far island would make the city a dot
    height, width = canvas.pixels.shape[:2]
    degrees = (canvas.east - canvas.west) * np.cos(np.radians((canvas.south + canvas.north) / 2)), canvas.north - canvas.south
    assert width / height == pytest.approx(degrees[0] / degrees[1], rel=0.01)


def test_slits_between_blocks_and_blocks_below_a_pixel_are_land_all_the_same():
    tiny = [shapely.box(x, y, x + 0.0009, y + 0.0009) for x in np.arange(139, 139.1, 0.001) for y in np.arange(35, 35.1, 0.001)]
    canvas = Canvas.around(np.array([[138.0, 34.0], [140.0, 36.0]]))
    canvas.paint_areas(np.array(tiny))
    x, y = canvas.xy(np.array([[139.05, 35.05]]))[0]
    assert (canvas.pixels[y - 5 : y + 5, x - 5 : x + 5] == LAND).all()


def test_a_line_is_unbroken_and_darker_where_many_run():
    canvas = Canvas.around(np.array([[139.0, 35.0], [140.0, 36.0]]))
    long = shapely.LineString([(139.1, 35.5), (139.9, 35.5)])
    canvas.paint_lines(np.array([long] + [shapely.LineString([(139.1, 35.7), (139.9, 35.7)])] * 9))
    (x0, y0), (x1, _) = canvas.xy(np.array([[139.1, 35.5], [139.9, 35.5]]))
    one = canvas.pixels[y0, x0 + 1 : x1 - 1].astype(int).sum(axis=1)
    assert (one < sum(SEA)).all()
    row = canvas.xy(np.array([[139.5, 35.7]]))[0][1]
    assert canvas.pixels[row, (x0 + x1) // 2].astype(int).sum() < one.min()


def test_codes_have_colours_of_their_own_and_no_code_is_white():
    colours = category_colours(["b", "a", None, "b"], ((1, 1, 1), (2, 2, 2)))
    assert colours.tolist() == [[2, 2, 2], [1, 1, 1], [255, 255, 255], [2, 2, 2]]


def test_a_city_of_a_hundred_thousand_points_is_drawn_at_once():
    towns, points = blocks(60), some_points(100_000)
    draw_spacing(points[:10], towns)
    started_s = time.process_time()
    draw_spacing(points, towns)
    assert time.process_time() - started_s < 2.0  # 0.4 s here; the rest is for slower machines


def a_history(epochs: int, *, validated: bool = True, **terms: float):
    terms = {"prefecture": 3.0, "town": 9.0, "contrastive": 6.0, **terms}
    for epoch in range(epochs):
        told = {name: value / (1 + epoch) for name, value in terms.items()}
        heads = {name: value + 0.1 for name, value in told.items() if name != "contrastive"}
        right = dict.fromkeys(heads, epoch / (epoch + 2))
        validation = {"val_loss": sum(heads.values()), "val_terms": heads, "val_accuracy": right} if validated else {}
        yield {"epoch": epoch, "train_loss": sum(told.values()), "train_terms": told, **validation}


@pytest.mark.parametrize("epochs", [1, 2, 74])
@pytest.mark.parametrize("validated", [True, False])
def test_curves_are_a_small_png_and_the_same_twice(epochs, validated):
    history = list(a_history(epochs, validated=validated, municipality=5.0, road=9.5, landmark=7.0))
    data = draw_curves(history)
    assert data == draw_curves(history)
    assert len(data) < LARGEST_BYTES
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width < 700


def test_every_term_and_every_head_is_in_the_curves():
    plain = draw_curves(list(a_history(5)))
    for name in ("prefecture", "town", "contrastive"):
        assert draw_curves(list(a_history(5, **{name: 4.4}))) != plain
    history = list(a_history(5))
    history[3]["val_accuracy"]["town"] = 0.99
    assert draw_curves(history) != plain
    assert draw_curves([]) is None

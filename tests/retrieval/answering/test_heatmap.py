"""Heat stands where neighbours stand, and is drawn the same way twice."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.cartography import MapFrame
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.answering.heatmap import density_grid, heat_png, write_folium

FRAME = MapFrame.around(lat=35.0, lon=139.0, radius_km=50, width_px=200, height_px=160)


def test_the_grid_is_a_gaussian_of_the_geodesic_distance():
    grid = density_grid(FRAME, lat=[35.1, 34.8], lon=[139.1, 139.0], weight=[1.0, 2.0], bandwidth_km=8.0)
    assert grid.shape == (40, 50)
    rows, columns = np.mgrid[0:40, 0:50]
    lat, lon = FRAME.places(x=(columns + 0.5) * 4, y=(rows + 0.5) * 4)
    expected = sum(
        weight * np.exp(-((distance_m(lat=lat, lon=lon, to_lat=at[0], to_lon=at[1]) / 8000) ** 2) / 2)
        for weight, at in ((1.0, (35.1, 139.1)), (2.0, (34.8, 139.0)))
    )
    assert grid == pytest.approx(expected / expected.max(), abs=0.02)


def test_the_hottest_cell_is_where_the_neighbours_are():
    grid = density_grid(FRAME, lat=[35.2] * 5 + [34.7], lon=[138.8] * 5 + [139.3], weight=np.ones(6), bandwidth_km=5.0)
    row, column = np.unravel_index(grid.argmax(), grid.shape)
    x, y = FRAME.xy(lat=35.2, lon=138.8)
    assert abs(column - float(x) / 4) <= 1
    assert abs(row - float(y) / 4) <= 1


def test_neighbours_off_the_map_leave_it_cold():
    assert density_grid(FRAME, lat=[43.0], lon=[141.0], weight=[1.0], bandwidth_km=5.0).max() == 0.0


@pytest.mark.parametrize("bandwidth_km", [0.0, -1.0, float("nan")])
def test_a_bandwidth_that_cannot_work_is_refused(bandwidth_km: float):
    with pytest.raises(SettingError, match="above 0"):
        density_grid(FRAME, lat=[35.0], lon=[139.0], weight=[1.0], bandwidth_km=bandwidth_km)


def test_the_picture_is_clear_where_it_is_cold_and_grows_denser_with_heat():
    image = np.asarray(Image.open(io.BytesIO(heat_png(np.linspace(0, 1, 11)[None]))))
    assert image.shape == (1, 11, 4)
    assert image[0, 0, 3] == 0
    assert (np.diff(image[0, :, 3].astype(int)) >= 0).all()
    assert heat_png(np.eye(5)) == heat_png(np.eye(5))


def test_the_folium_page_holds_every_place_and_repeats_itself(tmp_path: Path):
    lat, lon, score = [35.123456, 34.5], [139.654321, 138.5], [0.9, -0.2]
    for name in ("a", "b"):
        write_folium(tmp_path / f"{name}.html", lat=lat, lon=lon, score=score, answer=(35.0, 139.0))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "[35.123456, 139.654321, 0.9]" in text
    assert "[34.5, 138.5, 0.0]" in text
    assert len(re.findall(r"L\.marker\(", text)) == 1

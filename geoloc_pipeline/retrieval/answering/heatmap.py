"""Where the neighbours stand, as a heatmap: the paper's way of showing why an answer was given (§3.3, figure 7).

`heat_png` draws without the network, for evidence pages; `write_folium` is the paper's own form, with map tiles.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, unit_vectors
from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.evaluation.cartography import MapFrame

CELL_PX = 4
_STOPS = np.array([0.0, 0.08, 0.3, 0.6, 1.0])
_COLOURS = np.array(
    [[255, 214, 102, 0], [255, 208, 96, 70], [249, 160, 70, 135], [222, 88, 52, 165], [160, 36, 44, 185]]
)  # RGBA


def density_grid(
    frame: MapFrame, *, lat: ArrayLike, lon: ArrayLike, weight: ArrayLike, bandwidth_km: float, cell_px: int = CELL_PX
) -> NDArray[np.float64]:
    """Return how densely places stand around every cell of a map: a Gaussian kernel on the sphere.

    Args:
        frame: What the map shows.
        lat: `[k]` degrees.
        lon: Like `lat`.
        weight: `[k]` not negative; what each place counts.
        bandwidth_km: Of the kernel.
        cell_px: Side of a cell.

    Returns:
        `[rows, columns]`, rows from north to south; 1 where it is densest, all 0 when nothing is near.

    Raises:
        SettingError: The bandwidth is not above 0.
    """
    if not bandwidth_km > 0:
        raise SettingError(setting="heatmap bandwidth_km", value=bandwidth_km, cure="give a number above 0")
    columns, rows = -(-frame.width_px // cell_px), -(-frame.height_px // cell_px)
    cell_lat, _ = frame.places(x=0.0, y=(np.arange(rows) + 0.5) * cell_px)
    _, cell_lon = frame.places(x=(np.arange(columns) + 0.5) * cell_px, y=0.0)
    cells = unit_vectors(lat=np.repeat(cell_lat, columns), lon=np.tile(cell_lon, rows))
    bandwidth = bandwidth_km * 1000 / MEAN_EARTH_RADIUS_M
    chord2 = np.clip(2.0 - 2.0 * (cells @ unit_vectors(lat=lat, lon=lon).T), 0.0, None)
    density = (np.exp(chord2 / (-2.0 * bandwidth**2)) @ np.asarray(weight, dtype=np.float64)).reshape(rows, columns)
    peak = density.max(initial=0.0)
    return np.asarray(density / peak if peak > 1e-12 else np.zeros_like(density))


def heat_png(grid: NDArray[np.float64]) -> bytes:
    """Return a grid of 0 to 1 as a PNG, one pixel a cell: clear where it is 0, then yellow, orange, dark red."""
    rgba = np.stack([np.interp(grid, _STOPS, _COLOURS[:, channel]) for channel in range(4)], axis=-1)
    stream = io.BytesIO()
    Image.fromarray(np.round(rgba).astype(np.uint8)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def write_folium(
    path: Path, *, lat: ArrayLike, lon: ArrayLike, score: ArrayLike, answer: tuple[float, float] | None = None
) -> None:
    """Write the paper's heatmap over map tiles as an HTML page.

    Unlike an evidence page it needs the network when it is opened: Leaflet and the tiles of OpenStreetMap are fetched by the
    reader's browser, and whoever serves them learns which part of the map is looked at.

    Args:
        path: Where the page shall stand.
        lat: `[k]` degrees, k at least 1.
        lon: Like `lat`.
        score: `[k]` similarities; negative ones count as 0.
        answer: (lat, lon) of a marker; None: no marker.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.

    Paper:
        §3.3: the places of the 100 neighbours on a folium heatmap.
    """
    import folium
    from folium.plugins import HeatMap

    lat, lon, score = (np.asarray(values, dtype=np.float64) for values in (lat, lon, score))
    page = folium.Map(tiles="OpenStreetMap", control_scale=True)
    rows = np.column_stack([lat, lon, np.clip(score, 0.0, None)])
    HeatMap(rows.tolist(), radius=18, blur=14).add_to(page)
    if answer is not None:
        folium.Marker(list(answer), tooltip="answer").add_to(page)
    page.fit_bounds([[float(lat.min()), float(lon.min())], [float(lat.max()), float(lon.max())]], max_zoom=14)
    for number, element in enumerate(_elements(page)):
        element._id = f"{number:032x}"  # folium draws ids by chance: same neighbours, same bytes
    write_text(path, page.get_root().render())


def _elements(element: Any) -> list[Any]:
    """Return an element of a folium page and everything below it."""
    children = list(getattr(element, "_children", {}).values())
    return [element, *(below for child in children for below in _elements(child))]

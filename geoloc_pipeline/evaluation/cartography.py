"""Flat pictures of the Earth for pages that open without the network: a frame in Web Mercator, outlines and scale bars as SVG.

Belongs here: turning places into pixels, and polygons into SVG paths.
Does not belong here: what is drawn on top of the map (`report`, `retrieval.maps`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import shape

from geoloc_pipeline.evaluation.coast import COAST
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, destination

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import ArrayLike, NDArray

LIMIT_DEG = 85.0  # Mercator has no poles


@dataclass(frozen=True)
class Outline:
    """An area to be drawn on a map.

    Attributes:
        name: For people; may be empty.
        geometry: A shapely geometry, or a GeoJSON geometry as a mapping, in WGS 84 degrees (x = lon, y = lat).
    """

    name: str
    geometry: Any


def _mercator(lat: ArrayLike) -> NDArray[np.float64]:
    """Return the northing of latitudes in degrees of longitude."""
    clipped = np.clip(np.asarray(lat, dtype=np.float64), -LIMIT_DEG, LIMIT_DEG)
    return np.asarray(np.degrees(np.arcsinh(np.tan(np.radians(clipped)))))


@dataclass(frozen=True)
class MapFrame:
    """Which part of the Earth a picture shows, in Web Mercator.

    Attributes:
        west: Degrees of longitude at the left edge.
        top: Northing (degrees of longitude on the equator) at the upper edge.
        px_per_deg: Pixels for a degree of longitude.
        width_px: Width of the picture.
        height_px: Height of the picture.
    """

    west: float
    top: float
    px_per_deg: float
    width_px: int
    height_px: int

    @classmethod
    def fitting(cls, *, lat: ArrayLike, lon: ArrayLike, width_px: int, height_px: int, margin: float = 0.06) -> MapFrame:
        """Return the frame in which all places are seen, with a margin (a share of the picture) around them.

        Args:
            lat: `[n]` degrees, n at least 1.
            lon: `[n]` degrees, not across the antimeridian.
            width_px: Width of the picture.
            height_px: Height of the picture.
            margin: Share of width and height that stays free on each side.

        Returns:
            The frame; never closer than about 500 m across.
        """
        lon, north = np.asarray(lon, dtype=np.float64), _mercator(lat)
        room = 1.0 - 2.0 * margin
        wide = max(float(np.ptp(lon)), 0.004)
        high = max(float(np.ptp(north)), 0.004)
        scale = min(width_px * room / wide, height_px * room / high)
        middle_x, middle_y = (float(values.min() + values.max()) / 2 for values in (lon, north))
        return cls(middle_x - width_px / scale / 2, middle_y + height_px / scale / 2, scale, width_px, height_px)

    @classmethod
    def around(cls, *, lat: float, lon: float, radius_km: float, width_px: int, height_px: int) -> MapFrame:
        """Return the frame whose shorter side shows `radius_km` in each direction from a place."""
        px_per_km = min(width_px, height_px) / 2 / radius_km
        scale = px_per_km * math.radians(1) * MEAN_EARTH_RADIUS_M / 1000 * math.cos(math.radians(lat))
        return cls(lon - width_px / scale / 2, float(_mercator(lat)) + height_px / scale / 2, scale, width_px, height_px)

    def xy(self, *, lat: ArrayLike, lon: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixels (x to the right, y down) of places in degrees."""
        x = (np.asarray(lon, dtype=np.float64) - self.west) * self.px_per_deg
        return x, (self.top - _mercator(lat)) * self.px_per_deg

    def places(self, *, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (lat, lon) in degrees of pixels: the inverse of `xy`."""
        northing = np.radians(self.top - np.asarray(y, dtype=np.float64) / self.px_per_deg)
        return np.degrees(np.arctan(np.sinh(northing))), np.asarray(x, dtype=np.float64) / self.px_per_deg + self.west

    def bounds(self) -> tuple[float, float, float, float]:
        """Return (west, south, east, north) in degrees."""
        lat, lon = self.places(x=[0, self.width_px], y=[self.height_px, 0])
        return float(lon[0]), float(lat[0]), float(lon[1]), float(lat[1])

    def px_per_km(self) -> float:
        """Return how long a kilometre is in the middle of the picture."""
        lat, _ = self.places(x=0, y=self.height_px / 2)
        return self.px_per_deg / (math.radians(1) * MEAN_EARTH_RADIUS_M / 1000 * math.cos(math.radians(float(lat))))


def area_path(frame: MapFrame, geometry: Any) -> str:
    """Return the `d` of an SVG path of the part of an area that the frame shows; empty when it shows none.

    Args:
        frame: What the picture shows.
        geometry: Polygons in WGS 84 degrees, as shapely geometry or GeoJSON mapping; anything else draws nothing.

    Returns:
        Closed rings, simplified to a third of a pixel, one decimal.
    """
    if not isinstance(geometry, shapely.Geometry):
        geometry = shape(geometry)
    west, south, east, north = frame.bounds()
    edge = (east - west) * 0.02
    if geometry.is_empty or not shapely.box(west, south, east, north).intersects(shapely.box(*geometry.bounds)):
        return ""
    geometry = shapely.simplify(geometry, 0.3 / frame.px_per_deg)
    clipped = shapely.clip_by_rect(geometry, west - edge, south - edge, east + edge, north + edge)
    return "".join(
        ring_path(frame, lat=points[:, 1], lon=points[:, 0])
        for part in shapely.get_parts(clipped)
        if part.geom_type == "Polygon"
        for points in (shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors))
    )


def ring_path(frame: MapFrame, *, lat: ArrayLike, lon: ArrayLike) -> str:
    """Return the closed SVG path through places in degrees."""
    x, y = frame.xy(lat=lat, lon=lon)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)) + "Z"


def circle_path(frame: MapFrame, *, lat: float, lon: float, radius_km: float) -> str:
    """Return the SVG path of all places that are `radius_km` from one place."""
    edge = [destination(lat=lat, lon=lon, bearing_deg=bearing, away_m=radius_km * 1000) for bearing in range(0, 360, 5)]
    return ring_path(frame, lat=[place[0] for place in edge], lon=[place[1] for place in edge])


def coast_path(frame: MapFrame) -> str:
    """Return the SVG path of the schematic coast of Japan."""
    rings = (shapely.Polygon([(lon, lat) for lat, lon in island]) for island in COAST)
    return "".join(area_path(frame, ring) for ring in rings)


def scale_bar(frame: MapFrame, *, longest_px: float = 140.0) -> tuple[float, str]:
    """Return length in pixels and label of a scale bar of a round length."""
    longest_km = longest_px / frame.px_per_km()
    power = 10.0 ** math.floor(math.log10(longest_km))
    round_km = max(step * power for step in (1, 2, 5) if step * power <= longest_km)
    label = f"{round_km:g} km" if round_km >= 1 else f"{round_km * 1000:g} m"
    return round_km * frame.px_per_km(), label


def outlines_of_towns(towns: gpd.GeoDataFrame, *, level: str) -> list[Outline]:
    """Return the outlines of town blocks, or of what they belong to.

    Args:
        towns: `CENSUS_TOWNS`.
        level: `town`, `municipality` or `prefecture`.

    Returns:
        One outline for each code, in code order, simplified to about 10 m when blocks are joined.
    """
    outlines = []
    for _, part in towns.sort_values("town_code").groupby(f"{level}_code"):
        geometry = part.geometry.iloc[0] if len(part) == 1 else shapely.union_all(part.geometry.to_numpy(), grid_size=1e-6)
        name = part[level].iloc[0]
        outlines.append(Outline(name=name if isinstance(name, str) else "", geometry=shapely.simplify(geometry, 1e-4)))
    return outlines


@dataclass(frozen=True)
class SeenOutline:
    """An outline as a map shows it.

    Attributes:
        name: For people; may be empty.
        path: The `d` of its SVG path.
        x: Pixels, where its name may stand.
        y: Pixels, where its name may stand; below the area when that is too small for a name.
    """

    name: str
    path: str
    x: float
    y: float


def seen_outlines(frame: MapFrame, outlines: Sequence[Outline], *, least_px: float = 34.0) -> list[SeenOutline]:
    """Return the outlines that the frame shows, in their order.

    Args:
        frame: What the picture shows.
        outlines: Areas.
        least_px: Height from which on an area has room for its name inside.

    Returns:
        Those of which at least a part is seen.
    """
    seen = []
    for outline in outlines:
        path = area_path(frame, outline.geometry)
        if path:
            geometry = outline.geometry if isinstance(outline.geometry, shapely.Geometry) else shape(outline.geometry)
            _, south, _, north = geometry.bounds
            point = geometry.representative_point()
            x, y = (float(value) for value in frame.xy(lat=point.y, lon=point.x))
            top, bottom = (float(value) for value in frame.xy(lat=[north, south], lon=[0.0, 0.0])[1])
            seen.append(SeenOutline(outline.name, path, x, y + 4 if bottom - top >= least_px else bottom + 20))
    return seen

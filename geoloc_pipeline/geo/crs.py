"""Reference systems: the one constant for WGS 84, and metric planes for measuring in metres.

Belongs here: every conversion between degrees and metres.
Does not belong here: distances on the ellipsoid (`sphere.py`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pyproj

if TYPE_CHECKING:
    import geopandas as gpd
    import numpy as np
    from numpy.typing import NDArray

WGS84 = "EPSG:4326"
JGD2011 = "EPSG:6668"


def metric_crs(*, lat: float, lon: float) -> str:
    """Return a plane in metres around one place: an azimuthal equidistant projection on WGS 84.

    Lengths are true from the centre; 200 km away they are off by less than 0.02 %, so one plane serves a prefecture. The
    centre is rounded to a tenth of a degree, so that neighbouring places share a plane and results do not depend on
    the last digit.

    Args:
        lat: Latitude of the place in degrees.
        lon: Longitude of the place in degrees.

    Returns:
        A PROJ string; axes are (x = east, y = north) in metres.
    """
    return f"+proj=aeqd +lat_0={round(lat, 1)} +lon_0={round(lon, 1)} +datum=WGS84 +units=m +no_defs"


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def to_plane(
    *, lat: NDArray[np.float64], lon: NDArray[np.float64], crs: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (x, y) in metres of WGS 84 places in the plane `crs` (from `metric_crs`)."""
    x, y = _transformer(WGS84, crs).transform(lon, lat)
    return x, y


def from_plane(*, x: NDArray[np.float64], y: NDArray[np.float64], crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (lat, lon) in WGS 84 degrees of places given in metres in the plane `crs`."""
    lon, lat = _transformer(crs, WGS84).transform(x, y)
    return lat, lon


def to_metres(frame: gpd.GeoDataFrame | gpd.GeoSeries) -> gpd.GeoSeries:
    """Return the geometries of `frame` in a metric plane around the middle of their bounds.

    Args:
        frame: Geometries in WGS 84; may be empty.

    Returns:
        The geometries in metres, same index. `.crs` names the plane.
    """
    series = frame.geometry
    if len(series) == 0:
        return series.to_crs(metric_crs(lat=0.0, lon=0.0))
    west, south, east, north = series.total_bounds
    return series.to_crs(metric_crs(lat=(south + north) / 2, lon=(west + east) / 2))


def to_wgs84(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return `frame` in WGS 84, exactly `geo.crs.WGS84` and not one of its namesakes such as OGC:CRS84."""
    return frame.to_crs(WGS84)

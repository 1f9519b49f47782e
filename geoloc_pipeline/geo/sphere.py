"""Distances and means on the Earth.

One figure of the Earth for the whole house: the WGS 84 ellipsoid, geodesic distance. Peers differ by up to 0.5 % because each
takes another radius; every error in kilometres here is comparable to every other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyproj

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MEAN_EARTH_RADIUS_M = 6_371_008.8  # IUGG mean radius; only for angles that have to become metres on a sphere (DBSCAN)

_GEOD = pyproj.Geod(ellps="WGS84")


def distance_m(*, lat: ArrayLike, lon: ArrayLike, to_lat: ArrayLike, to_lon: ArrayLike) -> NDArray[np.float64]:
    """Return geodesic distances in metres on the WGS 84 ellipsoid, broadcasting like NumPy.

    Args:
        lat: Latitudes in degrees.
        lon: Longitudes in degrees.
        to_lat: Latitudes of the other ends.
        to_lon: Longitudes of the other ends.

    Returns:
        float64, the broadcast shape of the arguments.
    """
    arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (lon, lat, to_lon, to_lat)))
    shape = arrays[0].shape
    flat = [np.ascontiguousarray(array).ravel() for array in arrays]
    return np.asarray(_GEOD.inv(*flat)[2], dtype=np.float64).reshape(shape)


def step_m(
    *, lat: NDArray[np.float64], lon: NDArray[np.float64], to_lat: NDArray[np.float64], to_lon: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the length in metres of short steps on the WGS 84 ellipsoid, many times as fast as `distance_m`.

    The step is measured on the plane that fits the ellipsoid at its middle latitude: within a millionth of the geodesic for
    steps up to a kilometre below 80° of latitude. Longer steps are for `distance_m`.

    Args:
        lat: `[n]` latitudes in degrees.
        lon: `[n]` longitudes in degrees.
        to_lat: `[n]` latitudes of the other ends.
        to_lon: `[n]` longitudes of the other ends.

    Returns:
        `[n]` metres.
    """
    cosine = np.cos(np.radians((lat + to_lat) / 2))
    bend = 1.0 - _GEOD.es * (1.0 - cosine * cosine)
    # Radii of curvature: across the meridian, and along it.
    across_m = _GEOD.a / np.sqrt(bend)
    north_m = np.radians(to_lat - lat) * across_m * (1.0 - _GEOD.es) / bend
    east_m = np.radians(to_lon - lon) * across_m * cosine
    return np.asarray(np.sqrt(north_m * north_m + east_m * east_m), dtype=np.float64)


def unit_vectors(*, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Return places as unit vectors `[..., 3]` (x towards 0°E, y towards 90°E, z towards the north pole)."""
    phi, lam = np.radians(np.asarray(lat, dtype=np.float64)), np.radians(np.asarray(lon, dtype=np.float64))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def spherical_mean(*, lat: ArrayLike, lon: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Return the mean place (lat, lon) in degrees: the direction of the mean unit vector.

    Unlike a mean of degrees it is right across the antimeridian. The mean of places that surround the Earth evenly has no
    direction; the first place is returned then.

    Args:
        lat: `[n]` latitudes in degrees, n >= 1.
        lon: `[n]` longitudes in degrees.
        weights: `[n]` non-negative weights; equal if absent.

    Returns:
        Latitude and longitude in degrees.
    """
    vectors = unit_vectors(lat=lat, lon=lon)
    mean = np.average(vectors, axis=0, weights=None if weights is None else np.asarray(weights, dtype=np.float64))
    if np.linalg.norm(mean) < 1e-12:
        mean = vectors[0]
    return float(np.degrees(np.arctan2(mean[2], np.hypot(mean[0], mean[1])))), float(np.degrees(np.arctan2(mean[1], mean[0])))


def destination(*, lat: float, lon: float, bearing_deg: float, away_m: float) -> tuple[float, float]:
    """Return (lat, lon) of the place `away_m` metres from (lat, lon) in compass direction `bearing_deg`."""
    to_lon, to_lat, _ = _GEOD.fwd(lon, lat, bearing_deg, away_m)
    return float(to_lat), float(to_lon)

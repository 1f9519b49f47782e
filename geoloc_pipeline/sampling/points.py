"""What every sampled point has: an id that depends on its feature and place alone, and a row of `tables.POINTS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from geoloc_pipeline.tables import as_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.tables import TableContract

_HEX = np.array([f"{byte:02x}" for byte in range(256)], dtype="S2")


def points_table(
    contract: TableContract,
    *,
    lonlat: NDArray[np.float64],
    feature_id: Any,
    spacing_m: NDArray[np.float64],
    identity: NDArray[np.uint64] | None = None,
) -> Any:
    """Return points as a table, each id once, in key order.

    Args:
        contract: One of `tables.POINTS`.
        lonlat: `[n, 2]` places in degrees; rounded to OpenStreetMap's precision.
        feature_id: `[n]` the road or landmark of each, any array.
        spacing_m: `[n]` interval at which the feature was sampled, 0 for a lone point.
        identity: `[n]` hash of what the id shall depend on besides the place; by default that of `feature_id`.

    Returns:
        The table.
    """
    lonlat = np.round(lonlat, 7)
    key = _point_keys(hashes_of(feature_id) if identity is None else identity, lonlat)
    key, kept = np.unique(key, return_index=True)
    lonlat = lonlat[kept]
    columns = {
        "point_id": hex_of(key),
        "lat": lonlat[:, 1],
        "lon": lonlat[:, 0],
        "feature_id": feature_id[kept],
        "spacing_m": spacing_m[kept],
        "geometry": shapely.points(lonlat),
    }
    return as_table(contract, columns)


def hashes_of(names: Any) -> NDArray[np.uint64]:
    """Return `[n]` 64-bit hashes of strings, the same in every run and on every machine."""
    return np.asarray(pd.util.hash_array(np.asarray(names, dtype=object)), dtype=np.uint64)


def hex_of(number: NDArray[np.uint64]) -> NDArray[np.str_]:
    """Return `[n]` numbers as 16 hexadecimal digits; their order as strings is their order as numbers."""
    return _HEX[number.astype(">u8").view(np.uint8)].view("S16").astype("U16")


def _point_keys(identity: NDArray[np.uint64], lonlat: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a hash of each feature and of its place to about a metre."""
    key = identity.astype(np.uint64)
    for degrees in lonlat.T:
        key ^= np.round((degrees + 180.0) * 1e5).astype(np.uint64)
        # The finaliser of SplitMix64 (Steele et al. 2014) after each number, so that their order counts.
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key

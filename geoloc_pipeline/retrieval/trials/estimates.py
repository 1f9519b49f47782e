"""Every read-out's answers to queries whose place is known, as a table beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, read_out
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings
from geoloc_pipeline.retrieval.reading.spread import signs_of
from geoloc_pipeline.tables import ESTIMATES, as_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike

    from geoloc_pipeline.evaluation.regions import Regions
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours


def estimate_table(
    neighbours: Neighbours,
    *,
    query_id: Sequence[str],
    true_lat: ArrayLike,
    true_lon: ArrayLike,
    readouts: Iterable[str] = tuple(BATCH_READOUTS),
    settings: ReadoutSettings = DEFAULT_SETTINGS,
    regions: Mapping[str, Regions] | None = None,
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return every read-out's answers to every query, beside the truth.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        query_id: `[q]` ids of the pictures.
        true_lat: `[q]` degrees, where they were taken.
        true_lon: Like `true_lat`.
        readouts: Names in `BATCH_READOUTS`.
        settings: Temperature and bandwidth.
        regions: Calibrated regions by read-out; without them both radii are missing.
        names: Other names for read-outs in the table, such as `{"mode": "untrained"}` for a control.

    Returns:
        `ESTIMATES`, without an order.
    """
    names, regions = names or {}, regions or {}
    true_lat, true_lon = np.asarray(true_lat, dtype=np.float64), np.asarray(true_lon, dtype=np.float64)
    columns: dict[str, list[Any]] = {column.name: [] for column in ESTIMATES.columns}
    for readout in readouts:
        lat, lon = read_out(neighbours, readout, settings=settings)
        error_km = distance_m(lat=lat, lon=lon, to_lat=true_lat, to_lon=true_lon) / 1000.0
        region_50_km = region_90_km = np.full(len(lat), np.nan)
        if readout in regions:
            region_50_km, region_90_km = regions[readout].radii_km(signs_of(neighbours, lat=lat, lon=lon, settings=settings))
        rows: tuple[Any, ...] = (
            list(query_id),
            [names.get(readout, readout)] * len(lat),
            lat,
            lon,
            true_lat,
            true_lon,
            error_km,
        )
        for name, values in zip(columns, (*rows, region_50_km, region_90_km), strict=True):
            columns[name].extend(values)
    return as_table(ESTIMATES, columns)

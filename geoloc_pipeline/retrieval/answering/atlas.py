"""The map behind an answer: names of places, and outlines of areas, out of the census of one home.

Outlines are joined from town blocks once and kept: prefectures for the whole country, municipalities one prefecture at a time.
"""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import shapely

from geoloc_pipeline.evaluation.cartography import Outline, outlines_of_towns
from geoloc_pipeline.evaluation.coast import COAST
from geoloc_pipeline.retrieval.reading.places import PlaceNames
from geoloc_pipeline.storage.parquet import read_tables
from geoloc_pipeline.tables import CENSUS_TOWNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geoloc_pipeline.storage.layout import Home

_SHOWN_DEG = {"prefecture": 0.002, "municipality": 0.0005}  # 200 m and 50 m: what a page draws need not be finer


class Atlas:
    """Places and areas of one home; may be asked from several threads at once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._outlines: dict[tuple[str, str], list[Outline]] = {}
        self._lock = threading.Lock()

    @cached_property
    def towns(self) -> Any:
        """The town blocks of every prefecture that was built."""
        return read_tables(CENSUS_TOWNS, self._home.tables("census_towns"))

    @cached_property
    def names(self) -> PlaceNames:
        """Names of places."""
        return PlaceNames(self.towns)

    @cached_property
    def prefectures(self) -> dict[str, str]:
        """Names of the prefectures that were built, by code."""
        told = self.towns.drop_duplicates("prefecture_code").sort_values("prefecture_code")
        return dict(zip(told["prefecture_code"], told["prefecture"], strict=True))

    def outlines(self, level: str, prefecture_codes: Iterable[str] | None = None) -> list[Outline]:
        """Return the outlines of areas, in the order of their codes.

        Args:
            level: `prefecture` or `municipality`.
            prefecture_codes: Of which prefectures; of all when absent.

        Returns:
            Areas with their names; codes that were never built have none.
        """
        codes = sorted(self.prefectures if prefecture_codes is None else set(prefecture_codes) & set(self.prefectures))
        return [outline for code in codes for outline in self._of(level, code)]

    def geojson(self, level: str, prefecture_codes: Iterable[str] | None = None) -> dict[str, Any]:
        """Return outlines as a GeoJSON FeatureCollection, as fine as a page draws them; see `outlines`."""
        features = [
            {"type": "Feature", "properties": {"name": outline.name}, "geometry": _plain(outline.geometry, _SHOWN_DEG[level])}
            for outline in self.outlines(level, prefecture_codes)
        ]
        return {"type": "FeatureCollection", "features": features}

    def places_at(self, *, lat: Sequence[float], lon: Sequence[float]) -> list[str]:
        """Return the names of each place in one line, from the largest area to the smallest; empty in no block."""
        table = self.names.table_at(lat=lat, lon=lon)
        columns = (table[name] for name in ("prefecture", "municipality", "town"))
        return [" ".join(name for name in row if isinstance(name, str)) for row in zip(*columns, strict=True)]

    def _of(self, level: str, code: str) -> list[Outline]:
        with self._lock:  # joined once, however many ask
            if (level, code) not in self._outlines:
                towns = self.towns[self.towns["prefecture_code"] == code]
                self._outlines[level, code] = outlines_of_towns(towns, level=level)
            return self._outlines[level, code]


def coast_geojson() -> dict[str, Any]:
    """Return the schematic coast of Japan as a GeoJSON FeatureCollection."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": ""},
            "geometry": _plain(shapely.Polygon([(lon, lat) for lat, lon in island]), 0),
        }
        for island in COAST
    ]
    return {"type": "FeatureCollection", "features": features}


def _plain(geometry: Any, tolerance_deg: float) -> dict[str, Any]:
    """Return a geometry as GeoJSON MultiPolygon, simplified, with four digits (11 m) behind the point."""
    simple = shapely.simplify(geometry, tolerance_deg) if tolerance_deg else geometry
    return {
        "type": "MultiPolygon",
        "coordinates": [
            [
                [[round(lon, 4), round(lat, 4)] for lon, lat in shapely.get_coordinates(ring).tolist()]
                for ring in (part.exterior, *part.interiors)
            ]
            for part in shapely.get_parts(simple)
            if part.geom_type == "Polygon" and not part.is_empty
        ],
    }

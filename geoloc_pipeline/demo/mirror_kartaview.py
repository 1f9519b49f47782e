"""The mirror's KartaView: the photo API 2.0, page by page, and the storage that holds the files.

Belongs here: what api.openstreetcam.org and the storage answer, refusals included.
Does not belong here: where pictures were taken (`coverage.py`) and what is on them (`pictures.py`).

Source: https://kartaview.org/doc/photos (parameters and fields).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.demo.mirror_answers import Answer, as_json, html
from geoloc_pipeline.demo.pictures import jpeg_of
from geoloc_pipeline.geo.sphere import distance_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.coverage import Coverage
    from geoloc_pipeline.demo.mirror_answers import Asked
    from geoloc_pipeline.demo.pictures import Draw

API_HOST = "api.openstreetcam.org"
STORAGE_HOST = "storage13.openstreetcam.org"
HOSTS = frozenset({API_HOST, STORAGE_HOST})
MOST_PER_PAGE = 500
_USUAL_PER_PAGE = 40
_FIRST_SEQUENCE = 1_000_001
_WIDTHS_PX = {"proc": 1024, "ori": 1024, "lth": 1024, "th": 256}


class KartaView:
    """API and storage over one coverage; may be asked from several threads."""

    def __init__(self, coverage: Coverage, draw: Draw) -> None:
        """Keeps what it serves.

        Args:
            coverage: Where pictures were taken.
            draw: Who draws them.
        """
        self._coverage, self._draw = coverage, draw

    def answer(self, asked: Asked) -> Answer:
        """Answers a request to either host."""
        if asked.host == STORAGE_HOST:
            return self._file(asked.path)
        path = asked.path.rstrip("/")
        if path == "/2.0/photo":
            return self._photos(asked.query)
        name = path.removeprefix("/2.0/photo/")
        row = self._coverage.row_of(name) if name != path else None
        if row is None:
            return as_json(404, {"status": _status(404, 610, "The requested resource was not found")})
        return as_json(200, {"status": _status(200, 600, "The request was successful"), "result": {"data": self._photo(row)}})

    def _photos(self, query: dict[str, str]) -> Answer:
        """Gives one page of photos in a box, around a place, or of a sequence."""
        try:
            rows = self._rows(query)
            page, size = int(query.get("page", 1)), min(int(query.get("itemsPerPage", _USUAL_PER_PAGE)), MOST_PER_PAGE)
        except (KeyError, ValueError):
            page, size = 0, 0
        if page < 1 or size < 1:
            return as_json(400, {"status": _status(400, 601, "An argument is missing or invalid")})
        rows = rows[np.argsort(self._coverage.shots.image_id[rows], kind="stable")]
        if query.get("orderDirection", "desc") != "asc":
            rows = rows[::-1]
        data = [self._photo(int(row)) for row in rows[(page - 1) * size : page * size]]
        result = {"data": data, "hasMoreData": page * size < len(rows)}
        return as_json(200, {"status": _status(200, 600, "The request was successful"), "result": result})

    def _rows(self, query: dict[str, str]) -> NDArray[np.int64]:
        """Gives the rows that a query is about; raises KeyError or ValueError when it is about nothing."""
        shots = self._coverage.shots
        if "sequenceId" in query:
            return np.flatnonzero(shots.sequence == int(query["sequenceId"]) - _FIRST_SEQUENCE)
        if "lat" in query:
            away_m = distance_m(lat=float(query["lat"]), lon=float(query["lng"]), to_lat=shots.gps_lat, to_lon=shots.gps_lon)
            return np.flatnonzero(away_m <= float(query.get("radius", 50)))
        north, west, south, east = (float(query[name]) for name in ("nwLat", "nwLng", "seLat", "seLng"))
        return self._coverage.in_box(west, south, east, north)

    def _photo(self, row: int) -> dict[str, Any]:
        """Gives a photo's fields: places as strings, headings as they come, times without a zone."""
        shots, coverage = self._coverage.shots, self._coverage
        number, heading = int(shots.image_id[row]), round(float(shots.compass_deg[row]), 2)
        taken, sequence = coverage.captured_at(row), int(shots.sequence[row])
        local = (taken + timedelta(hours=9)).strftime("%Y-%m-%d %H:%M:%S.000")
        folder = f"https://{STORAGE_HOST}/files/photo/{taken:%Y/%m/%d}"
        return {
            "id": str(number),
            "sequenceId": str(_FIRST_SEQUENCE + sequence),
            "sequenceIndex": str(int(np.searchsorted(coverage.in_sequence(coverage.sequence_ids[sequence]), row))),
            "lat": f"{shots.gps_lat[row]:.6f}",
            "lng": f"{shots.gps_lon[row]:.6f}",
            "heading": None if number % 31 == 0 else heading if number % 7 == 0 else f"{heading:.2f}",
            "shotDate": local,
            "dateAdded": (taken + timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S"),
            "projection": "SPHERE" if shots.is_pano[row] else "PLANE",
            "fileurl": f"{folder}/{{{{sizeprefix}}}}/{number}.jpg",
            **{f"fileurl{name}": f"{folder}/{name.lower()}/{number}.jpg" for name in ("Proc", "LTh", "Th")},
        }

    def _file(self, path: str) -> Answer:
        found = re.fullmatch(r"/files/photo/\d{4}/\d{2}/\d{2}/(\w+)/(\d+)\.jpg", path)
        row = self._coverage.row_of(found[2]) if found and found[1] in _WIDTHS_PX else None
        if not found or row is None:
            return html(404, "404 Not Found", "nginx")
        return Answer(200, jpeg_of(self._draw, self._coverage, row, _WIDTHS_PX[found[1]]), "image/jpeg")


def _status(http_code: int, api_code: int, message: str) -> dict[str, Any]:
    return {
        "apiCode": api_code,
        "apiMessage": message,
        "httpCode": http_code,
        "httpMessage": "OK" if http_code == 200 else message,
    }

"""The mirror's Panoramax: the federation's STAC search, and one instance that holds the pictures.

Belongs here: what api.panoramax.xyz and the instance answer, refusals included.
Does not belong here: where pictures were taken (`coverage.py`) and what is on them (`pictures.py`).

Source: GeoVisio 2.15 (`web/items.py`: parameters, properties, order of answers).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.mirror_answers import Answer, as_json, html
from geoloc_pipeline.demo.pictures import jpeg_of

if TYPE_CHECKING:
    from geoloc_pipeline.demo.coverage import Coverage
    from geoloc_pipeline.demo.mirror_answers import Asked
    from geoloc_pipeline.demo.pictures import Draw

API_HOST = "api.panoramax.xyz"
INSTANCE_HOST = "panoramax.openstreetmap.fr"
HOSTS = frozenset({API_HOST, INSTANCE_HOST})
MOST_PER_SEARCH = 10_000
_USUAL_PER_SEARCH = 10
_ORIGINAL_PX = {True: 4096, False: 1024}
_SD_PX, _THUMB_PX = 2048, 512  # a thumb has 500 px in truth; panoramas are drawn in steps of 64


class Panoramax:
    """Catalogue and instance over one coverage; may be asked from several threads."""

    def __init__(self, coverage: Coverage, draw: Draw) -> None:
        """Keeps what it serves.

        Args:
            coverage: Where pictures were taken.
            draw: Who draws them.
        """
        self._coverage, self._draw = coverage, draw
        self._rows = {uuid_of(f"picture {image_id}"): row for row, image_id in enumerate(coverage.shots.image_id.tolist())}

    def answer(self, asked: Asked) -> Answer:
        """Answers a request to either host."""
        if asked.host == API_HOST and asked.path == "/api/search":
            return self._search(asked.query)
        found = re.fullmatch(r"/api/pictures/([0-9a-f-]{36})/(hd|sd|thumb)\.jpg", asked.path)
        if asked.host == INSTANCE_HOST and found:
            return self._picture(*found.groups())
        return html(404, "Not Found", "The requested URL was not found on the server.")

    def _search(self, query: dict[str, str]) -> Answer:
        try:
            limit = int(query.get("limit", _USUAL_PER_SEARCH))
        except ValueError:
            limit = 0
        if not 1 <= limit <= MOST_PER_SEARCH:
            return _error(f"Parameter limit must be an integer between 1 and {MOST_PER_SEARCH}")
        rows = np.arange(len(self._coverage))
        if "ids" in query:
            names = query["ids"].strip("[]").replace('"', "").split(",")
            rows = np.array(sorted({self._rows[name] for name in names if name in self._rows}), dtype=np.int64)
        if "bbox" in query:
            try:
                west, south, east, north = (float(side) for side in query["bbox"].strip("[]").split(","))
            except ValueError:
                return _error("Parameter bbox must be in format [minX, minY, maxX, maxY]")
            inside = np.intersect1d(rows, self._coverage.in_box(west, south, east, north))
            shots, lat, lon = self._coverage.shots, (south + north) / 2, (west + east) / 2
            away = (shots.gps_lat[inside] - lat) ** 2 + (shots.gps_lon[inside] - lon) ** 2
            rows = inside[np.argsort(away, kind="stable")]
        if re.sub(r"\s", "", query.get("filter", "")) == "field_of_view=360":
            rows = rows[self._coverage.shots.is_pano[rows]]
        # no `type`, no total, no page that follows: as the catalogue answers
        return as_json(200, {"features": [self._feature(int(row)) for row in rows[:limit]], "links": []})

    def _feature(self, row: int) -> dict[str, Any]:
        """Gives a picture as a STAC item; what a camera does not know is left out."""
        shots, coverage = self._coverage.shots, self._coverage
        number, is_pano = int(shots.image_id[row]), bool(shots.is_pano[row])
        name, sequence = uuid_of(f"picture {number}"), int(shots.sequence[row])
        creator, dice = coverage.creators[sequence], uniform(93, number, np.arange(3))
        azimuth = float(shots.compass_deg[row])
        told: dict[str, Any] = {
            "datetime": coverage.captured_at(row).isoformat(),
            "license": "etalab-2.0" if int(creator[-2:]) % 3 == 0 else "CC-BY-SA-4.0",
            "view:azimuth": round(azimuth + (360.0 if dice[0] < 0.1 else 0.0), 2),
            "geovisio:producer": creator,
            "geovisio:status": "ready",
        }
        if is_pano:
            told |= {"pers:pitch": round(float(shots.pitch_deg[row]), 2), "pers:roll": round(float(shots.roll_deg[row]), 2)}
            told["pers:interior_orientation"] = {"camera_manufacturer": "Made-up", "field_of_view": 360}
        if dice[1] < 0.7:
            told["quality:horizontal_accuracy"] = round(2.0 + 4.0 * float(dice[2]), 2)
        base = f"https://{INSTANCE_HOST}/api/pictures/{name}"
        assets = {size: {"href": f"{base}/{size}.jpg", "type": "image/jpeg"} for size in ("hd", "sd", "thumb")}
        lonlat = [float(shots.gps_lon[row]), float(shots.gps_lat[row])]
        return {
            "type": "Feature",
            "id": name,
            "collection": uuid_of(f"sequence {coverage.sequence_ids[sequence]}"),
            "geometry": {"type": "Point", "coordinates": lonlat},
            "properties": told,
            "providers": [{"name": creator, "roles": ["producer"]}],
            "assets": assets,
            "links": [],
        }

    def _picture(self, name: str, size: str) -> Answer:
        row = self._rows.get(name)
        if row is None:
            return as_json(404, {"message": "Picture not found", "status_code": 404})
        original_px = _ORIGINAL_PX[bool(self._coverage.shots.is_pano[row])]
        width_px = {"hd": original_px, "sd": min(_SD_PX, original_px), "thumb": _THUMB_PX}[size]
        return Answer(200, jpeg_of(self._draw, self._coverage, row, width_px), "image/jpeg")


def uuid_of(text: str) -> str:
    """Gives a UUID that depends on the text alone."""
    return str(UUID(bytes=hashlib.blake2b(text.encode(), digest_size=16).digest(), version=4))


def _error(message: str) -> Answer:
    return as_json(400, {"message": message, "status_code": 400})

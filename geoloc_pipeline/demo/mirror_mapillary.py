"""The mirror's Mapillary: Graph API v4, coverage tiles, and the image CDN with links that expire.

Belongs here: what graph.mapillary.com, tiles.mapillary.com and the CDN answer, errors and refusals included.
Does not belong here: where pictures were taken (`coverage.py`) and what is on them (`pictures.py`).

Source: https://www.mapillary.com/developer/api-documentation; SDK `mapillary` 1.0 (fields of entities and tiles).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import cv2
import mapbox_vector_tile
import numpy as np
import shapely

from geoloc_pipeline.demo.mirror_answers import Answer, as_json, html
from geoloc_pipeline.demo.mirror_faults import token_error
from geoloc_pipeline.demo.pictures import camera_of, jpeg_of
from geoloc_pipeline.demo.render import rotation_of
from geoloc_pipeline.geo.sphere import distance_m

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from geoloc_pipeline.demo.coverage import Coverage
    from geoloc_pipeline.demo.mirror_answers import Asked
    from geoloc_pipeline.demo.pictures import Draw
    from geoloc_pipeline.demo.render import Camera

    Ints = NDArray[np.int64]

CDN_HOST = "scontent-nrt1-2.xx.fbcdn.net"
MOST_PER_SEARCH = 2000
WIDEST_SQUARE_DEG = 0.01
_GATE_M = 60.0  # a dense city refuses wider boxes
_ORIGINAL_PX = {True: 4096, False: 1024}
_THUMBS_PX = {"thumb_256_url": 256, "thumb_1024_url": 1024, "thumb_2048_url": 2048, "thumb_original_url": 0}
FIELDS = frozenset({
    "id", "altitude", "atomic_scale", "camera_parameters", "camera_type", "captured_at", "compass_angle", "computed_altitude",
    "computed_compass_angle", "computed_geometry", "computed_rotation", "creator", "exif_orientation", "geometry", "height",
    "is_pano", "make", "model", "merge_cc", "mesh", "quality_score", "sequence", "sfm_cluster", "width", *_THUMBS_PX,
})  # fmt: skip
_REDUCE = "Please reduce the amount of data you're asking for, then retry your request"


@dataclass(frozen=True)
class LinkLife:
    """How long a picture's link works.

    Attributes:
        clock: Gives Unix time in seconds.
        seconds: From the moment the link is given out.
        requests: Requests to any host of Mapillary's after which it is dead; None: time alone counts.
    """

    clock: Callable[[], float]
    seconds: float = 30 * 86_400.0
    requests: int | None = None


class Mapillary:
    """All of Mapillary's hosts over one coverage; may be asked from several threads."""

    def __init__(self, coverage: Coverage, draw: Draw, *, token: str, link_life: LinkLife) -> None:
        """Keeps what it serves.

        Args:
            coverage: Where pictures were taken.
            draw: Who draws them.
            token: The one token that is accepted.
            link_life: How long picture links work.
        """
        self._coverage, self._draw, self._token, self._life = coverage, draw, token, link_life
        self._asked_so_far, self._lock = 0, Lock()

    def answer(self, asked: Asked) -> Answer:
        """Answers a request to any of the hosts."""
        with self._lock:
            self._asked_so_far += 1
        if asked.host.endswith(".fbcdn.net"):
            return self._picture(asked)
        token = asked.query.get("access_token") or asked.headers.get("authorization", "").removeprefix("OAuth ")
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return token_error(_trace(asked))
        return self._tile(asked) if asked.host.startswith("tiles.") else self._graph(asked)

    # --- Graph API --------------------------------------------------------------------------------------------------------

    def _graph(self, asked: Asked) -> Answer:
        fields = [name for name in asked.query.get("fields", "id").split(",") if name] or ["id"]
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            return _error(asked, 400, 100, f"(#100) Tried accessing nonexisting field ({unknown[0]})")
        if asked.path == "/images":
            return self._search(asked, fields)
        if asked.path == "/image_ids":
            rows = self._coverage.in_sequence(asked.query.get("sequence_id", ""))
            return as_json(200, {"data": [{"id": str(self._coverage.shots.image_id[row])} for row in rows]})
        row = self._coverage.row_of(asked.path.strip("/"))
        if row is None:
            name = asked.path.strip("/")
            message = f"Unsupported get request. Object with ID '{name}' does not exist or cannot be loaded"
            return _error(asked, 400, 100, message, kind="GraphMethodException")
        return as_json(200, self._entity(row, fields))

    def _search(self, asked: Asked, fields: list[str]) -> Answer:
        """Searches a box: refused when wide or crowded, unordered but for the edge coming first, never paged."""
        try:
            west, south, east, north = (float(edge) for edge in asked.query["bbox"].split(","))
            limit = int(asked.query.get("limit", MOST_PER_SEARCH))
        except (KeyError, ValueError):
            return _error(asked, 400, 100, "(#100) Invalid parameter: bbox must be minLon,minLat,maxLon,maxLat")
        if not (west < east and south < north) or not 1 <= limit <= MOST_PER_SEARCH:
            return _error(asked, 400, 100, "(#100) Invalid parameter")
        if (east - west) * (north - south) >= WIDEST_SQUARE_DEG:
            return _error(asked, 500, 1, _REDUCE)
        lat, lon = (south + north) / 2, (west + east) / 2
        sides_m = distance_m(lat=[south, lat], lon=[lon, west], to_lat=[north, lat], to_lon=[lon, east])
        if sides_m.max() > _GATE_M and self._coverage.is_dense(lat=lat, lon=lon):
            return _error(asked, 500, 1, _REDUCE)
        try:
            rows = self._filtered(self._coverage.in_box(west, south, east, north), asked.query)
        except ValueError as error:
            return _error(asked, 400, 100, f"(#100) Invalid parameter: {error}")
        shots = self._coverage.shots
        away = (shots.gps_lat[rows] - lat) ** 2 + (shots.gps_lon[rows] - lon) ** 2
        rows = rows[np.argsort(-away, kind="stable")][:limit]
        return as_json(200, {"data": [self._entity(int(row), fields) for row in rows]})

    def _filtered(self, rows: Ints, query: dict[str, str]) -> Ints:
        shots, coverage = self._coverage.shots, self._coverage
        if "is_pano" in query:
            rows = rows[shots.is_pano[rows] == (query["is_pano"].lower() == "true")]
        for key, is_later in (("start_captured_at", True), ("end_captured_at", False)):
            if key in query:
                moment_ms = datetime.fromisoformat(query[key]).timestamp() * 1000
                rows = rows[(shots.captured_ms[rows] >= moment_ms) == is_later]
        if "creator_username" in query:
            rows = rows[[coverage.creators[shots.sequence[row]] == query["creator_username"] for row in rows]]
        if "sequence_id" in query:
            rows = np.intersect1d(rows, coverage.in_sequence(query["sequence_id"]))
        return rows

    def _entity(self, row: int, fields: list[str]) -> dict[str, Any]:
        """Gives an image's fields; `id` always, what was never computed not at all."""
        shots, coverage = self._coverage.shots, self._coverage
        image_id, is_pano = int(shots.image_id[row]), bool(shots.is_pano[row])
        creator = coverage.creators[int(shots.sequence[row])]
        width_px = _ORIGINAL_PX[is_pano]
        known: dict[str, Any] = {
            "altitude": 30.0,
            "camera_type": "spherical" if is_pano else "perspective",
            "camera_parameters": [] if is_pano else [0.5, 0.0, 0.0],
            "captured_at": int(shots.captured_ms[row]),
            "compass_angle": float(shots.compass_deg[row]),
            "exif_orientation": 1,
            "geometry": _point(float(shots.gps_lon[row]), float(shots.gps_lat[row])),
            "height": width_px // 2 if is_pano else width_px * 3 // 4,
            "is_pano": is_pano,
            "make": "Made-up",
            "model": "Demo 360" if is_pano else "Demo dash",
            "sequence": coverage.sequence_ids[int(shots.sequence[row])],
            "width": width_px,
        }
        if image_id % 97:  # a few have lost their author
            known["creator"] = {"username": creator, "id": str(100_000_000_000_000 + int(creator[-2:]))}
        if shots.is_computed[row]:
            known |= {
                "computed_compass_angle": round(float(shots.heading_deg[row]), 6),
                "computed_geometry": _point(round(float(shots.lon[row]), 9), round(float(shots.lat[row]), 9)),
                "computed_altitude": 2.1,
                "computed_rotation": _rotation_vector(camera_of(coverage, row)),
                "atomic_scale": 1.0,
                "merge_cc": int(shots.sequence[row]) + 1,
                "quality_score": 0.9,
            }
        known |= {name: self._link(image_id, width or width_px) for name, width in _THUMBS_PX.items() if name in fields}
        return {name: known[name] for name in fields if name in known} | {"id": str(image_id)}

    # --- coverage tiles ---------------------------------------------------------------------------------------------------

    def _tile(self, asked: Asked) -> Answer:
        found = re.fullmatch(r"/maps/vtp/mly1(_computed)?_public/2/(\d+)/(\d+)/(\d+)", asked.path)
        zoom, x, y = (int(part) for part in found.groups()[1:]) if found else (-1, 0, 0)
        if not found or zoom > 14 or max(x, y) >= 2**zoom:
            return html(404, "404 Not Found", "There is no such tile.")
        rows = self._coverage.in_tile(x=x, y=y, zoom=zoom) if zoom >= 10 else np.zeros(0, dtype=np.int64)
        body = self._encoded(rows, x, y, zoom, is_computed=bool(found[1])) if len(rows) else b""
        return Answer(200, body, "application/x-protobuf")

    def _encoded(self, rows: Ints, x: int, y: int, zoom: int, *, is_computed: bool) -> bytes:
        """Gives the layers of a tile: sequences, and at zoom 14 their images."""
        shots, coverage = self._coverage.shots, self._coverage
        at = _in_tile(*(shots.lon, shots.lat) if is_computed else (shots.gps_lon, shots.gps_lat), rows, x, y, zoom)
        images, sequences = [], []
        sequence = shots.sequence[rows]
        for number in np.unique(sequence):
            inside = np.flatnonzero(sequence == number)
            if len(inside) > 1:
                first = int(rows[inside[0]])
                sequences.append({
                    "geometry": shapely.LineString(at[inside]),
                    "properties": {
                        "id": coverage.sequence_ids[int(number)], "captured_at": int(shots.captured_ms[first]),
                        "image_id": int(shots.image_id[first]), "is_pano": bool(shots.is_pano[first]),
                    },
                })  # fmt: skip
        for place, row in zip(at, rows.tolist(), strict=True):
            properties = {
                "id": int(shots.image_id[row]), "captured_at": int(shots.captured_ms[row]),
                "compass_angle": float(shots.compass_deg[row]), "is_pano": bool(shots.is_pano[row]),
                "sequence_id": coverage.sequence_ids[int(shots.sequence[row])],
            }  # fmt: skip
            images.append({"geometry": shapely.Point(place), "properties": properties})
        layers = [{"name": "sequence", "features": sequences}]
        if zoom == 14:
            layers.append({"name": "image", "features": images})
        options = {"extents": 4096, "y_coord_down": True}
        return bytes(mapbox_vector_tile.encode([layer for layer in layers if layer["features"]], default_options=options))

    # --- pictures ---------------------------------------------------------------------------------------------------------

    def _link(self, image_id: int, width_px: int) -> str:
        """Gives a signed link to a picture."""
        name = base64.urlsafe_b64encode(f"{image_id}:{width_px}".encode()).decode().rstrip("=")
        expires = f"{int(self._life.clock() + self._life.seconds):x}"
        issued = str(self._asked_so_far) if self._life.requests is not None else "0"
        signature = self._signature(name, expires, issued)
        return f"https://{CDN_HOST}/m1/v/t6/An{name}.jpg?stp=s{width_px}&ccb=10-5&_nc_n={issued}&oh={signature}&oe={expires}"

    def _signature(self, *parts: str) -> str:
        return hmac.new(self._token.encode(), " ".join(parts).encode(), hashlib.sha256).hexdigest()[:32]

    def _picture(self, asked: Asked) -> Answer:
        found = re.fullmatch(r"/m1/v/t6/An([\w-]+)\.jpg", asked.path)
        expires, issued = asked.query.get("oe", ""), asked.query.get("_nc_n", "")
        if not found or self._signature(found[1], expires, issued) != asked.query.get("oh"):
            return Answer(403, b"URL signature mismatch", "text/plain")
        is_worn = self._life.requests is not None and self._asked_so_far - int(issued) > self._life.requests
        if is_worn or self._life.clock() > int(expires, 16):
            return Answer(403, b"URL signature expired", "text/plain")
        try:
            image_id, width = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)).decode().split(":")
        except (binascii.Error, ValueError):
            return Answer(403, b"URL signature mismatch", "text/plain")
        row = self._coverage.row_of(image_id)
        if row is None:
            return html(404, "404 Not Found", "There is no such picture.")
        return Answer(200, jpeg_of(self._draw, self._coverage, row, int(width)), "image/jpeg")


def _in_tile(lon: NDArray[np.float64], lat: NDArray[np.float64], rows: Ints, x: int, y: int, zoom: int) -> Ints:
    """Gives `[n, 2]` places in a tile's own 4096 x 4096 grid, y downwards."""
    column = (lon[rows] + 180.0) / 360.0 * 2**zoom - x
    row = (1.0 - np.arcsinh(np.tan(np.radians(lat[rows]))) / np.pi) / 2.0 * 2**zoom - y
    return np.asarray(np.round(np.column_stack([column, row]) * 4096), dtype=np.int64)


def _rotation_vector(camera: Camera) -> list[float]:
    """Gives axis times angle, as OpenSfM does: from east, north, up to what is right, down, ahead for the camera."""
    right, ahead, up = rotation_of(camera.heading_deg, camera.pitch_deg, camera.roll_deg).T  # as the picture is drawn
    return [round(float(part), 9) for part in cv2.Rodrigues(np.array([right, -up, ahead]))[0].ravel()]


def _point(lon: float, lat: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [lon, lat]}


def _trace(asked: Asked) -> str:
    return "A" + base64.urlsafe_b64encode(hashlib.blake2b(asked.path.encode(), digest_size=16).digest()).decode()[:22]


def _error(asked: Asked, status: int, code: int, message: str, *, kind: str = "OAuthException") -> Answer:
    """Gives an error as the Graph API writes it."""
    return as_json(status, {"error": {"message": message, "type": kind, "code": code, "fbtrace_id": _trace(asked)}})

"""A Mapillary as small as it gets: pictures whose colours say where north is, and a client that never waits."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import mapbox_vector_tile
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational
from shapely import Point

from geoloc_pipeline.geo.tiles import tile_of
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.mapillary import MapillaryProvider
from geoloc_pipeline.sources.mapillary_coverage import COVERAGE_ZOOM
from geoloc_pipeline.tables import SAMPLE_POINTS, as_table

TOKEN = "MLY|1|demo-of-a-secret"
COLOURS = {"N": (200, 40, 40), "E": (40, 200, 40), "S": (40, 40, 200), "W": (200, 200, 40)}


def directions_panorama(width=256, *, compass_deg=0.0):
    """A panorama whose four quarters are red (N), green (E), blue (S) and yellow (W), with a fine pattern on them."""
    headings = (compass_deg + ((np.arange(width) + 0.5) / width - 0.5) * 360.0) % 360.0
    quarter = (((headings + 45.0) % 360.0) // 90.0).astype(int)
    row = np.array(list(COLOURS.values()), dtype=np.uint8)[quarter]
    pixels = np.repeat(row[None], width // 2, axis=0)
    pixels[::8] //= 2  # lines across, so that it is no one-coloured card
    return pixels


def jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


@dataclass
class Shot:
    lat: float
    lon: float
    is_pano: bool = True
    compass_deg: float = 0.0
    content: bytes | None = None
    further: dict = field(default_factory=dict)


@dataclass
class SmallMapillary:
    """Shots by id. `fault` is called with every request first and may return another answer or raise."""

    shots: dict[int, Shot]
    fault: object = None
    asked: list[str] = field(default_factory=list)

    def __call__(self, request):
        self.asked.append(str(request.url.copy_with(query=None)))
        if self.fault is not None:
            answer = self.fault(request)
            if answer is not None:
                return answer
        headers = {"Date": "Tue, 03 Nov 2026 10:11:12 GMT"}
        if request.url.host == "tiles.mapillary.com":
            x, y = (int(part) for part in request.url.path.rstrip("/").split("/")[-2:])
            return httpx.Response(200, content=self._tile(x, y), headers=headers)
        image_id = int(request.url.path.strip("/").split("/")[-1].removesuffix(".jpg"))
        shot = self.shots.get(image_id)
        if shot is None:
            return httpx.Response(404, json={"error": {"code": 100, "message": "Unsupported get request"}})
        if request.url.host == "cdn.example.org":
            content = shot.content
            if content is None:
                content = jpeg(directions_panorama(compass_deg=shot.compass_deg) if shot.is_pano else _flat(shot.compass_deg))
            return httpx.Response(200, content=content, headers=headers)
        entity = {
            "id": str(image_id),
            "geometry": {"type": "Point", "coordinates": [shot.lon, shot.lat]},
            "computed_compass_angle": shot.compass_deg,
            "captured_at": 1507560881000,
            "camera_type": "spherical" if shot.is_pano else "perspective",
            "sequence": f"seq{image_id // 10}",
            "creator": {"username": "mapper", "id": "1"},
            "thumb_1024_url": f"https://cdn.example.org/{image_id}.jpg?oh=S1GNED",
        }
        return httpx.Response(200, json=entity | shot.further, headers=headers)

    def _tile(self, x, y):
        features = []
        for image_id, shot in self.shots.items():
            column, row = tile_of(lat=shot.lat, lon=shot.lon, zoom=COVERAGE_ZOOM)
            if (int(column), int(row)) == (x, y):
                n = 2**COVERAGE_ZOOM
                across = ((shot.lon + 180) / 360 * n - x) * 4096
                down = ((1 - np.arcsinh(np.tan(np.radians(shot.lat))) / np.pi) / 2 * n - y) * 4096
                said = {"id": image_id, "is_pano": shot.is_pano, "compass_angle": shot.compass_deg, "sequence_id": "s"}
                features.append({"geometry": f"POINT({round(across)} {round(down)})", "properties": said})
        options = {"extents": 4096, "y_coord_down": True}
        return (
            mapbox_vector_tile.encode([{"name": "image", "features": features}], default_options=options) if features else b""
        )

    def providers(self, **settings):
        """Open a client that never waits, for `collect_street_view`."""

        @asynccontextmanager
        async def open_providers():
            async with AsyncHttpClient(transport=httpx.MockTransport(self), sleep=_no_wait, **settings) as http:
                yield [MapillaryProvider(http, TOKEN)]

        return open_providers

    @property
    def fetched(self):
        """Ids of the pictures that were downloaded, in order."""
        return [url.rsplit("/", 1)[-1].removesuffix(".jpg") for url in self.asked if "cdn" in url]


async def _no_wait(seconds):
    await asyncio.sleep(0)


def _flat(compass_deg):
    letter = "NESW"[round(compass_deg / 90) % 4]
    pixels = np.full((96, 128, 3), COLOURS[letter], dtype=np.uint8)
    pixels[::8] //= 2
    return pixels


def _encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _png_that_says_it_is(width_px, height_px):
    """A PNG of a few hundred bytes whose header promises more pixels than a machine has memory."""
    head = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _odd_pictures(panoramas):
    """Bytes by name, and why they are turned away; empty for those that are pictures all the same."""
    pictures = [Image.fromarray(panorama) for panorama in panoramas]
    absurd = Image.Exif()
    absurd[ExifTags.IFD.GPSInfo] = {
        1: "N", 2: (IFDRational(0, 0), IFDRational(2**32 - 1, 1), IFDRational(1, 3)), 3: "E",
        4: (IFDRational(1, 0), IFDRational(0, 0), IFDRational(5, 1)),
    }  # fmt: skip
    absurd[ExifTags.Base.Orientation] = 77
    sixteen = np.asarray(pictures[2].convert("L")).astype(np.uint16) * 257
    return {
        "bomb": (_png_that_says_it_is(100_000, 100_000), "too_large"),
        "long": (_encoded(Image.new("L", (100_000, 64)), "PNG"), "too_large"),
        "truncated": (_encoded(pictures[0], "JPEG")[:-3000], "truncated"),
        "page": (b"<!doctype html><title>Sorry</title>", "not_an_image"),
        "cmyk": (_encoded(pictures[1].convert("CMYK"), "JPEG"), ""),
        "sixteen bits": (_encoded(Image.fromarray(sixteen), "PNG"), ""),
        "animated": (_encoded(pictures[3], "GIF", save_all=True, append_images=pictures[4:6]), ""),
        "absurd exif": (_encoded(pictures[6], "JPEG", exif=absurd), ""),
    }


@pytest.fixture
def odd_pictures():
    return _odd_pictures


@pytest.fixture
def small_mapillary():
    return SmallMapillary


@pytest.fixture
def shot():
    return Shot


@pytest.fixture
def panorama():
    return directions_panorama


@pytest.fixture
def as_jpeg():
    return jpeg


@pytest.fixture
def colours():
    return COLOURS


@pytest.fixture
def sample_points():
    def make(places):
        ids = [point_id for point_id, _, _ in places]
        return as_table(
            SAMPLE_POINTS,
            {
                "point_id": ids,
                "lat": [lat for _, lat, _ in places],
                "lon": [lon for _, _, lon in places],
                "prefecture_code": ["13"] * len(ids),
                "n_members": [1] * len(ids),
                "radius_m": [0.0] * len(ids),
                "geometry": [Point(lon, lat) for _, lat, lon in places],
            },
        )

    return make

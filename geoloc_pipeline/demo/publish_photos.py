"""Publishes a small photo set: JPEG photos with EXIF GPS, as a user's own folder holds them, a few of them troublesome.

Belongs here: photos at places of the land, their EXIF, the table of those without GPS.
Does not belong here: reading photo sets (`sources`), drawing.
"""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from geoloc_pipeline.demo.chance import seed_of
from geoloc_pipeline.demo.pictures import Renderer, encode_jpeg
from geoloc_pipeline.demo.render import Camera

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.demo.land import Land
    from geoloc_pipeline.demo.pictures import Draw

PHOTOS = 60
WIDTH_PX = 640
TABLE = "places.csv"
IN_TABLE, PLACELESS, TRUNCATED = (10, 40), 20, 30
"""Numbers of the photos whose place stands in the table alone, of the one without any place, and of the broken one."""
_JAPAN = timezone(timedelta(hours=9))


def publish_photos(land: Land, folder: Path, *, draw: Draw | None = None) -> None:
    """Writes 60 photos beside roads of all prefectures, by made-up authors, and a table `IMG_FILE,LAT,LON`.

    Args:
        land: Where they are taken.
        folder: Where they go.
        draw: Draws them; the demo's renderer if absent.
    """
    draw = draw or Renderer(land)
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(seed_of("photos", land.seed))
    rows = []
    for number, (lat, lon) in enumerate(places_beside_roads(land, dice, count=PHOTOS)):
        moment = land.published_at - timedelta(days=float(dice.uniform(30, 2500)))
        moment = moment.astimezone(_JAPAN).replace(hour=int(dice.integers(8, 17)), microsecond=0)
        camera = Camera(lat, lon, float(dice.uniform(0, 360)), moment.astimezone(UTC), int(dice.integers(2**40)))
        has_gps = number != PLACELESS and number not in IN_TABLE
        exif = _exif(camera, author=f"Made-up photographer {number // 5 % 9 + 1}", moment=moment, has_gps=has_gps)
        data = encode_jpeg(draw(camera, False, WIDTH_PX), exif=exif.tobytes())
        name = f"photo_{number + 1:03d}.jpg"
        (folder / name).write_bytes(data[: len(data) // 3] if number == TRUNCATED else data)
        if number in IN_TABLE:
            rows.append((name, f"{lat:.6f}", f"{lon:.6f}"))
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("IMG_FILE", "LAT", "LON"), *rows])
    for path in folder.iterdir():
        os.utime(path, (land.published_at.timestamp(),) * 2)


def places_beside_roads(
    land: Land, dice: np.random.Generator, *, count: int, is_mixed: bool = False
) -> list[tuple[float, float]]:
    """Gives places beside roads, equally many for each prefecture.

    Args:
        land: Whose roads.
        dice: Chance.
        count: How many places.
        is_mixed: Whether neighbours in the list may be far apart; else they stand in the order of prefectures.

    Returns:
        (lat, lon) in WGS 84 degrees; none where there is no road.
    """
    roads = [road for road in land.roads if road.tags["highway"] in {"primary", "secondary", "tertiary", "unclassified"}]
    roads = roads or list(land.roads)
    if not roads:
        return []
    places = []
    for number in range(count):
        share = (number + dice.random()) / count  # roads stand in order of prefecture
        lonlat = roads[int(share * len(roads))].lonlat
        lon, lat = lonlat[int(dice.integers(len(lonlat)))] + dice.normal(0.0, 2e-5, 2)
        places.append((float(lat), float(lon)))
    return [places[at] for at in dice.permutation(count)] if is_mixed else places


def _exif(camera: Camera, *, author: str, moment: datetime, has_gps: bool) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Made-up", "Demo camera"
    exif[ExifTags.Base.Artist] = author
    exif[ExifTags.Base.Copyright] = f"{author}, CC-BY-4.0"
    exif[ExifTags.Base.DateTime] = moment.strftime("%Y:%m:%d %H:%M:%S")
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = moment.strftime("%Y:%m:%d %H:%M:%S")
    details[ExifTags.Base.OffsetTimeOriginal] = "+09:00"
    if has_gps:
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        gps[ExifTags.GPS.GPSVersionID] = b"\x02\x03\x00\x00"
        gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", _sexagesimal(camera.lat)
        gps[ExifTags.GPS.GPSLongitudeRef], gps[ExifTags.GPS.GPSLongitude] = "E", _sexagesimal(camera.lon)
        gps[ExifTags.GPS.GPSImgDirectionRef] = "T"
        gps[ExifTags.GPS.GPSImgDirection] = Fraction(round(camera.heading_deg * 100), 100)
        gps[ExifTags.GPS.GPSMapDatum] = "WGS-84"
    return exif


def _sexagesimal(degrees: float) -> tuple[Fraction, Fraction, Fraction]:
    """Gives degrees, minutes and seconds, exact to a ten-thousandth of a second, never with 60 seconds."""
    total = round(abs(degrees) * 36_000_000)
    whole, rest = divmod(total, 36_000_000)
    minutes, parts = divmod(rest, 600_000)
    return Fraction(whole), Fraction(minutes), Fraction(parts, 10_000)

"""Panoramax: open street-level pictures of many instances, through the federation's catalogue (a STAC API).

Source: https://api.panoramax.xyz/api/search; the pictures lie on the hosts of the instances that the catalogue names.
Licence: its own for every picture (`license`, SPDX: mostly CC-BY-SA-4.0 and etalab-2.0), attribution
"<producer> via Panoramax, <licence>"; a picture without one is left where it is.
Cadence: grows all the time; a picture once published does not change, but can be taken back.
Polite: no limits are published, and volunteers and public offices pay for the servers: 5 searches a second, 10 pictures a
second from each instance; an area is asked for once, then one search by id and one download for each picture.
Keeps: of an area the few columns that the choice of a picture needs, as JSON.
Absent: an area without pictures is an empty `Coverage`, an unknown id is `None`; any key of a feature may be missing.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import ImageError, SourceUnavailableError
from geoloc_pipeline.sources.street_view import Area, Coverage, Picture, Point, Shot
from geoloc_pipeline.sources.street_view_download import download_picture
from geoloc_pipeline.sources.street_view_json import (
    compass_of,
    coverage_as_json,
    coverage_from_json,
    list_of,
    moment_of,
    number_of,
    object_of,
    order_ms,
    place_of,
    text_of,
)
from geoloc_pipeline.sources.street_view_tiles import box_of_area, quarters, tile_areas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.street_view_tiles import Box

log = logging.getLogger(__name__)

SOURCE = "panoramax"
SERVICE = "Panoramax"
API_HOST = "api.panoramax.xyz"
SEARCH_LIMIT = 1000  # of the 10,000 that may be asked for: an answer keeps to a few MB
SMALLEST_BOX_DEG = 0.0001  # about 10 m
WIDTHS_PX = {"thumb": 500, "sd": 2048, "hd": 1_000_000}
"""Names of the pictures' sizes, and how wide at most each is; `hd` is the original."""

_SEARCHES_PER_S, _PICTURES_PER_S = 5.0, 10.0
_NO_LICENCE = frozenset({"", "proprietary", "various", "other"})  # STAC's words for "ask somebody"


class PanoramaxProvider:
    """Speaks to the catalogue of the Panoramax federation; needs no key.

    Args:
        http: Who asks.
        search_limit: Features in one answer at most; a full answer is asked for again in quarters of its box.
    """

    source = SOURCE
    service = SERVICE
    keeps_coverage = True
    requests_per_picture = 2

    def __init__(self, http: AsyncHttpClient, *, search_limit: int = SEARCH_LIMIT) -> None:
        self._http, self._search_limit = http, search_limit
        http.limit(API_HOST, service=SERVICE, per_second=_SEARCHES_PER_S)

    def areas_around(self, points: Sequence[Point], *, radius_m: float) -> list[Area]:
        """Return the z14 tiles that hold all that lies within `radius_m` metres of the points."""
        return tile_areas(points, radius_m=radius_m)

    async def ask_coverage(self, area: Area, *, radius_m: float) -> bytes:  # noqa: ARG002  the protocol's
        """Return the pictures of a whole tile, whatever the radius, as JSON."""
        features: list[dict[str, Any]] = []
        boxes = [box_of_area(area)]
        while boxes:
            box = boxes.pop()
            found, is_whole = await self._search(box)
            if not is_whole and min(box[2] - box[0], box[3] - box[1]) > SMALLEST_BOX_DEG:
                boxes += quarters(box)
                continue
            if not is_whole:
                log.warning("%s has more than %d pictures in the box %s; the others are left out", SERVICE, len(found), box)
            features += found
        return coverage_as_json(_coverage(features))

    def read_coverage(self, area: Area, content: bytes) -> Coverage:  # noqa: ARG002  the protocol's
        """Return the pictures in what `ask_coverage` returned; raises ValueError when it is spoilt."""
        return coverage_from_json(content)

    async def picture(self, image_id: str, *, width_px: int) -> Picture | None:
        """Return a picture; None when Panoramax does not know it (any more).

        Args:
            image_id: Its UUID.
            width_px: How wide it shall be; there are 500, 2048 and the original.

        Raises:
            ImageError: It has no licence, or no file.
        """
        found, _ = await self._features({"ids": image_id, "limit": "1"})
        if not found or text_of(found[0].get("id")) != image_id:
            return None
        shot = read_shot(found[0])
        if shot.licence in _NO_LICENCE:
            raise ImageError(image=shot.page_url, reason="no_licence", detail="Panoramax names no licence for it")
        url = picture_url(found[0], width_px=width_px)
        return await download_picture(self._http, url, shot=shot, service=SERVICE, per_second=_PICTURES_PER_S)

    def left_today(self) -> int | None:
        """Return how many more searches the day's budget allows; None without a budget."""
        return self._http.left_today(API_HOST)

    async def _search(self, box: Box) -> tuple[list[dict[str, Any]], bool]:
        """Return the features in a box, and whether these are all."""
        sides = ",".join(f"{side:.7f}" for side in box)
        found, has_more = await self._features({"bbox": sides, "limit": str(self._search_limit)})
        return found, not has_more and len(found) < self._search_limit

    async def _features(self, params: Mapping[str, str]) -> tuple[list[dict[str, Any]], bool]:
        """Return what a search finds, and whether the catalogue says that there is more: it may give fewer than are asked for.

        Raises:
            SourceUnavailableError: It sends something else.
        """
        url = f"https://{API_HOST}/api/search"
        found = await self._http.get_json(url, service=SERVICE, params=params)
        if not isinstance(found, dict) or not isinstance(found.get("features"), list):
            raise SourceUnavailableError(service=SERVICE, url=url, reason="it sent JSON without a list of features")
        features = [feature for feature in found["features"] if isinstance(feature, dict)]
        return features, any(object_of(link).get("rel") == "next" for link in list_of(found.get("links")))


def read_shot(feature: Mapping[str, Any]) -> Shot:
    """Return what a STAC feature tells of its picture; any key but `id` can be missing.

    `pers:pitch` and `pers:roll` are GPano's PosePitchDegrees and PoseRollDegrees: up is positive, and as roll grows the horizon
    turns counter-clockwise in the picture, as in `Shot`.

    Source: https://developers.google.com/streetview/spherical-metadata
    """
    image_id, told = text_of(feature.get("id")) or "", object_of(feature.get("properties"))
    place = _place(feature) or (None, None)
    licence, producer = text_of(told.get("license")) or "", _producer(feature, told)
    return Shot(
        image_id=image_id,
        lat=place[0],
        lon=place[1],
        compass_deg=compass_of(told.get("view:azimuth")),
        captured_at=moment_of(told.get("datetime")),
        is_pano=_is_pano(told),
        sequence_id=text_of(feature.get("collection")),
        creator=producer,
        licence=licence,
        attribution=f"{producer or 'unknown producer'} via Panoramax, {licence}",
        page_url=f"https://{API_HOST}/#focus=pic&pic={image_id}",
        pitch_deg=_angle(told.get("pers:pitch"), largest=90.0),
        roll_deg=_angle(told.get("pers:roll"), largest=180.0),
    )


def picture_url(feature: Mapping[str, Any], *, width_px: int) -> str | None:
    """Return the link to the smallest picture of at least `width_px`, else to the largest; None without any."""
    assets = object_of(feature.get("assets"))
    links = {size: text_of(object_of(assets.get(size)).get("href")) or "" for size in WIDTHS_PX}
    sizes = [size for size in WIDTHS_PX if links[size].startswith("https://")]
    wide = [size for size in sizes if WIDTHS_PX[size] >= width_px]
    return links[(wide or sizes[::-1])[0]] if sizes else None


def _coverage(features: list[dict[str, Any]]) -> Coverage:
    """Return the usable features: those with an id, a place and a licence."""
    kept = []
    for feature in features:
        told, image_id, place = object_of(feature.get("properties")), text_of(feature.get("id")), _place(feature)
        if image_id and place and (text_of(told.get("license")) or "") not in _NO_LICENCE:
            kept.append((image_id, place, told, text_of(feature.get("collection")) or ""))

    azimuths = [compass_of(told.get("view:azimuth")) for *_, told, _ in kept]
    return Coverage.of(
        image_id=[image_id for image_id, *_ in kept],
        lat=[place[0] for _, place, *_ in kept],
        lon=[place[1] for _, place, *_ in kept],
        compass_deg=[math.nan if azimuth is None else azimuth for azimuth in azimuths],
        captured_ms=[order_ms(told.get("datetime")) for *_, told, _ in kept],
        is_pano=[_is_pano(told) for *_, told, _ in kept],
        quality=[_quality(told) for *_, told, _ in kept],
        sequence_id=[sequence for *_, sequence in kept],
    )


def _place(feature: Mapping[str, Any]) -> tuple[float, float] | None:
    coordinates = list_of(object_of(feature.get("geometry")).get("coordinates"))
    return place_of(lat=coordinates[1], lon=coordinates[0]) if len(coordinates) >= 2 else None


def _is_pano(told: Mapping[str, Any]) -> bool:
    return number_of(object_of(told.get("pers:interior_orientation")).get("field_of_view")) == 360.0


def _quality(told: Mapping[str, Any]) -> float:
    """Return minus the metres within which the place is right; NaN where nobody says."""
    accuracy_m = number_of(told.get("quality:horizontal_accuracy"))
    return -accuracy_m if accuracy_m is not None and 0.0 < accuracy_m < 1e6 else math.nan


def _producer(feature: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """Return who took the picture: as the instance says, else the first of STAC's providers who is called producer."""
    named = [object_of(one) for one in list_of(feature.get("providers"))]
    producers = [text_of(one.get("name")) for one in named if "producer" in list_of(one.get("roles"))]
    return text_of(told.get("geovisio:producer")) or next(iter(producers), None)


def _angle(value: Any, *, largest: float) -> float:
    angle_deg = number_of(value)
    return 0.0 if angle_deg is None or abs(angle_deg) > largest else angle_deg

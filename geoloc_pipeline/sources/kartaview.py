"""KartaView (once OpenStreetCam): open street-level pictures, mostly of dash cameras, through its API 2.0.

Source: https://api.openstreetcam.org/2.0/photo/; the pictures lie on storage hosts that each answer names.
Licence: CC BY-SA 4.0; attribution "(c) Grab and KartaView Contributors".
Cadence: grows all the time; a picture once published does not change, but can be taken back.
Polite: no limits are published, and answers were seen to take 3 to 7 s: 5 requests a second, 10 pictures a second from each
storage host; an area is read page by page, then one entity and one download for each picture.
Keeps: of an area the few columns that the choice of a picture needs, as JSON.
Absent: an area without pictures is an empty `Coverage`, an unknown id `None`; numbers come as strings too, or as null.

`shotDate` is the camera's own clock and names no zone: it tells newer from older, but not the moment. So `captured_at` stays
unknown unless a zone is told.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import SourceUnavailableError
from geoloc_pipeline.sources.http_policy import json_of
from geoloc_pipeline.sources.street_view import Area, Coverage, Picture, Point, Shot
from geoloc_pipeline.sources.street_view_download import download_picture
from geoloc_pipeline.sources.street_view_json import (
    compass_of,
    coverage_as_json,
    coverage_from_json,
    list_of,
    moment_of,
    object_of,
    order_ms,
    place_of,
    text_of,
)
from geoloc_pipeline.sources.street_view_tiles import box_of_area, tile_areas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.http_policy import Answer
    from geoloc_pipeline.sources.street_view_tiles import Box

SOURCE = "kartaview"
SERVICE = "KartaView"
API_HOST = "api.openstreetcam.org"
LICENCE = "CC-BY-SA-4.0"
ATTRIBUTION = "(c) Grab and KartaView Contributors, CC BY-SA 4.0"
PAGE_SIZE = 150

_REQUESTS_PER_S, _PICTURES_PER_S = 5.0, 10.0
_ABSENT = frozenset({404, 410})


class KartaViewProvider:
    """Speaks to KartaView; needs no key.

    Args:
        http: Who asks.
        page_size: Pictures on one page of an answer.
    """

    source = SOURCE
    service = SERVICE
    keeps_coverage = True
    requests_per_picture = 2

    def __init__(self, http: AsyncHttpClient, *, page_size: int = PAGE_SIZE) -> None:
        self._http, self._page_size = http, page_size
        http.limit(API_HOST, service=SERVICE, per_second=_REQUESTS_PER_S)

    def areas_around(self, points: Sequence[Point], *, radius_m: float) -> list[Area]:
        """Return the z14 tiles that hold all that lies within `radius_m` metres of the points."""
        return tile_areas(points, radius_m=radius_m)

    async def ask_coverage(self, area: Area, *, radius_m: float) -> bytes:  # noqa: ARG002  the protocol's
        """Return the pictures of a whole tile, whatever the radius, as JSON."""
        box, photos = box_of_area(area), dict[str, dict[str, Any]]()
        page, has_more = 1, True
        while has_more:
            found, has_more = await self._page(box, page)
            fresh = {image_id: photo for photo in found if (image_id := text_of(photo.get("id"))) and image_id not in photos}
            has_more = has_more and bool(fresh)  # a page that repeats what came before would never end
            photos |= fresh
            page += 1
        return coverage_as_json(_coverage(photos))

    def read_coverage(self, area: Area, content: bytes) -> Coverage:  # noqa: ARG002  the protocol's
        """Return the pictures in what `ask_coverage` returned; raises ValueError when it is spoilt."""
        return coverage_from_json(content)

    async def picture(self, image_id: str, *, width_px: int) -> Picture | None:  # noqa: ARG002  the protocol's
        """Return a picture; None when KartaView does not know it (any more); ImageError without a blurred file.

        There is one size that the provider has blurred; `width_px` cannot be chosen.
        """
        url = f"https://{API_HOST}/2.0/photo/{image_id}"
        answer = await self._http.get(url, service=SERVICE, absent=_ABSENT)
        if answer.status in _ABSENT:
            return None
        photo = _photo(_result(answer))
        if text_of(photo.get("id")) != image_id:
            return None
        shot, link = read_shot(photo), blurred_url(photo)
        return await download_picture(self._http, link, shot=shot, service=SERVICE, per_second=_PICTURES_PER_S)

    def left_today(self) -> int | None:
        """Return how many more requests the day's budget allows; None without a budget."""
        return self._http.left_today(API_HOST)

    async def _page(self, box: Box, page: int) -> tuple[list[dict[str, Any]], bool]:
        """Return one page of the pictures in a box, and whether there is another."""
        west, south, east, north = (f"{side:.7f}" for side in box)
        params = {"nwLat": north, "nwLng": west, "seLat": south, "seLng": east, "page": str(page)}
        # by rising id: what is uploaded meanwhile comes last and moves nothing from a page that is still to come
        params |= {"itemsPerPage": str(self._page_size), "orderBy": "id", "orderDirection": "asc"}
        result = _result(await self._http.get(f"https://{API_HOST}/2.0/photo/", service=SERVICE, params=params))
        photos = [photo for photo in list_of(result.get("data")) if isinstance(photo, dict)]
        return photos, bool(result.get("hasMoreData", len(photos) >= self._page_size))


def read_shot(photo: Mapping[str, Any]) -> Shot:
    """Return what KartaView tells of a photo; any key but `id` can be missing."""
    image_id, sequence_id = text_of(photo.get("id")) or "", text_of(photo.get("sequenceId"))
    place = place_of(lat=photo.get("lat"), lon=photo.get("lng")) or (None, None)
    page = f"https://kartaview.org/details/{sequence_id}/{text_of(photo.get('sequenceIndex')) or 0}/track-info"
    return Shot(
        image_id=image_id,
        lat=place[0],
        lon=place[1],
        compass_deg=compass_of(photo.get("heading")),
        captured_at=moment_of(photo.get("shotDate")),
        is_pano=_is_pano(photo),
        sequence_id=sequence_id,
        creator=None,
        licence=LICENCE,
        attribution=ATTRIBUTION,
        page_url=page if sequence_id else f"https://{API_HOST}/2.0/photo/{image_id}",
    )


def blurred_url(photo: Mapping[str, Any]) -> str | None:
    """Return the link to the picture as KartaView has blurred it; never to the original (`fileurl`)."""
    url = text_of(photo.get("fileurlProc")) or ""
    return url if url.startswith("https://") and "{" not in url else None


def _result(answer: Answer) -> dict[str, Any]:
    """Return what an answer holds.

    Raises:
        SourceUnavailableError: It holds something else.
    """
    found = json_of(answer, service=SERVICE)
    result = found.get("result") if isinstance(found, dict) else None
    if not isinstance(result, dict):
        raise SourceUnavailableError(service=SERVICE, url=answer.url, reason="it sent JSON without a result")
    return result


def _photo(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one photo of an answer: alone or in a list, both were seen."""
    data = result.get("data")
    return object_of(data[0] if isinstance(data, list) and data else data)


def _coverage(photos: Mapping[str, dict[str, Any]]) -> Coverage:
    """Return the photos that have a place; of those without a blurred picture nothing is known yet."""
    kept = []
    for image_id, photo in photos.items():
        place = place_of(lat=photo.get("lat"), lon=photo.get("lng"))
        if place and blurred_url(photo):
            kept.append((image_id, place, photo))
    headings = [compass_of(photo.get("heading")) for *_, photo in kept]
    return Coverage.of(
        image_id=[image_id for image_id, *_ in kept],
        lat=[place[0] for _, place, _ in kept],
        lon=[place[1] for _, place, _ in kept],
        compass_deg=[math.nan if heading is None else heading for heading in headings],
        captured_ms=[order_ms(photo.get("shotDate")) for *_, photo in kept],
        is_pano=[_is_pano(photo) for *_, photo in kept],
        sequence_id=[text_of(photo.get("sequenceId")) or "" for *_, photo in kept],
    )


def _is_pano(photo: Mapping[str, Any]) -> bool:
    return text_of(photo.get("projection")) == "SPHERE"  # dash cameras say PLANE

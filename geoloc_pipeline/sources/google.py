"""Google Street View: off, and silent, unless its user says to hold rights that its terms do not give.

Source: https://maps.googleapis.com/maps/api/streetview (pictures) and .../metadata (free of charge).
Licence: none that is open: Google Maps Platform's terms of service (2026-08-26), which forbid bulk download and storing
(3.2.3(a)), caching of more than panorama ids (3.2.3(b)), an index of Street View pictures (3.2.3(c)(v)), training, testing or
validating models (3.2.3(c)(vii)), and showing beside another map (3.2.3(e)(ii)); attribution is the copyright notice it sends.
Cadence: ids change when places are photographed again.
Polite: 30,000 requests a minute are allowed; 50 a second and 25,000 a day (what goes without a signature) unless the client is
given others: every four pictures cost money.
Keeps: nothing; coverage lives in memory only.
Absent: no panorama near a place is an empty `Coverage`, an unknown id is `None`.

The client exists because the paper used this service (§3.1). Its pictures come as four flat views of 90 degrees.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from geoloc_pipeline.errors import (
    ImageError,
    MissingKeyError,
    SettingError,
    SourceUnavailableError,
    TermsNotAcceptedError,
)
from geoloc_pipeline.sources.http_policy import judge_by_status
from geoloc_pipeline.sources.street_view import Area, Coverage, Picture, Point, Shot
from geoloc_pipeline.sources.street_view_json import (
    coverage_as_json,
    coverage_from_json,
    object_of,
    order_ms,
    place_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.http_policy import Answer, Verdict

SOURCE = "google"
SERVICE = "Google Street View"
API_HOST = "maps.googleapis.com"
KEY_VARIABLE = "GOOGLE_MAPS_API_KEY"
SECRET_VARIABLE = "GOOGLE_MAPS_SIGNING_SECRET"  # noqa: S105  the name of the variable, not a secret
TERMS_VARIABLE = "GEOLOC_GOOGLE_TERMS"
ACCEPTED_TERMS = (
    "my contract with Google permits what these clauses forbid: 3.2.3(a), 3.2.3(b), 3.2.3(c)(v), 3.2.3(c)(vii), 3.2.3(e)(ii)"
)
"""What `GEOLOC_GOOGLE_TERMS` has to say, word for word."""
FORBIDDEN = (
    "3.2.3(a) bulk download and storing of Street View images; 3.2.3(b) caching of more than panorama ids; "
    "3.2.3(c)(v) an index of Street View imagery; 3.2.3(c)(vii) training, testing, validating or fine-tuning of machine "
    "learning models; 3.2.3(e)(ii) showing it on one screen with another map"
)
LICENCE = "LicenseRef-Google-Maps-Platform"
HEADINGS_DEG = (0, 90, 180, 270)
VIEW_PX = 640  # the largest that is sent
FOV_DEG = 90

_REQUESTS_PER_S, _REQUESTS_PER_DAY = 50.0, 25_000
_PICTURES = f"https://{API_HOST}/maps/api/streetview"
_METADATA = f"{_PICTURES}/metadata"
_HOW_TO_OBTAIN = f"enable the Street View Static API in the Google Cloud console, create a key and set {KEY_VARIABLE} to it"
_CURE = (
    f"check {KEY_VARIABLE} and {SECRET_VARIABLE} (the Street View Static API must be enabled for the key, and billing set up)"
)
_NOTHING = frozenset({"ZERO_RESULTS", "NOT_FOUND"})


class GoogleProvider:
    """Speaks to the Street View Static API, if its user may.

    Args:
        http: Who asks.
        key: API key.
        signing_secret: URL signing secret, base64 as the console shows it; empty: requests are not signed.
        accepted_terms: What the user says of the terms; anything but `ACCEPTED_TERMS` makes no client, so no request.

    Raises:
        TermsNotAcceptedError: The user says something else, or nothing.
        MissingKeyError: There is no key.
        SettingError: The secret is no base64.
    """

    source = SOURCE
    service = SERVICE
    keeps_coverage = False
    requests_per_picture = 1 + len(HEADINGS_DEG)

    def __init__(self, http: AsyncHttpClient, *, key: str, signing_secret: str = "", accepted_terms: str = "") -> None:
        if accepted_terms.strip() != ACCEPTED_TERMS:
            raise TermsNotAcceptedError(service=SERVICE, clauses=FORBIDDEN, variable=TERMS_VARIABLE, value=ACCEPTED_TERMS)
        if not key.strip():
            raise MissingKeyError(service=SERVICE, variable=KEY_VARIABLE, how_to_obtain=_HOW_TO_OBTAIN)
        self._http, self._key, self._secret = http, key.strip(), _decoded(signing_secret.strip())
        http.redaction.hide(self._key)
        http.redaction.hide(signing_secret.strip())
        http.limit(API_HOST, service=SERVICE, per_second=_REQUESTS_PER_S, per_day=_REQUESTS_PER_DAY)

    def areas_around(self, points: Sequence[Point], *, radius_m: float) -> list[Area]:  # noqa: ARG002  the protocol's
        """Return one area for each place: its metadata costs nothing."""
        places: dict[str, list[Point]] = {}
        for point in points:
            places.setdefault(f"{point[1]:.7f},{point[2]:.7f}", []).append(point)
        return [Area(key=key, points=tuple(places[key])) for key in sorted(places)]

    async def ask_coverage(self, area: Area, *, radius_m: float) -> bytes:
        """Return the outdoor panorama that Google finds next to the place, as JSON; it must not be kept on disk."""
        told = await self._metadata({"location": area.key, "radius": f"{max(1.0, radius_m):.0f}", "source": "outdoor"})
        place = _place(told)
        pano_id = text_of(told.get("pano_id"))
        if not pano_id or not place:
            return b""
        captured_ms = order_ms(f"{told.get('date')}-01")  # it tells the month
        found = Coverage.of(
            image_id=[pano_id], lat=[place[0]], lon=[place[1]], compass_deg=[0.0], captured_ms=[captured_ms], is_pano=[True]
        )
        return coverage_as_json(found)

    def read_coverage(self, area: Area, content: bytes) -> Coverage:  # noqa: ARG002  the protocol's
        """Return the pictures in what `ask_coverage` returned; raises ValueError when it is spoilt."""
        return coverage_from_json(content)

    async def picture(self, image_id: str, *, width_px: int) -> Picture | None:  # noqa: ARG002  the protocol's
        """Return four views of 640 px by their headings; None when Google does not know the panorama (any more).

        The service sends no larger ones, and no whole panoramas: `width_px` cannot be chosen.

        Raises:
            ImageError: Google knows the panorama, but sends no view of it.
        """
        told = await self._metadata({"pano": image_id})
        if text_of(told.get("pano_id")) is None:
            return None
        shot = _shot(image_id, told)
        contents: dict[int | None, bytes] = {}
        for heading_deg in HEADINGS_DEG:
            params = {"size": f"{VIEW_PX}x{VIEW_PX}", "pano": image_id, "heading": str(heading_deg), "fov": str(FOV_DEG)}
            # without return_error_code a missing picture is a grey one, sent with 200
            url = self._url(_PICTURES, params | {"return_error_code": "true"})
            answer = await self._http.get(url, service=SERVICE, absent=frozenset({404}), cure=_CURE)
            if answer.status >= 400:
                raise ImageError(image=shot.page_url, reason="gone", detail=f"{SERVICE} sends no view of {heading_deg} degrees")
            contents[heading_deg] = answer.content
        return Picture(shot=shot, contents=contents, fetched_at=answer.sent_at)

    def left_today(self) -> int | None:
        """Return how many more requests the day's budget allows."""
        return self._http.left_today(API_HOST)

    async def _metadata(self, params: Mapping[str, str]) -> dict[str, Any]:
        """Return what Google tells of a panorama; nothing where there is none.

        Raises:
            SourceUnavailableError: It sends something else.
        """
        url = self._url(_METADATA, params)
        told = await self._http.get_json(url, service=SERVICE, judge=_judge, cure=_CURE)
        status = text_of(object_of(told).get("status"))
        if status in _NOTHING:
            return {}
        if status != "OK":
            reason = f"it sent a status that it does not document: {str(status)[:40]!r}"
            raise SourceUnavailableError(service=SERVICE, url=self._http.shown(url), reason=reason)
        return dict(told)

    def _url(self, url: str, params: Mapping[str, str]) -> str:
        """Return a whole address with key and signature.

        It is made here, and not by the HTTP library: the signature counts for these very bytes. Commas and equals signs stay
        as they are because one of the libraries on the way would turn their quoted spellings back.
        """
        unsigned = f"{url}?{urlencode({**params, 'key': self._key}, safe=',')}"
        return unsigned if self._secret is None else f"{unsigned}&signature={signature(unsigned, self._secret)}"


def signature(url: str, secret: bytes) -> str:
    """Return the signature of an address: HMAC-SHA1 over its path and query, in URL-safe base64.

    Args:
        url: With the key, without the signature.
        secret: Decoded from its base64.

    Source: https://developers.google.com/maps/digital-signature
    """
    parts = urlsplit(url)
    digest = hmac.new(secret, f"{parts.path}?{parts.query}".encode(), hashlib.sha1).digest()
    return base64.urlsafe_b64encode(digest).decode()


def _decoded(secret: str) -> bytes | None:
    """Return the bytes of a signing secret; None for an empty one.

    Raises:
        SettingError: It is no base64; the message does not show it.
    """
    if not secret:
        return None
    try:
        return base64.b64decode(secret, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        cure = "copy the URL signing secret from the Google Cloud console as it stands, with its `=` at the end"
        raise SettingError(setting=SECRET_VARIABLE, value="(hidden, no URL-safe base64)", cure=cure) from None


def _judge(answer: Answer) -> Verdict:
    """Return what an answer of the metadata means: refusals are sent with HTTP 200, and say so in `status`."""
    try:
        status = text_of(object_of(answer.json()).get("status"))
    except ValueError:
        status = None
    if status in {"OVER_QUERY_LIMIT", "UNKNOWN_ERROR"}:
        return "again"
    if status in {"REQUEST_DENIED", "INVALID_REQUEST"}:
        return "refused"
    return judge_by_status(answer)


def _place(told: Mapping[str, Any]) -> tuple[float, float] | None:
    location = object_of(told.get("location"))
    return place_of(lat=location.get("lat"), lon=location.get("lng"))


def _shot(pano_id: str, told: Mapping[str, Any]) -> Shot:
    place = _place(told) or (None, None)
    notice = text_of(told.get("copyright")) or "© Google"
    return Shot(
        image_id=pano_id,
        lat=place[0],
        lon=place[1],
        compass_deg=0.0,  # views are asked for by their heading
        captured_at=None,  # the month alone is told
        is_pano=True,
        sequence_id=None,
        creator=notice.removeprefix("©").strip() or None,
        licence=LICENCE,
        attribution=notice,
        page_url=f"https://www.google.com/maps/@?api=1&map_action=pano&pano={pano_id}",
    )

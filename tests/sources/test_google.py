"""Google Street View: silent without its terms, and through the demo's mirror and the official samples with them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoloc_pipeline.demo.coverage import Coverage as Driven
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import DEMO_GOOGLE_KEY, Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_transports import async_loopback, async_mirror_transport, serve_on_port
from geoloc_pipeline.errors import (
    BudgetSpentError,
    GeolocError,
    ImageError,
    MissingKeyError,
    SettingError,
    SourceRefusedError,
    SourceUnavailableError,
    TermsNotAcceptedError,
)
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.sources.google import ACCEPTED_TERMS, HEADINGS_DEG, GoogleProvider, signature
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.street_view import Area

T = TypeVar("T")
LAND = grow_land(seed=5, prefecture_codes=("13",), density=0.3)
DRIVEN = Driven(LAND).only("mapillary")
PANORAMAS = np.flatnonzero(DRIVEN.shots.is_pano)
SECRET = base64.urlsafe_b64encode(b"made-up secret \xff\xfe\xfd").decode()
CLAUSES = ("3.2.3(a)", "3.2.3(b)", "3.2.3(c)(v)", "3.2.3(c)(vii)", "3.2.3(e)(ii)")


def quick_draw(camera: Any, is_pano: bool, width_px: int) -> Any:
    """A panorama whose red and blue say which way a column looks (east, north), and green how low a row does."""
    image = np.zeros((width_px // 2, width_px, 3), dtype=np.uint8)
    looks_at = np.radians((np.arange(width_px) + 0.5) / width_px * 360 - 180 + camera.heading_deg)
    image[..., 0], image[..., 2] = 127 + 120 * np.sin(looks_at), 127 + 120 * np.cos(looks_at)
    image[..., 1] = ((np.arange(width_px // 2) + 0.5) / (width_px // 2) * 255)[:, None]
    return image


@pytest.fixture
def mirror(tmp_path) -> Mirror:
    return Mirror(tmp_path, LAND, draw=quick_draw)


@pytest.fixture
def signing_mirror(tmp_path) -> Mirror:
    return Mirror(tmp_path, LAND, draw=quick_draw, google_secret=SECRET)


def asking(
    transport: httpx.AsyncBaseTransport,
    ask: Callable[[GoogleProvider], Awaitable[T]],
    *,
    key: str = DEMO_GOOGLE_KEY,
    secret: str = "",
    terms: str = ACCEPTED_TERMS,
    **options: Any,
) -> T:
    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def run() -> T:
        async with AsyncHttpClient(transport=transport, sleep=no_wait, **{"tries": 2} | options) as http:
            return await ask(GoogleProvider(http, key=key, signing_secret=secret, accepted_terms=terms))

    return asyncio.run(run())


def area_at(lat: float, lon: float) -> Area:
    return GoogleProvider.areas_around(None, [("p", lat, lon)], radius_m=1)[0]  # type: ignore[arg-type]


def read(content: bytes) -> Any:
    return GoogleProvider.read_coverage(None, Area("x", ()), content)  # type: ignore[arg-type]


def nobody_may_ask(request: httpx.Request) -> httpx.Response:
    pytest.fail(f"{request.url} was asked")


# --- terms, keys, signatures ----------------------------------------------------------------------------------------------


@given(
    st.text() | st.sampled_from(["yes", "true", "1", *CLAUSES, " ".join(CLAUSES), ACCEPTED_TERMS.upper(), ACCEPTED_TERMS[:-1]])
)
def test_without_the_words_that_name_the_clauses_nothing_is_asked(told: str) -> None:
    async def ask(provider: GoogleProvider) -> None:
        await provider.ask_coverage(area_at(35.0, 139.0), radius_m=50)

    with pytest.raises(TermsNotAcceptedError) as caught:
        asking(httpx.MockTransport(nobody_may_ask), ask, terms=told, secret=SECRET)
    message = str(caught.value)
    assert all(clause in message for clause in CLAUSES)
    assert all(word in message for word in ("bulk download", "storing", "caching", "index", "machine", "another map"))
    assert "GEOLOC_GOOGLE_TERMS" in message
    assert ACCEPTED_TERMS in message
    assert DEMO_GOOGLE_KEY not in message


def test_the_words_name_every_clause_and_a_key_is_needed_as_well() -> None:
    assert all(clause in ACCEPTED_TERMS for clause in CLAUSES)
    for key in ("", "  "):
        with pytest.raises(MissingKeyError, match="GOOGLE_MAPS_API_KEY"):
            asking(httpx.MockTransport(nobody_may_ask), lambda provider: provider.picture("x", width_px=1), key=key)


@pytest.mark.parametrize("secret", ["not base64!", "abc", "ab=c"])
def test_a_broken_signing_secret_is_told_without_being_shown(secret: str) -> None:
    with pytest.raises(SettingError, match="GOOGLE_MAPS_SIGNING_SECRET") as caught:
        asking(httpx.MockTransport(nobody_may_ask), lambda provider: provider.picture("x", width_px=1), secret=secret)
    assert secret not in str(caught.value)


def test_a_signature_is_that_of_googles_worked_example() -> None:
    url = "https://maps.googleapis.com/maps/api/geocode/json?address=New+York&client=clientID"
    assert signature(url, base64.urlsafe_b64decode("vNIXE0xscrmjlyV-12Nj_BvUPaw=")) == "chaRF2hTJKOScPr-RQCEhZbSzIE="


@given(st.floats(-85, 85), st.floats(-180, 180), st.floats(1, 500), st.binary(min_size=1, max_size=40))
def test_every_request_is_signed_over_its_own_bytes(lat: float, lon: float, radius_m: float, secret: bytes) -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json={"status": "ZERO_RESULTS"})

    told = base64.urlsafe_b64encode(secret).decode()
    asking(
        httpx.MockTransport(answer), lambda provider: provider.ask_coverage(area_at(lat, lon), radius_m=radius_m), secret=told
    )
    signed, _, given_signature = asked[0].partition(b"&signature=")
    digest = hmac.new(secret, signed, hashlib.sha1).digest()
    assert base64.urlsafe_b64decode(given_signature) == digest
    assert f"key={DEMO_GOOGLE_KEY}".encode() in signed
    assert b"&source=outdoor&" in signed


# --- through the mirror ---------------------------------------------------------------------------------------------------


def test_the_nearest_panorama_within_the_radius_is_found_or_nothing(mirror: Mirror) -> None:
    dice = np.random.default_rng(4)
    rows = dice.choice(PANORAMAS, 40)
    spots = np.column_stack([DRIVEN.shots.gps_lat[rows], DRIVEN.shots.gps_lon[rows]]) + dice.normal(0, 3e-4, (40, 2))

    async def ask(provider: GoogleProvider) -> list[bytes]:
        return [await provider.ask_coverage(area_at(*spot), radius_m=30) for spot in spots.tolist()]

    is_found = []
    for (lat, lon), content in zip(spots.tolist(), asking(async_mirror_transport(mirror), ask), strict=True):
        found, shots = read(content), DRIVEN.shots
        away_m = distance_m(lat=lat, lon=lon, to_lat=shots.gps_lat[PANORAMAS], to_lon=shots.gps_lon[PANORAMAS])
        is_found.append(len(found))
        assert len(found) == int(away_m.min() <= 30)
        if len(found):
            nearest = PANORAMAS[np.argmin(away_m)]
            assert found.lat[0] == pytest.approx(shots.gps_lat[nearest], abs=1e-7)
            assert found.is_pano[0]
            month = np.datetime64(int(found.captured_ms[0]), "ms").astype("datetime64[M]")
            assert month == np.datetime64(int(shots.captured_ms[nearest]), "ms").astype("datetime64[M]")
    assert set(is_found) == {0, 1}
    assert mirror.served == {"maps.googleapis.com": 40}


def test_four_views_are_cut_north_east_south_and_west(signing_mirror: Mirror) -> None:
    row = int(PANORAMAS[5])

    async def ask(provider: GoogleProvider) -> Any:
        place = area_at(float(DRIVEN.shots.gps_lat[row]), float(DRIVEN.shots.gps_lon[row]))
        found = provider.read_coverage(place, await provider.ask_coverage(place, radius_m=5))
        return await provider.picture(str(found.image_id[0]), width_px=2048)

    picture = asking(async_mirror_transport(signing_mirror), ask, secret=SECRET)
    assert tuple(picture.contents) == HEADINGS_DEG
    for heading_deg, content in picture.contents.items():
        pixels = np.asarray(Image.open(io.BytesIO(content)), dtype=float)
        assert pixels.shape == (640, 640, 3)
        for column, turn_deg in ((320, 0), (0, -45), (639, 45)):
            east, north = pixels[320, column, 0] - 127, pixels[320, column, 2] - 127
            assert abs((np.degrees(np.arctan2(east, north)) - heading_deg - turn_deg + 180) % 360 - 180) < 4
        assert pixels[320, 320, 1] == pytest.approx(127, abs=4)
        assert pixels[0, 320, 1] == pytest.approx(255 / 4, abs=5)  # 45 degrees up
    shot = picture.shot
    assert (shot.compass_deg, shot.is_pano, shot.captured_at) == (0.0, True, None)
    assert shot.lat == float(DRIVEN.shots.gps_lat[row])
    assert (shot.attribution, shot.licence) == ("© Google", "LicenseRef-Google-Maps-Platform")
    assert shot.image_id in shot.page_url
    assert signing_mirror.served["maps.googleapis.com"] == 1 + GoogleProvider.requests_per_picture


def test_signed_requests_arrive_as_they_were_signed_over_a_real_socket(signing_mirror: Mirror) -> None:
    row = int(PANORAMAS[9])

    async def ask(provider: GoogleProvider) -> Any:
        place = area_at(float(DRIVEN.shots.gps_lat[row]), float(DRIVEN.shots.gps_lon[row]))
        found = provider.read_coverage(place, await provider.ask_coverage(place, radius_m=5))
        return await provider.picture(str(found.image_id[0]), width_px=640)

    with serve_on_port(signing_mirror) as port:
        assert len(asking(async_loopback(port), ask, secret=SECRET).contents) == 4
        with pytest.raises(SourceRefusedError, match="signature is not valid"):
            asking(async_loopback(port), ask, secret="")
        with pytest.raises(SourceRefusedError, match="API key is invalid"):
            asking(async_loopback(port), ask, key="another", secret=SECRET)


def test_a_panorama_that_is_gone_is_none_and_one_without_views_is_an_error() -> None:
    assert asking(httpx.MockTransport(_samples({})), lambda provider: provider.picture("gone", width_px=640)) is None
    known = {"/maps/api/streetview/metadata": {"status": "OK", "pano_id": "there", "location": {"lat": 1.0, "lng": 2.0}}}
    with pytest.raises(ImageError, match="no view of 0 degrees") as caught:
        asking(httpx.MockTransport(_samples(known)), lambda provider: provider.picture("there", width_px=640))
    assert caught.value.reason == "gone"


def _samples(known: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        told = known.get(request.url.path)
        if isinstance(told, bytes):
            return httpx.Response(200, content=told)
        if told is None and not request.url.path.endswith("/metadata"):
            assert request.url.params["return_error_code"] == "true"
            return httpx.Response(404)
        return httpx.Response(200, json=told or {"status": "ZERO_RESULTS"})

    return answer


# --- answers and refusals -------------------------------------------------------------------------------------------------


def test_the_official_samples_can_be_read(shared_data: Path) -> None:
    folder = shared_data / "streetview"
    sample = yaml.safe_load((folder / "maps_http_streetview_metadata_response.yml").read_text(encoding="utf-8"))
    nothing = yaml.safe_load((folder / "maps_http_streetview_metadata_error_invalid_pano_response.yml").read_text("utf-8"))
    jpeg = (folder / "maps_http_streetview_binary_response.jpg").read_bytes()
    known = {"/maps/api/streetview/metadata": sample, "/maps/api/streetview": jpeg}
    found = read(
        asking(httpx.MockTransport(_samples(known)), lambda provider: provider.ask_coverage(area_at(46.4, 10.0), radius_m=50))
    )
    assert found.image_id.tolist() == ["vPnURflnc8AZu5NMLYRddw"]
    assert (found.lat[0], found.lon[0]) == pytest.approx((46.41434210086409, 10.01400595356193), abs=1e-7)
    assert np.datetime64(int(found.captured_ms[0]), "ms") == np.datetime64("2014-04-01")
    picture = asking(httpx.MockTransport(_samples(known)), lambda provider: provider.picture(found.image_id[0], width_px=640))
    assert set(picture.contents.values()) == {jpeg}
    assert picture.shot.attribution == "© Google"
    missed = {"/maps/api/streetview/metadata": nothing}
    miss = asking(httpx.MockTransport(_samples(missed)), lambda provider: provider.ask_coverage(area_at(0, 0), radius_m=50))
    assert miss == b""


def test_every_status_that_is_documented_has_its_meaning(shared_data: Path) -> None:
    documented = yaml.safe_load((shared_data / "streetview" / "StreetViewStatus.yml").read_text(encoding="utf-8"))["enum"]
    meaning: dict[str, Any] = {
        "OK": b"", "ZERO_RESULTS": b"", "NOT_FOUND": b"",
        "OVER_QUERY_LIMIT": SourceUnavailableError, "UNKNOWN_ERROR": SourceUnavailableError,
        "REQUEST_DENIED": SourceRefusedError, "INVALID_REQUEST": SourceRefusedError,
    }  # fmt: skip
    assert set(meaning) == set(documented)
    for status, expected in (*meaning.items(), ("SOMETHING_NEW", SourceUnavailableError)):
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request, status=status, asked=asked) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, json={"status": status})

        if expected == b"":
            assert asking(httpx.MockTransport(answer), _ask_anywhere) == b""
        else:
            with pytest.raises(expected):
                asking(httpx.MockTransport(answer), _ask_anywhere, tries=3)
        assert len(asked) == (3 if status in {"OVER_QUERY_LIMIT", "UNKNOWN_ERROR"} else 1), status


async def _ask_anywhere(provider: GoogleProvider) -> bytes:
    return await provider.ask_coverage(area_at(35.0, 139.0), radius_m=50)


@pytest.mark.parametrize("kind", ["forbidden", "html", "server_error", "too_many_requests", "cut"])
def test_no_message_and_no_log_shows_key_or_signature(signing_mirror: Mirror, kind: Any, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    signing_mirror._faults = Faults(Fault(kind, where="streetview", times=10**6))
    pano_id = signing_mirror._street_view.google.pano_id(int(PANORAMAS[0]))
    shown: list[str] = []
    for ask in (_ask_anywhere, lambda provider: provider.picture(pano_id, width_px=640)):
        with pytest.raises(GeolocError) as caught:
            asking(async_mirror_transport(signing_mirror), ask, secret=SECRET)
        shown.append(str(caught.value))
    for told in (*shown, caplog.text):
        assert DEMO_GOOGLE_KEY not in told
        assert SECRET not in told
        assert "signature=" not in told.replace("signature=***", "")
    assert all("streetview" in told for told in shown)


def test_a_refusal_that_repeats_the_key_is_shown_without_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text=f"The key {DEMO_GOOGLE_KEY} may not be used from here.")

    with pytest.raises(SourceRefusedError, match="may not be used") as caught:
        asking(httpx.MockTransport(answer), _ask_anywhere)
    assert DEMO_GOOGLE_KEY not in str(caught.value)


def test_a_slip_costs_a_days_budget_at_most(mirror: Mirror) -> None:
    async def ask(provider: GoogleProvider) -> int | None:
        return provider.left_today()

    assert asking(async_mirror_transport(mirror), ask) == 25_000


def test_the_days_budget_holds_before_anything_is_paid_for(mirror: Mirror) -> None:
    async def ask(provider: GoogleProvider) -> None:
        assert provider.left_today() == 3
        for _ in range(4):
            await _ask_anywhere(provider)

    with pytest.raises(BudgetSpentError):
        asking(async_mirror_transport(mirror), ask, per_day={"maps.googleapis.com": 3})
    assert mirror.served["maps.googleapis.com"] == 3


def test_points_at_one_place_are_asked_about_once() -> None:
    points = [("a", 35.0, 139.0), ("b", 35.1, 139.0), ("c", 35.0, 139.00000001)]
    areas = GoogleProvider.areas_around(None, points, radius_m=50)  # type: ignore[arg-type]
    assert [[point[0] for point in area.points] for area in areas] == [["a", "c"], ["b"]]


def test_only_an_id_a_place_and_a_month_are_held_in_memory() -> None:
    known = {"status": "OK", "pano_id": "x", "location": {"lat": 1, "lng": 2}, "copyright": "© Somebody", "more": "x" * 99}
    content = asking(httpx.MockTransport(_samples({"/maps/api/streetview/metadata": known})), _ask_anywhere)
    told = json.loads(content)
    assert "Somebody" not in content.decode()
    assert {name for name, values in told.items() if values[0] not in (None, 0, "", 0.0)} <= {
        "image_id",
        "lat",
        "lon",
        "is_pano",
    }
    assert GoogleProvider.keeps_coverage is False

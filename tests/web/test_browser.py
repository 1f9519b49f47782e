"""The search page and the evidence page in a real browser: Debian's Chromium, driven by Playwright, judged by axe-core."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from geoloc_pipeline.retrieval.answering.desk import Desk
from geoloc_pipeline.web.app import build_app
from geoloc_pipeline.web.listening import listen, url_of

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed (apt-get install chromium)", allow_module_level=True)

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TOKEN = "correct-horse-battery-staple"
SEEN = "#result:not([hidden])"
CHOSEN = "#neighbours button[aria-current=true]"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def serving(desk: Desk, **how: str) -> Iterator[str]:
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(build_app(desk, **how), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield url_of(listening)
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def address(desk: Desk) -> Iterator[str]:
    yield from serving(desk)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, grown: SimpleNamespace) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for seed in (4, 5):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (43.0, 0.0, 0.0), 3: "E", 4: (141.0, 0.0, 0.0)}
        Image.fromarray(grown.picture(seed)).save(folder / f"photo{seed}.jpg", quality=97, exif=exif)
    return [folder / "photo4.jpg", folder / "photo5.jpg"]


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Any]:
    """Open the search page in a fresh browser; at the end nothing may have gone wrong in it, and nothing may have left it."""
    contexts, faults = [], []

    def go(*, size: dict[str, int] = WIDE, locale: str = "en-US", at: str = "") -> Any:
        context = chromium.new_context(viewport=size, locale=locale)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if not request.url.startswith(
            (at or address, "blob:", "data:")) else None)  # fmt: skip
        page.goto(at or address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert faults == []


def until(page: Any, wanted: str) -> None:
    """Wait for a condition from outside: Playwright's own way evaluates strings, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(wanted):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{wanted} did not come true; the page says {page.text_content('#status')!r}")


def answered(page: Any, photos: list[Path]) -> None:
    page.set_input_files("#photos", [str(photo) for photo in photos])
    until(page, f"document.querySelectorAll('#history li').length === {len(photos)}")
    page.wait_for_selector(SEEN)


def grave(page: Any) -> list[tuple[str, str]]:
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 10, "axe has looked at something"
    return [
        (one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"] if one["impact"] in {"serious", "critical"}
    ]


def is_as_wide_as_the_screen(page: Any) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def colours(page: Any) -> int:
    page.wait_for_timeout(200)
    shot = page.locator("#map").screenshot()
    return len(np.unique(np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).reshape(-1, 3), axis=0))


def test_a_photo_is_answered_with_map_and_neighbours(visit, photos: list[Path]) -> None:
    page = visit()
    answered(page, photos[:1])
    assert page.text_content("#place").startswith(("東京都", "沖縄県"))
    assert page.locator("#neighbours li").count() == 30
    assert "km" in page.text_content("#radius-90")
    assert colours(page) > 200, "the map shows areas and heat"
    assert "撮影者4" in page.text_content("#theirs-about")
    assert page.locator("#theirs").evaluate("image => image.decode().then(() => image.naturalWidth)") == 240
    assert page.locator("#exif-check").is_hidden()


def test_a_filter_searches_again_without_sending_the_photo(visit, photos: list[Path]) -> None:
    page, sent = visit(), []
    answered(page, photos[:1])
    page.on("request", lambda request: sent.append(request) if "/api/locate" in request.url else None)
    with page.expect_response(lambda response: "/api/locate" in response.url):
        page.select_option("#prefecture", label="沖縄県")
    until(page, "document.querySelectorAll('#neighbours li').length === 15")
    with page.expect_response(lambda response: "/api/locate" in response.url):
        page.select_option("#source", "local")
    until(page, "document.querySelectorAll('#neighbours li').length < 15")
    assert page.text_content("#place").startswith("沖縄県")
    assert [request.post_data_buffer for request in sent] == [None, None]


def test_neighbours_are_stepped_through_by_keys_buttons_and_mouse(visit, photos: list[Path]) -> None:
    page = visit()
    answered(page, photos[:1])
    chosen = lambda: int(page.get_attribute(CHOSEN, "data-rank"))  # noqa: E731
    assert chosen() == 1
    page.keyboard.press("ArrowLeft")
    assert chosen() == 1, "there is nothing before the first"
    page.keyboard.press("ArrowRight")
    page.click("#next")
    assert chosen() == 3
    assert "3" in page.text_content("#step")
    page.locator("#neighbours button").nth(9).click()
    assert chosen() == 10
    assert "rank=" not in page.url
    alt = page.get_attribute("#theirs", "alt")
    assert alt.startswith("Neighbour 10:")
    page.focus("#map")
    before = page.locator("#map").screenshot()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(150)
    assert page.locator("#map").screenshot() != before, "with the focus on it, keys move the map"
    assert chosen() == 10


def test_everything_is_reached_with_the_keyboard_alone(visit, photos: list[Path]) -> None:
    page = visit()
    answered(page, photos[:1])
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.language || ''"))
    for name in ("en", "ja", "photos", "exif", "map", "zoom-in", "prefecture", "source", "evidence", "json", "next"):
        assert name in reached, reached


def test_several_photos_stay_in_the_session_and_a_language_switch_forgets_nothing(visit, photos: list[Path]) -> None:
    page = visit()
    answered(page, photos)
    assert page.text_content("#mine-name") == "photo5.jpg"
    page.locator("#history button").nth(1).click()
    assert page.text_content("#mine-name") == "photo4.jpg"
    page.keyboard.press("ArrowRight")
    page.click("[data-language=ja]")
    assert page.get_attribute("html", "lang") == "ja"
    assert page.text_content("h1") == "この写真はどこで撮影されたか"
    assert page.text_content("#mine-name") == "photo4.jpg"
    assert page.get_attribute(CHOSEN, "data-rank") == "2"
    assert "近傍30件のうち" in page.text_content("#confidence")
    assert page.locator("#history li").count() == 2


def test_photos_may_be_dropped_and_pasted(visit, photos: list[Path]) -> None:
    page = visit()
    until(page, "document.querySelectorAll('#prefecture option').length === 3")
    for kind, number in (("drop", 1), ("paste", 2)):
        page.evaluate(
            """([kind, data]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([Uint8Array.from(data)], kind + '.jpg', { type: 'image/jpeg' }));
                const told = kind === 'drop' ? { dataTransfer: transfer } : { clipboardData: transfer };
                const Kind = kind === 'drop' ? DragEvent : ClipboardEvent;
                document.dispatchEvent(new Kind(kind, { ...told, bubbles: true, cancelable: true }));
            }""",
            [kind, list(photos[0].read_bytes())],
        )
        until(page, f"document.querySelectorAll('#history li').length === {number}")
        assert page.text_content("#mine-name") == f"{kind}.jpg"


def test_the_exif_position_is_compared_when_the_visitor_asks(visit, photos: list[Path]) -> None:
    page = visit()
    page.check("#exif")
    answered(page, photos[:1])
    assert "43.00000, 141.00000" in page.text_content("#exif-check")
    assert page.locator("#key-exif").is_visible()


def test_what_cannot_be_answered_is_told_and_the_page_goes_on(visit, photos: list[Path], tmp_path: Path) -> None:
    page = visit(locale="ja-JP")
    (tmp_path / "letter.txt").write_text("Dear reader")
    page.set_input_files("#photos", str(tmp_path / "letter.txt"))
    page.wait_for_selector("#status.bad")
    assert "it is text" in page.text_content("#status")
    assert "回答できません" in page.text_content("#status")
    (tmp_path / "huge.jpg").write_bytes(bytes(41_000_000))
    page.set_input_files("#photos", str(tmp_path / "huge.jpg"))
    until(page, "document.getElementById('status').textContent.includes('40 MB')")
    answered(page, photos[:1])
    assert page.get_attribute("#status", "class") == ""


def test_json_and_evidence_page_are_downloaded_and_the_page_opens_with_the_network_cut(
    visit, chromium: Any, photos: list[Path], tmp_path: Path
) -> None:
    page = visit(locale="ja-JP")
    answered(page, photos[:1])
    with page.expect_download() as download:
        page.click("#json")
    told = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert len(told["neighbours"]) == 30
    with page.expect_download() as download:
        page.click("#evidence")
    assert download.value.suggested_filename == "photo4-evidence.html"
    download.value.save_as(tmp_path / "evidence.html")
    for size in (WIDE, PHONE):
        context = chromium.new_context(viewport=size, offline=True)
        asked: list[str] = []
        evidence = context.new_page()
        evidence.on("request", lambda request, asked=asked: asked.append(request.url))
        evidence.goto((tmp_path / "evidence.html").as_uri())
        evidence.locator("details summary").click()
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert evidence.get_attribute("html", "lang") == "ja"
        assert evidence.locator(".sheet img").count() == 30
        assert is_as_wide_as_the_screen(evidence)
        assert grave(evidence) == []
        evidence.locator("svg .dot").last.hover(force=True)
        assert evidence.locator(".dot.hot").count() >= 1, "its script runs under its own policy"
        context.close()


@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nobody_is_shut_out(visit, photos: list[Path], locale: str, size: dict[str, int]) -> None:
    page = visit(size=size, locale=locale)
    until(page, "document.querySelectorAll('#prefecture option').length === 3")
    assert page.get_attribute("html", "lang") == locale[:2]
    assert grave(page) == []
    assert is_as_wide_as_the_screen(page)
    answered(page, photos)
    assert grave(page) == []
    assert is_as_wide_as_the_screen(page)


def test_the_description_of_the_api_is_readable_too(visit, address: str) -> None:
    page = visit(size=PHONE)
    page.goto(f"{address}/api")
    assert page.locator("h2").count() >= 8
    assert is_as_wide_as_the_screen(page)
    assert grave(page) == []


def test_a_server_with_a_token_asks_for_it_once(visit, desk: Desk, photos: list[Path]) -> None:
    for at in serving(desk, token=TOKEN):
        page = visit(at=at)
        page.wait_for_selector("#token:not([hidden])")
        page.fill("#token-value", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#status.bad")
        page.fill("#token-value", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#token[hidden]", state="attached")
        answered(page, photos[:1])
        assert page.locator("#theirs").evaluate("image => image.decode().then(() => image.naturalWidth)") == 240
        page.close()

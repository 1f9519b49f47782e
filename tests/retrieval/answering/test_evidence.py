"""The evidence page of one answer: one file, every attribution, nothing from the network, no script of a stranger."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.retrieval.answering.evidence import SCRIPT, Evidence, EvidencePicture, evidence_html, write_evidence
from geoloc_pipeline.retrieval.answering.locate import Answer, AnswerNeighbour

EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>'


def noise(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def evidence(n: int = 30, **changes: object) -> Evidence:
    neighbours = tuple(
        AnswerNeighbour(i, f"image{i}", 35.68 + i / 1000, 139.70, 0.9 - i / 200, 0.11 * i) for i in range(1, n + 1)
    )
    answer = Answer(
        lat=35.68, lon=139.70, readout="mode", region_50_km=1.5, region_90_km=6.0, spread_km=1.0, neighbours=neighbours,
        names={"prefecture": "東京都", "municipality": "見本区"}, regions_text="Calibrated on 300.", model_version="f00d",
    )  # fmt: skip
    pictures = {
        f"image{i}": EvidencePicture(
            noise(i), "mapillary", "CC-BY-SA-4.0", f"撮影者{i}", f"https://example.org/{i}", "2024-05-01", "東京都 見本区"
        )
        for i in range(1, n + 1)
    }
    given = Evidence(
        answer=answer,
        photo=np.full((300, 400, 3), 90, np.uint8),
        photo_name="IMG_1.jpg",
        pictures=pictures,
        provenance={"collection": "photos__f00d"},
    )
    return replace(given, **changes)


class Page(HTMLParser):
    """Every tag and every attribute of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_loads_nothing_and_links_only_to_web_pages():
    page = Page(evidence_html(evidence()))
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            if value is not None:
                assert value.startswith("https://" if tag == "a" else "data:image/"), (tag, name, value[:60])


def test_the_policy_lets_only_our_script_run():
    page = Page(evidence_html(evidence()))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert f"<script>{SCRIPT}</script>" in evidence_html(evidence())


def test_every_neighbour_has_its_attribution_licence_and_link():
    page = Page(evidence_html(evidence()))
    cards = [attributes for tag, attributes in page.tags if tag == "li"]
    assert [card["data-image-id"] for card in cards] == [f"image{i}" for i in range(1, 31)]
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    for i in range(1, 31):
        assert re.search(rf"撮影者{i}\s", page.text)
        assert f"https://example.org/{i}" in links
    assert page.text.count("CC-BY-SA-4.0") == 30
    assert page.text.count("2024-05-01") == 30


def test_the_answer_and_what_it_was_made_of_are_told():
    text = Page(evidence_html(evidence())).text
    for words in (
        "東京都 見本区",
        "35.68000, 139.70000",
        "1.5 km",
        "6.0 km",
        "photos__f00d",
        "f00d",
        "IMG_1.jpg",
        "Calibrated on 300.",
    ):
        assert words in text
    assert "true error" not in text
    assert "6 more neighbours" in text


@pytest.mark.parametrize(("truth", "word"), [((35.70, 139.70), "inside"), ((36.5, 139.70), "outside")])
def test_a_known_truth_is_shown_with_its_error(truth: tuple[float, float], word: str):
    text = Page(evidence_html(evidence(truth=truth, truth_place="見本の地"))).text
    assert "true error" in text
    assert f"{word} the 90 % region" in text
    assert "見本の地" in text


def test_names_from_strangers_run_nothing():
    bad = EvidencePicture(noise(1), EVIL, EVIL, EVIL, "javascript:alert(1)", EVIL, EVIL)
    given = evidence(
        2, pictures={"image1": bad}, photo_name=EVIL, provenance={EVIL: EVIL}, truth=(35.0, 139.0), truth_place=EVIL
    )
    given = replace(given, answer=replace(given.answer, names={"town": EVIL}, regions_text=EVIL, model_version=EVIL))
    page = Page(evidence_html(given))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not any((attributes.get("href") or "").startswith("javascript") for _, attributes in page.tags)


def test_same_evidence_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write_evidence(evidence(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_hundred_neighbours_of_pure_noise_stay_below_two_megabytes():
    pictures = {f"image{i}": EvidencePicture(noise(i, 300, 400), attribution=f"撮影者{i}") for i in range(1, 101)}
    html = evidence_html(evidence(100, pictures=pictures))
    assert len(html.encode()) <= 2_000_000
    assert Page(html).text.count("撮影者") == 100


def test_thumbnails_are_left_out_from_the_last_on_when_nothing_else_helps():
    html = evidence_html(evidence(), limit_bytes=110_000)
    shown = re.findall(r'alt="Neighbour (\d+)"', html)
    assert 0 < len(shown) < 30
    assert shown == [str(i) for i in range(1, len(shown) + 1)]
    assert f"Thumbnails of the {30 - len(shown)} last" in html
    assert Page(html).text.count("撮影者") == 30


def test_four_joined_views_are_shown_two_by_two():
    strip = np.concatenate([np.full((64, 64, 3), level, np.uint8) for level in (20, 90, 160, 230)], axis=1)
    html = evidence_html(evidence(1, pictures={"image1": EvidencePicture(strip)}))
    data = re.search(r'<img src="data:image/webp;base64,([^"]+)" alt="Neighbour 1"', html).group(1)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")).astype(int)
    assert image.shape == (96, 128)
    assert [image[y, x] for y, x in ((20, 30), (20, 100), (70, 30), (70, 100))] == pytest.approx([20, 90, 160, 230], abs=6)


def test_a_neighbour_whose_picture_is_not_at_hand_is_still_listed():
    page = Page(evidence_html(evidence(3, pictures={})))
    assert page.text.count("picture not in this file") == 3
    assert page.text.count("attribution not known") == 3


def test_one_neighbour_and_an_answer_abroad_are_told_as_they_are():
    given = evidence(1)
    abroad = replace(given.answer, lat=48.85, lon=2.35, names={}, region_50_km=None, region_90_km=None)
    text = Page(evidence_html(replace(given, answer=abroad))).text
    assert "outside Japan" in text
    assert "outside the box around Japan" in text
    assert "over 1 neighbour;" in text


def test_pictures_carry_no_exif_into_the_page():
    assert "Exif" not in "".join(
        base64.b64decode(data).decode("latin-1")
        for data in re.findall(r"data:image/webp;base64,([^\"]+)", evidence_html(evidence(3)))
    )


@pytest.mark.parametrize("pixels", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_pixels_that_are_no_picture_are_refused_and_nothing_is_written(pixels: np.ndarray, tmp_path: Path):
    with pytest.raises(ImageError, match=r"IMG_1\.jpg"):
        write_evidence(evidence(1, photo=pixels), tmp_path / "e.html")
    assert list(tmp_path.iterdir()) == []

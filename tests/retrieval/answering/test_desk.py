"""The desk says plainly what is missing, and answers out of a whole home that was grown for it."""

from __future__ import annotations

import io
import json
import runpy
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.errors import CollectionError, ImageError, MissingInputError, SettingError
from geoloc_pipeline.retrieval.answering.answer import Abstain
from geoloc_pipeline.retrieval.answering.desk import Desk, Question, gallery_location
from geoloc_pipeline.retrieval.answering.laps import STAGES, Laps
from geoloc_pipeline.retrieval.gallery.neighbours import Where
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home

GROWN = runpy.run_path(str(Path(__file__).parents[1] / "grown_home.py"))
picture, encoded = GROWN["picture"], GROWN["encoded"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return GROWN["grow_home"](tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def desk(home: Home) -> Desk:
    return Desk.open(home)


def test_a_home_without_a_model_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="geoloc demo"):
        Desk.open(Home.at(tmp_path))


def test_the_gallery_is_a_server_only_when_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOLOC_QDRANT_URL", raising=False)
    assert not gallery_location(Home.at(tmp_path)).url
    monkeypatch.setenv("GEOLOC_QDRANT_URL", "http://127.0.0.1:6333")
    monkeypatch.setenv("GEOLOC_QDRANT_API_KEY", "a secret")
    location = gallery_location(Home.at(tmp_path))
    assert location.url == "http://127.0.0.1:6333"
    assert "a secret" not in location.label
    assert "a secret" not in repr(location)


def test_a_picture_of_the_gallery_finds_itself_from_file_bytes_and_pixels(desk: Desk, tmp_path: Path) -> None:
    data = encoded(picture(4), "png")
    (tmp_path / "asked.png").write_bytes(data)
    answers = [desk.locate(tmp_path / "asked.png"), desk.locate(data), desk.locate_pixels(picture(4))]
    assert answers[0] == answers[1] == answers[2]
    best = answers[0].neighbours[0]
    assert best.image_id == "picture4"
    assert best.score == pytest.approx(1.0, abs=1e-3)
    assert len(answers[0].neighbours) == GROWN["PICTURES"]
    assert answers[0].region_90_km > answers[0].region_50_km > 0
    assert set(answers[0].heads) == {"prefecture"}


def test_a_question_is_asked_again_with_a_filter_and_without_its_pixels(desk: Desk) -> None:
    first, asked = desk.ask(Question(picture(4)))
    later = asked.without_pixels()
    assert not later.pixels.any()
    assert later.pixels.shape == (180, 240, 3)
    assert later.pixels.strides == (0, 0, 0), "it holds no memory"
    laps = Laps()
    assert desk.ask(later, laps=laps)[0] == first
    assert "embed" not in laps.seconds
    limited, _ = desk.ask(later, where=Where(prefecture_codes=("47",), sources=("yfcc100m",)))
    assert limited.neighbours
    assert all(near.lat < 30 and near.source == "yfcc100m" for near in limited.neighbours)


def test_a_limit_that_no_picture_is_within_is_named(desk: Desk) -> None:
    with pytest.raises(SettingError, match="47, nobody"):
        desk.locate_pixels(picture(4), where=Where(prefecture_codes=("47",), sources=("nobody",)))


def test_every_stage_is_timed_and_nothing_twice(desk: Desk) -> None:
    laps = Laps()
    with laps.stage("decode"):
        question = Question(desk.read(encoded(picture(4), "png")).pixels)
    desk.ask(question, laps=laps)
    told = laps.milliseconds()
    assert list(told) == [stage for stage in STAGES if stage != "respond"]
    assert all(value >= 0 for value in told.values())


def test_a_large_jpeg_is_decoded_small_and_answered_alike(desk: Desk) -> None:
    large = np.asarray(Image.fromarray(picture(4)).resize((3840, 2880), Image.Resampling.NEAREST))
    stream = io.BytesIO()
    Image.fromarray(large).save(stream, "jpeg", quality=95)
    assert desk.read(stream.getvalue()).pixels.shape == (720, 960, 3)
    assert desk.locate(stream.getvalue()).neighbours[0].image_id == "picture4"


def test_an_answer_may_be_abstained_from(desk: Desk) -> None:
    answer = desk.locate_pixels(picture(4), abstain=Abstain(over_km=0.001))
    assert answer.is_abstained
    assert "radius" in answer.abstain_text


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"Dear reader", "not_an_image"), (encoded(picture(1), "png")[:200], "truncated")],
)
def test_what_is_no_photo_is_refused(desk: Desk, data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as told:
        desk.locate(data)
    assert told.value.reason == reason


def test_a_readout_that_is_not_there_is_named(desk: Desk) -> None:
    with pytest.raises(SettingError, match="hunch"):
        desk.locate_pixels(picture(4), readout="hunch")


def test_many_threads_get_the_answers_that_one_gets(desk: Desk) -> None:
    alone = [desk.locate_pixels(picture(seed)) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: desk.locate_pixels(picture(seed)), range(6)))
    assert together == alone


def test_neighbours_are_told_with_place_licence_and_link(desk: Desk) -> None:
    answer = desk.locate_pixels(picture(4))
    told = desk.told_of(answer)[0]
    assert told["attribution"] == "撮影者4"
    assert told["licence"] == "CC-BY-SA-4.0"
    assert told["source_url"] == "https://example.org/4"
    assert told["captured_at"] == "2024-05-01"
    assert told["place"].startswith("東京都 見本")


@pytest.mark.parametrize(("language", "words"), [("en", "The pictures that speak for it"), ("ja", "根拠となった写真")])
def test_the_evidence_page_shows_photo_heads_neighbours_and_what_it_was_made_of(
    desk: Desk, tmp_path: Path, language: str, words: str
) -> None:
    desk.write_evidence(desk.locate_pixels(picture(4)), picture(4), tmp_path / "e.html", language=language)
    page = (tmp_path / "e.html").read_text(encoding="utf-8")
    for told in (words, f'<html lang="{language}">', "撮影者29", "photos__", "沖縄県", "e-Stat"):
        assert told in page
    assert page.count("data:image/webp") == GROWN["PICTURES"] + 1


def test_a_new_calibration_is_read_without_opening_the_desk_again(home: Home, tmp_path: Path) -> None:
    copied = Home.at(shutil.copytree(home.root, tmp_path / "copied"))
    desk = Desk.open(copied)
    assert desk.calibration.settings.bandwidth_km == 20.0
    told = json.loads(copied.calibration().read_text(encoding="utf-8"))
    told["settings"]["bandwidth_km"] = 7.0
    write_text(copied.calibration(), json.dumps(told))
    assert desk.calibration.settings.bandwidth_km == 7.0


def test_a_home_whose_gallery_is_gone_says_so_and_comes_back(home: Home, tmp_path: Path) -> None:
    copied = Home.at(shutil.copytree(home.root, tmp_path / "copied"))
    shutil.move(copied.qdrant(), tmp_path / "away")
    desk = Desk.open(copied)
    with pytest.raises(CollectionError, match="materialise"):
        desk.locate_pixels(picture(4))
    with pytest.raises(CollectionError):
        desk.check()
    shutil.move(tmp_path / "away", copied.qdrant())
    assert desk.locate_pixels(picture(4)).neighbours[0].image_id == "picture4"
    assert desk.check()["points"] == GROWN["PICTURES"]
    desk.close()


def test_a_gallery_of_another_model_is_refused_with_the_cure(home: Home, tmp_path: Path) -> None:
    copied = Home.at(shutil.copytree(home.root, tmp_path / "copied"))
    desk = Desk.open(copied)
    GROWN["save_model"](copied.checkpoint(), seed=9)
    GROWN["build_collection"](copied)
    with pytest.raises(CollectionError, match="restart"):
        desk.locate_pixels(picture(4))

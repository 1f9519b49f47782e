"""One picture in; a place, its regions and its neighbours out, however small the gallery."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoloc_pipeline.errors import CollectionError, ImageError, ModelError, SettingError
from geoloc_pipeline.evaluation.regions import Regions
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.locate import (
    answer_from_neighbours,
    confidence_words,
    describe,
    locate_photo,
    osm_link,
    place_words,
)
from geoloc_pipeline.retrieval.neighbours import Neighbours


class MeanColour:
    """Embeds a picture as its mean colour."""

    model_version = "abc"

    def embed_views(self, views: list[np.ndarray], /) -> np.ndarray:
        vectors = np.array([view.reshape(-1, 3).mean(axis=0) for view in views], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class ColourGallery:
    """Pictures of red in the north and of blue in the south."""

    def __init__(self, n: int = 40, *, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        is_red = np.arange(n) % 2 == 0
        self.vectors = np.where(is_red[:, None], [1.0, 0.1, 0.1], [0.1, 0.1, 1.0]) + chance.normal(0, 0.02, (n, 3))
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.place = np.where(is_red[:, None], [43.06, 141.35], [26.3, 127.8]) + chance.normal(0, 0.01, (n, 2))
        self.asked: list[tuple[int, bool]] = []

    def search(self, vectors: np.ndarray, /, *, top_k: int = 100, exact: bool = False) -> Neighbours:
        self.asked.append((top_k, exact))
        score = vectors @ self.vectors.T
        order = np.argsort(-score, axis=1)[:, :top_k]
        ids = np.array([f"picture{i}" for i in range(len(self.place))], dtype=object)
        return Neighbours(ids[order], self.place[order, 0], self.place[order, 1], np.take_along_axis(score, order, axis=1))


def red(side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), (250, 20, 20), dtype=np.uint8)


REGIONS = {"mode": Regions(n=200, factor_50=1.0, factor_90=4.0, is_scaled=True)}


def test_a_red_photo_is_placed_in_the_north():
    gallery = ColourGallery()
    answer = locate_photo(red(), embedder=MeanColour(), gallery=gallery, top_k=10, regions=REGIONS, exact=True)
    assert distance_m(lat=answer.lat, lon=answer.lon, to_lat=43.06, to_lon=141.35) < 2000
    assert gallery.asked == [(10, True)]
    assert len(answer.neighbours) == 10
    assert [n.rank for n in answer.neighbours] == list(range(1, 11))
    scores = [n.score for n in answer.neighbours]
    assert scores == sorted(scores, reverse=True)
    assert answer.region_90_km == pytest.approx(4 * answer.region_50_km)
    assert answer.model_version == "abc"
    assert answer.neighbours_within(25.0) == 10


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_gallery_smaller_than_asked_for_gives_what_it_has(n: int):
    answer = locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(n), top_k=100)
    assert len(answer.neighbours) == n
    assert "No region" in answer.regions_text
    assert answer.region_50_km is None
    assert describe(answer)


def test_an_empty_gallery_is_said_to_be_empty():
    with pytest.raises(CollectionError, match="fill the gallery"):
        locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(0))


def test_views_of_one_place_are_averaged():
    blue = red()[..., ::-1].copy()
    one = locate_photo([red(), red(), blue], embedder=MeanColour(), gallery=ColourGallery(), top_k=5)
    assert one.lat == pytest.approx(43.06, abs=0.1)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), []],
    ids=["grey", "alpha", "float", "no rows", "no views"],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray):
    with pytest.raises(ImageError):
        locate_photo(pixels, embedder=MeanColour(), gallery=ColourGallery())


def test_a_model_that_says_nothing_is_refused():
    black = np.zeros((8, 8, 3), np.uint8)
    with np.errstate(invalid="ignore"), pytest.raises(ModelError, match="embedding"):
        locate_photo(black, embedder=MeanColour(), gallery=ColourGallery())


def test_a_read_out_that_does_not_exist_is_refused():
    with pytest.raises(SettingError, match="choose one of"):
        locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(), readout="magic")


def one_neighbour(*, lat: float = 35.68, lon: float = 139.7, image_id: str = "a") -> Neighbours:
    return Neighbours(
        np.array([[image_id]], dtype=object), np.array([[lat]]), np.array([[lon]]), np.array([[0.5]], dtype=np.float32)
    )


def test_json_has_stable_keys_and_no_value_that_json_lacks():
    answer = answer_from_neighbours(one_neighbour(), names=lambda *, lat, lon: {"prefecture": "東京都"})
    told = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    keys = "lat lon readout region_50_km region_90_km spread_km names regions_text model_version neighbours"
    assert list(told) == keys.split()
    assert list(told["neighbours"][0]) == ["rank", "image_id", "lat", "lon", "score", "distance_km"]
    assert told["region_50_km"] is None
    assert told["names"] == {"prefecture": "東京都"}


def test_absent_neighbours_are_left_out_and_any_query_can_be_asked_for():
    lat = np.array([[35.0, 35.1], [26.0, np.nan]])
    found = Neighbours(np.array([["a", "b"], ["c", ""]], dtype=object), lat, lat + 100, np.array([[0.9, 0.8], [0.7, 0.0]]))
    answer = answer_from_neighbours(found, query=1)
    assert [n.image_id for n in answer.neighbours] == ["c"]
    assert answer.lat == pytest.approx(26.0)
    with pytest.raises(CollectionError, match="not 3"):
        answer_from_neighbours(found, query=2)


def test_the_place_is_told_by_name_or_said_to_have_none():
    tokyo = answer_from_neighbours(one_neighbour(), names=lambda *, lat, lon: {"town": "一丁目", "prefecture": "東京都"})
    assert place_words(tokyo) == "東京都 一丁目"
    assert "sea" in place_words(answer_from_neighbours(one_neighbour()))
    assert place_words(answer_from_neighbours(one_neighbour(lat=48.85, lon=2.35))) == "outside Japan"


def test_the_text_for_a_terminal_tells_place_confidence_and_neighbours():
    answer = locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(), top_k=10, regions=REGIONS)
    text = describe(answer, most=3)
    assert f"{answer.lat:.5f}, {answer.lon:.5f}" in text
    assert "in 50 of 100 cases" in text
    assert osm_link(answer) in text
    assert "and 7 more" in text
    assert text.count("picture") == 1 + 3
    assert "10 of 10 neighbours lie within 25 km" in confidence_words(answer)


def test_an_id_cannot_steer_the_terminal():
    names = {"prefecture": "\x1b]0;x\x07東京都"}
    text = describe(answer_from_neighbours(one_neighbour(image_id="\x1b[2Jevil"), names=lambda *, lat, lon: names))
    assert "\x1b" not in text
    assert "\x07" not in text

"""One picture in; a place, its regions and its neighbours out, however small the gallery."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.errors import CollectionError, ImageError, ModelError, SettingError
from geoloc_pipeline.evaluation.familiarity import Familiarity
from geoloc_pipeline.evaluation.regions import Regions
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.answering.locate import Abstain, answer_from_neighbours, locate_photo
from geoloc_pipeline.retrieval.embedding.embedder import Reading
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
from geoloc_pipeline.retrieval.reading.calibration import Calibration
from geoloc_pipeline.tables import TASKS


class MeanColour:
    """Embeds a picture as its mean colour; its one head tells red from blue."""

    model_version = "abc"
    vocabulary = Vocabulary(
        tasks={t: TaskClasses(("01", "47"), ("北海道", "沖縄県")) if t == "prefecture" else TaskClasses() for t in TASKS}
    )

    def read_views(self, views: list[np.ndarray], /) -> Reading:
        vectors = np.array([view.reshape(-1, 3).mean(axis=0) for view in views], dtype=np.float32)
        red = vectors[:, 0] / (vectors[:, 0] + vectors[:, 2])
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return Reading(embedding=unit, heads={"prefecture": np.stack([red, 1 - red], axis=1)})


class Headless(MeanColour):
    """A model without heads."""

    def read_views(self, views: list[np.ndarray], /) -> Reading:
        return super().read_views(views)._replace(heads={})


class ColourGallery:
    """Pictures of red in the north and of blue in the south."""

    def __init__(self, n: int = 40, *, seed: int = 0, knows_codes: bool = True) -> None:
        self.knows_codes = knows_codes
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
        codes = np.where(self.place[:, 0] > 35, "01", "47").astype(object)
        return Neighbours(
            ids[order],
            self.place[order, 0],
            self.place[order, 1],
            np.take_along_axis(score, order, axis=1),
            codes={"prefecture": codes[order]} if self.knows_codes else {},
            source=np.full(order.shape, "mapillary", dtype=object),
        )


def red(side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), (250, 20, 20), dtype=np.uint8)


REGIONS = {"mode": Regions(n=200, edges=(), factors_50=(1.0,), factors_90=(4.0,))}
CALIBRATION = Calibration(
    regions=REGIONS,
    one_view_regions={"mode": Regions(n=800, edges=(), factors_50=(2.0,), factors_90=(8.0,))},
    familiarity={"one_view": Familiarity(n=3, levels=(0.1, 0.2, 0.3), rank=20)},
)


def test_a_red_photo_is_placed_in_the_north():
    gallery = ColourGallery()
    answer = locate_photo(red(), embedder=MeanColour(), gallery=gallery, top_k=10, calibration=CALIBRATION, exact=True)
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


def test_absent_neighbours_are_left_out_and_any_query_can_be_asked_for():
    lat = np.array([[35.0, 35.1], [26.0, np.nan]])
    found = Neighbours(np.array([["a", "b"], ["c", ""]], dtype=object), lat, lat + 100, np.array([[0.9, 0.8], [0.7, 0.0]]))
    answer = answer_from_neighbours(found, query=1)
    assert [n.image_id for n in answer.neighbours] == ["c"]
    assert answer.lat == pytest.approx(26.0)
    with pytest.raises(CollectionError, match="not 3"):
        answer_from_neighbours(found, query=2)


def test_a_panorama_gets_the_regions_of_whole_pictures_and_a_photo_those_of_one_view():
    answers = {
        kind: locate_photo(pixels, embedder=MeanColour(), gallery=ColourGallery(), calibration=CALIBRATION)
        for kind, pixels in (("one_view", red()), ("whole", np.tile(red(), (1, 4, 1))))
    }
    assert {answer.kind for answer in answers.values()} == set(answers)
    assert answers["one_view"].region_50_km == pytest.approx(2 * answers["whole"].region_50_km)
    assert answers["one_view"].familiarity == 1.0
    assert answers["whole"].familiarity is None  # nothing is known of its kind
    few = locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(), calibration=CALIBRATION, top_k=19)
    assert few.familiarity is None  # its likeness stands at rank 20
    views = locate_photo([red()] * 4, embedder=MeanColour(), gallery=ColourGallery(), calibration=CALIBRATION)
    assert views.kind == "whole"


def test_the_heads_best_guesses_are_named_and_gate_the_neighbours():
    answer = locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(), readout="gated", top_k=40)
    best, second = answer.heads["prefecture"]
    assert (best.code, best.name) == ("01", "北海道")
    assert best.probability > 0.9
    assert best.probability + second.probability == pytest.approx(1.0)
    assert answer.lat == pytest.approx(43.06, abs=0.1)
    assert {n.source for n in answer.neighbours} == {"mapillary"}


@pytest.mark.parametrize(("embedder", "knows_codes"), [(Headless(), True), (MeanColour(), False), (Headless(), False)])
def test_without_heads_or_codes_there_is_still_an_answer(embedder: MeanColour, knows_codes: bool):
    gallery = ColourGallery(knows_codes=knows_codes)
    gated, mode = (locate_photo(red(), embedder=embedder, gallery=gallery, readout=name) for name in ("gated", "mode"))
    assert (gated.lat, gated.lon) == (mode.lat, mode.lon)


def test_a_limit_is_handed_to_the_search_and_otherwise_not_mentioned():
    told = []

    class Limited(ColourGallery):
        def search(self, vectors, /, *, top_k=100, exact=False, **limit):
            told.append(limit)
            return super().search(vectors, top_k=top_k, exact=exact)

    for where in (None, "the north"):
        locate_photo(red(), embedder=MeanColour(), gallery=Limited(), where=where)
    assert told == [{}, {"where": "the north"}]


def test_it_is_said_whether_the_place_is_on_land_if_anybody_knows():
    for names, is_on_land in ((None, None), (lambda **_: {}, False), (lambda **_: {"town": "一丁目"}, True)):
        assert locate_photo(red(), embedder=MeanColour(), gallery=ColourGallery(), names=names).is_on_land is is_on_land


def test_too_uncertain_an_answer_is_withheld_with_the_reason():
    asked = {"embedder": MeanColour(), "gallery": ColourGallery(), "calibration": CALIBRATION}
    kept = locate_photo(red(), abstain=Abstain(over_km=10_000.0), **asked)
    withheld = locate_photo(red(), abstain=Abstain(over_km=0.001), **asked)
    assert (kept.is_abstained, kept.abstain_text) == (False, "")
    assert withheld.is_abstained
    assert "region" in withheld.abstain_text
    assert (withheld.lat, withheld.lon) == (kept.lat, kept.lon)


def test_a_read_out_is_the_calibrated_one_unless_another_is_asked_for():
    calibration = Calibration(readout="nearest")
    asked = {"embedder": MeanColour(), "gallery": ColourGallery(), "calibration": calibration}
    assert locate_photo(red(), **asked).readout == "nearest"
    assert locate_photo(red(), readout="mode", **asked).readout == "mode"

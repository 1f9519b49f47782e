"""Google Landmarks v2: places out of four kinds of tables, each with its accuracy."""

from __future__ import annotations

import csv

import pytest

from geoloc_pipeline.sources.photo_landmarks import FILE_ACCURACY_M, LANDMARK_ACCURACY_M, read_google_landmarks

_COMMONS = "https://commons.wikimedia.org/wiki/"
_UPLOAD = "http://upload.wikimedia.org/wikipedia/commons"


def _csv(folder, name, header, *rows):
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])


@pytest.fixture
def landmarks(tmp_path):
    folder = tmp_path / "landmarks"
    _csv(
        folder, "train.csv", "id,url,landmark_id",
        ("aa11", f"{_UPLOAD}/e/eb/Sample_Tower.jpg", "1"), ("bb22", f"{_UPLOAD}/thumb/a/ab/B_2.jpg/640px-B_2.jpg", "2"),
        ("cc33", "u", "3"), ("dd44", "u", "4"),
    )  # fmt: skip
    by_sa = "http://creativecommons.org/licenses/by-sa/3.0"
    _csv(
        folder, "train_attribution.csv", "id,url,author,license,title",
        ("aa11", f"{_COMMONS}File:Sample_Tower%20%281%29.jpg", "someone", by_sa, "File:Sample Tower (1).jpg"),
    )  # fmt: skip
    categories = [(str(number), f"http://commons.wikimedia.org/wiki/Category:{name}") for number, name in enumerate(
        ("Sample_Tower", "Elsewhere", "Caf%C3%A9", "Unplaced"), start=1)]  # fmt: skip
    _csv(folder, "train_label_to_category.csv", "landmark_id,category", *categories)
    (folder / "train" / "a").mkdir(parents=True)
    (folder / "train" / "a" / "aa11.jpg").write_bytes(b"picture")
    return folder


def _spots(folder):
    return {
        photo.source_image_id: (photo.lat, photo.lon, photo.accuracy_m)
        for photo in read_google_landmarks(folder)
        if photo.source_image_id != "*"
    }


def test_without_coordinates_nothing_can_be_placed_and_one_row_says_so(landmarks):
    (photo,) = read_google_landmarks(landmarks)
    assert (photo.source_image_id, photo.file) == ("*", None)
    assert photo.fault == ("no_place", "no table of coordinates places the landmarks of 4 photos")


def test_a_category_places_its_photos_as_roughly_as_a_landmark_is_large(landmarks):
    _csv(landmarks, "coordinates.csv", "category,lat,lon", ("Sample Tower", "35.6", "139.7"), ("Elsewhere", "48", "2"))
    photo, abroad, _ = read_google_landmarks(landmarks)
    assert (photo.lat, photo.lon, photo.accuracy_m, photo.licence) == (35.6, 139.7, LANDMARK_ACCURACY_M, "CC-BY-SA-3.0")
    assert photo.attribution == "someone, File:Sample Tower (1).jpg, via Wikimedia Commons"
    assert photo.origin_id == "commons:File:Sample Tower (1).jpg"
    assert (photo.file.read(), photo.fault) == (b"picture", None)
    assert (abroad.lat, abroad.file, abroad.origin_id) == (48.0, None, "commons:File:B 2.jpg")


def test_a_table_may_say_how_accurate_it_is(landmarks):
    _csv(
        landmarks, "x.csv", "Category,Lat,Lon,radius_m",
        ("Category:Sample_Tower", "35.6", "139.7", "35"), ("Elsewhere", "36", "139", "wide"), ("Café", "37", "139", "-4"),
    )  # fmt: skip
    assert [accuracy_m for _, _, accuracy_m in _spots(landmarks).values()] == [35.0, LANDMARK_ACCURACY_M, LANDMARK_ACCURACY_M]


def test_the_nearer_word_goes_first_file_then_landmark_then_category_then_item(landmarks):
    items = (("Q1", "31", "131", ""), ("http://www.wikidata.org/entity/Q3", "31", "131", "7"))
    _csv(landmarks, "d.csv", "wikidata,lat,lon,accuracy_m", *items)
    _csv(landmarks, "e.csv", "landmark_id,wikidata", ("1", "Q1"), ("3", "Q3"))
    assert _spots(landmarks) == {"aa11": (31, 131, LANDMARK_ACCURACY_M), "cc33": (31, 131, 7)}
    _csv(landmarks, "c.csv", "category,lat,lon", ("Sample Tower", "32", "132"))
    assert _spots(landmarks)["aa11"] == (32, 132, LANDMARK_ACCURACY_M)
    _csv(landmarks, "b.csv", "landmark_id,lat,lon,accuracy_m", ("1", "33", "133", "90"))
    assert _spots(landmarks)["aa11"] == (33, 133, 90)
    _csv(landmarks, "a.csv", "id,lat,lon", ("aa11", "34", "134"), ("dd44", "34.5", "134"))
    assert _spots(landmarks)["aa11"] == (34, 134, FILE_ACCURACY_M)
    assert _spots(landmarks)["dd44"] == (34.5, 134, FILE_ACCURACY_M), "its landmark needs no place"


def test_a_categorys_item_places_it_too_and_a_file_is_known_by_its_title(landmarks):
    _csv(landmarks, "d.csv", "wikidata,lat,lon", ("Q7", "31", "131"))
    _csv(landmarks, "e.csv", "category,wikidata", ("Category:Café", "q7"))
    assert _spots(landmarks) == {"cc33": (31, 131, LANDMARK_ACCURACY_M)}
    _csv(landmarks, "t.csv", "title,lat,lon", ("File:Sample_Tower_(1).jpg", "35", "135"))
    assert _spots(landmarks)["aa11"] == (35, 135, FILE_ACCURACY_M)


def test_places_that_are_none_are_as_good_as_absent(landmarks):
    _csv(landmarks, "c.csv", "category,lat,lon", ("Sample Tower", "", ""), ("Elsewhere", "91", "0"), ("Café", "x", "1"))
    assert _spots(landmarks) == {}

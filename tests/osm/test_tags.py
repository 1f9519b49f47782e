"""The two lists of what counts."""

from __future__ import annotations

from urllib.parse import quote

from geoloc_pipeline.osm.tags import LANDMARK_TAGS, ROAD_CLASSES, tags_filter


def test_the_filter_asks_for_every_class_and_every_tag_and_nothing_else():
    asked = {(key, value) for key, values in tags_filter().items() for value in values}
    assert asked == {("highway", name) for name in ROAD_CLASSES} | set(LANDMARK_TAGS)


def test_changing_a_filter_does_not_change_the_next_one():
    tags_filter()["highway"].clear()
    assert tags_filter()["highway"]


def test_every_tag_names_its_own_wiki_page():
    pages = {("highway", name): page for name, page in ROAD_CLASSES.items()} | LANDMARK_TAGS
    for (key, value), page in pages.items():
        assert page == f"https://wiki.openstreetmap.org/wiki/Tag:{key}{quote('=')}{value}"

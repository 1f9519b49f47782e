"""The same picture counts once, whoever holds it and whatever was collected first."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.imagery.duplicates import SOURCES, without_duplicates
from geoloc_pipeline.imagery.journal import image_id_of
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS
from geoloc_pipeline.tables import REJECTED, check_table


def _table(*rows):
    """Rows of (source, id, origin, bytes)."""
    columns = ["source", "source_image_id", "origin_id", "content_sha256"]
    table = pd.DataFrame(rows, columns=columns).astype(object)
    table["image_id"] = [image_id_of(row[0], row[1]) for row in rows]
    return table


def _kept(tables):
    found, rejected = without_duplicates(tables)
    check_table(REJECTED, rejected)
    names = {(row.source, row.source_image_id) for table in found for row in table.itertuples()}
    gone = {(row.source, row.source_image_id) for row in rejected.itertuples()}
    assert not names & gone
    assert names | gone == {(row.source, row.source_image_id) for table in tables for row in table.itertuples()}
    return names


def test_every_photo_set_has_its_place_in_the_order():
    assert set(PHOTO_SETS) <= set(SOURCES)
    assert SOURCES[:2] == ("im2gps", "im2gps3k")
    assert SOURCES[-1] == "local"


@pytest.mark.parametrize("place", range(len(SOURCES) - 1))
def test_of_two_sets_that_hold_a_picture_the_one_named_first_keeps_it(place):
    first, second = SOURCES[place : place + 2]
    by_origin = [_table((second, "a", "flickr:1", "x")), _table((first, "z", "flickr:1", "y"))]
    by_bytes = [_table((second, "a", None, "x")), _table((first, "z", None, "x"))]
    assert _kept(by_origin) == _kept(by_bytes) == {(first, "z")}


def test_it_is_told_which_picture_a_row_doubles():
    mp16 = _table(("mp16", "34/8d/5.jpg", "flickr:5", "x"), ("mp16", "34/8d/6.jpg", "flickr:6", "z"))
    tables = [mp16, _table(("yfcc100m", "5", "flickr:5", "y"))]
    found, rejected = without_duplicates(tables)
    assert [table["source_image_id"].tolist() for table in found] == [["34/8d/6.jpg"], ["5"]]
    assert rejected.to_dict("records") == [
        {"source": "mp16", "source_image_id": "34/8d/5.jpg", "reason": "duplicate", "detail": "the same picture as yfcc100m 5"}
    ]


def test_within_one_set_the_first_id_stays():
    assert _kept([_table(("local", "b.jpg", None, "x"), ("local", "a.jpg", None, "x"))]) == {("local", "a.jpg")}


def test_a_chain_of_origins_and_bytes_is_one_picture():
    local, mp16 = ("local", "a", None, "1"), ("mp16", "b", "flickr:7", "1")
    assert _kept([_table(local), _table(mp16), _table(("yfcc100m", "c", "flickr:7", "2"))]) == {("yfcc100m", "c")}


def test_a_photo_that_is_one_view_of_a_joined_picture_doubles_it_and_two_that_share_a_view_do_not():
    joined = _table(
        ("mapillary", "1+2+3+4", "mapillary:1+2+3+4", "p+q+r+s"), ("mapillary", "1+7+8+9", "mapillary:1+7+8+9", "p+t+u+v")
    )
    photos = _table(("osv5m", "1", "mapillary:1", "w"), ("osv5m", "5", "mapillary:5", "s"), ("osv5m", "6", "mapillary:6", "o"))
    assert _kept([photos, joined]) == {("mapillary", "1+2+3+4"), ("mapillary", "1+7+8+9"), ("osv5m", "6")}


def test_a_picture_that_two_prefectures_hold_stays_in_both():
    row = ("mapillary", "1", "mapillary:1", "x")
    found, rejected = without_duplicates([_table(row), _table(row), _table(("osv5m", "1", "mapillary:1", "y"))])
    assert [len(table) for table in found] == [1, 1, 0]
    assert len(rejected) == 1


def test_missing_origins_and_hashes_are_not_the_same_picture():
    assert len(_kept([_table(("local", "a", None, ""), ("local", "b", None, ""), ("local", "c", float("nan"), None))])) == 3
    assert _kept([]) == set()
    assert _kept([_table()]) == set()


_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["local", "yfcc100m", "mp16", "mapillary", "unheard_of"]),
        st.integers(0, 6).map(str),
        st.sampled_from([None, "flickr:1", "flickr:2", "mapillary:1", "mapillary:2"]),
        st.sampled_from(["", "x", "y", "z"]),
    ),
    max_size=9,
    unique_by=lambda row: row[:2],
)


def _oracle(rows):
    """Join what has a name in common, again and again; the best of each group stays."""
    groups = [{row} for row in rows]
    names = lambda group: {name for row in group for name in (row[2], row[3]) if name}  # noqa: E731
    while True:
        pair = next(((a, b) for a in groups for b in groups if a is not b and names(a) & names(b)), None)
        if pair is None:
            break
        groups = [group for group in groups if group is not pair[0] and group is not pair[1]] + [pair[0] | pair[1]]
    order = {source: place for place, source in enumerate(SOURCES)}
    return {min(group, key=lambda row: (order.get(row[0], 99), row[0], row[1]))[:2] for group in groups}


@settings(max_examples=100, deadline=None)
@given(rows=_ROWS, shuffled=st.randoms(use_true_random=False), cut=st.integers(0, 9))
def test_what_stays_is_what_an_exhaustive_search_keeps_in_any_order_and_any_tables(rows, shuffled, cut):
    expected = _oracle(rows)
    assert _kept([_table(*rows)]) == expected
    mixed = list(rows)
    shuffled.shuffle(mixed)
    assert _kept([_table(*mixed[cut:]), _table(*mixed[:cut])]) == expected
    whole, other = without_duplicates([_table(*rows)])[1], without_duplicates([_table(*mixed[cut:]), _table(*mixed[:cut])])[1]
    pd.testing.assert_frame_equal(whole, other)

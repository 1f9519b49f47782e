"""A forgotten picture does not come back, and what is forgotten outlives the process."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.imagery.forgotten import Forgotten

_ids = st.sampled_from(["1", "2", "33", "4"])


@given(added=st.lists(st.tuples(st.sampled_from(["mapillary", "kartaview"]), _ids), max_size=6))
@settings(max_examples=30, deadline=None)
def test_it_holds_what_was_added_and_nothing_else(tmp_path_factory, added):
    path = tmp_path_factory.mktemp("forgotten") / "all.parquet"
    forgotten = Forgotten(path)
    for source, image_id in added:
        forgotten.add(source=source, source_image_id=image_id, why="asked")
    for found in (forgotten, Forgotten(path)):
        for source in ("mapillary", "kartaview"):
            assert found.ids(source) == {image_id for at, image_id in added if at == source}
            for image_id in ("1", "2", "33", "4"):
                assert found.holds(source=source, source_image_id=image_id) == ((source, image_id) in added)
        assert len(found) == len(set(added))


def test_one_of_several_joined_pictures_is_enough(tmp_path):
    forgotten = Forgotten(tmp_path / "f.parquet")
    forgotten.add(source="mapillary", source_image_id="2", why="asked")
    assert forgotten.holds(source="mapillary", source_image_id="1+2+3")
    assert not forgotten.holds(source="mapillary", source_image_id="1+22+3")


def test_a_group_is_forgotten_whatever_its_pictures_are_called(tmp_path):
    forgotten = Forgotten(tmp_path / "f.parquet")
    assert not forgotten.has_groups
    forgotten.add(capture_group="mapillary:drive", why="asked")
    assert Forgotten(tmp_path / "f.parquet").has_groups
    assert forgotten.holds(source="mapillary", source_image_id="9", capture_group="mapillary:drive")
    assert not forgotten.holds(source="mapillary", source_image_id="9", capture_group="mapillary:other")
    assert forgotten.ids("mapillary") == set()


def test_the_fingerprint_tells_lists_apart_and_not_the_order_in_which_they_grew(tmp_path):
    one, other = Forgotten(tmp_path / "one.parquet"), Forgotten(tmp_path / "other.parquet")
    empty = one.fingerprint
    assert empty == Forgotten().fingerprint
    for forgotten, ids in ((one, "12"), (other, "21")):
        for image_id in ids:
            forgotten.add(source="mapillary", source_image_id=image_id, why="asked")
    assert one.fingerprint == other.fingerprint == Forgotten(tmp_path / "one.parquet").fingerprint != empty

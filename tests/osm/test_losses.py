"""What counts as a loss, and how it is told."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.osm.losses import MOST_LOST_SHARE, MapChange, landmark_change, road_change

amounts = st.dictionaries(st.sampled_from(["trunk", "primary", "residential"]), st.floats(0.1, 1e5), max_size=3)


@given(before=amounts, now=amounts)
def test_a_loss_is_more_than_a_fifth_of_the_whole_whatever_the_classes(before, now):
    change = MapChange(before=before, now=now, unit="km of road")
    assert change.is_loss == (bool(before) and 1 - sum(now.values()) / sum(before.values()) > MOST_LOST_SHARE)


def test_roads_that_only_changed_their_class_are_no_loss():
    assert not MapChange(before={"unclassified": 100.0}, now={"residential": 99.0}, unit="km of road").is_loss


def test_a_loss_is_told_by_class_the_greatest_first(tmp_path):
    path = tmp_path / "roads.parquet"
    kinds = ["residential", "primary", "trunk", "residential"]
    pd.DataFrame({"highway": kinds, "length_m": [60_000.0, 20_000.0, 20_000.0, 20_000.0]}).to_parquet(path)
    new = pd.DataFrame({"highway": ["residential", "trunk"], "length_m": [30_000.0, 25_000.0]})
    change = road_change(path, new)
    assert change.is_loss
    assert change.told() == "120 to 55 km of road (-54%): residential 80 to 30, primary 20 to 0"


def test_landmarks_are_counted(tmp_path):
    path = tmp_path / "landmarks.parquet"
    pd.DataFrame({"category": ["leisure=park"] * 9 + ["tourism=zoo"]}).to_parquet(path)
    kept = landmark_change(path, pd.DataFrame({"category": ["leisure=park"] * 8}))
    assert not kept.is_loss
    assert kept.told() == "10 to 8 landmarks (-20%): leisure=park 9 to 8, tourism=zoo 1 to 0"
    assert landmark_change(path, pd.DataFrame({"category": ["leisure=park"] * 7})).is_loss


@pytest.mark.parametrize("content", [None, b"", b"not a table"])
def test_without_a_table_in_hand_there_is_nothing_to_lose(tmp_path, content):
    path = tmp_path / "roads.parquet"
    if content is not None:
        path.write_bytes(content)
    change = road_change(path, pd.DataFrame({"highway": [], "length_m": []}))
    assert (change.lost_share, change.is_loss) == (0.0, False)

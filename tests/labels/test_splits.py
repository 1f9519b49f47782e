"""Which side of the split each picture is on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.labels.splits import ENOUGH_GROUPS, SHARES, leak_report, split_images
from geoloc_pipeline.tables import DATASET_SPLITS, LABELLED_IMAGES, check_table, empty_table

GEOD = pyproj.Geod(ellps="WGS84")
rules = st.sampled_from(["grouped", "paper"])


def crowd(labelled_of, seed, *, n=400, spread_m=3000, sequences=60, municipalities=3):
    """Pictures in bunches, some of them of one sequence."""
    dice = np.random.default_rng(seed)
    bunch = dice.integers(0, sequences, size=n)
    metres = dice.normal(0, spread_m, size=(sequences, 2))[bunch] + dice.normal(0, 150, size=(n, 2))
    towns = np.where(metres[:, 0] < -spread_m / 3, 13101, np.where(metres[:, 0] < spread_m / 3, 13102, 13103))
    return labelled_of(
        metres,
        municipality_code=[str(code) for code in np.minimum(towns, 13100 + municipalities)],
        capture_group=[f"g{number}" for number in bunch],
    )


crowds = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "n": st.integers(1, 300),
        "spread_m": st.sampled_from([100, 1000, 20_000]),
        "sequences": st.sampled_from([1, 5, 40, 300]),
    }
)


@settings(deadline=None, max_examples=15)
@given(crowds, rules, st.sampled_from([50.0, 300.0, 1500.0]), st.integers(0, 3))
def test_shares_are_within_one_group_of_80_15_5_in_every_municipality(labelled_of, grown, rule, place_m, seed):
    labelled = crowd(labelled_of, **grown)
    splits = split_images(labelled, rule=rule, place_m=place_m, seed=seed)
    check_table(DATASET_SPLITS, splits)
    assert set(splits["image_id"]) == set(labelled["image_id"])
    assert len(splits[["split_group", "split"]].drop_duplicates()) == splits["split_group"].nunique()
    for _, own in splits.groupby("municipality_code"):
        sizes = own["split_group"].value_counts()
        # A group more may be taken from training so that no side is empty.
        for side, share in SHARES.items():
            assert abs((own["split"] == side).sum() - share * len(own)) <= sizes.max() + 1e-9
        if len(sizes) >= ENOUGH_GROUPS:
            assert own["split"].nunique() == 3


def is_one_group(labelled, place_m):
    """An oracle: who hangs together with whom, by following every pair of pictures of a municipality."""
    linked = (away_m(labelled) < place_m) | np.equal.outer(*[labelled["capture_group"].to_numpy(dtype=object)] * 2)
    linked &= np.equal.outer(*[labelled["municipality_code"].fillna("").to_numpy(dtype=object)] * 2)
    while True:
        further = (linked.astype(np.float32) @ linked.astype(np.float32)) > 0
        if (further == linked).all():
            return linked
        linked = further


def away_m(labelled):
    lat, lon = (np.broadcast_to(labelled[name].to_numpy(), (len(labelled),) * 2) for name in ("lat", "lon"))
    return np.asarray(GEOD.inv(lon, lat, lon.T, lat.T)[2])


@settings(deadline=None, max_examples=15)
@given(crowds, st.sampled_from([50.0, 300.0, 1500.0]))
def test_groups_are_what_capture_groups_and_places_link_and_nothing_more(labelled_of, grown, place_m):
    labelled = crowd(labelled_of, **grown)
    splits = split_images(labelled, place_m=place_m)
    group = labelled[["image_id"]].merge(splits, on="image_id")["split_group"].to_numpy(dtype=object)
    np.testing.assert_array_equal(np.equal.outer(group, group), is_one_group(labelled, place_m))


def test_no_line_cuts_a_place_wherever_it_lies(labelled_of):
    """Pairs of pictures a metre apart, all over a city: a grid of any size would part some of them."""
    dice = np.random.default_rng(1)
    corner = dice.uniform(0, 20_000, (500, 2))
    labelled = labelled_of(np.concatenate([corner, corner + 0.7]))
    splits = split_images(labelled, place_m=5)
    assert (splits["split"].to_numpy()[:500] == splits["split"].to_numpy()[500:]).all()
    assert splits["split_group"].nunique() == 500
    assert leak_report(labelled, splits, near_m=5).test_images_near_train == 0


def test_sequences_stay_whole(labelled_of):
    """40 sequences of 5 pictures, 300 m apart along a road of their own: every one on one side."""
    metres = [(step * 300, sequence * 700) for sequence in range(40) for step in range(5)]
    labelled = labelled_of(metres, capture_group=[f"g{n // 5}" for n in range(200)])
    splits = split_images(labelled, place_m=200)
    assert leak_report(labelled, splits).capture_groups_cut == 0
    assert splits["split"].value_counts().to_dict() == {"train": 160, "val": 30, "test": 10}


def test_a_capture_group_is_not_cut_even_where_it_is_nearly_all_there_is(labelled_of):
    labelled = labelled_of([(n * 1000, 0) for n in range(40)], capture_group=["all"] * 34 + [f"g{n}" for n in range(6)])
    splits = split_images(labelled).set_index("image_id")["split"]
    assert set(splits.iloc[:34]) == {"train"}
    assert set(splits.iloc[34:]) == {"val", "test"}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 100), st.integers(21, 60))
def test_a_large_group_leaves_the_cuts_to_the_small_ones(labelled_of, seed, large):
    """One group of 21 to 60 of 100 pictures, the others alone: the shares are exact, whatever the hash says."""
    capture_group = ["large"] * large + [f"{seed}-{n}" for n in range(100 - large)]
    splits = split_images(labelled_of([(n * 1000, 0) for n in range(100)], capture_group=capture_group), seed=seed)
    assert splits["split"].value_counts().to_dict() == {"train": 80, "val": 15, "test": 5}


@settings(deadline=None, max_examples=15)
@given(crowds, st.integers(0, 1000))
def test_a_picture_beside_others_of_its_capture_group_renames_nobody(labelled_of, grown, which):
    labelled = crowd(labelled_of, **grown)
    beside = labelled.iloc[[which % len(labelled)]].assign(image_id="another")
    before = split_images(labelled).set_index("image_id")["split_group"]
    after = split_images(pd.concat([labelled, beside])).set_index("image_id")["split_group"]
    assert after.drop("another").equals(before)
    assert after["another"] == before[labelled["image_id"].iloc[which % len(labelled)]]


@settings(deadline=None, max_examples=10)
@given(crowds, rules, st.randoms(use_true_random=False))
def test_order_of_pictures_and_other_municipalities_say_nothing(labelled_of, grown, rule, dice):
    labelled = crowd(labelled_of, **grown)
    whole = split_images(labelled, rule=rule).set_index("image_id")
    order = list(range(len(labelled)))
    dice.shuffle(order)
    assert split_images(labelled.iloc[order], rule=rule).set_index("image_id").equals(whole)
    for _, own in labelled.groupby("municipality_code"):
        alone = split_images(own, rule=rule).set_index("image_id")
        assert alone.equals(whole.loc[alone.index])


def test_a_few_added_pictures_move_few_others(labelled_of):
    moved = []
    for seed in range(5):
        labelled = crowd(labelled_of, seed, n=1000, spread_m=10_000, sequences=200)
        before = split_images(labelled.iloc[:980]).set_index("image_id")["split"]
        after = split_images(labelled).set_index("image_id")["split"].loc[before.index]
        moved.append((before != after).mean())
    assert max(moved) < 0.08
    assert np.mean(moved) < 0.04


def test_another_seed_is_another_split(labelled_of):
    labelled = crowd(labelled_of, 7)
    one, other = (split_images(labelled, seed=seed)["split"] for seed in (0, 1))
    assert (one != other).any()


def test_pictures_without_a_municipality_are_a_stratum_of_their_own(labelled_of):
    labelled = labelled_of([(n * 1000, 0) for n in range(20)], municipality_code=None)
    splits = split_images(labelled)
    check_table(DATASET_SPLITS, splits)
    assert splits["split"].value_counts().to_dict() == {"train": 16, "val": 3, "test": 1}


def test_the_only_picture_of_a_municipality_is_for_training(labelled_of):
    assert split_images(labelled_of([(0, 0)]))["split"].to_list() == ["train"]


def test_pictures_that_are_all_at_one_place_stay_together(labelled_of):
    splits = split_images(labelled_of([(0, 0)] * 30, capture_group=[f"g{n}" for n in range(30)]))
    assert splits[["split", "split_group"]].drop_duplicates()["split"].to_list() == ["train"]


def test_no_pictures_give_an_empty_table():
    splits = split_images(empty_table(LABELLED_IMAGES))
    check_table(DATASET_SPLITS, splits)
    assert splits.empty


@pytest.mark.parametrize("wrong", [{"rule": "random"}, {"place_m": 0}, {"place_m": float("nan")}, {"place_m": float("inf")}])
def test_settings_that_cannot_work_are_told(labelled_of, wrong):
    with pytest.raises(SettingError):
        split_images(labelled_of([(0, 0)]), **wrong)


def test_the_leak_report_counts_what_train_and_test_share(labelled_of):
    labelled = labelled_of([(0, 0), (100, 0), (5000, 0), (9000, 0)], capture_group=["a", "b", "a", "c"])
    splits = pd.DataFrame({"image_id": labelled["image_id"], "split": ["train", "test", "test", "val"]})
    report = leak_report(labelled, splits, near_m=200)
    assert (report.test_images, report.capture_groups_cut, report.test_images_in_cut_groups) == (2, 1, 1)
    assert report.test_images_near_train == 1
    assert report.nearest_train_m == pytest.approx((100 + 5000) / 2, rel=0.01)


def test_the_leak_report_looks_across_municipalities_and_prefectures(labelled_of):
    """A sequence over a border: each side deals its own, only both together show what they share."""
    here = labelled_of([(n * 300, 0) for n in range(100)], capture_group="drive")
    there = here.assign(
        image_id="t" + here["image_id"], municipality_code="14101", prefecture_code="14", lat=here["lat"] + 4e-3
    )
    lone = labelled_of([(n * 3000, 9000) for n in range(400)], image_id=[f"l{n:03d}" for n in range(400)])
    labelled = pd.concat([here, there, lone])
    splits = split_images(labelled).assign(split=lambda table: table["split"].where(table["image_id"].str[0] != "t", "test"))
    report = leak_report(labelled, splits)
    assert (report.capture_groups_cut, report.near_m) == (1, 1000.0)
    assert report.test_images_in_cut_groups == report.test_images_near_train == 100
    assert leak_report(there, splits).test_images_near_train == 0


def test_the_leak_report_of_nothing_counts_nothing(labelled_of):
    labelled = labelled_of([(0, 0)])
    report = leak_report(labelled, split_images(labelled))
    assert (report.test_images, report.test_images_near_train) == (0, 0)
    assert np.isnan(report.nearest_train_m)


def test_grouped_leaks_less_than_the_papers_split(labelled_of):
    labelled = crowd(labelled_of, 3, n=2000, spread_m=20_000, sequences=300)
    leaks = {}
    for rule in ("grouped", "paper"):
        leaks[rule] = leak_report(labelled, split_images(labelled, rule=rule, place_m=500), near_m=200)
    assert leaks["grouped"].test_images_in_cut_groups < leaks["paper"].test_images_in_cut_groups / 2
    assert leaks["grouped"].test_images_near_train < leaks["paper"].test_images_near_train / 2

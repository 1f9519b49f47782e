"""Which side of the split each picture is on: 80:15:5 in every municipality (paper §3.1), whole groups on one side.

`paper` splits by picture, as the paper did; neighbours of a sequence then stand on both sides, and a search finds the place
it is asked about. `grouped`, the default, keeps together what `groups` links inside a municipality: pictures of one capture
group (a sequence, an author), pictures nearer to each other than `place_m`, and so on. No group is ever cut: where one holds
nearly a whole municipality, little is left to validate and test on there, and that is said instead of hidden.
`place_m` must stay below the distance between sample points, or links run from point to point through a whole city.

Groups are put in the order of a hash of their name, those larger than the test side before all others, and sides are cut out
of that order: so the cuts run between small groups and shares are as exact as groups allow. Nothing outside a municipality
changes its split, and pictures added to it move only the groups at the two cuts, and groups that a new picture joins.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.labels.groups import earth_centred_m, linked_groups
from geoloc_pipeline.tables import DATASET_SPLITS, as_table, empty_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARES = {"train": 0.80, "val": 0.15, "test": 0.05}
"""Paper §3.1: 80:15:5."""
ENOUGH_GROUPS = 5
"""A municipality with this many groups has all three sides; with fewer, more than a group would be taken from training."""
NEAR_M = 1000.0
"""The leak report counts test pictures with a training picture nearer than this: a place that training has seen."""

Rule = Literal["grouped", "paper"]


def split_images(labelled: pd.DataFrame, *, rule: Rule = "grouped", place_m: float = 100.0, seed: int = 0) -> pd.DataFrame:
    """Return the side of each picture of one prefecture.

    Guarantees, in every municipality: pictures of one capture group and pictures nearer than `place_m` are on one side; each
    side's share is within one group (the municipality's largest) of 80:15:5; from `ENOUGH_GROUPS` groups on, every side has
    pictures. A group is named after the one of its capture groups whose hash is smallest, so more pictures of the same
    capture groups do not rename it.

    Args:
        labelled: `tables.LABELLED_IMAGES`; order does not matter.
        rule: `grouped`, or `paper` (by picture: leaks, for comparison only).
        place_m: Pictures nearer to each other than this are at one place, metres.
        seed: Another seed is another split.

    Returns:
        `tables.DATASET_SPLITS` in key order.

    Raises:
        SettingError: An unknown rule, or places without size.

    Paper: §3.1 (80:15:5, every municipality in equal shares); groups are ours.
    """
    if rule not in {"grouped", "paper"}:
        raise SettingError(setting="rule", value=rule, cure="choose grouped or paper")
    if not 0 < place_m < np.inf:
        raise SettingError(setting="place_m", value=place_m, cure="give the size of a place in metres, such as 100")
    if labelled.empty:
        return empty_table(DATASET_SPLITS)
    pictures = labelled[["image_id", "lat", "lon", "municipality_code", "capture_group"]].sort_values(
        "image_id", ignore_index=True
    )
    stratum, _ = pd.factorize(pictures["municipality_code"], use_na_sentinel=False)
    if rule == "paper":
        number, name = np.arange(len(pictures)), pictures["image_id"].to_numpy(dtype=object)
    else:
        number, name = _groups(pictures, stratum, place_m)
    return as_table(
        DATASET_SPLITS,
        {
            "image_id": pictures["image_id"],
            "split": _sides(stratum, number, name, seed)[number],
            "split_group": name[number],
            "municipality_code": pictures["municipality_code"],
        },
    )


def _groups(
    pictures: pd.DataFrame, stratum: NDArray[np.int64], place_m: float
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return the number of each picture's group, and the groups' names."""
    capture, captures = pd.factorize(pictures["capture_group"])
    number = linked_groups(
        lat=pictures["lat"].to_numpy(dtype=np.float64),
        lon=pictures["lon"].to_numpy(dtype=np.float64),
        stratum=stratum,
        capture=capture,
        place_m=place_m,
    )
    rank = np.argsort(np.argsort([_hash_of(text) for text in captures.tolist()], kind="stable"))
    order = np.lexsort((rank[capture], number))
    named_after = order[np.searchsorted(number[order], np.arange(number.max() + 1))]
    municipality = pictures["municipality_code"].fillna("").to_numpy(dtype=object)[named_after]
    return number, municipality + "/" + captures.to_numpy(dtype=object)[capture[named_after]]


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sides(stratum: NDArray[np.int64], number: NDArray[np.int64], name: NDArray[np.object_], seed: int) -> NDArray[np.object_]:
    """Return the side of each group: sides are cut out of the order of a municipality's groups."""
    groups = pd.DataFrame({"n": np.bincount(number), "turn": [_hash_of(f"{seed}|{text}") for text in name.tolist()]})
    groups["stratum"] = stratum[np.unique(number, return_index=True)[1]]
    total = groups.groupby("stratum")["n"].transform("sum")
    groups["is_small"] = groups["n"] <= SHARES["test"] * total
    groups = groups.sort_values(["stratum", "is_small", "turn"])
    groups["side"] = np.where(_middle(groups) <= SHARES["train"], "train", "")
    rest = groups["side"] == ""
    val_of_rest = SHARES["val"] / (SHARES["val"] + SHARES["test"])
    groups.loc[rest, "side"] = np.where(_middle(groups[rest]) <= val_of_rest, "val", "test")
    for side in ("test", "val"):
        _fill(groups, side)
    return np.asarray(groups["side"].sort_index(), dtype=object)


def _middle(groups: pd.DataFrame) -> pd.Series[float]:
    """Return where the middle picture of each group stands among those of its municipality, 0 to 1."""
    by_stratum = groups.groupby("stratum")["n"]
    return (by_stratum.cumsum() - groups["n"] / 2) / by_stratum.transform("sum")


def _fill(groups: pd.DataFrame, name: str) -> None:
    """Give a side that got nothing the smallest group that another side can spare, in municipalities with enough groups."""
    enough = groups.groupby("stratum")["n"].transform("size") >= ENOUGH_GROUPS
    empty = ~(groups["side"] == name).groupby(groups["stratum"]).transform("any")
    spare = groups.groupby(["stratum", "side"])["n"].transform("size") > 1
    # Of equal groups the last one goes: it stands nearest the end of the order, where val and test are cut out.
    candidates = groups[enough & empty & spare].iloc[::-1].sort_values(["stratum", "n"], kind="stable")
    groups.loc[candidates.drop_duplicates("stratum").index, "side"] = name


@dataclass(frozen=True)
class LeakReport:
    """What training and test pictures share, of those handed over.

    Attributes:
        test_images: Test pictures.
        capture_groups_cut: Capture groups (sequences, authors) with pictures in both train and test.
        test_images_in_cut_groups: Test pictures whose capture group also has training pictures.
        test_images_near_train: Test pictures with a training picture nearer than `near_m`.
        near_m: That distance, metres.
        nearest_train_m: Median distance from a test picture to the nearest training picture, metres; NaN without any.
    """

    test_images: int
    capture_groups_cut: int
    test_images_in_cut_groups: int
    test_images_near_train: int
    near_m: float
    nearest_train_m: float


def leak_report(labelled: pd.DataFrame, splits: pd.DataFrame, *, near_m: float = NEAR_M) -> LeakReport:
    """Count what training and test share.

    Trap: groups end at the borders of municipalities, so what is shared lies across them. Hand over all prefectures together,
    or what lies across theirs is not seen.

    Args:
        labelled: `tables.LABELLED_IMAGES`.
        splits: `tables.DATASET_SPLITS` of the same pictures.
        near_m: Training pictures nearer than this to a test picture count as the same place, metres.

    Returns:
        The counts.
    """
    side = labelled["image_id"].map(splits.set_index("image_id")["split"])
    train, test = labelled[side == "train"], labelled[side == "test"]
    in_cut = test["capture_group"].isin(train["capture_group"])
    away_m = np.empty(0)
    if len(train) and len(test):
        away_m = KDTree(_positions(train)).query(_positions(test))[0]
    return LeakReport(
        test_images=len(test),
        capture_groups_cut=int(test.loc[in_cut, "capture_group"].nunique()),
        test_images_in_cut_groups=int(in_cut.sum()),
        test_images_near_train=int((away_m < near_m).sum()),
        near_m=near_m,
        nearest_train_m=float(np.median(away_m)) if len(away_m) else float("nan"),
    )


def _positions(labelled: pd.DataFrame) -> NDArray[np.float64]:
    return earth_centred_m(lat=labelled["lat"].to_numpy(dtype=np.float64), lon=labelled["lon"].to_numpy(dtype=np.float64))

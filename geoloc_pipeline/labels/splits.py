"""Which side of the split each picture is on: 80:15:5 in every municipality (paper §3.1), whole groups on one side.

`paper` splits by picture, as the paper did; neighbours of a sequence then stand on both sides, and a search finds the place
it is asked about. `grouped`, the default, keeps together
- a place: the pictures in one cell of a grid on the ground, `place_m` wide, as far as they lie in one municipality; always;
- a capture group (a sequence, an author): all its places in one municipality, as long as the group that this makes holds at
  most `LARGEST_SHARE` of the municipality's pictures. Sequences and places chain: followed without a limit they join whole
  cities, and there would be nothing left to split. Small capture groups are honoured first; what stays cut is counted by
  `leak_report`.

Groups are put in the order of a hash of the place they start from, and sides are cut out of that order at 80 % and 95 % of
the municipality's pictures. So nothing outside a municipality changes its split, and pictures added to it move only the
groups at the two cuts, and groups that a new picture joins.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from sklearn.neighbors import BallTree

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M
from geoloc_pipeline.tables import DATASET_SPLITS, as_table, empty_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARES = {"train": 0.80, "val": 0.15, "test": 0.05}
"""Paper §3.1: 80:15:5."""
LARGEST_SHARE = SHARES["val"]
"""No group that joins several places holds more of a municipality's pictures: sequences stay whole, a city is still split."""
ENOUGH_GROUPS = 5
"""A municipality with this many groups has all three sides; with fewer, more than a group would be taken from training."""

Rule = Literal["grouped", "paper"]


def split_images(labelled: pd.DataFrame, *, rule: Rule = "grouped", place_m: float = 200.0, seed: int = 0) -> pd.DataFrame:
    """Return the side of each picture of one prefecture.

    Guarantees, in every municipality: pictures of one place are on one side; each side's share is within one group (the
    municipality's largest) of 80:15:5; from `ENOUGH_GROUPS` groups on, every side has pictures.

    Args:
        labelled: `tables.LABELLED_IMAGES`; order does not matter.
        rule: `grouped`, or `paper` (by picture: leaks, for comparison only).
        place_m: Side of a place's cell, metres.
        seed: Another seed is another split.

    Returns:
        `tables.DATASET_SPLITS` in key order.

    Raises:
        SettingError: An unknown rule, or places without size.

    Paper: §3.1 (80:15:5, every municipality in equal shares); groups are ours.
    """
    if rule not in {"grouped", "paper"}:
        raise SettingError(setting="rule", value=rule, cure="choose grouped or paper")
    if not place_m > 0:
        raise SettingError(setting="place_m", value=place_m, cure="give the size of a place in metres, such as 200")
    if labelled.empty:
        return empty_table(DATASET_SPLITS)
    pictures = labelled[["image_id", "lat", "lon", "municipality_code", "capture_group"]].sort_values(
        "image_id", ignore_index=True
    )
    stratum = pictures["municipality_code"].fillna("")
    if rule == "paper":
        group = pictures["image_id"]
    else:
        place = stratum + "/" + _place_names(pictures["lat"].to_numpy(), pictures["lon"].to_numpy(), place_m)
        group = _groups(stratum, place, pictures["capture_group"])
    return as_table(
        DATASET_SPLITS,
        {
            "image_id": pictures["image_id"],
            "split": _sides(stratum, group, seed).to_numpy(),
            "split_group": group.to_numpy(),
            "municipality_code": pictures["municipality_code"],
        },
    )


def _place_names(lat: NDArray[np.float64], lon: NDArray[np.float64], place_m: float) -> NDArray[np.str_]:
    """Return the name of the cell of each place, on a grid that is fixed to the Earth."""
    side_deg = place_m / 111_195
    row = np.floor(lat / side_deg).astype(np.int64)
    column = np.floor(lon / (side_deg / np.cos(np.radians((row + 0.5) * side_deg)))).astype(np.int64)
    return np.char.add(np.char.add(row.astype(str), ":"), column.astype(str))


def _groups(stratum: pd.Series[str], place: pd.Series[str], capture_group: pd.Series[str]) -> pd.Series[str]:
    """Return the group of each picture: the name of the group's first place by hash."""
    places, which = np.unique(place.to_numpy(dtype=str), return_inverse=True)
    size = np.bincount(which)
    most = stratum.map(stratum.value_counts()).groupby(which).first().to_numpy() * LARGEST_SHARE
    links = pd.DataFrame({"stratum": stratum, "capture_group": capture_group, "place": which}).drop_duplicates()
    links["n_places"] = links.groupby(["stratum", "capture_group"])["place"].transform("size")
    links = links[links["n_places"] > 1].sort_values(["stratum", "n_places", "capture_group", "place"])
    root = list(range(len(places)))
    for _, joined in links.groupby(["stratum", "n_places", "capture_group"], sort=True)["place"]:
        roots = sorted({_root_of(root, item) for item in joined.tolist()})
        if len(roots) > 1 and sum(int(size[item]) for item in roots) <= most[roots[0]]:
            size[roots[0]] = sum(int(size[item]) for item in roots)
            for item in roots[1:]:
                root[item] = roots[0]
    owner = np.array([_root_of(root, item) for item in range(len(places))])
    turn = np.argsort([_hash_of(name) for name in places.tolist()])
    owners, first = np.unique(owner[turn], return_index=True)
    name_of = places[turn][first]
    return pd.Series(name_of[np.searchsorted(owners, owner[which])], index=place.index)


def _root_of(root: list[int], item: int) -> int:
    while root[item] != item:
        root[item] = root[root[item]]
        item = root[item]
    return item


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sides(stratum: pd.Series[str], group: pd.Series[str], seed: int) -> pd.Series[str]:
    """Return the side of each picture: sides are cut out of the municipality's groups in the order of their hash."""
    groups = pd.DataFrame({"stratum": stratum, "group": group}).groupby(["stratum", "group"]).size().rename("n").reset_index()
    groups["turn"] = [_hash_of(f"{seed}|{name}") for name in groups["group"]]
    groups = groups.sort_values(["stratum", "turn"], ignore_index=True)
    by_stratum = groups.groupby("stratum")["n"]
    middle = (by_stratum.cumsum() - groups["n"] / 2) / by_stratum.transform("sum")
    train, val = SHARES["train"], SHARES["train"] + SHARES["val"]
    groups["side"] = np.where(middle <= train, "train", np.where(middle <= val, "val", "test"))
    for name in ("test", "val"):
        _fill(groups, name)
    chosen = pd.Series(groups["side"].to_numpy(), index=pd.MultiIndex.from_frame(groups[["stratum", "group"]]))
    return pd.Series(chosen.loc[pd.MultiIndex.from_arrays([stratum, group])].to_numpy(), index=stratum.index)


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
        capture_groups_cut: Capture groups with pictures in both train and test.
        test_images_in_cut_groups: Test pictures whose capture group also has training pictures.
        test_images_near_train: Test pictures with a training picture nearer than `place_m`.
        place_m: That distance, metres.
        nearest_train_m: Median distance from a test picture to the nearest training picture, metres; NaN without any.
    """

    test_images: int
    capture_groups_cut: int
    test_images_in_cut_groups: int
    test_images_near_train: int
    place_m: float
    nearest_train_m: float


def leak_report(labelled: pd.DataFrame, splits: pd.DataFrame, *, place_m: float = 200.0) -> LeakReport:
    """Count what training and test share; hand over all prefectures together to see what their borders leave.

    Args:
        labelled: `tables.LABELLED_IMAGES`.
        splits: `tables.DATASET_SPLITS` of the same pictures.
        place_m: Training pictures nearer than this to a test picture count as the same place, metres.

    Returns:
        The counts.
    """
    side = labelled["image_id"].map(splits.set_index("image_id")["split"])
    train, test = labelled[side == "train"], labelled[side == "test"]
    cut = set(train["capture_group"]) & set(test["capture_group"])
    away_m = np.empty(0)
    if len(train) and len(test):
        tree = BallTree(np.radians(train[["lat", "lon"]].to_numpy(dtype=np.float64)), metric="haversine")
        nearest = tree.query(np.radians(test[["lat", "lon"]].to_numpy(dtype=np.float64)), k=1)[0][:, 0]
        away_m = nearest * MEAN_EARTH_RADIUS_M
    return LeakReport(
        test_images=len(test),
        capture_groups_cut=len(cut),
        test_images_in_cut_groups=int(test["capture_group"].isin(cut).sum()),
        test_images_near_train=int((away_m < place_m).sum()),
        place_m=place_m,
        nearest_train_m=float(np.median(away_m)) if len(away_m) else float("nan"),
    )

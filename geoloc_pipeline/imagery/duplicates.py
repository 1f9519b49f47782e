"""The same picture in several sets, or in a set and in street view, counts once.

Two pictures are the same when they have one origin (a Flickr photo in YFCC100M and in MP-16, a Mapillary picture in OSV-5M) or
came as the same bytes. Which of them stays is decided by where they come from, never by what was collected first.

Belongs here: which rows go. Does not belong here: pictures that only look alike (the leak report counts those).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoloc_pipeline.imagery.journal import rejected_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.imagery.journal import Rejection

SOURCES = (
    "im2gps",  # test sets first: a picture that others are measured by must not hide in what is learned
    "im2gps3k",
    "mapillary",
    "panoramax",
    "kartaview",
    "google",
    "yfcc100m",  # with licence and date, which MP-16 does not tell
    "mp16",
    "google_landmarks_v2",
    "osv5m",
    "local",
)
"""Of the same picture the one from the source named first stays; sources that are not named come last, by name."""
_COLUMNS = ["image_id", "source", "source_image_id", "origin_id", "content_sha256"]


def without_duplicates(tables: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Return the tables with every picture once.

    Which row stays depends on nothing but the rows: not on their order, nor on the tables' order. A chain counts as one: where
    A and B have one origin, and B and C the same bytes, A alone stays. A picture joined of several (`mapillary:1+2+3+4`) is the
    same as a photo that is one of them; two joined ones are the same only as a whole, because neighbouring points may share a
    view. One `image_id` in several tables is one picture already, and is left in all of them.

    Args:
        tables: Of `tables.IMAGES`, in any order.

    Returns:
        The tables, in the order given, rows in their order and with their index; and `tables.REJECTED` rows, reason
        `duplicate`, with what each one doubles.
    """
    rows = pd.concat([pd.DataFrame(table[_COLUMNS]) for table in tables], ignore_index=True) if tables else pd.DataFrame()
    if rows.empty:
        return list(tables), rejected_table([])
    images = rows.drop_duplicates("image_id").reset_index(drop=True)
    order = {source: place for place, source in enumerate(SOURCES)}
    rank = images["source"].map(order).fillna(len(order))
    images = images.assign(rank=rank).sort_values(["rank", "source", "source_image_id", "image_id"], ignore_index=True)
    links = _links(images)
    if not len(links):
        return list(tables), rejected_table([])
    pairs = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(images), len(images)))
    group = connected_components(pairs, directed=False)[1]
    first = pd.Series(np.arange(len(images))).groupby(group).transform("min").to_numpy()  # rows stand by rank
    is_double = first != np.arange(len(images))
    kept = images.iloc[first[is_double]].reset_index(drop=True)
    doubles = images[is_double].reset_index(drop=True)
    gone = set(doubles["image_id"])
    rejections: list[Rejection] = [
        (double.source, double.source_image_id, "duplicate", f"the same picture as {keeper.source} {keeper.source_image_id}")
        for double, keeper in zip(doubles.itertuples(), kept.itertuples(), strict=True)
    ]
    return [table[~table["image_id"].isin(gone)] for table in tables], rejected_table(sorted(rejections))


def _links(images: pd.DataFrame) -> NDArray[np.int64]:
    """Return pairs of rows `[n, 2]` that are the same picture, enough of them to join each group."""
    keys = pd.concat([_keys(images["origin_id"], "origin"), _keys(images["content_sha256"], "bytes")], ignore_index=True)
    keys = keys[keys["key"].duplicated(keep=False)].sort_values(["key", "is_part", "row"])  # few are left, of a million
    firsts = keys.groupby("key")[["row", "is_part"]].transform("first")
    # Joined pictures that share a view are not the same: of those, the first stands for a photo that is that view.
    counts = ~firsts["is_part"] & ~(keys["is_part"] & keys.duplicated(["key", "is_part"])) & (firsts["row"] != keys["row"])
    return np.column_stack([firsts["row"][counts], keys["row"][counts]]).astype(np.int64)


def _keys(column: pd.Series, kind: str) -> pd.DataFrame:
    """Return what pictures may be known by, one row a name: the whole, and the parts of a joined one."""
    named = column[column.notna() & (column != "")].astype(str)
    found = [(row, f"{kind} {key}", False) for row, key in named.items()]
    for row, key in named[named.str.contains("+", regex=False)].items():
        prefix, colon, joined = key.rpartition(":")
        found += [(row, f"{kind} {prefix}{colon}{one}", True) for one in dict.fromkeys(joined.split("+"))]
    return pd.DataFrame(found, columns=["row", "key", "is_part"])

"""Pictures whose place is known, as a gallery is asked for them: whole, or one view at a time.

A query's kind is `whole` (the mean of a panorama's views: of three squares or more) or `one_view` (a photo, or one view of a
panorama: what a visitor sends). The two are right to different degrees, so each kind is calibrated by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.embedding.embed import Read
    from geoloc_pipeline.retrieval.embedding.heads import HeadTops

Kind = Literal["whole", "one_view"]
KINDS: tuple[Kind, ...] = ("whole", "one_view")
WHOLE_SQUARES = 3  # a photo of 4:3 is read as two overlapping squares and still shows one direction

WHOLE_VIEWS = ("mean", "photo")
"""A picture as a whole: the mean of a panorama's views, or a photo's one view."""


def kind_of(n_squares: int) -> Kind:
    """Return the kind of a query whose vector is the mean of so many squares."""
    return "whole" if n_squares >= WHOLE_SQUARES else "one_view"


@dataclass(frozen=True)
class Queries:
    """Pictures whose place is known.

    Attributes:
        image_id: `[q]` ids; several views of a picture have the same.
        vectors: `[q, 512]` float32, unit length.
        lat: `[q]` degrees, the truth.
        lon: `[q]` degrees, the truth.
        is_whole: `[q]` whether the kind is `whole`; all are if absent.
        heads: By task, what the model's heads say of each; empty when they were not asked.
    """

    image_id: list[str]
    vectors: NDArray[np.float32]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    is_whole: NDArray[np.bool_] | None = None
    heads: Mapping[str, HeadTops] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_id)

    def of_kind(self, kind: Kind) -> NDArray[np.bool_]:
        """Return `[q]` which queries are of a kind."""
        is_whole = np.ones(len(self), dtype=bool) if self.is_whole is None else self.is_whole
        return is_whole if kind == "whole" else ~is_whole

    def only(self, chosen: NDArray[np.bool_]) -> Queries:
        """Return the queries `[q]` that are chosen."""
        return Queries(
            image_id=[image for image, is_chosen in zip(self.image_id, chosen, strict=True) if is_chosen],
            vectors=self.vectors[chosen],
            lat=self.lat[chosen],
            lon=self.lon[chosen],
            is_whole=None if self.is_whole is None else self.is_whole[chosen],
            heads={task: tops.rows(chosen) for task, tops in self.heads.items()},
        )


def whole_pictures(source: Read | pd.DataFrame) -> Queries:
    """Return each picture once, as a whole: a panorama as the mean of its views.

    Args:
        source: Embeddings and heads, or `IMAGE_EMBEDDINGS` alone.

    Returns:
        Queries in the order of their ids.
    """
    return _queries(source, lambda rows: rows["view"].isin(WHOLE_VIEWS).to_numpy())


def single_views(source: Read | pd.DataFrame) -> Queries:
    """Return each picture once, as one view of it, chosen by a hash of its id: what a visitor's photo is like.

    Args:
        source: Embeddings and heads, or `IMAGE_EMBEDDINGS` alone.

    Returns:
        Queries in the order of their ids.
    """

    def chosen(rows: pd.DataFrame) -> NDArray[np.bool_]:
        key = (rows["image_id"] + rows["view"])[rows["view"] != "mean"]
        chance = pd.Series([hashlib.sha256(text.encode()).hexdigest() for text in key], index=key.index, dtype=object)
        first = chance.sort_values().groupby(rows["image_id"].reindex(chance.index), sort=False).head(1)
        return np.asarray(rows.index.isin(first.index))

    return _queries(source, chosen)


def every_view(source: Read | pd.DataFrame) -> Queries:
    """Return every view by itself, several for a panorama.

    Args:
        source: Embeddings and heads, or `IMAGE_EMBEDDINGS` alone.

    Returns:
        Queries in the order of their ids.
    """
    return _queries(source, lambda rows: (rows["view"] != "mean").to_numpy())


def every_query(source: Read | pd.DataFrame) -> Queries:
    """Return every panorama as a whole and every view by itself: both kinds of query, in the order of their ids."""
    return _queries(source, lambda rows: np.ones(len(rows), dtype=bool))


def _queries(source: Read | pd.DataFrame, choose: Callable[[pd.DataFrame], NDArray[np.bool_]]) -> Queries:
    embeddings, heads = (source, {}) if isinstance(source, pd.DataFrame) else source
    rows = embeddings.reset_index(drop=True)
    rows = rows[choose(rows)].sort_values(["image_id", "view"])
    vectors = np.stack(rows["embedding"].to_list()) if len(rows) else np.empty((0, EMBEDDING_SIZE), dtype=np.float32)
    return Queries(
        image_id=rows["image_id"].tolist(),
        vectors=np.asarray(vectors, dtype=np.float32),
        lat=rows["lat"].to_numpy(dtype=np.float64),
        lon=rows["lon"].to_numpy(dtype=np.float64),
        is_whole=(rows["view"] == "mean").to_numpy(dtype=bool),
        heads={task: tops.rows(rows.index.to_numpy(dtype=np.int64)) for task, tops in heads.items()},
    )

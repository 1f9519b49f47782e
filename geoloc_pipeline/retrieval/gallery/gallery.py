"""The gallery: every learned picture as points in Qdrant, built beside the old one and swapped in when it is whole.

A collection is named after the model and the points that it holds, and an alias says which one is live. Points are the views
of a picture and their mean; a search returns pictures, each once, with the similarity of its best point.

Paper: §3.3 (Qdrant, cosine similarity, the 100 best).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.edge import EdgeStore
from geoloc_pipeline.retrieval.gallery.ranking import as_neighbours, best_points, search_all, without_hubs
from geoloc_pipeline.retrieval.gallery.space import Space
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    import pandas as pd
    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.build import Parts, Points
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours, Where
    from geoloc_pipeline.retrieval.gallery.space import Compare
    from geoloc_pipeline.retrieval.gallery.store import Store
    from geoloc_pipeline.storage.progress import Progress

BREADTH = 256  # HNSW's ef: recall@100 of 0.998 at 50,000 points
FILTERED_BREADTH = 176  # a filtered walk (ACORN) looks at neighbours' neighbours as well: 0.994 where one point in five passes
QUERIES = 100
HUBS_BESIDE = 2  # so many times more pictures than asked for are looked at when hubs count less
MANY_QUERIES = 1000
"""From so many on, an exact search takes the points out of the engine once (70 µs a point) instead of asking it for each query
(0.09 µs a point)."""


@dataclass(frozen=True)
class GalleryLocation:
    """Where a gallery is: on a Qdrant server, or in a folder.

    Attributes:
        folder: Of the embedded engine; used when there is no `url`.
        url: Of a server; see `server.connect` for what may follow the address.
        api_key: For the server; never shown.
        is_quantised: Whether collections that are built keep int8 copies of their vectors to walk the graph with: twice as
            fast, for a fourth more memory; what is found is compared in full, and exact searches never see them.
    """

    folder: Path | None = None
    url: str = ""
    api_key: str = field(default="", repr=False)
    is_quantised: bool = True

    @property
    def label(self) -> str:
        """For people and fingerprints: server's address without credentials, or `embedded`."""
        if not self.url:
            return "embedded"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def store(self) -> Store:
        """Open what holds the collections.

        Returns:
            A store; to be closed.

        Raises:
            CollectionError: Neither a folder nor a server is named.
        """
        if self.url:
            from geoloc_pipeline.retrieval.gallery.server import ServerStore, connect  # a second that `locate` need not wait

            client = connect(self.url, api_key=self.api_key)
            return ServerStore(client, url=self.label, is_quantised=self.is_quantised)
        if self.folder is None:
            raise CollectionError(collection="photos", reason="has neither folder nor server", cure="set GEOLOC_QDRANT_URL")
        return EdgeStore(self.folder, is_quantised=self.is_quantised)


class Gallery:
    """One whole collection, open for searching; use it as a context manager.

    Attributes:
        collection: Its name.
        model_version: Of the model whose vectors it holds; queries must come from the same.
    """

    def __init__(self, store: Store, collection: str) -> None:
        self.collection = collection
        self.model_version = collection.split("__")[1]
        self._store = store

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._store.close()

    def count(self) -> int:
        """Return the number of points (views and means, not pictures)."""
        return self._store.count(self.collection)

    def search(
        self, vectors: NDArray[np.float32], *, top_k: int = 100, exact: bool = False, where: Where | None = None
    ) -> Neighbours:
        """Return the most similar pictures of each query.

        Args:
            vectors: `[q, 512]` unit vectors of the same model.
            top_k: Pictures per query (paper §3.3: 100); a smaller gallery gives what it has.
            exact: Compare with every point, as evaluation does, instead of walking the graph.
            where: Only pictures of these prefectures and sources; the engine itself leaves the others out, so there are
                `top_k` as long as there are that many.

        Returns:
            Arrays `[q, k]`; ties are broken by the points' numbers, so the same search gives the same answer. A query that
            found fewer pictures than another ends with absent neighbours.

        Raises:
            CollectionError: The vectors have another length, or are not finite.
        """
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != EMBEDDING_SIZE or not np.isfinite(vectors).all():
            raise CollectionError(
                collection=self.collection,
                reason=f"was asked with an array of shape {vectors.shape}, or with numbers that are not finite",
                cure=f"ask with [n, {EMBEDDING_SIZE}] vectors of Embedder.embed_views",
            )
        vectors = self._space.turned(vectors)
        every = where.filters() if where is not None else {}
        less_hubs = bool(self._about.get("less_hubs"))
        pictures = top_k * HUBS_BESIDE if less_hubs else top_k
        limit = pictures * int(self._about["points_of_a_picture"])
        store, name = self._store, self.collection
        if exact and len(vectors) >= MANY_QUERIES:
            found = search_all(store, name, vectors, limit=limit, every=every)
        else:
            breadth = max(FILTERED_BREADTH if every else BREADTH, limit)
            found = []
            for start in range(0, len(vectors), QUERIES):
                some = vectors[start : start + QUERIES]
                found += store.search(name, some, limit=limit, exact=exact, breadth=breadth, every=every)
        best = [best_points(points, pictures) for points in found]
        if less_hubs:
            best = without_hubs(store, name, best, top_k=top_k)
        return as_neighbours(store, name, best, labels=self._about["labels"])

    @cached_property
    def _space(self) -> Space:
        return Space.from_dict(self._about.get("space", {}))

    @cached_property
    def _about(self) -> dict[str, Any]:
        return self._store.about(self.collection)


def open_gallery(location: GalleryLocation) -> Gallery:
    """Return the live collection, open for searching.

    Args:
        location: Where the gallery is.

    Returns:
        The gallery; it stays on this collection when another one becomes live.

    Raises:
        CollectionError: No collection is live.
    """
    store = location.store()
    name = store.live()
    if not name:
        store.close()
        raise CollectionError(
            collection="photos", reason=f"is not there yet ({location.label})", cure="materialise `qdrant_collection` first"
        )
    return Gallery(store, name)


def build_gallery(
    embeddings: pd.DataFrame | Parts,
    *,
    location: GalleryLocation,
    pictures: pd.DataFrame | None = None,
    points: Points = "all",
    compare: Compare | None = None,
    progress: Progress | None = None,
) -> str:
    """Build a collection beside the live one, check it, and swap it in; searches never see half of it.

    The collection that was live stays for a way back (`roll_back`); older ones go. When the live one holds these very points
    with these very labels, nothing is done. One process builds at a time.

    Args:
        embeddings: `image_embeddings` of all partitions, of one model; or a function that gives them table by table, each
            time it is called, so that they need not all be in memory.
        location: Where the gallery is.
        pictures: One row a picture: image_id, source, source_image_id, capture_group, prefecture_code, municipality_code,
            town_code, split; missing values allowed but for image_id. Without it, searches cannot filter nor name areas.
        points: Which embeddings become points: a query is one view or a whole, so `all` finds both; `views` or `mean` save
            room.
        compare: Whether similarities are taken in a whitened space, or less hubs; None for the model's own.
        progress: Told how many points there are, and how many are in.

    Returns:
        The collection's name.

    Raises:
        CollectionError: There is nothing to hold, models are mixed, pictures are of the test split, vectors are broken, or
            the checks fail; the live collection stays as it was.
    """
    from geoloc_pipeline.retrieval.gallery.build import build_in_store  # pandas, which `locate` need not wait for

    with closing(location.store()) as store:
        return build_in_store(embeddings, store, pictures=pictures, points=points, compare=compare, progress=progress)


def roll_back(location: GalleryLocation) -> str:
    """Make the collection live that was live before; once more, and the newer one is live again.

    Args:
        location: Where the gallery is.

    Returns:
        The name of the collection that is live now.

    Raises:
        CollectionError: None was kept, or it is damaged; the live one stays.
    """
    with closing(location.store()) as store:
        previous = store.previous()
        if not previous:
            cure = "nothing to do: a way back is kept as soon as a second gallery has been built"
            raise CollectionError(collection="photos", reason="has no collection of before", cure=cure)
        store.count(previous)  # opens it: an alias must not point at what cannot answer
        store.point_live_at(previous)
        return previous


def forget_pictures(
    location: GalleryLocation, *, source_image_ids: Sequence[str] = (), capture_groups: Sequence[str] = ()
) -> int:
    """Remove the points of pictures from every collection that is kept, and what attempts that died have left altogether.

    A later build brings them back only if they are handed over again. A server answers without them at once; in a folder, a
    gallery that is open keeps what it has until it is opened again.

    Args:
        location: Where the gallery is.
        source_image_ids: Ids that pictures have at their source.
        capture_groups: Such as `mapillary:<sequence>`.

    Returns:
        How many points were removed from the live collection and the way back.

    Raises:
        CollectionError: A collection cannot be changed; it stays as it was, and the same call goes on from there.
    """
    wanted = {"source_image_id": tuple(source_image_ids), "capture_group": tuple(capture_groups)}
    either = {key: values for key, values in wanted.items() if values}
    if not either:
        return 0
    with closing(location.store()) as store:
        kept = [name for name in (store.live(), store.previous()) if name]
        for name in store.names():
            if name not in kept:
                store.remove(name)
        return sum(store.forget(name, either=either) for name in kept)

"""The gallery: every learned picture as points in Qdrant, built beside the old one and swapped in when it is whole.

A collection is named after the model and the pictures that it holds, and an alias says which one is live. Points are the views
of a picture and their mean; a search returns pictures, each once, with the similarity of its best point.

Paper: §3.3 (Qdrant, cosine similarity, the 100 best).
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery_edge import EdgeStore
from geoloc_pipeline.retrieval.neighbours import Neighbours
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import pandas as pd
    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery_store import Hit, Store
    from geoloc_pipeline.storage.progress import Progress

Points = Literal["all", "views", "mean"]

BREADTH = 256  # HNSW's ef: recall@100 of 0.997 at 100,000 points
POINTS_OF_A_PICTURE = 5  # four views and their mean
UPLOAD = 500
QUERIES = 100
CANARIES = 16
_CURE = "materialise `image_embeddings` of every partition, then `qdrant_collection`, again"


@dataclass(frozen=True)
class GalleryLocation:
    """Where a gallery is: on a Qdrant server, or in a folder.

    Attributes:
        folder: Of the embedded engine; used when there is no `url`.
        url: Of a server.
        api_key: For the server; never shown.
    """

    folder: Path | None = None
    url: str = ""
    api_key: str = field(default="", repr=False)

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
            from geoloc_pipeline.retrieval.gallery_server import ServerStore, connect  # a second that `locate` need not wait

            return ServerStore(connect(self.url, api_key=self.api_key), url=self.label)
        if self.folder is None:
            raise CollectionError(collection="photos", reason="has neither folder nor server", cure="set GEOLOC_QDRANT_URL")
        return EdgeStore(self.folder)


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

    def search(self, vectors: NDArray[np.float32], *, top_k: int = 100, exact: bool = False) -> Neighbours:
        """Return the most similar pictures of each query.

        Args:
            vectors: `[q, 512]` unit vectors of the same model.
            top_k: Pictures per query (paper §3.3: 100); a smaller gallery gives what it has.
            exact: Compare with every point, as evaluation does, instead of walking the graph.

        Returns:
            Arrays `[q, k]`; ties are broken by image_id, so the same search gives the same answer.

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
        limit = top_k * POINTS_OF_A_PICTURE
        rows = []
        for start in range(0, len(vectors), QUERIES):
            some = vectors[start : start + QUERIES]
            found = self._store.search(self.collection, some, limit=limit, exact=exact, breadth=max(BREADTH, limit))
            rows += [_pictures(hits, top_k) for hits in found]
        return _neighbours(rows)


def _pictures(hits: list[Hit], top_k: int) -> list[Hit]:
    """Return the best hit of each picture, best first."""
    best: dict[str, Hit] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.payload["image_id"], hit.payload["view"])):
        best.setdefault(hit.payload["image_id"], hit)
    return list(best.values())[:top_k]


def _neighbours(rows: list[list[Hit]]) -> Neighbours:
    width = min((len(row) for row in rows), default=0)
    shape = (len(rows), width)

    def gathered(key: str, kind: type) -> NDArray[Any]:
        return np.array([[hit.payload[key] for hit in row[:width]] for row in rows], dtype=kind).reshape(shape)

    return Neighbours(
        image_id=gathered("image_id", object),
        lat=gathered("lat", np.float64),
        lon=gathered("lon", np.float64),
        score=np.array([[hit.score for hit in row[:width]] for row in rows], dtype=np.float32).reshape(shape),
    )


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
    embeddings: pd.DataFrame, *, location: GalleryLocation, points: Points = "all", progress: Progress | None = None
) -> str:
    """Build a collection beside the live one, check it, and swap it in; searches never see half of it.

    The collection that was live stays for a way back; older ones go. When the live one holds these very points, nothing is
    done.

    Args:
        embeddings: `image_embeddings` of all partitions, of one model.
        location: Where the gallery is.
        points: Which embeddings become points: a query is one view or a whole, so `all` finds both; `views` or `mean` save
            room.
        progress: Told how many points there are, and how many are in.

    Returns:
        The collection's name.

    Raises:
        CollectionError: There is nothing to hold, models are mixed, vectors are broken, or the checks fail; the live
            collection stays as it was.
    """
    store = location.store()
    try:
        return build_in_store(embeddings, store, points=points, progress=progress)
    finally:
        store.close()


def build_in_store(embeddings: pd.DataFrame, store: Store, *, points: Points = "all", progress: Progress | None = None) -> str:
    """Build a collection in a store that is open already; see `build_gallery`."""
    rows = _chosen(embeddings, points)
    vectors = _vectors(rows)
    name = _name(rows, vectors)
    live = store.live()
    if live == name and _is_whole(store, name, len(rows)):
        return name
    _fill(store, name, rows, vectors, progress=progress)
    _check(store, name, rows, vectors)
    store.point_live_at(name)
    for older in store.names():
        if older not in {name, live}:
            store.remove(older)
    return name


def _is_whole(store: Store, name: str, points: int) -> bool:
    try:
        return store.count(name) == points
    except CollectionError:  # damaged: it is built again
        return False


def _chosen(embeddings: pd.DataFrame, points: Points) -> pd.DataFrame:
    rows = embeddings
    if points == "views":
        rows = rows[rows["view"] != "mean"]
    elif points == "mean":
        rows = rows[rows["view"].isin(["mean", "photo"])]
    versions = sorted(set(rows["model_version"]))
    if len(versions) != 1:
        reason = f"would mix the models {', '.join(versions)}" if versions else "would be empty: there is no embedding"
        raise CollectionError(collection="photos", reason=reason, cure=_CURE)
    return rows.sort_values(["image_id", "view"], ignore_index=True)


def _vectors(rows: pd.DataFrame) -> NDArray[np.float32]:
    vectors = np.stack(rows["embedding"].to_list()).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) < 1e-3))
    if len(wrong):
        first = rows.iloc[int(wrong[0])]
        reason = f"{len(wrong)} vectors are not of unit length, such as that of {first['image_id']} {first['view']}"
        raise CollectionError(collection="photos", reason=reason, cure=_CURE)
    return vectors


def _name(rows: pd.DataFrame, vectors: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(vectors.tobytes())
    digest.update(rows[["lat", "lon"]].to_numpy(dtype=np.float64).tobytes())
    digest.update("\n".join(rows["image_id"] + " " + rows["view"]).encode())
    return f"photos__{rows['model_version'].iloc[0]}__{digest.hexdigest()[:8]}"


def _fill(store: Store, name: str, rows: pd.DataFrame, vectors: NDArray[np.float32], *, progress: Progress | None) -> None:
    store.create(name)
    columns = (rows[column].tolist() for column in ("image_id", "view", "lat", "lon"))
    payloads = [
        {"image_id": image_id, "view": view, "lat": lat, "lon": lon, "location": {"lat": lat, "lon": lon}}
        for image_id, view, lat, lon in zip(*columns, strict=True)
    ]
    ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"{told['image_id']}/{told['view']}")) for told in payloads]
    for start in range(0, len(ids), UPLOAD):
        part = slice(start, start + UPLOAD)
        store.add(name, ids=ids[part], vectors=vectors[part], payloads=payloads[part])
        if progress is not None:
            progress.tell(min(start + UPLOAD, len(ids)), total=len(ids), unit="points")
    store.finish(name)


def _check(store: Store, name: str, rows: pd.DataFrame, vectors: NDArray[np.float32]) -> None:
    """Raise unless every point is in, and some of them, asked for by their own vector, are found.

    Raises:
        CollectionError: A point is missing.
    """
    found = store.count(name)
    if found != len(rows):
        raise CollectionError(collection=name, reason=f"holds {found} points of {len(rows)}", cure=_CURE)
    canaries = np.random.default_rng(len(rows)).choice(len(rows), min(CANARIES, len(rows)), replace=False)
    answers = store.search(name, vectors[canaries], limit=10, exact=False, breadth=BREADTH)
    for canary, hits in zip(canaries, answers, strict=True):
        own = rows["image_id"].iloc[int(canary)]
        twins = bool(hits) and hits[-1].score > hits[0].score - 1e-6  # ten points with one and the same vector
        if not hits or hits[0].score < 1.0 - 1e-3 or not (twins or any(hit.payload["image_id"] == own for hit in hits)):
            raise CollectionError(collection=name, reason=f"does not find {own} by its own vector", cure=_CURE)

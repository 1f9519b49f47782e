"""The gallery on a Qdrant server, over its own client.

The alias `photos` is the live collection and `photos_previous` the way back; both are moved in one request, so a search never
sees none or two. Points come in while indexing is put off; the index is built once, and waited for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import numpy as np
from qdrant_client import QdrantClient, models

from geoloc_pipeline.errors import CollectionError, SettingError
from geoloc_pipeline.retrieval.gallery.faults import server_faults
from geoloc_pipeline.retrieval.gallery.store import (
    EXACT_BELOW_POINTS,
    HNSW_CONSTRUCTION,
    HNSW_LINKS,
    KEYWORDS,
    OVERSAMPLING,
    TOLD,
    Found,
)
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.store import Filters

ALIAS = "photos"
PREVIOUS = "photos_previous"
GRPC_PORT = 6334
TIMEOUT_S = 60
INDEXING_TIMEOUT_S = 6 * 3600
SCAN = 1000
_SETTINGS = ("grpc_port", "timeout_s")


def connect(url: str, *, api_key: str = "") -> QdrantClient:
    """Return a client for the server at `url`; nothing is asked of it yet.

    Args:
        url: Such as `http://localhost:6333?grpc_port=6334&timeout_s=120`: with `grpc_port`, vectors travel over gRPC, which is
            several times faster; `timeout_s` (60) is for one request.
        api_key: Empty for none; never shown.

    Returns:
        The client.

    Raises:
        SettingError: The address has a setting that is not known, or is not a number.
    """
    parts = urlsplit(url)
    told = dict(parse_qsl(parts.query))
    if not set(told) <= set(_SETTINGS) or not all(value.isdigit() and int(value) for value in told.values()):
        cure = f"after the address it knows {' and '.join(_SETTINGS)}, each a whole number"
        raise SettingError(setting="GEOLOC_QDRANT_URL's query", value=parts.query, cure=cure)
    return QdrantClient(
        url=urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
        api_key=api_key or None,
        prefer_grpc="grpc_port" in told,
        grpc_port=int(told.get("grpc_port", GRPC_PORT)),
        timeout=int(told.get("timeout_s", TIMEOUT_S)),
        check_compatibility=False,
    )


class ServerStore:
    """Collections on a server.

    Attributes:
        url: For messages.
        is_quantised: Whether collections that are begun here keep int8 copies of their vectors to walk the graph with.
    """

    def __init__(self, client: QdrantClient, *, url: str, is_quantised: bool = False) -> None:
        self.url = url
        self.is_quantised = is_quantised
        self._client = client

    def live(self) -> str:
        """Return the collection behind the alias; empty when there is none."""
        return self._aliases().get(ALIAS, "")

    def previous(self) -> str:
        """Return the collection that was live before; empty when there is none."""
        return self._aliases().get(PREVIOUS, "")

    def names(self) -> list[str]:
        """Return the names of our collections, sorted; what an attempt that died has left is among them."""
        with server_faults(self.url, collection=ALIAS):
            found = self._client.get_collections().collections
        return sorted(collection.name for collection in found if collection.name.startswith(f"{ALIAS}__"))

    def create(self, name: str, *, about: Mapping[str, Any], points: int = 0) -> None:  # noqa: ARG002 - its disk is its own
        """Begin a collection, without its index while points come in."""
        self.remove(name)
        int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        with server_faults(self.url, collection=name):
            self._client.create_collection(
                name,
                vectors_config=models.VectorParams(size=EMBEDDING_SIZE, distance=models.Distance.COSINE),
                hnsw_config=models.HnswConfigDiff(m=HNSW_LINKS, payload_m=0, ef_construct=HNSW_CONSTRUCTION),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
                quantization_config=models.ScalarQuantization(scalar=int8) if self.is_quantised else None,
                metadata=dict(about),
            )

    def add(self, name: str, *, numbers: Sequence[int], vectors: NDArray[np.float32], payloads: Sequence[Any]) -> None:
        """Add points to a collection that was begun."""
        batch = models.Batch(ids=list(numbers), vectors=vectors.tolist(), payloads=list(payloads))
        with server_faults(self.url, collection=name):
            self._client.upsert(name, points=batch, wait=True)

    def finish(self, name: str) -> None:
        """Build the indexes and wait until the server has done so.

        Args:
            name: Of the collection.

        Raises:
            CollectionError: Indexing failed, as on a full disk, or is not done after six hours.
        """
        threshold = models.OptimizersConfigDiff(indexing_threshold=EXACT_BELOW_POINTS * EMBEDDING_SIZE * 4 // 1024)
        with server_faults(self.url, collection=name):
            self._client.create_payload_index(name, "location", models.PayloadSchemaType.GEO)
            for field in KEYWORDS:
                self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)
            self._client.update_collection(name, optimizers_config=threshold)
            until_s = time.monotonic() + INDEXING_TIMEOUT_S
            while not self._is_indexed(name):
                if time.monotonic() > until_s:
                    raise CollectionError(collection=name, reason="is still being indexed", cure="look at the server's log")
                time.sleep(1.0)

    def about(self, name: str) -> dict[str, Any]:
        """Return what was kept about a collection when it was begun.

        Args:
            name: Of the collection.

        Returns:
            As it was handed to `create`.

        Raises:
            CollectionError: It is not there, or was built before anything was kept.
        """
        with server_faults(self.url, collection=name):
            told = self._client.get_collection(name).config.metadata
        if not told:
            raise CollectionError(
                collection=name, reason="was built by an older version", cure="materialise `qdrant_collection` again"
            )
        return dict(told)

    def count(self, name: str) -> int:
        """Return the number of points of a collection."""
        with server_faults(self.url, collection=name):
            return int(self._client.count(name, exact=True).count)

    def search(
        self, name: str, vectors: NDArray[np.float32], *, limit: int, exact: bool, breadth: int, every: Filters
    ) -> list[Found]:
        """Return the `limit` most similar points of each vector that pass every filter; `breadth` is HNSW's ef."""
        how = models.SearchParams(
            exact=exact,
            hnsw_ef=breadth,
            quantization=models.QuantizationSearchParams(ignore=exact, rescore=True, oversampling=OVERSAMPLING),
            acorn=models.AcornSearchParams(enable=True, max_selectivity=1.0) if every else None,
        )
        wanted = models.Filter(must=_conditions(every)) if every else None
        requests = [
            models.QueryRequest(query=vector, limit=limit, with_payload=False, params=how, filter=wanted)
            for vector in vectors.tolist()
        ]
        with server_faults(self.url, collection=name):
            answers = self._client.query_batch_points(name, requests=requests)
        return [
            Found(
                numbers=np.array([point.id for point in answer.points], dtype=np.uint64),
                scores=np.array([point.score for point in answer.points], dtype=np.float32),
            )
            for answer in answers
        ]

    def payloads(self, name: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the fields `TOLD` of points by their number."""
        with server_faults(self.url, collection=name):
            records = self._client.retrieve(name, ids=list(numbers), with_payload=list(TOLD))
        return {int(record.id): record.payload or {} for record in records}

    def scan(self, name: str, *, every: Filters) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float32]]]:
        """Yield numbers and unit vectors of all points that pass every filter, in batches, by number."""
        wanted = models.Filter(must=_conditions(every)) if every else None
        place: Any = None
        while True:
            with server_faults(self.url, collection=name):
                records, place = self._client.scroll(
                    name, scroll_filter=wanted, limit=SCAN, offset=place, with_payload=False, with_vectors=True
                )
            if records:
                numbers = np.array([record.id for record in records], dtype=np.uint64)
                yield numbers, np.array([record.vector for record in records], dtype=np.float32)
            if place is None:
                return

    def point_live_at(self, name: str) -> None:
        """Move both aliases in one request."""
        aliases = self._aliases()
        live = aliases.get(ALIAS, "")
        if live == name:
            return
        steps: list[Any] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)) for alias in sorted(aliases)
        ]
        for alias, collection in ((ALIAS, name), (PREVIOUS, live)):
            if collection:
                create = models.CreateAlias(collection_name=collection, alias_name=alias)
                steps.append(models.CreateAliasOperation(create_alias=create))
        with server_faults(self.url, collection=name):
            self._client.update_collection_aliases(change_aliases_operations=steps)

    def forget(self, name: str, *, either: Filters) -> int:
        """Remove the points that match at least one filter; the server answers throughout, without them."""
        wanted = models.Filter(should=_conditions(either))
        with server_faults(self.url, collection=name):
            found = int(self._client.count(name, count_filter=wanted, exact=True).count)
            if found:
                self._client.delete(name, points_selector=models.FilterSelector(filter=wanted), wait=True)
        return found

    def remove(self, name: str) -> None:
        """Remove a collection; nothing happens when there is none."""
        with server_faults(self.url, collection=name):
            if self._client.collection_exists(name):
                self._client.delete_collection(name)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _aliases(self) -> dict[str, str]:
        with server_faults(self.url, collection=ALIAS):
            found = self._client.get_aliases().aliases
        return {alias.alias_name: alias.collection_name for alias in found if alias.alias_name in {ALIAS, PREVIOUS}}

    def _is_indexed(self, name: str) -> bool:
        state = self._client.get_collection(name)
        if state.status == models.CollectionStatus.RED:
            reason = f"the server could not index it: {str(state.optimizer_status)[:200]}"
            raise CollectionError(collection=name, reason=reason, cure="look at the server's disk and log, then run again")
        # green alone may only mean that it has not begun
        has_begun = (state.points_count or 0) <= EXACT_BELOW_POINTS or (state.indexed_vectors_count or 0) > 0
        return bool(state.status == models.CollectionStatus.GREEN and has_begun)


def _conditions(filters: Filters) -> list[Any]:
    return [models.FieldCondition(key=key, match=models.MatchAny(any=list(values))) for key, values in filters.items()]

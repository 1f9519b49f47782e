"""The gallery on a Qdrant server, over its own client.

The alias `photos` is the live collection; it is moved in one request, so a search never sees none or two.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from geoloc_pipeline.errors import CollectionError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.retrieval.gallery_store import EXACT_BELOW_POINTS, HNSW_CONSTRUCTION, HNSW_LINKS, Hit
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

ALIAS = "photos"
TIMEOUT_S = 60
INDEXING_TIMEOUT_S = 6 * 3600
_SERVICE = "Qdrant"
_FORBIDDEN = (401, 403)


@contextmanager
def _server_faults(url: str) -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in _FORBIDDEN:
            raise SourceRefusedError(
                service=_SERVICE, reason=f"status {error.status_code}", cure="set GEOLOC_QDRANT_API_KEY to a key that may write"
            ) from error
        reason = f"the server says {error.status_code} {error.reason_phrase}"
        raise CollectionError(collection=ALIAS, reason=reason, cure="look at the server's log") from error
    except (ApiException, ResponseHandlingException, httpx.HTTPError) as error:
        raise SourceUnavailableError(service=_SERVICE, url=url, reason=str(error)) from error


def connect(url: str, *, api_key: str = "") -> QdrantClient:
    """Return a client for the server at `url`; nothing is asked of it yet."""
    return QdrantClient(url=url, api_key=api_key or None, timeout=TIMEOUT_S, check_compatibility=False)


class ServerStore:
    """Collections on a server.

    Attributes:
        url: For messages.
    """

    def __init__(self, client: QdrantClient, *, url: str) -> None:
        self.url = url
        self._client = client

    def live(self) -> str:
        """Return the collection behind the alias; empty when there is none."""
        with _server_faults(self.url):
            aliases = self._client.get_aliases().aliases
        return next((alias.collection_name for alias in aliases if alias.alias_name == ALIAS), "")

    def names(self) -> list[str]:
        """Return the names of our collections, sorted; what an attempt that died has left is among them."""
        with _server_faults(self.url):
            found = self._client.get_collections().collections
        return sorted(collection.name for collection in found if collection.name.startswith(f"{ALIAS}__"))

    def create(self, name: str) -> None:
        """Begin a collection, without its index while points come in."""
        self.remove(name)
        with _server_faults(self.url):
            self._client.create_collection(
                name,
                vectors_config=models.VectorParams(size=EMBEDDING_SIZE, distance=models.Distance.COSINE),
                hnsw_config=models.HnswConfigDiff(m=HNSW_LINKS, ef_construct=HNSW_CONSTRUCTION),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
            )

    def add(self, name: str, *, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[dict[str, Any]]) -> None:
        """Add points to a collection that was begun."""
        batch = models.Batch(ids=list(ids), vectors=vectors.tolist(), payloads=list(payloads))
        with _server_faults(self.url):
            self._client.upsert(name, points=batch, wait=True)

    def finish(self, name: str) -> None:
        """Build the indexes and wait until the server has done so.

        Args:
            name: Of the collection.

        Raises:
            CollectionError: The server is not done after six hours.
        """
        threshold = models.OptimizersConfigDiff(indexing_threshold=EXACT_BELOW_POINTS * EMBEDDING_SIZE * 4 // 1024)
        with _server_faults(self.url):
            self._client.create_payload_index(name, "location", models.PayloadSchemaType.GEO)
            self._client.create_payload_index(name, "image_id", models.PayloadSchemaType.KEYWORD)
            self._client.update_collection(name, optimizers_config=threshold)
            until_s = time.monotonic() + INDEXING_TIMEOUT_S
            while self._client.get_collection(name).status != models.CollectionStatus.GREEN:
                if time.monotonic() > until_s:
                    raise CollectionError(collection=name, reason="is still being indexed", cure="look at the server's log")
                time.sleep(1.0)

    def count(self, name: str) -> int:
        """Return the number of points of a collection."""
        with _server_faults(self.url):
            return int(self._client.count(name, exact=True).count)

    def search(self, name: str, vectors: NDArray[np.float32], *, limit: int, exact: bool, breadth: int) -> list[list[Hit]]:
        """Return the `limit` most similar points of each vector, best first; `breadth` is HNSW's ef."""
        how = models.SearchParams(exact=exact, hnsw_ef=breadth)
        requests = [
            models.QueryRequest(query=vector, limit=limit, with_payload=True, params=how) for vector in vectors.tolist()
        ]
        with _server_faults(self.url):
            answers = self._client.query_batch_points(name, requests=requests)
        return [[Hit(score=point.score, payload=point.payload or {}) for point in answer.points] for answer in answers]

    def point_live_at(self, name: str) -> None:
        """Move the alias in one request."""
        steps: list[Any] = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=ALIAS))
        ]
        if self.live():
            steps.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=ALIAS)))
        with _server_faults(self.url):
            self._client.update_collection_aliases(change_aliases_operations=steps)

    def remove(self, name: str) -> None:
        """Remove a collection; nothing happens when there is none."""
        with _server_faults(self.url):
            if self._client.collection_exists(name):
                self._client.delete_collection(name)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

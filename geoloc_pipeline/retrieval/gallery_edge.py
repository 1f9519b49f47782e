"""The gallery in a folder: Qdrant Edge, the engine of Qdrant inside this process.

A collection is a folder that is never changed once it stands; a file beside it says how many points it holds, and `alias.json`
which collection is live. The engine's write-ahead log is off: nothing is written after a collection is whole, and the log's
lock would keep a second process (a search page, an evaluation) from reading it.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import qdrant_edge as engine

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery_store import EXACT_BELOW_POINTS, HNSW_CONSTRUCTION, HNSW_LINKS, Hit
from geoloc_pipeline.storage.atomic import disk_errors, write_text
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

_KIB_PER_POINT = EMBEDDING_SIZE * 4 // 1024
_CURE = "remove its folder and materialise `qdrant_collection` again"


class _EngineFaults:
    """Translates the engine's faults, which are all bare `Exception`, into ours; every other class passes."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is Exception:
            raise CollectionError(collection=self._collection, reason=str(error), cure=_CURE) from error


class EdgeStore:
    """Collections in a folder.

    Attributes:
        folder: Holds `alias.json` and one folder for each collection.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, engine.EdgeShard] = {}

    def live(self) -> str:
        """Return the name of the live collection; empty when there is none."""
        try:
            return str(json.loads((self.folder / "alias.json").read_text(encoding="utf-8"))["live"])
        except FileNotFoundError:
            return ""

    def names(self) -> list[str]:
        """Return the names of the collections, sorted; what an attempt that died has left is among them."""
        return sorted(path.name for path in self.folder.glob("photos__*") if path.is_dir())

    def create(self, name: str) -> None:
        """Begin a collection; what an attempt that died has left of it is removed."""
        self.remove(name)
        with disk_errors(self.folder):
            (self.folder / name).mkdir(parents=True)
        config = engine.EdgeConfig(
            vectors=engine.EdgeVectorParams(size=EMBEDDING_SIZE, distance=engine.Distance.Cosine),
            hnsw_config=engine.HnswIndexConfig(
                m=HNSW_LINKS, ef_construct=HNSW_CONSTRUCTION, full_scan_threshold=EXACT_BELOW_POINTS * _KIB_PER_POINT
            ),
            optimizers=engine.EdgeOptimizersConfig(indexing_threshold=EXACT_BELOW_POINTS * _KIB_PER_POINT),
            wal_enabled=False,
        )
        with _EngineFaults(name):
            self._open[name] = engine.EdgeShard.create(str(self.folder / name), config)

    def add(self, name: str, *, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[dict[str, Any]]) -> None:
        """Add points to a collection that was begun."""
        points = [
            engine.Point(id=point, vector=vector, payload=payload)
            for point, vector, payload in zip(ids, vectors.tolist(), payloads, strict=True)
        ]
        with _EngineFaults(name), disk_errors(self.folder):
            self._open[name].update(engine.UpdateOperation.upsert_points(points))

    def finish(self, name: str) -> None:
        """Make a collection that was begun durable and quick to search; from now on it counts as whole."""
        with _EngineFaults(name), disk_errors(self.folder):
            shard = self._open[name]
            shard.update(engine.UpdateOperation.create_field_index("location", engine.PayloadSchemaType.Geo))
            shard.update(engine.UpdateOperation.create_field_index("image_id", engine.PayloadSchemaType.Keyword))
            shard.flush()
            shard.optimize()
            shard.flush()
            points = shard.count(engine.CountRequest(exact=True))
        write_text(self.folder / f"{name}.json", json.dumps({"points": points}))

    def count(self, name: str) -> int:
        """Return the number of points of a collection."""
        with _EngineFaults(name):
            return int(self._shard(name).count(engine.CountRequest(exact=True)))

    def search(self, name: str, vectors: NDArray[np.float32], *, limit: int, exact: bool, breadth: int) -> list[list[Hit]]:
        """Return the `limit` most similar points of each vector, best first; `breadth` is HNSW's ef."""
        how = engine.SearchParams(exact=exact, hnsw_ef=breadth)
        requests = [
            engine.QueryRequest(limit=limit, query=engine.Query.Nearest(vector), with_payload=True, params=how)
            for vector in vectors.tolist()
        ]
        with _EngineFaults(name):
            found = self._shard(name).query_batch(engine.QueryBatchRequest(requests))
        return [[Hit(score=point.score, payload=point.payload or {}) for point in points] for points in found]

    def point_live_at(self, name: str) -> None:
        """Make a collection the live one: one rename."""
        write_text(self.folder / "alias.json", json.dumps({"live": name}))

    def remove(self, name: str) -> None:
        """Remove a collection; its note goes first, so that half a collection never counts as whole."""
        if name in self._open:
            self._open.pop(name).close()
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """Let go of every collection that was opened."""
        while self._open:
            self._open.popitem()[1].close()

    def _shard(self, name: str) -> engine.EdgeShard:
        """Return a whole collection, opened; the engine itself would open an empty folder without a word.

        Raises:
            CollectionError: It is not there, or not whole.
        """
        if name not in self._open:
            note = self.folder / f"{name}.json"
            if not note.is_file() or not (self.folder / name).is_dir():
                raise CollectionError(collection=name, reason=f"is not in {self.folder}", cure=_CURE)
            shard = engine.EdgeShard.load(str(self.folder / name))
            wanted, found = json.loads(note.read_text(encoding="utf-8"))["points"], shard.count(engine.CountRequest(exact=True))
            if wanted != found:
                shard.close()
                raise CollectionError(collection=name, reason=f"holds {found} points and should hold {wanted}", cure=_CURE)
            self._open[name] = shard
        return self._open[name]

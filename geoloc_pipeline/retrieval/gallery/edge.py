"""The gallery in a folder: Qdrant Edge, the engine of Qdrant inside this process.

A collection is a folder that is never changed once it stands; a file beside it says how many points it holds, and `alias.json`
which collection is live. The engine's write-ahead log is off: nothing is written after a collection is whole, and the log's
lock would keep a second process (a search page, an evaluation) from reading it. So points are deleted in a copy, which then
takes the place of the collection: whoever has the old one open keeps it until they open the gallery again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import qdrant_edge as engine

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.store import (
    EXACT_BELOW_POINTS,
    HNSW_CONSTRUCTION,
    HNSW_LINKS,
    KEYWORDS,
    OVERSAMPLING,
    TOLD,
    Found,
)
from geoloc_pipeline.storage.atomic import disk_errors, ensure_room, write_text
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.store import Filters

SCAN = 2000
_THRESHOLD_KIB = EXACT_BELOW_POINTS * EMBEDDING_SIZE * 4 // 1024
_ONE_SEGMENT_KIB = 1 << 40  # one graph is walked once; each further segment would be walked as well
_VECTORS = engine.EdgeVectorParams(size=EMBEDDING_SIZE, distance=engine.Distance.Cosine)
_PAYLOADS = engine.Memory.Cached  # read in at once: page by page, a hundred payloads that were never read take 5 ms, not 1
_POINT_BYTES = 3 * EMBEDDING_SIZE * 4
"""Disk that a point takes while its collection is built: a segment, the one that takes its place, graph and payload."""
_EMPTY_BYTES = 32 * 2**20
_CURE = "remove its folder and materialise `qdrant_collection` again"
_FULL = ("No space left", "File too large", "quota")


class _EngineFaults:
    """Translates the engine's faults, which are all bare `Exception` or a panic, into ours; every other class passes."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and (kind is Exception or kind.__name__ == "PanicException"):
            is_full = any(sign in str(error) for sign in _FULL)
            cure = "free some space on its disk, then run the same step again" if is_full else _CURE
            raise CollectionError(collection=self._collection, reason=str(error), cure=cure) from error


class EdgeStore:
    """Collections in a folder.

    Attributes:
        folder: Holds `alias.json` and one folder for each collection.
        is_quantised: Whether collections that are begun here keep int8 copies of their vectors to walk the graph with.
    """

    def __init__(self, folder: Path, *, is_quantised: bool = False) -> None:
        self.folder = folder
        self.is_quantised = is_quantised
        self._open: dict[str, engine.EdgeShard] = {}
        self._about: dict[str, dict[str, Any]] = {}

    def live(self) -> str:
        """Return the name of the live collection; empty when there is none."""
        return self._alias().get("live", "")

    def previous(self) -> str:
        """Return the name of the collection that was live before; empty when there is none."""
        return self._alias().get("previous", "")

    def names(self) -> list[str]:
        """Return the names of the collections, sorted; what an attempt that died has left is among them."""
        return sorted(path.name for path in self.folder.glob("photos__*") if path.is_dir())

    def create(self, name: str, *, about: Mapping[str, Any], points: int = 0) -> None:
        """Begin a collection; what an attempt that died has left of it is removed.

        Raises:
            HomeError: The disk has no room for so many points. The engine writes through mapped memory, where a disk that is
                full ends the whole process.
        """
        self.remove(name)
        ensure_room(self.folder, points * _POINT_BYTES + _EMPTY_BYTES)
        with disk_errors(self.folder):
            (self.folder / name).mkdir(parents=True)
        with _EngineFaults(name):
            self._open[name] = engine.EdgeShard.create(str(self.folder / name), self._config())
        self._about[name] = dict(about)

    def add(self, name: str, *, numbers: Sequence[int], vectors: NDArray[np.float32], payloads: Sequence[Any]) -> None:
        """Add points to a collection that was begun."""
        points = [
            engine.Point(id=number, vector=vector, payload=payload)
            for number, vector, payload in zip(numbers, vectors.tolist(), payloads, strict=True)
        ]
        with _EngineFaults(name), disk_errors(self.folder):
            self._open[name].update(engine.UpdateOperation.upsert_points(points))

    def finish(self, name: str) -> None:
        """Make a collection that was begun durable and quick to search; from now on it counts as whole."""
        with _EngineFaults(name), disk_errors(self.folder):
            shard = self._open[name]
            shard.update(engine.UpdateOperation.create_field_index("location", engine.PayloadSchemaType.Geo))
            for field in KEYWORDS:
                shard.update(engine.UpdateOperation.create_field_index(field, engine.PayloadSchemaType.Keyword))
            shard.optimize()
            shard.flush()
        self._note(name, shard)

    def about(self, name: str) -> dict[str, Any]:
        """Return what was kept about a collection when it was begun."""
        self._shard(name)
        return dict(self._about[name])

    def count(self, name: str) -> int:
        """Return the number of points of a collection."""
        with _EngineFaults(name):
            return int(self._shard(name).count(engine.CountRequest(exact=True)))

    def search(
        self, name: str, vectors: NDArray[np.float32], *, limit: int, exact: bool, breadth: int, every: Filters
    ) -> list[Found]:
        """Return the `limit` most similar points of each vector that pass every filter; `breadth` is HNSW's ef."""
        how = engine.SearchParams(
            exact=exact,
            hnsw_ef=breadth,
            quantization=engine.QuantizationSearchParams(ignore=exact, rescore=True, oversampling=OVERSAMPLING),
            acorn=engine.AcornSearchParams(enable=bool(every), max_selectivity=1.0),
        )
        wanted = engine.Filter(must=_conditions(every)) if every else None
        requests = [
            engine.QueryRequest(limit=limit, query=engine.Query.Nearest(vector), with_payload=False, params=how, filter=wanted)
            for vector in vectors.tolist()
        ]
        with _EngineFaults(name):
            answers = self._shard(name).query_batch(engine.QueryBatchRequest(requests))
        return [
            Found(
                numbers=np.array([point.id for point in points], dtype=np.uint64),
                scores=np.array([point.score for point in points], dtype=np.float32),
            )
            for points in answers
        ]

    def payloads(self, name: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the fields `TOLD` of points by their number."""
        with _EngineFaults(name):
            records = self._shard(name).retrieve(list(numbers), with_payload=list(TOLD), with_vector=False)
            return {int(record.id): record.payload or {} for record in records}

    def scan(self, name: str, *, every: Filters) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float32]]]:
        """Yield numbers and unit vectors of all points that pass every filter, in batches, by number."""
        wanted = engine.Filter(must=_conditions(every)) if every else None
        place = None
        while True:
            request = engine.ScrollRequest(offset=place, limit=SCAN, filter=wanted, with_payload=False, with_vector=True)
            with _EngineFaults(name):
                records, place = self._shard(name).scroll(request)
            if records:
                numbers = np.array([record.id for record in records], dtype=np.uint64)
                yield numbers, np.array([record.vector for record in records], dtype=np.float32)
            if place is None:
                return

    def point_live_at(self, name: str) -> None:
        """Make a collection the live one: one rename."""
        live = self.live()
        if live != name:
            self._write_alias({"live": name, "previous": live})

    def forget(self, name: str, *, either: Filters) -> int:
        """Remove the points that match at least one filter: in a copy, under a name of its own, that takes the place.

        The engine only marks points as deleted; its vacuum, made as eager as it can be, then writes the vectors anew without
        them, and mends the graph instead of building another.
        """
        wanted = engine.Filter(should=_conditions(either))
        with _EngineFaults(name):
            found = int(self._shard(name).count(engine.CountRequest(filter=wanted, exact=True)))
        if not found:
            return 0
        told = json.dumps({field: sorted(values) for field, values in either.items()}, sort_keys=True)
        successor = f"{name.rpartition('__')[0]}__{hashlib.sha256((name + told).encode()).hexdigest()[:8]}"
        self.remove(successor)
        self._about[successor] = self.about(name)
        with disk_errors(self.folder):
            for path in sorted((self.folder / name).rglob("*")):
                copy = self.folder / successor / path.relative_to(self.folder / name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                if path.is_file():
                    shutil.copyfile(path, copy)
        with _EngineFaults(successor), disk_errors(self.folder):
            shard = engine.EdgeShard.load(str(self.folder / successor), self._config(deleted_threshold=1e-9, vacuum_from=1))
            self._open[successor] = shard
            shard.update(engine.UpdateOperation.delete_points_by_filter(wanted))
            shard.optimize()
            shard.flush()
        self._note(successor, shard)
        self._write_alias({kind: successor if kept == name else kept for kind, kept in self._alias().items()})
        self.remove(name)
        return found

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

    def _config(self, *, deleted_threshold: float | None = None, vacuum_from: int | None = None) -> engine.EdgeConfig:
        int8 = engine.ScalarQuantizationConfig(type=engine.ScalarType.Int8, quantile=0.99, always_ram=True)
        return engine.EdgeConfig(
            vectors=_VECTORS,
            payload_memory=_PAYLOADS,
            hnsw_config=engine.HnswIndexConfig(
                m=HNSW_LINKS,
                payload_m=0,  # no graph of its own for each value of each field: filtered walks (ACORN) do without
                ef_construct=HNSW_CONSTRUCTION,
                full_scan_threshold=_THRESHOLD_KIB,
            ),
            quantization_config=int8 if self.is_quantised else None,
            optimizers=engine.EdgeOptimizersConfig(
                default_segment_number=1,
                max_segment_size=_ONE_SEGMENT_KIB,
                indexing_threshold=_THRESHOLD_KIB,
                deleted_threshold=deleted_threshold,
                vacuum_min_vector_number=vacuum_from,
            ),
            wal_enabled=False,
        )

    def _alias(self) -> dict[str, str]:
        alias = _read_object(self.folder / "alias.json")
        if not all(isinstance(name, str) for name in alias.values()):
            raise CollectionError(collection="alias.json", reason=f"is spoilt in {self.folder}", cure=_CURE)
        return alias

    def _write_alias(self, alias: dict[str, str]) -> None:
        write_text(self.folder / "alias.json", json.dumps(alias))

    def _note(self, name: str, shard: engine.EdgeShard) -> None:
        with _EngineFaults(name):
            points = shard.count(engine.CountRequest(exact=True))
        write_text(self.folder / f"{name}.json", json.dumps({"points": points, "about": self._about[name]}))

    def _read_note(self, name: str) -> dict[str, Any]:
        note = self.folder / f"{name}.json"
        if not note.is_file() or not (self.folder / name).is_dir():
            raise CollectionError(collection=name, reason=f"is not in {self.folder}", cure=_CURE)
        told = _read_object(note)
        if "about" not in told or "points" not in told:
            raise CollectionError(collection=name, reason="was built by an older version", cure=_CURE)
        return told

    def _shard(self, name: str) -> engine.EdgeShard:
        """Return a whole collection, opened; the engine itself would open an empty folder without a word.

        Raises:
            CollectionError: It is not there, or not whole.
        """
        if name not in self._open:
            note = self._read_note(name)
            wanted = note["points"]
            with _EngineFaults(name):
                how = engine.EdgeConfig(vectors=_VECTORS, payload_memory=_PAYLOADS)
                shard = engine.EdgeShard.load(str(self.folder / name), how)
                found = shard.count(engine.CountRequest(exact=True))
            if wanted != found:
                shard.close()
                raise CollectionError(collection=name, reason=f"holds {found} points and should hold {wanted}", cure=_CURE)
            self._open[name], self._about[name] = shard, note["about"]
        return self._open[name]


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a note; an empty one where there is no note.

    Raises:
        CollectionError: It is spoilt.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise CollectionError(collection=path.stem, reason=f"{path} cannot be read ({error})", cure=_CURE) from error
    if not isinstance(told, dict):
        raise CollectionError(collection=path.stem, reason=f"{path} is no object of JSON", cure=_CURE)
    return told


def _conditions(filters: Filters) -> list[Any]:
    return [engine.FieldCondition(key=key, match=engine.MatchAny(list(values))) for key, values in filters.items()]

"""From points to pictures: each picture once, by its best point, with the place and the labels that its payload tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.retrieval.gallery.neighbours import AREAS, Neighbours
from geoloc_pipeline.retrieval.gallery.store import VIEW_BITS, Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.store import Filters, Store

TOGETHER = 1024
"""So many queries are multiplied with a batch of points at once: 8 MB of similarities."""
RETRIEVED = 1000


def best_points(found: Found, top_k: int) -> Found:
    """Return the best point of each picture, best first; equal ones by number."""
    order = np.lexsort((found.numbers, -found.scores))
    numbers, scores = found.numbers[order], found.scores[order]
    _, first = np.unique(numbers >> np.uint64(VIEW_BITS), return_index=True)
    kept = np.sort(first)[:top_k]
    return Found(numbers[kept], scores[kept])


def search_all(store: Store, name: str, vectors: NDArray[np.float32], *, limit: int, every: Filters) -> list[Found]:
    """Return the `limit` most similar points of many queries, comparing with every point: one pass over the collection.

    An engine compares one query after the other; a matrix product over batches of points is many times faster from some dozen
    queries on.

    Args:
        store: Open.
        name: Of the collection.
        vectors: `[q, 512]` unit vectors.
        limit: Points per query.
        every: Filters.

    Returns:
        For each query, the same points that the engine's exact search gives; not yet in order.
    """
    best = np.full((len(vectors), limit), -np.inf, dtype=np.float32)
    numbers = np.zeros((len(vectors), limit), dtype=np.uint64)
    for some, block in store.scan(name, every=every):
        for start in range(0, len(vectors), TOGETHER):
            rows = slice(start, start + TOGETHER)
            scores = vectors[rows] @ block.T
            better = np.flatnonzero((scores > best[rows].min(axis=1, keepdims=True)).any(axis=0))
            if not len(better):
                continue
            joined = np.concatenate([best[rows], scores[:, better]], axis=1)
            theirs = np.broadcast_to(some[better], (len(joined), len(better)))
            joined_numbers = np.concatenate([numbers[rows], theirs], axis=1)
            kept = np.argpartition(-joined, limit - 1, axis=1)[:, :limit]
            best[rows] = np.take_along_axis(joined, kept, axis=1)
            numbers[rows] = np.take_along_axis(joined_numbers, kept, axis=1)
    return [Found(points[known], scores[known]) for points, scores, known in zip(numbers, best, np.isfinite(best), strict=True)]


def without_hubs(store: Store, name: str, rows: Sequence[Found], *, top_k: int) -> list[Found]:
    """Return the best pictures of each query by similarity less half of their own hubness (`space.hubness`)."""
    numbers = np.unique(np.concatenate([row.numbers for row in rows])).tolist() if rows else []
    level: dict[int, float] = {}
    for start in range(0, len(numbers), RETRIEVED):
        payloads = store.payloads(name, numbers[start : start + RETRIEVED])
        level |= {number: float(payload.get("hubness") or 0.0) for number, payload in payloads.items()}
    best = []
    for row in rows:
        scores = row.scores - 0.5 * np.array([level.get(int(number), 0.0) for number in row.numbers], dtype=np.float32)
        order = np.lexsort((row.numbers, -scores))[:top_k]
        best.append(Found(row.numbers[order], scores[order]))
    return best


def as_neighbours(store: Store, name: str, rows: Sequence[Found], *, labels: Sequence[str]) -> Neighbours:
    """Return what the payloads of the found points tell, as arrays.

    Args:
        store: Open.
        name: Of the collection.
        rows: For each query, the best point of each picture.
        labels: Which labels the collection knows at all.

    Returns:
        Arrays `[q, k]`; shorter rows end with absent neighbours.
    """
    width = max((len(row.numbers) for row in rows), default=0)
    shape = (len(rows), width)
    numbers, score = np.zeros(shape, dtype=np.uint64), np.zeros(shape, dtype=np.float32)
    is_there = np.zeros(shape, dtype=bool)
    for place, row in enumerate(rows):
        numbers[place, : len(row.numbers)], score[place, : len(row.numbers)] = row
        is_there[place, : len(row.numbers)] = True
    distinct, which = np.unique(numbers[is_there], return_inverse=True)
    told = _told(store, name, distinct)

    def gathered(key: str, kind: Any, nothing: object) -> NDArray[Any]:
        values = np.array([nothing if value is None else value for value in told[key]], dtype=kind)
        out = np.full(shape, nothing, dtype=kind)
        out[is_there] = values[which]
        return out

    return Neighbours(
        image_id=gathered("image_id", object, ""),
        lat=gathered("lat", np.float64, np.nan),
        lon=gathered("lon", np.float64, np.nan),
        score=score,
        codes={level: gathered(f"{level}_code", object, "") for level in AREAS if f"{level}_code" in labels},
        source=gathered("source", object, "") if "source" in labels else None,
    )


def _told(store: Store, name: str, numbers: NDArray[np.uint64]) -> dict[str, list[Any]]:
    """Return the payloads' fields as columns, in the order of the numbers; equal labels are one object."""
    columns: dict[str, list[Any]] = {key: [] for key in ("image_id", "lat", "lon", "source", *(f"{a}_code" for a in AREAS))}
    one: dict[Any, Any] = {}
    wanted = numbers.tolist()
    for start in range(0, len(wanted), RETRIEVED):
        some = wanted[start : start + RETRIEVED]
        payloads = store.payloads(name, some)
        for key, values in columns.items():
            found = [payloads.get(number, {}).get(key) for number in some]
            values += found if key in {"image_id", "lat", "lon"} else [one.setdefault(value, value) for value in found]
    return columns

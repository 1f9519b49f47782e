"""How a collection comes to be: planned in one pass over the embeddings, filled in a second, checked, and swapped in.

Both passes read the embeddings in batches, so that all of Japan needs no second copy of its vectors.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from geoloc_pipeline.errors import CollectionError, LeakedPictureError
from geoloc_pipeline.retrieval.gallery.space import HUB_SAMPLE, Compare, Space, hubness
from geoloc_pipeline.retrieval.gallery.store import point_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.store import Store
    from geoloc_pipeline.storage.progress import Progress

Points = Literal["all", "views", "mean"]
Parts = Callable[[], Iterable[pd.DataFrame]]
"""Gives the embeddings anew each time it is called, a table at a time; a picture's rows are all in one table."""

UPLOAD = 500
CANARIES = 16
LABELS = ("source", "source_image_id", "capture_group", "prefecture_code", "municipality_code", "town_code")
CURE = "materialise `image_embeddings` of every partition, then `qdrant_collection`, again"


class _Batch(NamedTuple):
    """Some points: numbers, unit vectors and payloads."""

    numbers: list[int]
    vectors: NDArray[np.float32]
    payloads: list[dict[str, Any]]


@dataclass
class _Plan:
    """What the first pass finds out.

    Attributes:
        name: Of the collection: the model and a digest of all vectors and payloads, in whatever order they came.
        points: How many.
        about: What searches need to know: points of a picture at most, and which labels are known at all.
        canaries: Some points, by which the collection is tried: digest, vector, image_id.
        space: In which vectors are compared.
        sample: `[m, 512]` some of its vectors, from which hubs are known; None when nobody asks for them.
    """

    name: str = ""
    points: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    canaries: list[tuple[bytes, NDArray[np.float32], str]] = field(default_factory=list)
    space: Space = field(default_factory=Space)
    sample: NDArray[np.float32] | None = None


def build_in_store(
    embeddings: pd.DataFrame | Parts,
    store: Store,
    *,
    pictures: pd.DataFrame | None = None,
    points: Points = "all",
    compare: Compare | None = None,
    progress: Progress | None = None,
) -> str:
    """Build a collection in a store that is open already; see `gallery.build_gallery`."""
    parts: Parts = embeddings if callable(embeddings) else lambda: (embeddings,)
    labels = _labels(pictures)
    compare = compare or Compare()
    plan = _planned(parts, labels, points, how=("int8" if store.is_quantised else "") + compare.label)
    _lay_out(plan, parts, points, compare)
    live, previous = store.live(), store.previous()
    for kept in (live, previous):
        if kept.split("~")[0] == plan.name and _is_whole(store, kept, plan.points):
            _check(store, kept, plan)
            return _swapped_in(store, kept)
    # a kept collection of the same name has lost points: it answers until the new one is whole
    name = next(name for name in (plan.name, f"{plan.name}~2", f"{plan.name}~3") if name not in (live, previous))
    _fill(store, name, parts, labels, points, plan, progress=progress)
    _check(store, name, plan)
    return _swapped_in(store, name)


def _swapped_in(store: Store, name: str) -> str:
    """Make a whole collection live; remove what is neither live nor the way back."""
    store.point_live_at(name)
    kept = (name, store.previous())
    for other in store.names():
        if other not in kept:
            store.remove(other)
    return name


def _is_whole(store: Store, name: str, points: int) -> bool:
    try:
        return store.count(name) == points
    except CollectionError:  # damaged: it is built again
        return False


def _labels(pictures: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return labels and split by image_id, None where missing.

    Raises:
        CollectionError: A picture comes twice.
    """
    if pictures is None:
        return None
    doubled = pictures["image_id"][pictures["image_id"].duplicated()]
    if len(doubled):
        reason = f"was told twice about {len(doubled)} pictures, such as {doubled.iloc[0]}"
        raise CollectionError(collection="photos", reason=reason, cure="hand over one row a picture")
    return pictures.set_index("image_id").reindex(columns=[*LABELS, "split"]).astype(object)


def _planned(parts: Parts, labels: pd.DataFrame | None, points: Points, *, how: str) -> _Plan:
    plan, digests, versions, most, known = _Plan(), bytearray(), set[str](), 0, set[str]()
    for table in parts():
        versions |= set(table["model_version"])
        rows = _chosen(table, points)
        if len(versions) > 1:
            reason = f"would mix the models {', '.join(sorted(versions))}"
            raise CollectionError(collection="photos", reason=reason, cure=CURE)
        _refuse_test_pictures(rows, labels)
        most = max(most, int(rows.groupby("image_id").size().max()) if len(rows) else 0)
        for batch in _batches(rows, labels):
            _refuse_broken(batch)
            plan.points += len(batch.numbers)
            known |= {label for label in LABELS for told in batch.payloads if told[label] is not None}
            for vector, told in zip(batch.vectors, batch.payloads, strict=True):
                digest = hashlib.blake2b(vector.tobytes(), digest_size=16)
                digest.update(json.dumps(told, sort_keys=True).encode())
                digests += digest.digest()
                plan.canaries.append((digest.digest(), vector, told["image_id"]))
            plan.canaries = heapq.nsmallest(CANARIES, plan.canaries, key=lambda canary: canary[0])
    if not plan.points:
        raise CollectionError(collection="photos", reason="would be empty: there is no embedding", cure=CURE)
    in_order = np.sort(np.frombuffer(bytes(digests), dtype="S16")).tobytes()
    plan.name = f"photos__{versions.pop()}__{hashlib.sha256(in_order + how.encode()).hexdigest()[:8]}"
    plan.about = {"points_of_a_picture": most, "labels": sorted(known)}
    return plan


def _lay_out(plan: _Plan, parts: Parts, points: Points, compare: Compare) -> None:
    """Fit the space in which the collection compares, and note it in what the collection tells about itself."""

    def vectors() -> Iterator[NDArray[np.float32]]:
        for table in parts():
            yield np.stack(_chosen(table, points)["embedding"].to_list()).astype(np.float32, copy=False)

    plan.space = Space.fit(vectors(), power=compare.whitening)
    if compare.whitening:
        plan.about["space"] = plan.space.as_dict()
    if compare.less_hubs:
        plan.about["less_hubs"] = True
        every = -(-plan.points // HUB_SAMPLE)
        plan.sample = plan.space.turned(np.concatenate([batch[::every] for batch in vectors()])[:HUB_SAMPLE])


def _chosen(table: pd.DataFrame, points: Points) -> pd.DataFrame:
    rows = table
    if points == "views":
        rows = rows[rows["view"] != "mean"]
    elif points == "mean":
        rows = rows[rows["view"].isin(["mean", "photo"])]
    return rows.sort_values(["image_id", "view"], ignore_index=True)


def _refuse_test_pictures(rows: pd.DataFrame, labels: pd.DataFrame | None) -> None:
    if labels is None:
        return
    tested = sorted(set(rows["image_id"]) & set(labels.index[labels["split"] == "test"]))
    if tested:
        raise LeakedPictureError(collection="photos", images=tested)


def _batches(rows: pd.DataFrame, labels: pd.DataFrame | None) -> Iterator[_Batch]:
    for start in range(0, len(rows), UPLOAD):
        part = rows.iloc[start : start + UPLOAD]
        ids, views = part["image_id"].tolist(), part["view"].tolist()
        if labels is None:
            told: list[dict[str, Any]] = [dict.fromkeys(LABELS) for _ in ids]
        else:
            found = labels.reindex(ids)[list(LABELS)]
            told = found.where(found.notna(), None).to_dict("records")
        payloads = [
            {"image_id": image_id, "view": view, "lat": lat, "lon": lon, "location": {"lat": lat, "lon": lon}, **more}
            for image_id, view, lat, lon, more in zip(ids, views, part["lat"].tolist(), part["lon"].tolist(), told, strict=True)
        ]
        numbers = [point_number(image_id, view) for image_id, view in zip(ids, views, strict=True)]
        yield _Batch(numbers, np.stack(part["embedding"].to_list()).astype(np.float32, copy=False), payloads)


def _refuse_broken(batch: _Batch) -> None:
    lengths = np.linalg.norm(batch.vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) < 1e-3))
    if len(wrong):
        first = batch.payloads[int(wrong[0])]
        reason = f"{len(wrong)} vectors are not of unit length, such as that of {first['image_id']} {first['view']}"
        raise CollectionError(collection="photos", reason=reason, cure=CURE)


def _fill(
    store: Store,
    name: str,
    parts: Parts,
    labels: pd.DataFrame | None,
    points: Points,
    plan: _Plan,
    *,
    progress: Progress | None,
) -> None:
    store.create(name, about=plan.about, points=plan.points)
    done = 0
    for table in parts():
        for batch in _batches(_chosen(table, points), labels):
            turned = plan.space.turned(batch.vectors)
            if plan.sample is not None:
                for payload, level in zip(batch.payloads, hubness(turned, plan.sample).tolist(), strict=True):
                    payload["hubness"] = level
            store.add(name, numbers=batch.numbers, vectors=turned, payloads=batch.payloads)
            done += len(batch.numbers)
            if progress is not None:
                progress.tell(done, total=plan.points, unit="points")
    store.finish(name)


def _check(store: Store, name: str, plan: _Plan) -> None:
    """Raise unless every point is in, and some of them, asked for by their own vector, are found.

    Raises:
        CollectionError: A point is missing.
    """
    found = store.count(name)
    if found != plan.points:
        raise CollectionError(collection=name, reason=f"holds {found} points of {plan.points}", cure=CURE)
    asked = plan.space.turned(np.stack([vector for _, vector, _ in plan.canaries]))
    answers = store.search(name, asked, limit=10, exact=False, breadth=256, every={})
    for (_, _, image_id), hits in zip(plan.canaries, answers, strict=True):
        told = store.payloads(name, hits.numbers.tolist())
        twins = len(hits.scores) > 0 and hits.scores[-1] > hits.scores[0] - 1e-6  # ten points with one and the same vector
        is_there = any(payload["image_id"] == image_id for payload in told.values())
        if not len(hits.scores) or hits.scores[0] < 1.0 - 1e-3 or not (twins or is_there):
            raise CollectionError(collection=name, reason=f"does not find {image_id} by its own vector", cure=CURE)

"""Search in the gallery beside its alternatives: recall, latency, memory, load and index, with and without filters.

    python -m benchmarks.search [points [queries]]

The vectors are made up but lie as embeddings do: 1 place for about 40 pictures, places on a 24-dimensional surface in 512
dimensions, pictures around their place, all of unit length. Queries are further pictures of the same places, never in the
gallery. Prefectures go by place, sources by chance (70, 20 and 10 %), which is the hard case for a filter in a graph.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._measure import apart, cost_of, table

POINTS, QUERIES, TOP, SIZE, BLOCK = 857_000, 300, 100, 512, 20_000
LOCAL_POINTS = 20_000
SHARES = {"mapillary": 0.7, "panoramax": 0.2, "kartaview": 0.1}
FILTERS = {"none": {}, "one prefecture": {"prefecture_codes": ("13",)}, "one source of 20 %": {"sources": ("panoramax",)}}
FAISS_EF = 256


def _grow(folder: Path, points: int, queries: int) -> None:
    """Write vectors and labels of gallery and queries."""
    rng = np.random.default_rng(7)
    middles = rng.normal(size=(max(points // 40, 50), 24)).astype(np.float32) @ rng.normal(size=(24, SIZE)).astype(np.float32)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    prefectures = rng.integers(1, 48, len(middles))
    for name, count in (("gallery", points), ("queries", queries)):
        out = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(count, SIZE))
        places = rng.integers(0, len(middles), count)
        for start in range(0, count, BLOCK):
            some = middles[places[start : start + BLOCK]]
            some = some + rng.normal(size=some.shape).astype(np.float32) * (0.8 / np.sqrt(SIZE))
            out[start : start + BLOCK] = some / np.linalg.norm(some, axis=1, keepdims=True)
        out.flush()
        np.save(folder / f"{name}_prefectures.npy", prefectures[places])
    np.save(folder / "sources.npy", rng.choice(len(SHARES), points, p=list(SHARES.values())))


def _vectors(folder: Path, name: str) -> Any:
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def _masks(folder: Path) -> dict[str, Any]:
    prefectures, sources = np.load(folder / "gallery_prefectures.npy"), np.load(folder / "sources.npy")
    return {"none": np.ones(len(sources), bool), "one prefecture": prefectures == 13, "one source of 20 %": sources == 1}


def _truth(folder: Path) -> float:
    """Write the exact best of each query for each filter; return the seconds of one pass for all queries."""
    queries = np.array(_vectors(folder, "queries"))
    gallery = _vectors(folder, "gallery")
    started = time.monotonic()
    scores = np.concatenate([queries @ gallery[start : start + BLOCK].T for start in range(0, len(gallery), BLOCK)], axis=1)
    for number, mask in enumerate(_masks(folder).values()):
        if not number:
            best = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
            seconds = time.monotonic() - started
        else:
            kept = np.flatnonzero(mask)
            best = kept[np.argpartition(-scores[:, kept], TOP, axis=1)[:, :TOP]]
        np.save(folder / f"truth_{number}.npy", best)
    return seconds


def _parts(folder: Path) -> Callable[[], Iterator[pd.DataFrame]]:
    def tables() -> Iterator[pd.DataFrame]:
        gallery = _vectors(folder, "gallery")
        for start in range(0, len(gallery), BLOCK):
            some = np.array(gallery[start : start + BLOCK])
            ids = [f"{number:08}" for number in range(start, start + len(some))]
            facts = {"image_id": ids, "view": "mean", "model_version": "made", "lat": 35.0, "lon": 139.0}
            yield pd.DataFrame(facts).assign(embedding=list(some))

    return tables


def _build(folder: Path, is_quantised: bool) -> tuple[float, int, float]:
    """Return seconds of load and index, peak bytes, and gigabytes on disk."""
    from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, build_gallery

    prefectures, sources = np.load(folder / "gallery_prefectures.npy"), np.load(folder / "sources.npy")
    ids = [f"{number:08}" for number in range(len(sources))]
    codes = np.array([f"{code:02}" for code in range(48)])[prefectures]
    pictures = pd.DataFrame({"image_id": ids, "source": np.array(list(SHARES))[sources], "prefecture_code": codes})
    location = GalleryLocation(folder=folder / f"edge_{is_quantised}", is_quantised=is_quantised)
    cost = cost_of(lambda: build_gallery(_parts(folder), location=location, pictures=pictures, points="mean"))
    size = sum(path.stat().st_size for path in (folder / f"edge_{is_quantised}").rglob("*") if path.is_file())
    return cost.wall_s, cost.peak_bytes, size / 1e9


def _latencies(ask: Callable[[Any], Any], folder: Path, number: int) -> list[Any]:
    """Ask one query after the other; return p50 and p99 in ms and the recall."""
    queries, truth = np.array(_vectors(folder, "queries")), np.load(folder / f"truth_{number}.npy")
    for query in queries[:50]:
        ask(query)  # what is not in memory yet
    seconds, hits = [], 0
    for query, expected in zip(queries, truth, strict=True):
        started = time.perf_counter()
        found = ask(query)
        seconds.append(time.perf_counter() - started)
        hits += len(set(found) & set(expected.tolist()))
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    return [f"{p50:.2f}", f"{p99:.2f}", f"{hits / truth.size:.4f}"]


def _resident_gb() -> str:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return f"{int(line.split()[1]) / 1e6:.2f}"


def _ours(folder: Path, is_quantised: bool) -> list[list[Any]]:
    from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, open_gallery
    from geoloc_pipeline.retrieval.gallery.neighbours import Where

    rows = []
    with open_gallery(GalleryLocation(folder=folder / f"edge_{is_quantised}")) as gallery:
        for number, (name, told) in enumerate(FILTERS.items()):
            where = Where(**told)

            def ask(query: Any, where: Where = where) -> list[int]:
                return [int(found) for found in gallery.search(query[None], top_k=TOP, where=where).image_id[0]]

            label = "ours (Qdrant Edge)" if is_quantised else "ours, without int8 copies"
            rows.append([label, name, *_latencies(ask, folder, number), _resident_gb()])
    return rows


def _numpy(folder: Path) -> list[Any]:
    gallery = np.array(_vectors(folder, "gallery"))

    def ask(query: Any) -> list[int]:
        return np.argpartition(-(gallery @ query), TOP)[:TOP].tolist()

    return ["exact, NumPy", "none", *_latencies(ask, folder, 0), _resident_gb()]


def _torch(folder: Path) -> list[Any]:
    import torch

    gallery = torch.from_numpy(np.array(_vectors(folder, "gallery")))

    def ask(query: Any) -> list[int]:
        return torch.topk(gallery @ torch.from_numpy(query), TOP, sorted=False).indices.tolist()

    return ["exact, torch", "none", *_latencies(ask, folder, 0), _resident_gb()]


def _faiss(folder: Path) -> tuple[float, list[Any]]:
    import faiss

    gallery = _vectors(folder, "gallery")
    index = faiss.IndexHNSWFlat(SIZE, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 100, FAISS_EF
    started = time.monotonic()
    for start in range(0, len(gallery), BLOCK):
        index.add(np.array(gallery[start : start + BLOCK]))
    built = time.monotonic() - started

    def ask(query: Any) -> list[int]:
        return index.search(query[None], TOP)[1][0].tolist()

    return built, ["faiss-cpu HNSW, bare ids", "none", *_latencies(ask, folder, 0), _resident_gb()]


def _local(folder: Path) -> tuple[float, str]:
    """Return seconds to load and p50 of the client's local mode with the first points only."""
    from qdrant_client import QdrantClient, models

    some, queries = np.array(_vectors(folder, "gallery")[:LOCAL_POINTS]), _vectors(folder, "queries")[:50]
    client = QdrantClient(":memory:")
    client.create_collection("g", vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.COSINE))
    started = time.monotonic()
    for start in range(0, len(some), 500):
        ids = list(range(start, min(start + 500, len(some))))
        client.upsert("g", models.Batch(ids=ids, vectors=some[start : start + 500].tolist(), payloads=None))
    loaded, seconds = time.monotonic() - started, []
    for query in queries:
        started = time.perf_counter()
        client.query_points("g", query=query.tolist(), limit=TOP)
        seconds.append(time.perf_counter() - started)
    return loaded, f"{np.median(seconds) * 1e3:.2f}"


def _evaluation(folder: Path, queries: int) -> float:
    """Return the seconds of an exact search of many queries."""
    from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, open_gallery

    asked = np.array(_vectors(folder, "gallery")[:queries])
    with open_gallery(GalleryLocation(folder=folder / "edge_True")) as gallery:
        return cost_of(lambda: gallery.search(asked, top_k=TOP, exact=True).image_id.shape).wall_s


def main(points: int = POINTS, queries: int = QUERIES) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        apart(_grow, folder, points, queries)
        numpy_s = apart(_truth, folder)
        print(f"{points:,} x {SIZE}, top {TOP}, {queries} queries one after the other\n", flush=True)
        seconds, peak, disk_gb = apart(_build, folder, True)
        built = [["ours (Qdrant Edge)", f"{seconds:.0f}", f"{peak / 1e9:.2f}", f"{disk_gb:.2f}"]]
        print(table(["", "load and index s", "peak GB", "disk GB"], built), "\n", flush=True)
        columns = ["", "filter", "p50 ms", "p99 ms", f"recall@{TOP}", "resident GB"]
        print(table(columns, [*apart(_ours, folder, True), apart(_numpy, folder), apart(_torch, folder)]), flush=True)
        faiss_s, row = apart(_faiss, folder)
        print(table(columns, [row])[len(table(columns, [])) + 1 :], f"\n\nfaiss: load and index {faiss_s:.0f} s", flush=True)
        loaded, p50 = apart(_local, folder)
        print(f"\nqdrant-client local mode, {LOCAL_POINTS:,} points: load {loaded:.0f} s, p50 {p50} ms", flush=True)
        ours_s = apart(_evaluation, folder, queries)
        print(f"\nexact search of {queries} queries at once: ours {ours_s:.1f} s, NumPy {numpy_s:.1f} s", flush=True)
        if points <= POINTS // 4:
            seconds, peak, disk_gb = apart(_build, folder, False)
            print(
                f"\nwithout int8 copies: load and index {seconds:.0f} s, peak {peak / 1e9:.2f} GB, disk {disk_gb:.2f} GB\n",
                flush=True,
            )
            print(table(columns, apart(_ours, folder, False)), flush=True)


if __name__ == "__main__":
    main(*(int(told) for told in sys.argv[1:]))

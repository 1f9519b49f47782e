"""What does not pay on the demo world: whitening and hubness correction (options of the gallery), and a learned re-ranker.

python -m benchmarks.tricks --home data/demo
All on the neighbours of a home's validation and test pictures, own split group hidden, read by `mode` with the settings that
validation has chosen. Whitening and hubness as `retrieval.gallery.space` has them. Re-ranker: a listwise softmax over six
features of a neighbour (similarity to the best, log rank, share of weight within 5, 25 and 100 km of it, gate), fitted on
validation by folds of groups, and for test on all of validation; `mode` then reads its scores. `better in`: share of bootstrap
draws of whole split groups in which the median error is lower than without the trick.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from benchmarks._asked_home import AskedHome, ask_home
from benchmarks._measure import table
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, distance_m, unit_vectors
from geoloc_pipeline.retrieval.embedding.queries import Queries, every_view, whole_pictures
from geoloc_pipeline.retrieval.gallery.space import HUB_SAMPLE, Space, hubness
from geoloc_pipeline.retrieval.reading.calibration import see
from geoloc_pipeline.retrieval.reading.choice import choose_settings, folds_of
from geoloc_pipeline.retrieval.reading.readouts import read_out, softmax_weights
from geoloc_pipeline.retrieval.reading.settings import ReadoutSettings
from geoloc_pipeline.retrieval.trials.trial import MatrixGallery
from geoloc_pipeline.storage.layout import Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours

    Floats = NDArray[np.float64]

WITHIN_KM = (1, 5, 25, 100, 200, 750)
RIGHT_KM = 25.0


def error_km(found: Neighbours, queries: Queries, settings: ReadoutSettings, readout: str = "mode") -> Floats:
    """Return the error of every query."""
    lat, lon = read_out(found, readout, settings=settings)
    return np.asarray(distance_m(lat=lat, lon=lon, to_lat=queries.lat, to_lon=queries.lon) / 1000.0)


def better_in(error: Floats, plain: Floats, group: NDArray[np.str_]) -> float:
    """Return in which share of draws of whole groups the median is lower."""
    chance, (names, member) = np.random.default_rng(0), np.unique(group, return_inverse=True)
    wins = []
    for _ in range(300):
        times = np.bincount(chance.integers(0, len(names), len(names)), minlength=len(names))[member]
        wins.append(np.median(np.repeat(error, times)) < np.median(np.repeat(plain, times)))
    return float(np.mean(wins))


def whitened(asked: AskedHome, queries: Queries, *, power: float) -> tuple[AskedHome, Queries]:
    """Return gallery and queries in the whitened space of the gallery."""
    vectors = np.stack(asked.gallery.embeddings["embedding"].to_list())
    space = Space.fit([vectors], power=power)
    embeddings = asked.gallery.embeddings.assign(embedding=list(space.turned(vectors)))
    gallery = MatrixGallery(embeddings, asked.gallery.pictures)
    return replace(asked, gallery=gallery), replace(queries, vectors=space.turned(queries.vectors))


def without_hubs(asked: AskedHome, found: Neighbours) -> Neighbours:
    """Return the neighbours by similarity less half their own hubness, best first."""
    vectors = np.stack(asked.gallery.embeddings["embedding"].to_list())
    chosen = np.random.default_rng(0).choice(len(vectors), min(HUB_SAMPLE, len(vectors)), replace=False)
    level = hubness(vectors, vectors[chosen])
    of = asked.gallery.embeddings.assign(level=level).groupby("image_id")["level"].mean()
    theirs = of.reindex(found.image_id.ravel()).to_numpy().reshape(found.image_id.shape)
    score = np.where(np.isfinite(found.lat), found.score - 0.5 * np.nan_to_num(theirs), 0.0)
    order = np.argsort(-np.where(np.isfinite(found.lat), score, -np.inf), axis=1, kind="stable")[:, :100]
    kept = {name: np.take_along_axis(values, order, axis=1) for name, values in (
        ("image_id", found.image_id), ("lat", found.lat), ("lon", found.lon), ("score", score))}  # fmt: skip
    return replace(found, **kept, codes={}, gate=None)


def features(found: Neighbours) -> Floats:
    """Return `[q, k, 6]` of what the re-ranker knows of a neighbour."""
    vectors = unit_vectors(lat=np.nan_to_num(found.lat), lon=np.nan_to_num(found.lon))
    score = found.score.astype(np.float64)
    weights = softmax_weights(score, 0.05)
    near = []
    for limit_km in (5.0, 25.0, 100.0):
        chord2 = (1000.0 * limit_km / MEAN_EARTH_RADIUS_M) ** 2
        shares = [((2.0 - 2.0 * (v @ v.T)) <= chord2) @ w for v, w in zip(vectors, weights, strict=True)]
        near.append(np.log(np.stack(shares) + 1e-3))
    rank = np.broadcast_to(np.log1p(np.arange(score.shape[1])), score.shape)
    gate = np.zeros_like(score) if found.gate is None else found.gate
    return np.stack([score - score[:, :1], rank, *near, gate], axis=-1)


def fit(known: Floats, is_right: Floats) -> Callable[[Floats], Floats]:
    """Return the re-ranker: the chance that it gives to right neighbours is as large as can be."""
    some = is_right.sum(axis=1) > 0
    known, is_right = known[some], is_right[some]
    mean, spread = known.mean(axis=(0, 1)), known.std(axis=(0, 1)) + 1e-9
    scaled = (known - mean) / spread

    def loss(weights: Floats) -> tuple[float, Floats]:
        chance = softmax_weights(scaled @ weights, 1.0)
        right = (chance * is_right).sum(axis=1, keepdims=True)
        slope = np.einsum("qk,qkf->f", chance - chance * is_right / right, scaled)
        return float(-np.log(right).sum() + weights @ weights), slope + 2 * weights

    best = minimize(loss, np.zeros(known.shape[-1]), jac=True).x
    return lambda asked: np.asarray(((asked - mean) / spread) @ best)


def reranked(found: Neighbours, score: Floats, settings: ReadoutSettings, queries: Queries) -> Floats:
    """Return the errors when `mode` reads the re-ranker's scores."""
    logits = (score - score.max(axis=1, keepdims=True)) * settings.temperature
    return error_km(replace(found, score=logits), queries, settings)


def compare(asked: AskedHome, name: str, make: Callable[..., Queries]) -> None:
    """Print the table of one kind of query."""
    queries = {split: make(asked.of_split(split)) for split in ("val", "test")}
    group = {split: np.array([asked.group_of[image] for image in q.image_id]) for split, q in queries.items()}

    def seen(home: AskedHome, asked_for: Queries, top_k: int = 100) -> Neighbours:
        return see(home.gallery, asked_for, top_k=top_k, vocabulary=home.vocabulary, group_of=home.group_of)

    found = {split: seen(asked, q) for split, q in queries.items()}
    settings = choose_settings(found["val"], true_lat=queries["val"].lat, true_lon=queries["val"].lon)
    right = distance_m(
        lat=queries["val"].lat[:, None], lon=queries["val"].lon[:, None], to_lat=found["val"].lat, to_lon=found["val"].lon
    )
    known, is_right = features(found["val"]), (right <= 1000.0 * RIGHT_KM).astype(np.float64)
    fold, score = folds_of(group["val"]), np.zeros(is_right.shape)
    for part in np.unique(fold):
        score[fold == part] = fit(known[fold != part], is_right[fold != part])(known[fold == part])
    scores = {"val": score, "test": fit(known, is_right)(features(found["test"]))}
    rows = []
    for split, q in queries.items():
        tried = {"mode": error_km(found[split], q, settings), "gated": error_km(found[split], q, settings, "gated")}
        for power in (0.1, 0.25, 0.5):
            home, turned = whitened(asked, q, power=power)
            tried[f"whitening, power {power}"] = error_km(seen(home, turned), q, settings)
        tried["CSLS"] = error_km(without_hubs(asked, seen(asked, q, 200)), q, settings)
        tried["re-ranker, 6 weights"] = reranked(found[split], scores[split], settings, q)
        for trick, error in tried.items():
            shares = (f"{100 * np.mean(error <= limit):.1f}" for limit in WITHIN_KM)
            surely = "" if trick == "mode" else f"{100 * better_in(error, tried['mode'], group[split]):.0f} %"
            rows.append([split, trick, f"{np.median(error):.2f}", *shares, surely])
    print(f"\n{name}, {settings}:\n")
    print(table(["split", "trick", "median km", *(f"% in {limit} km" for limit in WITHIN_KM), "better in"], rows))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("data/demo"))
    asked = ask_home(Home.at(parser.parse_args().home))
    compare(asked, "Whole pictures", whole_pictures)
    compare(asked, "Single views", every_view)


if __name__ == "__main__":
    main()

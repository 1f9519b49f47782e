"""Whether confidence keeps its promise: coverage of the regions, risk against coverage, and familiarity of strange pictures.

python -m benchmarks.calibration --home data/demo [--beside 3] [--new 300]
Test queries, each asked as a whole panorama and as single views: the test split; panoramas of its drives beside its pictures
(`_new_panoramas`), of which nothing is in the gallery or was learned from; panoramas of new drives, which lie in other streets
than the sample points choose; and, for more places, validation and test pictures together, in four parts by split group, each
part with regions calibrated on the other three. A query's own split group is never among its neighbours. Intervals draw whole
groups (drives): their pictures are right or wrong together. Beside ours: one radius for all, of the same validation errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from benchmarks._asked_home import AskedHome, ask_home
from benchmarks._measure import table
from benchmarks._new_panoramas import new_panoramas
from geoloc_pipeline.evaluation.confidence import area_under_risk, risk_coverage, separation
from geoloc_pipeline.evaluation.figures import share_interval
from geoloc_pipeline.evaluation.regions import Signs, calibrate_regions
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.embedding.heads import join_tops, keep_tops
from geoloc_pipeline.retrieval.embedding.queries import KINDS, Queries, every_query
from geoloc_pipeline.retrieval.reading.calibration import Calibration, calibrate, see
from geoloc_pipeline.retrieval.reading.choice import folds_of
from geoloc_pipeline.retrieval.reading.readouts import read_out
from geoloc_pipeline.retrieval.reading.spread import likeness, signs_of, spread_km
from geoloc_pipeline.retrieval.trials.trial import MatrixGallery
from geoloc_pipeline.storage.layout import Home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.embedding.embedder import Reading
    from geoloc_pipeline.retrieval.embedding.queries import Kind
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours

PARTS = 4


class Told(NamedTuple):
    """What was said of queries of one kind, and how it was."""

    error_km: NDArray[np.float64]
    radii_km: tuple[NDArray[np.float64], NDArray[np.float64]]
    plain_km: tuple[NDArray[np.float64], NDArray[np.float64]]
    group: NDArray[np.str_]
    found: Neighbours
    signs: Signs
    spread_km: NDArray[np.float64]


def tell(asked: AskedHome, queries: Queries, calibration: Calibration, group: NDArray[np.str_], plain: Calibration) -> Told:
    """Return the answers of the default read-out to queries of one kind."""
    found = see(asked.gallery, queries, top_k=100, vocabulary=asked.vocabulary, group_of=asked.group_of)
    lat, lon = read_out(found, calibration.readout, settings=calibration.settings)
    signs = signs_of(found, lat=lat, lon=lon, settings=calibration.settings)
    kind: Kind = "whole" if queries.of_kind("whole").all() else "one_view"
    even = Signs(np.ones(len(queries)), np.zeros(len(queries)))
    return Told(
        error_km=distance_m(lat=lat, lon=lon, to_lat=queries.lat, to_lon=queries.lon) / 1000.0,
        radii_km=calibration.regions_of(kind)[calibration.readout].radii_km(signs),
        plain_km=plain.regions_of(kind)[calibration.readout].radii_km(even),
        group=group,
        found=found,
        signs=signs,
        spread_km=spread_km(found, lat=lat, lon=lon, settings=calibration.settings),
    )


def learn(asked: AskedHome, queries: Queries) -> tuple[Calibration, Calibration]:
    """Return the calibration on some queries, and one whose regions are one radius for all answers of a kind."""
    calibration = calibrate(asked.gallery, queries, group_of=asked.group_of, top_k=100, vocabulary=asked.vocabulary)
    plain = {}
    for kind in KINDS:
        mine = queries.only(queries.of_kind(kind))
        found = see(asked.gallery, mine, top_k=100, vocabulary=asked.vocabulary, group_of=asked.group_of)
        lat, lon = read_out(found, calibration.readout, settings=calibration.settings)
        error_km = distance_m(lat=lat, lon=lon, to_lat=mine.lat, to_lon=mine.lon) / 1000.0
        plain[kind] = {calibration.readout: calibrate_regions(error_km, Signs(np.ones(len(mine)), np.zeros(len(mine))))}
    return calibration, Calibration(regions=plain["whole"], one_view_regions=plain["one_view"])


def joined(parts: Sequence[Told]) -> Told:
    """Return the answers of several parts as those of one."""
    return Told(
        error_km=np.concatenate([part.error_km for part in parts]),
        radii_km=tuple(np.concatenate([part.radii_km[i] for part in parts]) for i in range(2)),  # type: ignore[arg-type]
        plain_km=tuple(np.concatenate([part.plain_km[i] for part in parts]) for i in range(2)),  # type: ignore[arg-type]
        group=np.concatenate([part.group for part in parts]),
        found=parts[0].found,
        signs=Signs(*(np.concatenate([part.signs[i] for part in parts]) for i in range(2))),
        spread_km=np.concatenate([part.spread_km for part in parts]),
    )


def coverage_row(name: str, told: Told) -> list[str]:
    """Return coverage with its interval, at both levels, beside that of one radius for all."""
    row = [name, str(len(told.error_km)), str(len(np.unique(told.group)))]
    for level in range(2):
        inside = told.error_km <= told.radii_km[level]
        low, high = share_interval(inside, group=told.group)
        row.append(f"{100 * inside.mean():.1f} ({low:.0f} to {high:.0f})")
        row.append(f"{np.median(told.radii_km[level]):.0f}")
    for level in range(2):
        row.append(f"{100 * np.mean(told.error_km <= told.plain_km[level]):.1f}")
        row.append(f"{np.median(told.plain_km[level]):.0f}")
    return row


def as_queries(readings: list[tuple[str, float, float, Reading]], kind: Kind) -> Queries:
    """Return panoramas that were read view by view, as wholes or as single views."""
    ids, lat, lon, vectors = [], [], [], []
    heads: dict[str, list[NDArray[np.float32]]] = {}
    for name, at_lat, at_lon, reading in readings:
        whole = reading.embedding.mean(axis=0, keepdims=True)
        said = whole / np.linalg.norm(whole) if kind == "whole" else reading.embedding
        ids += [name] * len(said)
        lat += [at_lat] * len(said)
        lon += [at_lon] * len(said)
        vectors.append(said)
        for task, each in reading.heads.items():
            heads.setdefault(task, []).append(each.mean(axis=0, keepdims=True) if kind == "whole" else each)
    tops = {task: join_tops([keep_tops({task: each})[task] for each in parts]) for task, parts in heads.items()}
    is_whole = np.full(len(ids), kind == "whole")
    return Queries(ids, np.concatenate(vectors).astype(np.float32), np.array(lat), np.array(lon), is_whole, tops)


def regions(asked: AskedHome, home: Home, *, beside: int, new: int) -> tuple[Calibration, dict[str, Told]]:
    """Print the coverage of every kind of test query, and return the calibration and the answers."""
    calibration, plain = learn(asked, every_query(asked.of_split("val")))
    rows, answers = [], {}
    embedder = Embedder.load(home.checkpoint())
    fresh: dict[str, list[tuple[str, float, float, Reading]]] = {}
    for panorama in new_panoramas(home, beside=beside, new=new):
        told = (panorama.drive, panorama.lat, panorama.lon, embedder.read_views(panorama.views))
        fresh.setdefault(panorama.origin, []).append(told)
    test, both = every_query(asked.of_split("test")), every_query(asked.of_split("val", "test"))
    fold = folds_of([asked.group_of[image] for image in both.image_id], folds=PARTS)
    learned = [learn(asked, both.only(fold != part)) for part in range(PARTS)]
    for kind in KINDS:
        mine = test.only(test.of_kind(kind))
        answers[f"test split, {kind}"] = tell(asked, mine, calibration, _groups(asked, mine), plain)
        for origin, readings in fresh.items():
            queries = as_queries(readings, kind)
            answers[f"{origin}, {kind}"] = tell(asked, queries, calibration, np.array(queries.image_id), plain)
        parts = []
        for part, (one, other) in enumerate(learned):
            queries = both.only((fold == part) & both.of_kind(kind))
            parts.append(tell(asked, queries, one, _groups(asked, queries), other))
        answers[f"val and test in {PARTS} parts, {kind}"] = joined(parts)
    rows = [coverage_row(name, told) for name, told in answers.items()]
    columns = ["test queries", "n", "groups", "50 % holds", "km", "90 % holds", "km", "one radius: 50 %", "km", "90 %", "km"]
    print(f"\nRegions of {calibration.readout}, calibrated on validation pictures; median radius:\n")
    print(table(columns, rows))
    return calibration, answers


def _groups(asked: AskedHome, queries: Queries) -> NDArray[np.str_]:
    return np.array([asked.group_of[image] for image in queries.image_id])


def risks(answers: dict[str, Told]) -> None:
    """Print how well each confidence sorts answers: the mean risk (farther than 25 km) over all coverages."""
    rows = []
    for name, told in answers.items():
        if name.startswith("val"):
            continue
        scores = {
            "-region 90": -told.radii_km[1],
            "agreement": told.signs.agreement,
            "-spread": -told.spread_km,
            "best similarity": told.found.score[:, 0].astype(np.float64),
            "likeness": likeness(told.found),
        }
        curves = [area_under_risk(risk_coverage(score, told.error_km)) for score in scores.values()]
        rows.append([name, f"{np.mean(told.error_km > 25):.3f}", *(f"{area:.3f}" for area in curves)])
    print("\nMean share of answers farther than 25 km, over all coverages (answering the surest first):\n")
    print(table(["test queries", "answering all", "-region 90", "agreement", "-spread", "best similarity", "likeness"], rows))


def strange_pictures(views: list[NDArray[np.uint8]]) -> dict[str, list[NDArray[np.uint8]]]:
    """Return pictures of kinds that no street view is."""
    chance = np.random.default_rng(0)

    def page() -> NDArray[np.uint8]:
        paper = np.full((256, 256, 3), 250, dtype=np.uint8)
        for line in range(20, 250, 16):
            words = "".join(chr(letter) for letter in chance.integers(97, 123, 26))
            cv2.putText(paper, words, (6, line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1)
        return paper

    def blobs() -> NDArray[np.uint8]:
        small = chance.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return np.asarray(cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)

    side = views[0].shape[0]
    return {
        "noise": [chance.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(100)],
        "a page of text": [page() for _ in range(100)],
        "soft colours": [blobs() for _ in range(100)],
        "night (8 % of the light)": [(view * 0.08).astype(np.uint8) for view in views],
        "dusk (30 % of the light)": [(view * 0.3).astype(np.uint8) for view in views],
        "upside down": [np.ascontiguousarray(view[::-1]) for view in views],
        "ground only": [np.asarray(cv2.resize(view[int(0.7 * side) :, : int(0.3 * side)], (side, side))) for view in views],
    }


def strangers(asked: AskedHome, home: Home, calibration: Calibration, folder: Path | None) -> None:
    """Print how well familiarity tells test views from pictures of other kinds, and from a prefecture that is not known."""
    from geoloc_pipeline.imagery.quality import read_photo

    embedder, rows = Embedder.load(home.checkpoint()), []
    views = [panorama.views[0] for panorama in new_panoramas(home, beside=1, new=0)]
    test = every_query(asked.of_split("test"))
    test = test.only(test.of_kind("one_view"))
    seen = see(asked.gallery, test, top_k=100, vocabulary=None)
    normal = calibration.familiarity_of(seen, "one_view")

    def tell_apart(name: str, vectors: NDArray[np.float32], gallery: MatrixGallery) -> None:
        found = gallery.search(vectors, top_k=100)
        familiar = calibration.familiarity_of(found, "one_view")
        best = separation(seen.score[:, 0], found.score[:, 0])
        rows.append(
            [name, len(vectors), f"{separation(normal, familiar):.2f}", f"{best:.2f}", f"{100 * np.mean(familiar < 0.05):.0f}"]
        )

    tell_apart("test views themselves", test.vectors, asked.gallery)
    kinds = strange_pictures(views)
    if folder:
        kinds[f"photos in {folder.name}"] = [read_photo(path).pixels for path in sorted(folder.rglob("*.jpg"))]
    for name, pictures in kinds.items():
        vectors = np.concatenate([embedder.embed_views(pictures[i : i + 64]) for i in range(0, len(pictures), 64)])
        tell_apart(name, vectors, asked.gallery)
    pictures = asked.gallery.pictures
    code_of = {} if pictures is None else dict(zip(pictures["image_id"], pictures["prefecture_code"], strict=True))
    for code in sorted({str(code) for code in code_of.values()}):
        others = asked.gallery.embeddings[asked.gallery.embeddings["image_id"].map(code_of) != code]
        mine = np.array([code_of[image] == code for image in test.image_id])
        tell_apart(f"prefecture {code}, not in the gallery", test.vectors[mine], MatrixGallery(others))
    print("\nFamiliarity (single views): chance that a test view is the more familiar one; and how many are below 0.05:\n")
    print(table(["pictures", "n", "by familiarity", "by best similarity", "% below 0.05"], rows))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("data/demo"))
    parser.add_argument("--beside", type=int, default=3, help="panoramas beside each test picture")
    parser.add_argument("--new", type=int, default=300, help="panoramas of new drives")
    parser.add_argument("--photos", type=Path, help="a folder of real photographs from abroad")
    told = parser.parse_args()
    home = Home.at(told.home)
    asked = ask_home(home)
    calibration, answers = regions(asked, home, beside=told.beside, new=told.new)
    risks(answers)
    strangers(asked, home, calibration, told.photos)


if __name__ == "__main__":
    main()

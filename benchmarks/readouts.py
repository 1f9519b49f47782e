"""Read-outs beside each other: on simulated neighbours, on a demo home's test pictures, and their speed beside plain loops.

python -m benchmarks.readouts [--home data/demo]
Simulated: the truth lies around one of twelve cities of Japan (sigma 20 km). Each of 100 neighbours is an inlier with the given
chance: drawn around the truth (Gaussian, sigma 2 or 15 km); the others are drawn around any of the cities (sigma 20 km), the
right one included. Similarities are uniform from 0.5 to 0.9 and know nothing of who is an inlier: the hardest case for `mode`.
The gate believes in the right city with a chance of 85 %, otherwise in any, ten times as much as in the others.
Settings: the defaults, which know nothing of sigma, and those chosen on as many other queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import gaussian_kde
from sklearn.cluster import MeanShift

from benchmarks._asked_home import ask_home
from benchmarks._measure import cost_of, table
from geoloc_pipeline.evaluation.metrics import place_of
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, distance_m
from geoloc_pipeline.retrieval.embedding.queries import every_query, every_view, whole_pictures
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
from geoloc_pipeline.retrieval.reading.calibration import calibrate, see
from geoloc_pipeline.retrieval.reading.choice import Bench
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, read_out
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings
from geoloc_pipeline.storage.layout import Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WITHIN_KM = (1, 5, 25, 100, 200, 750)
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6)
CITIES = np.array([
    (43.06, 141.35), (38.27, 140.87), (37.92, 139.04), (35.68, 139.77), (36.56, 136.65), (35.18, 136.91), (34.69, 135.50),
    (34.39, 132.46), (33.56, 133.53), (33.59, 130.40), (31.60, 130.56), (26.21, 127.68),
])  # fmt: skip


def _around(chance: np.random.Generator, places: NDArray[np.float64], sigma_km: float) -> NDArray[np.float64]:
    """Return places `[..., 2]` around others, sigma in each direction."""
    moved = np.degrees(1000.0 * chance.normal(0, sigma_km, places.shape) / MEAN_EARTH_RADIUS_M)
    moved[..., 1] /= np.cos(np.radians(places[..., 0]))
    return np.asarray(places + moved)


def simulate(n: int, *, share: float, sigma_km: float, seed: int) -> tuple[Neighbours, NDArray[np.float64]]:
    """Return gated neighbours of n queries and the true places `[n, 2]`."""
    chance = np.random.default_rng(seed)
    city = chance.integers(0, len(CITIES), n)
    truth = _around(chance, CITIES[city], 20.0)
    is_in = chance.random((n, 100)) < share
    of = np.where(is_in, city[:, None], chance.integers(0, len(CITIES), (n, 100)))
    place = np.where(is_in[..., None], _around(chance, np.repeat(truth[:, None], 100, 1), sigma_km), 0.0)
    place = np.where(is_in[..., None], place, _around(chance, CITIES[of], 20.0))
    score = -np.sort(-chance.uniform(0.5, 0.9, (n, 100)), axis=1)
    believed = np.where(chance.random(n) < 0.85, city, chance.integers(0, len(CITIES), n))
    gate = np.where(of == believed[:, None], 0.0, -np.log(10.0))
    ids = np.arange(n * 100).reshape(n, 100).astype(object)
    return Neighbours(ids, place[..., 0], place[..., 1], score.astype(np.float32), gate=gate), truth


def errors_km(found: Neighbours, truth: NDArray[np.float64], settings: ReadoutSettings) -> dict[str, NDArray[np.float64]]:
    """Return the errors of every read-out."""
    places = {name: read_out(found, name, settings=settings) for name in BATCH_READOUTS}
    return {
        name: distance_m(lat=lat, lon=lon, to_lat=truth[:, 0], to_lon=truth[:, 1]) / 1000 for name, (lat, lon) in places.items()
    }


def figures(error_km: NDArray[np.float64]) -> list[str]:
    """Return median and shares within the distances."""
    return [f"{np.median(error_km):.2f}", *(f"{100 * np.mean(error_km <= limit):.1f}" for limit in WITHIN_KM)]


def beaten_at(errors: dict[str, NDArray[np.float64]]) -> str:
    """Return the distances within which `centroid` has more answers than `mode`."""
    worse = [f"{limit} km" for limit in WITHIN_KM if np.sum(errors["mode"] <= limit) < np.sum(errors["centroid"] <= limit)]
    return ", ".join(worse) or "nowhere"


def simulated(n: int) -> None:
    """Print the tables of simulated neighbours."""
    for sigma_km in (2.0, 15.0):
        for chosen in (False, True):
            rows = []
            for share in SHARES:
                settings = DEFAULT_SETTINGS
                if chosen:
                    other, there = simulate(400, share=share, sigma_km=sigma_km, seed=1)
                    settings = Bench(other, true_lat=there[:, 0], true_lon=there[:, 1]).choose().settings
                found, truth = simulate(n, share=share, sigma_km=sigma_km, seed=0)
                errors = errors_km(found, truth, settings)
                rows += [[f"{100 * share:.0f} %", name, *figures(each)] for name, each in errors.items()]
                rows.append(["", f"centroid ahead of mode: {beaten_at(errors)}", *[""] * (1 + len(WITHIN_KM))])
            print(f"\nInliers with sigma {sigma_km:g} km, {'chosen' if chosen else 'default'} settings, {n} queries:\n")
            print(table(["inliers", "read-out", "median km", *(f"% in {limit} km" for limit in WITHIN_KM)], rows))


def at_home(home: Home) -> None:
    """Print the tables of a home's test pictures; settings are chosen on its validation pictures."""
    asked = ask_home(home)
    calibration = calibrate(
        asked.gallery, every_query(asked.of_split("val")), group_of=asked.group_of, top_k=100, vocabulary=asked.vocabulary
    )
    print(f"\nChosen on validation: {calibration.readout}, {calibration.settings}; {calibration.recorded}")
    for kind, make in (("whole pictures", whole_pictures), ("single views", every_view)):
        queries = make(asked.of_split("test"))
        found = see(asked.gallery, queries, top_k=100, vocabulary=asked.vocabulary)
        errors = errors_km(found, np.stack([queries.lat, queries.lon], axis=1), calibration.settings)
        places = len(set(place_of(lat=queries.lat, lon=queries.lon)))
        print(f"\nTest split, {kind}: {len(queries)} queries at {places} places; centroid ahead of mode: {beaten_at(errors)}\n")
        rows = [[name, f"{each.mean():.0f}", *figures(each)] for name, each in errors.items()]
        print(table(["read-out", "mean km", "median km", *(f"% in {limit} km" for limit in WITHIN_KM)], rows))


def _mean_shift(found: Neighbours) -> None:
    """Cluster each query's neighbours as scikit-learn's manual says, on a plane in kilometres, and take the largest."""
    for lat, lon in zip(found.lat, found.lon, strict=True):
        plane = np.stack([lat, lon * np.cos(np.radians(lat.mean()))], axis=1) * 111.2
        MeanShift(bandwidth=DEFAULT_SETTINGS.bandwidth_km, bin_seeding=True).fit(plane)


def _kde(found: Neighbours) -> None:
    """Evaluate SciPy's Gaussian kernel density at each query's neighbours, on a plane in kilometres."""
    for lat, lon, score in zip(found.lat, found.lon, found.score, strict=True):
        plane = np.stack([lat, lon * np.cos(np.radians(lat.mean()))]) * 111.2
        weights = np.exp((score - score.max()) / DEFAULT_SETTINGS.temperature)
        density = gaussian_kde(plane, bw_method=DEFAULT_SETTINGS.bandwidth_km / plane.std(), weights=weights)
        plane[:, density(plane).argmax()]


def speed() -> None:
    """Print how many queries of 100 neighbours are read out in a second."""
    many, few = (simulate(n, share=0.8, sigma_km=2.0, seed=0)[0] for n in (2000, 100))
    one_by_one = [many.queries([row]) for row in range(500)]
    cases: list[tuple[str, int, Callable[[], object]]] = [
        *((f"{name}, all at once", 2000, lambda name=name: read_out(many, name)) for name in BATCH_READOUTS),
        ("gated, one by one", 500, lambda: [read_out(one, "gated") for one in one_by_one]),
        ("scikit-learn MeanShift, a loop", 100, lambda: _mean_shift(few)),
        ("SciPy gaussian_kde, a loop", 100, lambda: _kde(few)),
    ]
    rows = []
    for name, count, call in cases:
        cost = cost_of(call, best_of=3)
        rows.append([name, f"{count / cost.cpu_s:,.0f}", f"{count / cost.wall_s:,.0f}"])
    print("\nQueries of 100 neighbours a second:\n")
    print(table(["read-out", "a CPU second", "a second on the clock"], rows))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="a finished demo home")
    parser.add_argument("--queries", type=int, default=2000)
    told = parser.parse_args()
    speed()
    simulated(told.queries)
    if told.home:
        at_home(Home.at(told.home))


if __name__ == "__main__":
    main()

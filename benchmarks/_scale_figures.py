"""What a plan for many countries is computed from: unit costs, facts and assumptions, each with its unit and its source.

Five kinds, by how far they can be trusted: `measured` (a table of RESULTS.md, quoted here and looked up by a test; or, where it
says so, the files of a finished demo), `projected` (computed, never measured), `code` (a constant of this repository; a test
compares them), `published` (somebody else's figure), `assumed` (ours; change it here, and every table follows). Every value is
an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["measured", "code", "projected", "published", "assumed"]


@dataclass(frozen=True)
class Span:
    """From the least to the most that is plausible; both are positive, or zero.

    Attributes:
        low: The least.
        high: The most.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < math.inf:
            raise ValueError(f"({self.low}, {self.high}) is no span of least and most")

    def __add__(self, other: Span | float) -> Span:
        other = span(other)
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, other: Span | float) -> Span:
        other = span(other)
        return Span(self.low * other.low, self.high * other.high)

    def __truediv__(self, other: Span | float) -> Span:
        other = span(other)
        return Span(self.low / other.high, self.high / other.low)

    def scaled(self, change: Callable[[float], float]) -> Span:
        """Return both ends after a change that never falls."""
        return Span(change(self.low), change(self.high))


def span(value: Span | float) -> Span:
    """Return a span; of one number, the number twice."""
    return value if isinstance(value, Span) else Span(value, value)


def longest(*spans: Span) -> Span:
    """Return the longest of several things that go on at the same time."""
    return Span(max(one.low for one in spans), max(one.high for one in spans))


def number(value: float) -> str:
    """Return a number to two digits: 0.32, 4.1, 56,000, 1.4 M."""
    if value >= 995_000:
        return f"{number(value / 1e6)} M"
    if value <= 0:
        return "0"
    rounded = float(f"{value:.1e}")
    digits = 1 - math.floor(math.log10(rounded))
    if rounded >= 10:
        return f"{rounded:,.0f}"
    return f"{rounded:.{max(1, digits)}f}" if rounded >= 0.1 else f"{value:.1g}"


def in_words(value: Span, unit: str) -> str:
    """Return a value with its unit, in the multiple of it that reads well."""
    sizes = {
        "B": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
        "B/s": ((1e9, "GB/s"), (1e6, "MB/s")),
        "core s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (0, "ns")),
        "": ((1e9, "billion"), (1e6, "M")),
    }
    per, name = next(((one, name) for one, name in sizes.get(unit, ()) if value.low >= one), (1.0, unit))
    per = per or 1e-9
    low, high = (f"{end / per:,.0f}" if end / per >= 1e3 else f"{end / per:.3g}" for end in (value.low, value.high))
    return f"{high if low == high else f'{low} to {high}'} {name}".strip()


@dataclass(frozen=True)
class Figure:
    """One number that the plan stands on.

    Attributes:
        what: What it is, for people.
        value: In `unit`.
        unit: Of the value.
        kind: How far it can be trusted.
        source: A heading of RESULTS.md (measured), a file (code, projected), or whose figure it is.
        quoted: What stands under that heading, word for word.
    """

    what: str
    value: Span
    unit: str
    kind: Kind
    source: str
    quoted: tuple[str, ...] = ()


def measured(what: str, value: Span | float, unit: str, source: str, *quoted: str) -> Figure:
    """Return a figure that follows from what stands in a table of RESULTS.md."""
    return Figure(what, span(value), unit, "measured", source, quoted)


def _of(kind: Kind) -> Callable[[str, Span | float, str, str], Figure]:
    return lambda what, value, unit, source: Figure(what, span(value), unit, kind, source)


code, projected, published, assumed = _of("code"), _of("projected"), _of("published"), _of("assumed")

TRAINING, PARTS = "docs/training.md; no GPU was at hand", "computed from figures here"
REPOSITORY, MAPILLARY = "this repository", "Mapillary's API pages, as others quote them"
PAPER = "the paper (902,858 pictures, 256 GB)"
MP_2560X640, MP_2048X512, MP_VIEW = 2.560 * 0.640, 2.048 * 0.512, 0.448 * 0.448  # megapixels of strips, and of a training view

# From roads to points. Real: Tokyo's middle, Andorra, Liechtenstein, Monaco, Vancouver together; grown: the made-up country.
WAY_KM = measured("length of a way (grown, real)", Span(0.226, 0.280), "km", "The geographic half", "length 226 m to 280 m")
POINTS_KM = measured(
    "sample points on a km of mapped road (grown, real)",
    Span(32_062 / (100_000 * 0.226), (163 + 964 + 678 + 49 + 2_584) / (9_655 * 0.280)),
    "a km",
    "Extraction and one prefecture's geographic half",
    "| 32,062 |", "| 163 |", "| 964 |", "| 678 |", "| 49 |", "| 2,584 |",
)  # fmt: skip
# Processor time; "core" means one core of the machine of RESULTS.md busy for so long.
EXTRACT_WAY_CORE_S = measured(
    "extraction of a way, both cores counted as busy",
    2 * (20.8 - 12.1) / 99_000,
    "core s",
    "Extraction and one prefecture's geographic half",
    "| 20.8 |", "| 12.1 |",
)  # fmt: skip
EXTRACT_GB_CORE_S = published(
    "extraction of a GB of dump", 385 * 4 / 1.9, "core s", "QuackOSM's plot of Poland: 1.9 GB, 4 threads, about 385 s"
)
GROUND_WAY_CORE_S = measured(
    "points, labels, splits, previews, by way", 34.2 / (4 * 140_000), "core s",
    "A new map in which 1 % of the roads changed", "4 prefectures of 140,000 ways", "34.2 s",
)  # fmt: skip
COVERAGE_CORE_S = measured(
    "a picture's entry in a coverage tile decoded", 0.65 / 100_000, "core s", "Judging and filing", "0.65 s CPU"
)
COVERAGE_BYTES = measured("the same, kept", 62, "B", "Judging and filing", "coverage tile of 100,000 pictures (6.2 MB)")
CUT_S = measured("a level panorama cut, 2,560 px", 13.8e-3, "core s", "The archive", "| level | 13.8 |")
ENCODE_S = measured("a strip of 2,560 x 640 encoded, archived", 55.5e-3, "core s", "The archive", "| 55.1 | 55.5 |")
JPEG_MP_S = measured("a megapixel of JPEG opened", 48.7e-3 / 12, "core s", "`geoloc serve`", "12 MP JPEG | 48.7")
JUDGE_S = measured("a picture judged", 2.6e-3, "core s", "Judging and filing", "all judgements of a 1024x768 picture | 2.6 ms")
DECODE_S = measured("a view of 448 px decoded", 2.79e-3, "core s", "Reading for training", "| photographs | 58 | 37.1 | 2.79 |")
RESIZE_S = measured("a view of 448 px resized", 0.61e-3, "core s", "Resizing a view", "448 to 224, bicubic | 0.61")
LOOP_S, THREADS_S = 2.93e-3, 21.79e-3
COLLECT_S = measured(
    "a panorama of 1,024 px opened, judged, cut, encoded", LOOP_S + THREADS_S, "core s", "The collector", "| 2.93 | 21.79 |"
)
PICTURE_CORE_S = projected(
    "the same of 2,048 px, as collected (the parts; four times 1,024 px)", Span(
        (CUT_S.value.low + ENCODE_S.value.low) * MP_2048X512 / MP_2560X640
        + JPEG_MP_S.value.low * MP_2048X512 * 2 + JUDGE_S.value.low + LOOP_S,
        4 * COLLECT_S.value.high,
    ),
    "core s", PARTS,
)  # fmt: skip
VIEWS_CORE_S = projected(
    "a picture's four training views made (the parts)", DECODE_S.value * (MP_2048X512 / MP_VIEW)
    + (RESIZE_S.value + ENCODE_S.value * (MP_VIEW / MP_2560X640)) * 4,
    "core s", PARTS,
)  # fmt: skip
INDEX_POINT_CORE_S = measured(
    "a point of the gallery loaded and indexed", 2 * 303 / 857_000, "core s", "Search among 857,000 pictures", "| 303 | 10.8 |"
)
EXACT_PAIR_CORE_S = measured(
    "one query compared with one point, exactly", 2 * 15 / (300 * 857_000), "core s", "Search among 857,000 pictures",
    "Exact search of 300 queries at once: 22 s, NumPy 15 s",
)  # fmt: skip
IDLE_PARTITION_S = measured(
    "a partition of a backfill with nothing to do", 118 / 47, "s", "47 prefectures in one backfill",
    "the same again: nothing to do | 47 | 3 | 118 |",
)  # fmt: skip
# Memory and disk.
DEMO = "files of a finished demo (not in RESULTS.md)"
GALLERY_POINT_BYTES = measured(
    "memory of a point, with int8 copies",
    2.91e9 / 857_000,
    "B",
    "Search among 857,000 pictures",
    "| 2.20 | 2.93 | 0.9924 | 2.91 |",
)
BUILD_POINT_BYTES = measured(
    "memory of a point while it is indexed", 10.8e9 / 857_000, "B", "Search among 857,000 pictures", "| 303 | 10.8 |"
)
DISK_POINT_BYTES = measured(
    "disk of a point (without int8 copies)", 2.3e9 / 857_000, "B", "Search among 857,000 pictures", "| 8.6 | 2.3 |"
)
LEAN_POINT_BYTES = projected(
    "memory of a gallery point without vectors (512 B, 32 links, index of the payload)", Span(700, 1_200), "B", PARTS
)
VECTOR_BYTES = Figure("a row of image_embeddings", span(2_118), "B", "measured", DEMO)
WAY_ROW_BYTES = Figure("a row of osm_roads", span(304), "B", "measured", DEMO)
POINT_ROWS_BYTES = Figure("a place's rows: points, sample", span(91 + 94), "B", "measured", DEMO)
PICTURE_ROWS_BYTES = Figure(
    "a picture's rows in six tables", span(268 + 112 + 23 + 4 * (21 + 23)), "B", "measured",
    DEMO,
)  # fmt: skip
PICTURE_BYTES = published("an archived picture", 256e9 / 902_858, "B", PAPER)
VIEWS_BYTES = projected("a picture's four training views", 176e3, "B", TRAINING)
VIEW_ROW_MEMORY_BYTES = projected("a training view in a rank's memory", 2e9 / 3.4e6, "B", TRAINING)
CHECKPOINT_BYTES = projected("a model's files", 4.4e9 + 2 * 1.5e9 + 5.9e9, "B", TRAINING)
# The GPU: no figure of RESULTS.md was measured on one.
TRAIN_PER_S = projected("pictures learned, one H200 (worst that is right, ceiling)", Span(700, 1_242), "a second", TRAINING)
EMBED_PER_S = projected("views embedded, one H200 (three times as many)", Span(2_100, 3_726), "a second", PARTS)
EPOCHS = published("epochs at which the paper stopped", 74, "", PAPER)
TRAIN_SHARE = code("pictures to learn from", 0.80, "", REPOSITORY)
GALLERY_POINTS = code("points of a picture: four views and their mean", 5, "", REPOSITORY)
GRADIENT_BYTES = projected("gradients of a step, fp32", (304e6 + 16e6 + 45e6) * 4, "B", TRAINING)
TILES_PER_S = code("Mapillary's coverage tiles, while the day's budget lasts", 50, "a second", REPOSITORY)
BUDGET_BLOCK = code("requests taken out of a day's budget at once", 50, "", REPOSITORY)
EXTRACT_MEMORY_BYTES = code("DuckDB's cap while a map is extracted", 6e9, "B", REPOSITORY)
GLOBAL_BATCH = code("pictures of a step, on all GPUs together", 512, "", REPOSITORY)

# What the services allow.
TILES_A_DAY = published("Mapillary's coverage tiles", 50_000, "a day and key", MAPILLARY)
ENTITIES_PER_S = code("Mapillary's entities; half of the published 60,000 a minute", 500, "a second", REPOSITORY)
SEARCHES_PER_S = assumed("Mapillary's searches; a tenth of the published 10,000 a minute", 10_000 / 60 / 10, "a second", "ours")
OTHERS_PER_S = code("Panoramax and KartaView each; they publish no limit", 5, "a second", REPOSITORY)
SEARCH_ANSWER = published("pictures in one answer of a search at most", 2_000, "", MAPILLARY)
BOX_DEG2 = published("a search's box at most", 0.0099, "deg2", MAPILLARY)
PARTITIONS_MOST = published("partitions of an asset, recommended", 100_000, "", "docs.dagster.io, Partitioning assets")

# What is ours to choose or to guess.
FILES_OF_PICTURE = assumed("files fetched a picture (a panorama, or flat ones)", Span(1, 3), "", "ours")
FILE_BYTES = assumed("a file fetched (JPEG, 2,048 px)", Span(0.4e6, 0.8e6), "B", "ours")
NODE_CORES = assumed("a node's cores", 16, "", "ours")
NODE_MEMORY_BYTES = assumed("a node's memory", 128e9, "B", "ours")
NODE_DISK_BYTES = assumed("a node's disk", 2e12, "B", "ours")
NODE_NET_BYTES_S = assumed("a node's way to the services", 125e6, "B/s", "ours")
GPU_MEMORY_BYTES = projected("memory of an H200 that 62 GB of the paper's step leave", 150e9 - 62e9, "B", TRAINING)
LEAST_BATCH = assumed("pictures that keep a GPU busy", 64, "", "ours")
GPU_TOGETHER = assumed("of eight GPUs in one machine, what comes out", 0.9, "", "ours")
SHUT = assumed("roaded tiles in cities so dense that a search stays shut", Span(0.01, 0.05), "", "ours")
GPU_NET_BYTES_S = assumed("a network between GPU machines", 25e9 / 8, "B/s", "ours")
POSTGRES_PER_S = assumed("small transactions of one PostgreSQL", 2_000, "a second", "ours")
RUN_START_S = assumed("a run's start on Ray", 8, "s", "ours")
SAMPLED_QUERIES = assumed("queries of an evaluation by sample", 100_000, "", "ours")
UNEVEN = assumed("partitions, beside as many as prefectures of Japan's size", Span(1, 3), "times", "ours")
GPU_EUR_H = assumed("an H200 for an hour (surveys of 2026: 2.5 to 7 dollars)", Span(2.5, 5.0), "EUR", "ours")
CORE_EUR_H = assumed("a core for an hour", Span(0.03, 0.06), "EUR", "ours")
STORE_EUR_TB_MONTH = assumed("object storage, a TB for a month", Span(7, 23), "EUR", "ours")
EGRESS_EUR_TB = assumed("a TB out of the store (0 inside one provider)", Span(0, 85), "EUR", "ours")
MEMORY_EUR_GB_MONTH = assumed("a GB of memory for a month", Span(2.5, 6), "EUR", "ours")
WAITING_CORES = assumed("cores that wait for the next day's budget", 2, "", "ours")
REPLICAS = assumed("copies of the gallery in memory", 2, "", "ours")


@dataclass(frozen=True)
class Place:
    """How large a part of the world is.

    Attributes:
        name: For people.
        dump: GB of OpenStreetMap.
        roads: Official length, million km.
        mapped: What OpenStreetMap's seven classes come to, share of the official length.
        land: Million km2.
        roaded: Share of the land in z14 tiles that hold a sample point.
        lat_deg: Where its roads lie, roughly; decides how much land a tile holds.
        served: Share of sample points with usable pictures within 150 m.
        images: Pictures that Mapillary has there.
    """

    name: str
    dump: Figure
    roads: Figure
    mapped: Figure
    land: Figure
    roaded: Figure
    lat_deg: float
    served: Figure
    images: Figure


WORLD_ROADS = "Wikipedia, from CIA World Factbook"
JAPAN = Place(
    name="Japan",
    dump=published("dump", 2.54, "GB", "Geofabrik, 2026-09-27"),
    roads=published("roads", 1.22, "M km", WORLD_ROADS),
    mapped=assumed("of them in OSM's seven classes, share", Span(0.8, 1.3), "", "farm lanes are mapped as roads"),
    land=published("land", 0.378, "M km2", "Japan's survey office"),
    roaded=assumed("of it in tiles with a point, share", Span(0.6, 1.0), "", "ours"),
    lat_deg=36.0,
    served=assumed("points with a usable picture, share", Span(0.2, 0.5), "", "a guess"),
    images=assumed("pictures on Mapillary", Span(42e6, 120e6), "", "a guess; least: 2019, FOSS4G 2022"),
)
ASIA = Place(
    name="Asia",
    dump=assumed("dump", Span(14, 16), "GB", "grown like the planet; 11.4 of 67 GB in 2023"),
    roads=assumed("roads", Span(16.5, 19), "M km", "the same list, summed up by hand"),
    mapped=assumed("of them in OSM's seven classes, share", Span(0.4, 0.8), "", "thin in China and India"),
    land=published("land", 30.5, "M km2", "rounded, without Russia, Turkey"),
    roaded=assumed("of it in tiles with a point, share", Span(0.2, 0.4), "", "ours"),
    lat_deg=30.0,
    served=assumed("points with a usable picture, share", Span(0.08, 0.25), "", "a guess; next to none in China"),
    images=assumed("pictures on Mapillary", Span(0.3e9, 0.8e9), "", "a guess"),
)
WORLD = Place(
    name="World",
    dump=published("dump", Span(82, 92), "GB", "uncertain; projects name some 85"),
    roads=published("roads", 64.7, "M km", WORLD_ROADS),
    mapped=assumed(
        "of them in OSM's seven classes, share",
        Span(0.5, 0.83),
        "",
        "most: 83 % complete, Barrington-Leigh 2017",
    ),
    land=published("land", 134.0, "M km2", "rounded, without Antarctica"),
    roaded=assumed("of it in tiles with a point, share", Span(0.20, 0.35), "", "least: 20 % near roads, Ibisch 2016"),
    lat_deg=35.0,
    served=assumed("points with a usable picture, share", Span(0.1, 0.3), "", "a guess"),
    images=assumed("pictures on Mapillary", Span(2e9, 3e9), "", "a guess; least: what Mapillary told"),
)
PLACES = (JAPAN, ASIA, WORLD)
EARTH_KM = 40_075.0
"""The equator, which 2^14 tiles of z14 divide."""


def figures() -> list[Figure]:
    """Return all figures of this file that are not of a place, in the order in which they stand here."""
    return [value for value in globals().values() if isinstance(value, Figure)]

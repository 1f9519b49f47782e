"""What gives way when the pipeline grows, at which figure, and what to do: computed from the figures of `_scale_figures`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import _scale_figures as f
from benchmarks import _scale_model as m
from benchmarks._scale_figures import Span, in_words, number


@dataclass(frozen=True)
class Limit:
    """Something that gives way.

    Attributes:
        what: What it is.
        at: The figure, for people.
        cure: What to do.
        who: Who comes to it; empty: whoever has more of `measure` than `most`.
        most: What it bears.
        measure: Of what; None where it does not grow with a place.
    """

    what: str
    at: str
    cure: str
    who: str = ""
    most: float = math.inf
    measure: Callable[[m.Size], Span] | None = None

    @property
    def place(self) -> float:
        """Return where it stands in the order: what it bears, as a share of what the world has."""
        if self.measure is None:
            return 0.0
        world = self.measure(m.SIZES[-1])
        return self.most / math.sqrt(world.low * world.high)


def reached_by(limit: Limit) -> str:
    """Return the smallest place that has more than a limit bears: surely, or at its most; `nobody`."""
    if limit.measure is None:
        return limit.who
    for size in m.SIZES:
        value = limit.measure(size)
        if value.high >= limit.most:
            return size.place.name if value.low >= limit.most else f"{size.place.name}, perhaps"
    return "nobody"


def fixed() -> list[Limit]:
    """Return what gives way at once: with the first place abroad, the second node, the second GPU machine."""
    step_s = f.GLOBAL_BATCH.value / f.TRAIN_PER_S.value
    exchanged_s = 2 * (m.MOST_GPUS - 1) / m.MOST_GPUS * f.GRADIENT_BYTES.value.low / f.GPU_NET_BYTES_S.value.low
    a_second = sum(one.value.low for one in (f.TILES_PER_S, f.ENTITIES_PER_S, f.SEARCHES_PER_S, f.OTHERS_PER_S, f.OTHERS_PER_S))
    return [
        Limit(
            "what the code knows of Japan alone: census, prefectures, codes, names, outline",
            "the first place abroad",
            "settings, below; without town blocks there is no town head, no land test, no split by municipality",
            "everybody abroad",
        ),
        Limit(
            "licences and law: CC BY-SA, ODbL; privacy; countries that restrict maps and street pictures (China, for one)",
            "the first picture abroad",
            "a lawyer's word for each country; `GEOLOC_STREET_VIEW` by country; licence and maker are kept for each picture",
            "everybody abroad",
        ),
        Limit(
            "coverage: whole regions without open street pictures",
            f"{_percent(1)} % of the points served in Asia, {_percent(2)} % in the world (guesses)",
            "count first (`geoloc coverage`); photo sets; leave a region out rather than answer for it",
            "everybody abroad",
        ),
        Limit(
            "pools of one slot (`street_view`, `gpu`), budgets and token buckets counted on one machine",
            "the second node",
            "rates and budgets in PostgreSQL, then a slot a node; the services' limits stay the same for all nodes together",
            "every cluster",
        ),
        Limit(
            "training over a network between machines",
            f"{in_words(f.GPU_NET_BYTES_S.value * 8 / 1e9, 'Gbit/s')}: gradients of a step take {number(exchanged_s)} s; "
            f"the whole step on one H200 {number(step_s.low)} to {number(step_s.high)} s",
            "one machine of eight, not eight machines of one; else a network ten times as fast",
            "the second GPU machine",
        ),
        Limit(
            f"steps of {f.GLOBAL_BATCH.value.low:,.0f} pictures",
            f"{m.MOST_GPUS} GPUs with {f.LEAST_BATCH.value.low:,.0f} each",
            "a larger batch learns otherwise: another rate and a new trial, not just more GPUs",
            f"GPU number {m.MOST_GPUS + 1}",
        ),
        Limit(
            "one PostgreSQL, a transaction for each request",
            f"{number(a_second)} a second at all paces together, of some {number(f.POSTGRES_PER_S.value.low)} (assumed); "
            f"{number(a_second / f.BUDGET_BLOCK.value.low)} in blocks of {f.BUDGET_BLOCK.value.low:,.0f}",
            "blocks, as `DailyBudget` takes them; keep the event log short (`geoloc clean`)",
            "nobody by requests",
        ),
    ]


def _percent(place: int) -> str:
    served = f.PLACES[place].served.value * 100
    return f"{served.low:.0f} to {served.high:.0f}"


def growing() -> list[Limit]:
    """Return what gives way as places grow, first things first."""
    return sorted([*_by_pictures(), *_by_others()], key=lambda one: one.place)


def _by_pictures() -> list[Limit]:
    """Return the limits in pictures."""
    kept, indexed = f.GALLERY_POINTS.value.low, f.GALLERY_POINTS.value.low * 0.95
    memory, disk, cores = f.NODE_MEMORY_BYTES.value.low, f.NODE_DISK_BYTES.value.low, f.NODE_CORES.value.low
    squared_s = f.EXACT_PAIR_CORE_S.value.low * indexed * kept * 0.20
    learned_s = f.EPOCHS.value.low * (f.TRAIN_SHARE.value.low / f.TRAIN_PER_S.value.low + 0.15 / f.EMBED_PER_S.value.low)
    class_bytes = 512 * 16 + 256 * 4 * 3  # weights, gradient, two moments in fp32; scores of 256 pictures, gradient, softmax
    classes, gb = f.GPU_MEMORY_BYTES.value.low / class_bytes, f"{memory / 1e9:,.0f} GB"
    rows = [
        (
            math.sqrt(cores * m.DAY_S / squared_s),
            "evaluation: all test pictures against the whole gallery, on one machine; grows with the square",
            f"a day of {cores:,.0f} cores",
            "a fixed sample of test pictures by region, or the product on a GPU",
        ),
        (
            memory / (indexed * f.BUILD_POINT_BYTES.value.low),
            "the gallery, built by one process",
            gb,
            "a Qdrant cluster, filled partition by partition; `points: views` or `mean` where that is enough",
        ),
        (
            memory / (3 * kept * f.VECTOR_BYTES.value.low),
            "the report, three tables of vectors in one process (gallery, queries, untrained network), at least",
            gb,
            "read by partition; the sample makes two of the three small",
        ),
        (
            memory / (m.MOST_GPUS * 4 * f.VIEW_ROW_MEMORY_BYTES.value.low),
            f"the table of views, once in each of {m.MOST_GPUS} ranks",
            gb,
            "one memory-mapped table for all ranks of a machine",
        ),
        (
            memory / (indexed * f.GALLERY_POINT_BYTES.value.low),
            "the gallery on one machine; its int8 copies stand beside the vectors, for speed, and save no memory",
            gb,
            "vectors on disk, int8 and graph in memory, shards by region; measure recall anew: 0.992 had the vectors in memory",
        ),
        (
            7 * m.DAY_S / learned_s,
            f"training for {f.EPOCHS.value.low:,.0f} epochs on one H200",
            f"a week, at {f.TRAIN_PER_S.value.low:,.0f} a second",
            "eight in one machine; fewer epochs, told by the validation loss",
        ),
        (
            disk / f.VIEWS_BYTES.value.low,
            "training views on the trainer's own disk",
            f"{disk / 1e12:,.0f} TB",
            "a larger disk: reads are at random; or shards read in an order that is drawn anew each epoch",
        ),
        (
            classes / (f.TRAIN_SHARE.value.low / 10 * 2),
            "classes of towns and roads, from 10 training pictures on; municipalities come on top and are few beside them",
            f"{number(classes)} classes fill an H200",
            "a higher `min_images`; heads by country",
        ),
    ]
    return [
        Limit(what, f"{at}: {number(most)} pictures", cure, most=most, measure=lambda size: size.pictures)
        for most, what, at, cure in rows
    ]


def _by_others() -> list[Limit]:
    """Return the limits in tiles, gigabytes of map and partitions."""
    tiles, idle = 7 * f.TILES_A_DAY.value.low, m.DAY_S / f.IDLE_PARTITION_S.value.low
    most, gb = f.PARTITIONS_MOST.value.low, 3_600 * 4 / f.EXTRACT_GB_CORE_S.value.low
    return [
        Limit(
            "Mapillary's budget of tiles: one key is one budget, however many nodes",
            f"a week: {number(tiles)} tiles",
            "coverage by boxes of the search (`images_in_box` exists, coverage does not use it), tiles where one stays shut; "
            "write to Mapillary before a continent; a second key to get around a limit is no option",
            most=tiles,
            measure=lambda size: size.tiles,
        ),
        Limit(
            f"one pass of QuackOSM over a dump (memory has a cap, {in_words(f.EXTRACT_MEMORY_BYTES.value, 'B')}, disk none)",
            f"an hour of four cores: {number(gb)} GB",
            "never the continent's file: Geofabrik's extracts by country, and those of states where there are some",
            most=gb,
            measure=lambda size: size.place.dump.value,
        ),
        Limit(
            "a nightly backfill that finds nothing to do",
            f"a day: {number(idle)} partitions, three at once; Ray starts each for {f.RUN_START_S.value.low:.0f} s besides",
            "only the partitions of dumps that are new, as the sensor asks",
            most=idle,
            measure=lambda size: size.partitions,
        ),
        Limit(
            "partitions of an asset in Dagster (47 today)",
            f"{number(most)} by its documentation",
            "none needed",
            most=most,
            measure=lambda size: size.partitions,
        ),
    ]

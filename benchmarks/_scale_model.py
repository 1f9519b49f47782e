"""How large a place is, and what it asks of services, disks, processors, purses and the clock: the arithmetic of the plan.

Belongs here: every formula, on the figures of `_scale_figures`. Does not belong here: words and tables (`scale`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks import _scale_figures as f
from benchmarks._scale_figures import PLACES, Place, Span, longest, span

NODES = (1, 10, 50)
MOST_GPUS = int(f.GLOBAL_BATCH.value.low / f.LEAST_BATCH.value.low)
GPUS = {1: 1, 10: MOST_GPUS, 50: MOST_GPUS}
"""H200 by nodes: from the second node on, one machine with as many as a step of 512 pictures keeps busy."""
DAY_S, HOUR_S = 86_400.0, 3_600.0
EVERY_QUERY, SAMPLE = "evaluation, every query (as it is)", "evaluation, by a sample (cure)"
LEAN = "gallery, vectors on disk, int8 in memory (cure)"
TRAINING = "training, 74 epochs, with validation"


def in_all(*spans: Span) -> Span:
    """Return the sum."""
    return Span(sum(one.low for one in spans), sum(one.high for one in spans))


def in_days(seconds: Span) -> Span:
    """Return days."""
    return seconds / DAY_S


@dataclass(frozen=True)
class Size:
    """What there is of everything in a place.

    Attributes:
        place: The place.
        ways: Of the seven classes of roads.
        points: Sample points.
        tiles: z14 tiles that hold one.
        boxes: Boxes of a search that the same land takes.
        pictures: That come of it.
        partitions: Of the size of a Japanese prefecture, and up to three times as many.
    """

    place: Place
    ways: Span
    points: Span
    tiles: Span
    boxes: Span
    pictures: Span
    partitions: Span

    @property
    def files(self) -> Span:
        """Files fetched."""
        return self.pictures * f.FILES_OF_PICTURE.value

    @property
    def gallery_points(self) -> Span:
        """Of train and validation pictures."""
        return gallery_points_of(self.pictures)

    @property
    def queries(self) -> Span:
        """Of an evaluation: validation and test pictures, by view and as wholes."""
        return self.pictures * f.GALLERY_POINTS.value * 0.20


def _sample_points(place: Place) -> Span:
    return place.roads.value * 1e6 * place.mapped.value * f.POINTS_KM.value


def gallery_points_of(pictures: Span) -> Span:
    """Return the points of a gallery: of train and validation pictures."""
    return pictures * f.GALLERY_POINTS.value * 0.95


def size_of(place: Place) -> Size:
    """Return what there is of everything in a place."""
    points, land_km2 = _sample_points(place), place.land.value * 1e6 * place.roaded.value
    cos = math.cos(math.radians(place.lat_deg))
    tile_km2, box_km2 = (f.EARTH_KM / 2**14 * cos) ** 2, f.BOX_DEG2.value * (f.EARTH_KM / 360) ** 2 * cos
    prefectures = Span(47, 47)
    if place is not f.JAPAN:
        home = _sample_points(f.JAPAN)
        ratios = sorted((points.low / home.low, points.high / home.high))
        prefectures = Span(47 * ratios[0], 47 * ratios[1]) * f.UNEVEN.value
    return Size(
        place=place,
        ways=place.roads.value * 1e6 * place.mapped.value / f.WAY_KM.value,
        points=points,
        tiles=land_km2 / tile_km2,
        boxes=land_km2 / box_km2,
        pictures=points * place.served.value,
        partitions=prefectures,
    )


# Requests and days


@dataclass(frozen=True)
class Asked:
    """What one service is asked for.

    Attributes:
        service: Its name, and what is asked for.
        pace: How fast it may go.
        requests: How many.
        days: That they take at that pace.
    """

    service: str
    pace: str
    requests: Span
    days: Span


def asked_of(size: Size) -> dict[str, Asked]:
    """Return what each service is asked for: as the code does it now, and where coverage comes by boxes of a search instead.

    A box that is full is quartered; one that stays shut (a dense city) is asked for by tiles.
    """
    boxes, shut = size.boxes * Span(1, 4), size.tiles * f.SHUT.value
    searches = boxes + size.place.images.value / f.SEARCH_ANSWER.value * (4 / 3)
    others = in_days(size.tiles / f.OTHERS_PER_S.value)
    fetched_s = fetched_bytes(size) / f.NODE_NET_BYTES_S.value
    return {
        "tiles": Asked("Mapillary, coverage tiles", "50,000 a day (published)", size.tiles, size.tiles / f.TILES_A_DAY.value),
        "others": Asked("Panoramax, KartaView, each at least", "5 a second (ours)", size.tiles, others),
        "entities": Asked(
            "Mapillary, entities", "500 a second (published: 1,000)", size.files, in_days(size.files / f.ENTITIES_PER_S.value)
        ),
        "files": Asked("Mapillary, files, by one node", "1 Gbit/s (assumed)", size.files, in_days(fetched_s)),
        "searches": Asked(
            "cure: Mapillary, searches", "17 a second (published: 167)", searches, in_days(searches / f.SEARCHES_PER_S.value)
        ),
        "shut": Asked("cure: tiles where a search stays shut", "50,000 a day (published)", shut, shut / f.TILES_A_DAY.value),
        "boxes": Asked(
            "cure: Panoramax, KartaView, each at least", "5 a second (ours)", boxes, in_days(boxes / f.OTHERS_PER_S.value)
        ),
    }


def floor_days(size: Size, *, is_cured: bool) -> Span:
    """Return the days below which no number of nodes comes: the slowest service, all of them asked at the same time."""
    asked = asked_of(size)
    names = ("searches", "shut", "boxes", "entities") if is_cured else ("tiles", "others", "entities")
    return longest(*(asked[name].days for name in names))


# Bytes


def fetched_bytes(size: Size) -> Span:
    """Return what comes from picture servers."""
    return size.files * f.FILE_BYTES.value


def stored_bytes(size: Size) -> dict[str, Span]:
    """Return what lies in the store, by kind."""
    rows = size.points * f.POINT_ROWS_BYTES.value + size.pictures * f.PICTURE_ROWS_BYTES.value
    tables = size.ways * f.WAY_ROW_BYTES.value + rows
    dumps, coverage = size.place.dump.value * 2e9, size.place.images.value * f.COVERAGE_BYTES.value
    return {
        "dumps (two copies), coverage, tables, model": in_all(dumps, coverage, tables, f.CHECKPOINT_BYTES.value),
        "pictures": size.pictures * f.PICTURE_BYTES.value,
        "training views": size.pictures * f.VIEWS_BYTES.value,
        "vectors, and the gallery on disk": in_all(
            size.pictures * f.GALLERY_POINTS.value * f.VECTOR_BYTES.value, size.gallery_points * f.DISK_POINT_BYTES.value
        ),
    }


def gallery_memory(size: Size) -> dict[str, Span]:
    """Return the gallery's memory, by how it is kept."""
    return {
        "gallery in memory, as it is": size.gallery_points * f.GALLERY_POINT_BYTES.value,
        "the same while one process builds it": size.gallery_points * f.BUILD_POINT_BYTES.value,
        LEAN: size.gallery_points * f.LEAN_POINT_BYTES.value,
    }


# Hours


def core_hours(size: Size) -> dict[str, Span]:
    """Return core hours, by work; the evaluation as it is today, every query against every point, and by a sample."""
    by_way, by_gb = size.ways * f.EXTRACT_WAY_CORE_S.value, size.place.dump.value * f.EXTRACT_GB_CORE_S.value
    extraction = Span(min(by_way.low, by_gb.low), max(by_way.high, by_gb.high))
    coverage = size.place.images.value * f.COVERAGE_CORE_S.value
    sampled = size.queries.scaled(lambda queries: min(queries, f.SAMPLED_QUERIES.value.high))
    compared = size.gallery_points * f.EXACT_PAIR_CORE_S.value / HOUR_S
    return {
        "extraction": extraction / HOUR_S,
        "points, clusters, labels, splits": size.ways * f.GROUND_WAY_CORE_S.value / HOUR_S,
        "pictures and coverage": in_all(size.pictures * f.PICTURE_CORE_S.value, coverage) / HOUR_S,
        "training views": size.pictures * f.VIEWS_CORE_S.value / HOUR_S,
        "gallery": size.gallery_points * f.INDEX_POINT_CORE_S.value / HOUR_S,
        EVERY_QUERY: size.queries * compared,
        SAMPLE: sampled * compared,
    }


def gpu_hours(pictures: Span) -> dict[str, Span]:
    """Return hours of one H200. Embedding goes over all views twice: the report also embeds them with the untrained network."""
    learned = pictures * f.TRAIN_SHARE.value * f.EPOCHS.value / f.TRAIN_PER_S.value
    judged = pictures * 0.15 * f.EPOCHS.value / f.EMBED_PER_S.value
    return {
        TRAINING: in_all(learned, judged) / HOUR_S,
        "embedding, trained and untrained": pictures * 4 * 2 / f.EMBED_PER_S.value / HOUR_S,
    }


# The clock


def stages(size: Size, *, nodes: int, is_cured: bool) -> dict[str, Span]:
    """Return days on the clock, stage after stage.

    Args:
        size: Of the place.
        nodes: Of 16 cores each, and the GPUs of `GPUS`.
        is_cured: Whether coverage is asked for by boxes, all nodes cut pictures (now the pool `street_view` has one slot), and
            the evaluation takes a sample.
    """
    cores, hours, asked = f.NODE_CORES.value.low, core_hours(size), asked_of(size)
    collectors, gpus = nodes if is_cured else 1, span(GPUS[nodes])
    if GPUS[nodes] > 1:
        gpus = gpus * f.GPU_TOGETHER.value
    ground = in_all(*(hours[name] for name in ("extraction", "points, clusters, labels, splits", "training views")))
    cut = hours["pictures and coverage"] / (cores * collectors * 24)
    return {
        "map, points, labels, views": ground / (cores * nodes * 24),
        "street view": longest(floor_days(size, is_cured=is_cured), cut, asked["files"].days / collectors),
        "training, embedding": in_all(*gpu_hours(size.pictures).values()) / gpus / 24,
        "gallery": hours["gallery"] / (cores * 24),
        "evaluation": hours[SAMPLE if is_cured else EVERY_QUERY] / (cores * 24),
    }


def total_days(size: Size, *, nodes: int, is_cured: bool) -> Span:
    """Return days on the clock from the dump to the report."""
    return in_all(*stages(size, nodes=nodes, is_cured=is_cured).values())


# Money


def euros_once(size: Size) -> dict[str, Span]:
    """Return what one pass costs, with the cures, where machines are rented by the hour that they work; no people's time."""
    work = in_all(*(one for name, one in core_hours(size).items() if name != EVERY_QUERY))
    waiting = floor_days(size, is_cured=True) * 24 * f.WAITING_CORES.value
    out = size.pictures * f.VIEWS_BYTES.value / 1e12
    return {
        "GPU": in_all(*gpu_hours(size.pictures).values()) * f.GPU_EUR_H.value,
        "cores, those that wait for services too": in_all(work, waiting) * f.CORE_EUR_H.value,
        "training views out of the store": out * f.EGRESS_EUR_TB.value,
    }


def euros_held(size: Size) -> Span:
    """Return what one node with its GPU costs that is held from the dump to the report, as the code is."""
    hour = f.GPU_EUR_H.value + f.CORE_EUR_H.value * f.NODE_CORES.value
    return total_days(size, nodes=1, is_cured=False) * 24 * hour


def euros_monthly(size: Size) -> dict[str, Span]:
    """Return what it costs to keep it."""
    stored_tb = in_all(*stored_bytes(size).values()) / 1e12
    lean_gb = gallery_memory(size)[LEAN] / 1e9
    return {
        "store": stored_tb * f.STORE_EUR_TB_MONTH.value,
        "gallery, int8 in memory, two copies": lean_gb * f.REPLICAS.value * f.MEMORY_EUR_GB_MONTH.value,
    }


SIZES = tuple(size_of(place) for place in PLACES)

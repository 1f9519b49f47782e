"""The public entry points that take files from outside, each as one call on bytes; and how its files are spoilt."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from benchmarks._mutator import spoilt, spoilt_json, spoilt_pbf, spoilt_text, spoilt_zip
from benchmarks._seeds import CODE, REGION, SET


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes:
        format: What comes in, as the table calls it.
        spoil: Makes another file out of a valid one.
        enter: Reads a file of this name and these bytes, in a scratch folder, beside the seeds.
        share: Of all cases that go through this door.
        refusals: What its docstring says that it raises, apart from `GeolocError`.
        suffixes: Which seeds are spoilt; empty: all.
    """

    format: str
    spoil: Callable[[bytes, random.Random], bytes]
    enter: Callable[[bytes, str, Path, Path], object]
    share: float
    refusals: tuple[type[BaseException], ...] = ()
    suffixes: tuple[str, ...] = ()

    def seeds(self, folder: Path, name: str) -> list[Path]:
        """Return the valid files, in a fixed order."""
        found = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        return [path for path in found if not self.suffixes or path.name.endswith(self.suffixes)]


def _placed(data: bytes, scratch: Path, name: str) -> Path:
    path = scratch / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _pbf(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.osm.dump import check_dump
    from geoloc_pipeline.sources.dump_copies import read_dump_version

    path = _placed(data, scratch, "x.osm.pbf")
    check_dump(path)
    return read_dump_version(path, region=REGION)


def _pbf_inner(data: bytes, name: str, scratch: Path, seeds: Path) -> object:
    from geoloc_pipeline.osm.extract import extract_map
    from geoloc_pipeline.storage.parquet import read_table
    from geoloc_pipeline.tables import CENSUS_TOWNS

    path = _placed(data, scratch, "x.osm.pbf")
    _pbf(data, name, scratch, seeds)
    towns = read_table(CENSUS_TOWNS, seeds / "table" / "census_towns.parquet")
    return extract_map(path, towns, prefecture_code=CODE, scratch=scratch / "work", memory_limit_bytes=500_000_000)


def _census(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.sources.census import read_towns
    from geoloc_pipeline.storage.parquet import write_table
    from geoloc_pipeline.tables import CENSUS_TOWNS

    towns = read_towns(_placed(data, scratch, "x.zip"))
    write_table(CENSUS_TOWNS, towns, scratch / "towns.parquet")
    return len(towns)


def _picture(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.imagery.quality import check_content, read_photo

    picture = read_photo(data, name=name)
    check_content(picture.pixels, name=name)
    return picture.pixels.shape


def _photo_set(data: bytes, name: str, scratch: Path, seeds: Path) -> object:
    from geoloc_pipeline.imagery.photo_sets import collect_photo_set

    chosen = name.split("/", 1)[0]
    shutil.copytree(seeds / "world" / "photos" / chosen, scratch / chosen, copy_function=shutil.copyfile)
    _placed(data, scratch, name)
    images, rejected = collect_photo_set(chosen, scratch / chosen, scratch / "shards", workers=1)
    return len(images), len(rejected)


class _Always(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Answers every request with the same bytes."""

    def __init__(self, data: bytes, *, content_type: str = "application/json") -> None:
        self._data, self._headers = data, {"content-type": content_type}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        beside = {"md5": b"0" * 32, "txt": b"timestamp=2026-09-03T20\\:21\\:51Z\nsequenceNumber=4867\n"}
        data = beside.get(request.url.path.rsplit(".", 1)[-1], self._data)  # of Geofabrik's files, the index is spoilt
        return httpx.Response(200, content=data, headers=self._headers, request=request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def _provider(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    service = name.removesuffix(".json")
    if service == "geofabrik":
        from geoloc_pipeline.sources.geofabrik import GeofabrikClient
        from geoloc_pipeline.sources.http import HttpClient

        return GeofabrikClient(HttpClient(transport=_Always(data), tries=1)).latest(REGION)
    return asyncio.run(_asked(service, data))


async def _asked(service: str, data: bytes) -> object:
    from geoloc_pipeline.sources.google import ACCEPTED_TERMS, GoogleProvider
    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.kartaview import KartaViewProvider
    from geoloc_pipeline.sources.mapillary import MapillaryProvider
    from geoloc_pipeline.sources.panoramax import PanoramaxProvider

    async def no_sleep(seconds: float) -> None:  # noqa: ARG001
        return

    async with AsyncHttpClient(transport=_Always(data), tries=1, sleep=no_sleep) as http:
        provider: Any = {
            "panoramax": lambda: PanoramaxProvider(http),
            "kartaview": lambda: KartaViewProvider(http),
            "mapillary": lambda: MapillaryProvider(http, "MLY|1|a"),
            "google": lambda: GoogleProvider(http, key="k", accepted_terms=ACCEPTED_TERMS),
        }[service]()
        area = provider.areas_around([("p", 26.2, 127.7)], radius_m=50.0)[0]
        pictures = []
        image_id = {"panoramax": "0b9f6d0e-2a2f-4a5e-9a5e-2f6f6b1f0a11", "kartaview": "77", "mapillary": "123456"}.get(service)
        pictures.append(await provider.picture(image_id or "abc", width_px=2048))
        if service != "mapillary":  # its coverage is a vector tile: a door of its own
            pictures.append(len(provider.read_coverage(area, await provider.ask_coverage(area, radius_m=50.0))))
        return pictures


def _vector_tile(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.sources.mapillary_coverage import read_coverage_tile

    return len(read_coverage_tile(data, x=14000, y=6900))


def _kept_coverage(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.sources.street_view_json import coverage_from_json

    return len(coverage_from_json(data))


def _table(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline import tables
    from geoloc_pipeline.storage.parquet import read_table

    contract = getattr(tables, name.removesuffix(".parquet").upper())
    return len(read_table(contract, _placed(data, scratch, name)))


def _archive_index(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.storage.archive import PictureArchive
    from geoloc_pipeline.storage.layout import Home
    from geoloc_pipeline.storage.parquet import read_table
    from geoloc_pipeline.tables import PHOTO_COLLECTIONS

    home = Home.at(scratch)
    path = home.table("photo_collections", SET)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    shutil.copytree(seeds / "grown_home" / "images", scratch / "images")
    archive = PictureArchive.open(home)
    return [len(archive.read(image_id)) for image_id in read_table(PHOTO_COLLECTIONS, path)["image_id"]]


def _journal(data: bytes, name: str, scratch: Path, seeds: Path) -> object:
    from geoloc_pipeline.imagery.photo_sets import collect_photo_set

    shutil.copytree(seeds / "grown_home" / "images" / "photo_collections" / SET, scratch / "shards")
    _placed(data, scratch / "shards", name)
    images, _ = collect_photo_set(SET, seeds / "world" / "photos" / SET, scratch / "shards", workers=1)
    return len(images)


def _checkpoint(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.model.saved import load_geolocator

    return load_geolocator(_placed(data, scratch, "best.pt")).model_version


def _export(data: bytes, name: str, scratch: Path, seeds: Path) -> object:
    from geoloc_pipeline.model.saved import load_geolocator

    shutil.copytree(seeds / "export", scratch / "export")
    _placed(data, scratch / "export", name)
    return load_geolocator(scratch / "export").model_version


def _training_run(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.training.run import read_run

    return read_run(_placed(data, scratch, "run.json"))


def _receipt(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.storage.receipts import is_current, read_receipt

    receipt = read_receipt(_placed(data, scratch, "receipt.json"))
    return is_current(receipt, fingerprint=receipt.fingerprint if receipt else "", root=seeds / "receipt_files")


def _note(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.retrieval.gallery.edge import EdgeStore
    from geoloc_pipeline.sources.dump_copies import is_there
    from geoloc_pipeline.sources.pace import DailyBudget
    from geoloc_pipeline.storage.progress import read_progress

    path = _placed(data, scratch, name)
    if name == "progress.json":
        return read_progress(path)
    if name == "budget.json":
        budget = DailyBudget("x", 100, path=path, today=lambda: date(2026, 11, 21))
        budget.spend()
        return budget.left()
    if name == "dump.json":
        return is_there(_placed(b"abc", scratch, "dump").rename(path.with_suffix("")), "0123")
    return EdgeStore(path.parent).live()


def _intake(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.imagery.intake import Intake

    _placed(data, scratch, name)
    intake = Intake(scratch, recipe="r")
    return [intake.find(key) for key in ("k1", "k2")]


def _plan(data: bytes, name: str, scratch: Path, seeds: Path) -> object:  # noqa: ARG001
    from geoloc_pipeline.imagery.plan import read_plan

    return read_plan(_placed(data, scratch, name))


def _spoilt_checkpoint(data: bytes, dice: random.Random) -> bytes:
    return spoilt_zip(data, dice)


def _spoilt_export(data: bytes, dice: random.Random) -> bytes:
    if data[:1] == b"{":
        return spoilt_json(data, dice)
    if dice.random() < 0.5 and data[8:9] == b"{":  # safetensors: the length of a JSON header, the header, the numbers
        size = int.from_bytes(data[:8], "little")
        header = spoilt_json(data[8 : 8 + size], dice)
        return len(header).to_bytes(8, "little") + header + data[8 + size :]
    return spoilt(data, dice)


DOORS: dict[str, Door] = {
    "pbf": Door("PBF, bytes", spoilt, _pbf, 0.09),
    "census_zip": Door("census zip", spoilt, _census, 0.06),
    "shapefile": Door("shapefile in its zip", spoilt_zip, _census, 0.09),
    "picture": Door("WebP, JPEG, PNG, …", spoilt, _picture, 0.14),
    "photo_set_list": Door("photo lists, CSV", spoilt_text, _photo_set, 0.07, suffixes=(".csv",)),
    "photo_set_archive": Door(
        "photo archives, tar and zip", spoilt, _photo_set, 0.06, suffixes=(".zip", ".tar", "images00", "images01", "images02")
    ),
    "photo_set_sqlite": Door("YFCC100M's SQLite", spoilt, _photo_set, 0.03, suffixes=(".sql",)),
    "provider": Door("providers' JSON", spoilt_json, _provider, 0.12),
    "vector_tile": Door("vector tile", spoilt, _vector_tile, 0.05, refusals=(ValueError,)),
    "kept_coverage": Door("kept coverage, JSON", spoilt_json, _kept_coverage, 0.03, refusals=(ValueError,)),
    "table": Door("tables, Parquet", spoilt, _table, 0.06),
    "archive_index": Door("image table and shards", spoilt, _archive_index, 0.02),
    "journal": Door("journal and shards", spoilt, _journal, 0.02),
    "checkpoint": Door("checkpoint, bytes", spoilt, _checkpoint, 0.03),
    "checkpoint_inner": Door("checkpoint, inside its zip", _spoilt_checkpoint, _checkpoint, 0.03),
    "export": Door("export: safetensors, JSON", _spoilt_export, _export, 0.03),
    "training_run": Door("training run, JSON", spoilt_json, _training_run, 0.03),
    "receipt": Door("receipt, JSON", spoilt_json, _receipt, 0.02),
    "note": Door("progress, budget, alias", spoilt_json, _note, 0.03),
    "intake": Door("intake journal", spoilt, _intake, 0.01),
    "plan": Door("plan", spoilt, _plan, 0.01),
    "pbf_inner": Door("PBF, inside its blobs", spoilt_pbf, _pbf_inner, 0.02),
}


def case(name: str, number: int, folder: Path) -> tuple[bytes, str]:
    """Return the spoilt bytes of one case, and the name of the seed that they were; the same for the same number."""
    door = DOORS[name]
    dice = random.Random(f"{name} {number}")
    seeds = door.seeds(folder, name)
    chosen = seeds[number % len(seeds)]
    return door.spoil(chosen.read_bytes(), dice), str(chosen.relative_to(folder / name))


def count_of(name: str, cases: int) -> int:
    """Return how many of `cases` go through a door."""
    return max(4, round(cases * DOORS[name].share))

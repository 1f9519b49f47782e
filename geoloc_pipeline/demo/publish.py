"""Publishes a world: the files that Geofabrik, e-Stat and a photographer would hold of a land.

Belongs here: the folder as a whole, which stands whole or not at all, and real files put in the same places.
Does not belong here: each kind of file (`publish_osm.py`, `publish_census.py`, `publish_photos.py`, `publish_sets.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import shapely

from geoloc_pipeline.demo.pictures import Renderer
from geoloc_pipeline.demo.publish_census import archive_name, publish_census
from geoloc_pipeline.demo.publish_osm import describe_extract, extract_path, publish_extracts, publish_index
from geoloc_pipeline.demo.publish_photos import publish_photos
from geoloc_pipeline.demo.publish_sets import publish_sets
from geoloc_pipeline.demo.read import archives_in, dumps_in, read_version
from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.geo.prefectures import BY_CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoloc_pipeline.demo.land import Land
    from geoloc_pipeline.demo.pictures import Draw

FORM = 2
"""Changes when the published files of an unchanged land change, so that worlds on disk are made anew."""
GEOFABRIK, ESTAT, PHOTOS = "geofabrik", "estat", "photos"
_NOTE = "world.json"


def publish_world(land: Land, folder: Path, *, draw: Draw | None = None) -> None:
    """Writes a land's files below `folder`: `geofabrik/`, `estat/` and `photos/<set>/`; whole or not at all.

    A folder that already holds this very land is left alone; one that holds another is replaced.

    Args:
        land: The land.
        folder: Where; made anew beside itself and renamed.
        draw: Draws the photos; the demo's renderer if absent.

    Raises:
        BadSourceFileError: `folder` holds something that was not published by this module.
    """
    fingerprint = fingerprint_of(land)
    if _holds(folder, fingerprint):
        return
    with _made_whole(folder, fingerprint) as scratch:
        publish_extracts(land, scratch / GEOFABRIK)
        publish_census(land, scratch / ESTAT)
        draw = draw or Renderer(land)
        publish_photos(land, scratch / PHOTOS / "local", draw=draw)
        publish_sets(land, scratch / PHOTOS, draw=draw)


def publish_real_files(source: Path, folder: Path) -> None:
    """Puts real files where the services would have them; whole or not at all.

    The map stands for the extract of every region that one of the prefectures belongs to. There are no photos.

    Args:
        source: Folder of one `*.osm.pbf` with a replication header and of e-Stat archives.
        folder: Where; made anew beside itself and renamed.

    Raises:
        MissingInputError: There is no map or no archive in `source`.
        BadSourceFileError: The map is no PBF or has no replication header, there are several maps or two archives of
            one prefecture, or an archive's name does not tell its prefecture.
    """
    dumps, archives = dumps_in(source), archives_in(source)
    if len(dumps) > 1:
        raise BadSourceFileError(
            path=source, reason=f"it holds {len(dumps)} maps", cure="keep one *.osm.pbf (osmium merge joins several)"
        )
    by_prefecture = {prefecture_of(path): path for path in archives}
    if len(by_prefecture) < len(archives):
        raise BadSourceFileError(path=source, reason="it holds two archives of one prefecture", cure="keep one of them")
    published_at, sequence = read_version(dumps[0])
    facts = [(path.name, path.stat().st_size) for path in (*dumps, *archives)]
    fingerprint = hashlib.sha256(json.dumps([FORM, facts, sequence, str(published_at)]).encode()).hexdigest()
    if _holds(folder, fingerprint):
        return
    with _made_whole(folder, fingerprint) as scratch:
        (scratch / PHOTOS / "local").mkdir(parents=True)
        (scratch / ESTAT).mkdir()
        for code, path in by_prefecture.items():
            _put(path, scratch / ESTAT / archive_name(code))
        for region in sorted({BY_CODE[code].region for code in by_prefecture}):
            target = extract_path(scratch / GEOFABRIK, region, published_at)
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(dumps[0], target)
            describe_extract(scratch / GEOFABRIK, region, published_at=published_at, sequence=sequence)
        publish_index(scratch / GEOFABRIK)


def prefecture_of(path: Path) -> str:
    """Tells the prefecture of an e-Stat archive from its name.

    Args:
        path: Such as `A002005212020DDSWC13-JGD2011.zip`.

    Returns:
        Two digits.

    Raises:
        BadSourceFileError: The name says no prefecture.
    """
    found = re.search(r"DDSWC(\d\d)(?!\d)", path.name)
    if not found or found[1] not in BY_CODE:
        raise BadSourceFileError(
            path=path,
            reason="its name tells no prefecture",
            cure="take the archive of a whole prefecture and keep e-Stat's name: A002005212020DDSWC13-JGD2011.zip",
        )
    return found[1]


def fingerprint_of(land: Land) -> str:
    """Gives a hash of everything that a land is."""
    digest = hashlib.sha256(f"{FORM} {land.seed} {land.sequence} {land.published_at.isoformat()}".encode())
    for road in land.roads:
        digest.update(json.dumps([road.way_id, road.tags], ensure_ascii=False).encode())
        digest.update(road.lonlat.tobytes())
    for mark in land.landmarks:
        digest.update(json.dumps([mark.kind, mark.osm_id, mark.tags], ensure_ascii=False).encode())
        digest.update(shapely.to_wkb(mark.geometry))
    for town in land.towns:
        facts = [town.key_code, town.prefecture, town.municipality, town.town, town.population, town.is_water]
        digest.update(json.dumps(facts, ensure_ascii=False).encode())
        digest.update(shapely.to_wkb(town.polygon))
    return digest.hexdigest()


def _holds(folder: Path, fingerprint: str) -> bool:
    try:
        return bool(json.loads((folder / _NOTE).read_text(encoding="utf-8"))["fingerprint"] == fingerprint)
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError):
        return False


@contextmanager
def _made_whole(folder: Path, fingerprint: str) -> Iterator[Path]:
    """Yields a folder beside `folder`, which takes its place when the block ends well.

    Yields:
        The folder to write to.

    Raises:
        BadSourceFileError: `folder` holds something that nobody published.
    """
    if folder.exists() and not (folder / _NOTE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadSourceFileError(path=folder, reason="it is no published world", cure="name an empty folder for the world")
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f"{folder.name}.{os.getpid()}.old")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (scratch, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        scratch.mkdir()
        yield scratch
        (scratch / _NOTE).write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
        for path in scratch.rglob("*"):
            if path.is_file():
                _sync(path)
        if not _holds(folder, fingerprint):  # another process may have been faster
            if folder.exists():
                folder.rename(old)
            _take_place(scratch, folder, fingerprint)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _take_place(scratch: Path, folder: Path, fingerprint: str) -> None:
    try:
        scratch.rename(folder)
    except OSError:
        if not _holds(folder, fingerprint):  # not merely the same world of a faster process
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(source: Path, target: Path) -> None:
    """Links a file, which costs nothing, or copies it where the disk does not allow links."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)

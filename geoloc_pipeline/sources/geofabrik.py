"""Geofabrik: daily extracts of OpenStreetMap by region, as dated `.osm.pbf` files.

Source: https://download.geofabrik.de (index-v1.json, <region>-latest.osm.pbf, .md5, <region>-updates/state.txt).
Licence: ODbL 1.0; attribution "(c) OpenStreetMap contributors".
Cadence: daily; data of about 20:30 UTC are published about 23:00 UTC.
Polite: one download at a time, a contact in the User-Agent, only when the version changed, resume by Range + If-Range, md5.
Keeps: the newest two dated copies of a region: Geofabrik drops dailies after a week.
Absent: a region that the index does not name is a `SettingError`; an extract without replication header has sequence 0.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from geoloc_pipeline.errors import MissingInputError, SettingError, SourceUnavailableError
from geoloc_pipeline.sources.http import PASSING, PassingFaultError, retry_after_s
from geoloc_pipeline.sources.pbf import check_pbf, read_replication
from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.sources.http import Answer, HttpClient
    from geoloc_pipeline.storage.progress import Progress

SERVICE = "Geofabrik"
INDEX_URL = "https://download.geofabrik.de/index-v1.json"
LEAN_INDEX_URL = "https://download.geofabrik.de/index-v1-nogeom.json"  # the same without 3 MB of outlines
KEPT_COPIES = 2

_ONE_AT_A_TIME = threading.Lock()  # of the whole process, whatever the number of clients
_DATED = re.compile(r"[\w-]+-(\d{6})\.osm\.pbf")


@dataclass(frozen=True)
class DumpVersion:
    """Which state of the map a dump holds.

    Attributes:
        region: Geofabrik id.
        sequence: Replication sequence number; 0 where the file has no replication header.
        timestamp: Until when edits are in it, UTC.
        md5: Of the file, in hexadecimal.
    """

    region: str
    sequence: int
    timestamp: datetime
    md5: str


@dataclass(frozen=True)
class _RegionUrls:
    pbf: str
    updates: str


class GeofabrikClient:
    """Knows the regions, their current version, and brings their dumps."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._index: dict[str, _RegionUrls] | None = None

    def latest(self, region: str) -> DumpVersion | None:
        """Return the version that is published now; costs two tiny requests (and the index, once).

        None when the index names the region and nothing is published for it at the moment.

        Args:
            region: Geofabrik id, such as `kanto`; any region of the index works.

        Returns:
            Its version; `md5` is that of the published file.

        Raises:
            SettingError: The index does not name the region.
            SourceUnavailableError: Geofabrik does not answer, or not with what it should.
            SourceRefusedError: Geofabrik refuses.
        """
        urls = self._urls(region)
        if self._http.get(f"{urls.pbf}.md5", service=SERVICE, absent=frozenset({404})).status == 404:
            return None
        sequence, timestamp = self._state(urls)
        return DumpVersion(region=region, sequence=sequence, timestamp=timestamp, md5=self._md5(f"{urls.pbf}.md5"))

    def fetch(self, region: str, folder: Path, *, progress: Progress | None = None) -> Path:
        """Bring the current dump of a region, verified; a copy that is already there is not fetched again.

        Args:
            region: Geofabrik id.
            folder: Where the dated copies of this region are kept; older ones than the newest two are removed from it.
            progress: Told bytes.

        Returns:
            The dated file, such as `kanto-261121.osm.pbf`; beside it stands `.json` with version and size.

        Raises:
            SettingError: The index does not name the region.
            SourceUnavailableError: Geofabrik does not answer; what arrived is kept for the next run.
            SourceRefusedError: Geofabrik refuses.
            ChecksumMismatchError: What arrived is not what Geofabrik published.
            BadSourceFileError: What arrived is no OSM PBF file.
            HomeError: The disk is full or not ours to write.
        """
        with _ONE_AT_A_TIME:
            urls = self._urls(region)
            url, name = self._dated(urls)
            path = folder / name
            md5 = self._md5(f"{url}.md5", otherwise=f"{urls.pbf}.md5")
            if not _is_there(path, md5):

                def check(part: Path) -> None:
                    check_pbf(part, shown=path)

                self._http.download(url, path, service=SERVICE, md5=md5, check=check, progress=progress)
                _write_note(path, md5=md5)
            _drop_old_copies(folder, keep=path)
        return path

    def _urls(self, region: str) -> _RegionUrls:
        if self._index is None:
            answer = self._http.get(LEAN_INDEX_URL, service=SERVICE, absent=frozenset({404}))
            if answer.status == 404:
                answer = self._http.get(INDEX_URL, service=SERVICE)
            self._index = _read_index(answer)
        if region not in self._index:
            raise SettingError(
                setting="the Geofabrik region",
                value=region,
                cure=f"use an id of {INDEX_URL}, such as {', '.join(sorted(self._index)[:8])}",
            )
        return self._index[region]

    def _dated(self, urls: _RegionUrls) -> tuple[str, str]:
        """Return the URL that `-latest` redirects to and the dated name of the copy; only headers are read.

        The headers come from a GET that is left at once: HEAD is known to time out there.
        """

        def ask() -> str:
            with self._http.stream(urls.pbf, follow_redirects=False) as response:
                if response.status_code in PASSING:
                    raise PassingFaultError(f"HTTP {response.status_code}", wait_s=retry_after_s(response.headers))
                return str(response.headers.get("location", ""))

        target = self._http.patiently(ask, service=SERVICE, shown=self._http.shown(urls.pbf))
        url = str(httpx.URL(urls.pbf).join(target)) if target else urls.pbf
        name = url.rsplit("/", 1)[-1]
        if not _DATED.fullmatch(name):  # a mirror without redirect: the date of its data names our copy
            _, timestamp = self._state(urls)
            name = f"{re.sub(r'(-latest)?[.]osm[.]pbf$', '', name)}-{timestamp:%y%m%d}.osm.pbf"
        return url, name

    def _state(self, urls: _RegionUrls) -> tuple[int, datetime]:
        url = f"{urls.updates.rstrip('/')}/state.txt"
        text = self._http.get(url, service=SERVICE).content.decode("utf-8", "replace")
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
        try:
            written = fields["timestamp"].strip().replace("\\:", ":")
            return int(fields["sequenceNumber"]), datetime.fromisoformat(written).astimezone(UTC)
        except (KeyError, ValueError):
            raise SourceUnavailableError(service=SERVICE, url=url, reason=f"it sent no state file but {text[:80]!r}") from None

    def _md5(self, url: str, *, otherwise: str = "") -> str:
        answer = self._http.get(url, service=SERVICE, absent=frozenset({404}) if otherwise else frozenset())
        if answer.status == 404:
            return self._md5(otherwise)
        first = answer.content[:64].decode("ascii", "replace").split()
        if not first or not re.fullmatch(r"[0-9a-fA-F]{32}", first[0]):
            raise SourceUnavailableError(service=SERVICE, url=url, reason=f"it sent no md5 but {answer.content[:60]!r}")
        return first[0].lower()


def read_dump_version(path: Path, *, region: str) -> DumpVersion:
    """Return the version of a dump on disk, Geofabrik's or any other `.osm.pbf`.

    Args:
        path: The file.
        region: What the version shall be called.

    Returns:
        Sequence and timestamp of its replication header; sequence 0 and the file's own time where it has none. The md5 is
        taken from the note beside a fetched dump, else computed.

    Raises:
        BadSourceFileError: It is no whole OSM PBF file.
        MissingInputError: It is not there.
    """
    if not path.is_file():
        raise MissingInputError(
            what="an OSM dump", path=path, cure=f"materialise `osm_dump` for {region} or put the file there"
        )
    check_pbf(path, shown=path)
    sequence, timestamp = read_replication(path)
    note = _read_note(path)
    md5 = str(note["md5"]) if note and note.get("size_bytes") == path.stat().st_size else _md5_of(path)
    if timestamp is None:
        timestamp = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    return DumpVersion(region=region, sequence=sequence, timestamp=timestamp, md5=md5)


def _read_index(answer: Answer) -> dict[str, _RegionUrls]:
    try:
        properties = [feature["properties"] for feature in answer.json()["features"]]
        return {
            entry["id"]: _RegionUrls(pbf=entry["urls"]["pbf"], updates=entry["urls"]["updates"])
            for entry in properties
            if {"pbf", "updates"} <= set(entry.get("urls", {}))
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceUnavailableError(
            service=SERVICE, url=answer.url, reason=f"it sent no index of regions ({type(error).__name__}: {error})"
        ) from error


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_note(path: Path, *, md5: str) -> None:
    write_text(_note_of(path), json.dumps({"md5": md5, "size_bytes": path.stat().st_size}))


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(_note_of(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return note if isinstance(note, dict) and {"md5", "size_bytes"} <= set(note) else None


def _is_there(path: Path, md5: str) -> bool:
    """Return whether this very file was fetched and verified before, or was put there by hand."""
    if not path.is_file():
        return False
    note = _read_note(path)
    if note:
        return bool(note["md5"] == md5 and note["size_bytes"] == path.stat().st_size)
    if _md5_of(path) != md5:
        return False
    _write_note(path, md5=md5)
    return True


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _drop_old_copies(folder: Path, *, keep: Path) -> None:
    """Remove dated copies of `keep`'s region but the newest two, and unfinished downloads of other days."""
    dated = re.compile(re.escape(keep.name[: -len("YYMMDD.osm.pbf")]) + r"\d{6}\.osm\.pbf(\.part.*)?")
    there = [(found, path) for path in sorted(folder.iterdir()) if (found := dated.fullmatch(path.name))]
    copies = [path for found, path in there if found[1] is None and path != keep]
    for path in copies[: max(0, len(copies) + 1 - KEPT_COPIES)]:
        path.unlink()
        _note_of(path).unlink(missing_ok=True)
    for found, path in there:
        if found[1] is not None:
            path.unlink(missing_ok=True)

"""Geofabrik: daily extracts of OpenStreetMap by region, as dated `.osm.pbf` files.

Source: https://download.geofabrik.de (index-v1.json, <region>-latest.osm.pbf, .md5, <region>-updates/state.txt).
Licence: ODbL 1.0; attribution "(c) OpenStreetMap contributors".
Cadence: daily; data of about 20:30 UTC are published about 23:00 UTC.
Polite: one download at a time, a contact in the User-Agent, only when the version changed, resume by Range + If-Range, md5.
Keeps: dated copies by a rule (`Retention`; the newest two unless told otherwise): Geofabrik drops dailies after a week.
Absent: a region that the index does not name is a `SettingError`; an extract without state and replication header has
    sequence 0 and the day in its name.
"""

from __future__ import annotations

import email.utils
import logging
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from geoloc_pipeline.errors import BadSourceFileError, SettingError, SourceUnavailableError
from geoloc_pipeline.sources.download import give_up_or_wait
from geoloc_pipeline.sources.dump_copies import (
    DumpVersion,
    Retention,
    adopt_dump,
    dated_name,
    day_in,
    drop_old_copies,
    is_there,
    read_dump_version,
    refuse_older,
    write_note,
)
from geoloc_pipeline.sources.http import PASSING, PassingFaultError, retry_after_s
from geoloc_pipeline.sources.pbf import check_pbf, replication_in

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.sources.http import Answer, HttpClient
    from geoloc_pipeline.storage.progress import Progress

__all__ = ["DumpVersion", "GeofabrikClient", "Retention", "adopt_dump", "read_dump_version"]

log = logging.getLogger(__name__)

SERVICE = "Geofabrik"
INDEX_URL = "https://download.geofabrik.de/index-v1.json"
LEAN_INDEX_URL = "https://download.geofabrik.de/index-v1-nogeom.json"  # the same without 3 MB of outlines
NEWEST_TWO = Retention()

_HEADER_BYTES = 64 * 2**10  # Geofabrik's headers end within the first 300
_ONE_AT_A_TIME = threading.Lock()  # of the whole process, whatever the number of clients


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

        The version is that of `state.txt`; where there is none, or nonsense, that of the file's own header, of which one
        request brings 64 KiB. None when the index names the region and nothing is published for it at the moment.

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
        md5 = self._md5(f"{urls.pbf}.md5")
        if md5 is None:
            return None
        return DumpVersion(region, *(self._state(urls) or self._header(urls.pbf)), md5)

    def fetch(self, region: str, folder: Path, *, kept: Retention = NEWEST_TWO, progress: Progress | None = None) -> Path:
        """Bring the current dump of a region, verified; a copy that is already there is not fetched again.

        What the file's own header says is its version (`read_dump_version`), whatever `state.txt` told before.

        Args:
            region: Geofabrik id.
            folder: Where the dated copies of this region are kept.
            kept: Which of them stay once the new one is there.
            progress: Told bytes.

        Returns:
            The dated file, such as `kanto-261121.osm.pbf`; beside it stands `.json` with md5 and size.

        Raises:
            SettingError: The index does not name the region.
            SourceUnavailableError: Geofabrik does not answer; what arrived is kept for the next run.
            SourceRefusedError: Geofabrik refuses.
            ChecksumMismatchError: What arrived is not what Geofabrik published.
            BadSourceFileError: What arrived is no OSM PBF file, or older than the newest copy in `folder`.
            HomeError: The disk is full or not ours to write.
        """
        with _ONE_AT_A_TIME:
            urls = self._urls(region)
            url, name = self._dated(urls)
            path = folder / name
            md5 = self._md5(f"{url}.md5") or self._md5(f"{urls.pbf}.md5")
            if md5 is None:
                raise SourceUnavailableError(service=SERVICE, url=f"{url}.md5", reason="there is no md5 beside the file")
            if is_there(path, md5):
                refuse_older(read_dump_version(path, region=region), path)
            else:
                self._refuse_or_tell(urls, url, path, region=region, md5=md5)

                def check(part: Path) -> None:
                    check_pbf(part, shown=path)

                self._http.download(url, path, service=SERVICE, md5=md5, check=check, progress=progress)
                write_note(path, md5=md5)
            drop_old_copies(path, kept=kept)
        return path

    def _refuse_or_tell(self, urls: _RegionUrls, url: str, path: Path, *, region: str, md5: str) -> None:
        """Ask the file's own header, before half a gigabyte comes: refuse an older map, tell when `state.txt` runs ahead."""
        version = DumpVersion(region, *self._header(url), md5)
        refuse_older(version, path)
        state = self._state(urls)
        if state and version.is_older_than(told := DumpVersion(region, *state, md5)):
            log.warning(
                "%s is not in step: its state.txt tells %s of %s, but %s holds %s. The file's own version counts; "
                "run the same step again later for the newer one",
                SERVICE, told, region, url, version,
            )  # fmt: skip

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
        if day_in(name) is None:  # a mirror without redirect: the date of its data names our copy
            name = dated_name(re.sub(r"(-latest)?[.]osm[.]pbf$", "", name), self._header(url)[1])
        return url, name

    def _state(self, urls: _RegionUrls) -> tuple[int, datetime] | None:
        url = f"{urls.updates.rstrip('/')}/state.txt"
        answer = self._http.get(url, service=SERVICE, absent=frozenset({404}))
        lines = answer.content.decode("utf-8", "replace").splitlines() if answer.status != 404 else []
        fields = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        try:
            written = fields["timestamp"].strip().replace("\\:", ":")
            return int(fields["sequenceNumber"]), datetime.fromisoformat(written).astimezone(UTC)
        except (KeyError, ValueError):
            return None

    def _header(self, url: str) -> tuple[int, datetime]:
        """Return the version in the first 64 KiB of a dump; sequence 0 and the day in its name where they tell none.

        Raises:
            SourceUnavailableError: It is no dump, or nothing tells of which day.
        """

        def ask() -> tuple[bytes, httpx.URL, str]:
            headers = {"Range": f"bytes=0-{_HEADER_BYTES - 1}", "Accept-Encoding": "identity"}
            with self._http.stream(url, headers=headers) as response:
                if response.status_code not in {200, 206}:
                    give_up_or_wait(self._http, response, service=SERVICE)
                start = bytearray()
                for piece in response.iter_raw():
                    start += piece
                    if len(start) >= _HEADER_BYTES:  # a server without ranges sends all of it: we leave
                        break
                return bytes(start), response.url, response.headers.get("last-modified", "")

        start, found, changed = self._http.patiently(ask, service=SERVICE, shown=self._http.shown(url))
        try:
            sequence, timestamp = replication_in(start, shown=found.path)
        except BadSourceFileError as error:
            raise SourceUnavailableError(service=SERVICE, url=url, reason=f"it sent no dump ({error})") from error
        timestamp = timestamp or day_in(found.path.rsplit("/", 1)[-1]) or _date_of(changed)
        if timestamp is None:
            raise SourceUnavailableError(service=SERVICE, url=url, reason="nothing tells of which day its data are")
        return sequence, timestamp

    def _md5(self, url: str) -> str | None:
        """Return the checksum that is published at `url`; None where there is none.

        Raises:
            SourceUnavailableError: Something else stands there.
        """
        answer = self._http.get(url, service=SERVICE, absent=frozenset({404}))
        if answer.status == 404:
            return None
        first = answer.content[:64].decode("ascii", "replace").split()
        if not first or not re.fullmatch(r"[0-9a-fA-F]{32}", first[0]):
            raise SourceUnavailableError(service=SERVICE, url=url, reason=f"it sent no md5 but {answer.content[:60]!r}")
        return first[0].lower()


def _date_of(written: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(written).astimezone(UTC)
    except ValueError:
        return None


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

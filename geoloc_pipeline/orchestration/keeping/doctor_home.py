"""What `geoloc doctor` looks at in a home in use: Dagster's records, versions, requests left, room for a map, locks, removals.

Belongs here: looking, quickly and without changing anything. Does not belong here: the machine, keys and services (`doctor`).
"""

import asyncio
import fcntl
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import geoloc_pipeline
from geoloc_pipeline.errors import BadSourceFileError, GeolocError, SettingError
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.keeping.doctor import INSTALL, Finding
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.tables import IMAGES

LARGEST_DUMP_BYTES = 520_000_000
"""Kanto; while it is fetched the former one stays, and cutting prefectures out takes about as much again."""
OLDEST_PYTHON = (3, 11)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)")


def examine_home(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is to be said of a home and of the installation that works in it.

    Args:
        home: The home; it need not exist.
        environ: Environment variables.

    Yields:
        Findings.
    """
    yield _versions()
    yield from _records(home, environ)
    yield from _requests(home, environ)
    if home.root.is_dir():
        yield _room(home)
        yield _locks(home)
        yield from _removals(home)


def _versions() -> Finding:
    name, here = "versions", ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding(name, "missing", f"Python {here}", "install Python 3.11 or newer", is_blocking=True)
    pins = Path(geoloc_pipeline.__file__).parents[1] / "constraints.txt"
    if not pins.is_file():
        return Finding(name, "off", f"Python {here}; no constraints.txt beside the package to compare with")
    told = [found.groups() for line in pins.read_text(encoding="utf-8").splitlines() if (found := _PIN.match(line))]
    others = [
        f"{package} {version} instead of {pin}" for package, pin in told if (version := _installed(package)) not in (None, pin)
    ]
    if others:
        detail = f"Python {here}; other versions than were tested together: {', '.join(sorted(others)[:5])}"
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        return Finding(name, "missing", detail + more, INSTALL)
    return Finding(name, "ok", f"Python {here}; packages are the {len(told)} that were tested together")


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _records(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at Dagster's records: at SQLite's files without Dagster, which would take seconds to load."""
    name, told = "Dagster's records", environ.get("DAGSTER_HOME", "").strip()
    folder = Path(told).expanduser() if told else home.dagster()
    if told and not folder.is_dir():
        cure = "make it, or unset DAGSTER_HOME to keep records in the home"
        yield Finding(name, "missing", f"DAGSTER_HOME is {told}, which is no folder", cure, is_blocking=True)
        return
    settings = folder / "dagster.yaml"
    if settings.is_file():
        try:
            kept = _records_folder(settings, environ)
        except (yaml.YAMLError, AttributeError, OSError) as error:
            cure = "mend it: `dagster instance info` says what Dagster makes of it"
            yield Finding(name, "missing", f"{settings} cannot be read ({error})", cure, is_blocking=True)
            return
        if kept is None:
            yield Finding(name, "ok", f"kept in PostgreSQL, as {settings} says; `dagster instance info` asks it")
            return
        folder = kept
    runs = folder / "history" / "runs.db"
    if not runs.is_file():
        yield Finding(name, "ok", f"none yet; the first run makes them in {folder}")
        return
    try:
        rows = dict(_query(runs, "SELECT status, count(*) FROM runs GROUP BY status"))
        switched = _query(folder / "schedules" / "schedules.db", "SELECT status, instigator_body FROM instigators")
    except sqlite3.Error as error:
        cure = f"end whatever writes there; if it stays so, move {folder} away: a new one is made, only the history is lost"
        yield Finding(name, "missing", f"{runs} cannot be read ({error})", cure, is_blocking=True)
        return
    under_way = sum(rows.get(status, 0) for status in ("STARTED", "STARTING", "QUEUED"))
    yield Finding(
        name, "ok", f"{sum(rows.values()):,} runs in {folder}, {rows.get('FAILURE', 0):,} failed, {under_way:,} under way"
    )
    yield _automation(switched)


def _records_folder(settings: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the folder of SQLite's files that `dagster.yaml` names, or its own folder; None: PostgreSQL has the records."""
    storage = (yaml.safe_load(settings.read_text(encoding="utf-8")) or {}).get("storage") or {}
    if "postgres" in storage:
        return None
    told = (storage.get("custom", {}).get("config") or storage.get("sqlite") or {}).get("base_dir")
    if isinstance(told, dict):
        told = environ.get(told.get("env", ""))
    return Path(told) if told else settings.parent


def _query(path: Path, words: str) -> list[tuple[Any, ...]]:
    if not path.is_file():
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
    try:
        return connection.execute(words).fetchall()
    finally:
        connection.close()


def _automation(switched: list[tuple[Any, ...]]) -> Finding:
    """Tell which schedules and sensors somebody has switched on."""
    name, on = "automation", []
    for status, body in switched:
        if status in {"RUNNING", "DECLARED_IN_CODE_RUNNING"}:
            on += re.findall(r'"(?:job_name|instigator_name)": "([^"]+)"', body)[:1]
    if not on:
        return Finding(name, "off", "no schedule and no sensor is switched on: nothing runs by itself")
    return Finding(name, "ok", f"switched on: {', '.join(sorted(set(on)))}; it needs the daemon (`dagster dev` brings it)")


def _requests(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell what is left of the day's budgets; what keeps a provider from being asked is told elsewhere."""
    if environ.get("GEOLOC_PROFILE") == "demo":
        return
    left = asyncio.run(_left_today(home, environ))
    if left:
        detail = ", ".join(f"{source} {number:,}" for source, number in left.items())
        cure = "" if all(left.values()) else "the next day begins at 00:00 UTC; a collection goes on where it was"
        yield Finding("requests left today", "ok" if all(left.values()) else "off", detail, cure)


async def _left_today(home: Home, environ: Mapping[str, str]) -> dict[str, int]:
    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.street_view_providers import ORDER_VARIABLE, open_provider, read_order

    left = {}
    async with AsyncHttpClient(budgets_folder=home.budgets()) as http:
        with suppress(SettingError):
            for name in read_order(environ.get(ORDER_VARIABLE, "")):
                with suppress(GeolocError):  # no key, or terms that nobody has accepted
                    left[name] = open_provider(name, http, environ).left_today()
    return {name: number for name, number in left.items() if number is not None}


def _room(home: Home) -> Finding:
    dumps = [size for a in all_artefacts(home) if a.key == "osm_dump" for size in a.receipt.files.values()]
    needed = 3 * max(dumps, default=LARGEST_DUMP_BYTES)
    free = shutil.disk_usage(home.root).free
    detail = f"the next map takes up to {needed / 1e6:,.0f} MB while it is fetched and cut; {free / 1e6:,.0f} MB are free"
    if free < needed:
        return Finding("room for a map", "missing", detail, "see what `geoloc clean --dry-run` would free")
    return Finding("room for a map", "ok", detail)


def _locks(home: Home) -> Finding:
    held = [path for path in (home.lock(), *home.images(IMAGES[0].name).parent.glob("*/.lock")) if _is_held(path)]
    left = sum(1 for _ in home.root.rglob("*.partial"))
    if held:
        return Finding(
            "locks", "ok", f"somebody is at work here: {', '.join(str(path.relative_to(home.root)) for path in held)}"
        )
    if left:
        cure = "the next run writes them anew; `geoloc clean` removes those older than a day"
        return Finding("locks", "off", f"nobody is at work here; killed writers have left {left:,} half-written files", cure)
    return Finding("locks", "ok", "nobody is at work here, and nothing is left half written")


def _is_held(path: Path) -> bool:
    """Return whether a process holds a lock; a lock file alone means nothing, a killed process holds none."""
    try:
        with path.open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _removals(home: Home) -> Iterator[Finding]:
    from geoloc_pipeline.imagery.forgotten import Forgotten

    name = "forgotten pictures"
    if home.forgetting().is_file():
        detail = "a removal of pictures was cut short: some may still be in tables, gallery or pages"
        yield Finding(
            name, "missing", detail, f"run: geoloc forget --home {home.root} (it goes on where it was)", is_blocking=True
        )
        return
    try:
        listed = Forgotten(home.forgotten())
    except BadSourceFileError as error:
        yield Finding(
            name, "missing", f"{error}", "bring the list back from a copy: without it they would return", is_blocking=True
        )
        return
    behind = [
        artefact.name
        for artefact in all_artefacts(home)
        if artefact.receipt.inputs.get("forgotten", listed.fingerprint) != listed.fingerprint
    ]
    left = _still_there(home, listed)
    if left:
        cure = "give `geoloc forget` with their ids again"
        yield Finding(name, "missing", f"{left:,} pictures of the list are still in the image tables", cure)
    elif behind:
        detail = f"{len(listed):,} on the list; {len(behind):,} collections are older than it, such as {behind[0]}"
        yield Finding(name, "off", detail, "materialise them: what is on the list is left out")
    else:
        yield Finding(name, "ok", f"{len(listed):,} on the list, none of them in the image tables")


def _still_there(home: Home, listed: Any) -> int:
    if not len(listed):
        return 0
    import pyarrow.parquet as pq

    columns = ["source", "source_image_id", "capture_group"]
    found = 0
    for contract in IMAGES:
        for path in home.tables(contract.name):
            rows = zip(*(pq.read_table(path, columns=columns)[name].to_pylist() for name in columns), strict=True)
            found += sum(listed.holds(source=at, source_image_id=one, capture_group=group) for at, one, group in rows)
    return found

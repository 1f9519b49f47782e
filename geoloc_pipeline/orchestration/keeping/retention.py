"""`geoloc clean`: what of a home nobody needs any more, by rules, and never what a receipt of a current artefact names.

Belongs here: the rules, what they make superfluous, removing it.
Does not belong here: pictures (`forget`), dumps that go when a new one comes (`sources.dump_copies`, the same rule).
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.prefectures import REGIONS
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.sources.dump_copies import Retention, day_in
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.lifeline import hold_home
from geoloc_pipeline.storage.shared import shared_home

DAY_S = 86_400
_PATIENCE_S = 5.0
_OBJECT = "object"


@dataclass(frozen=True)
class Rules:
    """What is kept.

    Attributes:
        dumps: Dated copies of a region's map.
        collections: Former collections of the embedded gallery beside the live one.
        previous_models: Keep the files of the training run before.
        log_days: Days for which logs are kept.
        report_days: Days for which pages are kept that the last evaluation did not write.
        scratch_days: Days for which a killed step may still go on from its scratch.
    """

    dumps: Retention = field(default_factory=Retention)
    collections: int = 1
    previous_models: bool = False
    log_days: float = 30
    report_days: float = 90
    scratch_days: float = 7

    def __post_init__(self) -> None:
        for name in ("collections", "log_days", "report_days", "scratch_days"):
            if getattr(self, name) < 0:
                raise SettingError(setting=name, value=getattr(self, name), cure="give 0 or more")


@dataclass(frozen=True)
class Spare:
    """Something that nobody needs any more.

    Attributes:
        kind: Such as `dump`.
        path: File or folder.
        why: In a few words.
        size_bytes: Of everything in it.
    """

    kind: str
    path: Path
    why: str
    size_bytes: int


def find_spare(home: Home, rules: Rules, *, now_s: float | None = None) -> list[Spare]:
    """Return what the rules make superfluous; nothing is touched.

    Args:
        home: Whose files.
        rules: What is kept.
        now_s: The time, in seconds since 1970; the clock's by default.

    Returns:
        Sorted by kind and path. What a receipt names is never among it.
    """
    now_s = time.time() if now_s is None else now_s
    named = {home.root / name for artefact in all_artefacts(home) for name in artefact.receipt.files}
    named.add(home.reproduction())
    found = [
        *_dumps(home, rules.dumps),
        *_collections(home, rules.collections),
        *_models(home, rules),
        *_old(home.logs(), "log", now_s - rules.log_days * DAY_S, f"older than {rules.log_days:g} days"),
        *_old(
            home.reports(),
            "report",
            now_s - rules.report_days * DAY_S,
            f"older than {rules.report_days:g} days, of no evaluation",
        ),
        *_old(home.scratch(), "scratch", now_s - rules.scratch_days * DAY_S, f"untouched for {rules.scratch_days:g} days"),
        *_partial(home, now_s),
        *_objects(home, now_s),
    ]
    spare = [each for each in found if not any(each.path == path or each.path in path.parents for path in named)]
    return sorted(spare, key=lambda each: (each.kind, each.path))


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _dumps(home: Home, kept: Retention) -> Iterator[Spare]:
    for region in REGIONS:
        copies = {path: day for path in sorted(home.dumps(region).glob("*.osm.pbf")) if (day := day_in(path.name)) is not None}
        stems: dict[str, list[Path]] = {}
        for path in copies:
            stems.setdefault(path.name[: -len("-YYMMDD.osm.pbf")], []).append(path)
        for paths in stems.values():
            days = {path: f"{copies[path]:%y%m%d}" for path in paths}
            stay = kept.kept(list(days.values()))
            for path in paths:
                if days[path] not in stay:
                    yield Spare("dump", path, f"not among the newest {kept.newest}", _size_bytes(path))


def _collections(home: Home, kept: int) -> Iterator[Spare]:
    """Yield former collections; of a gallery on a server the pipeline itself removes what is older than the last."""
    folder = home.qdrant()
    try:
        alias = json.loads((folder / "alias.json").read_text(encoding="utf-8"))
        live = alias["live"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return  # which one is live cannot be told
    former = [path for path in folder.glob("photos__*") if path.is_dir() and path.name != live]
    # The way back first, then the newest.
    former.sort(key=lambda each: (each.name == alias.get("previous"), each.stat().st_mtime, each.name), reverse=True)
    for path in former[kept:]:
        yield Spare("collection", path, f"not live, nor among the last {kept} before", _size_bytes(path))


def _models(home: Home, rules: Rules) -> Iterator[Spare]:
    folder = home.previous_model()
    if folder.is_dir() and not rules.previous_models and home.receipt("geolocation_model").is_file():
        yield Spare("checkpoint", folder, "of the training run before the current model", _size_bytes(folder))


def _old(folder: Path, kind: str, before_s: float, why: str) -> Iterator[Spare]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(".partial") and path.stat().st_mtime < before_s:
            yield Spare(kind, path, why, path.stat().st_size)


def _partial(home: Home, now_s: float) -> Iterator[Spare]:
    """Yield what killed writers have left: a day is longer than any single file takes."""
    for path in sorted(home.root.rglob("*.partial")):
        if path.is_file() and path.stat().st_mtime < now_s - DAY_S:
            yield Spare("half-written", path, "its writer was killed", path.stat().st_size)


def _objects(home: Home, now_s: float) -> Iterator[Spare]:
    """Yield what nothing names on the object storage: a day is longer than an artefact takes to be published."""
    if shared := shared_home(home):
        for key, size_bytes in shared.unnamed(before_s=now_s - DAY_S):
            yield Spare(_OBJECT, home.root / key, "of an artefact that was made anew, or never published", size_bytes)


def clean(home: Home, rules: Rules) -> list[Spare]:
    """Remove what the rules make superfluous, and return it.

    Raises:
        SettingError: Another run works in this home.
        HomeError: The home is not ours to write.
    """
    with hold_home(home, patience_s=_PATIENCE_S), disk_errors(home.root):
        spare = find_spare(home, rules)
        if shared := shared_home(home):
            shared.remove(each.path.relative_to(home.root).as_posix() for each in spare if each.kind == _OBJECT)
        for each in spare:
            if each.kind == "collection":
                each.path.with_name(f"{each.path.name}.json").unlink(missing_ok=True)  # first: half of it never counts as whole
            if each.path.is_dir():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
    return spare


def describe(home: Home, spare: list[Spare], *, is_plan: bool) -> str:
    """Return a table for a terminal, with the sum."""
    if not spare:
        return "nothing to remove: everything is in use, or the rules keep it"
    rows = [(each.kind, _shown(each.size_bytes), str(each.path.relative_to(home.root)), each.why) for each in spare]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{kind:<{widths[0]}}  {size:>{widths[1]}}  {path:<{widths[2]}}  {why}" for kind, size, path, why in rows]
    verb = "would go; nothing was touched: this was a dry run" if is_plan else "are gone"
    return "\n".join([*lines, f"{len(spare)} things, {_shown(sum(each.size_bytes for each in spare))}, {verb}"])


def _shown(size_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} bytes"

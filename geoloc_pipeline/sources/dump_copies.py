"""The dated copies of a region's dump, side by side in one folder: which there are, which goes, and a local file among them.

A copy is called `<region>-YYMMDD.osm.pbf` after the day of its data, so that names sort as ages do. Beside it stands a `.json`
with its md5 and size, for nobody wants to compute the md5 of half a gigabyte on every look.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, SettingError
from geoloc_pipeline.sources.download import check_space, md5_of
from geoloc_pipeline.sources.pbf import check_pbf, read_replication
from geoloc_pipeline.storage.atomic import atomic_path, write_text

if TYPE_CHECKING:
    from pathlib import Path

_DATED = re.compile(r"(?P<stem>[\w-]+)-(?P<day>\d{6})\.osm\.pbf")


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

    def is_older_than(self, other: DumpVersion) -> bool:
        """Return whether this is a former state of the map.

        Time counts before sequence: a local file can be numbered by another series than Geofabrik's daily one. A version
        without sequence may have no more than a day for its time, so there only days are compared.
        """
        if self.sequence and other.sequence:
            return (self.timestamp, self.sequence) < (other.timestamp, other.sequence)
        return self.timestamp.date() < other.timestamp.date()

    def __str__(self) -> str:
        return f"sequence {self.sequence or 'unknown'} of {self.timestamp:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Retention:
    """Which dated copies of a region stay when a new one has come. Geofabrik itself drops its dailies after a week.

    Attributes:
        newest: How many of the newest copies, the one that has just come among them; at least 1.
        firsts_of_month: Of how many of the newest months the earliest copy stays as well.
    """

    newest: int = 2
    firsts_of_month: int = 0

    def __post_init__(self) -> None:
        if self.newest < 1 or self.firsts_of_month < 0:
            raise SettingError(setting="the retention of dumps", value=self, cure="keep at least the newest one")

    def kept(self, days: list[str]) -> set[str]:
        """Return which of the copies' days (YYMMDD) stay."""
        days = sorted(days)
        first_of = {day[:4]: day for day in reversed(days)}
        months = sorted(first_of)[max(0, len(first_of) - self.firsts_of_month) :]
        return {*days[-self.newest :], *(first_of[month] for month in months)}


def day_in(name: str) -> datetime | None:
    """Return the midnight (UTC) of the day in a dated name; None where there is none."""
    found = _DATED.fullmatch(name)
    try:
        return datetime.strptime(found["day"], "%y%m%d").replace(tzinfo=UTC) if found else None
    except ValueError:  # six digits that are no day
        return None


def dated_name(stem: str, timestamp: datetime) -> str:
    """Return the name of a copy, such as `kanto-261121.osm.pbf`."""
    return f"{stem}-{timestamp:%y%m%d}.osm.pbf"


def read_dump_version(path: Path, *, region: str) -> DumpVersion:
    """Return the version of a dump on disk, Geofabrik's or any other `.osm.pbf`.

    Args:
        path: The file.
        region: What the version shall be called.

    Returns:
        Sequence and timestamp of its replication header. Where there is none: sequence 0 and the day in its name, else the
        file's own time. The md5 is taken from the note beside a fetched dump, else computed.

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
    md5 = str(note["md5"]) if note and note.get("size_bytes") == path.stat().st_size else md5_of(path)
    timestamp = timestamp or day_in(path.name) or datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    return DumpVersion(region=region, sequence=sequence, timestamp=timestamp, md5=md5)


def refuse_older(version: DumpVersion, path: Path) -> None:
    """Raise when a dump is older than the newest copy in hand: what was built from that one would silently go back in time.

    Args:
        version: Of the dump that is to come.
        path: Where it would stand. Copies that cannot be read do not count.

    Raises:
        BadSourceFileError: It is older; the copies stay as they are.
    """
    for _, copy in sorted(_copies(path).items(), reverse=True):
        try:
            newest = read_dump_version(copy, region=version.region)
        except BadSourceFileError:
            continue
        if version.is_older_than(newest):
            raise BadSourceFileError(
                path=path,
                reason=f"it holds {version}, older than the copy in hand {copy.name}: {newest}",
                cure=f"nothing was changed; to go back to the older map, remove {copy}",
            )
        return


def adopt_dump(path: Path, folder: Path, *, region: str) -> Path:
    """Put a local dump beside the dated copies, as if it had been fetched; nothing happens when it is there already.

    The copy is a hard link where the disk allows it, and takes no room then; do not edit the original in place.

    Args:
        path: An `.osm.pbf` of any name; it stays where it is, and no retention rule ever removes it.
        folder: Where the dated copies of this region are kept.
        region: Its Geofabrik id, or any name of your own.

    Returns:
        The copy, called by the day of its replication header, else by the day of the file's modification. One of the same day
        that held something else is replaced.

    Raises:
        SettingError: The region cannot be part of a file's name.
        MissingInputError: The file is not there.
        BadSourceFileError: It is no whole OSM PBF file, or older than the newest copy in hand.
        HomeError: The disk is full or not ours to write.
    """
    if not path.is_file():
        raise MissingInputError(what=f"the local dump of {region}", path=path, cure="put an .osm.pbf there")
    check_pbf(path, shown=path, cure="put a whole .osm.pbf there")
    sequence, timestamp = read_replication(path)
    timestamp = timestamp or datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    version = DumpVersion(region=region, sequence=sequence, timestamp=timestamp, md5=md5_of(path))
    copy = folder / dated_name(region.rsplit("/", 1)[-1], timestamp)
    if not _DATED.fullmatch(copy.name):
        raise SettingError(setting="the region of a local dump", value=region, cure="use letters, digits, - and _")
    refuse_older(version, copy)
    is_same = copy.is_file() and copy.samefile(path)
    if not is_same and not is_there(copy, version.md5):
        _link_or_copy(path, copy)
    originals = {copy: False}
    if path.resolve().parent == folder.resolve():  # it lies among the copies, perhaps as one of them
        originals[folder / path.resolve().name] = True
    for file, is_original in originals.items():
        write_note(file, md5=version.md5, is_original=is_original)
    return copy


def is_there(path: Path, md5: str) -> bool:
    """Return whether this very file was fetched and verified before, or was put there by hand."""
    if not path.is_file():
        return False
    note = _read_note(path)
    if note:
        return bool(note["md5"] == md5 and note["size_bytes"] == path.stat().st_size)
    if md5_of(path) != md5:
        return False
    write_note(path, md5=md5)
    return True


def write_note(path: Path, *, md5: str, is_original: bool = False) -> None:
    """Write down what a copy is; unless it is its user's original, retention may remove it one day."""
    note: dict[str, Any] = {"md5": md5, "size_bytes": path.stat().st_size}
    if is_original:
        note["is_original"] = True
    if note != _read_note(path):
        write_text(_note_of(path), json.dumps(note))


def drop_old_copies(path: Path, *, kept: Retention) -> None:
    """Remove what the rule does not keep.

    Dated copies of the same region beyond the rule go, and unfinished downloads of other days. `path` itself stays whatever its
    day, and so does a file that its user put among the copies and adopted.

    Args:
        path: The copy that has just come.
        kept: The rule.
    """
    copies = _copies(path)
    days = kept.kept(list(copies))
    for day, copy in copies.items():
        if day not in days and copy != path and not (_read_note(copy) or {}).get("is_original"):
            copy.unlink()
            _note_of(copy).unlink(missing_ok=True)
    unfinished = re.compile(re.escape(_stem_of(path)) + r"-\d{6}\.osm\.pbf\.part.*")
    for other in path.parent.iterdir():
        if unfinished.fullmatch(other.name):
            other.unlink(missing_ok=True)


def _stem_of(path: Path) -> str:
    return path.name[: -len("-YYMMDD.osm.pbf")]


def _copies(path: Path) -> dict[str, Path]:
    """Return the copies beside `path` of its own region, by day, oldest first."""
    if not path.parent.is_dir():
        return {}
    found = ((_DATED.fullmatch(copy.name), copy) for copy in sorted(path.parent.iterdir()))
    return {match["day"]: copy for match, copy in found if match and match["stem"] == _stem_of(path)}


def _link_or_copy(source: Path, target: Path) -> None:
    with atomic_path(target) as partial:
        partial.unlink(missing_ok=True)
        try:
            partial.hardlink_to(source.resolve())
        except OSError:  # another disk, or one without links
            check_space(target.parent, source.stat().st_size)
            shutil.copyfile(source, partial)


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(_note_of(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return note if isinstance(note, dict) and {"md5", "size_bytes"} <= set(note) else None

"""The collectors' journal: pictures are kept chunk by chunk, each whole or not at all.

A chunk is a tar shard, a manifest and a table of what was rejected, named after a hash of what the chunk should hold; the
manifest is written last, so where it stands the chunk stands. Chunks that the plan does not know (any more) stay until
`remove_unused_shards`, because tables may still speak of them; their pictures are used again instead of being fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from shapely import Point

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.shards import read_member, write_shard
from geoloc_pipeline.tables import REJECTED, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from geoloc_pipeline.tables import TableContract

_PLACED_BY_SHARD = ("shard", "offset", "size_bytes", "geometry")
_MANIFEST, _REJECTED = ".manifest.parquet", ".rejected.parquet"

Rejection = tuple[str, str, str, str]
"""source, source_image_id, reason, detail: one row of `tables.REJECTED`."""


@dataclass(frozen=True)
class Archived:
    """One picture ready for the archive.

    Attributes:
        row: Its columns in the manifest but those that the shard gives.
        data: Encoded picture.
    """

    row: dict[str, Any]
    data: bytes


def image_id_of(source: str, source_image_id: str) -> str:
    """Return the id of a picture: the first 16 hexadecimal digits of the SHA-256 of where it comes from."""
    return hashlib.sha256(f"{source}\n{source_image_id}".encode()).hexdigest()[:16]


def _digest(contents: Any) -> str:
    return hashlib.sha256(json.dumps(contents, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


class Journal:
    """The chunks in one folder.

    Args:
        folder: Holds the shards of one image table's partition.
        contract: That table's contract.
        recipe: How pictures are made, JSON-serialisable; pictures of another recipe are not used again.
    """

    def __init__(self, folder: Path, contract: TableContract, *, recipe: Any) -> None:
        self.folder, self.recipe, self._contract = folder, _digest(recipe)[:6], contract
        self._in_use: set[str] = set()
        self._known: dict[str, dict[str, Any]] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder against other collectors (they wait), and clear away what a killed one left half written.

        Yields:
            None.

        Raises:
            HomeError: The folder cannot be made or written.
        """
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in self.folder.glob("*.partial"):
                    left.unlink(missing_ok=True)
                yield

    def chunk_name(self, position: int, contents: Any) -> str:
        """Return the name of a chunk that shall hold `contents` (JSON-serialisable)."""
        return f"{position:05d}-{self.recipe}-{_digest(contents)[:12]}"

    def part_name(self, name: str, pictures: Sequence[Archived]) -> str:
        """Return the name under which a chunk is written as far as it came."""
        return f"{name}-{_digest([picture.row['image_id'] for picture in pictures])[:8]}-part"

    def read(self, name: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Return a chunk's manifest and rejected rows; None unless it stands whole, shard included.

        A chunk that was read is in use: `find` looks for pictures elsewhere.
        """
        try:
            images = read_table(self._contract, self.folder / f"{name}{_MANIFEST}")
            rejected = read_table(REJECTED, self.folder / f"{name}{_REJECTED}")
        except (MissingInputError, BadSourceFileError):
            return None
        if len(images):
            shard = self.folder / f"{name}.tar"
            end = int((images["offset"] + images["size_bytes"]).max())
            if not shard.is_file() or shard.stat().st_size < end:
                return None
        self._in_use.add(name)
        return images, rejected

    def write(
        self, name: str, pictures: Sequence[Archived], rejections: Sequence[Rejection]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write a chunk, manifest last, and return its tables as `read` would.

        Args:
            name: From `chunk_name`, a word of the caller's behind it if need be.
            pictures: In the order in which they shall lie in the shard.
            rejections: What was turned away.

        Returns:
            Manifest and rejected rows.

        Raises:
            HomeError: The disk is full or not ours to write.
            TableContractError: A row breaks the table's contract.
        """
        rows = [picture.row for picture in pictures]
        if pictures:
            members = write_shard(self.folder / f"{name}.tar", ((f"{p.row['image_id']}.webp", p.data) for p in pictures))
            rows = [
                row | {"shard": member.shard, "offset": member.offset, "size_bytes": member.size_bytes}
                for row, member in zip(rows, members, strict=True)
            ]
        images = images_table(self._contract, rows)
        rejected = rejected_table(rejections)
        write_table(REJECTED, rejected, self.folder / f"{name}{_REJECTED}")
        write_table(self._contract, images, self.folder / f"{name}{_MANIFEST}")
        self._in_use.add(name)
        return images, rejected

    def find(self, image_id: str) -> Archived | None:
        """Return a picture that some chunk of this recipe holds, of those that are not in use; None when there is none.

        By our id, not the provider's: two providers may number their pictures alike.
        """
        if self._known is None:
            self._known = {}
            names = {path.name.removesuffix(_MANIFEST) for path in self.folder.glob(f"*-{self.recipe}-*{_MANIFEST}")}
            for name in sorted(names - self._in_use):
                kept = self.read(name)
                if kept is not None:
                    self._known |= {row["image_id"]: row for row in kept[0].to_dict("records")}
                    self._in_use.discard(name)
        row = self._known.get(image_id)
        if row is None:
            return None
        data = read_member(self.folder, shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            return None
        return Archived({name: value for name, value in row.items() if name not in _PLACED_BY_SHARD}, data)


def remove_unused_shards(folder: Path, images: pd.DataFrame) -> int:
    """Remove the chunks that an image table does not speak of (any more), and return how many.

    Call it after the table was written: until then the former table may speak of them. Safe against a kill: a chunk loses its
    manifest first, and the next call removes what is left. While a collector is at work in the folder nothing is removed.

    Args:
        folder: Holds the shards of the table's partition.
        images: The table.

    Returns:
        How many shards were removed.

    Raises:
        HomeError: The folder is not ours to write.
    """
    used = set(images["shard"])
    unused = [shard for shard in sorted(folder.glob("*.tar")) if shard.name not in used]
    if not unused:
        return 0
    with disk_errors(folder), (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # its chunks are in no table yet
        for shard in unused:
            (folder / f"{shard.stem}{_MANIFEST}").unlink(missing_ok=True)  # first: without it the chunk does not stand
            (folder / f"{shard.stem}{_REJECTED}").unlink(missing_ok=True)
            shard.unlink(missing_ok=True)
    return len(unused)


def images_table(contract: TableContract, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return complete rows as an image table; the geometry is made of lat and lon."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in contract.column_names if name != "geometry"}
    return as_table(contract, columns | {"geometry": [Point(row["lon"], row["lat"]) for row in rows]})


def rejected_table(rejections: Sequence[Rejection]) -> pd.DataFrame:
    """Return rejections as `tables.REJECTED`, each key once (the first counts)."""
    first: dict[tuple[str, str, str], str] = {}
    for source, source_image_id, reason, detail in rejections:
        first.setdefault((source, source_image_id, reason), detail)
    keys = list(first)
    return as_table(
        REJECTED,
        {
            "source": [key[0] for key in keys],
            "source_image_id": [key[1] for key in keys],
            "reason": [key[2] for key in keys],
            "detail": list(first.values()),
        },
    )


def joined_tables(
    contract: TableContract, parts: Sequence[tuple[pd.DataFrame, pd.DataFrame]], further: Sequence[Rejection]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of all chunks as two, with further rejections, in key order.

    Args:
        contract: Of the image table.
        parts: Manifest and rejected rows of each chunk.
        further: What was turned away before any chunk.

    Returns:
        The image table and `tables.REJECTED`.
    """
    images = [part[0] for part in parts if len(part[0])]
    rejected = [rejected_table(further), *(part[1] for part in parts if len(part[1]))]
    rejected = [table for table in rejected if len(table)]
    return _joined(contract, images), _joined(REJECTED, rejected)


def _joined(contract: TableContract, tables: list[pd.DataFrame]) -> pd.DataFrame:
    if not tables:
        return empty_table(contract)
    key = list(contract.key)
    return pd.concat(tables, ignore_index=True).drop_duplicates(key).sort_values(key, kind="stable", ignore_index=True)

"""Any archived picture by its id: where it lies, its bytes in one read, or as a plain file.

Belongs here: looking up rows of the image tables, and reading what they speak of.
Does not belong here: collecting pictures (`imagery`), decoding them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geoloc_pipeline.errors import BadSourceFileError, ImageError, MissingInputError
from geoloc_pipeline.storage.atomic import write_bytes
from geoloc_pipeline.storage.parquet import REMAKE
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import IMAGES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from geoloc_pipeline.storage.layout import Home

_TEXTS, _NUMBERS = ("image_id", "sha256", "shard"), ("offset", "size_bytes")
_ROW = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in _TEXTS]
    + [pa.field(name, pa.int64(), nullable=False) for name in _NUMBERS]
)
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Entry:
    """Where one archived picture lies.

    Attributes:
        image_id: As in the image tables.
        asset_key: The table that speaks of it.
        partition: Of that table.
        shard: Its tar file, whole path.
        offset: Of its first byte in the shard.
        size_bytes: Of the encoded picture.
        sha256: Of those bytes, hexadecimal.
    """

    image_id: str
    asset_key: str
    partition: str
    shard: Path
    offset: int
    size_bytes: int
    sha256: str


class PictureArchive:
    """The pictures that the image tables spoke of when the archive was opened.

    Later materialisations are not noticed: a picture collected since is unknown, and one whose shard was replaced since is
    told as missing. Opening is cheap enough to do again; nothing is held open in between. May be shared between threads and
    handed to worker processes. A million pictures take 68 MB.
    """

    def __init__(self, root: Path, shards: list[tuple[str, str, Path]], columns: _Columns) -> None:
        """Take what `open` has read; use that."""
        self._root, self._shards, self._columns = root, shards, columns

    @classmethod
    def open(cls, home: Home) -> PictureArchive:
        """Read where every picture lies, out of all partitions of the image tables that there are.

        Args:
            home: Whose pictures; with no table yet, an archive of no pictures.

        Returns:
            The archive. An id in two tables is one picture: the first counts, street view before photos.

        Raises:
            BadSourceFileError: A table is no readable Parquet file or lacks a column.
        """
        shards: list[tuple[str, str, Path]] = []
        parts = []
        for asset_key in (contract.name for contract in IMAGES):
            for path in home.tables(asset_key):
                part, names = _read_part(path, first_shard=len(shards))
                folder = home.images(asset_key, path.stem)
                shards += [(asset_key, path.stem, folder / name) for name in names]
                parts.append(part)
        return cls(home.root, shards, _joined(parts))

    def find(self, image_id: str) -> Entry | None:
        """Return where a picture lies; None when no table speaks of it."""
        columns, wanted = self._columns, image_id.encode()
        if not 0 < len(wanted) <= columns.image_id.itemsize:
            return None
        row = int(np.searchsorted(columns.image_id, np.array(wanted, dtype=columns.image_id.dtype)))
        if row == len(columns.image_id) or columns.image_id[row] != wanted:
            return None
        asset_key, partition, shard = self._shards[columns.shard[row]]
        return Entry(
            image_id=image_id,
            asset_key=asset_key,
            partition=partition,
            shard=shard,
            offset=int(columns.offset[row]),
            size_bytes=int(columns.size_bytes[row]),
            sha256=columns.sha256[row].tobytes().hex(),
        )

    def read(self, image_id: str, *, check: bool = True) -> bytes:
        """Return the encoded bytes of a picture, in one read.

        Args:
            image_id: As in the image tables.
            check: Whether to compare the bytes with the SHA-256 of the table; a tenth of a millisecond for 100 kB.

        Returns:
            WebP, with the place in EXIF GPS.

        Raises:
            MissingInputError: No table speaks of the picture, or its shard is gone or cut short.
            ImageError: The bytes are not those that were archived.
        """
        entry = self.find(image_id)
        if entry is None:
            raise MissingInputError(
                what=f"a picture with the id {image_id!r}",
                path=self._root,
                cure=f"take ids from the column image_id of {' or '.join(contract.name for contract in IMAGES)}; "
                "if it should be there, materialise the asset that collects it",
            )
        data = read_member(entry.shard.parent, shard=entry.shard.name, offset=entry.offset, size_bytes=entry.size_bytes)
        if check and hashlib.sha256(data).hexdigest() != entry.sha256:
            raise ImageError(
                image=f"{image_id} in {entry.shard} at {entry.offset}",
                reason="damaged",
                detail="the bytes are not those that were archived (another SHA-256)",
                cure=f"remove this shard and materialise {entry.asset_key} of the partition {entry.partition} again",
            )
        return data

    def extract(self, image_id: str, folder: Path) -> Path:
        """Write a picture as a plain file `<image_id>.webp`, whole or not at all; one that is there is replaced.

        Args:
            image_id: As in the image tables.
            folder: Is made when it is not there.

        Returns:
            The file.

        Raises:
            MissingInputError: As `read`.
            ImageError: As `read`.
            HomeError: The folder cannot be written.
        """
        data = self.read(image_id)
        path = folder / f"{image_id}.webp"
        write_bytes(path, data)
        return path


@dataclass(frozen=True)
class _Columns:
    """One row a picture, in the order of `image_id`.

    Attributes:
        image_id: Bytes of a fixed width.
        sha256: `[n, 32]`.
        shard: Number of the shard.
        offset: Of the first byte.
        size_bytes: Of the picture.
    """

    image_id: NDArray[np.bytes_]
    sha256: NDArray[np.uint8]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    size_bytes: NDArray[np.int64]


def _read_part(path: Path, *, first_shard: int) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the columns of one table file, and the names of its shards, which are numbered from `first_shard`.

    Raises:
        BadSourceFileError: The file is no readable Parquet file, lacks a column or has no SHA-256 in `sha256`.
        OSError: The disk cannot be read.
    """
    try:
        table = pq.ParquetFile(path).read(_ROW.names).cast(_ROW).combine_chunks()
        digests = b"".join(bytes.fromhex(digest) for digest in table["sha256"].to_pylist())
        sha256 = np.frombuffer(digests, dtype=np.uint8).reshape(len(table), _DIGEST_BYTES)
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's
        raise BadSourceFileError(path=path, reason=f"not a readable image table ({error})", cure=REMAKE) from error
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise BadSourceFileError(path=path, reason=f"not a readable image table ({error})", cure=REMAKE) from error
    shards = table["shard"].combine_chunks().dictionary_encode()
    columns = {
        "image_id": np.array([image_id.encode() for image_id in table["image_id"].to_pylist()], dtype=np.bytes_),
        "sha256": sha256,
        "shard": (shards.indices.to_numpy() + first_shard).astype(np.int32),
        "offset": table["offset"].to_numpy(),
        "size_bytes": table["size_bytes"].to_numpy(),
    }
    return columns, shards.dictionary.to_pylist()


def _joined(parts: list[dict[str, NDArray[Any]]]) -> _Columns:
    """Return all rows in the order of their ids; of the same id the earlier part's come first. The parts are used up."""
    if not parts:
        none = np.empty(0, dtype=np.int64)
        return _Columns(none.astype("S1"), np.empty((0, _DIGEST_BYTES), dtype=np.uint8), none.astype(np.int32), none, none)
    image_id = np.concatenate([part.pop("image_id") for part in parts])
    order = np.argsort(image_id, kind="stable")
    others = {name: np.concatenate([part.pop(name) for part in parts])[order] for name in tuple(parts[0])}
    return _Columns(image_id=image_id[order], **others)

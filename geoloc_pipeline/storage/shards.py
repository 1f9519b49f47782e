"""Pictures in uncompressed tar shards, read by offset.

A shard is an ordinary tar file (any tool opens it, WebDataset reads it); the table beside it knows where each member's bytes
begin, so a reader needs one `pread`, or one range of an object, and no tar library. Members carry no clock and no owner: same
pictures, same bytes.
"""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.storage.atomic import atomic_path
from geoloc_pipeline.storage.shared import shared_home_of

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Member:
    """Where one picture lies.

    Attributes:
        name: Member name in the tar file.
        shard: File name of the shard.
        offset: Of the first byte of the picture in the shard.
        size_bytes: Of the picture.
    """

    name: str
    shard: str
    offset: int
    size_bytes: int


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> list[Member]:
    """Write one shard, whole or not at all.

    Args:
        path: Where it shall stand, ending in `.tar`.
        members: Names and bytes, in the order in which they are written; consumed lazily.

    Returns:
        Where each member lies, in the same order.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    written: list[Member] = []
    with atomic_path(path) as partial, tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data))
            written.append(Member(name, path.name, tar.offset - _padded(len(data)), len(data)))
    return written


def _padded(size_bytes: int) -> int:
    """Return the size of a member's bytes in blocks of 512, as tar stores them."""
    return -(-size_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def shard_size(path: Path) -> int | None:
    """Return the size of a shard in bytes, here or on object storage; None where it is gone."""
    if path.is_file():
        return path.stat().st_size
    shared = shared_home_of(path)
    return shared.shard_size(path) if shared else None


def read_member(folder: Path, *, shard: str, offset: int, size_bytes: int) -> bytes:
    """Return the bytes of one picture.

    Args:
        folder: The folder of the shards (`Home.images`).
        shard: File name of the shard.
        offset: Of the first byte.
        size_bytes: How many bytes.

    Returns:
        The picture, encoded as it was written.

    Raises:
        MissingInputError: The shard is not there, or shorter than the table says.
        SourceUnavailableError: It is on object storage, which does not answer.
    """
    path = folder / shard
    try:
        descriptor = os.open(path, os.O_RDONLY)  # anew each time: 0.01 ms, and never an old file nor one descriptor too many
        try:
            data = os.pread(descriptor, int(size_bytes), int(offset))
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        shared = shared_home_of(path)
        if shared is None:
            cure = "materialise the asset that its folder is named after again"
            raise MissingInputError(what="an image shard", path=path, cure=cure) from error
        data = shared.read_range(path, offset=int(offset), size_bytes=int(size_bytes))
    if len(data) != size_bytes:
        raise MissingInputError(
            what=f"{size_bytes} bytes at {offset} of an image shard",
            path=path,
            cure="the shard was cut short: remove it and materialise the asset that its folder is named after again",
        )
    return data

"""Write whole or not at all: a temporary name, fsync, rename.

A process that dies in the middle leaves only a file named `….partial`, which the next attempt to write the same file removes.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import HomeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTIAL = ".partial"
_HERE = re.sub(r"[^A-Za-z0-9]+", "", socket.gethostname())[:20]
"""This machine, in the names of what is being written: several may mount one home, and each knows its own processes only."""

_CURES = {
    errno.EACCES: "give this user write permission or set GEOLOC_HOME to another folder",
    errno.EPERM: "give this user write permission or set GEOLOC_HOME to another folder",
    errno.EROFS: "the disk is read-only: set GEOLOC_HOME to a folder on another disk",
    errno.ENOSPC: "free some space or set GEOLOC_HOME to a folder on another disk, then run the same step again",
    errno.EFBIG: "a limit (ulimit -f, or the file system's own) allows no larger file: raise it or set GEOLOC_HOME elsewhere",
    errno.EDQUOT: "the quota is used up: free some space or set GEOLOC_HOME to another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: set GEOLOC_HOME to a folder",
    errno.EEXIST: "a file stands where a folder is needed: set GEOLOC_HOME to a folder",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translate a full, read-only or forbidden disk into `HomeError`; other errors pass.

    Args:
        path: What is being written; named in the error.

    Yields:
        None.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
        OSError: Anything else that the disk says.
    """
    try:
        yield
    except HomeError:
        raise
    except OSError as error:
        if error.errno in _CURES:
            raise HomeError(home=path, reason=error.strerror or str(error), cure=_CURES[error.errno]) from error
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it becomes `path`.

    Args:
        path: Where the whole file shall stand; its folder is made.

    Yields:
        The path to write to.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    partial = path.with_name(f"{path.name}.{_HERE}-{os.getpid()}{_PARTIAL}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        try:
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def try_to_write(folder: Path, *, size_bytes: int = 256 * 1024) -> None:
    """Write something below a folder and take it away again, to see whether the disk takes it.

    Args:
        folder: Where; made where it is not there.
        size_bytes: How much.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    path = folder / "can-it-be-written"
    try:
        write_bytes(path, b"\0" * size_bytes)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def ensure_room(folder: Path, size_bytes: int) -> None:
    """Make sure that the disk of a folder has room, for what would not end well on a full one.

    Args:
        folder: Where; made where it is not there.
        size_bytes: How much.

    Raises:
        HomeError: It has not, or is read-only, or not ours to write.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if free < size_bytes:
        reason = f"{size_bytes / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free"
        raise HomeError(home=folder, reason=reason, cure=_CURES[errno.ENOSPC])


def _remove_left(path: Path) -> None:
    """Remove what processes of this machine left that died while they wrote `path`; of other machines nobody knows here."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.{_HERE}-*{_PARTIAL}"):
        pid = left.name.removesuffix(_PARTIAL).rpartition("-")[2]
        if pid.isdigit() and not is_alive(int(pid)):
            left.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine runs; one that has ended but was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError):  # a zombie still takes signals; /proc tells (where there is one)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

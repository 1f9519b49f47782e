"""Object storage through fsspec: whole objects in and out, ranges, listings, and one clear error for each fault.

https://filesystem-spec.readthedocs.io/
Only this module speaks to fsspec. An object appears when its upload has ended, never before; what its name is, and that it is
never written over with other bytes, is `shared`'s promise.
"""

from __future__ import annotations

import math
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from geoloc_pipeline.errors import GeolocError, MissingInputError, SettingError, SourceRefusedError, SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SETTING = "GEOLOC_HOME"
EXTRA = "pip install 'geoloc-pipeline[cloud]'"
_AT_ONCE = 16
_TRIES = 6
_PAUSE_S = 0.5  # doubles: half a minute in all; the step is tried again minutes later
_DENIED = (
    "AccessDenied",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
)
_NO_KEYS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError")


@dataclass(frozen=True)
class Listed:
    """One object of a listing.

    Attributes:
        key: Below the store's prefix.
        size_bytes: How large.
        tag: Changes when the object changes; what the service says for it (S3: the ETag).
        written_s: When, by the service's clock, in seconds since 1970; infinity where it does not say.
    """

    key: str
    size_bytes: int
    tag: str
    written_s: float


class ObjectStore:
    """What stands below one URL of an object storage.

    May be shared between threads; a process that was forked opens its own (`open_store`).
    """

    def __init__(self, url: str, filesystem: Any) -> None:
        """Take an opened filesystem; use `open_store`."""
        self.url, self._fs = url, filesystem
        self._prefix = str(filesystem._strip_protocol(url)).rstrip("/")

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, whole or not at all.

        Raises:
            SourceRefusedError: The credentials do not allow it.
            SourceUnavailableError: The service does not answer, or goes on being busy.
        """
        self._asked(key, lambda path: self._fs.pipe_file(path, data))

    def put_file(self, key: str, path: Path) -> None:
        """Upload a file, whole or not at all; errors as `put`.

        A large one goes in parts, and appears with the last: an upload that is cut leaves nothing that can be read.
        """
        self._asked(key, lambda there: self._fs.put_file(str(path), there))

    def get(self, key: str) -> bytes:
        """Return an object.

        Raises:
            MissingInputError: There is no such object.
            SourceRefusedError: As `put`.
            SourceUnavailableError: As `put`.
        """
        return bytes(self._asked(key, self._fs.cat_file))

    def get_range(self, key: str, *, offset: int, size_bytes: int) -> bytes:
        """Return some bytes of an object, fewer where it ends; errors as `get`."""
        return bytes(self._asked(key, lambda path: self._fs.cat_file(path, start=offset, end=offset + size_bytes)))

    def get_file(self, key: str, path: Path) -> None:
        """Download an object to a file that nobody reads yet; errors as `get`."""
        self._asked(key, lambda there: self._fs.get_file(there, str(path)))

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None where there is none. Errors as `put`."""
        try:
            return int(self._asked(key, lambda path: self._fs.info(path, refresh=True)["size"]))
        except MissingInputError:
            return None

    def listed(self, folder: str) -> Iterator[Listed]:
        """Yield what stands below a folder, in the order of the keys; errors as `put`."""

        def find(path: str) -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache()
            return dict(self._fs.find(path, detail=True))

        try:
            found = self._asked(folder, find)
        except MissingInputError:
            return
        for name, info in sorted(found.items()):
            tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or f"{info.get('mtime', '')}-{info['size']}"
            written = info.get("LastModified") or info.get("mtime")
            written_s = written.timestamp() if isinstance(written, datetime) else math.inf
            yield Listed(name[len(self._prefix) + 1 :], int(info["size"]), str(tag).strip('"'), written_s)

    def remove(self, key: str) -> None:
        """Remove an object; one that is gone already is fine. Errors as `put`."""
        try:
            self._asked(key, self._fs.rm_file)
        except MissingInputError:
            return

    def look(self) -> None:
        """Make sure that the bucket is there and lets us read.

        Raises:
            SettingError: There is no such bucket.
            SourceRefusedError: As `put`.
            SourceUnavailableError: As `put`.
        """
        bucket = self._prefix.partition("/")[0]

        def ask(_: str) -> None:
            self._fs.invalidate_cache()
            self._fs.ls(bucket if self._is_bucketed() else self._prefix, detail=False)

        try:
            self._asked("", ask)
        except MissingInputError:
            cure = f"there is no bucket {bucket!r}: make it, or correct the name"
            raise SettingError(setting=SETTING, value=self.url, cure=cure) from None

    def _is_bucketed(self) -> bool:
        return urlsplit(self.url).scheme not in {"memory", "local"}

    def _asked(self, key: str, ask: Callable[[str], Any]) -> Any:
        path = f"{self._prefix}/{key}" if key else self._prefix
        for failed in range(1, _TRIES + 1):
            try:
                return ask(path)
            except _client_faults() as error:
                named = _named(error, url=self.url, key=key)
                if not isinstance(named, SourceUnavailableError) or failed == _TRIES:
                    raise named from None
                time.sleep(_PAUSE_S * 2 ** (failed - 1) * random.uniform(0.5, 1.5))
        raise AssertionError("unreachable")


@lru_cache(maxsize=1)
def _client_faults() -> tuple[type[Exception], ...]:
    """Return what the clients raise: the usual errors of files, and each service's own where its client is installed."""
    found: list[type[Exception]] = [OSError]
    for module, names in (
        ("aiohttp", ("ClientError",)),
        ("botocore.exceptions", ("BotoCoreError", "ClientError")),
        ("gcsfs.retry", ("HttpError",)),
        ("google.auth.exceptions", ("GoogleAuthError",)),
    ):
        with suppress(ImportError):
            found += [getattr(import_module(module), name) for name in names]
    return tuple(found)


def _named(error: Exception, *, url: str, key: str) -> GeolocError:
    """Return our own error for one of a client's: what is gone, refused, or may pass."""
    told, kind = f"{type(error).__name__}: {error}", type(error).__name__
    service = f"the object storage of {SETTING}"
    if isinstance(error, FileNotFoundError):
        cure = "another node may have removed it: run the step again; if it stays so, materialise the asset again"
        return MissingInputError(what="an object", path=f"{url.rstrip('/')}/{key}", cure=cure)
    if kind in _NO_KEYS:
        cure = "set the service's own variables (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; GOOGLE_APPLICATION_CREDENTIALS)"
        return SourceRefusedError(service=service, reason=f"there are no credentials ({kind})", cure=cure)
    if isinstance(error, PermissionError) or any(code in told for code in _DENIED):
        cure = f"the credentials are wrong, expired, or may not use {url}: renew them, or let them read, write and list there"
        return SourceRefusedError(service=service, reason=told.splitlines()[0][:200], cure=cure)
    return SourceUnavailableError(service=service, url=f"{url.rstrip('/')}/{key}", reason=told.splitlines()[0][:200])


def open_store(url: str) -> ObjectStore:
    """Return the store at a URL; made once in each process.

    Args:
        url: As fsspec reads it: `s3://bucket/folder`, `gs://bucket/folder`. Credentials come from the service's own environment
            variables, and so does another address than the service's (`AWS_ENDPOINT_URL`).

    Returns:
        The store; nothing has been asked yet (`ObjectStore.look`).

    Raises:
        SettingError: The URL has no bucket, carries a password, or its kind is unknown or needs the extra `cloud`.
    """
    return _opened(url, os.getpid())


@lru_cache(maxsize=4)
def _opened(url: str, _pid: int) -> ObjectStore:
    import fsspec

    parts = urlsplit(url)
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}"
        cure = "leave credentials out of it: they come from the service's own environment variables"
        raise SettingError(setting=SETTING, value=shown, cure=cure)
    if not parts.netloc:
        raise SettingError(setting=SETTING, value=url, cure=f"name a bucket: {parts.scheme}://BUCKET/FOLDER")
    options: dict[str, Any] = {"use_listings_cache": False}
    if parts.scheme in {"s3", "s3a"}:
        # Patience is `_asked`'s: three floors of it would multiply. A hang over a minute is a fault.
        options["config_kwargs"] = {
            "retries": {"mode": "standard", "max_attempts": 1},
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": 64,
        }
    try:
        filesystem = fsspec.filesystem(parts.scheme, **options)
        filesystem.retries = 1
        return ObjectStore(url, filesystem)
    except ImportError as error:
        raise SettingError(setting=SETTING, value=url, cure=f"{parts.scheme}:// needs more packages: {EXTRA}") from error
    except ValueError as error:
        cure = f"{parts.scheme}:// is not known; use s3://, gs://, file:// or a folder"
        raise SettingError(setting=SETTING, value=url, cure=cure) from error


def at_once(do: Callable[[Any], None], things: Sequence[Any]) -> None:
    """Do something for each thing, several at a time; the first error goes on when all have ended."""
    if not things:
        return
    with ThreadPoolExecutor(min(_AT_ONCE, len(things))) as pool:
        done = [pool.submit(do, thing) for thing in things]
    for one in done:
        one.result()

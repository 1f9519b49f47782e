"""Big files: resumed where they stopped, verified before they get their name.

The bytes grow in `<name>.part`; `<name>.part.json` remembers which version of the file they belong to (its ETag), so that a
resumed download never glues two versions together: the server is asked with Range and If-Range, and sends everything anew when
the file has changed. The final name is given last, after size, md5 and the caller's own check.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any, NoReturn

from geoloc_pipeline.errors import ChecksumMismatchError, HomeError, SourceRefusedError
from geoloc_pipeline.sources.http import PASSING, PassingFaultError, retry_after_s
from geoloc_pipeline.storage.atomic import disk_errors, write_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

    from geoloc_pipeline.sources.http import HttpClient
    from geoloc_pipeline.storage.progress import Progress

_SPARE_BYTES = 64 * 2**20  # left free on the disk besides the file itself


def download_file(
    client: HttpClient,
    url: str,
    path: Path,
    *,
    service: str,
    md5: str | None = None,
    check: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
    absent: frozenset[int] = frozenset(),
) -> bool:
    """Bring a file to `path`, whole and verified or not at all.

    Faults on the way cost only what has not arrived yet: the next try, or the next run, goes on from there.

    Args:
        client: Who asks.
        url: What to bring.
        path: Where it shall stand; overwritten. Its folder is made.
        service: Name of the service, for messages.
        md5: What the file must have, in hexadecimal; None: unknown.
        check: Raises when the arrived file (still under another name) is not what it should be.
        progress: Told bytes.
        absent: Statuses that mean "nothing there".

    Returns:
        Whether there is such a file.

    Raises:
        ChecksumMismatchError: The file arrived whole with another md5, also when fetched anew; it is removed.
        SourceUnavailableError: Passing faults to the last try; what arrived is kept for the next run.
        SourceRefusedError: The service will not give it.
        HomeError: The disk is full or not ours to write.
    """
    part = path.with_name(f"{path.name}.part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        was_resumed = part.exists()
        if not _bring(client, url, part, service=service, progress=progress, absent=absent):
            return False
        found = md5_of(part) if md5 else None
        if found != md5 and was_resumed:  # the beginning was spoilt on an earlier day: once more, from the start
            _forget(part)
            _bring(client, url, part, service=service, progress=progress)
            found = md5_of(part)
        if md5 and found != md5:
            _forget(part)
            raise ChecksumMismatchError(path=path, expected=md5, actual=str(found))
        if check:
            _check_or_forget(check, part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
        _forget(part)
    return True


def _check_or_forget(check: Callable[[Path], None], part: Path) -> None:
    is_good = False
    try:
        check(part)
        is_good = True
    finally:
        if not is_good:
            _forget(part)  # resumed, it would only fail its check again


def _bring(
    client: HttpClient,
    url: str,
    part: Path,
    *,
    service: str,
    progress: Progress | None,
    absent: frozenset[int] = frozenset(),
) -> bool:
    """Fill `part` to the end; return whether there is such a file."""

    def go_on() -> bool:
        had_bytes = _size(part)
        try:
            return _continue(client, url, part, service=service, progress=progress, absent=absent)
        except PassingFaultError as fault:
            raise PassingFaultError(str(fault), wait_s=fault.wait_s, has_gained=_size(part) > had_bytes) from None

    return client.patiently(go_on, service=service, shown=client.shown(url))


def _continue(
    client: HttpClient, url: str, part: Path, *, service: str, progress: Progress | None, absent: frozenset[int]
) -> bool:
    have, version = _size(part), _version(part)
    headers = {"Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version["validator"]}
    with client.stream(url, headers=headers) as response:
        whole = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("content-range", ""))
        if response.status_code in absent:
            return False
        if response.status_code == 416 and whole and whole[2] == str(have):
            return True  # everything was there already
        if response.status_code == 206 and whole and whole[1] == str(have) and version:
            total = int(whole[2]) if whole[2] != "*" else None
        elif response.status_code == 200:
            have, total = 0, _length(response)
            _forget(part)
        elif response.status_code in {206, 416}:
            _forget(part)  # an answer to another question than ours: start anew
            raise PassingFaultError(f"HTTP {response.status_code} with Content-Range {response.headers.get('content-range')!r}")
        else:
            give_up_or_wait(client, response, service=service)
        if total is not None:
            check_space(part.parent, total - have)
        if have == 0:
            _remember(part, response)
        _append(response, part, have=have, total=total, progress=progress)
    return True


def _append(response: httpx.Response, part: Path, *, have: int, total: int | None, progress: Progress | None) -> None:
    with part.open("ab") as stream:
        for piece in response.iter_raw():  # of no fixed size: pieces that fill up would be lost when the connection is cut
            stream.write(piece)
            have += len(piece)
            if progress:
                progress.tell(have, total=total or 0, unit="bytes")
            if total is not None and have > total:
                break
    if total is not None and have > total:
        _forget(part)
        raise PassingFaultError(f"more than the announced {total} bytes came")
    if total is not None and have < total:
        raise PassingFaultError(f"only {have} of {total} bytes came")


def give_up_or_wait(client: HttpClient, response: httpx.Response, *, service: str) -> NoReturn:
    """Raise what an answer that is not the file calls for.

    Args:
        client: Who asked.
        response: The answer, its body still to come.
        service: Name of the service, for messages.

    Raises:
        PassingFaultError: Asking again may help.
        SourceRefusedError: It will not.
    """
    status = response.status_code
    if status in PASSING:
        raise PassingFaultError(f"HTTP {status}", wait_s=retry_after_s(response.headers))
    raise SourceRefusedError(
        service=service,
        reason=f"HTTP {status} for {client.shown(str(response.url))}",
        cure="check that the file still exists there",
    )


def check_space(folder: Path, missing_bytes: int) -> None:
    """Raise unless so many bytes fit into a folder, with 64 MiB to spare.

    Args:
        folder: Where they shall go; it exists.
        missing_bytes: How many are to come.

    Raises:
        HomeError: They do not fit; nothing was written.
    """
    free_bytes, needed_bytes = shutil.disk_usage(folder).free, missing_bytes + _SPARE_BYTES
    if needed_bytes > free_bytes:
        raise HomeError(
            home=folder,
            reason=(
                f"{needed_bytes:,} bytes are needed ({missing_bytes:,} are to come, the rest is left free) "
                f"and only {free_bytes:,} are free"
            ),
            cure="free some space or set GEOLOC_HOME to a folder on another disk, then run the same step again",
        )


def _remember(part: Path, response: httpx.Response) -> None:
    validator = response.headers.get("etag", "")
    if validator.startswith("W/") or not validator:  # a weak one does not promise the same bytes
        validator = response.headers.get("last-modified", "")
    if validator:
        write_text(part.with_name(f"{part.name}.json"), json.dumps({"validator": validator}))


def _version(part: Path) -> dict[str, Any] | None:
    try:
        version = json.loads(part.with_name(f"{part.name}.json").read_text(encoding="utf-8"))
        return version if isinstance(version["validator"], str) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _length(response: httpx.Response) -> int | None:
    said = response.headers.get("content-length", "")
    return int(said) if said.isdigit() else None


def md5_of(path: Path) -> str:
    """Return the md5 of a file in hexadecimal; it is read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

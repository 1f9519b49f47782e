"""Receipts: from what an artefact was made, so that a step that is run again skips what is done.

A receipt is written after its artefact, so it never speaks of something half written. It holds a fingerprint of the inputs
(content hashes of upstream artefacts, the step's code version, its settings) and the content hash of what came out. A step
whose fingerprint stands in its receipt, and whose files are there in the size that the receipt says, has nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Receipt:
    """What an artefact was made from, and what came out.

    Attributes:
        fingerprint: Hash of everything that went in.
        content_hash: SHA-256 over the files in `hashed`.
        inputs: What went in, by name, for people and for lineage.
        files: Size in bytes of each file, by path relative to the home.
        metadata: Plain facts about the artefact (counts, versions), JSON-serialisable.
        hashed: The files that the content hash is taken over, in that order; empty in receipts of homes from before.
    """

    fingerprint: str
    content_hash: str
    inputs: dict[str, Any]
    files: dict[str, int]
    metadata: dict[str, Any] = field(default_factory=dict)
    hashed: list[str] = field(default_factory=list)


def fingerprint_of(inputs: Mapping[str, Any]) -> str:
    """Return a hash of `inputs` (JSON-serialisable, order of keys does not matter)."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_receipt(path: Path) -> Receipt | None:
    """Return the receipt at `path`; None when there is none or it cannot be read (then the step simply runs again)."""
    try:
        receipt = Receipt(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    plain = (receipt.inputs, receipt.files, receipt.metadata)
    is_whole = all(isinstance(told, dict) for told in plain) and isinstance(receipt.hashed, list)
    return receipt if is_whole else None


def is_current(receipt: Receipt | None, *, fingerprint: str, root: Path, elsewhere: Mapping[str, int] | None = None) -> bool:
    """Return whether the artefact of `receipt` was made from `fingerprint` and still stands whole.

    Args:
        receipt: From `read_receipt`.
        fingerprint: Of what would go in now.
        root: The home that the receipt's files are relative to.
        elsewhere: Sizes in bytes of files that need not be here, as every node can have them; by path relative to the home.

    Returns:
        False when there is nothing, something else went in, or a file is gone or has another size.
    """
    if receipt is None or receipt.fingerprint != fingerprint:
        return False
    return all(size_of(root, name, elsewhere or {}) == size for name, size in receipt.files.items())


def size_of(root: Path, name: str, elsewhere: Mapping[str, int]) -> int | None:
    """Return the size of a file of a home, here or elsewhere; None where it is nowhere."""
    path = root / name
    return path.stat().st_size if path.is_file() else elsewhere.get(name)


def write_receipt(
    path: Path,
    *,
    inputs: Mapping[str, Any],
    files: Sequence[Path],
    root: Path,
    bulk: Sequence[Path] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Receipt:
    """Write the receipt of an artefact that now stands whole.

    Args:
        path: Where the receipt shall stand (`Home.receipt`).
        inputs: Everything that went in.
        files: The artefact's files; hashed in this order.
        root: The home; the receipt names files relative to it, so that a home can be moved.
        bulk: More files of the artefact, remembered by size only: `files` already hold their hashes (picture shards).
        metadata: Plain facts about the artefact.

    Returns:
        The receipt as written.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(file_hash(file).encode())
    receipt = Receipt(
        fingerprint=fingerprint_of(inputs),
        content_hash=digest.hexdigest(),
        inputs=dict(inputs),
        files={str(file.relative_to(root)): file.stat().st_size for file in (*files, *bulk)},
        metadata=dict(metadata or {}),
        hashed=[str(file.relative_to(root)) for file in files],
    )
    write_text(path, as_text(receipt))
    return receipt


def as_text(receipt: Receipt) -> str:
    """Return a receipt as its file says it."""
    return json.dumps(asdict(receipt), sort_keys=True, ensure_ascii=False, indent=1)

"""Manifests: what is published of an artefact, and under which keys; and the notes that a node keeps of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OBJECTS, MANIFESTS = "objects", "manifests"


@dataclass(frozen=True)
class Manifest:
    """What is published of one artefact.

    Attributes:
        receipt: Its receipt, field by field (`receipts.Receipt`).
        objects: SHA-256 and size in bytes of each of its files, by path relative to the home: the receipt's, and what is shown
            beside them.
    """

    receipt: dict[str, Any]
    objects: dict[str, tuple[str, int]]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Manifest:
        """Return the manifest that JSON tells."""
        return cls(dict(told["receipt"]), {str(name): (str(sha), int(size)) for name, (sha, size) in told["objects"].items()})

    def as_bytes(self) -> bytes:
        """Return the manifest as its object holds it."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()


def manifest_key(asset_key: str, partition: str) -> str:
    """Return the key of an artefact's manifest."""
    return f"{MANIFESTS}/{asset_key}/{partition}.json"


def object_key(digest: str) -> str:
    """Return the key of the object with a SHA-256."""
    return f"{OBJECTS}/{digest[:2]}/{digest}"


def parse_manifest(data: bytes, *, shown: str) -> Manifest:
    """Return a manifest that was fetched.

    Args:
        data: Its bytes.
        shown: Its address, for people.

    Returns:
        The manifest; its receipt is whole.

    Raises:
        BadSourceFileError: It is spoilt.
    """
    try:
        manifest = Manifest.of(json.loads(data))
        Receipt(**manifest.receipt)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        cure = "remove it, and materialise the asset again"
        raise BadSourceFileError(path=shown, reason=f"not a manifest ({error})", cure=cure) from error
    return manifest


def read_note(path: Path) -> dict[str, Any]:
    """Return what a note of the working copy says; nothing where it is not there or cannot be read: then it is made anew."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def objects_in(note: Path) -> dict[str, tuple[str, int]]:
    """Return the objects of a manifest that a node noted; kept in memory for as long as the note stays as it is."""
    return _objects_of(note, note.stat().st_mtime_ns if note.is_file() else 0)


@lru_cache(maxsize=256)
def _objects_of(path: Path, _changed_at_ns: int) -> dict[str, tuple[str, int]]:
    told = read_note(path)
    return Manifest.of(told).objects if told else {}

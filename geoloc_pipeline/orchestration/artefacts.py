"""Artefacts by name: `asset/partition`, what its receipt says, and whether that is still true.

Belongs here: names of artefacts, comparing a receipt with what stands on the disk.
Does not belong here: building them (`io`), what one row is made of (`lineage`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import Receipt, file_hash, read_receipt, size_of
from geoloc_pipeline.storage.shared import shared_home


@dataclass(frozen=True)
class Artefact:
    """One artefact that stands.

    Attributes:
        home: Where.
        key: Asset key.
        partition: Partition key, or `all`.
        receipt: What it was made from.
    """

    home: Home
    key: str
    partition: str
    receipt: Receipt

    @property
    def name(self) -> str:
        """`asset/partition`, as receipts name what went in."""
        return f"{self.key}/{self.partition}"

    @property
    def upstream(self) -> dict[str, str]:
        """Content hashes of the artefacts that went in, by name."""
        return {name: value for name, value in self.receipt.inputs.items() if is_name(name) and isinstance(value, str)}

    @property
    def settings(self) -> dict[str, Any]:
        """What else went in: settings, versions, what a service said."""
        return {name: value for name, value in self.receipt.inputs.items() if not is_name(name)}

    @property
    def hashed_files(self) -> list[Path]:
        """The files that the content hash is taken over, in their order; the receipt's others are remembered by size only."""
        return [self.home.root / name for name in self.receipt.hashed]

    def is_true(self) -> bool:
        """Return whether the files still are what the receipt says; reads the hashed ones whole.

        A receipt from before receipts told which files are hashed: there, sizes have to do.
        """
        shared = shared_home(self.home)
        elsewhere = shared.sizes(self.key, self.partition) if shared else {}
        if any(size_of(self.home.root, name, elsewhere) != size for name, size in self.receipt.files.items()):
            return False
        if any(not file.is_file() for file in self.hashed_files):
            return False
        return not self.receipt.hashed or content_hash(self.hashed_files) == self.receipt.content_hash


def is_name(name: str) -> bool:
    """Return whether an input's name is an artefact's."""
    return "/" in name


def content_hash(files: list[Path]) -> str:
    """Return the hash over files as receipts take it."""
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()


def find_artefact(home: Home, name: str) -> Artefact | None:
    """Return an artefact by its name; None where there is no receipt of it."""
    key, _, partition = name.partition("/")
    if not key or not partition or "/" in partition or ".." in (key, partition):
        return None
    receipt = read_receipt(home.receipt(key, partition))
    return Artefact(home, key, partition, receipt) if receipt else None


def all_artefacts(home: Home) -> Iterator[Artefact]:
    """Yield every artefact that has a receipt, by name."""
    for path in home.receipts():
        receipt = read_receipt(path)
        if receipt is not None:
            yield Artefact(home, path.parent.name, path.stem, receipt)

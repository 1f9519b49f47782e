"""Artefacts by name: `asset/partition`, what its receipt says, and whether that is still true.

Belongs here: names of artefacts, which of its files a receipt's content hash is taken over, comparing both with the disk.
Does not belong here: building them (`io`), what one row is made of (`lineage`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import Receipt, file_hash, read_receipt


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
        return hashed_files(self.home, self.key, self.partition, self.receipt)

    def is_true(self) -> bool:
        """Return whether the files still are what the receipt says; reads them whole.

        A receipt of several pages does not tell the order in which they were hashed: there, sizes have to do.
        """
        sizes = {name: self.home.root / name for name in self.receipt.files}
        if any(not file.is_file() or file.stat().st_size != self.receipt.files[name] for name, file in sizes.items()):
            return False
        return self.key == "evaluation_report" or content_hash(self.hashed_files) == self.receipt.content_hash


def is_name(name: str) -> bool:
    """Return whether an input's name is an artefact's."""
    return "/" in name


def content_hash(files: list[Path]) -> str:
    """Return the hash over files as receipts take it."""
    return hashlib.sha256("".join(file_hash(file) for file in files).encode()).hexdigest()


def hashed_files(home: Home, key: str, partition: str, receipt: Receipt) -> list[Path]:
    """Return the files of an artefact that its content hash is taken over, in their order."""
    named = [home.root / name for name in receipt.files]
    if key == "image_embeddings":
        return [home.table(key, partition)]
    if key == "geolocation_model":
        return [home.checkpoint()]
    table, rejected = home.table(key, partition), home.rejected(key, partition)
    found = [file for file in (table, rejected) if file in named]
    return found or named


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

"""Pictures that must never come back: tombstones that every collector honours.

Somebody asked for a picture, or for everything of a capture group (a drive, an author), to be removed. The list outlives the
pictures: a later refresh neither asks for them nor archives them, and rewrites the shards that still hold them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pandas as pd

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.tables import FORGOTTEN, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Forgotten:
    """The list of forgotten pictures.

    Args:
        path: Where it is kept (`Home.forgotten`); None: nothing is forgotten, and nothing can be.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        try:
            self._table = read_table(FORGOTTEN, path) if path else empty_table(FORGOTTEN)
        except MissingInputError:
            self._table = empty_table(FORGOTTEN)
        named = self._table[self._table["source_image_id"] != ""]
        self._ids = set(zip(named["source"], named["source_image_id"], strict=True))
        self._groups = set(self._table["capture_group"]) - {""}

    def __len__(self) -> int:
        return len(self._table)

    @property
    def fingerprint(self) -> str:
        """Hash of the list: what is made from another list is not current."""
        return hashlib.sha256(self._table.sort_values(list(FORGOTTEN.key)).to_csv(index=False).encode()).hexdigest()[:16]

    @property
    def has_groups(self) -> bool:
        """Whether a whole capture group is on the list."""
        return bool(self._groups)

    def ids(self, source: str) -> set[str]:
        """Return the forgotten pictures of a source by the provider's ids."""
        return {image_id for at, image_id in self._ids if at == source}

    def holds(self, *, source: str, source_image_id: str, capture_group: str | None = None) -> bool:
        """Return whether a picture is to be left alone; of several joined by `+`, whether any of them is."""
        named = any((source, one) in self._ids for one in (source_image_id, *source_image_id.split("+")))
        return named or (capture_group is not None and capture_group in self._groups)

    def add(self, *, source: str = "", source_image_id: str = "", capture_group: str = "", why: str) -> None:
        """Put a picture or a capture group on the list; what is on it stays as it is.

        Args:
            source: Provider or photo set of the picture.
            source_image_id: The provider's id; empty for a whole group.
            capture_group: As in the image tables; empty for one picture.
            why: For people.

        Raises:
            HomeError: The list cannot be written.
        """
        self.add_all([(source, source_image_id, capture_group)], why=why)

    def add_all(self, named: Iterable[tuple[str, str, str]], *, why: str) -> None:
        """Put many on the list in one write; what is on it stays as it is.

        Args:
            named: Source, source_image_id and capture_group of each, as for `add`.
            why: For people.

        Raises:
            HomeError: The list cannot be written.
        """
        rows = list(named)
        columns = dict(zip(FORGOTTEN.key, ([row[at] for row in rows] for at in range(3)), strict=True))
        new = as_table(FORGOTTEN, {**columns, "why": [why] * len(rows)})
        table = pd.concat([self._table, new], ignore_index=True).drop_duplicates(list(FORGOTTEN.key))
        if self._path and len(table) > len(self._table):
            write_table(FORGOTTEN, table, self._path)
        self._table = table
        self._ids |= {(source, image_id) for source, image_id, _ in rows if image_id}
        self._groups |= {group for _, _, group in rows if group}

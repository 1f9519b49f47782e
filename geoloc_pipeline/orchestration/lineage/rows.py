"""What lineage is told in: nodes; and how single rows are found in tables of millions.

Belongs here: one thing and what it was made of, a filter on a Parquet column.
Does not belong here: which table is looked into for what.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.tables import CONTRACTS
from geoloc_pipeline.tables.contract import VECTORS


@dataclass(eq=False)
class Node:
    """One thing.

    Attributes:
        kind: What it is, in a word or two.
        id: Its id.
        facts: What is known of it, in the order in which it is shown; missing values are left out.
        links: Pages about it, by what they are.
        sources: What it was made of, each with how.
        missing: What is not known, and why, in sentences.
    """

    kind: str
    id: str
    facts: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    sources: list[tuple[str, "Node"]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Kind and id: what tells it from every other node."""
        return f"{self.kind} {self.id}"

    def tell(self, facts: dict[str, Any]) -> None:
        """Add facts; what has no value is left out."""
        self.facts |= {name: _plain(value) for name, value in facts.items() if not _is_nothing(value)}

    def link(self, what: str, url: str) -> None:
        """Add a page, where there is one."""
        if url:
            self.links[what] = url

    def add(self, how: str, source: "Node") -> None:
        """Add what it was made of."""
        self.sources.append((how, source))

    def walk(self) -> Iterator["Node"]:
        """Yield this node and everything behind it, each once, a node before what is behind it."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            node = waiting.pop(0)
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                waiting += [source for _, source in node.sources]


def _is_nothing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 7)
    return value


class Reader:
    """Single rows out of a home's tables.

    Args:
        home: Whose tables.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def rows(
        self, table: str, column: str, values: list[str], *, partition: str | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return the rows whose `column` is one of `values`, with their partition; vectors and shapes are left out.

        Args:
            table: Asset key of the table.
            column: A string column.
            values: Looked for.
            partition: The only partition to look into; None: all.

        Raises:
            BadSourceFileError: A table cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [each.name for each in CONTRACTS[table].columns if each.kind not in VECTORS]
        paths = self._home.tables(table) if partition is None else [self._home.table(table, partition)]
        found: list[tuple[str, dict[str, Any]]] = []
        wanted = [(column, "in", values)]
        for path in paths:
            if not path.is_file():
                continue
            try:
                if not len(
                    pq.read_table(path, columns=[column], filters=wanted)
                ):  # one column tells, of 47 partitions mostly: no
                    continue
                rows = pq.read_table(path, columns=names, filters=wanted).to_pylist()
            except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                cure = "remove it and materialise the asset again"
                raise BadSourceFileError(path=path, reason=f"not a readable table ({error})", cure=cure) from error
            found += [(path.stem, row) for row in rows]
        return found

    def shapes(self, table: str, partition: str, *, box: tuple[float, float, float, float]) -> Any:
        """Return the rows of a table with geometry that touch a box (west, south, east, north in degrees)."""
        import geopandas as gpd

        path = self._home.table(table, partition)
        return gpd.read_parquet(path, bbox=box) if path.is_file() else None

"""How a table's contract is declared and checked.

A check collects every fault before it raises, so that one run tells the whole story; nothing is written when it raises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from geoloc_pipeline.errors import TableContractError, WrongCrsError
from geoloc_pipeline.geo.crs import WGS84

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["string", "float64", "int64", "int32", "bool", "timestamp", "vector", "half_vector"]
VECTORS = {"vector": "float32", "half_vector": "float16"}
"""Kinds that are lists of numbers, and of which."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Column name; a unit ends it (`_m`, `_px`, …).
        kind: `timestamp` is UTC with microseconds; `vector` a list of `size` float32, `half_vector` of float16.
        about: One line for people: what it holds, unit, where it comes from.
        nullable: Whether a missing value is allowed.
        low: Smallest allowed number.
        high: Largest allowed number.
        among: The only allowed values of a string.
        size: Length of a vector; 0: the same in every row, whatever it is.
    """

    name: str
    kind: Kind
    about: str
    nullable: bool = False
    low: float = -math.inf
    high: float = math.inf
    among: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class TableContract:
    """One table: its columns, key and geometry.

    Attributes:
        name: Asset key, and the folder below `tables/`.
        about: What one row is.
        columns: Columns in the order in which they are written, without `geometry`.
        key: Columns that together name a row; rows are written in this order.
        geometry: Allowed geometry types in WGS 84; empty for a table without geometry.
    """

    name: str
    about: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    geometry: tuple[str, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns in order, `geometry` last where there is one."""
        return (*(column.name for column in self.columns), *(("geometry",) if self.geometry else ()))


def check_table(contract: TableContract, frame: pd.DataFrame) -> None:
    """Raise unless `frame` keeps `contract`.

    Args:
        contract: What the table must be.
        frame: The table; a GeoDataFrame when the contract has geometry.

    Raises:
        WrongCrsError: The geometry is not in WGS 84.
        TableContractError: Anything else: missing or unknown columns, wrong types, nulls, values out of range,
            doubled keys, wrong geometry types, empty geometries, places beyond the country's bounds.
    """
    missing = [name for name in contract.column_names if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in contract.column_names]
    faults = [f"column `{name}` is missing" for name in missing]
    faults += [f"column `{name}` is not declared: declare it in geoloc_pipeline.tables or leave it out" for name in unknown]
    for column in contract.columns:
        if column.name in frame.columns:
            faults += _column_faults(column, frame[column.name])
    if not missing:
        faults += _key_faults(contract, frame)
        if contract.geometry:
            faults += _geometry_faults(contract, frame)
    if faults:
        raise TableContractError(table=contract.name, faults=faults)


def _column_faults(column: Column, values: pd.Series[Any]) -> list[str]:
    nulls = int(values.isna().sum())
    if nulls and not column.nullable:
        return [f"`{column.name}` has {nulls} missing values"]
    present = values.dropna()
    if not _has_kind(column, values):
        return [f"`{column.name}` is {values.dtype}, expected {column.kind}"]
    if column.kind in {"float64", "int64", "int32"} and len(present):
        wrong = present[(present < column.low) | (present > column.high) | ~(abs(present) < math.inf)]
        if len(wrong):
            return [f"`{column.name}` has {len(wrong)} values outside [{column.low}, {column.high}], such as {wrong.iloc[0]!r}"]
    if column.among and len(present):
        strange = sorted(set(present) - set(column.among))
        if strange:
            return [f"`{column.name}` holds {strange[:3]}, allowed are {list(column.among)}"]
    if column.kind in VECTORS and (lengths := set(map(len, present))) and lengths != {column.size or max(lengths)}:
        return [f"`{column.name}` has vectors of length {sorted(lengths)}, expected {column.size or 'one length'}"]
    return []


def _has_kind(column: Column, values: pd.Series[Any]) -> bool:
    import pandas as pd

    if column.kind == "string":
        return bool(pd.api.types.is_string_dtype(values)) or bool(values.isna().all())
    if column.kind == "timestamp":
        return isinstance(values.dtype, pd.DatetimeTZDtype) and str(values.dtype.tz) == "UTC"
    if column.kind in VECTORS:
        return bool(pd.api.types.is_object_dtype(values.dtype))
    return str(values.dtype).lower() == column.kind


def _key_faults(contract: TableContract, frame: pd.DataFrame) -> list[str]:
    doubled = frame[frame.duplicated(list(contract.key), keep=False)]
    if len(doubled):
        first = tuple(doubled.iloc[0][list(contract.key)])
        return [f"{len(doubled)} rows share a key ({', '.join(contract.key)}), such as {first}"]
    return []


def _geometry_faults(contract: TableContract, frame: pd.DataFrame) -> list[str]:
    crs = getattr(frame, "crs", None)
    if crs is None or str(crs) != WGS84:
        raise WrongCrsError(table=contract.name, found=str(crs), expected=WGS84)
    faults = []
    if len(frame):
        absent = int((frame.geometry.isna() | frame.geometry.is_empty).sum())
        if absent:
            faults.append(f"{absent} geometries are empty")
        faults += _outside(frame)
        strange = sorted(set(frame.geometry.geom_type.dropna()) - set(contract.geometry))
        if strange:
            faults.append(f"geometry is {strange}, allowed are {list(contract.geometry)}")
    return faults


def _outside(frame: Any) -> list[str]:
    """Tell of geometries that reach beyond the box of the country; empty ones lie nowhere."""
    from geoloc_pipeline.geo.country import EAST_DEG, NORTH_DEG, SOUTH_DEG, WEST_DEG

    west, south, east, north = frame.total_bounds
    if not (west < WEST_DEG or south < SOUTH_DEG or east > EAST_DEG or north > NORTH_DEG):
        return []
    bounds = frame.bounds
    beyond = (bounds["minx"] < WEST_DEG) | (bounds["miny"] < SOUTH_DEG)
    count = int((beyond | (bounds["maxx"] > EAST_DEG) | (bounds["maxy"] > NORTH_DEG)).sum())
    box = f"{WEST_DEG} to {EAST_DEG} east, {SOUTH_DEG} to {NORTH_DEG} north"
    return [f"{count} geometries reach beyond the country ({box})"]


_PANDAS_KINDS = {
    "string": "str", "float64": "float64", "int64": "int64", "int32": "int32", "bool": "bool",
    "timestamp": "datetime64[us, UTC]", "vector": "object", "half_vector": "object",
}  # fmt: skip


def empty_table(contract: TableContract) -> pd.DataFrame:
    """Return a table without rows that keeps `contract` (a GeoDataFrame where it has geometry)."""
    return as_table(contract, {name: [] for name in contract.column_names})


def as_table(contract: TableContract, columns: dict[str, Any]) -> pd.DataFrame:
    """Return `columns` as a table with the contract's types, order and coordinate system; nothing is checked.

    Args:
        contract: What the table shall be.
        columns: Values by column name, equally long; for `geometry` shapely geometries in WGS 84.

    Returns:
        A DataFrame, or a GeoDataFrame where the contract has geometry.
    """
    import pandas as pd

    kinds = {column.name: _PANDAS_KINDS[column.kind] for column in contract.columns}
    series = {}
    for name in contract.column_names:
        values = pd.Series(columns[name], dtype=object if name == "geometry" else None)
        if name != "geometry":
            if kinds[name] == "datetime64[us, UTC]":
                values = pd.to_datetime(values, utc=True).astype("datetime64[us, UTC]")
            else:
                values = values.astype(kinds[name])
        series[name] = values.reset_index(drop=True)
    frame = pd.DataFrame(series)
    if contract.geometry:
        import geopandas as gpd

        frame = gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)
    return frame

"""Tables on disk: contract checked, rows in key order, same rows same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.storage.atomic import atomic_path
from geoloc_pipeline.storage.shared import shared_home_of
from geoloc_pipeline.tables import check_table, empty_table
from geoloc_pipeline.tables.contract import VECTORS, as_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from geoloc_pipeline.tables import TableContract


REMAKE = "remove it and materialise the asset again"


def write_table(contract: TableContract, frame: pd.DataFrame, path: Path) -> None:
    """Check `frame`, bring it into key order and write it as (Geo)Parquet, whole or not at all.

    Args:
        contract: What the table must be.
        frame: The table; column order does not matter.
        path: Where it shall stand.

    Raises:
        TableContractError: The table breaks its contract; nothing is written.
        HomeError: The disk is full, read-only, or not ours to write.
    """
    check_table(contract, frame)
    frame = as_table(contract, {name: frame[name] for name in contract.column_names})
    frame = frame.sort_values(list(contract.key), kind="stable", ignore_index=True)
    with atomic_path(path) as partial:
        if contract.geometry:
            frame.to_parquet(partial, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
        else:
            _write_plain(contract, frame, partial)


def _write_plain(contract: TableContract, frame: pd.DataFrame, path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    for column in contract.columns:
        if column.kind in VECTORS:  # a fixed-size list, so that readers get a matrix and not a list of lists
            rows = [np.empty(0, dtype=VECTORS[column.kind]), *frame[column.name]]
            size = column.size or max(1, *map(len, rows))
            flat = pa.array(np.concatenate(rows, dtype=VECTORS[column.kind], casting="same_kind"))
            position = table.schema.get_field_index(column.name)
            table = table.set_column(position, column.name, pa.FixedSizeListArray.from_arrays(flat, size))
    pq.write_table(table, path, compression="zstd")


def read_table(contract: TableContract, path: Path) -> Any:
    """Return a table; a GeoDataFrame in WGS 84 where the contract has geometry.

    Args:
        contract: What the table is.
        path: Its file.

    Returns:
        The table with the contract's types, rows in key order.

    Raises:
        MissingInputError: The file is not there; the cure names the asset to materialise.
        BadSourceFileError: The file is no Parquet file of this table.
        SourceUnavailableError: It is on object storage, which does not answer.
        OSError: The disk cannot be read.
    """
    if shared := shared_home_of(path):
        shared.bring_table(path)
    if not path.exists():
        raise MissingInputError(
            what=f"the table `{contract.name}`",
            path=path,
            cure=f"materialise the asset `{contract.name}` (partition {path.stem}) first",
        )
    import pyarrow as pa

    try:
        if contract.geometry:
            import geopandas as gpd

            frame = gpd.read_parquet(path)
        else:
            import pandas as pd

            frame = pd.read_parquet(path)
        return as_table(contract, {name: frame[name] for name in contract.column_names})
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's; of a spoilt page pyarrow says OSError without a number
        raise BadSourceFileError(path=path, reason=f"not a readable `{contract.name}` table ({error})", cure=REMAKE) from error
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise BadSourceFileError(path=path, reason=f"not a readable `{contract.name}` table ({error})", cure=REMAKE) from error


def read_tables(contract: TableContract, paths: Sequence[Path]) -> Any:
    """Return several partitions of a table as one; an empty table when there are none.

    Args:
        contract: What the table is.
        paths: The partitions' files, in the order in which their rows shall come.

    Returns:
        All rows, newly numbered.
    """
    import pandas as pd

    frames = [frame for frame in (read_table(contract, path) for path in paths) if len(frame)]
    if not frames:
        return empty_table(contract)
    joined = pd.concat(frames, ignore_index=True)
    return as_table(contract, {name: joined[name] for name in contract.column_names})

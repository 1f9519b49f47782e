"""DuckDB's spatial extension, from its wheel: nothing is downloaded at run time.

QuackOSM loads the extension from DuckDB's default folder below the user's home, in every process that it starts; DuckDB
itself would fetch it from the network. `ensure_spatial` puts the wheel's file there instead, once.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from geoloc_pipeline.errors import MissingInputError

AFTER_CHECK = {"allow_unsigned_extensions": "true"}
"""Settings of connections that load the extension once `ensure_spatial` has: it has checked the signature of its 80 MB, which
takes 0.3 CPU seconds. QuackOSM's processes together load it nine times for each dump."""

_WHEEL_FOLDER = "extensions"
_WHAT = f"DuckDB's spatial extension for duckdb {duckdb.__version__}"
_WHERE = "~/.duckdb/extensions"


def ensure_spatial() -> None:
    """Make sure that any DuckDB connection of this user can load `spatial`, and that its signature is DuckDB's own.

    Raises:
        MissingInputError: The extension is neither installed nor in a wheel that fits this DuckDB, or DuckDB's folder below
            the home directory cannot be written.
    """
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        # Not load_extension() first: DuckDB would try to fetch a missing extension from the network before it fails.
        row = connection.execute("SELECT installed FROM duckdb_extensions() WHERE extension_name = 'spatial'").fetchone()
        if not (row and row[0]):
            _install(connection)
        try:
            connection.load_extension("spatial")
        except duckdb.Error as error:
            raise MissingInputError(
                what=_WHAT, path=_WHERE, cure=_cure(f"it is there but cannot be loaded: {error}")
            ) from error


def _install(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        import duckdb_extension_spatial  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingInputError(what=_WHAT, path=_WHERE, cure=_cure("its wheel is not installed")) from error
    wheel = Path(duckdb_extension_spatial.__file__).parent / _WHEEL_FOLDER / f"v{duckdb.__version__}"
    file = wheel / "spatial.duckdb_extension"
    if not file.is_file():
        versions = sorted(folder.name for folder in wheel.parent.iterdir())
        raise MissingInputError(what=_WHAT, path=_WHERE, cure=_cure(f"the installed wheel is for {', '.join(versions)}"))
    try:
        connection.execute(f"INSTALL '{str(file).replace(chr(39), chr(39) * 2)}'")
    except duckdb.Error as error:
        raise MissingInputError(
            what=_WHAT, path=_WHERE, cure=_cure(f"the wheel's file cannot be copied to DuckDB's folder below HOME: {error}")
        ) from error


def _cure(reason: str) -> str:
    return f"{reason}; run: pip install duckdb==1.5.5 duckdb-extension-spatial==1.5.5 (the home folder must be writable)"

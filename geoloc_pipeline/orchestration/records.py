"""Dagster's own records on SQLite, opened by one process after the other.

Dagster makes and migrates its databases when it opens them. Several processes that do so at the same moment on a home that has
none yet trip over each other ("table already exists", "database is locked"): of eight runs started at once, about two died.

Belongs here: how the records are opened. Does not belong here: where they lie (`dagster.yaml`, `running.worker`).
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from geoloc_pipeline.storage.atomic import disk_errors


@contextmanager
def opened_alone(folder: Path) -> Iterator[None]:
    """Keep every other process from opening the records below `folder` until the block ends.

    Args:
        folder: Of the records; made where it is not there.

    Raises:
        HomeError: It cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "opening.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go of by a process that dies
            yield


class SqliteRecords(DagsterSqliteStorage):
    """Dagster's SQLite storage, for `storage: {custom: …}` of `dagster.yaml`; the same files in the same places."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """Open the records below `base_dir`, alone."""
        with opened_alone(Path(base_dir)):
            return super().from_local(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: dict[str, str]) -> Self:  # type: ignore[override]
        """Open the records that `dagster.yaml` names."""
        return cls.from_local(config_value["base_dir"], inst_data)

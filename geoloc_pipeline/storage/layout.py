"""Where everything lives below `$GEOLOC_HOME`: the only module that joins paths.

Belongs here: one method for each thing on disk.
Does not belong here: reading, writing, or making folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WHOLE = "all"
"""Stands in for the partition of an asset that has none."""


@dataclass(frozen=True)
class Home:
    """The folder that holds everything a pipeline has made.

    Attributes:
        root: `$GEOLOC_HOME`; absolute.
    """

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> Home:
        """Return the home at `path`, made absolute against the current folder."""
        return cls(root=Path(path).expanduser().absolute())

    def table(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the Parquet file of one partition of a table."""
        return self.root / "tables" / asset_key / f"{partition}.parquet"

    def tables(self, asset_key: str) -> list[Path]:
        """Return the files of the partitions that exist, sorted by partition."""
        return sorted((self.root / "tables" / asset_key).glob("*.parquet"))

    def rejected(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the `rejected` table beside one partition of an image table."""
        return self.root / "tables" / "rejected" / asset_key / f"{partition}.parquet"

    def images(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the folder of the tar shards of an image table (or of `training_shards`)."""
        return self.root / "images" / asset_key / partition

    def dumps(self, region: str) -> Path:
        """Return the folder that keeps the dated dumps of a region."""
        return self.root / "sources" / "geofabrik" / region

    def census(self) -> Path:
        """Return the folder of the e-Stat archives."""
        return self.root / "sources" / "estat"

    def photo_set(self, name: str) -> Path:
        """Return the folder in which the user places the files of a photo set."""
        return self.root / "sources" / "photos" / name

    def coverage_tiles(self, provider: str) -> Path:
        """Return the folder that keeps a street-view provider's coverage tiles."""
        return self.root / "sources" / "coverage" / provider

    def extraction_scratch(self, asset_key: str, partition: str) -> Path:
        """Return a scratch folder that one extraction may fill and shall empty."""
        return self.root / "scratch" / asset_key / partition

    def model(self) -> Path:
        """Return the folder of the trained model: `best.pt`, `last.pt`, `metrics.jsonl`, `config.json`."""
        return self.root / "models" / "geolocation_model"

    def model_inputs(self) -> Path:
        """Return the folder of what a training run is told: its configuration as a file."""
        return self.root / "models" / "inputs"

    def qdrant(self) -> Path:
        """Return the folder of the embedded gallery."""
        return self.root / "qdrant"

    def reports(self) -> Path:
        """Return the folder of `summary.json`, `index.html` and `evidence.html`."""
        return self.root / "reports"

    def receipt(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the note that says from what an artefact was made."""
        return self.root / "receipts" / asset_key / f"{partition}.json"

    def progress(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the file in which a running step tells how far it is."""
        return self.root / "progress" / f"{asset_key}--{partition}.json"

    def dagster(self) -> Path:
        """Return the folder of Dagster's own records, when no `dagster.yaml` says otherwise."""
        return self.root / "dagster"

    def world(self) -> Path:
        """Return the folder in which the demo's world is published."""
        return self.root / "world"

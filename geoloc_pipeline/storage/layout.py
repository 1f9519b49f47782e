"""Where everything lives below `$GEOLOC_HOME`: the only module that joins paths.

Belongs here: one method for each thing on disk.
Does not belong here: reading, writing, or making folders.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

WORKING_COPIES = "~/.cache/geoloc_pipeline"
WHOLE = "all"
"""Stands in for the partition of an asset that has none."""


@dataclass(frozen=True)
class Home:
    """The folder that holds everything a pipeline has made.

    Attributes:
        root: `$GEOLOC_HOME`; absolute. Of a home on object storage, this node's working copy.
        url: Of a home on object storage (`storage.shared`); None: the folder is all there is.
    """

    root: Path
    url: str | None = None

    @classmethod
    def at(cls, place: str | Path, *, working_copies: str | Path = WORKING_COPIES) -> Home:
        """Return the home at a place; nothing is asked or made yet.

        Args:
            place: A folder, made absolute against the current one, or a URL: `file:///folder`, `s3://bucket/folder`, or
                another that fsspec reads.
            working_copies: Where this node keeps what it needs of homes that are URLs, each in a folder of its own.
        """
        parts = urlsplit(str(place)) if "://" in str(place) else None
        if parts is None or parts.scheme == "file":
            return cls(root=Path(parts.path if parts else place).expanduser().absolute())
        url = str(place).rstrip("/")
        name = re.sub(r"[^A-Za-z0-9]+", "-", f"{parts.hostname or ''}{parts.path}").strip("-")[:60]
        folder = Path(working_copies).expanduser().absolute()
        return cls(root=folder / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}", url=url)

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

    def budgets(self) -> Path:
        """Return the folder in which the day's requests to rate-limited services are counted."""
        return self.root / "sources" / "budgets"

    def forgotten(self) -> Path:
        """Return the list of pictures that must never come back (`imagery.forgotten`)."""
        return self.root / "tables" / "forgotten" / "all.parquet"

    def forgetting(self) -> Path:
        """Return the note of a removal of pictures that is under way; gone when it is done."""
        return self.root / "forgetting.json"

    def forgotten_record(self) -> Path:
        """Return the record of removals, one line each: what, when, how many; no picture, no place."""
        return self.root / "forgotten.jsonl"

    def extraction_scratch(self, asset_key: str, partition: str) -> Path:
        """Return a scratch folder that one extraction may fill and shall empty."""
        return self.root / "scratch" / asset_key / partition

    def scratch(self) -> Path:
        """Return the folder of everything that a running step needs for a while only."""
        return self.root / "scratch"

    def embedding_scratch(self, partition: str = WHOLE) -> Path:
        """Return the folder that keeps what a running embedding of one partition has finished."""
        return self.root / "scratch" / "image_embeddings" / partition

    def model(self) -> Path:
        """Return the folder of the trained model: `best.pt`, `last.pt`, `metrics.jsonl`, `config.json`."""
        return self.root / "models" / "geolocation_model"

    def previous_model(self) -> Path:
        """Return the folder to which training moved the files of the run before."""
        return self.model() / "previous"

    def checkpoint(self) -> Path:
        """Return the best checkpoint of the trained model."""
        return self.model() / "best.pt"

    def model_export(self) -> Path:
        """Return the folder of the trained model as it is handed on: weights, configuration, vocabulary, model card."""
        return self.model() / "export"

    def calibration(self) -> Path:
        """Return what the last evaluation chose for reading answers: read-out, its settings, regions."""
        return self.root / "models" / "calibration.json"

    def training_metrics(self) -> Path:
        """Return the trainer's diary, one line an epoch."""
        return self.model() / "metrics.jsonl"

    def training_run(self) -> Path:
        """Return the file that tells the trainer what to do."""
        return self.root / "models" / "training_run.json"

    def qdrant(self) -> Path:
        """Return the folder of the embedded gallery."""
        return self.root / "qdrant"

    def reports(self) -> Path:
        """Return the folder of `summary.json`, `index.html` and `evidence.html`."""
        return self.root / "reports"

    def report_page(self) -> Path:
        """Return the report of the last evaluation."""
        return self.reports() / "index.html"

    def evidence_page(self) -> Path:
        """Return the evidence page of one test picture."""
        return self.reports() / "evidence.html"

    def summary(self) -> Path:
        """Return the result table, counts and seconds per step, for programs."""
        return self.reports() / "summary.json"

    def receipt(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the note that says from what an artefact was made."""
        return self.root / "receipts" / asset_key / f"{partition}.json"

    def receipts(self) -> list[Path]:
        """Return every artefact's note, sorted by asset and partition."""
        return sorted((self.root / "receipts").glob("*/*.json"))

    def reproduction(self) -> Path:
        """Return the record from which the same tables can be made again in another home."""
        return self.reports() / "reproduction.json"

    def beside(self, asset_key: str, partition: str = WHOLE) -> list[Path]:
        """Return files that belong to an artefact although its receipt does not name them; they need not be there."""
        more = {
            "geolocation_model": [self.model() / "config.json", self.training_metrics()],
            "qdrant_collection": [self.qdrant()],  # there only where no server has the gallery
            "evaluation_report": [self.calibration()],
        }
        return [self.preview(asset_key, partition), *more.get(asset_key, [])]

    def shared_note(self, kind: str, name: str) -> Path:
        """Return what this node notes about the object storage that it is a working copy of (`storage.shared`)."""
        return self.root / "shared" / kind / name

    def progress(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return the file in which a running step tells how far it is."""
        return self.root / "progress" / f"{asset_key}--{partition}.json"

    def dagster(self) -> Path:
        """Return the folder of Dagster's own records, when no `dagster.yaml` says otherwise."""
        return self.root / "dagster"

    def world(self) -> Path:
        """Return the folder in which the demo's world is published."""
        return self.root / "world"

    def world_choice(self) -> Path:
        """Return the note that says which world the demo shows."""
        return self.root / "world.json"

    def preview(self, asset_key: str, partition: str = WHOLE) -> Path:
        """Return what the Dagster UI shows of an artefact: Markdown, with a small picture inside where there is one."""
        return self.root / "previews" / asset_key / f"{partition}.md"

    def previews(self) -> Path:
        """Return the folder of what the Dagster UI shows of artefacts."""
        return self.root / "previews"

    def logs(self) -> Path:
        """Return the folder of what worker processes print."""
        return self.root / "logs"

    def log(self, name: str) -> Path:
        """Return the file that takes what a worker process prints."""
        return self.root / "logs" / f"{name}.log"

    def lock(self) -> Path:
        """Return the file that the one chain at work in this home holds."""
        return self.root / "chain.lock"

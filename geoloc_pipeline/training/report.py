"""Who hears of a run: the log, the progress file, and Dagster when it started the program.

Paper: fig. 6 is the loss history that ends up in the materialisation's metadata.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.storage.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from geoloc_pipeline.training.checkpoint import Position
    from geoloc_pipeline.training.ranks import Ranks

_log = logging.getLogger("geoloc_pipeline.training")


@dataclass
class Reporter:
    """Tells people how a run goes; silent on every rank but the first.

    Attributes:
        speaks: Whether this rank tells anything.
        progress: Where it is told how many pictures were seen.
        pipes: Dagster's side of the pipe; None when Dagster did not start this program.
        asset_key: Asset that is reported to Dagster; empty: the only one.
    """

    speaks: bool
    progress: Progress = field(default_factory=Progress)
    pipes: Any = None
    asset_key: str = ""

    def say(self, line: str) -> None:
        """Log a line, here and in Dagster's run log."""
        if self.speaks:
            _log.info(line)
            if self.pipes is not None:
                self.pipes.log.info(line)

    def seen(self, pictures: int, *, of: int) -> None:
        """Tell how many pictures were seen, of at most how many."""
        if self.speaks:
            self.progress.tell(pictures, total=of, unit="pictures")

    def epoch(self, record: Mapping[str, Any], *, best: bool) -> None:
        """Tell the figures of a whole epoch in one line."""
        accuracies = " ".join(f"{task} {share:.0%}" for task, share in record.get("val_accuracy", {}).items())
        self.say(
            f"epoch {record['epoch'] + 1}: train loss {record['train_loss']:.4f}, "
            f"val loss {_loss(record)}{' (best)' if best else ''}, "
            f"right: {accuracies or '-'}; lr {record['lr']:.2e}, {record['images_per_s']:.0f} pictures/s"
        )

    def finish(self, position: Position, *, checkpoint: Path) -> None:
        """Tell what came of the run, and report the materialisation to Dagster."""
        best = position.history[position.best_epoch]
        if self.speaks:
            self.progress.tell(self.progress.done, total=self.progress.done)  # it may have stopped early
        self.say(f"the model is {checkpoint}, version {position.best_version}, of epoch {position.best_epoch + 1}")
        if self.speaks and self.pipes is not None:
            self.pipes.report_asset_materialization(
                metadata=_metadata(position, best, checkpoint=checkpoint),
                data_version=position.best_version,
                **({"asset_key": self.asset_key} if self.asset_key else {}),
            )


def _loss(record: Mapping[str, Any]) -> str:
    return f"{record['val_loss']:.4f}" if "val_loss" in record else "-"


def _metadata(position: Position, best: Mapping[str, Any], *, checkpoint: Path) -> dict[str, Any]:
    lines = ["| epoch | train loss | val loss | pictures/s |", "|---|---|---|---|"]
    for record in position.history:
        cells = (
            record["epoch"] + 1,
            f"{record['train_loss']:.4f}",
            _loss(record),
            f"{record['images_per_s']:.0f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    accuracies = best.get("val_accuracy", {})
    speeds = [record["images_per_s"] for record in position.history]
    return {
        "model_version": {"type": "text", "raw_value": position.best_version},
        "checkpoint": {"type": "path", "raw_value": str(checkpoint)},
        "best_epoch": {"type": "int", "raw_value": position.best_epoch + 1},
        "epochs": {"type": "int", "raw_value": len(position.history)},
        "train_loss": {"type": "float", "raw_value": float(best["train_loss"])},
        **({"val_loss": {"type": "float", "raw_value": float(best["val_loss"])}} if "val_loss" in best else {}),
        **{f"val_accuracy_{task}": {"type": "float", "raw_value": share} for task, share in accuracies.items()},
        "images_per_s": {"type": "float", "raw_value": sum(speeds) / len(speeds)},
        "loss_history": {"type": "json", "raw_value": {"epochs": position.history}},
        "losses": {"type": "md", "raw_value": "\n".join(lines)},
    }


@contextmanager
def reporting(ranks: Ranks, *, progress: Path | None, asset_key: str) -> Iterator[Reporter]:
    """Open the way to Dagster where it started this program, on the first rank alone.

    Every further rank that opened it would report a second result for the same step.

    Args:
        ranks: This process among the others.
        progress: File in which the run tells how far it is.
        asset_key: Asset that is reported; empty: the only one.

    Yields:
        The reporter.
    """
    if not ranks.first:
        yield Reporter(speaks=False)
        return
    told = Progress(path=progress)
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        yield Reporter(speaks=True, progress=told)
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield Reporter(speaks=True, progress=told, pipes=pipes, asset_key=asset_key)

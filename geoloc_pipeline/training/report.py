"""Who hears of a run: the log, a progress bar, the files for curves, and Dagster when it started the program.

Paper: fig. 6 is the loss history that ends up in the materialisation's metadata.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoloc_pipeline import errors
from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.training.checkpoint import STEPS
from geoloc_pipeline.training.traces import Scalars, add_step, need_tensorboard, take_up_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from geoloc_pipeline.training.checkpoint import Position
    from geoloc_pipeline.training.ranks import Ranks

_log = logging.getLogger("geoloc_pipeline.training")
_STARTED_BY_DAGSTER = "DAGSTER_PIPES_CONTEXT"
_SAY_AFTER_S = 60.0  # a log without a bar hears this often how the epoch goes
_LAST_WORDS = re.compile(r"rank \d+ cannot go on \((\w+)\): (.+)")


@dataclass
class Reporter:
    """Tells people how a run goes; silent on every rank but the first.

    Attributes:
        speaks: Whether this rank tells anything.
        progress: Where it is told how many pictures were seen.
        pipes: Dagster's side of the pipe; None when Dagster did not start this program.
        asset_key: Asset that is reported to Dagster; empty: the only one.
        has_bar: Whether a progress bar is drawn on stderr.
        tensorboard: Folder for TensorBoard; None: nothing is written for it.
    """

    speaks: bool
    progress: Progress = field(default_factory=Progress)
    pipes: Any = None
    asset_key: str = ""
    has_bar: bool = False
    tensorboard: Path | None = None
    _steps: Path | None = field(default=None, repr=False)
    _scalars: Scalars | None = field(default=None, repr=False)
    _bar: Any = field(default=None, repr=False)
    _said_at_s: float = field(default_factory=time.monotonic, repr=False)

    def say(self, line: str) -> None:
        """Log a line, here and in Dagster's run log."""
        if self.speaks:
            _log.info(line)
            if self.pipes is not None:
                self.pipes.log.info(line)

    def opened(self, *, output: Path, epoch: int, step: int) -> None:
        """Hear where the run keeps its files and where it begins or goes on.

        Args:
            output: Folder of the run; `steps.jsonl` comes into it.
            epoch: The epoch that is under way, from 0.
            step: Steps of it that are done.

        Raises:
            HomeError: The disk is full, read-only, or not ours to write.
        """
        if self.speaks:
            self._steps = output / STEPS
            take_up_steps(self._steps, epoch=epoch, step=step)
            if self.tensorboard is not None:
                self._scalars = Scalars(self.tensorboard, epoch=epoch, step=step)

    def seen(self, pictures: int, *, of: int) -> None:
        """Tell how many pictures were seen, of at most how many."""
        if self.speaks:
            self.progress.tell(pictures, total=of, unit="pictures")

    def checked(self, *, epoch: int, step: int, steps: int, terms: Mapping[str, float], rate: float) -> None:
        """Tell how the loss goes within an epoch.

        Args:
            epoch: The epoch that is under way, from 0.
            step: Steps of it that are done.
            steps: In an epoch.
            terms: Mean of each term of the loss since the last call.
            rate: Learning rate of the last step.

        Raises:
            HomeError: The disk is full, read-only, or not ours to write.
        """
        if not self.speaks:
            return
        loss = sum(terms.values())
        if self._steps is not None:
            add_step(self._steps, {"epoch": epoch, "step": step, "loss": loss, "terms": dict(terms), "lr": rate})
        if self._scalars is not None:
            self._scalars.checked(epoch=epoch, step=step, steps=steps, terms=terms, rate=rate)
        if self.has_bar:
            self._move_bar(epoch=epoch, step=step, steps=steps, loss=loss)
        elif time.monotonic() - self._said_at_s >= _SAY_AFTER_S:
            self._said_at_s = time.monotonic()
            self.say(f"epoch {epoch + 1}, step {step} of {steps}: train loss {loss:.4f}")

    def _move_bar(self, *, epoch: int, step: int, steps: int, loss: float) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped]

        if self._bar is None:
            of_epoch = f"epoch {epoch + 1}"
            self._bar = tqdm(
                total=steps, initial=step, desc=of_epoch, unit="step", leave=False, dynamic_ncols=True, file=sys.stderr
            )
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update(step - self._bar.n)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def epoch(self, record: Mapping[str, Any], *, best: bool) -> None:
        """Tell the figures of a whole epoch: in one line, to TensorBoard, and to Dagster, which draws its curves from them."""
        self._end_bar()
        self._said_at_s = time.monotonic()
        if self._scalars is not None:
            self._scalars.epoch(record)
        accuracies = " ".join(f"{task} {share:.0%}" for task, share in record.get("val_accuracy", {}).items())
        self.say(
            f"epoch {record['epoch'] + 1}: train loss {record['train_loss']:.4f}, "
            f"val loss {_loss(record)}{' (best)' if best else ''}, "
            f"right: {accuracies or '-'}; lr {record['lr']:.2e}, {record['images_per_s']:.0f} pictures/s"
        )
        if self.speaks and self.pipes is not None:
            self.pipes.report_custom_message({"epoch": dict(record)})

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

    def close(self) -> None:
        """Take the bar away and write out what is still in memory."""
        self._end_bar()
        if self._scalars is not None:
            self._scalars.close()
            self._scalars = None


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
def reporting(ranks: Ranks, *, progress: Path | None, asset_key: str, tensorboard: Path | None = None) -> Iterator[Reporter]:
    """Open the way to Dagster where it started this program, on the first rank alone.

    Every further rank that opened it would report a second result for the same step. What any rank cannot go on with is told
    in a line that `read_last_words` understands: torchrun itself only tells that a process ended.

    Args:
        ranks: This process among the others.
        progress: File in which the run tells how far it is.
        asset_key: Asset that is reported; empty: the only one.
        tensorboard: Folder for TensorBoard; None: nothing is written for it.

    Yields:
        The reporter.

    Raises:
        SettingError: TensorBoard is wanted and not installed.
        GeolocError: Whatever the run itself raises.
    """
    try:
        need_tensorboard(tensorboard)
        with ExitStack() as stack:
            reporter = Reporter(speaks=ranks.first, tensorboard=tensorboard)
            stack.callback(reporter.close)
            if ranks.first:
                _give_voices(reporter, stack, progress=progress, asset_key=asset_key)
            yield reporter
    except GeolocError as error:
        if _STARTED_BY_DAGSTER in os.environ:
            sentence = str(error).replace("\n", " ")
            _log.error("rank %d cannot go on (%s): %s", ranks.rank, type(error).__name__, sentence)
        raise


def _give_voices(reporter: Reporter, stack: ExitStack, *, progress: Path | None, asset_key: str) -> None:
    reporter.progress, reporter.asset_key = Progress(path=progress), asset_key
    if sys.stderr.isatty():
        from tqdm.contrib.logging import logging_redirect_tqdm  # type: ignore[import-untyped]

        reporter.has_bar = True
        stack.enter_context(logging_redirect_tqdm())  # log lines stand above the bar, not in it
    if _STARTED_BY_DAGSTER in os.environ:
        from dagster_pipes import open_dagster_pipes

        reporter.pipes = stack.enter_context(open_dagster_pipes())


def read_last_words(lines: Iterable[str]) -> GeolocError | None:
    """Return the error with which the first rank gave up, as it was raised there; None when no rank said why it ended.

    Args:
        lines: What the processes of a run that Dagster started have printed.
    """
    for line in lines:
        told = _LAST_WORDS.search(line)
        kind = getattr(errors, told[1], None) if told else None
        if told and isinstance(kind, type) and issubclass(kind, GeolocError):
            # Its sentence is composed already: the class must not compose it again.
            told_so = {"__init__": lambda self, sentence: Exception.__init__(self, sentence)}
            error: GeolocError = type(kind.__name__, (kind,), told_so)(told[2])
            return error
    return None

"""What a run leaves for curves finer than an epoch: `steps.jsonl` beside its checkpoints, and scalars for TensorBoard.

A run that is taken up again drops what lies beyond the place where it goes on, so that both show what an undisturbed run would
have shown.
"""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.storage.atomic import disk_errors, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `steps.jsonl`; empty when there is none. A line that a killed run left half written is skipped."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and {"epoch", "step"} <= set(record):
            records.append(record)
    return records


def take_up_steps(path: Path, *, epoch: int, step: int) -> None:
    """Drop the lines of a `steps.jsonl` that lie beyond the place where a run goes on, and what is no line.

    Args:
        path: The file; it need not be there.
        epoch: The epoch that is gone on with, from 0.
        step: Steps of it that are done.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    if path.is_file():
        kept = [record for record in read_steps(path) if (record["epoch"], record["step"]) <= (epoch, step)]
        write_text(path, "".join(_line(record) for record in kept))


def add_step(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line to a `steps.jsonl`.

    Args:
        path: The file; made where it is not there.
        record: With `epoch` and `step` in it, and nothing of the clock.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(_line(record))


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def need_tensorboard(folder: Path | None) -> None:
    """Say at once that TensorBoard is wanted and not installed.

    Args:
        folder: Where its files are wanted; None: it is not wanted.

    Raises:
        SettingError: The package is missing.
    """
    if folder is not None and importlib.util.find_spec("tensorboard") is None:
        raise SettingError(
            setting="tensorboard",
            value=str(folder),
            cure="the package is not installed: pip install 'geoloc-pipeline[tensorboard]', or leave the setting out",
        )


class Scalars:
    """Curves for TensorBoard, in two runs below one folder: `steps` (by step) and `epochs` (by epoch, from 1).

    Two, because a step and an epoch share no axis, and what a resumed run writes anew is purged by its place on that axis.

    Args:
        folder: Where TensorBoard shall look.
        epoch: The epoch that the run begins or goes on with, from 0.
        step: Steps of it that are done.
    """

    def __init__(self, folder: Path, *, epoch: int, step: int) -> None:
        self._folder, self._epoch, self._step = folder, epoch, step
        self._steps: Any = None
        self._epochs = self._writer("epochs", purge_step=epoch + 1)

    def _writer(self, name: str, *, purge_step: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and not everybody has the package

        with disk_errors(self._folder):
            return SummaryWriter(str(self._folder / name), purge_step=purge_step)

    def checked(self, *, epoch: int, step: int, steps: int, terms: Mapping[str, float], rate: float) -> None:
        """Write the terms of some steps; arguments as for `Reporter.checked`."""
        if self._steps is None:  # only now it is known how many steps an epoch has
            self._steps = self._writer("steps", purge_step=self._epoch * steps + self._step + 1)
        place = epoch * steps + step
        scalars = {"loss": sum(terms.values()), "learning_rate": rate, **{f"terms/{name}": terms[name] for name in terms}}
        for name, value in scalars.items():
            self._steps.add_scalar(name, value, place)
        self._steps.flush()

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Write the figures of a whole epoch."""
        for name, value in record.items():
            told = {f"{name}/{part}": value[part] for part in value} if isinstance(value, dict) else {name: value}
            for key, number in told.items():
                if key != "epoch":
                    self._epochs.add_scalar(key, number, record["epoch"] + 1)
        self._epochs.flush()

    def close(self) -> None:
        """Write out what is still in memory."""
        for writer in (self._steps, self._epochs):
            if writer is not None:
                writer.close()

"""The classes of the five heads, as a model carries them: code, name, count and weight of each.

It travels inside the checkpoint, so that an answer can be named without the table it came from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import ModelError
from geoloc_pipeline.tables import LABEL_IGNORED, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from numpy.typing import NDArray

CODE_COLUMNS = {
    "prefecture": "prefecture_code",
    "municipality": "municipality_code",
    "town": "town_code",
    "road": "road_id",
    "landmark": "landmark_id",
}
"""Column of `training_shards` that holds each task's label."""


@dataclass(frozen=True)
class TaskClasses:
    """The classes of one head, in the order of their indices.

    Attributes:
        codes: Prefecture, municipality or town code, road_id or landmark_id.
        names: For people; empty where there is none.
        n_train: Training pictures.
        weights: Weights in the cross entropy (eq. 1).
    """

    codes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    n_train: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    @cached_property
    def _index(self) -> dict[str, int]:
        return {code: index for index, code in enumerate(self.codes)}

    def indices(self, codes: Iterable[object]) -> NDArray[np.int64]:
        """Return the class index of each code; `LABEL_IGNORED` for a missing or unknown one (too few training pictures)."""
        return np.array([self._index.get(str(code), LABEL_IGNORED) for code in codes], dtype=np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """The classes of every task.

    Attributes:
        tasks: By task; a task without classes is empty.
    """

    tasks: Mapping[str, TaskClasses]

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Vocabulary:
        """Return the vocabulary of a `label_vocabulary` table.

        Args:
            table: Rows in any order.

        Returns:
            Every task of the house, empty where the table has no class.

        Raises:
            ModelError: The indices of a task are not 0, 1, 2, …
        """
        tasks = {}
        for task in TASKS:
            rows = table[table["task"] == task].sort_values("class_index")
            if list(rows["class_index"]) != list(range(len(rows))):
                raise ModelError(
                    what=f"label vocabulary, task {task}",
                    reason=f"class indices are not 0 to {len(rows) - 1} without gaps",
                    cure="materialise `label_vocabulary` again",
                )
            tasks[task] = TaskClasses(
                codes=tuple(str(code) for code in rows["code"]),
                names=tuple("" if isinstance(name, float) or name is None else str(name) for name in rows["name"]),
                n_train=tuple(int(count) for count in rows["n_train"]),
                weights=tuple(float(weight) for weight in rows["weight"]),
            )
        return cls(tasks=tasks)

    def class_counts(self) -> dict[str, int]:
        """Return the number of classes of each task."""
        return {task: len(self.tasks[task].codes) for task in TASKS}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return {task: {key: list(values) for key, values in asdict(self.tasks[task]).items()} for task in TASKS}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Vocabulary:
        """Return the vocabulary that `as_dict` wrote."""
        return cls(tasks={task: TaskClasses(**{key: tuple(values) for key, values in plain[task].items()}) for task in TASKS})

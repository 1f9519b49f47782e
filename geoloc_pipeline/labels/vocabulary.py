"""The classes of the five heads: which places have enough training pictures to be learned, and how much each counts.

Roads, landmarks and towns need `min_images` training pictures (paper, table 2: the rarest have 10 or 11); prefectures and
municipalities need one (table 2: the rarest municipality has 1). Validation and test pictures never count.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.tables import LABEL_VOCABULARY, TASKS, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LABEL_COLUMNS = {
    "prefecture": "prefecture_code",
    "municipality": "municipality_code",
    "town": "town_code",
    "road": "road_id",
    "landmark": "landmark_id",
}
"""Column of `labelled_images` and `training_shards` that holds the code of each task."""
ALWAYS_CLASSES = frozenset({"prefecture", "municipality"})

Weighting = Literal["balanced", "none", "sqrt", "effective_number", "logit_adjust"]
_BETA = 0.999  # of the effective number; Cui et al. 2019 use 0.9 to 0.9999


def build_vocabulary(
    labelled: pd.DataFrame,
    splits: pd.DataFrame,
    *,
    names: Mapping[str, Mapping[str, str]],
    min_images: int = 10,
    weighting: Weighting = "balanced",
) -> pd.DataFrame:
    """Return the classes of all heads, over all prefectures together.

    `class_index` is dense and follows the sorted codes, so it does not depend on the order of the pictures.

    Args:
        labelled: `tables.LABELLED_IMAGES` of all prefectures.
        splits: `tables.DATASET_SPLITS` of all prefectures.
        names: Names for people by task and code; what is not there has no name.
        min_images: Training pictures that a town, road or landmark needs to be a class.
        weighting: How the loss weighs the classes of a head, see `class_weights`.

    Returns:
        `tables.LABEL_VOCABULARY` in key order.

    Raises:
        SettingError: An unknown weighting, or `min_images` below 1.

    Paper: §3.1 table 2, §3.2 eq. 1.
    """
    if min_images < 1:
        raise SettingError(setting="min_images", value=min_images, cure="a class needs at least 1 training picture")
    train = labelled[labelled["image_id"].isin(splits.loc[splits["split"] == "train", "image_id"])]
    frames = []
    for task in TASKS:
        counts = train[LABEL_COLUMNS[task]].dropna().value_counts()
        counts = counts[counts >= (1 if task in ALWAYS_CLASSES else min_images)].sort_index()
        if len(counts):
            known = names.get(task, {})
            n_train = counts.to_numpy(dtype=np.int64)
            columns = {
                "task": task,
                "class_index": np.arange(len(counts)),
                "code": counts.index.astype(str),
                "name": [known.get(str(code)) for code in counts.index],
                "n_train": n_train,
                "weight": class_weights(n_train, weighting=weighting),
            }
            frames.append(pd.DataFrame(columns))
    if not frames:
        return empty_table(LABEL_VOCABULARY)
    joined = pd.concat(frames, ignore_index=True).sort_values(list(LABEL_VOCABULARY.key), ignore_index=True)
    return as_table(LABEL_VOCABULARY, {name: joined[name] for name in LABEL_VOCABULARY.column_names})


def class_weights(n_train: NDArray[np.int64], *, weighting: Weighting = "balanced") -> NDArray[np.float64]:
    """Return the weight of each class in the cross entropy, mean 1 over the classes of a head.

    `balanced` is the paper's eq. 1, which defines w by itself; read as v_i = n / (C n_i), w_i = C v_i / sum(v).
    `none` is 1 throughout. `sqrt` is n_i^-1/2 and `effective_number` (1 - b) / (1 - b^n_i), b = 0.999 (Cui et al. 2019),
    both normalised alike: they give rare classes less than `balanced`, whose gradients vary a lot where one municipality has
    1 picture and another 13,212. `logit_adjust` is 1 as well: there the trainer's `logit_adjust_tau` adds log(n_i / n) to the
    logits instead (Menon et al. 2021); without it nothing is adjusted.

    Args:
        n_train: `[classes]` training pictures, at least 1 each.
        weighting: The rule.

    Returns:
        `[classes]` weights.

    Raises:
        SettingError: There is no such rule.

    Paper: §3.2 eq. 1.
    """
    if weighting not in get_args(Weighting):
        raise SettingError(setting="weighting", value=weighting, cure=f"choose among {', '.join(get_args(Weighting))}")
    count = n_train.astype(np.float64)
    if weighting == "balanced":
        raw = count.sum() / (len(count) * count)
    elif weighting == "sqrt":
        raw = count**-0.5
    elif weighting == "effective_number":
        raw = (1 - _BETA) / -np.expm1(count * np.log(_BETA))
    else:
        raw = np.ones_like(count)
    return np.asarray(raw * len(raw) / raw.sum(), dtype=np.float64)


def vocabulary_hash(vocabulary: pd.DataFrame) -> str:
    """Return a content hash of a vocabulary: equal when classes, their order, counts and weights are; names do not matter.

    Args:
        vocabulary: `tables.LABEL_VOCABULARY`; order of rows does not matter.

    Returns:
        SHA-256, hexadecimal.
    """
    rows = vocabulary.sort_values(list(LABEL_VOCABULARY.key))[["task", "class_index", "code", "n_train", "weight"]]
    lines = "\n".join("\t".join(map(repr, row)) for row in rows.astype(object).itertuples(index=False, name=None))
    return hashlib.sha256(lines.encode()).hexdigest()

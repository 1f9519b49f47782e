"""What a run learns from, read and looked over before any long work: the squares of both splits, the classes, their middles."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from geoloc_pipeline.errors import SplitError
from geoloc_pipeline.model.vocabulary import Vocabulary
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.tables import LABEL_VOCABULARY, TRAINING_SHARDS
from geoloc_pipeline.training.dataset import Squares

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.run import ShardTable


class Data(NamedTuple):
    """Everything that a run learns from.

    Attributes:
        train: Squares of the training split.
        val: Squares of the validation split; may be empty.
        vocabulary: The classes.
        fingerprint: Hash of the tables that it was read from.
    """

    train: Squares
    val: Squares
    vocabulary: Vocabulary
    fingerprint: str


def read_data(vocabulary: Path, shards: Sequence[ShardTable], *, config: TrainingConfig) -> Data:
    """Return the training and validation squares of some partitions; test pictures are never read.

    Args:
        vocabulary: Parquet file of `label_vocabulary`.
        shards: Partitions of `training_shards`, in any order.
        config: Of the run. Training squares keep `view_px` to be cropped from; validation squares come in the size that the
            network sees, made exactly as the embedder makes them.

    Returns:
        The data, in key order whatever the order of the partitions.

    Raises:
        SplitError: There is no training picture, or no class at all.
        MissingInputError: A shard is gone.
        BadSourceFileError: A shard is cut short.
    """
    classes = Vocabulary.from_table(read_table(LABEL_VOCABULARY, vocabulary))
    if not any(classes.class_counts().values()):
        raise SplitError(
            reason="the label vocabulary has no class",
            cure="lower the least number of pictures of a class, or collect more pictures",
        )
    frames: list[Any] = [read_table(TRAINING_SHARDS, part.table).assign(folder=index) for index, part in enumerate(shards)]
    frames = [frame for frame in frames if len(frame)]
    if not frames or not any((frame["split"] == "train").any() for frame in frames):
        raise SplitError(
            reason=f"there is no training picture in {len(shards)} partitions of training_shards",
            cure="materialise `training_shards` of a prefecture that has pictures first",
        )
    rows = pd.concat(frames).sort_values(["image_id", "view"], ignore_index=True)
    folders = [part.folder for part in shards]
    digest = hashlib.sha256(vocabulary.read_bytes())
    for table_hash in sorted(hashlib.sha256(part.table.read_bytes()).hexdigest() for part in shards):
        digest.update(table_hash.encode())
    train, val = rows[rows["split"] == "train"], rows[rows["split"] == "val"]
    if config.validation_views == "one":
        val = _one_view_each(val)
    learned, validated = (
        Squares(some, classes, folders, side_px=side_px) for some, side_px in ((train, config.view_px), (val, config.input_px))
    )
    learned.check()
    validated.check()
    return Data(train=learned, val=validated, vocabulary=classes, fingerprint=digest.hexdigest())


def _one_view_each(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row of each picture: the first view of the first picture, the second of the second, and so on in turn."""
    views = rows.groupby("image_id", sort=False)["view"]
    picture = pd.factorize(rows["image_id"])[0]
    return rows[views.cumcount().to_numpy() == picture % views.transform("size").to_numpy()]

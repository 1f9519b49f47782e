"""A demo home as the read-outs' benchmarks ask it: its gallery in memory, validation and test pictures with what heads say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from geoloc_pipeline.model.saved import load_geolocator
from geoloc_pipeline.retrieval.embedding.embed import Read, join_reads, read_shards
from geoloc_pipeline.retrieval.trials.trial import MatrixGallery
from geoloc_pipeline.storage.parquet import read_table, read_tables
from geoloc_pipeline.tables import DATASET_SPLITS, IMAGE_EMBEDDINGS, LABELLED_IMAGES, TRAINING_SHARDS

if TYPE_CHECKING:
    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.storage.layout import Home


@dataclass(frozen=True)
class AskedHome:
    """What the benchmarks need of a home.

    Attributes:
        gallery: Train and validation pictures, with the areas in which they stand.
        read: Validation and test pictures, embeddings and heads.
        split_of: Split of every picture.
        group_of: Split group of every picture.
        vocabulary: Of the heads.
    """

    gallery: MatrixGallery
    read: Read
    split_of: dict[str, str]
    group_of: dict[str, str]
    vocabulary: Vocabulary

    def of_split(self, *splits: str) -> Read:
        """Return the pictures of some splits."""
        rows = self.read.embeddings["image_id"].map(self.split_of).isin(splits).to_numpy().nonzero()[0]
        embeddings = self.read.embeddings.iloc[rows].reset_index(drop=True)
        return Read(embeddings, {task: tops.rows(rows) for task, tops in self.read.heads.items()})


def ask_home(home: Home) -> AskedHome:
    """Return a finished demo home, its validation and test pictures read anew."""
    splits = read_tables(DATASET_SPLITS, home.tables("dataset_splits"))
    labelled = pd.DataFrame(read_tables(LABELLED_IMAGES, home.tables("labelled_images")))
    reads = [
        read_shards(home.checkpoint(), read_table(TRAINING_SHARDS, path), home.images("training_shards", path.stem))
        for path in home.tables("training_shards")
    ]
    return AskedHome(
        gallery=MatrixGallery(read_tables(IMAGE_EMBEDDINGS, home.tables("image_embeddings")), labelled),
        read=join_reads(reads),
        split_of=dict(zip(splits["image_id"], splits["split"], strict=True)),
        group_of=dict(zip(splits["image_id"], splits["split_group"], strict=True)),
        vocabulary=load_geolocator(home.checkpoint()).vocabulary,
    )

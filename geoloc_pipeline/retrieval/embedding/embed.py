"""The embedding job: one partition's pictures to tables of vectors.

A job that is killed goes on where it was, and what the same model has embedded is not embedded again: before anything is
computed, each view is looked up by what its vector would be made from.

Paper: §3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoloc_pipeline.retrieval.embedding.embedder import BATCH, COMPILE_FROM, Embedder, Vectors, unit
from geoloc_pipeline.retrieval.embedding.finished import Finished, Former, Scratch, join
from geoloc_pipeline.retrieval.embedding.heads import HeadTops, join_tops, mean_tops
from geoloc_pipeline.retrieval.embedding.views import ShardViews, check_shards
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.tables import (
    BACKBONE_TOKENS,
    EMBEDDED_VIEWS,
    EMBEDDING_SIZE,
    IMAGE_EMBEDDINGS,
    TableContract,
    as_table,
    empty_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

CHUNK_VIEWS = 4096  # lost at most when a job is killed: two seconds of a large GPU, an hour of a CPU with the paper's ViT
TRAIN_AND_VAL = ("train", "val")


class Embedded(NamedTuple):
    """What a job has made.

    Attributes:
        embeddings: `image_embeddings`.
        tokens: `backbone_tokens`; None unless asked for.
        views: `embedded_views`, for the next job; to be written last.
        computed: Views that were computed.
        taken_over: Views whose vectors were there already.
        unchanged: Whether the former tables hold these very views, of the same model, and no others.
    """

    embeddings: pd.DataFrame
    tokens: pd.DataFrame | None
    views: pd.DataFrame
    computed: int
    taken_over: int
    unchanged: bool


class Read(NamedTuple):
    """What the model says of some pictures: vectors and heads.

    Attributes:
        embeddings: `IMAGE_EMBEDDINGS`: every view, and the mean of a picture's compass views.
        heads: By task, row for row with `embeddings`; a mean row holds the mean of its views' probabilities. Empty when the
            heads were not asked.
    """

    embeddings: pd.DataFrame
    heads: Mapping[str, HeadTops]


def embed_partition(
    checkpoint: Path,
    shards: pd.DataFrame,
    folder: Path,
    *,
    scratch: Path,
    splits: Sequence[str] = TRAIN_AND_VAL,
    untrained: bool = False,
    start_weights: str = "none",
    former: Former | None = None,
    tokens: bool = False,
    code_version: str = "1",
    batch: int = BATCH,
    chunk_views: int = CHUNK_VIEWS,
    progress: Progress | None = None,
) -> Embedded:
    """Return the embeddings of one partition's pictures, train and validation if not said otherwise: views, and their means.

    Resumed after a kill, on a CPU, the tables are equal byte for byte to those of an uninterrupted job. With vectors taken over
    from former tables they are equal to 1e-6: other batches are formed, and a matrix product's rounding depends on its batch.

    Args:
        checkpoint: `best.pt`.
        shards: `training_shards` of the partition.
        folder: Of its tar shards.
        scratch: Folder in which finished chunks are kept; `finished.remove_scratch` it when the tables are written.
        splits: Which pictures; test pictures must not stand in the gallery.
        untrained: Fresh weights instead of the trained ones, always the same: the baseline.
        start_weights: Of an untrained backbone: `none` (fresh), or what training began with.
        former: Tables of the last job.
        tokens: Whether the backbone's output is wanted as well; it costs no second pass.
        code_version: Raised when the same pixels and weights give another vector.
        batch: Squares that the model reads at once; fewer as soon as memory has run out.
        chunk_views: Views of a chunk.
        progress: Told how many views there are, and advanced by each.

    Returns:
        The tables; nothing is written but chunks.

    Raises:
        MissingInputError: There is no checkpoint, or a shard is gone or was cut short.
        ModelError: The checkpoint cannot be read or is of another architecture than it says.
        ImageError: A view is no picture.
        GpuMemoryError: Not even one picture fits into the GPU's memory.
    """
    rows = _rows_of(shards, splits)
    if len(rows) == 0:
        empty = empty_table(BACKBONE_TOKENS) if tokens else None
        return Embedded(
            empty_table(IMAGE_EMBEDDINGS), empty, empty_table(EMBEDDED_VIEWS), computed=0, taken_over=0, unchanged=False
        )
    check_shards(rows, folder)
    embedder = Embedder.load(checkpoint, untrained=untrained, start_weights=start_weights, batch=batch)
    maker = f"{embedder.model_version} {embedder.preprocessing} {code_version} "
    views = ShardViews(rows, folder, maker=maker)
    job = _Job(embedder, views, token_width=embedder.token_width if tokens else 0, progress=progress or Progress())
    kept = Scratch(scratch, model_version=embedder.model_version)
    earlier = former.read(model_version=embedder.model_version, tokens=tokens) if former else None
    job.take_over([each for each in (kept.read(token_width=job.token_width), earlier) if each is not None])
    taken_over = len(views) - len(job.missing)
    job.compute(kept, chunk_views=chunk_views)
    version = embedder.model_version
    return Embedded(
        embeddings=_table(IMAGE_EMBEDDINGS, rows, job.vectors.embedding, model_version=version),
        tokens=_table(BACKBONE_TOKENS, rows, job.vectors.token, model_version=version) if tokens else None,
        views=as_table(EMBEDDED_VIEWS, {"image_id": rows["image_id"], "view": rows["view"], "made_from": job.made_from}),
        computed=len(job.missing),
        taken_over=taken_over,
        unchanged=earlier is not None and sorted(earlier.made_from) == sorted(job.made_from),
    )


def embed_shards(
    checkpoint: Path,
    shards: pd.DataFrame,
    folder: Path,
    *,
    splits: Sequence[str] = TRAIN_AND_VAL,
    untrained: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return the embeddings of some pictures, computed anew: every view, and the mean of a picture's compass views.

    Test pictures are left out unless they are asked for: what stands in the gallery must not be what it is tested with.

    Args:
        checkpoint: `best.pt`.
        shards: `training_shards` of the partition.
        folder: Of its tar shards.
        splits: Which pictures.
        untrained: Fresh weights instead of the trained ones: the baseline.
        progress: Told how many views there are, and advanced by each.

    Returns:
        `image_embeddings`, in the order of (image_id, view).

    Raises:
        MissingInputError: There is no checkpoint, or a shard is gone or was cut short.
    """
    rows = _rows_of(shards, splits)
    if len(rows) == 0:
        return empty_table(IMAGE_EMBEDDINGS)
    check_shards(rows, folder)
    embedder = Embedder.load(checkpoint, untrained=untrained)
    views = ShardViews(rows, folder, maker=embedder.model_version)
    job = _Job(embedder, views, token_width=0, progress=progress or Progress())
    job.compute()
    return _table(IMAGE_EMBEDDINGS, rows, job.vectors.embedding, model_version=embedder.model_version)


def read_shards(
    checkpoint: Path,
    shards: pd.DataFrame,
    folder: Path,
    *,
    splits: Sequence[str] = ("val", "test"),
    progress: Progress | None = None,
) -> Read:
    """Return embeddings and heads of some pictures, computed anew: what an evaluation asks with.

    Args:
        checkpoint: `best.pt`.
        shards: `training_shards` of the partition.
        folder: Of its tar shards.
        splits: Which pictures.
        progress: Told how many views there are, and advanced by each.

    Returns:
        Rows in the order of (image_id, view); heads are empty where no picture is of these splits.

    Raises:
        MissingInputError: There is no checkpoint, or a shard is gone or was cut short.
    """
    rows = _rows_of(shards, splits)
    if len(rows) == 0:
        return Read(empty_table(IMAGE_EMBEDDINGS), {})
    check_shards(rows, folder)
    embedder = Embedder.load(checkpoint)
    views = ShardViews(rows, folder, maker=embedder.model_version)
    progress = progress or Progress()
    progress.tell(0, total=len(views), unit="views")
    batches = views.batches(
        embedder.preprocessing,
        chosen=np.arange(len(rows)),
        squares=embedder.batch,
        ahead=embedder.decodes_ahead,
        pin=embedder.on_gpu,
    )
    vectors, parts = [], []
    for _, embedding, said in embedder.read_batches(batches):
        vectors.append(embedding)
        parts.append(said)
        progress.advance(len(embedding))
    table = _table(IMAGE_EMBEDDINGS, rows, np.concatenate(vectors), model_version=embedder.model_version)
    return Read(table, {task: _beside(table, rows, join_tops([part[task] for part in parts])) for task in parts[0]})


def _beside(table: pd.DataFrame, rows: pd.DataFrame, tops: HeadTops) -> HeadTops:
    """Return what a head says of the views `rows`, and of the means of compass views, in the order of the table of vectors."""
    compass = np.flatnonzero((rows["view"] != "photo").to_numpy())
    images, counts = np.unique(rows["image_id"].to_numpy()[compass].astype(str), return_counts=True)
    every = join_tops([tops, mean_tops(tops.rows(compass), counts)]) if len(images) else tops
    named = [*zip(rows["image_id"], rows["view"], strict=True), *((image, "mean") for image in images)]
    row_of = {name: row for row, name in enumerate(named)}
    return every.rows(np.array([row_of[name] for name in zip(table["image_id"], table["view"], strict=True)], dtype=np.int64))


def join_reads(reads: Sequence[Read]) -> Read:
    """Return the pictures of several partitions as one; partitions without any picture are passed over."""
    import pandas as pd

    some = [read for read in reads if len(read.embeddings)]
    if not some:
        return Read(empty_table(IMAGE_EMBEDDINGS), {})
    tasks = [task for task in some[0].heads if all(task in read.heads for read in some)]
    return Read(
        embeddings=pd.concat([read.embeddings for read in some], ignore_index=True),
        heads={task: join_tops([read.heads[task] for read in some]) for task in tasks},
    )


def _rows_of(shards: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    return shards[shards["split"].isin(list(splits))].sort_values(["image_id", "view"], ignore_index=True)


class _Job:
    """Vectors in the making.

    Attributes:
        token_width: Length of the tokens; 0: none are wanted.
        missing: Rows that have no vector yet when `compute` begins.
        made_from: Of each row.
        vectors: Of each row.
    """

    def __init__(self, embedder: Embedder, views: ShardViews, *, token_width: int, progress: Progress) -> None:
        self._embedder, self._views, self._progress = embedder, views, progress
        self.token_width = token_width
        self.missing: NDArray[np.int64] = np.arange(len(views))
        self.made_from = [""] * len(views)
        embedding = np.empty((len(views), EMBEDDING_SIZE), dtype=np.float32)
        self.vectors = Vectors(embedding=embedding, token=np.empty((len(views), token_width), dtype=np.float16))
        progress.tell(0, total=len(views), unit="views")

    def take_over(self, known: Sequence[Finished]) -> None:
        """Fill in what is known already; bytes are read and hashed only if anything is."""
        if not known:
            return
        finished = Finished(
            made_from=tuple(name for each in known for name in each.made_from), vectors=join([each.vectors for each in known])
        )
        self.made_from = self._views.made_from()
        found = finished.find(self.made_from)
        there = np.flatnonzero(found >= 0)
        self._put(there, finished.vectors.rows(found[there]))
        self.missing = np.flatnonzero(found < 0)
        self._progress.advance(len(there))

    def compute(self, scratch: Scratch | None = None, *, chunk_views: int = CHUNK_VIEWS) -> None:
        """Compute what is missing; keep each chunk as soon as it is finished."""
        embedder, missing = self._embedder, self.missing
        if embedder.on_gpu and self._views.counts[missing].sum() >= COMPILE_FROM:
            embedder.compile()
        batches = self._views.batches(
            embedder.preprocessing,
            chosen=missing,
            squares=embedder.batch,
            ahead=embedder.decodes_ahead,
            pin=embedder.on_gpu,
        )
        kept = 0  # how many of the missing are safe on disk
        for batch, vectors in embedder.embed_batches(batches, tokens=self.token_width > 0):
            rows = missing[batch.rows]
            self._put(rows, vectors)
            for row, name in zip(rows, batch.made_from, strict=True):
                self.made_from[row] = name
            done = batch.rows.stop
            if scratch is not None and done - kept >= chunk_views:
                chunk = missing[kept:done]
                scratch.keep([self.made_from[row] for row in chunk], self.vectors.rows(chunk))
                kept = done
            self._progress.advance(len(rows))

    def _put(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        self.vectors.embedding[rows] = vectors.embedding
        self.vectors.token[rows] = vectors.token


def _table(
    contract: TableContract, rows: pd.DataFrame, vectors: NDArray[np.floating[Any]], *, model_version: str
) -> pd.DataFrame:
    """Return a table of vectors, those of every view and of the means of compass views, in the order of (image_id, view)."""
    compass = np.flatnonzero((rows["view"] != "photo").to_numpy())
    firsts, counts = np.unique(rows["image_id"].to_numpy()[compass].astype(str), return_index=True, return_counts=True)[1:]
    means = vectors[:0]
    if len(compass):
        sums = np.add.reduceat(vectors[compass].astype(np.float32), firsts, axis=0)
        means = unit(np.asarray(sums / counts[:, None], dtype=np.float32)).astype(vectors.dtype)
    of = np.concatenate([np.arange(len(rows)), compass[firsts] if len(compass) else []]).astype(np.int64)
    columns = {name: rows[name].to_numpy()[of] for name in ("image_id", "lat", "lon")}
    columns["view"] = np.concatenate([rows["view"].to_numpy().astype(object), np.full(len(means), "mean", dtype=object)])
    columns["model_version"] = np.full(len(of), model_version, dtype=object)
    columns[contract.columns[-1].name] = list(np.concatenate([vectors, means]))
    table = as_table(contract, {name: columns[name] for name in contract.column_names})
    return table.sort_values(["image_id", "view"], ignore_index=True)

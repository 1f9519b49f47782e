"""The pictures to learn from: squares of views in tar shards, in an order that depends on seed, epoch and step alone.

Every square is read by offset, so the order is a true shuffle over the whole country, and any step of any epoch can be started
from without replaying what came before.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from geoloc_pipeline.errors import SplitError
from geoloc_pipeline.model.preprocess import count_squares, cut_square, decode_view, resize_square
from geoloc_pipeline.model.vocabulary import CODE_COLUMNS, Vocabulary
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import LABEL_VOCABULARY, TASKS, TRAINING_SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.training.config import ShardTable, TrainingConfig
    from geoloc_pipeline.training.ranks import Ranks

_PART = 16  # views that a thread decodes at a time: enough to keep it busy, few enough to share a batch among all

cv2.setNumThreads(1)  # the threads that decode are the parallelism


class Batch(NamedTuple):
    """Some squares of one rank.

    Attributes:
        pixels: `[n, 3, side, side]` uint8 RGB.
        classes: `[n, 5]` class index per task, in the house's order; LABEL_IGNORED where there is none.
        places: `[n, 2]` latitude and longitude in degrees, float32.
    """

    pixels: Tensor
    classes: Tensor
    places: Tensor


class Squares(Dataset[Batch]):
    """The squares of one split, in key order; a batch is fetched by their numbers.

    Attributes:
        pictures: `[n]` number of the picture that each square belongs to.
    """

    def __init__(self, rows: pd.DataFrame, vocabulary: Vocabulary, folders: Sequence[Path], *, side_px: int) -> None:
        """Number the squares of `rows`.

        Args:
            rows: `training_shards` of one split with a column `folder`, the number of each row's shard folder.
            vocabulary: Turns codes into class indices.
            folders: Shard folders.
            side_px: Side to which every square is brought.
        """
        sizes = zip(rows["width_px"], rows["height_px"], strict=True)
        counts = np.array([count_squares(width_px=width, height_px=height) for width, height in sizes], dtype=np.int64)
        self._row = np.repeat(np.arange(len(rows)), counts)
        self._square = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self.pictures = pd.factorize(rows["image_id"])[0][self._row]
        self._places = rows[["lat", "lon"]].to_numpy(dtype=np.float32)[self._row]
        classes = [vocabulary.tasks[task].indices(rows[CODE_COLUMNS[task]]) for task in TASKS]
        self._classes = np.stack(classes, axis=1)[self._row]
        self._members = list(zip(rows["folder"], rows["shard"], rows["offset"], rows["size_bytes"], strict=True))
        self._folders = tuple(folders)
        self._side_px = side_px
        self._cache: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self._row)

    @property
    def in_memory(self) -> bool:
        """Whether every square was decoded already."""
        return self._cache is not None or len(self) == 0

    @property
    def size_bytes(self) -> int:
        """What all decoded squares take in memory."""
        return len(self) * 3 * self._side_px**2

    def __getitem__(self, number: int) -> Batch:
        return self.__getitems__([number])

    def __getitems__(self, numbers: Sequence[int]) -> Batch:  # what torch's DataLoader calls for a whole batch
        batch = self.blank(numbers)
        self.fill(batch.pixels, numbers)
        return batch

    def blank(self, numbers: Sequence[int] | NDArray[np.int64], *, pin: bool = False) -> Batch:
        """Return the batch of some squares, its pixels still to be filled in.

        Args:
            numbers: Of the squares.
            pin: Whether to place it in page-locked memory, for a GPU.

        Returns:
            The batch; pixels lie in memory as `[n, side, side, 3]`, as they come out of the decoder.
        """
        chosen = np.asarray(numbers)
        pixels = torch.empty((len(chosen), self._side_px, self._side_px, 3), dtype=torch.uint8, pin_memory=pin)
        classes, places = torch.from_numpy(self._classes[chosen]), torch.from_numpy(self._places[chosen])
        if pin:
            classes, places = classes.pin_memory(), places.pin_memory()
        return Batch(pixels=pixels.permute(0, 3, 1, 2), classes=classes, places=places)

    def fill(self, pixels: Tensor, numbers: Sequence[int] | NDArray[np.int64]) -> None:
        """Read and decode squares into their places in a batch; safe from several threads and processes.

        Args:
            pixels: `[n, 3, side, side]` uint8 of `blank`, or some rows of it.
            numbers: Of the squares, one for each row.

        Raises:
            MissingInputError: A shard is gone or was cut short.
            ImageError: A view in it is no picture.
        """
        for place, number in zip(pixels.permute(0, 2, 3, 1).numpy(), numbers, strict=True):
            place[:] = self._decode(number) if self._cache is None else self._cache[number]

    def _decode(self, number: int) -> NDArray[np.uint8]:
        folder, shard, offset, size_bytes = self._members[self._row[number]]
        data = read_member(self._folders[folder], shard=shard, offset=offset, size_bytes=size_bytes)
        pixels = decode_view(data, name=f"{self._folders[folder] / shard} at {offset}")
        return resize_square(cut_square(pixels, int(self._square[number])), self._side_px)

    def keep_in_memory(self, ranks: Ranks, *, file: Path) -> None:
        """Decode every square once; the ranks of a machine share the work and the memory.

        Args:
            ranks: This process among the others.
            file: What the ranks map together; gone as soon as all have mapped it.
        """
        shape = (len(self), self._side_px, self._side_px, 3)
        if len(self) == 0:
            return
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks.world > 1 else 1
        if local_world == 1:
            cache = np.empty(shape, dtype=np.uint8)
        else:
            file = file.with_name(f"{file.name}.{ranks.rank - ranks.local}")  # one for each machine
            if ranks.local == 0:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.memmap(file, dtype=np.uint8, mode="w+", shape=shape).flush()
            ranks.wait()
            cache = np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
            ranks.wait()
            if ranks.local == 0:
                file.unlink()
        mine = range(ranks.local if local_world > 1 else 0, len(self), local_world)

        def decode(number: int) -> None:
            cache[number] = self._decode(number)

        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // local_world)) as pool:
            for _ in pool.map(decode, mine):
                pass
        ranks.wait()
        self._cache = cache


def epoch_order(pictures: NDArray[np.int64], *, views: str, global_batch: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the squares of an epoch in the order in which they are learned, whole steps only.

    Args:
        pictures: `[n]` picture of each square.
        views: `all` squares, or `one` of every picture at random.
        global_batch: Squares per step over all ranks. What is left over at the end waits for another epoch; when there are
            fewer squares than that, some come twice.
        seed: Of the run.
        epoch: From 0.

    Returns:
        `[steps, global_batch]` numbers of squares.
    """
    order = np.random.default_rng([seed, epoch, 0]).permutation(len(pictures))
    if views == "one":
        order = order[np.sort(np.unique(pictures[order], return_index=True)[1])]
    if len(order) < global_batch:
        order = np.resize(order, global_batch)
    steps = len(order) // global_batch
    return order[: steps * global_batch].reshape(steps, global_batch)


def batches(squares: Squares, numbers: Iterable[NDArray[np.int64]], *, workers: int, pin: bool) -> Iterator[Batch]:
    """Yield one `Batch` for each row of `numbers`, in order, decoded ahead by threads.

    Threads and not processes: OpenCV leaves Python's lock while it decodes, a view lies at once where the batch needs it (a
    process would have to send its 600 kB, a fifth of the time of decoding), there is nothing that could be killed and waited
    for, and an error arrives as what it is.

    Args:
        squares: The data set.
        numbers: Squares of each batch of this rank.
        workers: Threads that decode ahead; 0: none, as is right for squares kept in memory.
        pin: Whether to place batches in page-locked memory, for a GPU.

    Yields:
        Batches, the same ones however many threads there are.

    Raises:
        MissingInputError: A shard is gone or was cut short.
        ImageError: A view in it is no picture.
    """
    waiting: deque[tuple[Batch, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for row in numbers:
            batch = squares.blank(row, pin=pin)
            if not workers:
                squares.fill(batch.pixels, row)
                yield batch
                continue
            parts = [slice(start, start + _PART) for start in range(0, len(row), _PART)]
            waiting.append((batch, [pool.submit(squares.fill, batch.pixels[part], row[part]) for part in parts]))
            if len(waiting) > 1 + -(-2 * workers // len(parts)):  # two parts a thread, and whole batches
                yield _filled(*waiting.popleft())
        while waiting:
            yield _filled(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _filled(batch: Batch, parts: list[Future[None]]) -> Batch:
    for part in parts:
        part.result()
    return batch


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
    train, val = (
        Squares(rows[rows["split"] == split], classes, folders, side_px=side_px)
        for split, side_px in (("train", config.view_px), ("val", config.input_px))
    )
    return Data(train=train, val=val, vocabulary=classes, fingerprint=digest.hexdigest())

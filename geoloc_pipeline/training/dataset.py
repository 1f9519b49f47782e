"""The pictures to learn from: squares of views in tar shards, each read by its offset, decoded ahead by threads."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.model.preprocess import count_squares, cut_square, decode_view, resize_square
from geoloc_pipeline.model.vocabulary import CODE_COLUMNS, Vocabulary
from geoloc_pipeline.storage.shards import read_member, shard_size
from geoloc_pipeline.tables import LABEL_IGNORED, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

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
        interpolation: How squares are brought to their size; the backbone's own, once that is known.
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
        self._image_ids = rows["image_id"].to_numpy()
        self._places = rows[["lat", "lon"]].to_numpy(dtype=np.float32)[self._row]
        classes = [vocabulary.tasks[task].indices(rows[CODE_COLUMNS[task]]) for task in TASKS]
        self._classes = np.stack(classes, axis=1)[self._row]
        self._class_counts = vocabulary.class_counts()
        self._members = list(zip(rows["folder"], rows["shard"], rows["offset"], rows["size_bytes"], strict=True))
        self._folders = tuple(folders)
        self._side_px = side_px
        self.interpolation = "bicubic"
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

    def image_ids(self, numbers: Iterable[int]) -> list[str]:
        """Return the pictures that some squares belong to, each once, in the order in which they come."""
        return list(dict.fromkeys(str(self._image_ids[self._row[number]]) for number in numbers))

    def centres(self) -> dict[str, NDArray[np.float32]]:
        """Return `[classes, 2]` latitude and longitude of the middle of each class's pictures, by task.

        The mean of degrees: a class is small, and none lies across the antimeridian.
        """
        found = {}
        for number, task in enumerate(TASKS):
            labelled = self._classes[:, number] != LABEL_IGNORED
            labels, places = self._classes[labelled, number], self._places[labelled]
            sums = [np.bincount(labels, weights=places[:, axis], minlength=self._class_counts[task]) for axis in (0, 1)]
            counts = np.bincount(labels, minlength=self._class_counts[task])
            found[task] = (np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]).astype(np.float32)
        return found

    def check(self) -> None:
        """Look for what would stop a run hours later: shards that are gone or cut short.

        Raises:
            MissingInputError: A shard is gone.
            BadSourceFileError: One is shorter than its table says.
        """
        ends: dict[tuple[int, str], int] = {}
        for folder, shard, offset, size_bytes in self._members:
            ends[folder, shard] = max(ends.get((folder, shard), 0), offset + size_bytes)
        for (folder, shard), end in ends.items():
            path = self._folders[folder] / shard
            cure = f"materialise `training_shards` of {self._folders[folder].name} again"
            size_bytes = shard_size(path)
            if size_bytes is None:
                raise MissingInputError(what="a shard of training pictures", path=path, cure=cure)
            if size_bytes < end:
                reason = f"cut short: {size_bytes:,} of at least {end:,} bytes"
                raise BadSourceFileError(path=path, reason=reason, cure=cure)

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
        return resize_square(cut_square(pixels, int(self._square[number])), self._side_px, interpolation=self.interpolation)

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

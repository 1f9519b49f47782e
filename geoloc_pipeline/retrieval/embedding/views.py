"""Views of training shards, decoded ahead by threads into batches that a GPU can take as they are.

Each view is known by what its vector is made from: the model, the version of the code, and the view's own bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.model.preprocess import count_squares, decode_view
from geoloc_pipeline.storage.shards import read_member

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.model.preprocess import Preprocessing

_PART = 16  # views that a thread handles at a time: enough to keep it busy, few enough to share a batch among all
_CURE = "materialise `training_shards` of this partition again"


class ViewBatch(NamedTuple):
    """Some views, decoded.

    Attributes:
        rows: Which rows of the table they are.
        pixels: `[squares, side, side, 3]` uint8 RGB of the squares that cover them.
        counts: `[views]` squares of each view.
        made_from: What each view's vector is made from, 32 hex digits.
    """

    rows: slice
    pixels: Tensor
    counts: NDArray[np.int64]
    made_from: list[str]


class ShardViews:
    """The views of some rows of `training_shards`."""

    def __init__(self, rows: pd.DataFrame, folder: Path, *, maker: str, threads: int = 0) -> None:
        """Note where the views lie.

        Args:
            rows: Of `training_shards`.
            folder: Of their tar shards.
            maker: What makes the vectors: names the model and the version of the code.
            threads: That read and decode; 0: as many as there are cores.
        """
        self._members = list(zip(rows["shard"], rows["offset"], rows["size_bytes"], strict=True))
        sizes, which = np.unique(rows[["width_px", "height_px"]].to_numpy(), axis=0, return_inverse=True)
        counts = [count_squares(width_px=int(width), height_px=int(height)) for width, height in sizes]
        self.counts: NDArray[np.int64] = np.array(counts, dtype=np.int64)[which.reshape(-1)]
        self._folder = folder
        self._maker = hashlib.sha256(maker.encode())
        self._threads = threads or _cores()
        cv2.setNumThreads(0)  # pictures are decoded side by side already

    def __len__(self) -> int:
        return len(self._members)

    def made_from(self) -> list[str]:
        """Return what each view's vector would be made from: every byte is read, nothing is decoded.

        Raises:
            MissingInputError: A shard was cut short meanwhile.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda row: self._hash(self._read(row)), range(len(self))))

    def batches(
        self, preprocessing: Preprocessing, *, chosen: NDArray[np.int64], squares: int, ahead: bool = True, pin: bool = False
    ) -> Iterator[ViewBatch]:
        """Yield batches of whole views, decoded by threads.

        Threads and not processes: OpenCV and hashing leave Python's lock, and a view lies at once where the GPU takes it from.

        Args:
            preprocessing: Of the model.
            chosen: `[n]` rows to read, in this order.
            squares: Most squares of a batch; a view whose squares do not fit any more begins the next one.
            ahead: Whether to go on decoding while a batch is in use.
            pin: Whether to place batches in page-locked memory, from which a GPU copies while it computes.

        Yields:
            Batches; their `rows` count within `chosen`.

        Raises:
            MissingInputError: A shard was cut short meanwhile.
            ImageError: A view is no picture, or of another shape than its table says.
        """
        waiting: deque[tuple[ViewBatch, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(self._threads)
        try:
            for rows in _packed(self.counts[chosen], squares):
                batch = self._blank(preprocessing, chosen, rows, pin=pin)
                parts = [slice(start, start + _PART) for start in range(0, len(batch.counts), _PART)]
                waiting.append((batch, [pool.submit(self._fill, batch, chosen[rows], part, preprocessing) for part in parts]))
                most = 1 + -(-2 * self._threads // len(parts)) if ahead else 0  # two parts a thread, and whole batches
                if len(waiting) > most:
                    yield _filled(*waiting.popleft())
            while waiting:
                yield _filled(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _blank(self, preprocessing: Preprocessing, chosen: NDArray[np.int64], rows: slice, *, pin: bool) -> ViewBatch:
        counts, side_px = self.counts[chosen[rows]], preprocessing.input_px
        pixels = torch.empty((int(counts.sum()), side_px, side_px, 3), dtype=torch.uint8, pin_memory=pin)
        return ViewBatch(rows=rows, pixels=pixels, counts=counts, made_from=[""] * len(counts))

    def _fill(self, batch: ViewBatch, numbers: NDArray[np.int64], part: slice, preprocessing: Preprocessing) -> None:
        """Read and decode some views into their places in a batch.

        Raises:
            ImageError: A view is no picture, or of another shape than its table says.
        """
        place, pixels = int(batch.counts[: part.start].sum()), batch.pixels.numpy()
        for view in range(part.start, min(part.stop, len(numbers))):
            data = self._read(int(numbers[view]))
            batch.made_from[view] = self._hash(data)
            shard, offset, _ = self._members[int(numbers[view])]
            name = f"{self._folder / shard} at {offset}"
            squares = preprocessing.squares(decode_view(data, name=name))
            if len(squares) != batch.counts[view]:
                detail = (
                    f"it is covered by {len(squares)} squares, and by {batch.counts[view]} in the size that its table tells"
                )
                raise ImageError(image=name, reason="wrong_shape", detail=detail, cure=_CURE)
            for square in squares:
                pixels[place] = square
                place += 1

    def _read(self, row: int) -> bytes:
        shard, offset, size_bytes = self._members[row]
        return read_member(self._folder, shard=shard, offset=offset, size_bytes=size_bytes)

    def _hash(self, data: bytes) -> str:
        digest = self._maker.copy()
        digest.update(data)
        return digest.hexdigest()[:32]


def check_shards(rows: pd.DataFrame, folder: Path) -> None:
    """Look whether all shards are there and whole, before anything else is done.

    Args:
        rows: Of `training_shards`.
        folder: Of their tar shards.

    Raises:
        MissingInputError: A shard is gone or was cut short; the error names the cure.
    """
    ends = (rows["offset"] + rows["size_bytes"]).groupby(rows["shard"]).max()
    for shard, end in ends.items():
        path = folder / str(shard)
        if not path.is_file():
            raise MissingInputError(what="an image shard", path=path, cure=_CURE)
        if (there := path.stat().st_size) < end:
            what = f"a whole image shard ({there} bytes are left of at least {end})"
            raise MissingInputError(what=what, path=path, cure=f"it was cut short: {_CURE}")


def _packed(counts: Sequence[int] | NDArray[np.int64], squares: int) -> Iterator[slice]:
    """Yield runs of views that have at most `squares` squares together (or one view that alone has more)."""
    start = held = 0
    for view, count in enumerate(counts):
        if held and held + count > squares:
            yield slice(start, view)
            start, held = view, 0
        held += int(count)
    if held:
        yield slice(start, len(counts))


def _filled(batch: ViewBatch, parts: list[Future[None]]) -> ViewBatch:
    for part in parts:
        part.result()
    return batch


def _cores() -> int:
    """Return the cores that this process may use: fewer than the machine has in a container or under Slurm."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

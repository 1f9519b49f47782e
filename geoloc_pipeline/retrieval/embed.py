"""Pictures to vectors of 512 numbers, with the preprocessing that the model was validated with.

A picture is read as the squares that cover it (`model.preprocess`): a square view is one square, a 4:3 photo two that overlap,
a 4:1 panorama its four views; the vector is the direction of the squares' mean.

Paper: §3.3.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.model.saved import SavedGeolocator, load_geolocator
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import EMBEDDING_SIZE, IMAGE_EMBEDDINGS, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from geoloc_pipeline.model.preprocess import Preprocessing
    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.storage.progress import Progress

BATCH = 256
DECODERS = 2  # decoding a view takes longer than a small network takes to read it

_Views = list["NDArray[np.uint8]"]


class Embedder:
    """A trained image encoder, ready to read pictures.

    Attributes:
        model_version: Content hash of its weights.
        vocabulary: What the classes of its heads mean.
        preprocessing: How pictures become its input.
    """

    def __init__(self, saved: SavedGeolocator, *, device: torch.device | str | None = None, batch: int = BATCH) -> None:
        """Place a model on a device.

        Args:
            saved: From `load_geolocator`.
            device: Where it computes; a GPU where there is one, if absent.
            batch: Squares that it reads at once.
        """
        self.model_version = saved.model_version
        self.vocabulary: Vocabulary = saved.vocabulary
        self.preprocessing: Preprocessing = saved.model.preprocessing
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = saved.model.to(self._device)
        self._batch = batch

    @classmethod
    def load(
        cls, checkpoint: Path, *, untrained: bool = False, device: torch.device | str | None = None, threads: int = 0
    ) -> Embedder:
        """Return the embedder of a checkpoint.

        Args:
            checkpoint: `best.pt`.
            untrained: Keep the architecture and leave the weights fresh, always the same: the baseline.
            device: Where it computes; a GPU where there is one, if absent.
            threads: CPU threads of torch in this whole process; 0 leaves them as they are.

        Returns:
            The embedder.
        """
        if threads:
            torch.set_num_threads(threads)
        return cls(load_geolocator(checkpoint, untrained=untrained), device=device)

    def embed_views(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return `[n, 512]` unit vectors of n pictures.

        Args:
            views: RGB, `[height, width, 3]` uint8 each, of any size and shape.

        Returns:
            float32; `[0, 512]` of no pictures.
        """
        squares = [self.preprocessing.squares(_checked(view)) for view in views]
        return self._embed_squares(squares)

    def classify_views(self, views: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Return the probabilities that the heads give to their classes, `[n, classes]` by task, mean over a picture's squares.

        Args:
            views: RGB, `[height, width, 3]` uint8 each.

        Returns:
            Only tasks that have classes; their codes are in `vocabulary.tasks[task].codes`.
        """
        squares = [self.preprocessing.squares(_checked(view)) for view in views]
        flat = [square for group in squares for square in group]
        found: dict[str, list[NDArray[np.float32]]] = {task: [] for task in self._model.tasks}
        for start in range(0, len(flat), self._batch):
            with torch.inference_mode():
                answer = self._model(self._pixels(flat[start : start + self._batch]))
            for task, logits in answer.logits.items():
                found[task].append(logits.float().softmax(dim=1).cpu().numpy())
        empty = {task: np.empty((0, len(self.vocabulary.tasks[task].codes)), dtype=np.float32) for task in self._model.tasks}
        counts = [len(group) for group in squares]
        return {task: _mean_of_groups(np.concatenate([empty[task], *parts]), counts) for task, parts in found.items()}

    def _embed_squares(self, groups: Sequence[_Views]) -> NDArray[np.float32]:
        flat = [square for group in groups for square in group]
        parts = [np.empty((0, EMBEDDING_SIZE), dtype=np.float32)]
        for start in range(0, len(flat), self._batch):
            with torch.inference_mode():
                parts.append(self._model.embed(self._pixels(flat[start : start + self._batch])).cpu().numpy())
        return _unit(_mean_of_groups(np.concatenate(parts), [len(group) for group in groups]))

    def _pixels(self, squares: _Views) -> torch.Tensor:
        return self.preprocessing.batch(np.stack(squares), device=self._device)

    def embed_rows(self, rows: pd.DataFrame, folder: Path, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return `[n, 512]` unit vectors of n rows of `training_shards`.

        Args:
            rows: Which views.
            folder: Of their shards.
            progress: Advanced by each view.

        Returns:
            float32, in the order of the rows.
        """

        def read(member: tuple[str, int, int]) -> _Views:
            shard, offset, size_bytes = member
            data = read_member(folder, shard=shard, offset=offset, size_bytes=size_bytes)
            return self.preprocessing.squares(decode_view(data, name=f"{folder / shard} at {offset}"))

        members = zip(rows["shard"], rows["offset"], rows["size_bytes"], strict=True)
        parts = [np.empty((0, EMBEDDING_SIZE), dtype=np.float32)]
        cv2.setNumThreads(0)  # pictures are decoded side by side already
        with ThreadPoolExecutor(DECODERS) as pool:
            for some in _chunks(members, self._batch):
                parts.append(self._embed_squares(list(pool.map(read, some))))
                if progress is not None:
                    progress.advance(len(some))
        return np.concatenate(parts)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(items)
    while some := list(islice(source, size)):
        yield some


def _checked(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3 or 0 in view.shape:
        raise ImageError(
            image="the picture",
            reason="not_rgb",
            detail=f"it is {view.dtype} of shape {view.shape}, not RGB uint8 of shape (height, width, 3)",
            cure='read it with Pillow and convert("RGB") first',
        )
    return view


def _mean_of_groups(values: NDArray[np.float32], counts: Sequence[int]) -> NDArray[np.float32]:
    """Return the mean of each run of `counts` rows."""
    if len(counts) == len(values):
        return values
    starts = np.cumsum([0, *counts[:-1]])
    return np.asarray(np.add.reduceat(values, starts, axis=0) / np.asarray(counts)[:, None], dtype=np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def embed_shards(
    checkpoint: Path,
    shards: pd.DataFrame,
    folder: Path,
    *,
    splits: Sequence[str] = ("train", "val"),
    untrained: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return the embeddings of one partition's pictures: every view, and the mean of a picture's compass views.

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
    """
    rows = shards[shards["split"].isin(list(splits))].sort_values(["image_id", "view"], ignore_index=True)
    if len(rows) == 0:
        return empty_table(IMAGE_EMBEDDINGS)
    if progress is not None:
        progress.tell(0, total=len(rows), unit="views")
    embedder = Embedder.load(checkpoint, untrained=untrained)
    vectors = embedder.embed_rows(rows, folder, progress=progress)
    return _table(rows, vectors, model_version=embedder.model_version)


def _table(rows: pd.DataFrame, vectors: NDArray[np.float32], *, model_version: str) -> pd.DataFrame:
    compass = np.flatnonzero((rows["view"] != "photo").to_numpy())
    firsts, counts = np.unique(rows["image_id"].to_numpy()[compass].astype(str), return_index=True, return_counts=True)[1:]
    means = np.empty((0, EMBEDDING_SIZE), dtype=np.float32)
    if len(compass):
        means = _unit(np.asarray(np.add.reduceat(vectors[compass], firsts, axis=0) / counts[:, None], dtype=np.float32))
    of = np.concatenate([np.arange(len(rows)), compass[firsts] if len(compass) else []]).astype(np.int64)
    columns = {name: rows[name].to_numpy()[of] for name in ("image_id", "lat", "lon")}
    columns["view"] = np.concatenate([rows["view"].to_numpy().astype(object), np.full(len(means), "mean", dtype=object)])
    columns["model_version"] = np.full(len(of), model_version, dtype=object)
    columns["embedding"] = list(np.concatenate([vectors, means]))
    table = as_table(IMAGE_EMBEDDINGS, columns)
    return table.sort_values(["image_id", "view"], ignore_index=True)

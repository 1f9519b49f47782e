"""The model at work: pictures to vectors of 512 numbers, with the preprocessing that it was validated with.

A picture is read as the squares that cover it (`model.preprocess`): a square view is one square, a 4:3 photo two that overlap,
a 4:1 panorama its four views; the vector is the direction of the squares' mean.

Paper: §3.3.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from geoloc_pipeline.errors import GpuMemoryError, ImageError
from geoloc_pipeline.model.saved import SavedGeolocator, load_geolocator
from geoloc_pipeline.retrieval.embedding.heads import MOST, HeadTops, mean_tops
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.model.preprocess import Preprocessing
    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.views import ViewBatch

    Question = Callable[[Tensor], tuple[Tensor, ...]]

BATCH = 256
COMPILE_FROM = 50_000  # squares: compiling takes up to a minute, which fewer never win back
_IN_FLIGHT = 2  # batches that are given to the GPU before the answer to the first is fetched

_LOG = logging.getLogger(__name__)


class Vectors(NamedTuple):
    """What the model says of some views.

    Attributes:
        embedding: `[n, 512]` float32, unit length.
        token: `[n, width]` float16, unit length: the backbone's output; `[n, 0]` unless asked for.
    """

    embedding: NDArray[np.float32]
    token: NDArray[np.float16]

    def rows(self, chosen: NDArray[np.int64]) -> Vectors:
        """Return some rows, copied."""
        return Vectors(embedding=self.embedding[chosen], token=self.token[chosen])


class Reading(NamedTuple):
    """What the model says of n pictures.

    Attributes:
        embedding: `[n, 512]` float32, unit length.
        heads: Probabilities of the classes, `[n, classes]` float32 by task, only of tasks that have classes; their codes are in
            `Embedder.vocabulary.tasks[task].codes`.
    """

    embedding: NDArray[np.float32]
    heads: dict[str, NDArray[np.float32]]


class Embedder:
    """A trained image encoder, ready to read pictures.

    Attributes:
        model_version: Content hash of its weights.
        vocabulary: What the classes of its heads mean.
        preprocessing: How pictures become its input.
        batch: Squares that it reads at once; fewer as soon as memory has run out.
    """

    def __init__(
        self,
        saved: SavedGeolocator,
        *,
        device: torch.device | str | None = None,
        batch: int = BATCH,
        precision: Literal["bf16", "fp32"] | None = None,
    ) -> None:
        """Place a model on a device.

        Args:
            saved: From `load_geolocator`.
            device: Where it computes; a GPU where there is one, if absent.
            batch: Squares that it reads at once.
            precision: Of its matrix products; if absent bf16 on a GPU that multiplies in it, fp32 elsewhere.
        """
        self.model_version = saved.model_version
        self.vocabulary: Vocabulary = saved.vocabulary
        self.preprocessing: Preprocessing = saved.model.preprocessing
        self.batch = self._asked = batch
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = saved.model.to(self._device)
        able = self.on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        self._bf16 = precision == "bf16" or (precision is None and able)
        self._fixed = False

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        *,
        untrained: bool = False,
        start_weights: str = "none",
        device: torch.device | str | None = None,
        threads: int = 0,
        batch: int = BATCH,
    ) -> Embedder:
        """Return the embedder of a checkpoint.

        Args:
            checkpoint: `best.pt`.
            untrained: Keep the architecture and leave the weights fresh, always the same: the baseline.
            start_weights: Of an untrained backbone: `none` (fresh), or what training began with.
            device: Where it computes; a GPU where there is one, if absent.
            threads: CPU threads of torch in this whole process; 0 leaves them as they are.
            batch: Squares that it reads at once.

        Returns:
            The embedder.
        """
        if threads:
            torch.set_num_threads(threads)
        return cls(load_geolocator(checkpoint, untrained=untrained, start_weights=start_weights), device=device, batch=batch)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self._device.type == "cuda"

    @property
    def decodes_ahead(self) -> bool:
        """Whether pictures should be decoded while it computes.

        Not beside several threads of torch on a CPU: they wait for each other busily, and together both take twice as long.
        """
        return self.on_gpu or torch.get_num_threads() == 1

    @property
    def token_width(self) -> int:
        """Length of the backbone's output."""
        return self._model.projection.in_features

    def compile(self) -> None:
        """Let torch compile the backbone as soon as it is used; worth its while on a GPU, from `COMPILE_FROM` squares on.

        Every batch is filled up to the same size from now on: another size would be compiled anew. It needs a C compiler;
        TORCH_COMPILE_DISABLE=1 is torch's own switch for machines that have none.
        """
        self._model.backbone.compile(dynamic=False)
        self._fixed = True

    def embed_views(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return `[n, 512]` unit vectors of n pictures.

        Args:
            views: RGB, `[height, width, 3]` uint8 each, of any size and shape.

        Returns:
            float32; `[0, 512]` of no pictures.
        """
        groups = [self.preprocessing.squares(_checked(view)) for view in views]
        if not groups:
            return np.empty((0, EMBEDDING_SIZE), dtype=np.float32)
        (found,) = self._ask(self._placed(groups), lambda pixels: (self._model.embed(pixels),))
        return unit(_mean_of_groups(found.cpu().numpy(), [len(group) for group in groups]))

    def read_views(self, views: Sequence[NDArray[np.uint8]]) -> Reading:
        """Return what the model says of n pictures, vectors and heads, from one pass of the network.

        Args:
            views: RGB, `[height, width, 3]` uint8 each, of any size and shape.

        Returns:
            Vectors as of `embed_views`; probabilities are the mean over a picture's squares.
        """
        tasks = self._model.tasks
        groups = [self.preprocessing.squares(_checked(view)) for view in views]
        if not groups:
            nothing = {task: np.empty((0, len(self.vocabulary.tasks[task].codes)), dtype=np.float32) for task in tasks}
            return Reading(embedding=np.empty((0, EMBEDDING_SIZE), dtype=np.float32), heads=nothing)

        def question(pixels: Tensor) -> tuple[Tensor, ...]:
            said = self._model(pixels)
            return F.normalize(said.embedding.float(), dim=1), *(said.logits[task].float().softmax(dim=1) for task in tasks)

        counts, found = [len(group) for group in groups], self._ask(self._placed(groups), question)
        embedding, *heads = (_mean_of_groups(each.float().cpu().numpy(), counts) for each in found)
        return Reading(embedding=unit(embedding), heads=dict(zip(tasks, heads, strict=True)))

    def embed_batches(self, batches: Iterable[ViewBatch], *, tokens: bool = False) -> Iterator[tuple[ViewBatch, Vectors]]:
        """Yield the vectors of batches in their order; a GPU always has the next batch when it is done with one.

        Args:
            batches: From `views.ShardViews.batches`, pinned for a GPU.
            tokens: Whether the backbone's output is wanted as well; it costs no second pass.

        Yields:
            Each batch and its vectors.

        Raises:
            GpuMemoryError: Not even one picture fits into the GPU's memory.
        """
        model = self._model
        question: Question = model.embed_with_tokens if tokens else lambda pixels: (model.embed(pixels),)
        for batch, found in self._answers(batches, question):
            means = [unit(_mean_of_groups(each, batch.counts)) for each in found]
            token = means[1].astype(np.float16) if len(means) > 1 else np.empty((len(means[0]), 0), dtype=np.float16)
            yield batch, Vectors(embedding=means[0], token=token)

    def read_batches(
        self, batches: Iterable[ViewBatch]
    ) -> Iterator[tuple[ViewBatch, NDArray[np.float32], dict[str, HeadTops]]]:
        """Yield the vectors of batches, and the likeliest classes of every head, from one pass of the network.

        Args:
            batches: As of `embed_batches`.

        Yields:
            Each batch, its views' `[n, 512]` unit vectors, and by task what its heads say of them.

        Raises:
            GpuMemoryError: Not even one picture fits into the GPU's memory.
        """
        tasks = self._model.tasks
        sizes = {task: len(self.vocabulary.tasks[task].codes) for task in tasks}

        def question(pixels: Tensor) -> tuple[Tensor, ...]:
            said = self._model(pixels)
            tops = [said.logits[task].float().softmax(dim=1).topk(min(MOST, sizes[task])) for task in tasks]
            return F.normalize(said.embedding.float(), dim=1), *(part for top in tops for part in (top.indices, top.values))

        for batch, (embedding, *tops) in self._answers(batches, question):
            pairs = zip(tasks, tops[::2], tops[1::2], strict=True)
            heads = {task: HeadTops(sizes[task], index.astype(np.int32), chance) for task, index, chance in pairs}
            told = {task: mean_tops(said, batch.counts) for task, said in heads.items()}
            yield batch, unit(_mean_of_groups(embedding, batch.counts)), told

    def _answers(self, batches: Iterable[ViewBatch], question: Question) -> Iterator[tuple[ViewBatch, list[NDArray[Any]]]]:
        """Yield what the model answers about the squares of each batch, in order; a GPU always has the next one in hand."""
        flying: deque[tuple[ViewBatch, list[Tensor], torch.cuda.Event | None]] = deque()
        for batch in batches:
            found = self._ask(batch.pixels.to(self._device, non_blocking=True), question)
            home = [each.to("cpu", non_blocking=True) for each in found]  # into page-locked memory, while the GPU goes on
            flying.append((batch, home, torch.cuda.current_stream(self._device).record_event() if self.on_gpu else None))
            if len(flying) > _IN_FLIGHT:
                yield _landed(*flying.popleft())
        while flying:
            yield _landed(*flying.popleft())

    def _placed(self, groups: Sequence[Sequence[NDArray[np.uint8]]]) -> Tensor:
        return torch.from_numpy(np.stack([square for group in groups for square in group])).to(self._device)

    def _ask(self, pixels: Tensor, question: Question) -> tuple[Tensor, ...]:
        """Return the model's answers about `[n, side, side, 3]` uint8 squares on the device; n is at least 1.

        Raises:
            GpuMemoryError: Not even one square fits.
        """
        while (answers := self._try(pixels, question)) is None:
            if self.batch == 1:
                cure = "end what else holds its memory, or train a smaller backbone"
                raise GpuMemoryError(device=str(self._device), asked=self._asked, fits=0, cure=cure)
            self.batch //= 2
            _LOG.warning("out of memory on %s: going on with batches of %d pictures", self._device, self.batch)
            if self.on_gpu:
                torch.cuda.empty_cache()
        return answers

    def _try(self, pixels: Tensor, question: Question) -> tuple[Tensor, ...] | None:
        """Return the answers, or None when memory has run out: then nothing of the attempt is held any more."""
        found = []
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                for part in torch.split(pixels, self.batch):
                    missing = self.batch - len(part) if self._fixed else 0
                    full = F.pad(part, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else part
                    answers = question(self.preprocessing.normalise(full.permute(0, 3, 1, 2)))
                    found.append([answer[: len(part)] for answer in answers])
                return tuple(torch.cat(same) for same in zip(*found, strict=True))
        except torch.OutOfMemoryError:
            return None


def _landed(batch: ViewBatch, found: list[Tensor], done: torch.cuda.Event | None) -> tuple[ViewBatch, list[NDArray[Any]]]:
    if done is not None:
        done.synchronize()
    return batch, [each.numpy() for each in found]


def _checked(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3 or 0 in view.shape:
        raise ImageError(
            image="the picture",
            reason="not_rgb",
            detail=f"it is {view.dtype} of shape {view.shape}, not RGB uint8 of shape (height, width, 3)",
            cure='read it with Pillow and convert("RGB") first',
        )
    return view


def _mean_of_groups(values: NDArray[np.float32], counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean of each run of `counts` rows."""
    if len(counts) == len(values):
        return values
    starts = np.cumsum([0, *counts[:-1]])
    return np.asarray(np.add.reduceat(values, starts, axis=0) / np.asarray(counts)[:, None], dtype=np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `[n, size]` vectors at unit length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)

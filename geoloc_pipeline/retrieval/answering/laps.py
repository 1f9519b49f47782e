"""How long each part of an answer takes: photo decoded, preprocessed, embedded, neighbours found, place read out.

The parts are timed from outside, by stand-ins for the model and the gallery: the answer itself (`locate`) knows no clock.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.retrieval.embedding.embedder import Reading, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.embedder import Embedder
    from geoloc_pipeline.retrieval.gallery.gallery import Gallery
    from geoloc_pipeline.retrieval.gallery.live import LiveGallery
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours, Where

STAGES = ("decode", "preprocess", "wait", "embed", "search", "read_out", "respond")


class Laps:
    """Seconds by stage.

    Attributes:
        seconds: What each stage has taken so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage, also when it fails."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started_s)

    def add(self, name: str, taken_s: float) -> None:
        """Add seconds to a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + taken_s

    def milliseconds(self) -> dict[str, float]:
        """Return milliseconds by stage in the order of `STAGES`, with three digits behind the point."""
        return {name: round(1000 * self.seconds[name], 3) for name in STAGES if name in self.seconds}


class OneReader:
    """The model for many threads: it reads one photo at a time, because torch takes all cores; they are cut side by side."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._lock = threading.Lock()

    def read(self, views: Sequence[NDArray[np.uint8]], laps: Laps) -> Reading:
        """Return what the model says of n pictures, as `Embedder.read_views` does.

        Args:
            views: RGB, `[height, width, 3]` uint8 each.
            laps: Told how long cutting and reading took, and waiting for other threads' photos (`wait`).

        Returns:
            The reading, one row a picture.
        """
        with laps.stage("preprocess"):
            groups = [self.embedder.preprocessing.squares(view) for view in views]
        with laps.stage("wait"):
            self._lock.acquire()
        try:
            with laps.stage("embed"):
                read = self.embedder.read_views([square for group in groups for square in group])
        finally:
            self._lock.release()
        starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
        counts = np.array([[len(group)] for group in groups])

        def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(np.add.reduceat(values, starts, axis=0) / counts, dtype=np.float32)

        return Reading(embedding=unit(mean(read.embedding)), heads={task: mean(each) for task, each in read.heads.items()})


class TimedEmbedder:
    """One answer's model: reads its photo, or tells again what it said of it before, and remembers what it said.

    Attributes:
        reading: What it said of the photo; None before it was asked.
    """

    def __init__(self, reader: OneReader, laps: Laps, *, reading: Reading | None = None) -> None:
        self.reading = reading
        self._reader, self._laps = reader, laps

    @property
    def model_version(self) -> str:
        """Return the content hash of the checkpoint."""
        return self._reader.embedder.model_version

    @property
    def vocabulary(self) -> Vocabulary:
        """Return what the classes of the heads mean."""
        return self._reader.embedder.vocabulary

    def read_views(self, views: Sequence[NDArray[np.uint8]]) -> Reading:
        """Return what the model says of n pictures; of a photo that was read before, without looking at it."""
        if self.reading is None:
            self.reading = self._reader.read(views, self._laps)
        return self.reading


class TimedGallery:
    """One answer's gallery, on the clock."""

    def __init__(self, gallery: LiveGallery | Gallery, laps: Laps) -> None:
        self._gallery, self._laps = gallery, laps

    def search(
        self, vectors: NDArray[np.float32], *, top_k: int = 100, exact: bool = False, where: Where | None = None
    ) -> Neighbours:
        """Return the most similar pictures of the live collection.

        Raises:
            SettingError: No picture is within the limit.
        """
        wanted: dict[str, Any] = {"top_k": top_k, "exact": exact, "where": where}
        with self._laps.stage("search"):
            found = self._gallery.search(vectors, **wanted)
        if where is not None and where.filters() and not found.lat.size:
            told = ", ".join(value for values in where.filters().values() for value in values)
            raise SettingError(
                setting="prefecture and source", value=told, cure="the gallery has no such picture: ask for more"
            )
        return found

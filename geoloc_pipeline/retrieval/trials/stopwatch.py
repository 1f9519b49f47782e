"""How long answers take, stage by stage: the paper's latency experiment (§4).

The stages are timed from outside, by stand-ins for the model and the gallery: the answer itself (`locate`) knows no clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.retrieval.answering.locate import locate_photo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.embedder import Embedder, Reading
    from geoloc_pipeline.retrieval.gallery.gallery import Gallery
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
    from geoloc_pipeline.retrieval.reading.calibration import Calibration

    Names = Callable[..., Mapping[str, str]]


@dataclass
class _Timed:
    """Model, gallery and census, each with a clock; `seconds` by stage."""

    embedder: Embedder
    gallery: Gallery
    names: Names | None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def model_version(self) -> str:
        return self.embedder.model_version

    @property
    def vocabulary(self) -> Vocabulary:
        return self.embedder.vocabulary

    def read_views(self, views: Sequence[NDArray[np.uint8]]) -> Reading:
        started_s = time.perf_counter()
        for view in views:
            self.embedder.preprocessing.squares(view)  # once more, to know its part of the next line
        preprocess_s = time.perf_counter() - started_s
        reading: Reading = self._timed("embed", lambda: self.embedder.read_views(views))
        self.seconds |= {"preprocess": preprocess_s, "embed": max(self.seconds["embed"] - preprocess_s, 0.0)}
        return reading

    def search(self, vectors: NDArray[np.float32], **asked: Any) -> Neighbours:
        found: Neighbours = self._timed("search", lambda: self.gallery.search(vectors, **asked))
        return found

    def names_at(self, **place: float) -> Mapping[str, str]:
        told: Mapping[str, str] = self._timed("names", lambda: self.names(**place) if self.names else {})
        return told

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:
        started_s = time.perf_counter()
        done = work()
        self.seconds[stage] = time.perf_counter() - started_s
        return done


def time_answer(
    data: bytes, *, embedder: Embedder, gallery: Gallery, calibration: Calibration, names: Names | None, top_k: int
) -> dict[str, float]:
    """Return the seconds of each stage of one answer.

    Args:
        data: The encoded picture.
        embedder: The model.
        gallery: Opened.
        calibration: What was chosen on validation pictures.
        names: `PlaceNames.names_at`; None without a census.
        top_k: Neighbours.

    Returns:
        By the names of `evaluation.latency.STAGES`, all of them; cutting the picture into squares is timed by doing it twice.
    """
    timed = _Timed(embedder, gallery, names, {"names": 0.0})
    started_s = time.perf_counter()
    pixels = decode_view(data, name="a test picture")
    decoded_s = time.perf_counter()
    locate_photo(
        pixels,
        embedder=timed,
        gallery=timed,
        calibration=calibration,
        top_k=top_k,
        names=timed.names_at if names else None,
    )
    answered_s = time.perf_counter() - decoded_s - timed.seconds["preprocess"]
    others_s = sum(timed.seconds[stage] for stage in ("preprocess", "embed", "search", "names"))
    return {"decode": decoded_s - started_s, **timed.seconds, "read-out": max(answered_s - others_s, 0.0)}

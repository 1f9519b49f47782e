"""How long answers take, stage by stage: the paper's latency experiment (§4), by the clocks that the search page uses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.retrieval.answering.laps import Laps, OneReader, TimedEmbedder, TimedGallery
from geoloc_pipeline.retrieval.answering.locate import locate_photo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from geoloc_pipeline.retrieval.embedding.embedder import Embedder
    from geoloc_pipeline.retrieval.gallery.gallery import Gallery
    from geoloc_pipeline.retrieval.reading.calibration import Calibration

    Names = Callable[..., Mapping[str, str]]

TIMED = ("decode", "preprocess", "embed", "search", "names")


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
        By the names of `evaluation.latency.STAGES`, all but the first: the read-out is what no other stage has taken.
    """
    laps = Laps()

    def names_at(**place: float) -> Mapping[str, str]:
        with laps.stage("names"):
            return names(**place) if names else {}

    started_s = time.perf_counter()
    with laps.stage("decode"):
        pixels = decode_view(data, name="a test picture")
    locate_photo(
        pixels,
        embedder=TimedEmbedder(OneReader(embedder), laps),
        gallery=TimedGallery(gallery, laps),
        calibration=calibration,
        top_k=top_k,
        names=names_at if names else None,
    )
    together_s = time.perf_counter() - started_s
    seconds = {stage: laps.seconds.get(stage, 0.0) for stage in TIMED}
    return {**seconds, "read-out": max(together_s - sum(seconds.values()), 0.0)}

"""Where was this photo taken? One picture in; a place, its regions and its neighbours out.

The photo's own EXIF position is never looked at: only pixels come in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geoloc_pipeline.errors import CollectionError, ImageError, ModelError, SettingError
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.model.preprocess import count_squares
from geoloc_pipeline.retrieval.answering.answer import Abstain, Answer, AnswerNeighbour, HeadGuess, known
from geoloc_pipeline.retrieval.answering.telling import confidence_words, describe, osm_link, place_words
from geoloc_pipeline.retrieval.embedding.heads import keep_tops
from geoloc_pipeline.retrieval.embedding.queries import Kind, kind_of
from geoloc_pipeline.retrieval.reading.calibration import Calibration
from geoloc_pipeline.retrieval.reading.gate import gate_neighbours
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, read_out
from geoloc_pipeline.retrieval.reading.spread import signs_of, spread_km

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.retrieval.embedding.embedder import Reading
    from geoloc_pipeline.retrieval.embedding.heads import HeadTops
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours, Where

__all__ = [
    "Abstain",
    "Answer",
    "AnswerNeighbour",
    "HeadGuess",
    "answer_from_neighbours",
    "confidence_words",
    "describe",
    "locate_photo",
    "osm_link",
    "place_words",
]

TOP_K = 100  # paper §3.3
BEST_GUESSES = 5


class EmbedderLike(Protocol):
    """What reads pictures (`retrieval.embedder.Embedder`)."""

    @property
    def model_version(self) -> str:
        """Return the content hash of the checkpoint."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Return what the classes of its heads mean."""

    def read_views(self, views: Sequence[NDArray[np.uint8]], /) -> Reading:
        """Return vectors and heads of RGB pictures `[height, width, 3]`."""


class GalleryLike(Protocol):
    """What finds neighbours (`retrieval.gallery`)."""

    def search(
        self, vectors: NDArray[np.float32], /, *, top_k: int = TOP_K, exact: bool = False, where: Where | None = None
    ) -> Neighbours:
        """Return the most similar pictures of the gallery, best first."""


def locate_photo(
    pixels: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    *,
    embedder: EmbedderLike,
    gallery: GalleryLike,
    calibration: Calibration | None = None,
    top_k: int = TOP_K,
    readout: str = "",
    names: Callable[..., Mapping[str, str]] | None = None,
    exact: bool = False,
    where: Where | None = None,
    abstain: Abstain | None = None,
) -> Answer:
    """Return where a photo was taken.

    Args:
        pixels: `[height, width, 3]` RGB uint8; or several views of one place, whose embeddings are averaged.
        embedder: Of the model with which the gallery was made.
        gallery: To search.
        calibration: What was chosen on validation pictures; without it the answer has no region.
        top_k: How many neighbours are asked for; a smaller gallery gives what it has.
        readout: A name in `readouts.BATCH_READOUTS`; the calibrated one when empty.
        names: Called with `lat` and `lon`, gives names of the place, such as `PlaceNames.names_at`; None when no census is
            loaded: then nobody knows whether the place is on land.
        exact: Whether the search compares with every picture.
        where: What the search is limited to. Regions and familiarity are calibrated without a limit.
        abstain: When no answer shall be given.

    Returns:
        The answer.

    Raises:
        ImageError: The pixels are not an RGB picture.
        ModelError: The embedding is not finite.
        CollectionError: The gallery is empty.
        SettingError: There is no read-out of that name.
    """
    calibration = calibration or Calibration()
    readout = readout or calibration.readout
    if readout not in BATCH_READOUTS:
        raise SettingError(setting="readout", value=readout, cure=f"choose one of {', '.join(BATCH_READOUTS)}")
    views = [pixels] if isinstance(pixels, np.ndarray) else list(pixels)
    n_squares = _checked_squares(views)
    reading = embedder.read_views(views)
    vector = np.asarray(reading.embedding, dtype=np.float32).mean(axis=0, keepdims=True)
    length = float(np.linalg.norm(vector))
    if not (math.isfinite(length) and length > 0):
        raise ModelError(
            what="the photo's embedding",
            reason=f"its length is {length}",
            cure="use a checkpoint whose training loss was finite",
        )
    limit: dict[str, Any] = {} if where is None else {"where": where}
    found = gallery.search(vector / length, top_k=top_k, exact=exact, **limit)
    heads = keep_tops({task: np.mean(said, axis=0, keepdims=True) for task, said in reading.heads.items()})
    answer = answer_from_neighbours(
        gate_neighbours(found, heads, embedder.vocabulary) if heads else found,
        calibration=calibration,
        readout=readout,
        kind=kind_of(n_squares),
        heads=heads,
        vocabulary=embedder.vocabulary if heads else None,
        names=names,
        model_version=embedder.model_version,
    )
    return abstain.apply(answer) if abstain else answer


def _checked_squares(views: Sequence[NDArray[np.uint8]]) -> int:
    """Return how many squares the views are read as.

    Raises:
        ImageError: There is no view, or one is no RGB picture.
    """
    for view in views:
        if view.ndim != 3 or view.shape[2] != 3 or view.dtype != np.uint8 or 0 in view.shape:
            raise ImageError(
                image="the photo",
                reason="not_rgb",
                detail=f"its pixels are {view.dtype} {view.shape}, expected uint8 (height, width, 3)",
                cure="decode it as RGB first",
            )
    if not views:
        raise ImageError(image="the photo", reason="no_views", detail="there is no view of it", cure="hand over at least one")
    return sum(count_squares(width_px=view.shape[1], height_px=view.shape[0]) for view in views)


def answer_from_neighbours(
    neighbours: Neighbours,
    *,
    query: int = 0,
    calibration: Calibration | None = None,
    readout: str = "",
    kind: Kind = "one_view",
    heads: Mapping[str, HeadTops] | None = None,
    vocabulary: Vocabulary | None = None,
    names: Callable[..., Mapping[str, str]] | None = None,
    model_version: str = "",
) -> Answer:
    """Return the answer that one query's neighbours give.

    Args:
        neighbours: Of a search, arrays `[q, k]`; with a gate where the heads were asked.
        query: Which row.
        calibration: What was chosen on validation pictures; without it the answer has no region.
        readout: A name in `readouts.BATCH_READOUTS`; the calibrated one when empty.
        kind: Of the query.
        heads: By task, what the model's heads say of the queries.
        vocabulary: Of the heads.
        names: Called with `lat` and `lon`, gives names of the place; None when no census is loaded.
        model_version: Content hash of the checkpoint.

    Returns:
        The answer; absent neighbours (NaN places) are left out.

    Raises:
        CollectionError: There is no neighbour.
        SettingError: There is no read-out of that name.
    """
    if len(neighbours.lat) <= query:
        raise CollectionError(
            collection="gallery",
            reason=f"the search answered {len(neighbours.lat)} queries, not {query + 1}",
            cure="search again",
        )
    calibration = calibration or Calibration()
    readout = readout or calibration.readout
    one = neighbours.queries([query])
    lats, lons = read_out(one, readout, settings=calibration.settings)
    lat, lon = float(lats[0]), float(lons[0])
    signs = signs_of(one, lat=lats, lon=lons, settings=calibration.settings)
    mine = calibration.regions_of(kind).get(readout)
    small, large = (float(radius[0]) for radius in mine.radii_km(signs)) if mine else (math.nan, math.nan)
    found_names = dict(names(lat=lat, lon=lon)) if names else {}
    return Answer(
        lat=lat,
        lon=lon,
        readout=readout,
        region_50_km=known(small),
        region_90_km=known(large),
        spread_km=float(spread_km(one, lat=lats, lon=lons, settings=calibration.settings)[0]),
        neighbours=_listed(one, lat=lat, lon=lon),
        names=found_names,
        regions_text=mine.text() if mine else "No region: none was calibrated for this read-out.",
        model_version=model_version,
        kind=kind,
        heads=_guesses(heads or {}, vocabulary, query),
        familiarity=known(float(calibration.familiarity_of(one, kind)[0])),
        is_on_land=bool(found_names) if names else None,
    )


def _listed(one: Neighbours, *, lat: float, lon: float) -> tuple[AnswerNeighbour, ...]:
    """Return the neighbours of one query that are there, best first."""
    there = np.flatnonzero(np.isfinite(one.lat[0]) & np.isfinite(one.lon[0]))
    away_km = distance_m(lat=lat, lon=lon, to_lat=one.lat[0][there], to_lon=one.lon[0][there]) / 1000.0
    return tuple(
        AnswerNeighbour(
            rank=rank,
            image_id=str(one.image_id[0][i]),
            lat=float(one.lat[0][i]),
            lon=float(one.lon[0][i]),
            score=float(one.score[0][i]),
            distance_km=distance_km,
            source="" if one.source is None else str(one.source[0][i] or ""),
        )
        for rank, (i, distance_km) in enumerate(zip(there, away_km.tolist(), strict=True), start=1)
    )


def _guesses(heads: Mapping[str, HeadTops], vocabulary: Vocabulary | None, query: int) -> dict[str, tuple[HeadGuess, ...]]:
    """Return the likeliest classes of every head, named."""
    if vocabulary is None:
        return {}
    named = {}
    for task, said in heads.items():
        classes = vocabulary.tasks[task]
        pairs = zip(said.index[query, :BEST_GUESSES], said.probability[query, :BEST_GUESSES], strict=True)
        named[task] = tuple(HeadGuess(classes.codes[i], classes.names[i], float(p)) for i, p in pairs)
    return named

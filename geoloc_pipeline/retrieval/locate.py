"""Where was this photo taken? One picture in; a place, its regions and its neighbours out.

The photo's own EXIF position is never looked at: only pixels come in.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geoloc_pipeline.errors import CollectionError, ImageError, ModelError
from geoloc_pipeline.evaluation.pages import km
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.readouts import DEFAULT_SETTINGS, read_out, spread_km

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.evaluation.regions import Regions
    from geoloc_pipeline.retrieval.neighbours import Neighbours
    from geoloc_pipeline.retrieval.readouts import ReadoutSettings

TOP_K = 100  # paper §3.3


class EmbedderLike(Protocol):
    """What turns pictures into vectors (`retrieval.embedder.Embedder`)."""

    @property
    def model_version(self) -> str:
        """Return the content hash of the checkpoint."""

    def embed_views(self, views: list[NDArray[np.uint8]], /) -> NDArray[np.float32]:
        """Return `[n, 512]` unit vectors of RGB pictures `[height, width, 3]`."""


class GalleryLike(Protocol):
    """What finds neighbours (`retrieval.gallery`)."""

    def search(self, vectors: NDArray[np.float32], /, *, top_k: int = TOP_K, exact: bool = False) -> Neighbours:
        """Return the most similar pictures of the gallery, best first."""


@dataclass(frozen=True)
class AnswerNeighbour:
    """One picture that speaks for an answer.

    Attributes:
        rank: 1 is the most similar.
        image_id: Of the picture.
        lat: Degrees.
        lon: Degrees.
        score: Cosine similarity to the photo.
        distance_km: From the answer.
    """

    rank: int
    image_id: str
    lat: float
    lon: float
    score: float
    distance_km: float


@dataclass(frozen=True)
class Answer:
    """Where a photo was taken, as far as its neighbours tell.

    Attributes:
        lat: Degrees.
        lon: Degrees.
        readout: How the place was read from the neighbours.
        region_50_km: Radius that holds the truth in 50 of 100 cases; None when it is not calibrated.
        region_90_km: Radius that holds the truth in 90 of 100 cases; None when it is not calibrated.
        spread_km: Distance within which half of the neighbours' weight lies.
        neighbours: Best first.
        names: Prefecture, municipality and town of the place; empty when none is known.
        regions_text: Where the regions come from, in one sentence.
        model_version: Content hash of the checkpoint.
    """

    lat: float
    lon: float
    readout: str
    region_50_km: float | None
    region_90_km: float | None
    spread_km: float
    neighbours: tuple[AnswerNeighbour, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    regions_text: str = ""
    model_version: str = ""

    @property
    def is_in_box(self) -> bool:
        """Return whether the place lies in the box around Japan."""
        return bool(in_japan_box(lat=self.lat, lon=self.lon))

    def neighbours_within(self, limit_km: float) -> int:
        """Return how many neighbours lie within a distance of the answer."""
        return sum(neighbour.distance_km <= limit_km for neighbour in self.neighbours)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that any JSON writer takes; the keys are a promise to other programs."""
        return {
            "lat": self.lat,
            "lon": self.lon,
            "readout": self.readout,
            "region_50_km": self.region_50_km,
            "region_90_km": self.region_90_km,
            "spread_km": self.spread_km,
            "names": dict(self.names),
            "regions_text": self.regions_text,
            "model_version": self.model_version,
            "neighbours": [
                {
                    "rank": n.rank,
                    "image_id": n.image_id,
                    "lat": n.lat,
                    "lon": n.lon,
                    "score": n.score,
                    "distance_km": n.distance_km,
                }
                for n in self.neighbours
            ],
        }


def locate_photo(
    pixels: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    *,
    embedder: EmbedderLike,
    gallery: GalleryLike,
    top_k: int = TOP_K,
    readout: str = "mode",
    regions: Mapping[str, Regions] | None = None,
    settings: ReadoutSettings = DEFAULT_SETTINGS,
    names: Callable[..., Mapping[str, str]] | None = None,
    exact: bool = False,
) -> Answer:
    """Return where a photo was taken.

    Args:
        pixels: `[height, width, 3]` RGB uint8; or several views of one place, whose embeddings are averaged.
        embedder: Of the model with which the gallery was made.
        gallery: To search.
        top_k: How many neighbours are asked for; a smaller gallery gives what it has.
        readout: A name in `readouts.BATCH_READOUTS`.
        regions: Calibrated regions by read-out; without the read-out's own, the answer has none.
        settings: Temperature and bandwidth.
        names: Called with `lat` and `lon`, gives names of the place, such as `PlaceNames.names_at`.
        exact: Whether the search compares with every picture.

    Returns:
        The answer.

    Raises:
        ImageError: The pixels are not an RGB picture.
        ModelError: The embedding is not finite.
        CollectionError: The gallery is empty.
        SettingError: There is no read-out of that name.
    """
    views = [pixels] if isinstance(pixels, np.ndarray) else list(pixels)
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
    vector = np.asarray(embedder.embed_views(views), dtype=np.float32).mean(axis=0, keepdims=True)
    length = float(np.linalg.norm(vector))
    if not (math.isfinite(length) and length > 0):
        raise ModelError(
            what="the photo's embedding",
            reason=f"its length is {length}",
            cure="use a checkpoint whose training loss was finite",
        )
    found = gallery.search(vector / length, top_k=top_k, exact=exact)
    return answer_from_neighbours(
        found, readout=readout, regions=regions, settings=settings, names=names, model_version=embedder.model_version
    )


def answer_from_neighbours(
    neighbours: Neighbours,
    *,
    query: int = 0,
    readout: str = "mode",
    regions: Mapping[str, Regions] | None = None,
    settings: ReadoutSettings = DEFAULT_SETTINGS,
    names: Callable[..., Mapping[str, str]] | None = None,
    model_version: str = "",
) -> Answer:
    """Return the answer that one query's neighbours give.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        query: Which row.
        readout: A name in `readouts.BATCH_READOUTS`.
        regions: Calibrated regions by read-out.
        settings: Temperature and bandwidth.
        names: Called with `lat` and `lon`, gives names of the place.
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
    one = neighbours.queries([query])
    lats, lons = read_out(one, readout, settings=settings)
    lat, lon, spread = float(lats[0]), float(lons[0]), float(spread_km(one, lat=lats, lon=lons, settings=settings)[0])
    there = np.flatnonzero(np.isfinite(one.lat[0]) & np.isfinite(one.lon[0]))
    away_km = distance_m(lat=lat, lon=lon, to_lat=one.lat[0][there], to_lon=one.lon[0][there]) / 1000.0
    mine = (regions or {}).get(readout)
    small, large = (float(r[0]) for r in mine.radii_km(spread)) if mine else (math.nan, math.nan)
    return Answer(
        lat=lat,
        lon=lon,
        readout=readout,
        region_50_km=small if math.isfinite(small) else None,
        region_90_km=large if math.isfinite(large) else None,
        spread_km=spread,
        neighbours=tuple(
            AnswerNeighbour(
                rank, str(one.image_id[0][i]), float(one.lat[0][i]), float(one.lon[0][i]), float(one.score[0][i]), km_
            )
            for rank, (i, km_) in enumerate(zip(there, away_km.tolist(), strict=True), start=1)
        ),
        names=dict(names(lat=lat, lon=lon)) if names else {},
        regions_text=mine.text() if mine else "No region: none was calibrated for this read-out.",
        model_version=model_version,
    )


def place_words(answer: Answer) -> str:
    """Return the names of the place in one line; what it means when there are none."""
    named = " ".join(answer.names[level] for level in ("prefecture", "municipality", "town") if answer.names.get(level))
    if named:
        return named
    return "in no known town block (sea, or a prefecture not loaded)" if answer.is_in_box else "outside Japan"


def confidence_words(answer: Answer) -> str:
    """Return how sure the answer is, in one or two sentences for people."""
    known = [
        f"within {km(radius)} of the answer in {level} of 100 cases" if level == 50 else f"within {km(radius)} in {level}"
        for level, radius in ((50, answer.region_50_km), (90, answer.region_90_km))
        if radius is not None
    ]
    near = f"{answer.neighbours_within(25.0)} of {len(answer.neighbours)} neighbours lie within 25 km of it."
    return (f"Photos like this were taken {', and '.join(known)}. " if known else answer.regions_text + " ") + near


def describe(answer: Answer, *, most: int = 5) -> str:
    """Return the answer as a few lines for a terminal.

    Args:
        answer: To tell.
        most: How many neighbours are listed.

    Returns:
        Lines without a final newline.
    """
    lines = [
        f"{answer.lat:.5f}, {answer.lon:.5f}   {_printable(place_words(answer))}",
        f"  {confidence_words(answer)}",
        f"  read-out {answer.readout}; {osm_link(answer)}",
    ]
    if answer.neighbours:
        lines.append("   rank  similarity  from answer   place                  picture")
    for n in answer.neighbours[:most]:
        lines.append(
            f"  {n.rank:>5}  {n.score:>10.3f}  {km(n.distance_km):>11}   {n.lat:.5f}, {n.lon:.5f}".ljust(58)
            + _printable(n.image_id)
        )
    rest = len(answer.neighbours) - most
    return "\n".join([*lines, f"  … and {rest} more"] if rest > 0 else lines)


def _printable(text: str) -> str:
    """Return text without control characters, so that an id cannot steer a terminal."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


def osm_link(answer: Answer) -> str:
    """Return the address at which OpenStreetMap shows the place; only for people to follow."""
    place = f"{answer.lat:.5f}/{answer.lon:.5f}"
    return f"https://www.openstreetmap.org/?mlat={answer.lat:.5f}&mlon={answer.lon:.5f}#map=14/{place}"

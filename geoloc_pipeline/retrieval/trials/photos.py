"""Photos of a public test set put to the trained model: those of this country that neither training nor gallery holds.

A test set of others is a track of its own: consumer photos, of the whole world, partly by authors whose other photos a gallery
may hold. What is left out is counted by reason, and neighbours by the photo's own author are hidden.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.imagery.quality import read_photo
from geoloc_pipeline.retrieval.embedding.embedder import unit
from geoloc_pipeline.retrieval.embedding.heads import keep_tops
from geoloc_pipeline.retrieval.gallery.neighbours import hide_neighbours
from geoloc_pipeline.retrieval.reading.calibration import SLACK
from geoloc_pipeline.retrieval.reading.gate import gate_neighbours
from geoloc_pipeline.retrieval.trials.estimates import estimate_table
from geoloc_pipeline.tables import ESTIMATES, empty_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.embedding.embedder import Embedder
    from geoloc_pipeline.retrieval.reading.calibration import Calibration, Searchable
    from geoloc_pipeline.retrieval.reading.places import PlaceNames
    from geoloc_pipeline.sources.photo_record import Photo

AT_ONCE = 64
"""Photos whose pixels are in memory at once."""


@dataclass(frozen=True)
class Held:
    """What training and gallery hold, by which a photo is known again.

    Attributes:
        origins: Ids of all pictures, `source:source_image_id` and origin_id: the same photo can be in two sets.
        group_of: Capture group (sequence or author) of each picture, by image_id.
    """

    origins: frozenset[str]
    group_of: Mapping[str, str]

    @classmethod
    def of(cls, pictures: pd.DataFrame) -> Held:
        """Return what these pictures (image_id, source, source_image_id, origin_id, capture_group) hold."""
        own = pictures["source"].astype(str) + ":" + pictures["source_image_id"].astype(str)
        known = pictures[["image_id", "capture_group"]].dropna()
        groups = dict(zip(known["image_id"].astype(str), known["capture_group"].astype(str), strict=True))
        return cls(origins=frozenset(own) | frozenset(pictures["origin_id"].dropna().astype(str)), group_of=groups)


@dataclass(frozen=True)
class PhotoTrial:
    """What a test set gave.

    Attributes:
        listed: Photos that its list names.
        left_out: How many were left out, by reason: no_place, abroad, outside_the_census, in_training_or_gallery, file_missing,
            only_its_authors_neighbours, or the reason of an `ImageError`.
        estimates: `ESTIMATES` of the others by every read-out.
    """

    listed: int
    left_out: Mapping[str, int]
    estimates: pd.DataFrame


def evaluate_photos(
    photos: Iterable[Photo],
    *,
    embedder: Embedder,
    gallery: Searchable,
    calibration: Calibration,
    names: PlaceNames,
    held: Held,
    top_k: int,
    at_once: int = AT_ONCE,
) -> PhotoTrial:
    """Return what the model answers to the photos of a test set.

    Args:
        photos: Of `sources.photo_test_sets`.
        embedder: The trained model.
        gallery: To be searched exactly.
        calibration: What was chosen on validation pictures; photos are one view each.
        names: The town blocks: a photo in none of them is outside the country as this home knows it.
        held: What training and gallery hold.
        top_k: Neighbours that a read-out sees.
        at_once: Photos in memory at once.

    Returns:
        Answers, and counts of what was left out and why.

    Raises:
        BadSourceFileError: A list or an archive of the set cannot be read.
    """
    left_out: Counter[str] = Counter()
    listed, asked = 0, 0
    tables: list[pd.DataFrame] = []
    batch: list[tuple[Photo, NDArray[np.uint8]]] = []

    def answer() -> None:
        if batch:
            tables.append(_answers(batch, embedder, gallery, calibration, held, top_k))
            batch.clear()

    for part in _chunks(photos, 1024):
        listed += len(part)
        for photo, reason in zip(part, _reasons(part, names, held), strict=True):
            pixels = None if reason else _pixels(photo)
            if pixels is None or isinstance(pixels, str):
                left_out[reason or str(pixels)] += 1
                continue
            batch.append((photo, pixels))
            asked += 1
            if len(batch) >= at_once:
                answer()
    answer()
    estimates = pd.concat(tables, ignore_index=True) if tables else empty_table(ESTIMATES)
    left_out["only_its_authors_neighbours"] = asked - int(estimates["query_id"].nunique())
    told = {reason: count for reason, count in sorted(left_out.items()) if count}
    return PhotoTrial(listed=listed, left_out=told, estimates=estimates)


def _chunks(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    part: list[Photo] = []
    for photo in photos:
        part.append(photo)
        if len(part) >= size:
            yield part
            part = []
    if part:
        yield part


def _reasons(photos: Sequence[Photo], names: PlaceNames, held: Held) -> list[str]:
    """Return why each photo is not asked about; empty where it is."""
    lat = np.array([np.nan if photo.lat is None else photo.lat for photo in photos])
    lon = np.array([np.nan if photo.lon is None else photo.lon for photo in photos])
    is_placed = np.isfinite(lat) & np.isfinite(lon)
    is_near = is_placed & in_japan_box(lat=np.where(is_placed, lat, 0.0), lon=np.where(is_placed, lon, 0.0))
    is_home = np.zeros(len(photos), dtype=bool)
    if is_near.any():
        is_home[is_near] = names.table_at(lat=lat[is_near], lon=lon[is_near])["prefecture_code"].notna().to_numpy()
    found = []
    for photo, placed, near, home in zip(photos, is_placed, is_near, is_home, strict=True):
        same = {f"{photo.source}:{photo.source_image_id}", photo.origin_id or ""} & held.origins
        reasons = {
            "no_place": not placed,
            "abroad": not near,
            "outside_the_census": not home,
            "in_training_or_gallery": bool(same),
            photo.fault[0] if photo.fault else "file_missing": photo.fault is not None or photo.file is None,
        }
        found.append(next((reason for reason, is_so in reasons.items() if is_so), ""))
    return found


def _pixels(photo: Photo) -> NDArray[np.uint8] | str:
    """Return a photo's pixels, or why there are none."""
    if photo.file is None:
        return "file_missing"
    try:
        return read_photo(photo.file.read(), name=photo.source_image_id).pixels
    except ImageError as error:
        return error.reason
    except OSError:
        return "unreadable"


def _answers(
    batch: Sequence[tuple[Photo, NDArray[np.uint8]]],
    embedder: Embedder,
    gallery: Searchable,
    calibration: Calibration,
    held: Held,
    top_k: int,
) -> pd.DataFrame:
    reading = embedder.read_views([pixels for _, pixels in batch])
    found = gallery.search(unit(reading.embedding), top_k=SLACK * top_k, exact=True)
    own = np.array([photo.capture_group or "" for photo, _ in batch], dtype=object)[:, None]
    theirs = np.vectorize(lambda image: held.group_of.get(image, ""), otypes=[object])(found.image_id)
    seen = hide_neighbours(found, (theirs == own) & (own != ""), top_k=top_k)
    seen = gate_neighbours(seen, keep_tops(reading.heads), embedder.vocabulary)
    is_alone = ~np.isfinite(seen.lat).any(axis=1)  # nothing but its own author's pictures: it has no answer
    chosen = np.flatnonzero(~is_alone).tolist()
    return estimate_table(
        seen.queries(chosen),
        query_id=[f"{batch[row][0].source}:{batch[row][0].source_image_id}" for row in chosen],
        true_lat=np.array([batch[row][0].lat for row in chosen], dtype=np.float64),
        true_lon=np.array([batch[row][0].lon for row in chosen], dtype=np.float64),
        settings=calibration.settings,
        regions=calibration.regions_of("one_view"),
    )

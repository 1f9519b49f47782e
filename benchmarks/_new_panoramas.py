"""Panoramas of a demo home's made-up Japan that the home has never seen: driven, not archived, and drawn now.

Two kinds of honest questions. `test drive`: other panoramas of the drives that test pictures came from, so they stand to the
gallery as test pictures do; no other picture of these drives is in the gallery. `new drive`: of drives from which nothing was
archived at all. Every one is at least `APART_M` away from everything in the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.pictures import Renderer, camera_of, flaw_of, jpeg_of
from geoloc_pipeline.imagery.panorama import views_from_panorama
from geoloc_pipeline.imagery.webp import encode_webp
from geoloc_pipeline.labels.groups import earth_centred_m
from geoloc_pipeline.labels.shards import views_of
from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.orchestration.world import ensure_world
from geoloc_pipeline.storage.parquet import read_tables
from geoloc_pipeline.tables import DATASET_SPLITS, STREET_VIEW_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geoloc_pipeline.storage.layout import Home

APART_M = 300.0
WIDTH_PX = 1024  # as the demo's collector asks for


@dataclass(frozen=True)
class NewPanorama:
    """A picture nobody has archived.

    Attributes:
        image_id: Of the provider.
        origin: "test drive" or "new drive".
        drive: What belongs together.
        lat: Degrees, where the camera was.
        lon: Degrees.
        views: Four squares, RGB, to N, E, S and W.
    """

    image_id: str
    origin: str
    drive: str
    lat: float
    lon: float
    views: list[NDArray[np.uint8]]


def new_panoramas(home: Home, *, each: int, of_a_drive: int = 10, seed: int = 0) -> Iterator[NewPanorama]:
    """Yield up to `each` panoramas of test drives and as many of new drives, at most `of_a_drive` from one drive.

    Args:
        home: A finished demo home.
        each: Most panoramas of each origin.
        of_a_drive: Most of one drive.
        seed: Of the choice.
    """
    _, land = ensure_world(home)
    coverage, renderer = Coverage(land), Renderer(land)
    shots = coverage.shots
    drive = np.array(coverage.sequence_ids, dtype=object)[shots.sequence].astype(str)
    archive = read_tables(STREET_VIEW_IMAGES, home.tables("street_view_images"))
    splits = read_tables(DATASET_SPLITS, home.tables("dataset_splits"))
    split_of = dict(zip(splits["image_id"], splits["split"], strict=True))
    archived_drive = archive["capture_group"].str.split(":").str[-1].to_numpy(dtype=str)
    split = np.array([split_of.get(image, "") for image in archive["image_id"]])
    is_tested = np.isin(drive, archived_drive[split == "test"]) & ~np.isin(drive, archived_drive[split != "test"])
    is_new = ~np.isin(drive, archived_drive)
    places = earth_centred_m(lat=archive["lat"].to_numpy(), lon=archive["lon"].to_numpy())
    here = earth_centred_m(lat=shots.lat, lon=shots.lon)
    away_m = KDTree(places[split != "test"]).query(here)[0]  # what the gallery holds
    taken = set(archive["source_image_id"])
    chance = np.random.default_rng(seed)
    for origin, is_wanted in (("test drive", is_tested), ("new drive", is_new)):
        rows = np.flatnonzero(is_wanted & shots.is_pano & (away_m >= APART_M))
        rows = chance.permutation(rows)
        left = dict.fromkeys(np.unique(drive[rows]), of_a_drive)
        chosen = []
        for row in rows:
            image_id = int(shots.image_id[row])
            if left[drive[row]] and str(image_id) not in taken and flaw_of(image_id) is None:
                left[drive[row]] -= 1
                chosen.append(row)
        for row in chosen[:each]:
            lat, lon = float(shots.lat[row]), float(shots.lon[row])
            views = _views(jpeg_of(renderer, coverage, int(row), WIDTH_PX), coverage, int(row), lat=lat, lon=lon)
            yield NewPanorama(str(shots.image_id[row]), origin, str(drive[row]), lat, lon, views)


def _views(data: bytes, coverage: Coverage, row: int, *, lat: float, lon: float) -> list[NDArray[np.uint8]]:
    """Return the four views as the collector and the shards would make them: cut level, encoded twice."""
    camera = camera_of(coverage, row)
    strip = views_from_panorama(
        decode_view(data, name=str(row)),
        compass_deg=camera.heading_deg,
        pitch_deg=camera.pitch_deg,
        roll_deg=camera.roll_deg,
    )
    archived = encode_webp(strip, lat=lat, lon=lon)
    cut = views_of(archived, "NESW", side_px=strip.shape[0], image=str(row))
    return [decode_view(view.webp, name=str(row)) for view in cut]

"""Panoramas of a demo home's made-up Japan that the home has never seen: driven, not archived, and drawn now.

Honest questions: every one is of a drive of which nothing is in the gallery or was learned from. `beside a test picture`: the
panoramas of its drive nearest to a test picture, but at least `BESIDE_M` from it and from each other, so that they stand to the
gallery as it does. `new drive`: of drives from which nothing was archived at all, at least `APART_M` from everything in the
gallery; they are of other streets than the sample points choose, so not quite like validation pictures.
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
BESIDE_M = (15.0, 200.0)  # from a test picture: another view of the street, the same quarter
WIDTH_PX = 1024  # as the demo's collector asks for


@dataclass(frozen=True)
class NewPanorama:
    """A picture nobody has archived.

    Attributes:
        image_id: Of the provider.
        origin: "beside a test picture" or "new drive".
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


def new_panoramas(home: Home, *, beside: int, new: int, of_a_drive: int = 10) -> Iterator[NewPanorama]:
    """Yield new panoramas: of every drive with test pictures `beside` ones a test picture, and up to `new` of new drives.

    Args:
        home: A finished demo home.
        beside: Most panoramas beside one test picture.
        new: Most panoramas of new drives.
        of_a_drive: Most of one new drive.
    """
    _, land = ensure_world(home)
    coverage, renderer = Coverage(land), Renderer(land)
    shots = coverage.shots
    drive = np.array(coverage.sequence_ids, dtype=object)[shots.sequence].astype(str)
    archive = read_tables(STREET_VIEW_IMAGES, home.tables("street_view_images"))
    splits = read_tables(DATASET_SPLITS, home.tables("dataset_splits"))
    split_of = dict(zip(splits["image_id"], splits["split"], strict=True))
    split = np.array([split_of.get(image, "") for image in archive["image_id"]])
    archived_drive = archive["capture_group"].str.split(":").str[-1].to_numpy(dtype=str)
    places = earth_centred_m(lat=archive["lat"].to_numpy(), lon=archive["lon"].to_numpy())
    here = earth_centred_m(lat=shots.lat, lon=shots.lon)
    sound = np.array([flaw_of(int(image)) is None for image in shots.image_id]) & shots.is_pano
    only_tested = sound & ~np.isin(drive, archived_drive[split != "test"])
    chosen: list[tuple[str, int]] = []
    for row in np.flatnonzero(split == "test"):
        mine = np.flatnonzero(only_tested & (drive == archived_drive[row]))
        chosen += [("beside a test picture", each) for each in _beside(here, mine, places[row], beside)]
    away_m = KDTree(places[split != "test"]).query(here)[0]  # what the gallery holds
    rows = np.flatnonzero(sound & ~np.isin(drive, archived_drive) & (away_m >= APART_M))
    left = dict.fromkeys(np.unique(drive[rows]), of_a_drive)
    kept = []
    for row in np.random.default_rng(0).permutation(rows):
        if left[drive[row]]:
            left[drive[row]] -= 1
            kept.append(("new drive", int(row)))
    for origin, row in list(dict.fromkeys(chosen)) + kept[:new]:
        lat, lon = float(shots.lat[row]), float(shots.lon[row])
        views = _views(jpeg_of(renderer, coverage, row, WIDTH_PX), coverage, row, lat=lat, lon=lon)
        yield NewPanorama(str(shots.image_id[row]), origin, str(drive[row]), lat, lon, views)


def _beside(here: NDArray[np.float64], rows: NDArray[np.int64], place: NDArray[np.float64], most: int) -> list[int]:
    """Return the rows nearest to a place, neither too near to it nor to each other."""
    away_m = np.linalg.norm(here[rows] - place, axis=1)
    kept: list[int] = []
    for row in rows[np.argsort(away_m, kind="stable")]:
        near = [float(np.linalg.norm(here[row] - here[other])) for other in kept]
        own = float(np.linalg.norm(here[row] - place))
        if len(kept) < most and BESIDE_M[0] <= own <= BESIDE_M[1] and min(near, default=np.inf) >= BESIDE_M[0]:
            kept.append(int(row))
    return kept


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

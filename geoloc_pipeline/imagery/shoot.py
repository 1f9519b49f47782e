"""One choice made into one archived picture: downloaded, checked, cut into views, encoded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.geo.sphere import spherical_mean
from geoloc_pipeline.imagery.journal import Archived, Rejection, image_id_of
from geoloc_pipeline.imagery.panorama import views_from_flats, views_from_panorama
from geoloc_pipeline.imagery.quality import check_content, open_picture
from geoloc_pipeline.imagery.webp import encode_webp
from geoloc_pipeline.sources.mapillary import SOURCE
from geoloc_pipeline.sources.mapillary_images import LICENCE, page_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.imagery.choose import Choice
    from geoloc_pipeline.sources.mapillary import MapillaryClient
    from geoloc_pipeline.sources.mapillary_images import Picture


def archive_choice(
    choice: Choice, client: MapillaryClient, *, source_px: int, side_px: int | None
) -> tuple[Archived | None, list[Rejection]]:
    """Return the archived picture of a choice, and what had to be rejected on the way.

    Of flat pictures those that are good are kept; without any there is no picture.

    Args:
        choice: What to fetch.
        client: Mapillary.
        source_px: How wide a picture is asked for.
        side_px: Side of one view; None: by the source.

    Returns:
        The picture or None, and the rejections.

    Raises:
        SourceUnavailableError: Mapillary does not answer.
        SourceRefusedError: The token is refused.
        BudgetSpentError: The day's requests are used up.
    """
    pictures: dict[str, tuple[Picture, NDArray[np.uint8]]] = {}
    rejections: list[Rejection] = []
    for image_id in choice.image_ids:
        try:
            pictures[image_id] = _fetch(image_id, client, source_px=source_px, is_pano=bool(choice.pano_id))
        except ImageError as error:
            rejections.append((SOURCE, image_id, error.reason, f"{error.detail} (wanted by point {choice.point_id})"))
    if not pictures:
        return None, rejections
    if choice.pano_id:
        picture, pixels = pictures[choice.pano_id]
        strip, views = views_from_panorama(pixels, compass_deg=picture.image.compass_deg or 0.0, side_px=side_px), "NESW"
    else:
        flats = {heading: pictures[image_id][1] for heading, image_id in choice.flats if image_id in pictures}
        strip, views = views_from_flats(flats, side_px=side_px)
    return _archived(choice, [picture for picture, _ in pictures.values()], strip, views), rejections


def _fetch(image_id: str, client: MapillaryClient, *, source_px: int, is_pano: bool) -> tuple[Picture, NDArray[np.uint8]]:
    picture = client.download_picture(image_id, width_px=source_px)
    name = page_url(image_id)
    if picture is None:
        raise ImageError(image=name, reason="gone", detail="Mapillary does not know it any more")
    if picture.image.lat is None or picture.image.lon is None:
        raise ImageError(image=name, reason="no_place", detail="Mapillary gives no place for it")
    if picture.image.compass_deg is None and is_pano:
        raise ImageError(image=name, reason="no_compass", detail="Mapillary does not say where its middle looks")
    pixels = open_picture(picture.content, name=name).pixels
    check_content(pixels, name=name)
    if is_pano and not 1.9 <= pixels.shape[1] / pixels.shape[0] <= 2.1:
        detail = f"{pixels.shape[1]} x {pixels.shape[0]} px is no full panorama, which is twice as wide as high"
        raise ImageError(image=name, reason="not_a_panorama", detail=detail)
    return picture, pixels


def _archived(choice: Choice, pictures: list[Picture], strip: NDArray[np.uint8], views: str) -> Archived:
    images = [picture.image for picture in pictures]
    source_image_id = "+".join(image.image_id for image in images)
    if len(images) == 1:
        lat, lon = float(images[0].lat or 0.0), float(images[0].lon or 0.0)
    else:
        places = np.array([[image.lat, image.lon] for image in images], dtype=np.float64)
        lat, lon = spherical_mean(lat=places[:, 0], lon=places[:, 1])
    data = encode_webp(strip, lat=lat, lon=lon)
    row = {
        "image_id": image_id_of(SOURCE, source_image_id),
        "source": SOURCE,
        "source_image_id": source_image_id,
        "lat": lat,
        "lon": lon,
        "requested_lat": choice.lat,
        "requested_lon": choice.lon,
        "point_id": choice.point_id,
        "is_wanted": True,
        "views": views,
        "width_px": strip.shape[1],
        "height_px": strip.shape[0],
        "captured_at": max((image.captured_at for image in images if image.captured_at), default=None),
        "fetched_at": max(picture.fetched_at for picture in pictures),
        "licence": LICENCE,
        "attribution": "; ".join(dict.fromkeys(image.attribution for image in images)),
        "source_url": images[0].page_url,
        "capture_group": f"mapillary:{images[0].sequence_id or source_image_id}",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Archived(row, data)

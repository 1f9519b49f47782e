"""One choice's downloaded pictures made into one archived picture: checked, levelled, cut into views, encoded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.geo.sphere import spherical_mean
from geoloc_pipeline.imagery.intake import Outcome
from geoloc_pipeline.imagery.journal import Archived, Rejection, image_id_of
from geoloc_pipeline.imagery.panorama import HEADINGS_DEG, views_from_flats, views_from_panorama
from geoloc_pipeline.imagery.quality import check_content, open_picture
from geoloc_pipeline.imagery.webp import encode_webp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoloc_pipeline.imagery.choose import Choice
    from geoloc_pipeline.sources.street_view import Picture

    Pixels = NDArray[np.uint8]


def archive_choice(
    choice: Choice, pictures: Mapping[str, Picture], *, source: str, side_px: int | None, rejections: list[Rejection]
) -> Outcome:
    """Return the archived picture of a choice, and what had to be rejected on the way.

    Of flat pictures those that are good are kept; without any there is no picture.

    Args:
        choice: What was chosen.
        pictures: What was downloaded, by the provider's id.
        source: The provider.
        side_px: Side of one view; None: by the source.
        rejections: What was turned away before.

    Returns:
        The picture or None, and all rejections.
    """
    rejections = list(rejections)
    good: dict[str, dict[int | None, Pixels]] = {}
    for image_id, picture in pictures.items():
        try:
            good[image_id] = _checked(picture, is_pano=bool(choice.pano_id))
        except ImageError as error:
            rejections.append((source, image_id, error.reason, f"{error.detail} (wanted by point {choice.point_id})"))
    if not good:
        return Outcome(None, rejections)
    if choice.pano_id:
        strip, views = _around(good[choice.pano_id], pictures[choice.pano_id], side_px=side_px)
    else:
        flats = {heading: good[image_id][None] for heading, image_id in choice.flats if image_id in good}
        strip, views = views_from_flats(flats, side_px=side_px)
    return Outcome(_archived(choice, [pictures[image_id] for image_id in good], strip, views, source=source), rejections)


def _checked(picture: Picture, *, is_pano: bool) -> dict[int | None, Pixels]:
    """Return the pixels of a picture, by heading as it came.

    Raises:
        ImageError: It cannot be used.
    """
    shot, name = picture.shot, picture.shot.page_url
    if shot.lat is None or shot.lon is None:
        raise ImageError(image=name, reason="no_place", detail="the provider gives no place for it")
    if shot.compass_deg is None and is_pano:
        raise ImageError(image=name, reason="no_compass", detail="the provider does not say where its middle looks")
    found = {}
    for heading, content in picture.contents.items():
        pixels = open_picture(content, name=name).pixels
        check_content(pixels, name=name)
        if is_pano and heading is None and not 1.9 <= pixels.shape[1] / pixels.shape[0] <= 2.1:
            detail = f"{pixels.shape[1]} x {pixels.shape[0]} px is no full panorama, which is twice as wide as high"
            raise ImageError(image=name, reason="not_a_panorama", detail=detail)
        found[heading] = pixels
    return found


def _around(pixels: Mapping[int | None, Pixels], picture: Picture, *, side_px: int | None) -> tuple[Pixels, str]:
    """Return the strip of a panorama, or of the views that a provider cuts itself, and which views there are."""
    if None not in pixels:
        return views_from_flats({heading: pixels[heading] for heading in HEADINGS_DEG if heading in pixels}, side_px=side_px)
    shot = picture.shot
    strip = views_from_panorama(
        pixels[None], compass_deg=shot.compass_deg or 0.0, pitch_deg=shot.pitch_deg, roll_deg=shot.roll_deg, side_px=side_px
    )
    return strip, "NESW"


def _archived(choice: Choice, pictures: list[Picture], strip: Pixels, views: str, *, source: str) -> Archived:
    shots = [picture.shot for picture in pictures]
    source_image_id = "+".join(shot.image_id for shot in shots)
    if len(shots) == 1:
        lat, lon = float(shots[0].lat or 0.0), float(shots[0].lon or 0.0)
    else:
        places = np.array([[shot.lat, shot.lon] for shot in shots], dtype=np.float64)
        lat, lon = spherical_mean(lat=places[:, 0], lon=places[:, 1])
    data = encode_webp(strip, lat=lat, lon=lon)
    contents = [content for picture in pictures for content in picture.contents.values()]
    row = {
        "image_id": image_id_of(source, source_image_id),
        "source": source,
        "source_image_id": source_image_id,
        "origin_id": f"{source}:{source_image_id}",
        "lat": lat,
        "lon": lon,
        "accuracy_m": None,
        "requested_lat": choice.lat,
        "requested_lon": choice.lon,
        "point_id": choice.point_id,
        "is_wanted": True,
        "views": views,
        "width_px": strip.shape[1],
        "height_px": strip.shape[0],
        "captured_at": max((shot.captured_at for shot in shots if shot.captured_at), default=None),
        "fetched_at": max(picture.fetched_at for picture in pictures),
        "licence": " AND ".join(dict.fromkeys(shot.licence for shot in shots)),
        "attribution": "; ".join(dict.fromkeys(shot.attribution for shot in shots)),
        "source_url": shots[0].page_url,
        "capture_group": f"{source}:{shots[0].sequence_id or source_image_id}",
        "content_sha256": "+".join(hashlib.sha256(content).hexdigest() for content in contents),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Archived(row, data)

"""The evidence page of one answer: a file that opens anywhere, without the network, and lets a person check the answer.

It holds the photo, the place with its regions and warnings, two maps, what the model's heads say, every neighbour with its
picture, licence and attribution, and what was made of what, in English or Japanese. Pictures are drawn anew from pixels, so no
EXIF of anybody travels with the page.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.evaluation.pages import data_uri, render_page, safe_link
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.answering.maps import detail_frame, draw_map, wide_frame
from geoloc_pipeline.retrieval.answering.telling import osm_link
from geoloc_pipeline.retrieval.answering.wording import (
    confidence_in,
    familiarity_in,
    left_out_in,
    place_in,
    readout_in,
    truth_in,
    warnings_in,
    words_in,
)
from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geoloc_pipeline.evaluation.cartography import Outline
    from geoloc_pipeline.retrieval.answering.answer import Answer, AnswerNeighbour

LIMIT_BYTES = 2_000_000
FIRST = 24
"""Neighbours that are seen at once; the others unfold."""

_THUMBNAILS = ((240, 62), (200, 50), (160, 40), (120, 30))  # (width_px, quality), tried until the page is small enough

SCRIPT = """
(function(){var marks={};document.querySelectorAll('[data-n]').forEach(function(e){var n=e.getAttribute('data-n');
(marks[n]=marks[n]||[]).push(e)});Object.keys(marks).forEach(function(n){marks[n].forEach(function(e){
e.addEventListener('mouseenter',function(){set(n,true)});e.addEventListener('mouseleave',function(){set(n,false)});
e.addEventListener('focusin',function(){set(n,true)});e.addEventListener('focusout',function(){set(n,false)});
if(e.tagName==='circle')e.addEventListener('click',function(){var c=document.getElementById('n'+n);if(c){
var d=c.closest('details');if(d)d.open=true;c.scrollIntoView({behavior:'smooth',block:'center'})}})})});
function set(n,on){marks[n].forEach(function(e){e.classList.toggle('hot',on)})}
window.addEventListener('beforeprint',function(){document.querySelectorAll('details').forEach(function(d){d.open=true})});
})();
"""


@dataclass(frozen=True)
class EvidencePicture:
    """What is known of a neighbour's picture.

    Attributes:
        pixels: `[height, width, 3]` RGB uint8, any size; None: not at hand.
        source: Provider or photo set.
        licence: SPDX identifier where there is one.
        attribution: Whom to name beside the picture.
        source_url: Page of the picture at the provider.
        captured_at: Date for people; empty when not known.
        place: Names of the place for people.
        view_names: Directions of the views joined in the picture, such as `NESW`; `photo` for a free view.
    """

    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    source: str = ""
    licence: str = ""
    attribution: str = ""
    source_url: str = ""
    captured_at: str = ""
    place: str = ""
    view_names: str = "photo"


@dataclass(frozen=True)
class Evidence:
    """Everything that an evidence page shows.

    Attributes:
        answer: With its neighbours.
        photo: `[height, width, 3]` RGB uint8, the photo that was asked about.
        photo_name: Its file name, for people.
        pictures: What is known of the neighbours' pictures, by image_id.
        wide_outlines: Drawn on the map of the country, such as prefectures.
        detail_outlines: Drawn on the map around the answer, such as municipalities or town blocks.
        truth: (lat, lon) where the photo was taken, for a query whose place is known; None for others.
        truth_place: Names of the true place.
        provenance: What was made of what, by name: model version, collection, dump dates, census edition.
        bandwidth_km: Of the heat on the maps.
        language: Of the page, `en` or `ja`.
    """

    answer: Answer
    photo: NDArray[np.uint8] = field(repr=False)
    photo_name: str = "photo"
    pictures: Mapping[str, EvidencePicture] = field(default_factory=dict)
    wide_outlines: Sequence[Outline] = ()
    detail_outlines: Sequence[Outline] = ()
    truth: tuple[float, float] | None = None
    truth_place: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    bandwidth_km: float = 5.0
    language: str = "en"


def write_evidence(evidence: Evidence, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Write the evidence page, whole or not at all; same evidence, same bytes.

    Args:
        evidence: What the page shows.
        path: Where it shall stand.
        limit_bytes: Thumbnails are made smaller, then left out from the last on, until the page is below.

    Raises:
        HomeError: The disk is full, read-only, or not ours to write.
    """
    write_text(path, evidence_html(evidence, limit_bytes=limit_bytes))


def evidence_html(evidence: Evidence, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """Return the evidence page as HTML.

    Args:
        evidence: What the page shows.
        limit_bytes: Largest size in UTF-8; without any picture it is what it is.

    Returns:
        One self-contained page.

    Raises:
        ImageError: A picture's pixels are not RGB.
    """
    frame = _frame_values(evidence)
    kept = len(evidence.answer.neighbours)
    for width_px, quality in _THUMBNAILS:
        page = _render(evidence, frame, width_px=width_px, quality=quality, kept=kept)
        if (size := len(page.encode("utf-8"))) <= limit_bytes:
            return page
    while kept > 0 and size > limit_bytes:
        kept //= 2
        page = _render(evidence, frame, width_px=width_px, quality=quality, kept=kept)
        size = len(page.encode("utf-8"))
    return page


def _frame_values(evidence: Evidence) -> dict[str, Any]:
    """Return what does not depend on the thumbnails."""
    answer, truth = evidence.answer, evidence.truth
    truth_km = None
    if truth is not None:
        truth_km = float(distance_m(lat=answer.lat, lon=answer.lon, to_lat=truth[0], to_lon=truth[1])) / 1000.0
    words = words_in(evidence.language)
    drawn: dict[str, Any] = {
        "answer": answer,
        "truth": truth,
        "bandwidth_km": evidence.bandwidth_km,
        "language": evidence.language,
    }
    wide = draw_map(wide_frame(answer, truth=truth), outlines=evidence.wide_outlines, label=words["country_label"], **drawn)
    detail = draw_map(
        detail_frame(answer, truth_km=truth_km), outlines=evidence.detail_outlines, label=words["around_label"], **drawn
    )
    return {
        "answer": answer,
        "language": evidence.language,
        "words": words,
        "place": place_in(answer, evidence.language),
        "confidence": confidence_in(answer, evidence.language),
        "warnings": warnings_in(answer, evidence.language),
        "familiarity": "" if answer.familiarity is None else familiarity_in(answer.familiarity, evidence.language),
        "read": readout_in(answer, evidence.language),
        "osm_link": osm_link(answer),
        "wide": wide,
        "detail": detail,
        "photo": _encoded(evidence.photo, name=evidence.photo_name, width_px=900, height_px=700, quality=80),
        "photo_name": evidence.photo_name,
        "truth": truth,
        "truth_km": truth_km,
        "truth_words": "" if truth_km is None else truth_in(truth_km, evidence.truth_place, answer, evidence.language),
        "provenance": evidence.provenance,
        "first": FIRST,
    }


def _render(evidence: Evidence, frame: Mapping[str, Any], *, width_px: int, quality: int, kept: int) -> str:
    cards = [_card(neighbour, evidence, width_px, quality, kept) for neighbour in evidence.answer.neighbours]
    missing = max(0, len(cards) - kept)
    values = {**frame, "cards": cards, "left_out": left_out_in(missing, evidence.language) if missing else ""}
    return render_page("geoloc_pipeline.retrieval.answering", "evidence.html.j2", values, script=SCRIPT)


def _card(neighbour: AnswerNeighbour, evidence: Evidence, width_px: int, quality: int, kept: int) -> dict[str, Any]:
    """Return what the page says of one neighbour."""
    picture = evidence.pictures.get(neighbour.image_id, EvidencePicture())
    thumbnail = ""
    if picture.pixels is not None and neighbour.rank <= kept:
        pixels = fold_views(picture.pixels)
        thumbnail = _encoded(pixels, name=neighbour.image_id, width_px=width_px, height_px=width_px, quality=quality)
    return {"n": neighbour, "picture": picture, "thumbnail": thumbnail, "link": safe_link(picture.source_url)}


def fold_views(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return four joined views (a strip four times as wide as high) as two rows of two, so that a thumbnail shows them all.

    Each view loses an eighth of sky and of road, so that the whole has the thumbnails' 4:3.
    """
    if pixels.ndim != 3 or pixels.shape[1] < 3 * pixels.shape[0] or pixels.shape[1] % 4:
        return pixels
    views = np.split(pixels, 4, axis=1)
    height, width = views[0].shape[:2]
    cut = max(0, (height - width * 3 // 4) // 2)
    views = [view[cut : height - cut] for view in views]
    return np.concatenate([np.concatenate(views[:2], axis=1), np.concatenate(views[2:], axis=1)], axis=0)


def fit_pixels(pixels: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return a picture made to fit into a box, each pixel the mean of those that it stands for; never enlarged."""
    image = Image.fromarray(pixels)
    image.thumbnail((width_px, height_px), Image.Resampling.BOX, reducing_gap=None)
    return np.asarray(image)


def _encoded(pixels: NDArray[np.uint8], *, name: str, width_px: int, height_px: int, quality: int) -> str:
    """Return pixels as a WebP `data:` address, made to fit; never enlarged.

    Raises:
        ImageError: The pixels are not RGB.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ImageError(
            image=name,
            reason="not_rgb",
            detail=f"its pixels are {pixels.dtype} {pixels.shape}, expected uint8 (height, width, 3)",
        )
    stream = io.BytesIO()
    Image.fromarray(fit_pixels(pixels, width_px, height_px)).save(stream, format="WEBP", quality=quality, method=2)
    return data_uri(stream.getvalue(), "image/webp")

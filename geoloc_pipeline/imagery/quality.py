"""Opens strangers' pictures safely: pixels as RGB, or an `ImageError` that says what is wrong.

Size is judged by the header before a single pixel is decoded, so a bomb costs nothing. What can be cured is cured: CMYK,
palette, 16-bit and alpha become RGB, an EXIF orientation is applied, of an animation the first frame is taken.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.sources.exif import author_of, copyright_of, place_of, taken_at_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

SMALLEST_SIDE_PX = 64
LONGEST_SIDE_PX = 20_000
LARGEST_AREA_PX = 128_000_000  # decoded: 384 MB; phones reach 108 million
LARGEST_FILE_BYTES = 256 * 2**20
UNIFORM_SHARE = 0.97  # of pixels within 2 steps of the median colour: the provider's "no imagery" card, a lens cap

# What Pillow raises on spoilt files, by format; it has no common base.
_SPOILT = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True)
class OpenedPicture:
    """A picture that was opened.

    Attributes:
        pixels: `[height, width, 3]` uint8, RGB, upright.
        lat: Latitude of its EXIF in degrees; None without.
        lon: Longitude of its EXIF in degrees; None without.
        captured_at: When it was taken, UTC; None where EXIF does not say it surely.
        author: EXIF Artist.
        copyright_line: EXIF Copyright.
    """

    pixels: NDArray[np.uint8]
    lat: float | None
    lon: float | None
    captured_at: datetime | None
    author: str | None
    copyright_line: str | None


def open_picture(data: bytes, *, name: Path | str) -> OpenedPicture:
    """Return the pixels of an encoded picture and what its EXIF says.

    Args:
        data: The encoded picture, in any format that Pillow reads.
        name: File name or page, for messages.

    Returns:
        The picture, upright RGB.

    Raises:
        ImageError: With reason `empty`, `not_an_image`, `truncated`, `unreadable`, `too_small` or `too_large`.
    """
    if not data:
        raise ImageError(image=name, reason="empty", detail="it has no bytes", cure="fetch it again or leave it out")
    if len(data) > LARGEST_FILE_BYTES:
        raise ImageError(image=name, reason="too_large", detail=f"it has {len(data):,} bytes", cure=_SMALLER)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large sizes and odd EXIF; both are judged here
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageError(image=name, reason="too_large", detail=f"{error}", cure=_SMALLER) from error
    except UnidentifiedImageError as error:
        raise ImageError(image=name, reason="not_an_image", detail=_what_it_is(data), cure=_FORMATS) from error
    except _SPOILT as error:
        raise ImageError(image=name, reason="unreadable", detail=f"its header is spoilt ({error})", cure=_FORMATS) from error
    with image:
        _check_size(image, name=name)
        return _decoded(image, name=name)


_SMALLER = f"reduce it to at most {LONGEST_SIDE_PX:,} px a side and {LARGEST_AREA_PX // 10**6} million px"
_FORMATS = "use a JPEG, PNG, WebP or TIFF picture"


def check_content(pixels: NDArray[np.uint8], *, name: Path | str) -> None:
    """Raise for a picture that shows nothing: one colour all over.

    Args:
        pixels: `[height, width, 3]` uint8, RGB.
        name: File name or page, for messages.

    Raises:
        ImageError: With reason `black` or `no_imagery`.
    """
    sample = pixels[:: max(1, pixels.shape[0] // 128), :: max(1, pixels.shape[1] // 128)].reshape(-1, 3).astype(np.int16)
    median = np.median(sample, axis=0)
    share = float((np.abs(sample - median) <= 2).all(axis=1).mean())
    if share >= UNIFORM_SHARE:
        is_black = bool(median.max() < 24)
        colour = ", ".join(str(int(value)) for value in median)
        raise ImageError(
            image=name,
            reason="black" if is_black else "no_imagery",
            detail=f"{share:.0%} of it is one colour, RGB {colour}",
            cure="take a picture that shows something",
        )


def _check_size(image: Image.Image, *, name: Path | str) -> None:
    width, height = image.size
    if max(width, height) > LONGEST_SIDE_PX or width * height > LARGEST_AREA_PX:
        raise ImageError(image=name, reason="too_large", detail=f"it is {width:,} x {height:,} px", cure=_SMALLER)
    if min(width, height) < SMALLEST_SIDE_PX:
        cure = f"take one of at least {SMALLEST_SIDE_PX} px a side"
        raise ImageError(image=name, reason="too_small", detail=f"it is {width} x {height} px", cure=cure)


def _decoded(image: Image.Image, *, name: Path | str) -> OpenedPicture:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            exif = image.getexif()
            upright = _as_rgb(ImageOps.exif_transpose(image))
            lat, lon = place_of(exif) or (None, None)
            taken_at, author, line = taken_at_of(exif), author_of(exif), copyright_of(exif)
    except _SPOILT as error:
        words = str(error).lower()
        is_cut = any(
            word in words for word in ("truncated", "end of file", "not enough", "unexpected end", "incomplete", "broken")
        )
        reason = "truncated" if is_cut or isinstance(error, EOFError) else "unreadable"
        raise ImageError(image=name, reason=reason, detail=f"it cannot be decoded ({error})", cure="fetch it again") from error
    return OpenedPicture(upright, lat, lon, taken_at, author, line)


def _as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return pixels as RGB; what is transparent becomes white, 16 bits become 8 by their high byte."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image).astype(np.float64)
        top = 65535.0 if image.mode.startswith("I") and grey.max(initial=0.0) > 255 else 255.0
        byte = np.clip(grey * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)
        return np.repeat(byte[:, :, None], 3, axis=2)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _what_it_is(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, not a picture"
    if data[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif"}:
        return "it is a HEIC picture, which cannot be read here"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in data[:256]):
        return f"it is text, not a picture: {data[:40].decode('utf-8', 'replace')!r}"
    return f"it is no picture in any known format (it begins with {data[:8].hex(' ')})"


def read_photo(path: Path) -> OpenedPicture:
    """Return a user's photo for a question "where was this taken?".

    Args:
        path: The file.

    Returns:
        The photo; place and time out of its EXIF, where it has them.

    Raises:
        MissingInputError: There is no such file.
        ImageError: It cannot be used; see `open_picture` and `check_content` for the reasons.
    """
    if path.is_dir():
        raise ImageError(image=path, reason="not_an_image", detail="it is a folder", cure="name the photos in it one by one")
    if not path.exists():
        raise MissingInputError(what="a photo", path=path, cure="check the name")
    try:
        data = path.read_bytes()
    except PermissionError as error:
        raise ImageError(
            image=path, reason="unreadable", detail="it may not be read", cure="give this user read permission"
        ) from error
    picture = open_picture(data, name=path)
    check_content(picture.pixels, name=path)
    return picture

"""Opens strangers' pictures safely: pixels as RGB, or an `ImageError` that says what is wrong.

Size is judged by the header before a single pixel is decoded, so a bomb costs nothing. What can be cured is cured: CMYK,
palette, 16-bit and alpha become RGB, a colour profile is applied, so is an EXIF orientation, of an animation the first frame
is taken. Spoilt EXIF and spoilt profiles count as absent: they are no fault of the pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError, features

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.imagery.overlays import find_overlay
from geoloc_pipeline.sources.exif import author_of, copyright_of, place_of, taken_at_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

SMALLEST_SIDE_PX = 64
LONGEST_SIDE_PX = 20_000
LARGEST_AREA_PX = 128_000_000  # decoded: 384 MB; phones reach 108 million
LARGEST_FILE_BYTES = 256 * 2**20
LARGEST_PROFILE_BYTES = 4 * 2**20  # printers' profiles reach 3 MB
# Pixels within 2 steps of the median colour: the provider's "no imagery" card, a lens cap. A card with many words or a logo
# has fewer, but unlike a sky above a field it is card all along its four edges.
UNIFORM_SHARE, CARD_SHARE, CARD_EDGE_SHARE = 0.97, 0.8, 0.6
# A picture is blurred when even its finest 32-px tile, at 512 px a side, holds less detail than this share of its contrast.
# On the demo's pictures and real photos, fogged to a tenth of their contrast too, that share is 0.06 to 0.77; 0.01 to 0.045
# is left after a Gaussian of 2 % of the longer side. Faces and plates that a provider blurred leave the other tiles alone.
# Below 256 px a blob as wide as a tile is detail already: the share counts for more there.
DETAIL_SHARE, DETAIL_SIDE_PX, DETAIL_TILE_PX, DETAIL_LEAST_SIDE_PX = 0.045, 512, 32, 256
_NO_CONTRAST = 2.0  # grey steps that JPEG and noise make in an even field

# Pillow reads more, but some only by running other programs (EPS by Ghostscript), some with sizes that its header hides (ICO).
_READ = ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000"]
if "avif" in features.get_supported_modules():
    _READ.append("AVIF")

# What Pillow raises on spoilt files, by format; it has no common base.
_SPOILT = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    MemoryError,
    Image.DecompressionBombError,
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PROFILE_SPACE = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


@dataclass(frozen=True)
class OpenedPicture:
    """A picture that was opened.

    Attributes:
        pixels: `[height, width, 3]` uint8, sRGB, upright.
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


def open_picture(data: bytes, *, name: Path | str, least_side_px: int = 0) -> OpenedPicture:
    """Return the pixels of an encoded picture and what its EXIF says.

    Args:
        data: The encoded picture: JPEG, PNG, WebP, TIFF, GIF, BMP, PPM, JPEG 2000, or AVIF where Pillow has it.
        name: File name or page, for messages.
        least_side_px: If above 0, a JPEG comes at a half, quarter or eighth of its size as long as both sides keep this many
            pixels: its decoder skips what is not wanted, which for a phone's photo takes a fifth of the time.

    Returns:
        The picture, upright sRGB.

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
            image = Image.open(io.BytesIO(data), formats=_READ)
    except Image.DecompressionBombError as error:
        raise ImageError(image=name, reason="too_large", detail=f"{error}", cure=_SMALLER) from error
    except UnidentifiedImageError as error:
        raise ImageError(image=name, reason="not_an_image", detail=_what_it_is(data), cure=_FORMATS) from error
    except _SPOILT as error:
        raise ImageError(image=name, reason="unreadable", detail=f"its header is spoilt ({error})", cure=_FORMATS) from error
    with image:
        _check_size(image, name=name)
        if least_side_px:
            image.draft(None, (least_side_px, least_side_px))
        return _decoded(image, name=name)


_SMALLER = f"reduce it to at most {LONGEST_SIDE_PX:,} px a side and {LARGEST_AREA_PX // 10**6} million px"
_FORMATS = "use a JPEG, PNG, WebP or TIFF picture"


def check_content(pixels: NDArray[np.uint8], *, name: Path | str) -> None:
    """Raise for a picture that shows nothing of a place: one colour, a card with words, no detail; or with text burned in.

    Args:
        pixels: `[height, width, 3]` uint8, RGB, upright.
        name: File name or page, for messages.

    Raises:
        ImageError: With reason `black`, `no_imagery`, `blurred` or `overlay`.
    """
    _check_scene(pixels, name=name)
    found = find_overlay(pixels)
    if found is not None:
        raise ImageError(image=name, reason="overlay", detail=found, cure="take the picture without burned-in text")


def _check_scene(pixels: NDArray[np.uint8], *, name: Path | str) -> None:
    sample = pixels[:: max(1, pixels.shape[0] // 128), :: max(1, pixels.shape[1] // 128)].astype(np.int16)
    median = np.median(sample.reshape(-1, 3), axis=0)
    is_card = (np.abs(sample - median) <= 2).all(axis=2)
    share = float(is_card.mean())
    edges = (is_card[0], is_card[-1], is_card[:, 0], is_card[:, -1])
    if share >= UNIFORM_SHARE or (share >= CARD_SHARE and all(edge.mean() >= CARD_EDGE_SHARE for edge in edges)):
        is_black = bool(median.max() < 24)
        colour = ", ".join(str(int(value)) for value in median)
        raise ImageError(
            image=name,
            reason="black" if is_black else "no_imagery",
            detail=f"{share:.0%} of it is one colour, RGB {colour}",
            cure="take a picture that shows something",
        )
    detail = _detail(pixels)
    if detail < DETAIL_SHARE:
        said = f"nowhere in it is any detail: at its sharpest place {detail:.1%} of its contrast"
        raise ImageError(image=name, reason="blurred", detail=said, cure="take a sharp picture")


def _detail(pixels: NDArray[np.uint8]) -> float:
    """Return the fine contrast of the sharpest tile as a share of the whole picture's contrast; see `DETAIL_SHARE`."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = DETAIL_SIDE_PX / max(grey.shape)
    if scale < 1.0:
        size = [max(DETAIL_TILE_PX, round(side * scale)) for side in grey.shape]
        grey = cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    level = grey.astype(np.float32)
    fine = np.square(level - cv2.GaussianBlur(level, (5, 5), 1.0))
    down, across = (side // DETAIL_TILE_PX for side in fine.shape)
    whole = np.ascontiguousarray(fine[: down * DETAIL_TILE_PX, : across * DETAIL_TILE_PX])
    tiles = cv2.resize(whole, (across, down), interpolation=cv2.INTER_AREA)
    smallness = max(1.0, DETAIL_LEAST_SIDE_PX / max(level.shape))
    return float(smallness * np.sqrt(tiles.max()) / (level.std() + _NO_CONTRAST))


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
            exif = _exif_of(image)
            turn = exif.get(ExifTags.Base.Orientation)
            rgb = _as_srgb(image)
            if isinstance(turn, int) and turn in _UPRIGHT:
                rgb = rgb.transpose(_UPRIGHT[turn])
            lat, lon = place_of(exif) or (None, None)
            return OpenedPicture(np.array(rgb), lat, lon, taken_at_of(exif), author_of(exif), copyright_of(exif))
    except _SPOILT as error:
        words = str(error).lower()
        is_cut = any(
            word in words for word in ("truncated", "end of file", "not enough", "unexpected end", "incomplete", "broken")
        )
        reason = "truncated" if is_cut or isinstance(error, EOFError) else "unreadable"
        raise ImageError(image=name, reason=reason, detail=f"it cannot be decoded ({error})", cure="fetch it again") from error


def _exif_of(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except _SPOILT:
        return Image.Exif()


def _as_srgb(image: Image.Image) -> Image.Image:
    """Return a decoded picture as mode RGB in the colours of sRGB."""
    profile, plain = image.info.get("icc_profile"), _eight_bits(image)
    if isinstance(profile, bytes) and 0 < len(profile) <= LARGEST_PROFILE_BYTES:
        transform = _transform_to_srgb(profile, plain.mode)
        if transform is not None:
            return ImageCms.applyTransform(plain, transform) or plain.convert("RGB")
    return plain.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture as mode L, RGB or CMYK; what is transparent becomes white, 16 bits become 8 by their high byte."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.nan_to_num(np.asarray(image).astype(np.float32))
        is_wide = image.mode.startswith("I;16") or (image.mode == "I" and grey.max(initial=0.0) > 255)
        return Image.fromarray(np.clip(grey * (255.0 / 65535.0 if is_wide else 1.0) + 0.5, 0, 255).astype(np.uint8))
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert("L" if image.mode in {"L", "LA", "La"} else "RGB")
    if image.mode in {"1", "L"}:
        return image.convert("L")
    return image if image.mode in {"RGB", "CMYK"} else image.convert("RGB")


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what turns a profile's colours into sRGB; None where there is nothing to turn, or the profile is spoilt.

    A camera writes the same profile into all its pictures, so few are ever built; that of sRGB itself is known by what it does.
    """
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if given.profile.xcolor_space.strip() != _PROFILE_SPACE[mode]:
            return None
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
        bands = len(Image.new(mode, (1, 1)).getbands())
        levels = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * bands), axis=-1)
        probe = Image.fromarray(levels.reshape(6, -1, *([bands] if bands > 1 else [])), mode=mode)
        turned = ImageCms.applyTransform(probe, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
    change = np.abs(np.asarray(turned).astype(np.int16) - np.asarray(probe.convert("RGB")))
    return transform if change.max() > 2 else None


def _what_it_is(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, not a picture"
    if data[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheif"}:
        return "it is a HEIC picture, which cannot be read here"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in data[:256]):
        return f"it is text, not a picture: {data[:40].decode('utf-8', 'replace')!r}"
    return f"it is no picture in any known format (it begins with {data[:8].hex(' ')})"


def read_photo(photo: Path | bytes, *, name: str = "the photo", least_side_px: int = 0) -> OpenedPicture:
    """Return a user's photo for a question "where was this taken?".

    Burned-in text, which `check_content` turns away so that the archive teaches nobody to read places, is no reason to refuse
    an answer: a photo out of a dash camera is a fair question.

    Args:
        photo: The file, or its bytes.
        name: Of bytes, for messages.
        least_side_px: See `open_picture`.

    Returns:
        The photo; place and time out of its EXIF, where it has them.

    Raises:
        ImageError: It cannot be used; see `open_picture` and `check_content` for the reasons.
    """
    data, told = (photo, name) if isinstance(photo, bytes) else (_bytes_of(photo), photo)
    picture = open_picture(data, name=told, least_side_px=least_side_px)
    _check_scene(picture.pixels, name=told)
    return picture


def _bytes_of(path: Path) -> bytes:
    """Return a photo's bytes.

    Raises:
        MissingInputError: There is no such file.
        ImageError: It is a folder, or may not be read.
    """
    if path.is_dir():
        raise ImageError(image=path, reason="not_an_image", detail="it is a folder", cure="name the photos in it one by one")
    if not path.exists():
        raise MissingInputError(what="a photo", path=path, cure="check the name")
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise ImageError(
            image=path, reason="unreadable", detail="it may not be read", cure="give this user read permission"
        ) from error

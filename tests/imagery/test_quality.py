"""Strangers' pictures: opened as RGB, or turned away with the right reason; never a crash, never a bomb."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.imagery.quality import check_content, open_picture, read_photo


def _scene(width=200, height=120, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def _encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _png_header(width, height):
    """A PNG that only claims its size."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def _open_and_check(data):
    check_content(open_picture(data, name="a picture").pixels, name="a picture")


def _reason(data):
    with pytest.raises(ImageError) as caught:
        _open_and_check(data)
    assert "a picture" in str(caught.value)
    return caught.value.reason


def test_each_fault_has_its_reason():
    jpeg = _encoded(Image.fromarray(_scene()), "JPEG")
    assert _reason(b"") == "empty"
    assert _reason(b"this is a text file that is named .jpg") == "not_an_image"
    assert _reason(b"<!DOCTYPE html><html>") == "not_an_image"
    assert _reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "not_an_image"
    assert _reason(jpeg[: len(jpeg) // 2]) == "truncated"
    assert _reason(_encoded(Image.fromarray(_scene()))[:-500]) == "truncated"
    assert _reason(_encoded(Image.new("RGB", (1, 1)))) == "too_small"
    assert _reason(_encoded(Image.new("RGB", (30_000, 100), "red"))) == "too_large"
    assert _reason(_png_header(30_000, 30_000)) == "too_large"
    assert _reason(_png_header(100_000, 100_000)) == "too_large"
    assert _reason(_encoded(Image.new("RGB", (300, 200), (228, 227, 223)), "JPEG")) == "no_imagery"
    assert _reason(_encoded(Image.new("RGB", (300, 200)), "JPEG")) == "black"


def test_a_no_imagery_card_with_words_on_it_is_one_and_a_foggy_street_is_none():
    card = np.full((640, 640, 3), (228, 227, 223), dtype=np.uint8)
    card[300:312, 200:440] = _scene(240, 12)
    assert _reason(_encoded(Image.fromarray(card))) == "no_imagery"
    fog = np.clip(200 + np.random.default_rng(0).normal(0, 4, (640, 640, 3)), 0, 255).astype(np.uint8)
    check_content(fog, name="fog")
    night = np.clip(np.random.default_rng(0).exponential(9, (640, 640, 3)), 0, 255).astype(np.uint8)
    check_content(night, name="night")


def test_the_message_names_kind_and_cure():
    with pytest.raises(ImageError, match=r"it is text, not a picture: 'hello'.*use a JPEG"):
        open_picture(b"hello", name="a.jpg")
    with pytest.raises(ImageError, match=r"30,000 x 100 px; reduce it to at most 20,000"):
        open_picture(_encoded(Image.new("RGB", (30_000, 100))), name="a.jpg")


def test_every_way_to_store_colour_ends_in_the_same_rgb():
    truth = _scene()
    rgb = Image.fromarray(truth)
    grey = rgb.convert("L")
    grey_rgb = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    expected = {
        "png": (_encoded(rgb), truth, 0),
        "palette": (_encoded(rgb.quantize(256)), np.asarray(rgb.quantize(256).convert("RGB")), 0),
        "grey": (_encoded(grey), grey_rgb, 0),
        "16 bit": (_encoded(wide), grey_rgb, 1),
        "cmyk": (_encoded(rgb.convert("CMYK"), "JPEG", quality=100, subsampling=0), truth, 12),
        "alpha": (_encoded(rgb.convert("RGBA")), truth, 0),
        "grey and alpha": (_encoded(grey.convert("LA")), grey_rgb, 0),
        "one bit": (_encoded(grey.convert("1")), np.repeat(np.asarray(grey.convert("1"))[:, :, None], 3, axis=2) * 255, 0),
        "float": (_encoded(grey.convert("F"), "TIFF"), grey_rgb, 1),
        "animated": (_encoded(rgb, "WEBP", lossless=True, save_all=True, append_images=[rgb.rotate(180)]), truth, 0),
    }
    for name, (data, pixels, tolerance) in expected.items():
        opened = open_picture(data, name=name).pixels
        assert opened.shape == pixels.shape, name
        assert opened.dtype == np.uint8
        assert np.abs(opened.astype(int) - pixels.astype(int)).max() <= tolerance, name


def test_what_is_transparent_becomes_white():
    layer = Image.fromarray(_scene()).convert("RGBA")
    layer.putalpha(0)
    assert (open_picture(_encoded(layer), name="x").pixels == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation):
    upright = _scene()
    undo = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1), 7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
        8: lambda p: np.rot90(p, 3),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    assert np.array_equal(open_picture(_encoded(stored, exif=exif), name="x").pixels, upright)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_spoilt_picture_is_opened_or_turned_away_never_a_crash(data):
    form = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]))
    content = bytearray(_encoded(Image.fromarray(_scene(96, 80)), form))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    spoilt = bytes(content[:cut] if data.draw(st.booleans()) else content)
    outcome = _outcome(spoilt)
    assert outcome in {"opened", "empty", "not_an_image", "truncated", "unreadable", "too_small", "too_large"}


def _outcome(content):
    try:
        pixels = open_picture(content, name="x").pixels
    except ImageError as error:
        return error.reason
    return "opened" if pixels.ndim == 3 and pixels.shape[2] == 3 else "strange"


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_are_turned_away(data):
    with pytest.raises(ImageError):
        open_picture(data, name="x")


def test_a_photo_with_place_and_one_without(tmp_path, shared_data):
    photo = read_photo(shared_data / "photos" / "lund" / "01.jpg")
    assert photo.pixels.shape == (768, 1024, 3)
    assert (photo.lat, photo.lon) == (pytest.approx(55.698167, abs=1e-5), pytest.approx(13.195389, abs=1e-5))
    (tmp_path / "bare.png").write_bytes(_encoded(Image.fromarray(_scene())))
    bare = read_photo(tmp_path / "bare.png")
    assert (bare.lat, bare.lon, bare.captured_at, bare.author) == (None, None, None, None)


def test_a_photo_that_is_no_file_is_told(tmp_path):
    with pytest.raises(MissingInputError, match="check the name"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_photo(tmp_path)
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"text\.jpg: it is text"):
        read_photo(tmp_path / "text.jpg")
    (tmp_path / "grey.png").write_bytes(_encoded(Image.new("RGB", (200, 200), (127, 127, 127))))
    with pytest.raises(ImageError, match=r"grey\.png: 100% of it is one colour"):
        read_photo(tmp_path / "grey.png")

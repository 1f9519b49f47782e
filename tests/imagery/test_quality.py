"""Strangers' pictures: opened as RGB, or turned away with the right reason; never a crash, never a bomb."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFont

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.pictures import Renderer, camera_of, encode_jpeg
from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.imagery.quality import check_content, open_picture, read_photo


def _scene(width=200, height=120, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def _encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _softened(pixels, share):
    """Gaussian blur with a sigma that is a share of the longer side."""
    return cv2.GaussianBlur(pixels, (0, 0), share * max(pixels.shape))


@pytest.fixture(scope="module")
def demo_views():
    """Panoramas and flat views of the demo at 256, 512 and 1024 px, by day and at nightfall, as JPEG sends them."""
    land = grow_land(seed=3, prefecture_codes=("47",), density=0.05)
    coverage, draw = Coverage(land), Renderer(land)
    views = []
    for number, row in enumerate(np.random.default_rng(0).choice(len(coverage), 12, replace=False)):
        camera = camera_of(coverage, int(row))
        if number % 3 == 0:
            camera = replace(camera, captured_at=camera.captured_at.replace(hour=12))  # 21 h in Japan
        for is_pano in (True, False):
            views.append(_decoded(encode_jpeg(draw(camera, is_pano, (256, 512, 1024)[number % 3]))))
    return views


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


def test_a_card_with_many_words_is_one_and_a_sky_above_a_strip_of_ground_is_none(shared_data):
    card = Image.new("RGB", (640, 480), (236, 236, 232))
    words = "This picture is not available any more.\nPlease try another place."
    ImageDraw.Draw(card).text((60, 190), words, font=ImageFont.load_default(size=28), fill=(40, 40, 40))
    ImageDraw.Draw(card).rectangle((250, 60, 390, 160), fill=(150, 150, 150))
    assert 0.8 < (np.asarray(card) == (236, 236, 232)).all(axis=2).mean() < 0.95
    assert _reason(_encoded(card, "JPEG", quality=90)) == "no_imagery"
    sky = np.full((480, 640, 3), (236, 236, 232), dtype=np.uint8)
    sky[420:] = _scene(640, 60)
    _open_and_check(_encoded(Image.fromarray(sky), "JPEG"))
    google = shared_data / "streetview" / "maps_http_streetview_error_invalid_pano_binary_response.jpg"
    assert _reason(google.read_bytes()) == "no_imagery"
    _open_and_check(google.with_name("maps_http_streetview_binary_response.jpg").read_bytes())


def test_every_view_of_the_demo_passes_in_fog_and_dark_too_but_not_when_a_blur_leaves_nothing(demo_views):
    for number, view in enumerate(demo_views):
        check_content(view, name=f"view {number}")
        for contrast, ground in ((0.3, 150), (0.15, 0)):
            faded = np.clip(view * contrast + ground, 0, 255).astype(np.uint8)
            check_content(_decoded(encode_jpeg(faded)), name=f"view {number} x {contrast} + {ground}")
        for share in (0.02, 0.04):
            assert _reason(encode_jpeg(_softened(view, share))) == "blurred"


def test_every_real_photo_passes_but_not_when_blurred(shared_data):
    for number, path in enumerate(sorted((shared_data / "photos" / "lund").glob("*.jpg"))):
        pixels = read_photo(path).pixels
        assert number % 6 or _reason(encode_jpeg(_softened(pixels, 0.02))) == "blurred"


def test_a_providers_blur_of_faces_and_plates_passes(demo_views):
    for view in demo_views:
        height, width = view.shape[:2]
        hidden = view.copy()
        for top, left in ((0.4, 0.1), (0.5, 0.45), (0.45, 0.7)):
            area = np.s_[int(top * height) : int((top + 0.25) * height), int(left * width) : int((left + 0.2) * width)]
            hidden[area] = cv2.GaussianBlur(hidden[area], (0, 0), 0.03 * width)
        check_content(hidden, name="faces")


def test_burned_in_text_is_turned_away_but_not_from_a_question_and_the_message_says_where(tmp_path):
    pixels = _scene(800, 600).copy()
    cv2.rectangle(pixels, (0, 565), (800, 600), (0, 0, 0), -1)
    cv2.putText(pixels, "2023/05/01 12:34:56 45km/h", (10, 590), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 1, cv2.LINE_AA)
    data = encode_jpeg(pixels)
    assert _reason(data) == "overlay"
    (tmp_path / "dashcam.jpg").write_bytes(data)
    assert read_photo(tmp_path / "dashcam.jpg").pixels.shape == (600, 800, 3)
    with pytest.raises(
        ImageError, match=r"a line of \d+ drawn glyphs, \d+ px high, at the bottom left; take the picture without"
    ):
        _open_and_check(data)


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


@pytest.mark.parametrize("orientation", [*range(10), 65_535])
def test_a_picture_is_turned_upright(orientation):
    upright = _scene()
    undo = {
        2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1), 7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
        8: lambda p: np.rot90(p, 3),
    }.get(orientation, lambda p: p)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    assert np.array_equal(open_picture(_encoded(stored, exif=exif), name="x").pixels, upright)


_GAMMA, _PRIMARIES = 1.8, np.array([[0.6, 0.3, 0.05], [0.25, 0.6, 0.1], [0.1142, 0.1, 0.6749]])


def _profile(space="RGB "):
    """A small ICC profile of a display whose primaries are not those of sRGB (or of a grey scale), with one gamma for all."""

    def number(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(_GAMMA * 256)) + b"\0\0"
    said = b"desc\0\0\0\0" + struct.pack(">I", 8) + b"made up\0" + bytes(12 + 67)
    tags = {b"desc": said, b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + number(0.9642, 1.0, 0.8249)}
    tags |= {b"kTRC": curve} if space == "GRAY" else {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    if space == "RGB ":
        tags |= {
            letter + b"XYZ": b"XYZ \0\0\0\0" + number(*xyz) for letter, xyz in zip((b"r", b"g", b"b"), _PRIMARIES, strict=True)
        }
    body, table, start = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, b"mntr", space.encode(), b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + number(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


def _by_hand(pixels):
    """sRGB of the made-up space, by the formulas of ICC and IEC 61966-2-1 instead of a colour engine."""
    xyz = (pixels / 255.0) ** _GAMMA @ _PRIMARIES
    from_xyz = np.linalg.inv(np.array([[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]]))
    return _coded(np.clip(xyz @ from_xyz, 0, 1))


def _coded(light):
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_are_those_of_the_embedded_profile(form):
    options = {"PNG": {}, "TIFF": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}[form]
    data = _encoded(Image.fromarray(_scene()), form, icc_profile=_profile(), **options)
    stored, opened = _decoded(data), open_picture(data, name="x").pixels
    assert np.abs(opened - _by_hand(stored)).mean() < 1.0
    assert np.abs(opened.astype(int) - stored).mean() > 4.0


def test_grey_alpha_and_palette_follow_their_profile_too():
    grey = Image.fromarray(_scene()).convert("L")
    expected = _coded((np.asarray(grey) / 255.0) ** _GAMMA)
    for image in (grey, grey.convert("LA")):
        opened = open_picture(_encoded(image, icc_profile=_profile("GRAY")), name="x").pixels
        assert np.abs(opened - expected[:, :, None]).mean() < 1.0
    palette = Image.fromarray(_scene()).quantize(64)
    for image in (palette, Image.fromarray(_scene()).convert("RGBA")):
        opened = open_picture(_encoded(image, icc_profile=_profile()), name="x").pixels
        assert np.abs(opened - _by_hand(np.asarray(image.convert("RGB")))).mean() < 1.0


def test_an_srgb_profile_a_spoilt_one_and_one_of_another_space_change_nothing():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    truth = _scene()
    for profile in (srgb, b"not a profile", _profile()[:200], _profile("GRAY"), b"\0" * 5000, srgb[:-40]):
        assert np.array_equal(open_picture(_encoded(Image.fromarray(truth), icc_profile=profile), name="x").pixels, truth)
    cmyk = _encoded(Image.fromarray(truth).convert("CMYK"), "JPEG", quality=100, subsampling=0, icc_profile=_profile())
    assert np.abs(open_picture(cmyk, name="x").pixels.astype(int) - truth).max() <= 12


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_profile_with_any_bytes_changed_is_no_crash(changes):
    profile = bytearray(_profile())
    for place, value in changes:
        profile[place % len(profile)] = value
    assert open_picture(_encoded(Image.fromarray(_scene()), icc_profile=bytes(profile)), name="x").pixels.shape == (120, 200, 3)


def _gps_tiff(kind, values, *, count=3):
    """EXIF as a TIFF of one GPS directory: latitude of any type and any rationals, longitude 139 degrees, orientation 6."""
    packed = b"".join(struct.pack(">II" if kind != 10 else ">ii", *pair) for pair in values)
    sane = b"".join(struct.pack(">II", *pair) for pair in ((139, 1), (0, 1), (0, 1)))
    gps_at, data_at = 8 + 2 + 2 * 12 + 4, 8 + 2 + 2 * 12 + 4 + 2 + 4 * 12 + 4
    root = struct.pack(">HHHIHHHHIII", 2, 0x0112, 3, 1, 6, 0, 0x8825, 4, 1, gps_at, 0)
    gps = struct.pack(">H", 4) + struct.pack(">HHI4s", 1, 2, 2, b"N\0\0\0") + struct.pack(">HHII", 2, kind, count, data_at)
    gps += struct.pack(">HHI4s", 3, 2, 2, b"E\0\0\0") + struct.pack(">HHII", 4, 5, 3, data_at + len(packed)) + bytes(4)
    return b"Exif\0\0MM\0*\0\0\0\x08" + root + gps + packed + sane


_ANY_RATIONAL = st.tuples(st.sampled_from([0, 1, 35, 2**31 - 1]), st.sampled_from([0, 1, 7, 2**31 - 1]))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 99]),
    values=st.lists(_ANY_RATIONAL, min_size=3, max_size=3),
    count=st.sampled_from([0, 1, 2, 3, 4, 2**16, 2**32 - 1]),
)
def test_absurd_exif_costs_the_place_at_most_never_the_picture(kind, values, count):
    picture = open_picture(_encoded(Image.fromarray(_scene()), "JPEG", exif=_gps_tiff(kind, values, count=count)), name="x")
    assert picture.pixels.shape == (200, 120, 3), "turned by its orientation"
    assert picture.lat is None or -90 <= picture.lat <= 90


def test_rationals_of_nothing_and_of_too_much_are_no_place_and_sane_ones_are():
    def place(kind, *values):
        picture = open_picture(_encoded(Image.fromarray(_scene()), "JPEG", exif=_gps_tiff(kind, values)), name="x")
        return picture.lat, picture.lon

    assert place(5, (35, 1), (30, 1), (0, 1)) == (35.5, 139.0)
    for absurd in ((0, 0), (2**32 - 1, 1), (91, 1)):
        assert place(5, absurd, (0, 1), (0, 1)) == (None, None)
    assert place(10, (-35, 1), (0, 1), (0, 1)) == (None, None)


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_bombs_of_every_kind_are_told_by_their_header():
    gif, jpeg = (bytearray(_encoded(Image.fromarray(_scene()).convert("L"), form)) for form in ("GIF", "JPEG"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_535, 65_535)
    canvas = struct.pack("<I", 65_535)[:3] + struct.pack("<I", 65_534)[:3]
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas + b"VP8 \0\0\0\0"
    for bomb in (bytes(gif), bytes(jpeg), webp):
        assert _reason(bomb) == "too_large"
    bomb = b"name\0\0" + zlib.compress(bytes(50_000_000), 9)
    png = _encoded(Image.fromarray(_scene()))
    for kind in (b"zTXt", b"iCCP"):
        assert _reason(png[:33] + _chunk(kind, bomb) + png[33:]) == "unreadable"


def test_sixteen_bits_that_are_dark_stay_dark():
    dark = np.repeat(np.array([200, 5 * 257], dtype=np.uint16), 40)[:, None].repeat(90, axis=1)
    assert set(np.unique(open_picture(_encoded(Image.fromarray(dark)), name="x").pixels)) == {1, 5}


def test_a_format_that_starts_other_programs_or_hides_its_size_is_not_opened():
    assert _reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n") == "not_an_image"
    assert _reason(_encoded(Image.fromarray(_scene(128, 128)), "ICO")) == "not_an_image"


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


def test_a_large_jpeg_is_opened_small_where_that_is_enough():
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)).save(stream, "jpeg")
    for least, shape in ((0, (900, 1200, 3)), (451, (900, 1200, 3)), (450, (450, 600, 3)), (200, (225, 300, 3))):
        assert open_picture(stream.getvalue(), name="large.jpg", least_side_px=least).pixels.shape == shape


def test_a_photo_in_memory_is_read_as_its_file_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    data = (tmp_path / "photo.png").read_bytes()
    assert (read_photo(data).pixels == read_photo(tmp_path / "photo.png").pixels).all()
    with pytest.raises(ImageError, match="the photo: it has no bytes"):
        read_photo(b"")

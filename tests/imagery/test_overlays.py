"""Burned-in text is found, and nothing that merely stands in the scene is taken for it."""

from __future__ import annotations

import itertools
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from geoloc_pipeline.imagery.overlays import find_overlay

PLACE_LINE = "35.6812N 139.7671E 2021-11-03 08:15:42 45km/h"
COLOURS = {"white": (255, 255, 255), "yellow": (255, 255, 0), "black": (0, 0, 0), "red": (255, 0, 0)}
HERSHEY = {"simplex": cv2.FONT_HERSHEY_SIMPLEX, "plain": cv2.FONT_HERSHEY_PLAIN, "duplex": cv2.FONT_HERSHEY_DUPLEX}


def _street(seed=0, width=1024, height=768):
    """A sky with clouds above a ground with stones; a few houses with windows between."""
    dice = np.random.default_rng(seed)
    sky = cv2.resize(dice.integers(120, 200, (5, 8, 3)).astype(np.uint8), (width, height // 2), interpolation=cv2.INTER_CUBIC)
    stones = dice.integers(60, 150, (height // 16, width // 16, 1)).astype(np.uint8)
    ground = cv2.resize(stones, (width, height - height // 2), interpolation=cv2.INTER_LINEAR)
    pixels = np.concatenate([sky, np.repeat(ground[:, :, None], 3, axis=2)])
    for left in range(0, width - 100, 170):
        colour = dice.integers(80, 220, 3).tolist()
        top = int(height * dice.uniform(0.2, 0.35))
        cv2.rectangle(pixels, (left, top), (left + 110, int(height * 0.55)), colour, -1)
        for x, y in itertools.product(range(left + 10, left + 100, 30), range(top + 12, int(height * 0.5), 40)):
            cv2.rectangle(pixels, (x, y), (x + 16, y + 22), (40, 45, 60), -1)
    return pixels


def _burned(pixels, text=PLACE_LINE, *, font="simplex", glyph_px=16, colour="white", where="bottom", side=0.0, band=False):
    """Write a line at the top or bottom; `side` 0 is left, 1 is right; a dark (for black ink: light) band lies under it."""
    pixels = pixels.copy()
    height, width = pixels.shape[:2]
    left_over = max(0, width - _width(text, font, glyph_px) - 16)
    x, y = 8 + int(side * left_over), 10 if where == "top" else height - glyph_px - 14
    if band:
        cv2.rectangle(pixels, (0, y - 6), (width, y + glyph_px + 8), (225, 225, 225) if colour == "black" else (0, 0, 0), -1)
    if font == "pillow":
        image = Image.fromarray(pixels)
        ImageDraw.Draw(image).text((x, y), text, font=_pillow(glyph_px), fill=COLOURS[colour], anchor="lt")
        pixels = np.array(image)
    else:
        scale = _scale(font, glyph_px)
        thick = 1 if glyph_px < 18 else 2
        cv2.putText(pixels, text, (x, y + glyph_px), HERSHEY[font], scale, COLOURS[colour], thick, cv2.LINE_AA)
    return _as_sent(pixels)


def _width(text, font, glyph_px):
    if font == "pillow":
        return int(_pillow(glyph_px).getlength(text))
    return cv2.getTextSize(text, HERSHEY[font], _scale(font, glyph_px), 1)[0][0]


@cache
def _scale(font, glyph_px):
    """Return the scale at which digits are that high: OpenCV says how high a line is, not its ink."""
    canvas = np.zeros((200, 200), dtype=np.uint8)
    cv2.putText(canvas, "0", (40, 160), HERSHEY[font], 4.0, 255, 1)
    return glyph_px * 4.0 / np.count_nonzero(canvas.any(axis=1))


def _pillow(glyph_px):
    return ImageFont.load_default(size=glyph_px * 1.35)


def _as_sent(pixels):
    data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]


def _found_share(bases):
    ways = itertools.product([*HERSHEY, "pillow"], (13, 16, 20), COLOURS, ("top", "bottom"), (False, True))
    found = []
    for number, (font, glyph_px, colour, where, band) in enumerate(ways):
        base, side = bases[number % len(bases)], (number % 3) / 2
        found.append(_said_where(_burned(base, font=font, glyph_px=glyph_px, colour=colour, where=where, side=side, band=band)))
        assert found[-1] in {None, where}
    return np.mean([where is not None for where in found])


def _said_where(pixels):
    said = find_overlay(pixels)
    return None if said is None else said.split(" at the ")[1].split()[0]


def test_most_lines_of_place_and_time_are_found_in_any_font_colour_and_place():
    assert _found_share([_street(seed) for seed in range(4)]) >= 0.8


def test_lines_on_real_photos_are_found_and_the_photos_themselves_pass(shared_data):
    paths = sorted((shared_data / "photos" / "lund").glob("*.jpg"))
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert [path.name for path, photo in zip(paths, photos, strict=True) if find_overlay(photo)] == []
    assert _found_share(photos) >= 0.75


@pytest.mark.parametrize(("side", "word"), [(0.0, "left"), (0.5, "middle"), (1.0, "right")])
@pytest.mark.parametrize("where", ["top", "bottom"])
def test_the_message_says_where_it_is_and_how_high(side, word, where):
    said = find_overlay(_burned(_street(), "2023/05/01 12:34:56", glyph_px=20, where=where, side=side, band=True))
    assert said is not None
    assert said.endswith(f"at the {where} {word}")
    assert int(said.split(" px high")[0].split()[-1]) == pytest.approx(20, abs=3)


def test_a_large_picture_is_judged_as_its_small_self():
    large = cv2.resize(_street(), (4096, 3072), interpolation=cv2.INTER_LINEAR)
    assert find_overlay(large) is None
    said = find_overlay(_burned(large, glyph_px=56, colour="yellow", where="top", band=True))
    assert said is not None
    assert int(said.split(" px high")[0].split()[-1]) == pytest.approx(56, abs=6)


def test_a_panorama_passes_as_its_poles_reach_no_view():
    pixels = _street(width=1024, height=512)
    assert find_overlay(_burned(pixels, band=True)) is None
    assert find_overlay(_burned(pixels[:, :900], band=True)) is not None


def test_a_providers_mark_passes(shared_data):
    picture = shared_data / "streetview" / "maps_http_streetview_binary_response.jpg"
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (300, 600, 3)
    assert find_overlay(pixels[:, :300]) is None
    assert find_overlay(pixels[:, 300:]) is None


def test_a_mark_of_eleven_glyphs_in_the_corner_passes_and_the_same_at_the_top_does_not():
    marked = _street()
    cv2.rectangle(marked, (830, 738), (1024, 768), (60, 60, 60), -1)
    cv2.putText(marked, "(C)2022 Google", (838, 760), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    assert find_overlay(_as_sent(marked)) is None
    assert _said_where(_burned(_street(), "20220914 1530", glyph_px=18, where="top", band=True)) == "top"


def test_signs_in_the_scene_pass():
    """As lenses show them: in the middle, or near the edge but turned a little and softened."""
    board = np.full((60, 380, 3), (20, 60, 160), dtype=np.uint8)
    cv2.putText(board, "LUND CENTRUM 3 KM", (12, 42), cv2.FONT_HERSHEY_DUPLEX, 1.0, (255, 255, 255), 2, cv2.LINE_AA)
    corners = np.array([[0, 0], [380, 0], [380, 60], [0, 60]], dtype=np.float32)
    for seed, (top, slope) in enumerate([(150, 0.0), (400, 0.0), (600, 0.0), (5, 0.12), (20, -0.05), (690, 0.06), (695, -0.1)]):
        x = 40.0 + 90 * seed
        placed = np.array(
            [[x, top], [x + 300, top + 300 * slope], [x + 300, top + 300 * slope + 44], [x, top + 56]], np.float32
        )
        scene = _street(seed)
        turn = cv2.getPerspectiveTransform(corners, placed)
        cv2.warpPerspective(board, turn, (1024, 768), dst=scene, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT)
        assert find_overlay(_as_sent(scene)) is None, (top, slope)


@pytest.mark.parametrize("shape", ["windows", "tiles", "crossing", "fence"])
@pytest.mark.parametrize("top", [12, 730])
def test_rows_of_equal_things_pass(shape, top):
    pixels = _street()
    for x in range(40, 980, 26):
        if shape == "windows":
            cv2.rectangle(pixels, (x, top), (x + 12, top + 20), (0, 0, 0), -1)
        elif shape == "tiles":
            cv2.ellipse(pixels, (x, top + 10), (9, 9), 0, 0, 360, (255, 255, 255), 2, cv2.LINE_AA)
        elif shape == "crossing":
            cv2.rectangle(pixels, (x, top), (x + 13, top + 24), (255, 255, 255), -1)
        else:
            cv2.line(pixels, (x, top), (x, top + 24), (255, 255, 255), 2)
    assert find_overlay(_as_sent(pixels)) is None


@settings(max_examples=40, deadline=None)
@given(width=st.integers(64, 700), height=st.integers(64, 700), grain=st.sampled_from([1, 2, 5, 9]), seed=st.integers(0, 99))
def test_noise_of_any_size_passes_whatever_its_grain(width, height, grain, seed):
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // grain), -(-width // grain), 3), dtype=np.uint8)
    noise = np.repeat(np.repeat(small, grain, axis=0), grain, axis=1)[:height, :width]
    assert find_overlay(noise) is None


@pytest.mark.parametrize("size", [(64, 20_000), (20_000, 64), (64, 64)])
def test_the_longest_and_the_smallest_pictures_pass(size):
    assert find_overlay(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)) is None


def test_the_answer_is_the_same_for_any_layout_of_the_array():
    pixels = np.ascontiguousarray(_burned(_street(), band=True))
    wide = np.zeros((pixels.shape[0], pixels.shape[1] * 2, 3), dtype=np.uint8)
    wide[:, ::2] = pixels
    assert find_overlay(wide[:, ::2]) == find_overlay(pixels) == find_overlay(np.asfortranarray(pixels))
    assert find_overlay(pixels) is not None

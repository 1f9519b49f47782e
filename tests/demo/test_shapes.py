"""Shapes: polygons are painted where they stand, the near over the far, and only what a wall hides whole is left out."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.demo.shapes import Frame, Shapes, Walls, cards, discs, facing, uprights

RED, BLUE = np.array([255.0, 0.0, 0.0]), np.array([0.0, 0.0, 255.0])
LEVEL = np.eye(3)


def painted(shapes: Shapes, eye_m: float = 2.0, turn: np.ndarray = LEVEL, width: int = 512) -> np.ndarray:
    frame = Frame(np.zeros((width // 2, width, 3), dtype=np.uint8), width)
    shapes.paint(frame, eye_m, turn, np.zeros(3), np.inf)
    return frame.image


def box_of(image: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(image.sum(axis=2) > 60)
    return int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max())


@pytest.mark.parametrize("azimuth_deg", [-150.0, -40.0, 0.0, 95.0])
def test_a_card_fills_its_own_angle_and_nothing_else(azimuth_deg: float) -> None:
    far, half, low, high = 12.0, 1.5, 1.0, 5.0
    at = far * np.array([[np.sin(np.radians(azimuth_deg)), np.cos(np.radians(azimuth_deg))]])
    shapes = Shapes()
    shapes.add(cards(at, half, low, high), RED)
    left, right, top, bottom = box_of(painted(shapes))
    per_rad = 512 / (2 * np.pi)
    middle = 256 + np.radians(azimuth_deg) * per_rad
    side = np.arctan(half / far) * per_rad
    assert abs(left - (middle - side)) < 1.6
    assert abs(right - (middle + side)) < 1.6
    edge = np.hypot(far, half)
    assert abs(top - (128 - np.arctan((high - 2) / edge) * per_rad)) < 1.6
    assert abs(bottom - (128 - np.arctan((low - 2) / edge) * per_rad)) < 1.6


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_one_is_seen_whatever_was_added_first(order: tuple[int, int]) -> None:
    shapes = Shapes()
    things = [(cards(np.array([[0.0, 20.0]]), 2.0, 0.0, 4.0), RED), (cards(np.array([[0.0, 10.0]]), 0.5, 0.0, 4.0), BLUE)]
    for number in order:
        shapes.add(*things[number])
    np.testing.assert_array_equal(painted(shapes)[128, 256], [0, 0, 255])


def test_what_lies_on_a_wall_is_painted_over_it_and_haze_takes_the_far() -> None:
    shapes = Shapes()
    wall = cards(np.array([[0.0, 20.0]]), 4.0, 0.0, 6.0)
    shapes.add(cards(np.array([[0.0, 20.0]]), 1.0, 1.0, 3.0), BLUE, nearer_m=0.05)
    shapes.add(wall, RED)
    assert painted(shapes)[128, 256].tolist() == [0, 0, 255]
    frame = Frame(np.zeros((256, 512, 3), dtype=np.uint8), 512)
    shapes.paint(frame, 2.0, LEVEL, np.full(3, 200.0), 20.0)
    np.testing.assert_allclose(frame.image[128, 256], 200 * (1 - np.exp(-1)) + np.exp(-1) * BLUE, atol=3)


def test_a_thing_behind_the_camera_crosses_the_seam_and_shows_at_both_sides() -> None:
    shapes = Shapes()
    shapes.add(cards(np.array([[0.0, -10.0]]), 2.0, 0.0, 5.0), RED)
    image = painted(shapes)
    assert image[128, 0, 0] == image[128, -1, 0] == 255
    assert image[128, 256].sum() == 0


def test_a_window_shows_the_same_as_the_whole_picture_there() -> None:
    dice = np.random.default_rng(3)
    shapes = Shapes()
    shapes.add(cards(dice.uniform(-30, 30, (200, 2)), 1.0, 0.0, 4.0), dice.uniform(0, 255, (200, 3)))
    shapes.add_lines(np.array([[[-9.0, 12.0, 6.0], [0.0, 11.0, 5.0], [9.0, 12.0, 6.0]]]), RED)
    whole = painted(shapes)
    frame = Frame(np.zeros((96, 160, 3), dtype=np.uint8), 512, left_px=184, top_px=80)
    shapes.paint(frame, 2.0, LEVEL, np.zeros(3), np.inf)
    np.testing.assert_array_equal(frame.image[2:-2, 2:-2], whole[82:174, 186:342])


def test_builders_keep_their_measures() -> None:
    at = np.array([[3.0, 4.0], [-6.0, 8.0]])
    right = facing(at)
    np.testing.assert_allclose((right * at).sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(np.hypot(*right.T), 1)
    assert right[0, 0] > 0 > right[0, 1]  # what is ahead and east has its right to the south-east
    quad = uprights(at, at + 1, 0.5, np.array([2.0, 3.0]))
    np.testing.assert_allclose(quad[:, :, 2], [[0.5, 0.5, 2.0, 2.0], [0.5, 0.5, 3.0, 3.0]])
    ring = discs(at, right, 1.5, 4.0, 2.0)
    assert np.abs(ring[..., 2] - 4.0).max() <= 2.0
    assert np.hypot(*(ring[..., :2] - at[:, None]).T).max() <= 1.5


def test_walls_hide_only_what_is_lower_and_farther_and_between_their_ends() -> None:
    a, b = np.array([[-10.0, 10.0]]), np.array([[10.0, 10.0]])
    walls = Walls(a, b, np.array([8.0]), np.array([10.0]), 2.0)

    def hidden(x: float, y: float, high: float) -> bool:
        at = np.array([[x, y]])
        card = cards(at, 1.0, 0.0, high)
        ground = np.ascontiguousarray(card[..., :2].transpose(2, 1, 0), dtype=np.float32)
        return bool(walls.hide(ground, np.full(1, high, dtype=np.float32), np.array([np.hypot(x, y)]))[0])

    assert hidden(0.0, 30.0, 5.0)
    assert hidden(15.0, 30.0, 5.0)
    assert not hidden(0.0, 30.0, 60.0)
    assert not hidden(0.0, 6.0, 1.0)
    assert not hidden(30.5, 30.0, 5.0)
    assert not hidden(0.0, -30.0, 5.0)


def test_leaving_out_what_walls_hide_changes_no_picture() -> None:
    dice = np.random.default_rng(5)
    azimuth, far = dice.uniform(-np.pi, np.pi, 60), dice.uniform(8, 60, 60)
    at = np.column_stack([np.sin(azimuth), np.cos(azimuth)]) * far[:, None]
    right, high = facing(at) * dice.uniform(1.0, 6.0, 60)[:, None], dice.uniform(3.0, 14.0, 60)
    small = dice.uniform(-60, 60, (600, 2))
    images = []
    for has_walls in (False, True):
        shapes = Shapes()
        shapes.add(uprights(at - right, at + right, 0.0, high), np.linspace(40, 250, 180).reshape(60, 3), far_m=far)
        shapes.add(cards(small, 0.6, 0.0, 3.0), np.linspace(20, 255, 1800).reshape(600, 3))
        if has_walls:
            walls = Walls(at - right, at + right, high, far, 2.0)
            shapes.stand_behind(walls)
            ground = np.ascontiguousarray(cards(small, 0.6, 0.0, 3.0)[..., :2].transpose(2, 1, 0), dtype=np.float32)
            assert walls.hide(ground, np.full(600, 3.0, dtype=np.float32), np.hypot(*small.T)).mean() > 0.2
        images.append(painted(shapes, width=1024).astype(int))
    assert (np.abs(images[0] - images[1]).max(axis=2) > 24).mean() < 1e-4

"""Surroundings: plain records whose rows stay together."""

from __future__ import annotations

import numpy as np

from geoloc_pipeline.demo.surroundings import Buildings, Posts


def buildings() -> Buildings:
    turn = np.radians([0.0, 30.0, 200.0])
    front = np.column_stack([np.sin(turn), np.cos(turn)])
    along = np.column_stack([front[:, 1], -front[:, 0]])
    number = np.arange(3)
    return Buildings(
        at_m=np.array([[0.0, 10.0], [20.0, 5.0], [-8.0, -9.0]]), along=along, front=front,
        half_width_m=np.array([3.0, 4.0, 5.0]), half_depth_m=np.array([2.0, 3.0, 6.0]), setback_m=np.ones(3),
        floors=number + 1, key=number, style=number * 0, rank=number,
    )  # fmt: skip


def test_a_footprint_has_the_houses_size_and_its_first_two_corners_at_the_front() -> None:
    houses = buildings()
    corners = houses.corners_m()
    np.testing.assert_allclose(corners.mean(axis=1), houses.at_m)
    np.testing.assert_allclose(np.hypot(*(corners[:, 1] - corners[:, 0]).T), 2 * houses.half_width_m)
    np.testing.assert_allclose(np.hypot(*(corners[:, 2] - corners[:, 1]).T), 2 * houses.half_depth_m)
    ahead = ((corners - houses.at_m[:, None]) * houses.front[:, None]).sum(axis=2)
    assert (ahead[:, :2] > 0).all()
    assert (ahead[:, 2:] < 0).all()


def test_choosing_rows_keeps_every_column_of_them() -> None:
    houses = buildings()
    for chosen in (np.array([2, 0]), np.array([True, False, True])):
        some = houses.where(chosen)
        assert len(some) == 2
        for name, value in vars(some).items():
            np.testing.assert_array_equal(value, vars(houses)[name][chosen])


def test_posts_are_chosen_by_a_slice_too() -> None:
    number = np.arange(5)
    pair = np.column_stack([number, number]).astype(float)
    posts = Posts(pair, pair, pair, number, number, number, number, number)
    some = posts.where(slice(1, 4))
    assert len(some) == 3
    assert some.key.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(some.at_m, pair[1:4])

"""Roads: every class, everywhere, bent, and dense in one town."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.grow_names import HOMELANDS
from geoloc_pipeline.demo.grow_roads import GRID_PITCH_M, Route, Sites, expected_points, grow_routes
from geoloc_pipeline.demo.grow_towns import Block, Ground, grow_blocks

CLASSES = {"motorway", "trunk", "primary", "secondary", "tertiary", "unclassified", "residential"}


def grown(density: float) -> tuple[list[Block], list[Route], list[Route], Sites]:
    dice = np.random.default_rng(8)
    blocks = grow_blocks(Ground(HOMELANDS["35"]), dice)
    return (blocks, *grow_routes(HOMELANDS["35"], blocks, dice, density=density))


@pytest.fixture(scope="module")
def whole() -> tuple[list[Block], list[Route], list[Route], Sites]:
    return grown(1.0)


@pytest.mark.parametrize("density", [0.05, 1.0])
def test_every_class_of_interest_grows_at_any_density(density: float) -> None:
    _, routes, streets, _ = grown(density)
    assert {route.highway for route in routes + streets} == CLASSES


def test_no_block_is_left_without_its_share(whole: tuple[list[Block], list[Route], list[Route], Sites]) -> None:
    blocks, routes, _, sites = whole
    served = []
    for block in blocks:
        if block.column >= 0 and not shapely.intersects(block.shape, sites.park):
            here = expected_points(routes, block.shape)
            served.append(here if not block.shape.contains(shapely.Point(sites.grid)) else 12.0)
    assert min(served) >= 11.0
    assert max(served) <= 40.0


def test_roads_bend_and_stay_on_land(whole: tuple[list[Block], list[Route], list[Route], Sites]) -> None:
    blocks, routes, _, _ = whole
    land = shapely.union_all([block.shape for block in blocks if not block.town.is_water])
    lines = [shapely.LineString(route.xy) for route in routes]
    assert shapely.contains(land.buffer(1.0), lines).all()
    straight = [
        line.length / max(shapely.Point(line.coords[0]).distance(shapely.Point(line.coords[-1])), 1.0) for line in lines
    ]
    assert np.mean(np.array(straight) > 1.002) > 0.8


def test_long_routes_cross_municipal_borders(whole: tuple[list[Block], list[Route], list[Route], Sites]) -> None:
    blocks, routes, _, _ = whole
    for route in routes[:10]:
        line = shapely.LineString(route.xy)
        met = {block.municipality for block in blocks if block.column >= 0 and shapely.intersects(block.shape, line)}
        assert len(met) >= 2


def test_the_grid_has_blocks_of_100_m_in_one_town(whole: tuple[list[Block], list[Route], list[Route], Sites]) -> None:
    blocks, _, streets, sites = whole
    steps = np.concatenate([np.hypot(*np.diff(street.xy, axis=0).T) for street in streets])
    assert np.median(steps) == pytest.approx(GRID_PITCH_M, rel=0.05)
    assert len(streets) == 22
    hull = shapely.MultiLineString([street.xy for street in streets]).convex_hull
    assert hull.area == pytest.approx(sites.grid_m**2, rel=0.1)
    assert sum(block.shape.contains(hull) for block in blocks) == 1


def test_streets_of_the_grid_share_their_crossings(whole: tuple[list[Block], list[Route], list[Route], Sites]) -> None:
    corners = np.concatenate([street.xy for street in whole[2]])
    _, counts = np.unique(corners, axis=0, return_counts=True)
    assert (counts == 2).all()


def test_expected_points_follow_class_and_length() -> None:
    box = shapely.box(0, -1, 100_000, 1)
    lane = Route("residential", np.array([[0.0, 0.0], [2000.0, 0.0]]))
    assert expected_points([lane], box) == pytest.approx(4.0)  # 2 km at 500 m
    long = Route("residential", np.array([[0.0, 0.0], [16_000.0, 0.0]]))
    assert expected_points([long], box) == pytest.approx(16_000 / (260 * 4))
    trunk = Route("trunk", long.xy)
    assert expected_points([trunk], box) > expected_points([long], box)
    assert expected_points([trunk], shapely.box(0, -1, 8000, 1)) == pytest.approx(expected_points([trunk], box) / 2)

"""Landmarks: nodes, ways and relations, at any density."""

from __future__ import annotations

import pytest
import shapely

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.land import Land, Landmark
from geoloc_pipeline.geo.crs import metric_crs, to_plane


@pytest.fixture(scope="module", params=[0.05, 1.0])
def marks(request: pytest.FixtureRequest) -> tuple[Landmark, ...]:
    return grow_land(seed=4, prefecture_codes=("47",), density=request.param).landmarks


def area_m2(shape: shapely.Geometry) -> float:
    middle = shape.centroid
    crs = metric_crs(lat=middle.y, lon=middle.x)

    def plane(lonlat: object) -> object:
        x, y = to_plane(lat=lonlat[:, 1], lon=lonlat[:, 0], crs=crs)  # type: ignore[index]
        return shapely.get_coordinates(shapely.points(x, y))

    return float(shapely.transform(shape, plane).area)


def test_every_kind_of_object_is_there(marks: tuple[Landmark, ...]) -> None:
    assert {mark.kind for mark in marks} == {"node", "way", "relation"}
    kinds = {(key, value) for mark in marks for key, value in mark.tags.items()}
    wanted = {("railway", "station"), ("tourism", "viewpoint"), ("tourism", "museum"), ("amenity", "place_of_worship")}
    assert wanted | {("natural", "peak"), ("historic", "castle"), ("leisure", "park"), ("building", "yes")} <= kinds
    for mark in marks:
        assert (mark.geometry.geom_type == "Point") == (mark.kind == "node")
        assert mark.geometry.is_valid


def test_a_relation_has_a_hole_and_another_two_pieces(marks: tuple[Landmark, ...]) -> None:
    shapes = [mark.geometry for mark in marks if mark.kind == "relation"]
    assert any(shape.geom_type == "Polygon" and len(shape.interiors) == 1 for shape in shapes)
    assert any(shape.geom_type == "MultiPolygon" for shape in shapes)


def test_one_park_is_several_square_kilometres_and_roads_lead_through_it() -> None:
    land = grow_land(seed=4, prefecture_codes=("47",))
    park = max(land.landmarks, key=lambda mark: mark.geometry.area).geometry
    assert 2.5e6 < area_m2(park) < 5e6
    inside = [road for road in land.roads if shapely.contains(park, shapely.LineString(road.lonlat))]
    assert len(inside) >= 3


def test_names_come_in_three_scripts_and_one_is_missing(marks: tuple[Landmark, ...]) -> None:
    assert {"name", "name:en", "name:ja-Latn"} <= {key for mark in marks for key in mark.tags}
    nameless = [mark for mark in marks if "name" not in mark.tags]
    assert any("tourism" in mark.tags for mark in nameless)
    assert any(mark.tags == {"amenity": "vending_machine"} for mark in nameless)  # nobody's landmark


def test_most_landmarks_stand_beside_a_road(whole_land: Land) -> None:
    tree = shapely.STRtree([shapely.LineString(road.lonlat) for road in whole_land.roads])
    nodes = [mark.geometry for mark in whole_land.landmarks if mark.kind == "node"]
    near = [len(tree.query(node.buffer(0.0007), predicate="intersects")) > 0 for node in nodes]
    assert sum(near) > 0.9 * len(near)

"""Reading a land back: what was published, and a real piece of Tokyo."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import osmium
import pytest
import shapely

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.read import is_landmark, read_land, read_towns, read_version
from geoloc_pipeline.errors import BadSourceFileError, MissingInputError


@pytest.fixture(scope="module")
def files(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for path in (*world.rglob("*.pbf"), *world.rglob("*.zip")):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def again(files: Path) -> Land:
    return read_land(files, seed=3)


def test_roads_come_back_to_the_last_digit(again: Land, thin_land: Land) -> None:
    assert {road.way_id: road.tags for road in again.roads} == {road.way_id: road.tags for road in thin_land.roads}
    true = {road.way_id: road.lonlat.tolist() for road in thin_land.roads}
    assert {road.way_id: road.lonlat.tolist() for road in again.roads} == true


def test_landmarks_come_back_with_their_holes(again: Land, thin_land: Land) -> None:
    true = {(mark.kind, mark.osm_id): mark for mark in thin_land.landmarks if is_landmark(mark.tags)}
    assert {(mark.kind, mark.osm_id) for mark in again.landmarks} == set(true)
    for mark in again.landmarks:
        assert shapely.equals(mark.geometry, true[mark.kind, mark.osm_id].geometry)
        assert mark.tags == true[mark.kind, mark.osm_id].tags


def test_towns_come_back_joined(again: Land, thin_land: Land) -> None:
    true = {town.key_code: town for town in thin_land.towns}
    assert {town.key_code for town in again.towns} == set(true)
    for town in again.towns:
        told = true[town.key_code]
        assert (town.municipality, town.town, town.population) == (told.municipality, told.town, told.population)
        assert town.is_water == told.is_water
        assert shapely.symmetric_difference(town.polygon, told.polygon).area < 1e-4 * told.polygon.area  # the bow-tie


def test_the_version_comes_from_the_header(again: Land, thin_land: Land) -> None:
    assert (again.published_at, again.sequence) == (thin_land.published_at, thin_land.sequence)


def test_real_tokyo_is_read_in_seconds(shared_data: Path) -> None:
    started_s = time.process_time()
    land = read_land(shared_data / "tokyo")
    assert time.process_time() - started_s < 10.0
    assert len(land.roads) == 1651
    assert 100 < len(land.landmarks) < 5000  # of 223,501 nodes
    assert land.sequence == 4891
    assert {town.municipality for town in land.towns if not town.town and not town.is_water} == {"渋谷区"}


def test_no_landmark_is_made_of_a_shop() -> None:
    assert is_landmark({"historic": "anything"})
    assert is_landmark({"railway": "station"})
    assert not is_landmark({"railway": "level_crossing"})
    assert not is_landmark({"amenity": "vending_machine", "shop": "convenience"})


def test_a_map_that_breaks_off_is_told(world: Path, tmp_path: Path) -> None:
    dump = next(world.rglob("kanto-*.pbf")).read_bytes()
    (tmp_path / "cut.osm.pbf").write_bytes(dump[: len(dump) * 2 // 3])
    (tmp_path / "A002005212020DDSWC13-JGD2011.zip").write_bytes(next(world.rglob("*13-JGD2011.zip")).read_bytes())
    with pytest.raises(BadSourceFileError, match=r"cut\.osm\.pbf.*not readable"):
        read_land(tmp_path)


def test_a_map_without_a_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plain.osm.pbf"
    with osmium.SimpleWriter(str(path)) as writer:
        writer.add_node(osmium.osm.mutable.Node(id=1, location=(139.0, 35.0)))
    with pytest.raises(BadSourceFileError, match="no replication timestamp"):
        read_version(path)


@pytest.mark.parametrize("lacking", [".dbf", ".shp"])
def test_an_archive_that_lacks_a_file_is_told(world: Path, tmp_path: Path, lacking: str) -> None:
    path = tmp_path / "A002005212020DDSWC13-JGD2011.zip"
    with zipfile.ZipFile(next(world.rglob("*13-JGD2011.zip"))) as whole, zipfile.ZipFile(path, "w") as part:
        for name in whole.namelist():
            if not name.endswith(lacking):
                part.writestr(name, whole.read(name))
    with pytest.raises(BadSourceFileError, match="DDSWC13"):
        read_towns(path)


def test_a_folder_without_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"\*\.osm\.pbf"):
        read_land(tmp_path)

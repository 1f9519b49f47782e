"""Extraction with QuackOSM, on a small real PBF."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pyproj
import pytest
import shapely
from pandas.testing import assert_frame_equal

from geoloc_pipeline.errors import BadSourceFileError, SettingError
from geoloc_pipeline.geo.crs import to_metres
from geoloc_pipeline.osm.extract import HALO_M, extract_map, extract_maps, extraction_area
from geoloc_pipeline.storage.progress import Progress, read_progress
from geoloc_pipeline.tables import OSM_LANDMARKS, OSM_ROADS, check_table

GEOD = pyproj.Geod(ellps="WGS84")


@pytest.fixture(scope="module")
def extracted(dump, towns, tmp_path_factory):
    """One extraction for all tests: QuackOSM takes seconds to start."""
    folder = tmp_path_factory.mktemp("extraction")
    (folder / "scratch").mkdir()
    (folder / "scratch" / "left over").write_text("from a run that was killed")
    progress = Progress(folder / "progress.json")
    roads, landmarks = extract_map(dump, towns, prefecture_code="35", scratch=folder / "scratch", progress=progress)
    assert read_progress(folder / "progress.json") == (2, 2, "steps")
    assert not (folder / "scratch").exists()
    return roads.set_index("way_id", drop=False), landmarks.set_index("landmark_id", drop=False)


def test_the_tables_keep_their_contracts(extracted):
    check_table(OSM_ROADS, extracted[0])
    check_table(OSM_LANDMARKS, extracted[1])


def test_roads_of_our_classes_in_the_prefecture_or_its_halo_come_and_no_others(extracted):
    assert list(extracted[0].index) == ["way/1", "way/2", "way/3", "way/4", "way/6", "way/9"]


def test_a_way_that_leaves_the_prefecture_stays_whole(extracted):
    west, _, east, _ = extracted[0].geometry["way/1"].bounds
    assert (west, east) == pytest.approx((130.7, 131.4), abs=1e-7)


def test_roads_carry_their_identity_and_their_name(extracted):
    roads = extracted[0]
    assert roads["road_id"].fillna("none").to_list() == ["JP:2", "none", "35:見本通り", "35:ring", "35:9", "35:境通り"]
    assert roads["name"].fillna("none").to_list() == ["国道2号", "none", "見本通り", "Ring", "none", "境通り"]
    assert roads["name_latin"].dropna().to_dict() == {"way/3": "Sample Street", "way/4": "Ring"}


def test_a_roundabout_is_a_line(extracted):
    assert extracted[0].geometry["way/4"].is_closed


def test_lengths_are_geodesic(extracted):
    for way in extracted[0].itertuples():
        assert way.length_m == pytest.approx(GEOD.geometry_length(way.geometry), rel=1e-9)


def test_landmarks_are_nodes_ways_and_relations_with_the_category_of_their_first_tag(extracted):
    landmarks = extracted[1]
    assert landmarks["category"].to_dict() == {
        "node/1": "railway=station",
        "relation/3": "leisure=park",
        "way/20": "tourism=museum",
        "way/23": "leisure=park",
        "way/52": "historic=ruins",
    }
    assert landmarks["name"].to_list() == ["見本駅", "見本公園", "見本城", "蝶公園", "奇道"]


def test_areas_are_geodesic_and_leave_holes_out(extracted):
    landmarks = extracted[1]
    assert landmarks["area_m2"]["node/1"] == 0
    for name in ("way/20", "relation/3"):
        assert landmarks["area_m2"][name] == pytest.approx(abs(GEOD.geometry_area_perimeter(landmarks.geometry[name])[0]))
    assert len(shapely.get_rings(landmarks.geometry["relation/3"])) == 2


def test_odd_ways_and_relations_are_left_out_or_cleaned(extracted, together):
    # of one node, with missing nodes, to (0, 0), of length zero; relations without members or with missing ones
    found = {*extracted[0].index, *extracted[1].index}
    odd = {f"way/{number}" for number in range(50, 56)} | {f"relation/{number}" for number in range(60, 64)}
    assert found & odd == {"way/52"}
    assert extracted[1].geometry["way/52"].geom_type == "Point"  # a landmark drawn on one spot is a place all the same
    assert extracted[1].geometry["way/23"].is_valid
    assert shapely.get_num_coordinates(together["34"][0].set_index("way_id").geometry["way/10"]) == 3


@pytest.fixture(scope="module")
def together(dump, towns, tmp_path_factory):
    """Every prefecture in one pass."""
    maps = extract_maps(dump, dict.fromkeys(["37", "36", "35", "34"], towns), scratch=tmp_path_factory.mktemp("together"))
    return {code: (roads, landmarks) for code, roads, landmarks in maps}


def test_one_pass_gives_each_prefecture_the_same_tables_as_its_own(extracted, together):
    assert list(together) == ["34", "35", "36", "37"]
    for alone, shared in zip(extracted, together["35"], strict=True):
        assert_frame_equal(alone.reset_index(drop=True), shared)


def test_a_prefecture_gets_what_has_a_node_in_it_and_nothing_that_only_crosses_it(together):
    # way/1 runs through 34 without a node there; way/23 crosses itself in 37 but turns nowhere near
    assert [list(together[code][0]["way_id"]) for code in ("34", "37")] == [["way/10", "way/2", "way/3", "way/9"], []]
    assert [list(together[code][1]["landmark_id"]) for code in ("34", "37")] == [[], []]
    assert together["34"][0]["road_id"].dropna().to_list() == ["34:西通り", "34:見本通り", "34:境通り"]


def test_a_prefecture_without_anything_gets_empty_tables(dump, towns, together, tmp_path):
    alone = extract_map(dump, towns, prefecture_code="36", scratch=tmp_path / "scratch")
    for contract, *tables in zip((OSM_ROADS, OSM_LANDMARKS), alone, together["36"], strict=True):
        for table in tables:
            check_table(contract, table)
            assert len(table) == 0


def test_one_pass_over_a_real_map_gives_the_same_tables_as_one_of_its_quarters_alone(shared_data, towns, tmp_path):
    dump = shared_data / "osm_world" / "vancouver_canada.osm.pbf"
    quarters = {"34": (-123.3, 49.2, -123.1, 49.3), "35": (-123.1, 49.2, -123.0, 49.3), "36": (-123.1, 49.1, -123.0, 49.2)}
    boxes = towns[towns["prefecture_code"].isin(list(quarters))].copy()
    boxes["geometry"] = [shapely.box(*quarters[code]) for code in boxes["prefecture_code"]]
    shared = {code: tables for code, *tables in extract_maps(dump, dict.fromkeys(quarters, boxes), scratch=tmp_path / "all")}
    alone = extract_map(dump, boxes, prefecture_code="35", scratch=tmp_path / "alone")
    for one, other in zip(alone, shared["35"], strict=True):
        assert len(one) > 100
        assert_frame_equal(one, other)
    both = set(shared["35"][0]["way_id"]) & set(shared["36"][0]["way_id"])  # their halos overlap
    assert both
    assert both != set(shared["35"][0]["way_id"])


def test_the_area_holds_the_halo_and_little_more(towns):
    area = extraction_area(towns, prefecture_code="35")
    own = to_metres(towns[towns["prefecture_code"] == "35"])
    exact = own.buffer(HALO_M).iloc[0]
    got = towns.iloc[[0]].set_geometry([area], crs=towns.crs).to_crs(own.crs).geometry.iloc[0]
    assert got.buffer(0.5).contains(exact)
    assert exact.buffer(250).contains(got)


def test_a_prefecture_without_towns_is_told(dump, towns, tmp_path):
    with pytest.raises(SettingError, match="census_towns"):
        extract_map(dump, towns, prefecture_code="47", scratch=tmp_path / "scratch")


def test_a_path_with_a_quote_is_refused_before_anything_happens(dump, towns, tmp_path):
    with pytest.raises(SettingError, match="rename the folder"):
        extract_map(dump, towns, prefecture_code="35", scratch=tmp_path / "it's")


def test_a_truncated_dump_is_refused_before_quackosm_starts(dump, towns, tmp_path):
    path = tmp_path / "cut.osm.pbf"
    path.write_bytes(dump.read_bytes()[:-20])
    with pytest.raises(BadSourceFileError, match="was cut"):
        extract_map(path, towns, prefecture_code="35", scratch=tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_a_dump_with_damaged_content_is_refused_with_a_cure(dump, towns, tmp_path):
    data = bytearray(dump.read_bytes())
    data[-40:] = bytes(40)  # the frames are whole, what they hold is not
    path = tmp_path / "damaged.osm.pbf"
    path.write_bytes(data)
    with pytest.raises(BadSourceFileError, match=r"damaged.osm.pbf"):
        extract_map(path, towns, prefecture_code="35", scratch=tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_a_killed_extraction_leaves_no_process_behind(dump, towns, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom geoloc_pipeline.osm.extract import _run_quackosm\nimport shapely\n"
        "if __name__ == '__main__':\n"
        "    Path(sys.argv[2]).mkdir()\n"
        "    _run_quackosm(Path(sys.argv[1]), shapely.box(122, 20, 154, 46), Path(sys.argv[2]), 10**9)\n"
    )
    script, mark = tmp_path / "extract_it.py", tmp_path / "scratch"
    script.write_text(code)

    def at_work():
        """Processes that work in the scratch folder, or were started by one that does."""
        found = []
        for process in psutil.process_iter(["pid", "environ"]):
            if (process.info["environ"] or {}).get("GEOLOC_TEST_MARK") == str(mark):
                found.append(process)
        return found

    environment = os.environ | {"GEOLOC_TEST_MARK": str(mark)}
    extraction = subprocess.Popen([sys.executable, script, dump, mark], env=environment, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while len(at_work()) < 4 and extraction.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)  # itself, its tracker, QuackOSM's process, and one that QuackOSM started
    assert extraction.poll() is None
    extraction.kill()
    extraction.wait()
    deadline_s = time.monotonic() + 20
    while at_work() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert at_work() == []

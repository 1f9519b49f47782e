"""Extracts as Geofabrik publishes them: header, checksum, state, index, order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import osmium
import osmium.replication.utils
import pytest

from geoloc_pipeline.demo.grow_ways import LONG_WAY_M
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish_osm import BASE_URL, dated_name, extract_path
from geoloc_pipeline.geo.prefectures import REGIONS

HERE = ("kanto", "kyushu")


def extract(world: Path, land: Land, region: str) -> Path:
    return extract_path(world / "geofabrik", region, land.published_at)


@pytest.mark.parametrize("region", HERE)
def test_header_and_state_tell_the_same_version(world: Path, thin_land: Land, region: str) -> None:
    header = osmium.replication.utils.get_replication_header(str(extract(world, thin_land, region)))
    assert (header.sequence, header.timestamp) == (thin_land.sequence, thin_land.published_at)
    assert header.url == f"{BASE_URL}/{region}-updates"
    comment, moment, number = (
        (world / "geofabrik/asia/japan" / f"{region}-updates" / "state.txt").read_text(encoding="ascii").splitlines()
    )
    assert comment.startswith("# original OSM minutely replication sequence number ")
    assert moment == "timestamp=2026-09-03T20\\:21\\:51Z"
    assert number == f"sequenceNumber={header.sequence}"


@pytest.mark.parametrize("region", HERE)
def test_the_checksum_fits_the_file_and_names_it(world: Path, thin_land: Land, region: str) -> None:
    path = extract(world, thin_land, region)
    assert path.name == f"{region}-260903.osm.pbf" == dated_name(region, thin_land.published_at)
    digest, name = path.with_name(path.name + ".md5").read_text(encoding="ascii").split()
    assert digest == hashlib.md5(path.read_bytes()).hexdigest()
    assert name == path.name


def test_objects_stand_in_order_of_type_and_id(world: Path, thin_land: Land) -> None:
    seen = [("nwr".index(item.type_str()), item.id) for item in osmium.FileProcessor(str(extract(world, thin_land, "kanto")))]
    assert seen == sorted(set(seen))
    assert {kind for kind, _ in seen} == {0, 1, 2}


def test_crossing_streets_share_nodes(world: Path, thin_land: Land) -> None:
    uses: dict[int, int] = {}
    for item in osmium.FileProcessor(str(extract(world, thin_land, "kanto")), osmium.osm.WAY):
        if item.tags.get("highway") == "residential":
            for ref in {node.ref for node in item.nodes}:
                uses[ref] = uses.get(ref, 0) + 1
    assert sum(count > 1 for count in uses.values()) > 40  # 7 x 7 crossings and more


def test_a_region_holds_its_own_prefectures_and_no_others(world: Path, thin_land: Land) -> None:
    lon = {}
    for region in HERE:
        places = osmium.FileProcessor(str(extract(world, thin_land, region)), osmium.osm.NODE)
        lon[region] = [node.location.lon for node in places]
    assert min(lon["kanto"]) > 139
    assert max(lon["kyushu"]) < 129
    held = sorted(path.name for path in (world / "geofabrik/asia/japan").glob("*.pbf"))
    assert held == ["kanto-260903.osm.pbf", "kyushu-260903.osm.pbf"]


def test_the_index_lists_japan_and_all_its_regions(world: Path) -> None:
    whole = json.loads((world / "geofabrik/index-v1.json").read_text(encoding="utf-8"))
    bare = json.loads((world / "geofabrik/index-v1-nogeom.json").read_text(encoding="utf-8"))
    assert [feature["properties"] for feature in whole["features"]] == [feature["properties"] for feature in bare["features"]]
    told = {feature["properties"]["id"]: feature["properties"] for feature in whole["features"]}
    assert [name for name, facts in told.items() if facts.get("parent") == "japan"] == list(REGIONS)
    assert told["japan"]["parent"] == "asia"
    assert told["japan"]["iso3166-1:alpha2"] == ["JP"]
    assert "shp" not in told["japan"]["urls"]
    assert told["kanto"]["urls"]["pbf"] == "https://download.geofabrik.de/asia/japan/kanto-latest.osm.pbf"
    assert {feature["geometry"]["type"] for feature in whole["features"]} == {"MultiPolygon"}


def test_the_long_way_survives_publishing(world: Path, thin_land: Land) -> None:
    longest = 0.0
    for way in osmium.FileProcessor(
        str(extract(world, thin_land, "kyushu")), osmium.osm.WAY | osmium.osm.NODE
    ).with_locations():
        if way.is_way() and way.tags.get("highway") == "motorway":
            longest = max(longest, osmium.geom.haversine_distance(way.nodes))
    assert longest > LONG_WAY_M * 0.98

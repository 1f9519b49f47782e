"""Lineage tells the truth: what it says of a picture, a point or a table is what an independent look at the files says."""

from __future__ import annotations

import hashlib
import json
import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from geoloc_pipeline.cli import main
from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.lineage.lineage import trace
from geoloc_pipeline.orchestration.lineage.rows import Node
from geoloc_pipeline.orchestration.lineage.shown import as_json, as_page, as_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shards import read_member

KEY, REGION = "47_okinawa", "kyushu"
PLAIN = {"dataset_splits", "training_shards", "image_embeddings", "estimates", "label_vocabulary"}
GEOD = pyproj.Geod(ellps="WGS84")


def table(home: Home, key: str, partition: str = KEY) -> pd.DataFrame:
    path = home.table(key, partition)
    return pd.read_parquet(path) if key in PLAIN else gpd.read_parquet(path)


def behind(node: Node, kind: str) -> list[Node]:
    return [each for each in node.walk() if each.kind == kind]


def away_m(line, lat: float, lon: float) -> float:
    """How far a line passes from a place, by looking at a spot every few centimetres."""
    spots = shapely.get_coordinates(shapely.segmentize(line, 2e-7 * 100))
    near = spots[np.argsort(np.hypot(*(spots - [lon, lat]).T))[:3]]
    along = np.linspace(near[0], near[1], 200)
    return float(GEOD.inv(np.full(200, lon), np.full(200, lat), along[:, 0], along[:, 1])[2].min())


@pytest.fixture(scope="module")
def pictures(grown):
    shot = table(grown, "street_view_images")
    return shot[shot["is_wanted"]].sort_values("image_id")


def test_a_picture_leads_back_to_the_way_that_passes_its_points_and_to_the_dump(grown, pictures):
    roads = table(grown, "osm_roads").set_index("way_id")
    samples = table(grown, "sample_points").set_index("point_id")
    ways = 0
    for row in pictures.head(6).itertuples():
        node = trace(grown, row.image_id)
        (sample,) = behind(node, "sample point")
        assert sample.id == row.point_id
        assert sample.facts["lat"] == pytest.approx(samples.loc[row.point_id, "lat"], abs=1e-7)
        members = behind(node, "road point") + behind(node, "landmark point")
        assert len(members) == samples.loc[row.point_id, "n_members"]
        assert not sample.missing
        for point in behind(node, "road point"):
            (way,) = [source for how, source in point.sources if how == "on"]
            assert away_m(roads.loc[way.id].geometry, point.facts["lat"], point.facts["lon"]) < 0.3
            assert point.facts["feature_id"] in (way.id, roads.loc[way.id, "road_id"])
            assert way.links["OpenStreetMap"] == f"https://www.openstreetmap.org/{way.id}"
            ways += 1
        (dump,) = behind(node, "dump")
        dump_file = next(iter(grown.dumps(REGION).glob(dump.facts["file"])))
        assert hashlib.md5(dump_file.read_bytes()).hexdigest() == dump.facts["md5"]
    assert ways > 2


def test_the_members_are_those_whose_mean_the_sample_point_is(grown):
    samples = table(grown, "sample_points")
    for row in samples[samples["n_members"] > 1].head(4).itertuples():
        node = trace(grown, row.point_id)
        members = [source.facts for how, source in node.sources if how == "stands for"]
        assert len(members) == row.n_members
        away = [GEOD.inv(row.lon, row.lat, at["lon"], at["lat"])[2] for at in members]
        assert max(away) == pytest.approx(row.radius_m, rel=0.01, abs=0.3)
        assert np.mean([at["lat"] for at in members]) == pytest.approx(row.lat, abs=0.002)


def test_labels_side_and_vectors_are_those_of_the_tables(grown, pictures):
    labelled = table(grown, "labelled_images").set_index("image_id")
    towns = table(grown, "census_towns").set_index("town_code")
    sides = table(grown, "dataset_splits").set_index("image_id")["split"]
    for row in pictures[pictures["image_id"].isin(labelled.index)].head(6).itertuples():
        node, label = trace(grown, row.image_id), labelled.loc[row.image_id]
        (labels,) = behind(node, "labels")
        assert labels.facts["prefecture_code"] == "47"
        if isinstance(label["town_code"], str):
            (town,) = behind(node, "town block")
            assert towns.loc[town.id].geometry.distance(shapely.Point(row.lon, row.lat)) < 0.002
        (split,) = behind(node, "dataset_splits")
        assert split.facts["split"] == sides[row.image_id]
        assert bool(behind(node, "image_embeddings")) == (sides[row.image_id] != "test")
        assert behind(node, "model")[0].facts["git_commit"] == "abc"
        assert behind(node, "collection")
        (picture,) = behind(node, "picture")
        where = {name: picture.facts[name] for name in ("shard", "offset", "size_bytes")}
        data = read_member(grown.images("street_view_images", KEY), **where)
        assert hashlib.sha256(data).hexdigest() == picture.facts["sha256"]


def test_content_hashes_are_those_of_the_files(grown):
    known = {artefact.name: artefact for artefact in all_artefacts(grown)}
    assert all(artefact.is_true() for artefact in known.values())
    node = trace(grown, f"training_shards/{KEY}", check=True)
    seen = {each.id for each in node.walk()}
    assert {f"osm_dump/{REGION}", f"census_towns/{KEY}", f"sample_points/{KEY}", f"labelled_images/{KEY}"} <= seen
    for each in node.walk():
        assert each.facts["files"] == "as the receipt says"
        assert known[each.id].receipt.content_hash.startswith(each.facts["content"])
    alone = grown.table("sample_points", KEY)
    digest = hashlib.sha256(hashlib.sha256(alone.read_bytes()).hexdigest().encode()).hexdigest()
    assert trace(grown, f"sample_points/{KEY}").facts["content"] == digest[:16]


def test_a_file_that_was_changed_and_an_input_that_is_another_are_told(own_home):
    path = own_home.table("road_points", KEY)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "NOT" in trace(own_home, f"road_points/{KEY}", check=True).facts["files"]
    receipt = own_home.receipt("osm_roads", KEY)
    receipt.write_text(re.sub(r'"content_hash": "\w{4}', '"content_hash": "0000', receipt.read_text()))
    node = trace(own_home, f"road_points/{KEY}")
    assert any("not current" in sentence for sentence in node.missing)


def test_whatever_has_an_id_can_be_asked_for(grown):
    roads, landmarks = table(grown, "osm_roads"), table(grown, "osm_landmarks")
    road_id = roads["road_id"].dropna().iloc[0]
    photo = pd.read_parquet(grown.table("photo_collections", "local"))["image_id"].iloc[0]
    first = {key: table(grown, key).iloc[0] for key in ("census_towns", "road_points", "landmark_points")}
    asked = {
        roads["way_id"].iloc[0]: "OpenStreetMap",
        landmarks["landmark_id"].iloc[0]: "OpenStreetMap",
        road_id: "road",
        first["census_towns"]["town_code"]: "town block",
        first["road_points"]["point_id"]: "road point",
        first["landmark_points"]["point_id"]: "landmark point",
        photo: "picture",
        "5cd39205f4af34a2": "model",
        "label_vocabulary": "artefact",
        f"osm_dump/{REGION}": "dump",
        table(grown, "estimates", "all")["query_id"].iloc[0]: "answer",
    }
    for name, kind in asked.items():
        node = trace(grown, name, neighbours=0)
        assert (node.kind, kind in as_text(node)) == (kind, True)
    missing = " ".join(trace(grown, photo).missing)
    assert "has no sample point" in missing


@pytest.mark.parametrize(
    "asked", ["", "nothing", "0000000000000000", "way/1", "photos__no__no", "99999999999", "a/b/c", "../x"]
)
def test_an_unknown_id_is_told_with_what_there_is(grown, asked):
    with pytest.raises(SettingError, match="image_id"):
        trace(grown, asked)


def test_a_partition_that_is_not_there_is_told_with_those_that_are(grown):
    with pytest.raises(SettingError, match=KEY):
        trace(grown, "sample_points/13_tokyo")


def test_a_home_without_model_says_so(own_home, pictures):
    import shutil

    shutil.rmtree(own_home.model())
    own_home.receipt("geolocation_model").unlink()
    node = trace(own_home, pictures["image_id"].iloc[0])
    assert "model" in " ".join(sentence for each in node.walk() for sentence in each.missing)


def test_the_answer_says_why_its_neighbours_cannot_be_searched(grown):
    node = trace(grown, table(grown, "estimates", "all")["query_id"].iloc[0], neighbours=3)
    assert any("its neighbours" in sentence for sentence in node.missing)
    assert node.facts["mode"].endswith("0.000 km off")


def test_text_json_and_page_tell_the_same_things(grown, pictures, capsys, tmp_path):
    image_id = pictures["image_id"].iloc[0]
    node = trace(grown, image_id)
    told = as_json(node)
    assert told["asked"] == f"picture {image_id}"
    names = [each["name"] for each in told["nodes"]]
    assert len(names) == len(set(names)) == len(list(node.walk()))
    assert {name for thing, _, source in told["edges"] for name in (thing, source)} == set(names)
    page, text = as_page(node), as_text(node)
    assert all(name in text for name in names)
    assert page.count("<rect") == text.count("(see above)") + len(names)
    assert "<script" not in page.lower()
    assert "<img" not in page
    assert main(["lineage", image_id, "--home", str(grown.root), "--json", "--page", str(tmp_path / "l.html")]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(told))
    assert (tmp_path / "l.html").read_text(encoding="utf-8") == page
    assert main(["lineage", "nothing", "--home", str(grown.root)]) == 2

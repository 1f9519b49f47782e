"""Pictures through a refresh: what is archived stays, what nobody speaks of goes, and the UI sees where pictures are."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Mirror
from geoloc_pipeline.demo.mirror_transports import async_mirror_transport
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.forgotten import Forgotten
from geoloc_pipeline.orchestration.assets.imagery import street_view_images
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.mapillary import MapillaryProvider
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.tables import SAMPLE_POINTS, STREET_VIEW_IMAGES, as_table

KEY = "47_okinawa"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, stripes) -> Mirror:
    land = grow_land(seed=3, prefecture_codes=("47",), density=0.02)
    return Mirror(tmp_path_factory.mktemp("world"), land, draw=stripes)


@pytest.fixture(scope="module")
def pipeline_of(mirror: Mirror):
    """The demo's pipeline, with pictures that cost nothing."""

    class Quick(Pipeline):
        @asynccontextmanager
        async def street_view(self) -> AsyncIterator[list[MapillaryProvider]]:
            async with AsyncHttpClient(transport=async_mirror_transport(mirror)) as http:
                yield [MapillaryProvider(http, DEMO_TOKEN)]

    return lambda home: Quick(home_dir=str(home.root), profile="demo")


@pytest.fixture(scope="module")
def places(mirror: Mirror) -> list[tuple[float, float]]:
    """Four places far from each other with a panorama each."""
    shots, found = mirror.coverage.only("mapillary").shots, []
    for lat, lon in np.column_stack([shots.gps_lat, shots.gps_lon])[shots.is_pano].tolist():
        if all(distance_m(lat=lat, lon=lon, to_lat=at[0], to_lon=at[1]) > 500 for at in found):
            found.append((lat, lon))
        if len(found) == 4:
            return found
    raise AssertionError("the world has room for four places")


def refresh(pipeline: Pipeline, places: dict[str, tuple[float, float]], **config) -> dict:
    home = pipeline.home
    ids, (lat, lon) = list(places), np.array(list(places.values())).T
    columns = {"point_id": ids, "lat": lat, "lon": lon, "prefecture_code": ["47"] * len(ids)}
    columns |= {"n_members": [1] * len(ids), "radius_m": [0.0] * len(ids), "geometry": shapely.points(lon, lat)}
    path = home.table("sample_points", KEY)
    write_table(SAMPLE_POINTS, as_table(SAMPLE_POINTS, columns), path)
    write_receipt(home.receipt("sample_points", KEY), inputs={}, files=[path], root=home.root)
    result = dg.materialize(
        [street_view_images],
        partition_key=KEY,
        resources={"pipeline": pipeline},
        instance=dg.DagsterInstance.ephemeral(),
        run_config={"ops": {"street_view_images": {"config": config}}},
    )
    if not result.asset_materializations_for_node("street_view_images"):
        return {}
    told = result.asset_materializations_for_node("street_view_images")[0].metadata
    return {name: value.value for name, value in told.items()}


def test_a_refresh_keeps_what_is_archived_and_removes_what_nobody_speaks_of(
    tmp_path: Path, pipeline_of, places: list[tuple[float, float]]
) -> None:
    home = Home.at(tmp_path)
    pipeline = pipeline_of(home)
    folder = home.images("street_view_images", KEY)
    named = dict(zip("abcd", places, strict=True))
    told = refresh(pipeline, {name: named[name] for name in "abc"})
    assert (told["dagster/row_count"], told["points"], told["of_vanished_points"]) == (3, 3, 0)
    assert "data:image/png;base64" in told["preview"]
    assert len(told["preview"]) < 80_000
    (shard,) = folder.glob("*.tar")
    stood = shard.stat().st_mtime_ns
    (folder / "00009-of-other-settings.tar").write_bytes(b"")
    told = refresh(pipeline, {name: named[name] for name in "abd"})
    assert (told["dagster/row_count"], told["points_with_a_picture_pct"], told["of_vanished_points"]) == (4, 100.0, 1)
    assert shard.stat().st_mtime_ns == stood
    assert not (folder / "00009-of-other-settings.tar").exists()
    images = read_table(STREET_VIEW_IMAGES, home.table("street_view_images", KEY)).set_index("point_id")
    assert images["is_wanted"].to_dict() == {"a": True, "b": True, "c": False, "d": True}
    (folder / "00009-of-a-killed-run.tar").write_bytes(b"")  # what a kill between receipt and removal has left
    refresh(pipeline, {name: named[name] for name in "abd"})
    assert sorted(path.name for path in folder.glob("*.tar")) == sorted(images["shard"].unique())


def test_a_dry_run_asks_for_nothing_makes_nothing_and_says_what_a_run_would_ask_for(
    tmp_path: Path, pipeline_of, mirror: Mirror, places: list[tuple[float, float]], capfd: pytest.CaptureFixture[str]
) -> None:
    home = Home.at(tmp_path)
    pipeline = pipeline_of(home)
    named = dict(zip("abcd", places, strict=True))
    before = mirror.served.total()
    assert refresh(pipeline, named, dry_run=True) == {}
    assert mirror.served.total() == before
    assert not home.images("street_view_images", KEY).exists()
    assert "about 4 pictures" in capfd.readouterr().err
    refresh(pipeline, {name: named[name] for name in "ab"})
    asked = mirror.served.total()
    capfd.readouterr()
    assert refresh(pipeline, named, dry_run=True) == {}
    assert mirror.served.total() == asked
    assert "mapillary: 2 points to settle" in capfd.readouterr().err


def test_a_forgotten_picture_goes_and_its_point_gets_another(
    tmp_path: Path, pipeline_of, places: list[tuple[float, float]]
) -> None:
    home = Home.at(tmp_path)
    pipeline = pipeline_of(home)
    named = dict(zip("abcd", places, strict=True))
    refresh(pipeline, named)
    path = home.table("street_view_images", KEY)
    former = read_table(STREET_VIEW_IMAGES, path).set_index("point_id")
    gone = former.loc["b", "source_image_id"]
    Forgotten(home.forgotten()).add(source="mapillary", source_image_id=gone, why="asked")
    refresh(pipeline, named)
    images = read_table(STREET_VIEW_IMAGES, path).set_index("point_id")
    assert gone not in set(images["source_image_id"])
    assert images.loc[list("acd"), "sha256"].to_dict() == former.loc[list("acd"), "sha256"].to_dict()
    for shard in home.images("street_view_images", KEY).glob("*.tar"):
        with tarfile.open(shard) as tar:
            assert former.loc["b", "image_id"] + ".webp" not in tar.getnames()

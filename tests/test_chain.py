"""The whole chain on a small world, through the door that users take; killed, run twice, and asked."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.orchestration.running.worker import open_instance
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, read_tables
from geoloc_pipeline.storage.progress import read_progress
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import (
    BACKBONE_TOKENS,
    CONTRACTS,
    DATASET_SPLITS,
    ESTIMATES,
    FORGOTTEN,
    LABELLED_IMAGES,
    REJECTED,
    SAMPLE_POINTS,
    STREET_VIEW_IMAGES,
    TRAINING_SHARDS,
    check_table,
)

pytestmark = pytest.mark.chain

GEOLOC = Path(sys.executable).with_name("geoloc")
SMALL = ["--prefectures", "13,47", "--density", "0.25"]  # enough pictures to learn from, and no more
SMALLER = ["--density", "0.1"]  # fills the small disk where it shall be full
KEYS = ("13_tokyo", "47_okinawa")


def demo(home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GEOLOC, "demo", "--home", home, *SMALL, *more], capture_output=True, text=True, check=False, timeout=1200
    )


def table_hashes(home: Path) -> dict[str, str]:
    files = sorted((home / "tables").rglob("*.parquet"))
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def made_when(home: Home) -> dict[Path, tuple[int, int]]:
    """Tell which files are the dear ones, and when each was written: what is made again has another number."""
    kinds = ("images", "models", "sources")
    files = [path for kind in kinds for path in (home.root / kind).rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("chain") / "home"
    done = demo(path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "report" in done.stdout
    return Home.at(path)


@pytest.fixture(scope="module")
def summary(home: Home) -> dict:
    return json.loads(home.summary().read_text(encoding="utf-8"))


def test_every_table_stands_and_keeps_its_contract(home: Home) -> None:
    for contract in CONTRACTS.values():
        if contract in (FORGOTTEN, BACKBONE_TOKENS):
            continue  # nobody asked for anything to be forgotten, nor for tokens
        if contract is REJECTED:
            paths = sorted((home.root / "tables" / "rejected").rglob("*.parquet"))
        else:
            paths = home.tables(contract.name)
        assert paths, contract.name
        for path in paths:
            check_table(contract, read_table(contract, path))


def test_the_read_out_has_learned_something(summary: dict) -> None:
    rows = {row["name"]: row for row in summary["results"]}
    best = rows[summary["default_readout"]]
    assert best["median_km"] < 0.3 * rows["mean_position"]["median_km"]
    assert best["median_km"] < rows["untrained"]["median_km"]
    assert {"mean_position", "untrained", "centroid", "mode"} <= set(rows)


def test_pictures_are_archived_with_place_licence_and_creator(home: Home) -> None:
    from geoloc_pipeline.imagery.webp import place_in_webp

    images = read_table(STREET_VIEW_IMAGES, home.table("street_view_images", KEYS[0]))
    points = read_table(SAMPLE_POINTS, home.table("sample_points", KEYS[0]))
    assert len(images) > 0.8 * len(points)
    assert images["attribution"].str.contains("Mapillary|Panoramax|KartaView").all()
    assert images["source_url"].str.startswith("https://").all()
    assert images["source"].value_counts(normalize=True)["mapillary"] > 0.8
    for row in images.head(10).itertuples():
        data = read_member(
            home.images("street_view_images", KEYS[0]), shard=row.shard, offset=row.offset, size_bytes=row.size_bytes
        )
        assert hashlib.sha256(data).hexdigest() == row.sha256
        lat, lon = place_in_webp(data)
        assert distance_m(lat=lat, lon=lon, to_lat=row.lat, to_lon=row.lon) < 0.02
    away_m = distance_m(lat=images["lat"], lon=images["lon"], to_lat=images["requested_lat"], to_lon=images["requested_lon"])
    assert away_m.max() <= 152.0  # chosen within 150 m of where the coverage tile, which rounds, shows the picture


def test_what_was_turned_away_is_told_with_its_reason(home: Home) -> None:
    turned_away = pd.concat(read_table(REJECTED, home.rejected("street_view_images", key)) for key in KEYS)
    photos = read_table(REJECTED, home.rejected("photo_collections", "local"))
    assert turned_away["reason"].str.len().gt(0).all()
    assert {"truncated", "no_place"} <= set(photos["reason"])


def test_views_for_training_carry_no_place(home: Home) -> None:
    from io import BytesIO

    from PIL import Image

    views = read_table(TRAINING_SHARDS, home.table("training_shards", KEYS[0]))
    for row in views.head(12).itertuples():
        data = read_member(
            home.images("training_shards", KEYS[0]), shard=row.shard, offset=row.offset, size_bytes=row.size_bytes
        )
        picture = Image.open(BytesIO(data))
        assert not picture.getexif()
        assert picture.size == (row.width_px, row.height_px)
        assert row.height_px <= 448


def test_no_group_stands_on_two_sides_and_shares_are_close(home: Home) -> None:
    splits = read_tables(DATASET_SPLITS, home.tables("dataset_splits"))
    assert not splits.drop_duplicates(["split_group", "split"])["split_group"].duplicated().any()
    shares = splits["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.08)
    assert shares["val"] == pytest.approx(0.15, abs=0.07)


def test_no_test_picture_is_in_the_gallery(home: Home) -> None:
    from geoloc_pipeline.tables import IMAGE_EMBEDDINGS

    splits = read_tables(DATASET_SPLITS, home.tables("dataset_splits")).set_index("image_id")["split"]
    indexed = read_tables(IMAGE_EMBEDDINGS, home.tables("image_embeddings"))
    assert set(indexed["image_id"].map(splits)) == {"train", "val"}
    assert np.allclose(np.linalg.norm(np.stack(indexed["embedding"]), axis=1), 1.0, atol=1e-5)


def test_dagster_knows_every_step_with_counts_schema_and_preview(home: Home) -> None:
    with open_instance(home) as instance:
        for contract, partition in ((SAMPLE_POINTS, KEYS[0]), (LABELLED_IMAGES, KEYS[1]), (STREET_VIEW_IMAGES, KEYS[0])):
            key = dg.AssetKey(contract.name)
            assert partition in instance.get_materialized_partitions(key)
            event = instance.get_latest_data_version_record(key, partition_key=partition)
            assert event is not None
            metadata = event.asset_materialization.metadata
            assert metadata["dagster/row_count"].value == len(read_table(contract, home.table(contract.name, partition)))
            assert "data:image/png;base64" in metadata["preview"].value
            assert metadata["dagster/column_schema"].value.columns
        model = instance.get_latest_materialization_event(dg.AssetKey("geolocation_model"))
        assert model is not None


def test_a_second_run_does_nothing_and_leaves_the_same_bytes(home: Home, summary: dict) -> None:
    before, files = table_hashes(home.root), made_when(home)
    receipts = {path: path.read_bytes() for path in (home.root / "receipts").rglob("*.json")}
    done = demo(home.root)
    assert done.returncode == 0
    assert made_when(home) == files
    assert table_hashes(home.root) == before
    assert {path: path.read_bytes() for path in (home.root / "receipts").rglob("*.json")} == receipts
    assert json.loads(home.summary().read_text(encoding="utf-8")) == summary


def test_another_world_is_refused_in_the_same_home(home: Home) -> None:
    done = demo(home.root, "--seed", "7")
    assert done.returncode == 2
    assert "holds another world" in done.stderr


def test_killed_at_any_moment_the_chain_ends_in_the_same_tables(home: Home, tmp_path: Path) -> None:
    other, dice = tmp_path / "home", random.Random(4)
    told = Home.at(other).progress("geolocation_model")
    command = [GEOLOC, "demo", "--home", other, *SMALL]
    for moment in ("early", "while pictures are fetched", "in training"):
        chain = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if moment == "in training":
            deadline_s = time.monotonic() + 240
            while read_progress(told)[0] == 0 and time.monotonic() < deadline_s:
                time.sleep(0.1)
            assert chain.poll() is None, "the chain ended before it could be killed in training"
        else:
            time.sleep(dice.uniform(5, 25))
        chain.send_signal(signal.SIGKILL)
        chain.wait()
    done = demo(other)
    assert done.returncode == 0, done.stderr
    assert table_hashes(other) == table_hashes(home.root)


# --- the stranger with one photo -----------------------------------------------------------------------------------------


def locate(home: Home, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [GEOLOC, "locate", "--home", home.root, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def photo(home: Home) -> Path:
    photos = sorted((home.world() / "photos" / "local").glob("*.jpg"))
    from geoloc_pipeline.imagery.quality import read_photo

    for path in photos:
        if read_photo(path).lat is not None:
            return path
    raise AssertionError("the world has a photo with a place")


def test_a_photo_is_answered_in_words_in_json_and_on_a_page(home: Home, photo: Path, tmp_path: Path) -> None:
    page = tmp_path / "evidence.html"
    words = locate(home, photo, "--report", page)
    assert words.returncode == 0, words.stderr
    assert "read-out" in words.stdout
    assert "<html" in page.read_text(encoding="utf-8")
    told = json.loads(locate(home, photo, "--json", "--top-k", 7).stdout)
    assert len(told["neighbours"]) == 7
    assert told["readout"]


def test_exif_is_never_looked_at(home: Home, photo: Path, tmp_path: Path) -> None:
    from PIL import Image

    original = Image.open(photo)
    bare = tmp_path / "bare.png"
    Image.fromarray(np.asarray(original.convert("RGB"))).save(bare)
    assert json.loads(locate(home, bare, "--json").stdout) == json.loads(locate(home, photo, "--json").stdout)


def test_files_that_are_no_photo_are_refused_with_the_cure(home: Home, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("Dear reader", encoding="utf-8")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, words in (("letter.jpg", "letter.jpg"), ("empty.jpg", "empty"), ("absent.jpg", "absent.jpg")):
        done = locate(home, tmp_path / name)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_without_a_model_the_cure_is_told(tmp_path: Path, photo: Path) -> None:
    done = locate(Home.at(tmp_path / "nothing"), photo)
    assert done.returncode == 2
    assert "geoloc demo" in done.stderr


def test_shuffled_pixels_fall_back_to_chance(home: Home) -> None:
    from geoloc_pipeline.retrieval.answering.desk import Desk

    estimates = read_table(ESTIMATES, home.table("estimates"))
    desk = Desk.open(home)
    dice = np.random.default_rng(0)
    queries = estimates[estimates["readout"] == desk.calibration.readout]
    whole, shuffled = [], []
    true = []
    for row in queries.itertuples():
        strip = desk.pixels_of(row.query_id)
        assert strip is not None
        side = strip.shape[0]
        for left in range(0, strip.shape[1] - side + 1, side):  # every view of a picture is a question of its own
            view = np.ascontiguousarray(strip[:, left : left + side])
            noise = dice.permutation(view.reshape(-1, 3)).reshape(view.shape)
            for found, pixels in ((whole, view), (shuffled, noise)):
                answer = desk.locate_pixels(pixels)
                found.append((answer.lat, answer.lon))
            true.append((row.true_lat, row.true_lon))
    true = np.array(true)

    def within(found: list[tuple[float, float]], truth: np.ndarray, away_km: float) -> float:
        places = np.array(found)
        away_m = distance_m(lat=places[:, 0], lon=places[:, 1], to_lat=truth[:, 0], to_lon=truth[:, 1])
        return float(np.mean(away_m < 1000 * away_km))

    for away_km in (25, 100):
        # chance: the same answers, dealt to other questions
        chance = float(np.mean([within(shuffled, dice.permutation(true), away_km) for _ in range(200)]))
        spread = float(np.sqrt(max(chance * (1 - chance), 0.02) / len(true)))
        assert within(shuffled, true, away_km) <= chance + 3 * spread
        assert within(whole, true, away_km) > chance + 3 * spread


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    done = demo(tmp_path / "file" / "home")
    assert done.returncode == 2
    assert "GEOLOC_HOME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        done = demo(disk / "home", *SMALLER)
        assert done.returncode == 2, done.stderr
        assert "free some space" in done.stderr
        assert list(disk.rglob("*.partial")) == []
    finally:
        subprocess.run(["umount", disk], check=False)

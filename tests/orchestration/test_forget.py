"""What is forgotten is gone everywhere, nothing else is touched, and a removal that was killed is finished by the next."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import tarfile
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as db

from geoloc_pipeline.cli import main
from geoloc_pipeline.errors import BadSourceFileError, SettingError
from geoloc_pipeline.imagery.forgotten import Forgotten
from geoloc_pipeline.imagery.intake import Intake, Outcome
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.keeping.forget import Request, describe, forget, plan_forgetting, read_note
from geoloc_pipeline.orchestration.keeping.forget_files import NAMELESS, blank_members
from geoloc_pipeline.orchestration.running.worker import open_instance
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, open_gallery
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.storage.receipts import fingerprint_of
from geoloc_pipeline.storage.shards import read_member, write_shard
from geoloc_pipeline.storage.shared import shared_home
from geoloc_pipeline.tables import CONTRACTS, check_table

KEY = "47_okinawa"


def rows(home: Home, key: str, partition: str = KEY) -> pd.DataFrame:
    return pd.read_parquet(home.table(key, partition))


def chosen(home: Home, split: str) -> pd.Series:
    """A street-view picture of one side of the split, of a group of its own if there is one."""
    shot = rows(home, "street_view_images").merge(rows(home, "dataset_splits")[["image_id", "split"]], on="image_id")
    return (
        shot[(shot["split"] == split) & ~shot["source_image_id"].str.contains("+", regex=False)]
        .sort_values("image_id")
        .iloc[-1]
    )


def content(home: Home) -> dict[str, str]:
    """Hashes of every file but Dagster's, and those that only tell the time."""
    left_out = {"dagster", "progress", "chain.lock", "forgotten.jsonl", ".lock", "qdrant", "logs"}
    files = [
        path
        for path in sorted(home.root.rglob("*"))
        if path.is_file() and not left_out & set(path.relative_to(home.root).parts)
    ]
    return {str(path.relative_to(home.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def files_with(home: Home, data: bytes) -> list[str]:
    return [str(path.relative_to(home.root)) for path in home.root.rglob("*") if path.is_file() and data in path.read_bytes()]


def faults(home: Home) -> list[str]:
    """What is wrong with the receipts: not true, not current, or of another upstream."""
    known = {artefact.name: artefact for artefact in all_artefacts(home)}
    found = [f"{name} is false" for name, artefact in known.items() if not artefact.is_true()]
    for name, artefact in known.items():
        if artefact.receipt.fingerprint != fingerprint_of(artefact.receipt.inputs):
            found.append(f"{name} is outdated")
        found += [
            f"{name} is of another {up}" for up, hash_ in artefact.upstream.items() if known[up].receipt.content_hash != hash_
        ]
    return found


def test_a_picture_is_gone_from_every_file_and_nothing_else_is(own_home):
    home, picture = own_home, chosen(own_home, "train")
    archived = read_member(
        home.images("street_view_images", KEY),
        shard=picture["shard"],
        offset=picture["offset"],
        size_bytes=picture["size_bytes"],
    )
    views = rows(home, "training_shards")
    view = views[views["image_id"] == picture["image_id"]].iloc[0]
    cut = read_member(
        home.images("training_shards", KEY), shard=view["shard"], offset=view["offset"], size_bytes=view["size_bytes"]
    )
    before = {key: rows(home, key) for key in ("street_view_images", "training_shards", "image_embeddings", "labelled_images")}
    (note,) = forget(home, Request(source_image_id=picture["source_image_id"], request_id="R-7"))
    for piece in (archived[:400], archived[-200:], cut[100:400]):
        assert files_with(home, piece) == []
    named = set(files_with(home, picture["image_id"].encode()))
    assert {name for name in named if not name.startswith("dagster/")} == set()
    for key, table in before.items():
        left = rows(home, key)
        assert set(table["image_id"]) - set(left["image_id"]) == {picture["image_id"]}
        check_table(CONTRACTS[key], read_table(CONTRACTS[key], home.table(key, KEY)))
    shot = rows(home, "street_view_images")
    for row in shot.itertuples():
        data = read_member(
            home.images("street_view_images", KEY), shard=row.shard, offset=row.offset, size_bytes=row.size_bytes
        )
        assert hashlib.sha256(data).hexdigest() == row.sha256
    assert faults(home) == []
    assert (note.learned, len(note.image_ids), note.places) == (1, 1, 1)
    assert "still has learned" in describe(note)
    assert "removed on request" in (home.model_export() / "README.md").read_text(encoding="utf-8")
    assert Forgotten(home.forgotten()).holds(source=picture["source"], source_image_id=picture["source_image_id"])
    assert read_note(home) is None


def test_on_object_storage_it_is_gone_from_every_object_whoever_asks(own_home, s3, tmp_path):
    picture, url = chosen(own_home, "train"), f"s3://homes/{tmp_path.name}"
    archived = read_member(
        own_home.images("street_view_images", KEY),
        shard=picture["shard"],
        offset=picture["offset"],
        size_bytes=picture["size_bytes"],
    )
    maker = Home(root=own_home.root, url=url)
    for artefact in all_artefacts(maker):
        shared_home(maker).publish(artefact.key, artefact.partition, maker.beside(artefact.key, artefact.partition))
    other = Home.at(url, working_copies=tmp_path / "other")

    def objects_with(data: bytes) -> list[str]:
        listed = s3.list_objects_v2(Bucket="homes", Prefix=f"{tmp_path.name}/objects/")["Contents"]
        return [one["Key"] for one in listed if data in s3.get_object(Bucket="homes", Key=one["Key"])["Body"].read()]

    pieces = (archived[:400], archived[-200:], picture["image_id"].encode())
    assert all(objects_with(piece) for piece in pieces)
    shared_home(other).bring()
    forget(other, Request(source_image_id=picture["source_image_id"]))
    assert [objects_with(piece) for piece in pieces] == [[], [], []]
    assert faults(other) == []
    shared_home(maker).bring()
    assert picture["image_id"] not in set(rows(maker, "street_view_images")["image_id"])
    assert Forgotten(maker.forgotten()).holds(source=picture["source"], source_image_id=picture["source_image_id"])


def test_the_gallery_does_not_find_it_any_more(own_home):
    picture = chosen(own_home, "train")
    vectors = rows(own_home, "image_embeddings")
    own = np.stack(vectors.loc[vectors["image_id"] == picture["image_id"], "embedding"].to_list())
    forget(own_home, Request(source_image_id=picture["source_image_id"]))
    with open_gallery(GalleryLocation(folder=own_home.qdrant())) as gallery:
        found = gallery.search(own, top_k=1000, exact=True)
        assert picture["image_id"] not in set(found.image_id.ravel())
        assert gallery.count() == len(rows(own_home, "image_embeddings"))
    assert len(list(own_home.qdrant().glob("photos__*.json"))) == 1


def test_a_whole_group_goes_with_its_group_on_the_list(own_home):
    shot = rows(own_home, "street_view_images")
    group = shot["capture_group"].value_counts().index[0]
    wanted = set(shot.loc[shot["capture_group"] == group, "image_id"])
    (note,) = forget(own_home, Request(capture_group=group))
    assert wanted <= set(note.image_ids)
    assert group not in set(rows(own_home, "labelled_images")["capture_group"])
    assert Forgotten(own_home.forgotten()).has_groups
    assert [name for name in faults(own_home) if "evaluation_report" not in name] == []


def test_a_test_picture_takes_its_answers_and_its_evidence_with_it(own_home):
    picture = chosen(own_home, "test")
    (note,) = forget(own_home, Request(source_image_id=picture["source_image_id"]))
    assert picture["image_id"] not in set(rows(own_home, "estimates", "all")["query_id"])
    assert not own_home.evidence_page().exists()
    assert own_home.report_page().exists()
    assert note.learned == 0
    assert set(faults(own_home)) == {"evaluation_report/all is false", "evaluation_report/all is outdated"}


def test_a_page_that_shows_a_neighbour_goes(own_home):
    shown = own_home.evidence_page().read_text(encoding="utf-8").split('"')[1]
    images = pd.concat(
        [pd.read_parquet(path) for key in ("street_view_images", "photo_collections") for path in own_home.tables(key)]
    )
    row = images[images["image_id"] == shown].iloc[0]
    forget(own_home, Request(source_image_id=row["source_image_id"], source=row["source"]))
    assert not own_home.evidence_page().exists()


def test_the_model_is_outdated_only_if_that_is_asked_for(own_home):
    picture = chosen(own_home, "train")
    forget(own_home, Request(source_image_id=picture["source_image_id"], outdate_model=True))
    assert faults(own_home) == ["geolocation_model/all is outdated"]
    model = next(artefact for artefact in all_artefacts(own_home) if artefact.key == "geolocation_model")
    assert sum(model.receipt.metadata["forgotten_since"].values()) == 1


def test_the_same_picture_in_another_set_goes_too(own_home):
    images = pd.concat([pd.read_parquet(path) for path in own_home.tables("photo_collections")])
    twice = images[images["origin_id"].notna() & images["origin_id"].duplicated(keep=False)].sort_values("origin_id")
    assert len(twice) >= 2
    first = twice.iloc[0]
    same = set(images.loc[images["origin_id"] == first["origin_id"], "image_id"])
    note = plan_forgetting(own_home, Request(source_image_id=first["source_image_id"], source=first["source"]))
    assert same <= set(note.image_ids)
    assert len(note.by_source) >= 2


def test_what_was_fetched_and_lies_in_no_shard_yet_goes(own_home):
    folder = own_home.images("street_view_images", KEY)
    intake = Intake(folder, recipe="abc")
    intake.add("00009-abc-0", "k", Outcome(None, [("mapillary", "77", "empty", "")]))
    kept = folder / "00009-abc-0.intake"
    (folder / "00010-abc-0.intake").write_bytes(b'{"row": {"source_image_id": "4711"}}' + b"pixels")
    forget(own_home, Request(source_image_id="4711", source="mapillary"))
    assert not (folder / "00010-abc-0.intake").exists()
    assert kept.exists()
    assert Forgotten(own_home.forgotten()).holds(source="mapillary", source_image_id="4711")


def test_dagster_shows_the_picture_no_more_and_knows_the_new_content(own_home):
    picture = chosen(own_home, "train")
    query = "SELECT count(*) FROM event_logs WHERE asset_key = :key AND event LIKE '%image/png;base64%'"
    with open_instance(own_home) as instance, instance.event_log_storage.index_connection() as connection:
        assert connection.execute(db.text(query), {"key": '["street_view_images"]'}).scalar() > 0
    forget(own_home, Request(source_image_id=picture["source_image_id"]))
    with open_instance(own_home) as instance:
        with instance.event_log_storage.index_connection() as connection:
            for key in ("street_view_images", "training_shards"):
                assert connection.execute(db.text(query), {"key": json.dumps([key])}).scalar() == 0
            assert connection.execute(db.text(query), {"key": '["census_towns"]'}).scalar() > 0
        event = instance.get_latest_materialization_event(dg.AssetKey("street_view_images"))
        stands = next(a for a in all_artefacts(own_home) if a.key == "street_view_images").receipt.content_hash
        assert event.asset_materialization.tags["dagster/data_version"] == stands[:16]


def test_a_dry_run_touches_nothing_and_tells_the_same(own_home, capsys):
    picture, before = chosen(own_home, "train"), content(own_home)
    arguments = ["forget", "--source-image-id", picture["source_image_id"], "--home", str(own_home.root)]
    assert main([*arguments, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert content(own_home) == before
    assert main(arguments) == 0
    done = capsys.readouterr().out
    assert [line for line in planned.splitlines() if "rows of" in line] == [
        line for line in done.splitlines() if "rows of" in line
    ]


def test_the_record_tells_no_picture_and_no_place(own_home):
    picture = chosen(own_home, "train")
    forget(own_home, Request(source_image_id=picture["source_image_id"], request_id="R-7"))
    line = json.loads(own_home.forgotten_record().read_text(encoding="utf-8"))
    assert (line["request"], line["pictures"], line["places"], line["what"]) == ("R-7", 1, 1, "source_image_id")
    told = json.dumps(line)
    for secret in (
        picture["image_id"],
        picture["source_image_id"],
        picture["point_id"],
        f"{picture['lat']:.3f}",
        f"{picture['lon']:.3f}",
    ):
        assert secret not in told


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_is_finished_by_the_next(own_home, seed, tmp_path):
    picture = chosen(own_home, "train")
    request = Request(source_image_id=picture["source_image_id"])
    undisturbed = Home.at(shutil.copytree(own_home.root, tmp_path / "other"))
    forget(undisturbed, request)
    wait_s = random.Random(seed).uniform(0.05, 0.9)
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                forget(own_home, request)
            finally:
                os._exit(0)
        time.sleep(wait_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    forget(own_home, request if read_note(own_home) is None and not own_home.forgotten_record().exists() else None)
    ours, theirs = content(own_home), content(undisturbed)
    assert {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)} == set()
    assert faults(own_home) == []


def test_what_is_asked_for_must_be_clear(own_home, grown):
    for request in (Request(), Request(source_image_id="1", capture_group="2"), Request(source_image_id="no such picture")):
        with pytest.raises(SettingError):
            plan_forgetting(grown, request)
    assert main(["forget", "--home", str(own_home.root)]) == 2
    assert main(["forget", "--outdate-model", "--home", str(own_home.root)]) == 0
    assert faults(own_home) == ["geolocation_model/all is outdated"]


def test_a_shard_keeps_every_other_picture_where_it_was(tmp_path: Path):
    path = tmp_path / "0.tar"
    pictures = [(f"{number}.webp", bytes([number]) * (100 + 300 * number)) for number in range(1, 6)]
    members = write_shard(path, pictures)
    size = path.stat().st_size
    gone = [members[1], members[4]]
    for _ in range(2):  # twice is once
        blank_members(path, [(member.offset, member.size_bytes) for member in gone])
    assert path.stat().st_size == size
    for (_, data), member in zip(pictures, members, strict=True):
        found = read_member(tmp_path, shard="0.tar", offset=member.offset, size_bytes=member.size_bytes)
        assert found == (bytes(len(data)) if member in gone else data)
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["1.webp", NAMELESS, "3.webp", "4.webp", NAMELESS]
    with pytest.raises(BadSourceFileError, match="no picture begins"):
        blank_members(path, [(members[0].offset + 7, 10)])

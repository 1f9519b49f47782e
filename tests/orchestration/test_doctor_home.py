"""What is said of a home in use: records, versions, room, locks and removals, without changing it."""

from __future__ import annotations

import fcntl
import re
import shutil
import sqlite3
from pathlib import Path

from geoloc_pipeline.imagery.forgotten import Forgotten
from geoloc_pipeline.orchestration.keeping.doctor import Finding, describe
from geoloc_pipeline.orchestration.keeping.doctor_home import examine_home
from geoloc_pipeline.orchestration.keeping.forget import Request, forget
from geoloc_pipeline.sources.mapillary import TILES_HOST
from geoloc_pipeline.sources.pace import DailyBudget
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

KEY = "47_okinawa"


def found(home: Home, **environ: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine_home(home, environ)}


def listing(home: Home) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in home.root.rglob("*") if path.is_file() and "dagster" not in path.parts}


def test_a_home_in_order_has_nothing_to_cure_and_is_not_touched(own_home):
    before = listing(own_home)
    told = found(own_home)
    assert listing(own_home) == before
    assert {
        name: told[name].state for name in ("Dagster's records", "room for a map", "locks", "forgotten pictures")
    } == dict.fromkeys(("Dagster's records", "room for a map", "locks", "forgotten pictures"), "ok")
    assert told["automation"].state == "off"
    assert not any(finding.is_blocking for finding in told.values())
    assert "0 on the list" in describe(list(told.values()))


def test_a_home_that_is_not_there_yet_is_no_fault(tmp_path: Path):
    told = found(Home.at(tmp_path / "absent"))
    assert told["Dagster's records"].state == "ok"
    assert "locks" not in told


def test_records_that_cannot_be_read_and_a_folder_that_is_not_there_are_told(own_home, tmp_path):
    assert found(own_home, DAGSTER_HOME=str(tmp_path / "absent"))["Dagster's records"].is_blocking
    (own_home.dagster() / "history" / "runs.db").write_bytes(b"no database at all, and long enough to be looked at" * 100)
    told = found(own_home)["Dagster's records"]
    assert told.is_blocking
    assert "cannot be read" in told.detail


def test_records_are_looked_for_where_dagster_yaml_keeps_them(own_home, tmp_path):
    elsewhere = shutil.move(own_home.dagster(), tmp_path / "elsewhere")
    settings = tmp_path / "records" / "dagster.yaml"
    settings.parent.mkdir()
    for storage in (
        f"  custom:\n    module: a.b\n    class: C\n    config: {{base_dir: {elsewhere}}}",
        f"  sqlite: {{base_dir: {elsewhere}}}",
        "  sqlite: {base_dir: {env: RECORDS}}",
    ):
        settings.write_text(
            f"telemetry: {{enabled: false}}\nstorage:\n{storage}\ncompute_logs:\n  config: {{base_dir: /nowhere}}\n"
        )
        told = found(own_home, DAGSTER_HOME=str(settings.parent), RECORDS=str(elsewhere))["Dagster's records"]
        assert re.match(rf"[1-9]\d* runs in {elsewhere}, 0 failed", told.detail)
    settings.write_text("storage:\n  postgres:\n    postgres_db: {}\n")
    assert "PostgreSQL" in found(own_home, DAGSTER_HOME=str(settings.parent))["Dagster's records"].detail
    settings.write_text("storage: {postgres: [")
    assert found(own_home, DAGSTER_HOME=str(settings.parent))["Dagster's records"].is_blocking


def test_requests_left_are_told_of_providers_that_can_be_asked(tmp_path: Path):
    home, key = Home.at(tmp_path / "home"), {"MAPILLARY_ACCESS_TOKEN": "MLY|1|2"}
    assert "requests left today" not in found(home)
    assert found(home, **key)["requests left today"].detail == "mapillary 50,000"  # of tiles; Mapillary's own limit
    path = home.budgets() / f"{TILES_HOST}.json"
    DailyBudget("Mapillary", 50_000, path, block=1).spend()
    assert found(home, **key)["requests left today"].detail == "mapillary 49,999"
    DailyBudget("Mapillary", 50_000, path, block=50_000).spend()
    spent = found(home, **key)["requests left today"]
    assert spent.state == "off"
    assert "00:00 UTC" in spent.cure
    assert "requests left today" not in found(home, **key, GEOLOC_STREET_VIEW="panoramax")


def test_what_is_switched_on_is_named(own_home):
    path = own_home.dagster() / "schedules" / "schedules.db"
    connection = sqlite3.connect(path)
    for number, (name, status) in enumerate((("osm_dump_updates", "RUNNING"), ("weekly_osm_refresh", "STOPPED"))):
        connection.execute(
            "INSERT INTO instigators (selector_id, status, instigator_type, instigator_body) VALUES (?, ?, 'SENSOR', ?)",
            (str(number), status, f'{{"origin": {{"job_name": "{name}"}}}}'),
        )
    connection.commit()
    connection.close()
    told = found(own_home)["automation"]
    assert told.state == "ok"
    assert "osm_dump_updates" in told.detail
    assert "weekly_osm_refresh" not in told.detail


def test_a_lock_counts_only_while_somebody_holds_it(own_home):
    own_home.lock().touch()
    assert "nobody" in found(own_home)["locks"].detail
    with own_home.lock().open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert "chain.lock" in found(own_home)["locks"].detail
    (own_home.root / "tables" / "x.parquet.1.partial").touch()
    told = found(own_home)["locks"]
    assert (told.state, "1 half-written" in told.detail) == ("off", True)


def test_a_removal_that_was_cut_short_must_be_finished(own_home):
    own_home.forgetting().write_text("{}")
    told = found(own_home)["forgotten pictures"]
    assert told.is_blocking
    assert "geoloc forget" in told.cure


def test_pictures_of_the_list_that_are_still_there_are_counted(own_home):
    picture = read_table(STREET_VIEW_IMAGES, own_home.table("street_view_images", KEY)).iloc[0]
    Forgotten(own_home.forgotten()).add(source="mapillary", source_image_id="not here", why="asked")
    assert found(own_home)["forgotten pictures"].state == "off"  # collections are older than the list
    Forgotten(own_home.forgotten()).add(source=picture["source"], source_image_id=picture["source_image_id"], why="asked")
    assert "1 pictures" in found(own_home)["forgotten pictures"].detail
    forget(own_home, Request(source_image_id=picture["source_image_id"], source=picture["source"]))
    assert "not current" not in found(own_home)["forgotten pictures"].detail
    assert found(own_home)["forgotten pictures"].detail.startswith("2 on the list; ")  # the first was put there by hand
    own_home.forgotten().write_bytes(b"spoilt")
    assert found(own_home)["forgotten pictures"].is_blocking


def test_room_is_measured_by_the_maps_in_hand(own_home):
    assert "MB are free" in found(own_home)["room for a map"].detail
    shutil.rmtree(own_home.receipt("osm_dump").parent)
    assert "1,560 MB" in found(own_home)["room for a map"].detail

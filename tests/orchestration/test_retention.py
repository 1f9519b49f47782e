"""What goes is what the rules name, and never what an artefact in use is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.cli import main
from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.keeping.retention import DAY_S, Rules, clean, describe, find_spare
from geoloc_pipeline.sources.dump_copies import Retention
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import write_receipt

NOW_S = 2_000_000_000.0


def put(path: Path, days_old: float, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW_S - days_old * DAY_S,) * 2)
    return path


@given(
    days=st.sets(st.integers(1, 28), min_size=1, max_size=6),
    used=st.integers(0, 5),
    newest=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_maps_that_go_are_old_and_no_receipt_names_them(tmp_path_factory, days, used, newest):
    home = Home.at(tmp_path_factory.mktemp("dumps"))
    copies = [put(home.dumps("kanto") / f"kanto-2609{day:02d}.osm.pbf", 0) for day in sorted(days)]
    in_use = copies[used % len(copies)]
    write_receipt(home.receipt("osm_dump", "kanto"), inputs={}, files=[in_use], root=home.root)
    gone = {each.path for each in find_spare(home, Rules(dumps=Retention(newest=newest)), now_s=NOW_S)}
    assert gone == set(copies[:-newest] if newest < len(copies) else []) - {in_use}


def test_each_rule_has_its_own_things(tmp_path):
    home = Home.at(tmp_path)
    wanted = {
        put(home.log("old"), 40), put(home.reports() / "old.html", 100), put(home.scratch() / "a" / "old.npz", 8),
        put(home.root / "tables" / "t" / "x.1.partial", 2), home.previous_model(), home.qdrant() / "photos__m__1",
    }  # fmt: skip
    put(home.previous_model() / "best.pt", 1)
    write_receipt(home.receipt("geolocation_model"), inputs={}, files=[put(home.checkpoint(), 1)], root=home.root)
    page = put(home.report_page(), 1000)
    write_receipt(home.receipt("evaluation_report"), inputs={}, files=[page], root=home.root)
    put(home.reproduction(), 1000)
    for kept in (home.log("new"), home.reports() / "new.html", home.scratch() / "a" / "new.npz", home.root / "y.2.partial"):
        put(kept, 0.5)
    for name, days in (("photos__m__1", 9), ("photos__m__2", 5), ("photos__m__3", 1)):
        put(home.qdrant() / name / "segment", days)
        put(home.qdrant() / f"{name}.json", days)
        os.utime(home.qdrant() / name, (NOW_S - days * DAY_S,) * 2)
    (home.qdrant() / "alias.json").write_text('{"live": "photos__m__2"}')
    assert {each.path for each in find_spare(home, Rules(collections=1), now_s=NOW_S)} == wanted
    kept = find_spare(
        home, Rules(collections=9, previous_models=True, log_days=99, report_days=999, scratch_days=99), now_s=NOW_S
    )
    assert {each.kind for each in kept} == {"half-written"}
    shown = describe(home, find_spare(home, Rules(), now_s=NOW_S), is_plan=True)
    assert "6 things" in shown
    assert "nothing was touched" in shown


def test_without_knowing_which_is_live_no_collection_goes(tmp_path):
    home = Home.at(tmp_path)
    put(home.qdrant() / "photos__m__1" / "segment", 9)
    assert find_spare(home, Rules(collections=0), now_s=NOW_S) == []


def test_a_dry_run_touches_nothing_and_the_real_one_what_it_said(own_home, capsys):
    old = put(own_home.log("old"), 4000)
    collection = own_home.qdrant() / "photos__m__1"
    put(collection / "segment", 9)
    assert main(["clean", "--dry-run", "--keep-collections", "0", "--home", str(own_home.root)]) == 0
    planned = capsys.readouterr().out
    assert (old.exists(), "old.log" in planned, "photos__m__1" in planned) == (True, True, True)
    assert main(["clean", "--keep-collections", "0", "--home", str(own_home.root)]) == 0
    assert not old.exists()
    assert not collection.exists()
    assert all(artefact.is_true() for artefact in all_artefacts(own_home))
    assert clean(own_home, Rules(collections=0)) == []


@pytest.mark.parametrize("name", ["collections", "log_days", "report_days", "scratch_days"])
def test_less_than_nothing_cannot_be_kept(name):
    with pytest.raises(SettingError, match=name):
        Rules(**{name: -1})

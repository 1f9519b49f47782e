"""Every path lies below the home, and no two things share one."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoloc_pipeline.storage.layout import Home


def test_a_home_is_absolute_wherever_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.at("data").root == tmp_path / "data"


def test_every_thing_has_a_place_of_its_own_below_the_home(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    arguments = {
        "table": ("a", "p"), "tables": None, "receipts": None, "rejected": ("a", "p"),
        "images": ("a", "p"), "dumps": ("kanto",),
        "photo_set": ("local",), "coverage_tiles": ("mapillary",), "extraction_scratch": ("a", "p"), "receipt": ("a", "p"),
        "progress": ("a", "p"), "preview": ("a", "p"), "log": ("a",), "at": None,
        "beside": None, "shared_note": ("a", "p"),
    }  # fmt: skip
    names = [name for name in dir(Home) if not name.startswith("_") and name not in {"root", "url"}]
    paths = [getattr(home, name)(*(arguments.get(name, ()) or ())) for name in names if arguments.get(name, ()) is not None]
    assert all(tmp_path in path.parents for path in paths)
    assert len(set(paths)) == len(paths)


def test_homes_that_are_urls_have_working_copies_of_their_own(tmp_path: Path) -> None:
    urls = ("s3://bucket/home", "s3://bucket/home/2", "s3://bucket-home", "gs://bucket/home")
    homes = [Home.at(url, working_copies=tmp_path) for url in urls]
    assert [home.url for home in homes] == list(urls)
    assert len({home.root for home in homes}) == len(urls)
    assert all(home.root.parent == tmp_path for home in homes)
    assert Home.at("s3://bucket/home/", working_copies=tmp_path) == homes[0]


def test_partitions_of_a_table_come_in_order(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    for key in ("47_okinawa", "01_hokkaido"):
        home.table("t", key).parent.mkdir(parents=True, exist_ok=True)
        home.table("t", key).touch()
    assert [path.stem for path in home.tables("t")] == ["01_hokkaido", "47_okinawa"]

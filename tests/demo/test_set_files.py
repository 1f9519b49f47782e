"""Photo sets' files: true forms, and the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from geoloc_pipeline.demo.set_files import YFCC_COLUMNS, flickr_bucket_path, write_csv, write_tar, write_yfcc, write_zip

MOMENT = datetime(2026, 9, 3, 20, 21, 22, tzinfo=UTC)
MEMBERS = {f"./images/{number}.jpg": bytes([number]) * (1000 * number + 1) for number in range(9)}
ROWS = [{"photoid": number, "marker": 0, "latitude": 35.5, "uid": "1@N01"} for number in (3, 1, 2)]


def test_every_file_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_csv(tmp_path / name / "a.csv", "x,y", [(1, "見本"), (2,)])
        write_zip(tmp_path / name / "a.zip", MEMBERS, changed_at=MOMENT)
        write_tar(tmp_path / name / "a.tar", MEMBERS, changed_at=MOMENT)
        write_yfcc(tmp_path / name / "a.sql", ROWS)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert len(one) == 4


def test_the_parts_joined_are_the_tar_and_every_cut_goes_through_a_member(tmp_path: Path) -> None:
    write_tar(tmp_path / "whole.tar", MEMBERS, changed_at=MOMENT)
    write_tar(tmp_path / "mp-16-images", MEMBERS, changed_at=MOMENT, parts=3)
    parts = sorted(tmp_path.glob("mp-16-images*"))
    assert [path.name[-2:] for path in parts] == ["00", "01", "02"]
    whole = b"".join(path.read_bytes() for path in parts)
    assert whole == (tmp_path / "whole.tar").read_bytes()
    edges = [parts[0].stat().st_size, parts[0].stat().st_size + parts[1].stat().st_size]
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert {info.name: archive.extractfile(info).read() for info in archive} == MEMBERS  # type: ignore[union-attr]
        spans = [(info.offset_data, info.offset_data + info.size) for info in archive]
    assert all(any(start < edge < end for start, end in spans) for edge in edges)


def test_a_zip_holds_its_members_and_their_date(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", MEMBERS, changed_at=MOMENT)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == MEMBERS
        assert {info.date_time for info in archive.infolist()} == {(2026, 9, 3, 20, 21, 22)}


def test_the_database_has_the_columns_and_pages_of_multimedia_commons(tmp_path: Path) -> None:
    write_yfcc(tmp_path / "yfcc100m_dataset.sql", ROWS)
    with sqlite3.connect(tmp_path / "yfcc100m_dataset.sql") as database:
        assert database.execute("PRAGMA page_size").fetchone() == (1024,)
        assert [row[1] for row in database.execute("PRAGMA table_info(yfcc100m_dataset)")] == list(YFCC_COLUMNS)
        assert database.execute("SELECT photoid, latitude, title FROM yfcc100m_dataset").fetchall()[0] == (1, "35.5", "")
    database.close()


def test_the_buckets_path_is_the_md5_without_the_leading_zero_of_any_byte() -> None:
    for number in range(300):
        address = f"http://farm1.example.org/{number}.jpg"
        name = "".join(f"{byte:x}" for byte in hashlib.md5(address.encode()).digest())
        assert flickr_bucket_path(address) == f"data/images/{name[:3]}/{name[3:6]}/{name}.jpg"

"""A receipt is current only while the same things went in and the files still stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoloc_pipeline.storage.receipts import fingerprint_of, is_current, read_receipt, write_receipt


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    path = tmp_path / "tables" / "t.parquet"
    path.parent.mkdir()
    path.write_bytes(b"rows")
    return path


def test_a_receipt_is_current_until_inputs_change(tmp_path: Path, artefact: Path) -> None:
    write_receipt(tmp_path / "r.json", inputs={"a": 1}, files=[artefact], root=tmp_path, metadata={"rows": 3})
    receipt = read_receipt(tmp_path / "r.json")
    assert receipt is not None
    assert receipt.metadata == {"rows": 3}
    assert is_current(receipt, fingerprint=fingerprint_of({"a": 1}), root=tmp_path)
    assert not is_current(receipt, fingerprint=fingerprint_of({"a": 2}), root=tmp_path)


def test_a_lost_or_shortened_file_makes_it_stale(tmp_path: Path, artefact: Path) -> None:
    bulk = tmp_path / "big.tar"
    bulk.write_bytes(b"0123")
    receipt = write_receipt(tmp_path / "r.json", inputs={}, files=[artefact], bulk=[bulk], root=tmp_path)
    fingerprint = fingerprint_of({})
    assert is_current(receipt, fingerprint=fingerprint, root=tmp_path)
    bulk.write_bytes(b"012")
    assert not is_current(receipt, fingerprint=fingerprint, root=tmp_path)
    bulk.write_bytes(b"0123")
    artefact.unlink()
    assert not is_current(receipt, fingerprint=fingerprint, root=tmp_path)


def test_the_content_hash_follows_the_bytes_and_nothing_else(tmp_path: Path, artefact: Path) -> None:
    one = write_receipt(tmp_path / "1.json", inputs={"a": 1}, files=[artefact], root=tmp_path, metadata={"seconds": 1})
    two = write_receipt(tmp_path / "2.json", inputs={"a": 2}, files=[artefact], root=tmp_path, metadata={"seconds": 9})
    assert one.content_hash == two.content_hash
    artefact.write_bytes(b"other")
    assert write_receipt(tmp_path / "3.json", inputs={"a": 1}, files=[artefact], root=tmp_path).content_hash != one.content_hash


def test_no_receipt_and_a_spoilt_one_read_as_none(tmp_path: Path) -> None:
    assert read_receipt(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"fingerprint": "x"', encoding="utf-8")
    assert read_receipt(tmp_path / "half.json") is None
    assert not is_current(None, fingerprint="x", root=tmp_path)


def test_the_order_of_inputs_does_not_matter() -> None:
    assert fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1})

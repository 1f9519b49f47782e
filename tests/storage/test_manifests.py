"""What is published of an artefact: told and read back, and spoilt."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.storage.manifests import Manifest, objects_in, parse_manifest

RECEIPT = {"fingerprint": "f", "content_hash": "c", "inputs": {"a/b": "c"}, "files": {"x": 1}, "metadata": {}, "hashed": ["x"]}
MANIFEST = Manifest(receipt=RECEIPT, objects={"x": ("0" * 64, 1), "画像": ("1" * 64, 2)})


def test_a_manifest_is_read_back_as_it_was():
    assert parse_manifest(MANIFEST.as_bytes(), shown="s3://b/m") == MANIFEST


@pytest.mark.parametrize("seed", range(200))
def test_a_spoilt_manifest_is_refused_or_whole(seed):
    chance, data = random.Random(seed), bytearray(MANIFEST.as_bytes())
    for _ in range(chance.choice((1, 2, 30))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    with suppress(BadSourceFileError):
        manifest = parse_manifest(bytes(data), shown="s3://b/m")
        assert all(isinstance(sha, str) and isinstance(size, int) for sha, size in manifest.objects.values())


@pytest.mark.parametrize(
    "told", ["[]", "{}", '{"receipt": 1, "objects": []}', '{"receipt": {"x": 1}, "objects": {}}', "[" * 9999]
)
def test_what_is_no_manifest_is_refused(told):
    with pytest.raises(BadSourceFileError, match="not a manifest"):
        parse_manifest(told.encode(), shown="s3://b/m")


def test_a_note_that_changed_is_read_again(tmp_path):
    note = tmp_path / "note.json"
    assert objects_in(note) == {}
    note.write_bytes(MANIFEST.as_bytes())
    assert objects_in(note) == MANIFEST.objects
    note.write_text(json.dumps({"receipt": RECEIPT, "objects": {}}))
    assert objects_in(note) == {}
    note.write_text("{")
    assert objects_in(note) == {}

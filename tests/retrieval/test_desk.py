"""The desk says plainly what is missing; the chain's tests ask it real questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.retrieval.desk import Desk, gallery_location
from geoloc_pipeline.storage.layout import Home


def test_a_home_without_a_model_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="geoloc demo"):
        Desk.open(Home.at(tmp_path))


def test_the_gallery_is_a_server_only_when_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOLOC_QDRANT_URL", raising=False)
    assert not gallery_location(Home.at(tmp_path)).url
    monkeypatch.setenv("GEOLOC_QDRANT_URL", "http://127.0.0.1:6333")
    monkeypatch.setenv("GEOLOC_QDRANT_API_KEY", "a secret")
    location = gallery_location(Home.at(tmp_path))
    assert location.url == "http://127.0.0.1:6333"
    assert "a secret" not in location.label
    assert "a secret" not in repr(location)

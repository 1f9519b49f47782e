"""The file that describes a run."""

from __future__ import annotations

import pytest

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.training.run import read_run


def test_a_run_is_read_whole(country):
    run = read_run(country.config(max_epochs=2))
    assert run.config.max_epochs == 2
    assert [shard.folder.name for shard in run.shards] == ["13", "01"]
    assert run.data_versions == {"training_shards": "v1"}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"nowhere\.json.*--config"):
        read_run(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"preset": "demo"}', '{"preset": "demo", "vocabulary": "", "shards": [], "output": "", "epochs": 3}']
)
def test_a_file_that_is_no_run_is_named(tmp_path, text: str):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadSourceFileError, match=r"run\.json"):
        read_run(tmp_path / "run.json")

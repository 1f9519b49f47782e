"""What a run learns from is looked over before any long work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, SplitError
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.tables import LABEL_VOCABULARY, TRAINING_SHARDS, empty_table
from geoloc_pipeline.training.material import read_data
from geoloc_pipeline.training.run import read_run


def data_of(country, **overrides: object):
    run = read_run(country.config(**overrides))
    return read_data(run.vocabulary, run.shards, config=run.config)


def test_no_training_picture_is_said_before_anything_else(country):
    for code in ("01", "13"):
        table = read_table(TRAINING_SHARDS, country.root / f"{code}.parquet")
        write_table(TRAINING_SHARDS, table[table["split"] != "train"], country.root / f"{code}.parquet")
    with pytest.raises(SplitError, match=r"no training picture in 2 partitions.*materialise"):
        data_of(country)


def test_a_vocabulary_without_classes_is_refused(country):
    write_table(LABEL_VOCABULARY, empty_table(LABEL_VOCABULARY), country.root / "vocabulary.parquet")
    with pytest.raises(SplitError, match="no class"):
        data_of(country)


def test_a_missing_shard_is_named_with_the_cure(country):
    (country.root / "13" / "000.tar").unlink()
    with pytest.raises(MissingInputError, match=r"000\.tar.*materialise `training_shards` of 13"):
        data_of(country)


def test_a_shard_that_was_cut_short_is_named(country):
    path = country.root / "13" / "000.tar"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(BadSourceFileError, match=r"000\.tar.*cut short: 100,000 of at least.*materialise"):
        data_of(country)


def test_a_change_of_the_data_changes_the_fingerprint(country):
    before = data_of(country).fingerprint
    table = read_table(TRAINING_SHARDS, country.root / "13.parquet")
    write_table(TRAINING_SHARDS, pd.DataFrame(table).assign(lat=table["lat"] + 1e-6), country.root / "13.parquet")
    assert data_of(country).fingerprint != before


def test_the_middle_of_a_class_is_that_of_its_training_pictures(grown):
    data = data_of(grown)
    table = pd.concat([read_table(TRAINING_SHARDS, grown.root / f"{code}.parquet") for code in ("01", "13")])
    train = table[table["split"] == "train"]
    for task, column in (("municipality", "municipality_code"), ("prefecture", "prefecture_code")):
        wanted = train.groupby(column)[["lat", "lon"]].mean()
        codes = list(data.vocabulary.tasks[task].codes)
        assert np.allclose(data.train.centres()[task], wanted.loc[codes], atol=1e-4)


def test_one_view_of_each_picture_validates_and_every_direction_gets_its_turn(grown):
    one, whole = (data_of(grown, validation_views=kind).val for kind in ("one", "all"))
    pictures = whole.image_ids(range(len(whole)))
    assert len(whole) == 4 * len(pictures)
    assert one.image_ids(range(len(one))) == pictures
    assert len(one) == len(pictures)
    every = {whole[number].pixels.numpy().tobytes(): number % 4 for number in range(len(whole))}
    turns = [every[one[number].pixels.numpy().tobytes()] for number in range(len(one))]
    assert turns == [number % 4 for number in range(len(pictures))]

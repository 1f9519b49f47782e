"""Settings that cannot work are refused where they are made."""

from __future__ import annotations

import math

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"bandwidth_km": -1.0},
        {"bandwidth_km": math.nan},
        {"gate_weight": -1.0},
        {"gate_weight": math.inf},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]):
    with pytest.raises(SettingError, match="above"):
        ReadoutSettings(**wrong)


def test_an_older_file_without_the_gate_is_still_read():
    assert ReadoutSettings(temperature=0.1, bandwidth_km=3.0).gate_weight == DEFAULT_SETTINGS.gate_weight

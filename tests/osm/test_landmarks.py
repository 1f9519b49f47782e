"""The category of landmarks."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.osm.landmarks import landmark_categories
from geoloc_pipeline.osm.tags import LANDMARK_TAGS

KEYS = list(dict.fromkeys(key for key, _ in LANDMARK_TAGS))
tagged = st.dictionaries(st.sampled_from(KEYS), st.sampled_from([value for _, value in LANDMARK_TAGS] + ["yes", ""]))


@settings(deadline=None, max_examples=30)
@given(st.lists(tagged, min_size=1, max_size=20))
def test_the_category_is_the_first_tag_in_the_list_that_the_object_has(objects):
    frame = pd.DataFrame(objects, columns=KEYS, index=range(5, 5 + len(objects)))
    found = landmark_categories({key: frame[key] for key in KEYS}, frame.index)
    for tags, category in zip(objects, found, strict=True):
        expected = next((f"{key}={value}" for key, value in LANDMARK_TAGS if tags.get(key) == value), None)
        assert (None if pd.isna(category) else category) == expected

"""What kind of landmark an OpenStreetMap object is: the first of its tags in the order of `tags.LANDMARK_TAGS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from geoloc_pipeline.osm.tags import LANDMARK_TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping


def landmark_categories(tags: Mapping[str, pd.Series], index: pd.Index) -> pd.Series:
    """Return the category of each object, such as `tourism=museum`; missing where no tag makes it a landmark.

    An object with several landmark tags has the category that stands first in `LANDMARK_TAGS`, whatever the order in which
    mappers wrote them.

    Args:
        tags: Values by OSM key, one series per key of `LANDMARK_TAGS`, all with `index`.
        index: The objects.

    Returns:
        Strings, or missing, with `index`.
    """
    category = pd.Series(None, index=index, dtype="str")
    for key, value in LANDMARK_TAGS:
        category[category.isna() & (tags[key] == value).fillna(False)] = f"{key}={value}"
    return category

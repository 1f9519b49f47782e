"""Public test sets: photos that others measure their methods with, placed in a folder by the user and never trained on.

Source: each set's own page, in its `how_to_obtain`; nothing is downloaded here.
Licence: each photo's own where the set tells it, else NOASSERTION.
Cadence: fixed sets.
Polite: no requests at all.
Keeps: nothing; the files stay as the user placed them.
Absent: a folder that is missing or empty yields nothing; a listed photo whose file is missing has a `fault`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.sources import photo_lists
from geoloc_pipeline.sources.photo_record import Photo
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS


@dataclass(frozen=True)
class PhotoTestSet:
    """One test set.

    Attributes:
        name: As a setting names it.
        title: For people.
        folder: Name of the folder below that of the photo sets.
        about: What it is, with how many photos it has.
        how_to_obtain: What to fetch and where to put it; `{folder}` stands for the set's folder.
        read: Yields its photos in a fixed order.
    """

    name: str
    title: str
    folder: str
    about: str
    how_to_obtain: str
    read: Callable[[Path], Iterator[Photo]]


TEST_SETS: dict[str, PhotoTestSet] = {
    test_set.name: test_set
    for test_set in (
        PhotoTestSet(
            name="im2gps",
            title="IM2GPS",
            folder="im2gps",
            about="237 Flickr photos of the whole world",
            how_to_obtain=PHOTO_SETS["im2gps"].how_to_obtain,
            read=photo_lists.read_im2gps,
        ),
        PhotoTestSet(
            name="im2gps3k",
            title="Im2GPS3k",
            folder="im2gps3k",
            about="2,997 Flickr photos of the whole world (3,000 were published, three have no place)",
            how_to_obtain=PHOTO_SETS["im2gps3k"].how_to_obtain,
            read=photo_lists.read_im2gps3k,
        ),
        PhotoTestSet(
            name="yfcc4k",
            title="YFCC4k",
            folder="yfcc4k",
            about="4,536 photos of YFCC100M of the whole world; it shares authors with MP-16",
            how_to_obtain=(
                "fetch yfcc4k.zip (link in https://github.com/lugiavn/revisiting-im2gps) and yfcc4k_places365.csv of the "
                "repository Jia-py/G3-checkpoint on Hugging Face; put both into {folder}, the zip as it is or unpacked. A list "
                "called yfcc25600_places365.csv is YFCC26k, another set"
            ),
            read=photo_lists.read_yfcc4k,
        ),
        PhotoTestSet(
            name="osv5m_test",
            title="OSV-5M, test split",
            folder="osv5m",
            about="210,122 street views of the whole world, at least 1 km away from that set's own training pictures",
            how_to_obtain=(
                "fetch test.csv and images/test/*.zip of the data set osv5m/osv5m on Hugging Face and put them into {folder} "
                "with these paths; the zips stay packed"
            ),
            read=photo_lists.read_osv5m_test,
        ),
    )
}


def named_test_set(name: str) -> PhotoTestSet:
    """Return a test set.

    Raises:
        SettingError: There is none of that name.
    """
    if name not in TEST_SETS:
        raise SettingError(setting="the test set", value=name, cure=f"use one of {', '.join(TEST_SETS)}")
    return TEST_SETS[name]

"""Photo sets that people place in a folder: the paper's, OSV-5M, and a user's own photos.

Source: each set's own page, in its `how_to_obtain`; nothing is downloaded here.
Licence: each photo's own where the set tells it, else NOASSERTION (SPDX for "not known").
Cadence: fixed sets; `local` whenever the user changes the folder.
Polite: no requests at all.
Keeps: nothing; the files stay as the user placed them.
Absent: a folder that is missing or empty yields nothing; a listed photo whose file is missing has a `fault`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.sources import photo_landmarks, photo_lists, photo_local, photo_yfcc
from geoloc_pipeline.sources.photo_record import Photo


@dataclass(frozen=True)
class PhotoSet:
    """One photo set.

    Attributes:
        name: Partition key.
        about: What it is.
        how_to_obtain: What to fetch and where to put it, for people; `{folder}` stands for the set's folder.
        read: Yields the photos in its folder, in a fixed order.
        is_worldwide: Whether most of it lies elsewhere: then photos abroad are counted, not listed.
    """

    name: str
    about: str
    how_to_obtain: str
    read: Callable[[Path], Iterator[Photo]]
    is_worldwide: bool = False


_GEOESTIMATION = "https://github.com/TIBHannover/GeoEstimation"

_SETS = (
    PhotoSet(
        name="im2gps",
        about="IM2GPS test set, 237 photos (paper §3.1)",
        how_to_obtain=(
            "fetch http://graphics.cs.cmu.edu/projects/im2gps/gps_query_imgs.zip and meta/im2gps_places365.csv of "
            f"{_GEOESTIMATION} (branch original_tf); put both into {{folder}}, the zip as it is or unpacked"
        ),
        read=photo_lists.read_im2gps,
    ),
    PhotoSet(
        name="im2gps3k",
        about="Im2GPS3k test set, 2,997 photos",
        how_to_obtain=(
            "fetch im2gps3ktest.zip (link in https://github.com/lugiavn/revisiting-im2gps) and im2gps3k_places365.csv of "
            f"{_GEOESTIMATION}; put both into {{folder}}, the zip as it is or unpacked"
        ),
        read=photo_lists.read_im2gps3k,
    ),
    PhotoSet(
        name="mp16",
        about="MP-16, 4.7 million Flickr photos (paper §3.1)",
        how_to_obtain=(
            f"fetch mp16_places365.csv from {_GEOESTIMATION}/releases and the images from the data set Jia-py/MP16-Pro on "
            "Hugging Face (accept its terms once); put the csv and the parts mp-16-images00, 01, … into {folder} as they are: "
            "they are read without being joined, and the first ones alone give their share of the photos"
        ),
        read=photo_lists.read_mp16,
        is_worldwide=True,
    ),
    PhotoSet(
        name="osv5m",
        about="OSV-5M, 5 million open street views out of Mapillary",
        how_to_obtain=(
            "fetch the data set osv5m/osv5m from Hugging Face (train.csv, test.csv, images/train/*.zip, images/test/*.zip) and "
            "put it into {folder} with these paths; the zips stay packed"
        ),
        read=photo_lists.read_osv5m,
        is_worldwide=True,
    ),
    PhotoSet(
        name="google_landmarks_v2",
        about="Google Landmarks v2, 4.1 million photos of landmarks; placed by their landmark",
        how_to_obtain=(
            "fetch train.csv, train_attribution.csv, train_label_to_category.csv and images_*.tar as the README of "
            "https://github.com/cvdfoundation/google-landmark says and put them into {folder}, the tars as they are. The set "
            "has no places: add a table with the columns lat,lon (and accuracy_m, if you know it) and one of category (as in "
            "train_label_to_category.csv), landmark_id, wikidata, or id (of one image). Wikimedia Commons tells places with "
            "api.php?action=query&prop=coordinates&titles=Category:…, and Wikidata as property P625"
        ),
        read=photo_landmarks.read_google_landmarks,
        is_worldwide=True,
    ),
    PhotoSet(
        name="yfcc100m",
        about="YFCC100M, 100 million Flickr photos with their own CC licences (paper §3.1)",
        how_to_obtain=(
            "fetch the metadata https://multimedia-commons.s3.amazonaws.com/tools/etc/yfcc100m_dataset.sql (SQLite, 65.6 GB) "
            "and the photos you want from the same bucket below data/images/; put both into {folder} with these paths"
        ),
        read=photo_yfcc.read_yfcc100m,
        is_worldwide=True,
    ),
    PhotoSet(
        name="local",
        about="Your own folder of photos",
        how_to_obtain=(
            "put photos into {folder}, in sub-folders if you like. Their place is read from EXIF GPS, or from any .csv there "
            "with the columns IMG_FILE,LAT,LON (and, if you like, AUTHOR, LICENCE, URL)"
        ),
        read=photo_local.read_local,
    ),
)
PHOTO_SETS: dict[str, PhotoSet] = {photo_set.name: photo_set for photo_set in _SETS}


def read_photo_set(name: str, folder: Path) -> Iterator[Photo]:
    """Return the photos of a set in a fixed order; nothing when its folder is missing or empty.

    Places are as the set gives them, anywhere on Earth; of `local` they can be missing, and are then in the photo's EXIF or
    nowhere. Bytes are read when a file's `read` is called; outside the box around Japan no file is looked for.

    Args:
        name: Key of `PHOTO_SETS`.
        folder: Where the user placed the set's files.

    Returns:
        An iterator of photos.

    Raises:
        SettingError: There is no such set.
        BadSourceFileError: A list or an archive of the set cannot be read (raised while iterating).
    """
    if name not in PHOTO_SETS:
        raise SettingError(setting="the photo set", value=name, cure=f"use one of {', '.join(PHOTO_SETS)}")
    if not folder.is_dir():
        return iter(())
    return PHOTO_SETS[name].read(folder)

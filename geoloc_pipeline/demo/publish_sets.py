"""Publishes a small one of each photo set of the paper, in the form in which the set is really distributed, with its troubles.

Belongs here: which photos are in which set, at home, abroad, missing, placed coarsely or held by two sets; their lists.
Does not belong here: archives and databases as files (`set_files.py`), a user's own folder (`publish_photos.py`), reading sets.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from geoloc_pipeline.demo.chance import seed_of
from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.pictures import Renderer, camera_of, encode_jpeg, flaw_of
from geoloc_pipeline.demo.publish_photos import places_beside_roads
from geoloc_pipeline.demo.render import Camera
from geoloc_pipeline.demo.set_files import flickr_bucket_path, write_csv, write_tar, write_yfcc, write_zip

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from geoloc_pipeline.demo.land import Land
    from geoloc_pipeline.demo.pictures import Draw

WIDTH_PX = 400
SETS = ("im2gps", "im2gps3k", "yfcc100m", "mp16", "google_landmarks_v2", "osv5m")
PARIS, SEOUL, BUSAN = (48.8584, 2.2945), (37.5512, 126.9882), (35.1017, 129.0300)
"""Outside the box around Japan; and twice inside it, but not in Japan."""
AT_HOME = 6
"""Photos of each set that lie in the land and whose file is there."""
_PLACES365 = "IMG_ID,AUTHOR,LAT,LON,S3_Label,S16_Label,S365_Label,Prob_indoor,Prob_natural,Prob_urban"
_OSV5M = "id,latitude,longitude,thumb_original_url,country,sequence,captured_at,creator_username,creator_id"
_BY_SA = "http://creativecommons.org/licenses/by-sa/{}/"


@dataclass(frozen=True)
class _Shot:
    """One photo that somebody took.

    Attributes:
        number: Flickr's number of it.
        author: Flickr's number of its author.
        camera: What took it, where and when.
        data: JPEG.
    """

    number: int
    author: str
    camera: Camera
    data: bytes

    @property
    def lat(self) -> float:
        """Degrees, as a list tells them."""
        return round(self.camera.lat, 6)

    @property
    def lon(self) -> float:
        """Degrees, as a list tells them."""
        return round(self.camera.lon, 6)

    @property
    def moment(self) -> datetime:
        """When it was taken, UTC."""
        return self.camera.captured_at

    @property
    def im2gps_name(self) -> str:
        """As IM2GPS names files: photo, secret, server, author."""
        return f"{self.number}_{seed_of('secret', self.number):016x}"[:21] + f"_{self.number % 60 + 1}_{self.author}.jpg"


def publish_sets(land: Land, folder: Path, *, draw: Draw | None = None) -> None:
    """Writes the six sets below `folder`, one folder each; nothing where the land has no road to stand at.

    The second photo of YFCC100M is also in MP-16, in other bytes; the last of OSV-5M is one of Mapillary's.

    Args:
        land: Where the photos are taken.
        folder: Where the sets go.
        draw: Draws the photos; the demo's renderer if absent.
    """
    draw = draw or Renderer(land)
    shots = _shots(land, draw)
    if not shots:
        return
    dealt = {name: shots[place * AT_HOME : (place + 1) * AT_HOME] for place, name in enumerate(SETS)}
    for name, archive in (("im2gps", "gps_query_imgs"), ("im2gps3k", "im2gps3ktest")):
        _im2gps(dealt[name], folder / name, archive=archive, changed_at=land.published_at)
    _yfcc100m(dealt["yfcc100m"], folder / "yfcc100m")
    _mp16([*dealt["mp16"][:-1], _again(dealt["yfcc100m"][1], draw)], folder / "mp16", changed_at=land.published_at)
    _google_landmarks(land, dealt["google_landmarks_v2"], folder / "google_landmarks_v2")
    _osv5m(land, dealt["osv5m"], folder / "osv5m", draw=draw)
    for name in SETS:
        for path in sorted((folder / name).rglob("*")):
            os.utime(path, (land.published_at.timestamp(),) * 2)


def _shots(land: Land, draw: Draw) -> list[_Shot]:
    dice = np.random.default_rng(seed_of("photo sets", land.seed))
    found = []
    for place, (lat, lon) in enumerate(places_beside_roads(land, dice, count=AT_HOME * len(SETS), is_mixed=True)):
        moment = (land.published_at - timedelta(days=float(dice.uniform(3000, 5000)))).replace(hour=3, microsecond=0)
        camera = Camera(lat, lon, float(dice.uniform(0, 360)), moment, int(dice.integers(2**40)))
        author = f"{20_000_000 + place // 3}@N0{place % 3}"
        data = encode_jpeg(draw(camera, False, WIDTH_PX))
        found.append(_Shot(5_000_000_000 + int(dice.integers(10**9)), author, camera, data))
    return found


def _again(shot: _Shot, draw: Draw) -> _Shot:
    """Gives the same photo as another set holds it: the same number, and bytes of its own."""
    return replace(shot, data=encode_jpeg(draw(shot.camera, False, WIDTH_PX // 2)))


def _im2gps(shots: list[_Shot], folder: Path, *, archive: str, changed_at: datetime) -> None:
    """Eight photos in a zip: one is in Paris, one is missing, one bears a place before its number."""
    names = [shot.im2gps_name for shot in shots]
    names[2] = f"Tokyo_00070_{names[2]}"
    abroad, missing = f"1{names[0]}", f"2{names[0]}"
    rows = [(name, shot.author, shot.lat, shot.lon) for name, shot in zip(names, shots, strict=True)]
    rows += [(abroad, shots[0].author, *PARIS), (missing, shots[0].author, shots[0].lat, shots[0].lon)]
    listed = folder.name
    write_csv(folder / f"{listed}_places365.csv", _PLACES365, [_with_scenes(row) for row in rows])
    pictures = {f"{archive}/{name}": shot.data for name, shot in zip(names, shots, strict=True)}
    write_zip(folder / f"{archive}.zip", pictures | {f"{archive}/{abroad}": shots[0].data}, changed_at=changed_at)


def _mp16(shots: list[_Shot], folder: Path, *, changed_at: datetime) -> None:
    """Nine photos in a tar cut into three: one is in Busan, one in Paris, one is missing."""
    names = [f"{shot.number % 256:02x}/{shot.number // 256 % 256:02x}/{shot.number}.jpg" for shot in shots]
    busan, paris, missing = "b0/5a/7000000001.jpg", "9a/21/7000000002.jpg", "00/0f/7000000003.jpg"
    rows = [(name, shot.author, shot.lat, shot.lon) for name, shot in zip(names, shots, strict=True)]
    rows += [(busan, shots[0].author, *BUSAN), (paris, shots[0].author, *PARIS), (missing, shots[0].author, *rows[0][2:])]
    write_csv(folder / "mp16_places365.csv", _PLACES365, [_with_scenes(row) for row in rows])
    pictures = dict(zip(names, (shot.data for shot in shots), strict=True)) | {busan: shots[0].data, paris: shots[0].data}
    members = {f"./images/{name.replace('/', '_')}": data for name, data in pictures.items()}
    write_tar(folder / "mp-16-images", members, changed_at=changed_at, parts=3)


def _with_scenes(row: tuple[object, ...]) -> tuple[object, ...]:
    return *row, 2, 9, 319, 0.01, 0.23, 0.76  # urban, outdoor: what a scene classifier said


def _yfcc100m(shots: list[_Shot], folder: Path) -> None:
    """Eleven entries in SQLite: also Seoul, a city's centre, a missing file, a video, and one without a place."""
    rows = []
    for place, shot in enumerate(shots):
        rows.append(_yfcc_row(shot, number=shot.number, lat=shot.lat, lon=shot.lon, accuracy=(16, 16, 15, 16, 14, 16)[place]))
    first = shots[0]
    rows += [
        _yfcc_row(first, number=6_000_000_001, lat=SEOUL[0], lon=SEOUL[1], accuracy=16),
        _yfcc_row(first, number=6_000_000_002, lat=first.lat, lon=first.lon, accuracy=11),
        _yfcc_row(first, number=6_000_000_003, lat=first.lat, lon=first.lon, accuracy=16),
        _yfcc_row(first, number=6_000_000_004, lat=first.lat, lon=first.lon, accuracy=16) | {"marker": 1},
        _yfcc_row(first, number=6_000_000_005, lat="", lon="", accuracy=""),
    ]
    write_yfcc(folder / "yfcc100m_dataset.sql", rows)
    for row, data in zip(rows, [*(shot.data for shot in shots), first.data, first.data], strict=False):
        path = folder / flickr_bucket_path(str(row["downloadurl"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _yfcc_row(shot: _Shot, *, number: int, lat: object, lon: object, accuracy: object) -> dict[str, object]:
    taken = shot.moment + timedelta(hours=9)  # by the camera's clock
    return {
        "photoid": number,
        "uid": shot.author,
        "unickname": f"made-up+author+{shot.author[:8]}",
        "datetaken": f"{taken:%Y-%m-%d %H:%M:%S}.0",
        "dateuploaded": int(shot.moment.timestamp()) + 86_400,
        "title": "A+corner",
        "longitude": lon,
        "latitude": lat,
        "accuracy": accuracy,
        "pageurl": f"http://www.flickr.com/photos/{shot.author}/{number}/",
        "downloadurl": f"http://farm5.staticflickr.com/{number % 9999}/{number}_{seed_of('secret', number):010x}.jpg",
        "licensename": "Attribution-ShareAlike License",
        "licenseurl": _BY_SA.format("2.0"),
        "serverid": number % 9999,
        "farmid": 5,
        "ext": "jpg",
        "marker": 0,
    }


def _google_landmarks(land: Land, shots: list[_Shot], folder: Path) -> None:
    """Ten photos of five landmarks: three of the land, a mountain too large to be a place, and one in Paris."""
    named = [mark for mark in land.landmarks if mark.tags.get("name")][:: max(1, len(land.landmarks) // 4)][:3]
    spots = [(mark.tags["name"], mark.geometry.centroid.y, mark.geometry.centroid.x, "") for mark in named]
    spots += [("見本山", shots[0].lat, shots[0].lon, "15000"), ("Sample Tower, Paris", *PARIS, "")]
    train, credited, pictures, own = [], [], {}, []
    for place in range(2 * len(spots)):
        landmark, shot = place // 2, shots[place % len(shots)]
        image_id = f"{seed_of('landmark', land.seed, place):016x}"
        title = f"File:Made-up {landmark} {place % 2}.jpg"
        page = quote(title.replace(" ", "_"), safe=":")
        upload = f"http://upload.wikimedia.org/wikipedia/commons/e/eb/{page.removeprefix('File:')}"
        train.append((image_id, upload, landmark))
        credited.append((image_id, f"https://commons.wikimedia.org/wiki/{page}", "Made-up author", _BY_SA.format("4.0"), title))
        pictures[f"{image_id[0]}/{image_id[1]}/{image_id[2]}/{image_id}.jpg"] = shot.data
        if place == 1:
            own.append((image_id, shot.lat, shot.lon))
    address = "http://commons.wikimedia.org/wiki/Category:{}"
    categories = [(number, address.format(spot[0].replace(" ", "_"))) for number, spot in enumerate(spots)]
    write_csv(folder / "train.csv", "id,url,landmark_id", train)
    write_csv(folder / "train_attribution.csv", "id,url,author,license,title", credited)
    write_csv(folder / "train_label_to_category.csv", "landmark_id,category", categories)
    write_csv(folder / "category_coordinates.csv", "category,lat,lon,accuracy_m", spots)
    write_csv(folder / "image_coordinates.csv", "id,lat,lon", own)
    del pictures[next(iter(pictures))]  # the tar that it is in was not fetched
    write_tar(folder / "images_000.tar", pictures, changed_at=land.published_at)


def _osv5m(land: Land, shots: list[_Shot], folder: Path, *, draw: Draw) -> None:
    """Eight pictures in two zips: one is Mapillary's, one in Paris, one in Busan, one is missing."""
    rows, pictures = [], {}
    for shot in shots[:-1]:
        rows.append(_osv5m_row(shot.number, shot.lat, shot.lon, "JP", f"seq{shot.number % 3}", shot.moment, shot.author))
        pictures[f"{shot.number}.jpg"] = shot.data
    coverage = Coverage(land)
    for row in np.flatnonzero(~coverage.shots.is_pano).tolist()[:40] or range(min(len(coverage), 1)):
        image_id, camera = int(coverage.shots.image_id[row]), camera_of(coverage, row)
        if flaw_of(image_id) is None:
            sequence = coverage.sequence_ids[int(coverage.shots.sequence[row])]
            rows.append(_osv5m_row(image_id, camera.lat, camera.lon, "JP", sequence, camera.captured_at, "mapper"))
            pictures[f"{image_id}.jpg"] = encode_jpeg(draw(camera, False, WIDTH_PX))
            break
    moment = shots[0].moment
    rows += [
        _osv5m_row(300_000_000_000_001, *PARIS, "FR", "seq8", moment, "mapper"),
        _osv5m_row(300_000_000_000_002, *BUSAN, "KR", "seq9", moment, "mapper"),
        _osv5m_row(300_000_000_000_003, shots[0].lat, shots[0].lon, "JP", "seq9", moment, "mapper"),
    ]
    names = list(pictures)
    for part, listed, held in (("train", [*rows[:3], *rows[5:]], [*names[:3], *names[5:]]), ("test", rows[3:5], names[3:5])):
        write_csv(folder / f"{part}.csv", _OSV5M, listed)
        write_zip(
            folder / "images" / part / "00.zip", {f"00/{name}": pictures[name] for name in held}, changed_at=land.published_at
        )


def _osv5m_row(
    image_id: int, lat: float, lon: float, country: str, sequence: str, moment: datetime, creator: str
) -> tuple[object, ...]:
    thumb = f"https://scontent.example.org/{image_id}.jpg"
    return image_id, lat, lon, thumb, country, sequence, int(moment.timestamp() * 1000), creator, seed_of(creator) % 10**9

"""A world stands whole or not at all, twice the same, and real files stand in the same places."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish import prefecture_of, publish_real_files, publish_world
from geoloc_pipeline.demo.read import read_version
from geoloc_pipeline.errors import BadSourceFileError, MissingInputError

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.publish import publish_world

def draw(camera, is_pano, width_px):
    return np.full((width_px * 3 // 4, width_px, 3), camera.seed % 251, dtype=np.uint8)

publish_world(grow_land(seed=9, prefecture_codes=("13", "35"), density=0.05), Path(sys.argv[1]), draw=draw)
"""


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_processes_publish_the_same_bytes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    both = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path / name)], cwd=root) for name in ("first", "second")]
    assert [process.wait(120) for process in both] == [0, 0]
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second")
    assert len(hashes(tmp_path / "first")) > 65


def test_a_world_that_stands_is_left_alone(world: Path, thin_land: Land) -> None:
    def refuse(camera: Any, is_pano: bool, width_px: int) -> Any:
        raise AssertionError("nothing has to be drawn again")

    before = world.stat().st_mtime_ns
    publish_world(thin_land, world, draw=refuse)
    assert world.stat().st_mtime_ns == before


def test_a_world_that_fails_in_the_middle_leaves_nothing(thin_land: Land, tmp_path: Path) -> None:
    def fail(camera: Any, is_pano: bool, width_px: int) -> Any:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish_world(thin_land, tmp_path / "world", draw=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_faster_process_is_not_disturbed(world: Path, thin_land: Land, quick_draw: Any, tmp_path: Path) -> None:
    folder = tmp_path / "world"

    def overtaken(camera: Any, is_pano: bool, width_px: int) -> Any:
        if not folder.exists():
            shutil.copytree(world, folder)
        return quick_draw(camera, is_pano, width_px)

    publish_world(thin_land, folder, draw=overtaken)
    assert hashes(folder) == hashes(world)
    assert list(tmp_path.iterdir()) == [folder]


def test_another_land_takes_the_place_of_the_old(thin_land: Land, quick_draw: Any, tmp_path: Path) -> None:
    folder = tmp_path / "world"
    publish_world(replace(thin_land, sequence=1), folder, draw=quick_draw)
    publish_world(replace(thin_land, sequence=2), folder, draw=quick_draw)
    assert read_version(next(folder.rglob("kanto-*.pbf")))[1] == 2
    assert list(tmp_path.iterdir()) == [folder]


def test_somebody_elses_folder_is_not_touched(thin_land: Land, quick_draw: Any, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadSourceFileError, match="no published world"):
        publish_world(thin_land, tmp_path, draw=quick_draw)
    assert hashes(tmp_path).keys() == {"diary.txt"}


def test_real_files_stand_where_the_services_have_them(shared_data: Path, tmp_path: Path) -> None:
    source, folder = shared_data / "tokyo", tmp_path / "world"
    publish_real_files(source, folder)
    publish_real_files(source, folder)
    dump = folder / "geofabrik/asia/japan/kanto-260927.osm.pbf"
    assert dump.read_bytes() == (source / "tokyo.osm.pbf").read_bytes()
    assert "sequenceNumber=4891\n" in (dump.parent / "kanto-updates/state.txt").read_text(encoding="ascii")
    assert (dump.parent / (dump.name + ".md5")).read_text(encoding="ascii").split()[0] == hashlib.md5(
        dump.read_bytes()
    ).hexdigest()
    assert [path.name for path in (folder / "estat").iterdir()] == ["A002005212020DDSWC13-JGD2011.zip"]
    assert (folder / "geofabrik/index-v1.json").is_file()


def real_files(world: Path, folder: Path) -> Path:
    """A folder of files as a user would lay them out."""
    folder.mkdir()
    (folder / "map.osm.pbf").write_bytes(next(world.rglob("kanto-*.pbf")).read_bytes())
    for archive in (world / "estat").iterdir():
        (folder / archive.name).write_bytes(archive.read_bytes())
    return folder


def test_files_of_two_prefectures_serve_two_regions(world: Path, tmp_path: Path) -> None:
    publish_real_files(real_files(world, tmp_path / "source"), tmp_path / "world")
    names = sorted(path.name for path in (tmp_path / "world/geofabrik/asia/japan").glob("*.pbf"))
    assert names == ["kanto-260903.osm.pbf", "kyushu-260903.osm.pbf"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "map.osm.pbf").write_bytes(b"<html>no</html>"), "not readable as PBF"),
        (lambda folder: (folder / "two.osm.pbf").write_bytes((folder / "map.osm.pbf").read_bytes()), "2 maps"),
        (lambda folder: (folder / "A002005212020DDSWC13113.zip").write_bytes(b""), "no prefecture"),
        (lambda folder: (folder / "A002005212020DDSWC13.zip").write_bytes(b""), "two archives of one prefecture"),
    ],
)
def test_real_files_that_cannot_be_served_are_refused_whole(world: Path, tmp_path: Path, spoil: Any, told: str) -> None:
    source = real_files(world, tmp_path / "source")
    spoil(source)
    with pytest.raises(BadSourceFileError, match=told):
        publish_real_files(source, tmp_path / "world")
    assert not (tmp_path / "world").exists()


def test_an_empty_folder_is_told_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"osm\.pbf"):
        publish_real_files(tmp_path, tmp_path / "world")


def test_an_archives_name_tells_its_prefecture() -> None:
    assert prefecture_of(Path("A002005212020DDSWC01-JGD2011.zip")) == "01"
    assert prefecture_of(Path("A002005212020DDSWC47.zip")) == "47"
    with pytest.raises(BadSourceFileError):
        prefecture_of(Path("A002005212020DDSWC48.zip"))

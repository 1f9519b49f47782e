"""Whole or not at all, also when the process is killed or the disk refuses."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geoloc_pipeline.errors import HomeError
from geoloc_pipeline.storage.atomic import atomic_path, disk_errors, write_bytes, write_text


def test_a_file_appears_whole_and_leaves_no_other(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "見本")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "見本"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    write_bytes(path, b"old")

    def fail_half_way() -> None:
        with atomic_path(path) as partial:
            partial.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.txt"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    write_bytes(path, b"old")
    program = f"""
import os, signal
from pathlib import Path
from geoloc_pipeline.storage.atomic import atomic_path
with atomic_path(Path({str(path)!r})) as partial:
    partial.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.txt"], "what the killed one left goes with the next write"


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    with atomic_path(path) as partial:
        partial.write_bytes(b"mine")
        other = partial.with_name(partial.name.replace(str(os.getpid()), str(os.getppid())))
        other.write_bytes(b"of a process that lives")
        elsewhere = partial.with_name(f"b.txt.{'x' * 12}-1.partial")
        elsewhere.write_bytes(b"of another machine")
    write_bytes(path, b"new")
    assert {other, elsewhere} < set(tmp_path.iterdir())


def test_a_file_where_a_folder_is_needed_is_told_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file", encoding="utf-8")
    with pytest.raises(HomeError, match="set GEOLOC_HOME to a folder"):
        write_bytes(tmp_path / "a" / "b.txt", b"x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_with_the_cure() -> None:
    with pytest.raises(HomeError, match="free some space"), disk_errors(Path("/dev/full")):
        with Path("/dev/full").open("wb", buffering=0) as stream:
            stream.write(b"x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_what_the_disk_refuses_becomes_our_error(number: int, tmp_path: Path) -> None:
    with pytest.raises(HomeError) as error, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(error.value)
    assert error.value.exit_code == 2


def test_other_errors_pass_untouched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "nothing").read_bytes()

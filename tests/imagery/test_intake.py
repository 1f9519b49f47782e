"""What was fetched survives a kill at any byte, and nothing that is not whole is ever taken for a picture."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.imagery.intake import Intake, Outcome
from geoloc_pipeline.imagery.journal import Archived

_CHUNK = "00000-abcdef-000000000000"
_moments = st.datetimes(timezones=st.just(UTC))
_rows = st.fixed_dictionaries(
    {
        "image_id": st.text(max_size=16),
        "lat": st.floats(-90, 90),
        "accuracy_m": st.none() | st.floats(0, 1e4),
        "is_wanted": st.booleans(),
        "captured_at": st.none() | _moments,
        "fetched_at": _moments,
    }
)
_rejections = st.lists(
    st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=9)), max_size=3
)
_outcomes = st.builds(
    Outcome, picture=st.none() | st.builds(Archived, row=_rows, data=st.binary(max_size=60)), rejections=_rejections
)


def _outcome(number):
    row = {
        "image_id": str(number),
        "captured_at": None,
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
    }
    return Outcome(Archived(row, f"picture {number}".encode() * 9), [("mapillary", str(number), "gone", "…")])


def _filled(folder, count=4):
    intake = Intake(folder, recipe="abcdef")
    for number in range(count):
        intake.add(_CHUNK, f"k{number}", _outcome(number))
    return folder / f"{_CHUNK}.intake"


@given(outcomes=st.lists(_outcomes, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_was_written_down_is_read_back_by_the_next_run(tmp_path_factory, outcomes):
    folder = tmp_path_factory.mktemp("intake")
    first = Intake(folder, recipe="abcdef")
    for number, outcome in enumerate(outcomes):
        first.add(_CHUNK, f"k{number}", outcome)
    for intake in (first, Intake(folder, recipe="abcdef")):
        assert [intake.find(f"k{number}") for number in range(len(outcomes))] == outcomes
        assert intake.find("never") is None


def test_a_file_cut_at_any_byte_gives_the_records_before_it_and_takes_new_ones(tmp_path):
    path = _filled(tmp_path)
    whole = path.read_bytes()
    ends = [0]
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        ends.append(_filled(tmp_path / str(number), number + 1).stat().st_size)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        intake = Intake(tmp_path, recipe="abcdef")
        n_whole = sum(end <= cut for end in ends[1:])
        assert [intake.find(f"k{number}") for number in range(4)] == [_outcome(n) if n < n_whole else None for n in range(4)]
        if cut % 23 == 0:
            intake.add(_CHUNK, "new", _outcome(7))
            assert Intake(tmp_path, recipe="abcdef").find("new") == _outcome(7)


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_spoilt_byte_never_becomes_a_picture(tmp_path_factory, at, flip):
    folder = tmp_path_factory.mktemp("intake")
    path = _filled(folder)
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= flip
    path.write_bytes(bytes(content))
    intake = Intake(folder, recipe="abcdef")
    assert all(intake.find(f"k{number}") in (None, _outcome(number)) for number in range(4))


def test_a_closed_chunk_is_gone_and_the_others_stay(tmp_path):
    other = "00001-abcdef-111111111111"
    intake = Intake(tmp_path, recipe="abcdef")
    intake.add(_CHUNK, "a", _outcome(1))
    intake.add(other, "b", _outcome(2))
    intake.close(_CHUNK)
    assert ("a" in intake, "b" in intake) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{other}.intake"]
    intake.close_all()
    assert list(tmp_path.iterdir()) == []


def test_pictures_made_in_another_way_are_thrown_away(tmp_path):
    _filled(tmp_path)
    assert Intake(tmp_path, recipe="123456").find("k0") is None
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_killed_leaves_whole_records(tmp_path):
    program = textwrap.dedent(f"""
        import os, signal, threading, time
        from pathlib import Path
        from datetime import UTC, datetime
        from geoloc_pipeline.imagery.intake import Intake, Outcome
        from geoloc_pipeline.imagery.journal import Archived
        threading.Thread(target=lambda: (time.sleep(0.15), os.kill(os.getpid(), signal.SIGKILL)), daemon=True).start()
        intake = Intake(Path({str(tmp_path)!r}), recipe="abcdef")
        for number in range(10**9):
            row = {{"n": number, "captured_at": None, "fetched_at": datetime(2026, 1, 1, tzinfo=UTC)}}
            intake.add({_CHUNK!r}, f"k{{number}}", Outcome(Archived(row, bytes([number % 251]) * 5000), []))
    """)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    intake = Intake(tmp_path, recipe="abcdef")
    count = 0
    while (outcome := intake.find(f"k{count}")) is not None:
        assert outcome.picture.data == bytes([count % 251]) * 5000
        count += 1
    assert count > 10


_MAKE_OUTCOME = """from datetime import UTC, datetime
from geoloc_pipeline.imagery.intake import Outcome
from geoloc_pipeline.imagery.journal import Archived
def outcome(number):
    return Outcome(Archived({"n": number, "captured_at": None, "fetched_at": datetime(2026, 1, 1, tzinfo=UTC)}, b"x" * 150), [])
"""


def test_a_file_that_cannot_grow_is_told_with_its_cure_and_keeps_what_it_has(tmp_path):
    program = _MAKE_OUTCOME + textwrap.dedent(f"""
        import resource, signal
        from pathlib import Path
        from geoloc_pipeline.errors import HomeError
        from geoloc_pipeline.imagery.intake import Intake
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        intake = Intake(Path({str(tmp_path)!r}), recipe="abcdef")
        for number in range(100):
            try:
                intake.add({_CHUNK!r}, f"k{{number}}", outcome(number))
            except HomeError as error:
                print(number, error)
                raise SystemExit(3)
    """)
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    count, said = ended.stdout.split(" ", 1)
    assert "ulimit" in said
    intake = Intake(tmp_path, recipe="abcdef")
    assert intake.find(f"k{int(count) - 1}") is not None
    assert intake.find(f"k{count}") is None

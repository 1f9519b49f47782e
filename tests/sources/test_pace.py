"""Requests are spaced and counted, whoever makes them, in however many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import BudgetSpentError, HomeError
from geoloc_pipeline.sources.pace import DailyBudget, TokenBucket

TODAY = date(2026, 1, 1)
ROOT = Path(__file__).parents[2]


class _Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@given(
    pauses_s=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    per_second=st.floats(0.5, 20),
    burst=st.integers(1, 10),
)
def test_no_window_holds_more_than_the_burst_and_the_rate(pauses_s, per_second, burst):
    clock = _Clock()
    bucket = TokenBucket(per_second, burst, clock)
    goes_s = []
    for pause_s in pauses_s:  # many wait at once: the next turn is taken before the last one has gone
        clock.now_s += pause_s
        wait_s = bucket.reserve()
        assert wait_s >= 0
        goes_s.append(clock.now_s + wait_s)
    assert goes_s == sorted(goes_s)
    for first, start_s in enumerate(goes_s):
        for last in range(first, len(goes_s)):
            assert last - first + 1 <= burst + per_second * (goes_s[last] - start_s) + 1e-6


@given(burst=st.integers(1, 10), more=st.integers(1, 10), per_second=st.floats(0.5, 20))
def test_after_a_pause_a_burst_goes_at_once_and_the_rest_in_step(burst, more, per_second):
    bucket = TokenBucket(per_second, burst, _Clock())
    waits_s = [bucket.reserve() for _ in range(burst + more)]
    assert waits_s[:burst] == pytest.approx([0.0] * burst, abs=1e-9)
    assert waits_s[burst:] == pytest.approx([number / per_second for number in range(1, more + 1)])


def test_who_is_slower_than_the_rate_never_waits():
    clock = _Clock()
    bucket = TokenBucket(2.0, 1, clock)
    for _ in range(10):
        clock.now_s += 0.51
        assert bucket.reserve() == 0


@given(hold_s=st.floats(0, 100), per_second=st.floats(0.5, 20) | st.just(float("inf")), n=st.integers(1, 9))
def test_a_bucket_on_hold_gives_no_turn_and_then_one_by_one(hold_s, per_second, n):
    clock = _Clock()
    bucket = TokenBucket(per_second, 5, clock)
    bucket.hold(hold_s)
    bucket.hold(hold_s / 2)  # the longer one counts
    for number in range(n):
        assert bucket.reserve() == pytest.approx(hold_s + number / per_second)
    clock.now_s += hold_s + 1000
    assert bucket.reserve() == 0


def test_turns_are_given_once_between_threads():
    bucket, waits_s = TokenBucket(1.0, 1, _Clock()), []
    threads = [threading.Thread(target=lambda: waits_s.extend(bucket.reserve() for _ in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits_s) == list(range(800))


def _spend_all(budget, tries=10_000):
    spent = 0
    try:
        while spent < tries:
            budget.spend()
            spent += 1
    except BudgetSpentError:
        return spent
    return spent


@given(limit=st.integers(0, 30), block=st.integers(1, 40), is_kept=st.booleans())
def test_a_budget_ends_exactly_at_its_limit(limit, block, is_kept, tmp_path_factory):
    path = tmp_path_factory.mktemp("budgets") / "a" / "host.json" if is_kept else None
    budget = DailyBudget("a service", limit, path, block=block)
    for left in range(limit, 0, -1):
        assert budget.left() == left
        budget.spend()
    assert budget.left() == 0
    with pytest.raises(BudgetSpentError, match=f"{limit} requests to a service"):
        budget.spend()


def test_a_budget_ends_exactly_at_its_limit_between_threads_too():
    budget, spent = DailyBudget("a service", 50, block=7), []
    threads = [threading.Thread(target=lambda: spent.append(_spend_all(budget, 20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(spent) == 50


def test_what_is_left_is_given_back_and_the_next_run_goes_on(tmp_path):
    path = tmp_path / "host.json"
    first = DailyBudget("a service", 100, path, today=lambda: TODAY, block=30)
    first.spend()
    assert json.loads(path.read_text()) == {"day": "2026-01-01", "spent": 30}
    first.close()
    assert json.loads(path.read_text()) == {"day": "2026-01-01", "spent": 1}
    first.close()  # twice gives back once
    again = DailyBudget("a service", 100, path, today=lambda: TODAY)
    assert again.left() == 99
    assert _spend_all(again) == 99


def test_two_budgets_on_one_file_share_the_day(tmp_path):
    one, two = (DailyBudget("a service", 10, tmp_path / "host.json", today=lambda: TODAY, block=4) for _ in range(2))
    one.spend()
    two.spend()
    assert (one.left(), two.left()) == (5, 5)  # three in its own hand and two in the file
    assert _spend_all(one) == 5
    one.close()
    assert _spend_all(two) == 3


def test_a_new_day_is_a_fresh_one_and_gives_nothing_back(tmp_path):
    path, day = tmp_path / "host.json", [TODAY]
    budget = DailyBudget("a service", 2, path, today=lambda: day[0])
    assert _spend_all(budget) == 2
    day[0] = date(2026, 1, 2)
    assert budget.left() == 2
    budget.spend()
    day[0] = date(2026, 1, 3)
    budget.close()  # yesterday's block
    assert DailyBudget("a service", 2, path, today=lambda: day[0]).left() == 2


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"[]", b"null", b"\xff", b'{"day": "2026-01-01"}', b'{"day": "2026-01-01", "spent": "x"}', b"{}"]
    + [f'{{"day": "2026-01-01", "spent": {number}}}'.encode() for number in ("Infinity", "NaN", "-5", "null")],
)
def test_a_spoilt_count_is_a_fresh_one(tmp_path, content):
    path = tmp_path / "host.json"
    path.write_bytes(content)
    budget = DailyBudget("a service", 3, path, today=lambda: TODAY)
    assert budget.left() == 3
    assert _spend_all(budget) == 3
    assert json.loads(path.read_text()) == {"day": "2026-01-01", "spent": 3}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError):
        DailyBudget("a service", 3, tmp_path / "file" / "host.json").spend()


PROGRAM = """
import sys
from pathlib import Path
from geoloc_pipeline.errors import BudgetSpentError
from geoloc_pipeline.sources.pace import DailyBudget
budget, spent = DailyBudget("a service", 400, Path(sys.argv[1]), block=int(sys.argv[2])), 0
print("ready", flush=True)
sys.stdin.readline()
try:
    while True:
        budget.spend()
        spent += 1
        if spent == int(sys.argv[3]):
            print(spent, flush=True)
            sys.stdin.readline()
except BudgetSpentError:
    print(spent)
"""


def _process(path, *, block, stop_at=-1):
    command = [sys.executable, "-c", PROGRAM, str(path), str(block), str(stop_at)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "ready\n"
    return process


def _go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_on_one_file_never_overspend(tmp_path):
    pair = [_process(tmp_path / "host.json", block=block) for block in (1, 3)]
    for process in pair:
        _go(process)
    spent = [int(process.communicate()[0]) for process in pair]
    assert sum(spent) == 400


def test_a_process_that_is_killed_loses_at_most_its_block(tmp_path):
    path = tmp_path / "host.json"
    process = _process(path, block=50, stop_at=70)
    _go(process)
    assert process.stdout.readline() == "70\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert DailyBudget("a service", 400, path).left() == 300

"""Requests are spaced and counted, whoever makes them."""

from __future__ import annotations

import threading
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import BudgetSpentError
from geoloc_pipeline.sources.pace import DailyBudget, TokenBucket


class _Clock:
    def __init__(self):
        self.now_s = 100.0

    def sleep(self, seconds):
        self.now_s += seconds


@given(
    pauses_s=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    per_second=st.floats(0.5, 20),
    burst=st.integers(1, 10),
)
def test_no_window_holds_more_than_the_burst_and_the_rate(pauses_s, per_second, burst):
    clock = _Clock()
    bucket = TokenBucket(per_second, burst, lambda: clock.now_s, clock.sleep)
    taken_s = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        bucket.take()
        taken_s.append(clock.now_s)
    for first, start_s in enumerate(taken_s):
        for last in range(first, len(taken_s)):
            assert last - first + 1 <= burst + per_second * (taken_s[last] - start_s) + 1e-6


def test_who_is_slower_than_the_rate_never_waits():
    clock = _Clock()
    bucket = TokenBucket(2.0, 1, lambda: clock.now_s, lambda seconds: pytest.fail("waited"))
    for _ in range(10):
        clock.now_s += 0.51
        bucket.take()


def test_a_budget_ends_exactly_at_its_limit_between_threads_too():
    budget, refused = DailyBudget("a service", 50), []

    def spend():
        for _ in range(20):
            try:
                budget.spend()
            except BudgetSpentError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 30
    assert "50" in refused[0]
    assert "a service" in refused[0]


def test_a_budget_survives_a_restart_and_is_fresh_the_next_day(tmp_path):
    path, day = tmp_path / "budget.json", [date(2026, 1, 1)]
    DailyBudget("a service", 2, path, today=lambda: day[0]).spend()
    again = DailyBudget("a service", 2, path, today=lambda: day[0])
    again.spend()
    with pytest.raises(BudgetSpentError):
        again.spend()
    day[0] = date(2026, 1, 2)
    again.spend()


def test_a_spoilt_count_is_a_fresh_one(tmp_path):
    path = tmp_path / "budget.json"
    path.write_text("{")
    DailyBudget("a service", 1, path).spend()

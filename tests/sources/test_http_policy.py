"""What both clients think of answers: passing or permanent, how long to wait, and what may be shown."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.sources.http_policy import (
    LONGEST_WAIT_S,
    PASSING,
    Answer,
    PassingFaultError,
    Policy,
    judge_by_status,
    judge_picture,
    retry_after_s,
    wait_before_try_s,
)

HTML, JPEG = {"content-type": "text/html; charset=utf-8"}, {"content-type": "image/jpeg"}


def _policy(**settings):
    return Policy(**{"contact": "", "tries": 3, "deadline_s": 9.0, "largest_bytes": 100} | settings)


def _answer(status, *, headers=None, content=b"said"):
    return Answer(status=status, headers=httpx.Headers(headers or {}), content=content, url="https://service.example.org/")


@given(status=st.integers(200, 599))
def test_a_status_is_taken_passing_or_permanent(status):
    expected = "take" if status < 400 else "again" if status in PASSING else "refused"
    assert judge_by_status(_answer(status)) == expected
    assert judge_picture(_answer(status, headers=JPEG)) == expected
    assert judge_picture(_answer(status, headers=HTML)) == ("again" if status < 400 else expected)


def test_every_fault_of_a_server_passes_and_no_fault_of_ours():
    assert {500, 502, 503, 504, 429, 408} <= PASSING
    assert not {400, 401, 403, 404, 410, 501} & PASSING


@given(failed=st.integers(1, 60), seed=st.integers())
def test_waits_grow_to_a_limit_and_never_all_at_once(failed, seed):
    wait_s = wait_before_try_s(failed, random.Random(seed))
    full_s = min(LONGEST_WAIT_S, 2.0 ** (failed - 1))
    assert full_s / 2 <= wait_s <= full_s


@given(seconds=st.integers(0, 10**6))
def test_retry_after_is_seconds_or_a_date(seconds):
    assert retry_after_s(httpx.Headers({"Retry-After": f" {seconds} "})) == seconds
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    said_s = retry_after_s(httpx.Headers({"Retry-After": format_datetime(moment, usegmt=True)}))
    assert said_s == pytest.approx(seconds, abs=2)


@pytest.mark.parametrize("said", ["", "soon", "-5", "Mon, 99 Foo 2026"])
def test_an_unreadable_retry_after_is_none(said):
    assert retry_after_s(httpx.Headers({"Retry-After": said})) is None


def test_a_date_in_the_past_means_now():
    assert retry_after_s(httpx.Headers({"Retry-After": "Thu, 01 Jan 1998 00:00:00 GMT"})) == 0


@pytest.mark.parametrize(
    ("status", "headers", "wait_s", "concerns_all"),
    [(429, {"Retry-After": "7"}, 7, True), (429, {}, None, True), (503, {"Retry-After": "7"}, 7, True), (503, {}, None, False)],
)
def test_who_asks_all_to_wait_is_told_from_who_stumbles(status, headers, wait_s, concerns_all):
    with pytest.raises(PassingFaultError) as caught:
        _judged(_policy(), _answer(status, headers=headers))
    assert (caught.value.wait_s, caught.value.concerns_all) == (wait_s, concerns_all)


def _judged(policy, answer, absent=frozenset()):
    return policy.judged(answer, judge=judge_by_status, absent=absent, service="A", cure="do this")


def test_a_refusal_says_what_was_said_and_the_cure():
    with pytest.raises(SourceRefusedError, match=r"A refused.*HTTP 403 \(said\) for https://service\.example\.org/; do this"):
        _judged(_policy(), _answer(403))
    assert _judged(_policy(), _answer(403), absent=frozenset({403})).status == 403


def test_patience_ends_after_so_many_tries():
    fault = PassingFaultError("no connection")
    assert _policy(tries=3).wait_after(fault, 2, service="A", shown="there") > 0
    with pytest.raises(SourceUnavailableError, match=r"A did not answer there: no connection \(tried 3 times\)"):
        _policy(tries=3).wait_after(fault, 3, service="A", shown="there")


@given(announced=st.integers(0, 300), came=st.integers(0, 300))
def test_an_answer_is_whole_or_a_fault(announced, came):
    policy, headers = _policy(), httpx.Headers({"Content-Length": str(announced)})
    for is_fault, check in (
        (announced > 100, lambda: policy.check_announced(headers)),
        (came > 100, lambda: policy.check_size(came)),
        (came < announced, lambda: policy.check_whole(headers, came)),
    ):
        if is_fault:
            with pytest.raises(PassingFaultError):
                check()
        else:
            check()


def test_a_length_that_is_none_says_nothing():
    for headers in ({}, {"Content-Length": "many"}, {"Content-Length": "-5"}):
        _policy().check_announced(httpx.Headers(headers))
        _policy().check_whole(httpx.Headers(headers), 0)
    _policy().check_whole(httpx.Headers({"Content-Length": "90", "Content-Encoding": "gzip"}), 7)  # it was of the zipped body


def test_secrets_are_hidden_wherever_something_is_shown():
    policy = _policy()
    policy.redaction.hide("very-secret")
    assert policy.shown("https://a.example.org/x", {"q": "very-secret", "p": "1"}) == "https://a.example.org/x?q=***&p=1"
    assert "very-secret" not in policy.said(_answer(500, content=b"no: very-secret"))
    assert "very-secret" not in str(policy.fault(OSError("https://a.example.org/very-secret")))


def test_the_user_agent_says_who_asks():
    assert _policy(contact="maps@example.org").user_agent.endswith("(maps@example.org)")
    assert "no contact" in _policy().user_agent

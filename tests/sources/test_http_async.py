"""The asynchronous client's rules, told by a service made of a function: when it asks again, when it waits, what it counts.

Real sockets: `test_http_async_sockets.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from geoloc_pipeline.errors import BudgetSpentError, GeolocError, SourceRefusedError, SourceUnavailableError

URL = "https://service.example.org/thing"
TOKEN = "MLY|1|very-secret-token"


def _then(*answers):
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def _asked(service, ask, **settings):
    async def inside():
        async with service.async_client(**settings) as client:
            return await ask(client)

    return asyncio.run(inside())


def test_waits_grow_and_patience_ends(fake):
    service = fake(_then(httpx.Response(503)))
    with pytest.raises(SourceUnavailableError, match="tried 5 times"):
        _asked(service, lambda client: client.get(URL, service="A"), tries=5)
    assert len(service.asked) == 5
    for failed, wait_s in enumerate(service.waits_s):
        assert 0.5 * 2**failed <= wait_s <= 2**failed


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_permanent_status_is_asked_once(fake, status):
    service = fake(_then(httpx.Response(status, text="no")))
    with pytest.raises(SourceRefusedError, match=f"HTTP {status}.*do this"):
        _asked(service, lambda client: client.get(URL, service="A", cure="do this"))
    assert (len(service.asked), service.waits_s) == (1, [])
    absent = frozenset({status})
    assert _asked(service, lambda client: client.get(URL, service="A", absent=absent)).status == status


def test_retry_after_is_honoured_in_seconds_and_as_a_date(fake):
    moment = datetime.now(UTC) + timedelta(seconds=100)
    service = fake(
        _then(
            httpx.Response(429, headers={"Retry-After": "7"}),
            httpx.Response(503, headers={"Retry-After": format_datetime(moment, usegmt=True)}),
            httpx.Response(200),
        )
    )
    _asked(service, lambda client: client.get(URL, service="A"), clock=lambda: 50.0 + sum(service.waits_s))
    assert service.waits_s[0] == pytest.approx(7)
    assert 97 <= service.waits_s[1] <= 100


def test_a_service_that_wants_hours_of_peace_gets_them(fake):
    service = fake(_then(httpx.Response(429, headers={"Retry-After": "7200"})))
    with pytest.raises(SourceUnavailableError, match="7200 s"):
        _asked(service, lambda client: client.get(URL, service="A"))
    assert service.waits_s == []


@pytest.mark.parametrize(("headers", "least_s"), [({"Retry-After": "30"}, 30.0), ({}, 0.5)])
def test_too_many_requests_hush_every_task_and_no_other_host(fake, headers, least_s):
    service = fake(_then(httpx.Response(429, headers=headers), httpx.Response(200)))

    async def ask(client):
        await client.get("https://other.example.org/", service="B", absent=frozenset({429}))
        service.answer = _then(httpx.Response(429, headers=headers), httpx.Response(200))
        first = asyncio.create_task(client.get(URL, service="A"))
        await asyncio.sleep(0)
        while not service.waits_s:
            await asyncio.sleep(0)
        await client.get("https://service.example.org/another", service="A")
        asked = len(service.waits_s)
        await client.get("https://other.example.org/", service="B")
        assert len(service.waits_s) == asked
        await first

    _asked(service, ask, clock=lambda: 50.0)
    assert len(service.waits_s) >= 2
    assert min(service.waits_s) >= least_s - 1e-9


def test_html_instead_of_json_is_told_as_such(fake):
    service = fake(_then(httpx.Response(200, html="<html>")))
    with pytest.raises(SourceUnavailableError, match="text/html"):
        _asked(service, lambda client: client.get_json(URL, service="A"))


def test_the_rate_of_a_host_is_kept_and_the_clients_own_goes_before(fake):
    service = fake(_then(httpx.Response(200)))

    async def ask(client):
        client.limit("slow.example.org", service="A", per_second=100.0)
        client.limit("slow.example.org", service="A", per_second=200.0)
        client.limit("fast.example.org", service="A", per_second=2.0)
        for _ in range(3):
            await client.get("https://slow.example.org/", service="A")
            await client.get("https://fast.example.org/", service="A")

    _asked(service, ask, per_second={"slow.example.org": 1.0}, clock=lambda: 0.0)
    assert service.waits_s == [1.0, 2.0, 0.5]


def test_a_days_budget_is_kept_between_clients_and_what_is_left_is_given_back(fake, tmp_path):
    service = fake(_then(httpx.Response(200)))

    def once(n_left):
        async def ask(client):
            client.limit("service.example.org", service="A", per_day=2)
            await client.get(URL, service="A")
            assert client.left_today("service.example.org") == n_left
            assert client.left_today("other.example.org") is None

        return ask

    _asked(service, once(1), budgets_folder=tmp_path)
    assert json.loads((tmp_path / "service.example.org.json").read_text())["spent"] == 1
    _asked(service, once(0), budgets_folder=tmp_path)
    with pytest.raises(BudgetSpentError):
        _asked(service, once(0), budgets_folder=tmp_path)
    assert len(service.asked) == 2
    _asked(service, once(1), budgets_folder=tmp_path, per_day={"service.example.org": 4})


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(401, text=f"bad token {TOKEN}"),
        lambda request: httpx.Response(500, text=f"cannot serve {request.url}"),
        lambda request: httpx.Response(302, headers={"Location": f"{URL}?access_token={TOKEN}"}),
        lambda request: (_ for _ in ()).throw(httpx.ConnectError(f"no way to {request.url}", request=request)),
        lambda request: httpx.Response(200, text=f"<html>{request.url}"),
    ],
)
def test_the_token_is_in_no_error_and_no_log_line(fake, caplog, answer):
    caplog.set_level(logging.DEBUG)

    async def ask(client):
        client.redaction.hide(TOKEN)
        await client.get_json(URL, service="A", params={"access_token": TOKEN}, headers={"Authorization": f"OAuth {TOKEN}"})

    with pytest.raises(GeolocError) as caught:
        _asked(fake(answer), ask, tries=2)
    error = caught.value
    said = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__) + repr(error.__context__)
    assert "very-secret" not in said + caplog.text
    assert "service.example.org" in str(error) + caplog.text

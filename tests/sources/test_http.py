"""The client is patient with passing faults, quick with permanent ones, and silent about secrets."""

from __future__ import annotations

import logging
import socket
import threading
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from geoloc_pipeline.errors import BudgetSpentError, GeolocError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.sources.http import HttpClient
from geoloc_pipeline.sources.pace import DailyBudget

URL = "https://service.example.org/thing"
TOKEN = "MLY|1|very-secret-token"


def _then(*answers):
    """Give one answer after the other, the last one for ever; exceptions are raised."""
    left = list(answers)

    def answer(request):
        item = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(item, Exception):
            raise item
        return item

    return answer


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_status_is_asked_again_with_growing_waits(fake, status):
    service = fake(_then(*[httpx.Response(status)] * 4, httpx.Response(200, content=b"there")))
    assert service.client().get(URL, service="A").content == b"there"
    assert len(service.asked) == 5
    for failed, wait_s in enumerate(service.waits_s):
        assert 0.5 * 2**failed <= wait_s <= 2**failed


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_permanent_status_is_asked_once(fake, status):
    service = fake(_then(httpx.Response(status, text="no")))
    with pytest.raises(SourceRefusedError, match=f"HTTP {status}.*do this"):
        service.client().get(URL, service="A", cure="do this")
    assert len(service.asked) == 1
    assert service.waits_s == []


def test_a_status_that_means_absent_is_an_answer(fake):
    assert fake(_then(httpx.Response(404))).client().get(URL, service="A", absent=frozenset({404})).status == 404


@pytest.mark.parametrize(
    "fault", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x"), httpx.ReadError("x")]
)
def test_a_fault_of_the_connection_is_asked_again(fake, fault):
    service = fake(_then(fault, httpx.Response(200, content=b"there")))
    assert service.client().get(URL, service="A").content == b"there"


def test_patience_ends(fake):
    service = fake(_then(httpx.Response(503)))
    with pytest.raises(SourceUnavailableError, match="tried 3 times"):
        service.client(tries=3).get(URL, service="A")
    assert len(service.asked) == 3
    assert len(service.waits_s) == 2


def test_retry_after_is_honoured_in_seconds_and_as_a_date(fake):
    moment = datetime.now(UTC) + timedelta(seconds=100)
    service = fake(
        _then(
            httpx.Response(429, headers={"Retry-After": "7"}),
            httpx.Response(503, headers={"Retry-After": format_datetime(moment, usegmt=True)}),
            httpx.Response(200),
        )
    )
    service.client().get(URL, service="A")
    assert service.waits_s[0] == 7
    assert 97 <= service.waits_s[1] <= 100


def test_a_service_that_wants_hours_of_peace_gets_them(fake):
    service = fake(_then(httpx.Response(429, headers={"Retry-After": "7200"})))
    with pytest.raises(SourceUnavailableError, match="7200 s"):
        service.client().get(URL, service="A")
    assert service.waits_s == []


def test_a_short_body_is_no_answer(fake):
    short = httpx.Response(200, headers={"Content-Length": "10"}, stream=httpx.ByteStream(b"12345"))
    service = fake(_then(short, httpx.Response(200, content=b"1234567890")))
    assert service.client().get(URL, service="A").content == b"1234567890"


def test_a_body_without_end_and_a_slow_drip_are_left(fake):
    class Endless(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                yield b"x" * 100

    with pytest.raises(SourceUnavailableError, match="longer than 1000"):
        fake(lambda request: httpx.Response(200, stream=Endless())).client(tries=2, largest_bytes=1000).get(URL, service="A")
    seconds = iter(range(0, 10**9, 100))
    with pytest.raises(SourceUnavailableError, match="took longer"):
        fake(lambda request: httpx.Response(200, stream=Endless())).client(tries=2, clock=lambda: next(seconds)).get(
            URL, service="A"
        )


def test_redirects_in_circles_end(fake):
    service = fake(lambda request: httpx.Response(302, headers={"Location": str(request.url)}))
    with pytest.raises(SourceUnavailableError, match="TooManyRedirects"):
        service.client(tries=1).get(URL, service="A")


def test_html_instead_of_json_is_told_as_such(fake):
    service = fake(_then(httpx.Response(200, html="<html>")))
    with pytest.raises(SourceUnavailableError, match="text/html"):
        service.client().get_json(URL, service="A")


def test_the_user_agent_says_who_asks(fake):
    service = fake(_then(httpx.Response(200)))
    service.client(contact="maps@example.org").get(URL, service="A")
    assert "maps@example.org" in service.asked[0].headers["user-agent"]
    assert service.asked[0].headers["user-agent"].startswith("geoloc-pipeline/")


def test_the_rate_of_a_host_is_kept_and_others_are_not_slowed(fake):
    service = fake(_then(httpx.Response(200)))
    client = service.client(per_second={"slow.example.org": 1.0}, clock=lambda: 0.0)
    for _ in range(3):
        client.get("https://slow.example.org/", service="A")
        client.get("https://fast.example.org/", service="A")
    assert service.waits_s == [1.0, 2.0]


def test_a_spent_budget_asks_nothing(fake):
    service = fake(_then(httpx.Response(200)))
    client = service.client(budgets={"service.example.org": DailyBudget("A", 2)})
    for _ in range(2):
        client.get(URL, service="A")
    with pytest.raises(BudgetSpentError):
        client.get(URL, service="A")
    assert len(service.asked) == 2


def test_an_authorization_does_not_follow_a_redirect_to_a_stranger(fake):
    service = fake(
        lambda request: (
            httpx.Response(302, headers={"Location": "https://other.example.org/"})
            if request.url.host == "service.example.org"
            else httpx.Response(200)
        )
    )
    service.client().get(URL, service="A", headers={"Authorization": f"OAuth {TOKEN}"})
    assert "authorization" not in service.asked[1].headers


def _everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__) + repr(error.__context__)


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
    client = fake(answer).client(tries=2)
    client.redaction.hide(TOKEN)
    with pytest.raises(GeolocError) as caught:
        client.get_json(URL, service="A", params={"access_token": TOKEN}, headers={"Authorization": f"OAuth {TOKEN}"})
    assert "very-secret" not in _everything_said(caught.value)
    assert "very-secret" not in caplog.text
    assert "service.example.org" in str(caught.value) + caplog.text


def test_a_connection_that_is_reset_on_a_real_socket_is_asked_again():
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        for number in range(2):
            connection, _ = server.accept()
            connection.recv(65536)
            said = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            connection.sendall(said + (b"wh" if number == 0 else b"whole"))
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client = HttpClient(sleep=lambda seconds: None)
    assert client.get(f"http://127.0.0.1:{server.getsockname()[1]}/", service="A").content == b"whole"
    client.close()
    thread.join()
    server.close()


def test_the_date_of_an_answer_is_the_services_own(fake):
    said = httpx.Response(200, headers={"Date": "Tue, 03 Nov 2026 10:11:12 GMT"})
    assert fake(_then(said)).client().get(URL, service="A").sent_at == datetime(2026, 11, 3, 10, 11, 12, tzinfo=UTC)
    now = fake(_then(httpx.Response(200, headers={"Date": "yesterday"}))).client().get(URL, service="A").sent_at
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60

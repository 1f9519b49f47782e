"""The asynchronous client on real sockets: every way in which a service lets it down passes, ends, and shows no secret."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
import traceback
from contextlib import asynccontextmanager

import pytest

from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.sources.http_async import AsyncHttpClient

TOKEN = "MLY|1|very-secret-token"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
SLOWLY_S = 0.02


class Port:
    """A server that answers request after request as it is told: bytes, pieces with pauses, or what a function does."""

    def __init__(self, *answers):
        self.answers, self.heads = list(answers), []
        self.connections, self.open, self.most_open = 0, 0, 0
        self.gone = asyncio.Event()

    async def serve(self, reader, writer):
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if await self.say(answer, writer) == "hang up":
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()  # by the client
        finally:
            self.open -= 1
            writer.close()

    async def say(self, answer, writer):
        if not isinstance(answer, bytes):
            return await answer(writer)
        writer.write(answer)
        await writer.drain()
        return None

    @property
    def lines(self):
        return [head.split("\r\n")[0] for head in self.heads]


@asynccontextmanager
async def listening(*answers):
    port = Port(*answers)
    server = await asyncio.start_server(port.serve, "127.0.0.1", 0)
    port.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield port
    finally:
        server.close()


def asking(waits_s=None, **settings):
    async def sleep(seconds):
        (waits_s if waits_s is not None else []).append(seconds)

    return AsyncHttpClient(sleep=sleep, **{"deadline_s": 5.0, **settings})


def answered(*answers, path="/", waits_s=None, ask=None, **settings):
    """Ask a server that answers so; return what came, and the server."""

    async def inside():
        async with listening(*answers) as port, asking(waits_s, **settings) as client:
            if ask is not None:
                return await ask(client, port), port
            return await client.get(f"{port.url}{path}", service="A"), port

    return asyncio.run(inside())


def then_hangs_up(*pieces):
    async def say(writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(SLOWLY_S)
        return "hang up"

    return say


def then_resets(content):
    async def say(writer):
        writer.write(content)
        await writer.drain()
        await asyncio.sleep(SLOWLY_S)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return "hang up"

    return say


def for_ever(head, piece, pause_s=0.0):
    async def say(writer):
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return say


OK = b"HTTP/1.1 200 OK\r\n"
FAULTS = {
    "hung up before a word": then_hangs_up(b""),
    "hung up in the headers": then_hangs_up(OK + b"Content-Le"),
    "reset before a word": then_resets(b""),
    "reset in the middle": then_resets(OK + b"Content-Length: 5\r\n\r\nwh"),
    "a body shorter than its length": then_hangs_up(OK + b"Content-Length: 5\r\n\r\nwh"),
    "a chunk that breaks off": then_hangs_up(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nwh"),
    "a chunk without size": then_hangs_up(OK + b"Transfer-Encoding: chunked\r\n\r\nfive\r\nwhole\r\n"),
    "gzip that is none": then_hangs_up(OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nwhole"),
    "no HTTP": then_hangs_up(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a header without name": then_hangs_up(OK + b": x\r\nContent-Length: 5\r\n\r\nwhole"),
    "a length that is no number": then_hangs_up(OK + b"Content-Length: five\r\n\r\nwhole"),
    "two lengths": then_hangs_up(OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nwhole"),
    "a header without end": then_hangs_up(OK + b"X: " + b"x" * 100_000),
    "a redirect to no address": then_hangs_up(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n"),
    "a redirect to no port": then_hangs_up(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:99999/\r\nContent-Length: 0\r\n\r\n"
    ),
    "a redirect to a closed port": then_hangs_up(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "a body without end": for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3E8\r\n" + b"x" * 1000 + b"\r\n"),
    "a body too long": then_hangs_up(OK + b"Content-Length: 20000\r\n\r\n" + b"x" * 20000),
    "headers that do not come": for_ever(OK, b"X: y\r\n", pause_s=SLOWLY_S),
    "a slow drip": for_ever(OK + b"Content-Length: 9999\r\n\r\n", b"x", pause_s=SLOWLY_S),
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno",
    "502 with a page": b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "429": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "a length beyond all": for_ever(OK + b"Content-Length: 99999999999999\r\n\r\n", b"x", pause_s=SLOWLY_S),
}

ASKED_AGAIN_AT_ONCE = {"hung up before a word", "hung up in the headers", "reset before a word"}
"""By aiohttp itself, once: so end connections that were kept alive for too long."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_connection_passes_and_the_next_answer_is_whole(fault):
    waits_s = []
    answer, port = answered(FAULTS[fault], WHOLE, waits_s=waits_s, deadline_s=0.3, largest_bytes=10_000)
    assert answer.content == b"whole"
    assert len(port.heads) == 2
    assert len(waits_s) == (0 if fault in ASKED_AGAIN_AT_ONCE else 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_does_not_pass_ends_and_shows_no_token(fault, caplog):
    caplog.set_level(logging.DEBUG)

    async def ask(client, port):
        client.redaction.hide(TOKEN)
        await client.get(port.url, service="A", params={"access_token": TOKEN}, headers={"Authorization": f"OAuth {TOKEN}"})

    with pytest.raises(SourceUnavailableError, match=r"A did not answer http://127\.0\.0\.1.*tried 2 times") as caught:
        answered(FAULTS[fault], ask=ask, tries=2, deadline_s=0.2, largest_bytes=10_000)
    gc.collect()  # what was never closed complains now
    error = caught.value
    said = "".join(traceback.format_exception(error)) + repr(error.__cause__) + repr(error.__context__) + caplog.text
    assert "very-secret" not in said


def test_a_redirect_in_a_circle_ends():
    circle = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(SourceUnavailableError, match="TooManyRedirects"):
        answered(circle, tries=1)


def test_a_redirect_to_another_protocol_is_refused_and_not_asked_again():
    async def ask(client, port):
        with pytest.raises(SourceRefusedError, match=r"redirects to ftp://127\.0\.0\.1"):
            await client.get(f"{port.url}/?access_token={TOKEN}", service="A")

    elsewhere = b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    _, port = answered(elsewhere, WHOLE, ask=ask)
    assert len(port.heads) == 1


def test_a_name_that_nobody_knows_is_a_passing_fault():
    async def ask(client, port):
        return await client.get("http://nobody.invalid/", service="A")

    with pytest.raises(SourceUnavailableError, match=r"ConnectorDNSError.*nobody\.invalid.*tried 2 times"):
        answered(WHOLE, ask=ask, tries=2)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:x/", "no address", "ftp://127.0.0.1/", "http:///path"])
def test_what_is_no_address_is_told(url):
    async def ask(client, port):
        return await client.get(url, service="A")

    with pytest.raises(SourceUnavailableError):
        answered(WHOLE, ask=ask, tries=2)


def test_a_body_longer_than_its_length_spoils_nothing():
    async def ask(client, port):
        return [(await client.get(port.url, service="A")).content for _ in range(3)]

    contents, _ = answered(WHOLE + b"and more", WHOLE, ask=ask)
    assert contents == [b"whole"] * 3


@pytest.mark.parametrize(
    "target",
    [
        "/a%7Cb/An%41?x=%7C&s=a%2Cb&t=%2B+%20&oh=%7e~&e=a%3Ab%2Fc%3D",
        "/p%2Fq//r?pKey=1%2C2&access_token=MLY%7C1%7C2",
        "/%E6%9D%B1?q=%e6%9d%b1&&a=&b",
        "/x?sig=abc%2Bd%3D%3D&Expires=1;a=b",
        "/m1/v/t6/An_1-2~.jpg?stp=s1024&ccb=10-5&oh=00_Af&oe=6F&_nc_sid=2018c7",
    ],
)
def test_addresses_arrive_as_they_were_given(target):
    _, port = answered(WHOLE, path=target)
    assert port.lines == [f"GET {target} HTTP/1.1"]
    location = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    _, port = answered(location, WHOLE)
    assert port.lines[1] == f"GET {target} HTTP/1.1"


def test_nobodys_cookies_are_kept():
    cookie = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"

    async def ask(client, port):
        return [(await client.get(port.url, service="A")).content for _ in range(2)]

    _, port = answered(cookie, WHOLE, ask=ask)
    assert len(port.heads) == 3
    assert "cookie" not in "".join(port.heads).lower()


def test_an_authorization_goes_to_its_own_host_only():
    async def inside():
        async with listening(WHOLE) as other, listening(WHOLE) as own, asking() as client:
            own.answers[:] = [
                b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
                f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode(),
            ]
            await client.get(own.url, service="A", headers={"Authorization": f"OAuth {TOKEN}"})
            return own, other

    own, other = asyncio.run(inside())
    assert ["very-secret" in head for head in own.heads] == [True, True]
    assert "very-secret" not in other.heads[0]


def test_one_connection_serves_many_requests_and_says_who_asks():
    async def ask(client, port):
        for _ in range(5):
            await client.get(port.url, service="A")

    _, port = answered(WHOLE, ask=ask, contact="maps@example.org")
    assert (port.connections, len(port.heads)) == (1, 5)
    assert all("geoloc-pipeline/" in head and "maps@example.org" in head for head in port.heads)


def test_no_more_connections_are_open_than_allowed():
    async def slowly(writer):
        await asyncio.sleep(SLOWLY_S / 4)
        writer.write(WHOLE)

    async def ask(client, port):
        return await asyncio.gather(*(client.get(f"{port.url}/{number}", service="A") for number in range(40)))

    answers, port = answered(slowly, ask=ask, connections=3)
    assert [answer.content for answer in answers] == [b"whole"] * 40
    assert port.most_open == 3
    assert sorted(port.lines) == sorted(f"GET /{number} HTTP/1.1" for number in range(40))


@pytest.mark.parametrize("stage", ["headers that do not come", "a slow drip", "a body without end"])
def test_a_cancelled_request_closes_its_connection(stage):
    async def ask(client, port):
        task = asyncio.create_task(client.get(port.url, service="A"))
        await asyncio.sleep(5 * SLOWLY_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(port.gone.wait(), 1.0)  # the client itself stays open
        return (await client.get(port.url, service="A")).content

    content, _ = answered(FAULTS[stage], WHOLE, ask=ask)
    assert content == b"whole"


def test_a_passed_deadline_closes_the_connection():
    async def ask(client, port):
        with pytest.raises(SourceUnavailableError, match=r"longer than 0\.1 s"):
            await client.get(port.url, service="A")
        await asyncio.wait_for(port.gone.wait(), 1.0)

    answered(FAULTS["a slow drip"], ask=ask, tries=1, deadline_s=0.1)


def test_waiting_for_a_free_connection_is_no_slow_answer():
    async def slowly(writer):
        await asyncio.sleep(0.05)
        writer.write(WHOLE)

    async def ask(client, port):
        return await asyncio.gather(*(client.get(port.url, service="A") for _ in range(8)))

    waits_s = []
    answers, _ = answered(slowly, ask=ask, connections=1, deadline_s=0.2, waits_s=waits_s)
    assert [answer.content for answer in answers] == [b"whole"] * 8
    assert waits_s == []

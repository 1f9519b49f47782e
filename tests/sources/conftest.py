"""A service made of a function, and a client that never really waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from geoloc_pipeline.sources.http import HttpClient


@dataclass
class Fake:
    """What a service was asked, and a client for it."""

    answer: Callable[[httpx.Request], httpx.Response]
    asked: list[httpx.Request] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def client(self, **settings) -> HttpClient:
        def handle(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            answer = self.answer(request)
            if answer.is_stream_consumed:  # one made with `content=`; over a wire its body would still be to come
                answer = httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))
            return answer

        return HttpClient(transport=httpx.MockTransport(handle), sleep=self.waits_s.append, **settings)


@pytest.fixture
def fake():
    return Fake

"""A home grown by code, and desks of it, for everything that is served."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from starlette.testclient import TestClient

from geoloc_pipeline.retrieval.answering.desk import Desk
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.web.app import build_app

GROWN = runpy.run_path(str(Path(__file__).parents[1] / "retrieval" / "grown_home.py"))


@pytest.fixture(scope="session")
def grown() -> SimpleNamespace:
    """What the home was grown with: `picture(seed)`, `encoded(pixels, kind)` and others."""
    return SimpleNamespace(**{name: value for name, value in GROWN.items() if not name.startswith("__")})


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, grown: SimpleNamespace) -> Home:
    """A whole home; whoever changes it takes a copy."""
    return grown.grow_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def desk(home: Home) -> Desk:
    """A desk of the whole home."""
    return Desk.open(home)


@pytest.fixture
def served() -> Iterator[Callable[..., httpx.Client]]:
    """Serve a desk; give a client that speaks to it as a browser of this machine does."""
    clients: list[TestClient] = []

    def serve(desk: object, **how: str) -> httpx.Client:
        client = TestClient(build_app(desk, **how), base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield serve
    for client in clients:
        client.__exit__(None, None, None)

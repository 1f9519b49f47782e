"""What every test may use. Sockets are shut except on loopback; real data beside the project is optional."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--online", action="store_true", help="run the tests that speak to the real services")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "chain" not in item.keywords)  # the longest first: the others fill the other core meanwhile
    if not config.getoption("--online"):
        skip = pytest.mark.skip(reason="speaks to the real services; run with --online")
        for item in items:
            if "online" in item.keywords:
                item.add_marker(skip)


@pytest.fixture
def shared_data() -> Path:
    """The real maps, census files and photos that may stand beside the project."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real data is not beside the project (../shared/data)")
    return path

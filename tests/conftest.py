"""What every test may use. Sockets are shut except on loopback; real data beside the project is optional."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of an S3 server on loopback."""
    moto = pytest.importorskip("moto.server", reason="no S3 server in Python is installed (moto)")
    pytest.importorskip("s3fs", reason="the extra `cloud` is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of that server; the environment lets the house find it, and the bucket `homes` is there."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="homes")
    return client


@pytest.fixture
def shared_data() -> Path:
    """The real maps, census files and photos that may stand beside the project."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real data is not beside the project (../shared/data)")
    return path

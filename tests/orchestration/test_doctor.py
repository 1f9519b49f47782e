"""What a machine has and lacks: told quickly, without a secret, a crash or a trace."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from geoloc_pipeline.orchestration.keeping.doctor import ANSWER_WITHIN_S, Finding, describe, examine
from geoloc_pipeline.sources.google import ACCEPTED_TERMS
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS
from geoloc_pipeline.storage.layout import Home

SECRETS = {
    "MAPILLARY_ACCESS_TOKEN": "MLY|1|s3cr3t-of-mapillary",
    "GOOGLE_MAPS_API_KEY": "AIza-s3cr3t-of-google",
    "GOOGLE_MAPS_SIGNING_SECRET": "s3cr3t-of-signing",
    "GEOLOC_QDRANT_API_KEY": "s3cr3t-of-qdrant",
}
TOKEN = {"MAPILLARY_ACCESS_TOKEN": SECRETS["MAPILLARY_ACCESS_TOKEN"]}


def findings(tmp_path: Path, **environ: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(Home.at(tmp_path / "home"), environ)}


@pytest.fixture
def qdrant():
    """A server that answers as told, and notes the keys that it was shown."""
    told = {"status": 200, "keys": []}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told["keys"].append(self.headers.get("api-key"))
            self.send_response(told["status"] if self.path == "/collections" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told["url"] = f"http://127.0.0.1:{server.server_port}"
    yield told
    server.shutdown()
    server.server_close()


def test_a_machine_with_a_token_is_ready_and_nothing_is_left_on_its_disk(tmp_path: Path) -> None:
    found = findings(tmp_path, **TOKEN)
    assert [finding.name for finding in found.values() if finding.is_blocking] == []
    assert {
        name: found[name].state for name in ("home", "profile", "street view", "Mapillary token", "Qdrant")
    } == dict.fromkeys(("home", "profile", "street view", "Mapillary token", "Qdrant"), "ok")
    assert (found["Google Street View"].state, found["contact"].state) == ("off", "off")
    assert list(tmp_path.iterdir()) == []


def test_without_a_token_the_cure_is_told_unless_mapillary_is_not_asked(tmp_path: Path) -> None:
    lacking = findings(tmp_path)["Mapillary token"]
    assert (lacking.state, lacking.is_blocking) == ("missing", True)
    assert "dashboard/developers" in lacking.cure
    assert findings(tmp_path, GEOLOC_STREET_VIEW="panoramax kartaview")["Mapillary token"].state == "off"
    wrong = findings(tmp_path, GEOLOC_STREET_VIEW="bing")["street view"]
    assert wrong.is_blocking
    assert "bing" in wrong.detail


def test_google_is_off_then_lacks_words_then_a_key(tmp_path: Path) -> None:
    asked = {**TOKEN, "GEOLOC_STREET_VIEW": "mapillary google"}
    assert "3.2.3(c)(vii)" in findings(tmp_path, **asked)["Google Street View"].detail
    asked["GEOLOC_GOOGLE_TERMS"] = ACCEPTED_TERMS
    assert findings(tmp_path, **asked)["Google Street View"].cure == "set GOOGLE_MAPS_API_KEY"
    assert findings(tmp_path, **asked, GOOGLE_MAPS_API_KEY="x")["Google Street View"].state == "ok"


def test_no_secret_is_ever_shown(tmp_path: Path, qdrant) -> None:
    spoilt = qdrant["url"].replace("//", "//user:s3cr3t-of-the-address@")
    for url in ("", spoilt, "http://user:s3cr3t-of-the-address@127.0.0.1:1", "::s3cr3t::", "http://[s3cr3t", "s3cr3t"):
        told = {**SECRETS, "GEOLOC_QDRANT_URL": url, "GEOLOC_STREET_VIEW": "mapillary google"}
        found = examine(Home.at(tmp_path), told)
        assert "s3cr3t" not in describe(found) + repr(found), url
        assert next(finding for finding in found if finding.name == "Qdrant").state == (
            "ok" if url in {"", spoilt} else "missing"
        )


@pytest.mark.parametrize(
    ("status", "state"), [(200, "ok"), (401, "missing"), (403, "missing"), (404, "missing"), (500, "missing")]
)
def test_a_server_is_asked_with_its_key(tmp_path: Path, qdrant, status: int, state: str) -> None:
    qdrant["status"] = status
    found = findings(tmp_path, GEOLOC_QDRANT_URL=qdrant["url"] + "/", GEOLOC_QDRANT_API_KEY="key-of-ours")["Qdrant"]
    assert (found.state, found.is_blocking) == (state, state == "missing")
    assert qdrant["keys"] == ["key-of-ours"]
    assert ("GEOLOC_QDRANT_API_KEY" in found.cure) == (status in {401, 403})


def test_what_follows_the_address_is_for_the_client_and_not_part_of_it(tmp_path: Path, qdrant) -> None:
    found = findings(tmp_path, GEOLOC_QDRANT_URL=qdrant["url"] + "?grpc_port=6334&timeout_s=9")["Qdrant"]
    assert found.state == "ok"


def test_a_server_that_is_not_there_or_never_answers_costs_seconds_at_most(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], 1):
            began = time.monotonic()
            found = findings(tmp_path, GEOLOC_QDRANT_URL=f"http://127.0.0.1:{port}")["Qdrant"]
            assert (found.state, found.is_blocking) == ("missing", True)
            assert time.monotonic() - began < ANSWER_WITHIN_S + 2


@pytest.mark.parametrize("name", list(PHOTO_SETS))
def test_a_photo_set_is_there_or_it_is_told_where_to_put_it(tmp_path: Path, name: str) -> None:
    folder = Home.at(tmp_path / "home").photo_set(name)
    absent = findings(tmp_path)[f"photos: {name}"]
    assert absent.state == "off"
    assert str(folder) in absent.cure
    assert "{folder}" not in absent.cure
    (folder / "deep").mkdir(parents=True)
    assert findings(tmp_path)[f"photos: {name}"].state == "off"
    (folder / "deep" / "one.csv").write_text("x")
    present = findings(tmp_path)[f"photos: {name}"]
    assert (present.state, present.cure) == ("ok", "")


def test_weights_are_from_the_hub_fresh_or_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    states = {
        told: findings(tmp_path, GEOLOC_BACKBONE_WEIGHTS=told)["backbone weights"].state for told in ("", "hub", "none", "lost")
    }
    assert states == {"": "ok", "hub": "ok", "none": "ok", "lost": "missing"}
    assert findings(tmp_path, GEOLOC_BACKBONE_WEIGHTS=str(tmp_path / "model.safetensors"))["backbone weights"].state == "ok"


def test_the_demo_needs_no_key_and_brings_its_photo_sets(tmp_path: Path) -> None:
    found = findings(tmp_path, GEOLOC_PROFILE="demo")
    assert [finding.name for finding in found.values() if finding.is_blocking] == []
    assert found["photo sets"].state == "ok"
    wrong = findings(tmp_path, GEOLOC_PROFILE="france")["profile"]
    assert wrong.is_blocking
    assert "'france'" in wrong.detail


def test_a_home_that_is_a_file_or_below_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    found = findings(tmp_path)
    assert (found["home"].state, found["home"].is_blocking) == ("missing", True)
    assert found["disk"].state in {"ok", "missing"}


def test_the_text_names_every_finding_its_cure_and_how_many_block() -> None:
    told = describe([Finding("token", "missing", "not set", "set it", is_blocking=True), Finding("contact", "off", "nobody")])
    assert told.splitlines() == [
        "missing  token    not set",
        "                  -> set it",
        "off      contact  nobody",
        "",
        "1 of these must be cured before the chain can run",
    ]
    assert describe([]) == "\nthe chain can run here"


def test_it_loads_no_torch_where_there_is_no_driver(tmp_path: Path) -> None:
    program = (
        "import ctypes, sys\n"
        "from geoloc_pipeline.orchestration.keeping.doctor import examine\n"
        "from geoloc_pipeline.storage.layout import Home\n"
        "try:\n    ctypes.CDLL('libcuda.so.1'); sys.exit(0)\nexcept OSError:\n    pass\n"
        "gpu = next(one for one in examine(Home.at(sys.argv[1]), {}) if one.name == 'GPU')\n"
        "sys.exit('torch' in sys.modules or gpu.state != 'off')\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=False).returncode == 0

"""Nothing in a file is ever run, nothing is unpacked outside, no secret leaves the environment."""

from __future__ import annotations

import ast
import asyncio
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest
import torch

from geoloc_pipeline.errors import BadSourceFileError, ModelError, SourceRefusedError
from geoloc_pipeline.model.saved import read_checkpoint
from geoloc_pipeline.sources.census_archive import check_archive, unpack
from geoloc_pipeline.sources.http import HttpClient
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.photo_archives import Archive

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "geoloc_pipeline").rglob("*.py"))
LOADERS = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "joblib.load",
    "dill.load", "pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec",
    "os.system", "os.popen", "jsonpickle.decode", "tempfile.mktemp", "torch.jit.load", "torch.hub.load",
}  # fmt: skip
OUTSIDE = ("../outside", "a/../../outside", "/tmp/outside", "..\\outside", "C:\\outside")


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def faults_in(path: Path) -> list[str]:
    """Return the calls in a file that could run what a stranger has written."""
    found = []
    for node, name, words in calls(path):
        is_open = (
            name in LOADERS
            or (name == "torch.load" and words.get("weights_only") != "True")
            or (name == "np.load" and words.get("allow_pickle", "False") != "False")
            or words.get("shell") == "True"
            or name.endswith(".extractall")
            or (words.get("verify") == "False" and "demo" not in path.parts)  # the mirror is on loopback
        )
        if is_open:
            found.append(f"{path.name}:{node.lineno} {name}")
    return found


def test_no_module_runs_what_it_reads():
    assert [fault for path in MODULES for fault in faults_in(path)] == []


@pytest.mark.parametrize(
    "line",
    ["pickle.load(f)", "torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)", "eval(x)",
     "yaml.load(f)", "subprocess.run(c, shell=True)", "archive.extractall(p)", "httpx.Client(verify=False)"],
)  # fmt: skip
def test_the_search_finds_each_of_them(tmp_path, line):
    (tmp_path / "a.py").write_text(line, encoding="utf-8")
    assert faults_in(tmp_path / "a.py")


class Trap:
    def __reduce__(self):
        return os.system, ("touch sprung",)


def test_a_checkpoint_with_a_program_in_it_is_refused_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "model": Trap()}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=r"best\.pt: cannot be read"):
        read_checkpoint(tmp_path / "best.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_census_zip_cannot_write_outside(tmp_path, name):
    path, folder = tmp_path / "in" / "a.zip", tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for suffix in (".shp", ".shx", ".dbf"):
            archive.writestr(f"{name}{suffix}", b"x")
    with pytest.raises(BadSourceFileError, match="outside of itself"):
        unpack(path, folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "folder", "in"]


def test_a_census_zip_that_unpacks_to_more_than_a_disk_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.shp", bytes(1000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(BadSourceFileError):
        check_archive(path, shown=path)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_photo_archive_is_read_where_it_lies_whatever_its_members_are_called(tmp_path, name, kind):
    path = tmp_path / "in" / f"photos.{kind}"
    path.parent.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"picture")
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = 7
            archive.addfile(info, io.BytesIO(b"picture"))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    assert [member.size_bytes for member in Archive.of([path]).members()] == [7]  # and no link
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["in", path.name]


def test_no_secret_is_told_by_the_doctor_or_by_a_refusal(tmp_path):
    sentinels = {
        "MAPILLARY_ACCESS_TOKEN": "MLY|1|sentinel-mapillary", "GEOLOC_QDRANT_API_KEY": "sentinel-qdrant",
        "GEOLOC_QDRANT_URL": "http://127.0.0.1:9", "GEOLOC_SERVE_TOKEN": "sentinel-serve-token-of-thirty-two-letters",
    }  # fmt: skip
    environment = {**os.environ, **sentinels, "GEOLOC_HOME": str(tmp_path / "home"), "GEOLOC_PROFILE": "demo"}
    done = subprocess.run(
        [sys.executable, "-m", "geoloc_pipeline.cli", "doctor"],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.stdout
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    said = (done.stdout + done.stderr).encode() + b"".join(written)
    assert [name for name, value in sentinels.items() if "sentinel" in value and value.encode() in said] == []


@pytest.mark.parametrize(
    "target",
    ["http://download.geofabrik.de/a", "https://169.254.169.254/latest", "https://127.0.0.1/", "https://[::1]/", "ftp://a.example/",
     "https://localhost/", "https://10.0.0.5/x", "https://metadata.google.internal/"],
)  # fmt: skip
def test_a_redirect_into_this_network_or_out_of_https_is_refused(target):
    asked = []

    def answer(request):
        asked.append(request.url.host)
        return httpx.Response(302, headers={"location": target})

    with pytest.raises(SourceRefusedError, match="redirects to"):
        HttpClient(transport=httpx.MockTransport(answer), tries=1).get("https://download.geofabrik.de/x", service="Geofabrik")
    with pytest.raises(SourceRefusedError, match="redirects to"):
        asyncio.run(_ask_async(httpx.MockTransport(answer)))
    assert asked == ["download.geofabrik.de"] * 2


async def _ask_async(transport):
    async with AsyncHttpClient(transport=transport, tries=1) as http:
        return await http.get("https://download.geofabrik.de/x", service="Geofabrik")


def test_a_redirect_to_another_public_host_is_followed():
    def answer(request):
        is_first = request.url.host == "a.example"
        return httpx.Response(302, headers={"location": "https://b.example/p"}) if is_first else httpx.Response(200, text="p")

    assert HttpClient(transport=httpx.MockTransport(answer)).get("https://a.example/", service="s").content == b"p"
    assert asyncio.run(_ask_async(httpx.MockTransport(lambda request: httpx.Response(200, text="p")))).content == b"p"

"""What `geoloc doctor` looks at: what this machine has, what it lacks, and how to get it.

Belongs here: looking at the machine, keys and services, quickly and without leaving a trace or showing a secret.
Does not belong here: curing; looking into a home that is in use (`doctor_home`).
"""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

from geoloc_pipeline.errors import GeolocError, MissingInputError, SettingError
from geoloc_pipeline.orchestration.settings import Profile
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shared import shared_home

DISK_BYTES = {"the demo": 2 * 10**9, "a prefecture": 30 * 10**9, "Japan": 700 * 10**9}
"""Rule of thumb. A prefecture: 20,000 pictures of 280 KB twice (archive, training views), its region's dump and room to work;
Japan: 900,000 pictures twice, all dumps, checkpoints, gallery. The demo needs its world and everything made of it."""
ANSWER_WITHIN_S = 3.0
INSTALL = "run: pip install -e . -c constraints.txt"
State = Literal["ok", "missing", "off"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What, in two or three words.
        state: `ok`; `missing`: something will fail or be poorer without it; `off`: it is optional, and not in use.
        detail: What was found; never a secret.
        cure: How to get it; empty where there is nothing to do.
        is_blocking: Whether the chain cannot run without it.
    """

    name: str
    state: State
    detail: str
    cure: str = ""
    is_blocking: bool = False


def examine(home: Home, environ: Mapping[str, str]) -> list[Finding]:
    """Return what this machine has and lacks.

    Takes a second or two; nothing is fetched, and only a Qdrant server and an object storage that are named are spoken to.

    Args:
        home: The home to be worked in; it need not exist.
        environ: Environment variables.

    Returns:
        Findings, in the order of the chain.
    """
    profile = environ.get("GEOLOC_PROFILE", "") or "japan"
    from geoloc_pipeline.orchestration.keeping.doctor_home import examine_home

    with ThreadPoolExecutor(max_workers=1) as beside:
        gallery = beside.submit(_gallery, environ)  # it may wait for a server
        return [
            _home(home),
            *_storage(home),
            _disk(home, profile),
            _profile(profile),
            *_street_view(environ, profile),
            _contact(environ),
            *_photo_sets(home, profile),
            _spatial(),
            _weights(environ),
            _gpu(),
            gallery.result(),
            *examine_home(home, environ),
        ]


def describe(findings: list[Finding]) -> str:
    """Return findings as text for a terminal: one line each, the cure below."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<7}  {finding.name:<{width}}  {finding.detail}")
        if finding.cure:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.cure}")
    lacking = sum(finding.is_blocking for finding in findings)
    lines.append("")
    lines.append(f"{lacking} of these must be cured before the chain can run" if lacking else "the chain can run here")
    return "\n".join(lines)


def _nearest_folder(path: Path) -> Path:
    """Return the deepest folder on the way to `path` that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _home(home: Home) -> Finding:
    told = f"{home.root}" + ("" if home.root.is_dir() else " (not made yet)")
    cure = "set GEOLOC_HOME to a folder that this user may write"
    if home.root.exists() and not home.root.is_dir():
        return Finding("home", "missing", f"{told}: a file stands there", cure, is_blocking=True)
    try:
        with tempfile.TemporaryFile(dir=_nearest_folder(home.root)) as stream:
            stream.write(b"x")
    except OSError as error:
        return Finding("home", "missing", f"{told} cannot be written ({error.strerror or error})", cure, is_blocking=True)
    return Finding("home", "ok", told)


def _storage(home: Home) -> Iterator[Finding]:
    if not home.url:
        return
    try:
        shared_home(home)
    except GeolocError as error:
        yield Finding("object storage", "missing", str(error), is_blocking=True)
        return
    yield Finding("object storage", "ok", f"{home.url} answers; this node's working copy is {home.root}")


def _disk(home: Home, profile: str) -> Finding:
    free = shutil.disk_usage(_nearest_folder(home.root)).free
    needs = ", ".join(f"{what} about {size / 10**9:,.0f} GB" for what, size in DISK_BYTES.items())
    detail = f"{free / 10**9:,.0f} GB free; rule of thumb: {needs}"
    least = DISK_BYTES["the demo" if profile == "demo" else "a prefecture"]
    if free < least:
        cure = "free some space, or set GEOLOC_HOME to a folder on another disk"
        return Finding("disk", "missing", detail, cure, is_blocking=free < DISK_BYTES["the demo"])
    return Finding("disk", "ok", detail)


def _profile(profile: str) -> Finding:
    if profile not in get_args(Profile):
        cure = f"set GEOLOC_PROFILE to {' or '.join(get_args(Profile))}, or leave it unset"
        return Finding("profile", "missing", f"GEOLOC_PROFILE is {profile!r}", cure, is_blocking=True)
    return Finding("profile", "ok", f"{profile}: " + ("a made-up world" if profile == "demo" else "the real services"))


def _street_view(environ: Mapping[str, str], profile: str) -> Iterator[Finding]:
    from geoloc_pipeline.sources import google, mapillary
    from geoloc_pipeline.sources.street_view_providers import ORDER_VARIABLE, read_order

    if profile == "demo":
        yield Finding("street view", "ok", "the demo's mirror; no key is needed")
        return
    try:
        order = read_order(environ.get(ORDER_VARIABLE, ""))
    except SettingError as error:
        yield Finding("street view", "missing", str(error), is_blocking=True)
        return
    yield Finding("street view", "ok", f"asked in this order: {', '.join(order)} ({ORDER_VARIABLE})")
    if mapillary.SOURCE not in order:
        yield Finding("Mapillary token", "off", f"{ORDER_VARIABLE} does not name Mapillary")
    elif environ.get(mapillary.TOKEN_VARIABLE, "").strip():
        yield Finding("Mapillary token", "ok", f"{mapillary.TOKEN_VARIABLE} is set")
    else:
        detail = f"{mapillary.TOKEN_VARIABLE} is not set"
        yield Finding("Mapillary token", "missing", detail, mapillary.HOW_TO_OBTAIN, is_blocking=True)
    yield _google(environ, is_named=google.SOURCE in order)


def _google(environ: Mapping[str, str], *, is_named: bool) -> Finding:
    from geoloc_pipeline.sources import google

    accepted = environ.get(google.TERMS_VARIABLE, "").strip() == google.ACCEPTED_TERMS
    name, has_key = "Google Street View", bool(environ.get(google.KEY_VARIABLE, "").strip())
    if not is_named:
        return Finding(name, "off", "not asked: its terms forbid storing its pictures and training on them")
    if not accepted:
        detail = f"it is named, and nobody has said that its terms permit this use: {google.FORBIDDEN}"
        cure = f"leave it out; only if a contract of your own allows it, set {google.TERMS_VARIABLE}={google.ACCEPTED_TERMS!r}"
        return Finding(name, "missing", detail, cure, is_blocking=True)
    if not has_key:
        return Finding(name, "missing", "its terms are named", f"set {google.KEY_VARIABLE}", is_blocking=True)
    return Finding(name, "ok", f"its terms are named, and {google.KEY_VARIABLE} is set")


def _contact(environ: Mapping[str, str]) -> Finding:
    if environ.get("GEOLOC_CONTACT", "").strip():
        return Finding("contact", "ok", f"services are told {environ['GEOLOC_CONTACT'].strip()}")
    cure = "set GEOLOC_CONTACT to an e-mail address or web page, so that a service can write instead of blocking you"
    return Finding("contact", "off", "services are not told whom to write to", cure)


def _photo_sets(home: Home, profile: str) -> Iterator[Finding]:
    from geoloc_pipeline.sources.photo_sets import PHOTO_SETS

    if profile == "demo":
        yield Finding("photo sets", "ok", f"the demo's world holds a small one of each: {', '.join(PHOTO_SETS)}")
        return
    for photo_set in PHOTO_SETS.values():
        folder = home.photo_set(photo_set.name)
        if any(names for _, _, names in os.walk(folder)):  # ends at the first folder that holds a file
            yield Finding(f"photos: {photo_set.name}", "ok", f"files are in {folder}")
        else:
            cure = photo_set.how_to_obtain.replace("{folder}", str(folder))
            yield Finding(f"photos: {photo_set.name}", "off", photo_set.about, cure)


def _spatial() -> Finding:
    name = "DuckDB spatial"
    try:
        from geoloc_pipeline.osm.spatial import ensure_spatial

        ensure_spatial()
    except ImportError as error:
        return Finding(name, "missing", f"{error}", INSTALL, is_blocking=True)
    except MissingInputError as error:
        return Finding(name, "missing", f"{error}", is_blocking=True)  # the sentence tells the cure
    return Finding(name, "ok", "the extension is installed")


def _weights(environ: Mapping[str, str]) -> Finding:
    name, told = "backbone weights", environ.get("GEOLOC_BACKBONE_WEIGHTS", "") or "hub"
    if told == "hub":
        return Finding(name, "ok", "fetched from the Hugging Face hub at the first training (1.2 GB for the paper's ViT-L/14)")
    if told == "none":
        return Finding(name, "ok", "none: training starts from nothing")
    if Path(told).expanduser().is_file():
        return Finding(name, "ok", f"the file {told}")
    cure = "set GEOLOC_BACKBONE_WEIGHTS to `hub`, `none`, or the path of a downloaded model.safetensors"
    return Finding(name, "missing", f"there is no file {told}", cure, is_blocking=True)


def _gpu() -> Finding:
    name = "GPU"
    if importlib.util.find_spec("torch") is None:
        return Finding(name, "missing", "PyTorch is not installed", INSTALL, is_blocking=True)
    cpu = "no CUDA: training and embedding run on the CPU, enough for the demo"
    if not _has_driver():
        return Finding(name, "off", cpu)
    try:
        import torch

        found = [torch.cuda.get_device_properties(at) for at in range(torch.cuda.device_count())]
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(name, "missing", f"PyTorch cannot use it ({error})", INSTALL)
    if not found:
        return Finding(name, "off", cpu)
    return Finding(name, "ok", ", ".join(f"{gpu.name}, {gpu.total_memory / 10**9:,.0f} GB" for gpu in found))


def _has_driver() -> bool:
    """Return whether NVIDIA's driver is here; to import torch for a no would take seconds."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _gallery(environ: Mapping[str, str]) -> Finding:
    url = environ.get("GEOLOC_QDRANT_URL", "").strip()
    if not url:
        if importlib.util.find_spec("qdrant_edge") is None:
            cure = f"{INSTALL}, or name a server in GEOLOC_QDRANT_URL"
            return Finding("Qdrant", "missing", "the embedded engine is not installed", cure, is_blocking=True)
        return Finding("Qdrant", "ok", "embedded: the engine runs inside this process, no server is needed")
    import httpx

    from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation

    key = environ.get("GEOLOC_QDRANT_API_KEY", "").strip()
    asked: dict[str, Any] = {
        "headers": {"api-key": key} if key else {},
        "timeout": ANSWER_WITHIN_S / 2,
    }  # to connect, to answer
    try:
        label, parts = GalleryLocation(url=url).label, urlsplit(url)
        address = urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/collections", "", ""))
        with httpx.stream("GET", address, **asked) as got:
            status = got.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError) as error:
        # The error's own words may hold the address with its password.
        cure = "start it, correct GEOLOC_QDRANT_URL, or unset it to use the embedded engine"
        detail = f"the server in GEOLOC_QDRANT_URL does not answer ({type(error).__name__})"
        return Finding("Qdrant", "missing", detail, cure, is_blocking=True)
    if status in {401, 403}:
        cure = "set GEOLOC_QDRANT_API_KEY to a key that may write"
        return Finding("Qdrant", "missing", f"the server {label} refuses us (status {status})", cure, is_blocking=True)
    if status != 200:
        detail = f"{label} answers with status {status}, which Qdrant would not"
        return Finding("Qdrant", "missing", detail, "correct GEOLOC_QDRANT_URL", is_blocking=True)
    return Finding("Qdrant", "ok", f"the server {label} answers")

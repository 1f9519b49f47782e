"""The law of the building, kept by tests and not by memory."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geoloc_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "common", "core", "misc", "base", "manager", "handler", "process"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60  # the aim is 40; a table of arguments may take it further
SOURCE_LINES = ("Source:", "Licence:", "Cadence:", "Polite:", "Keeps:", "Absent:")
TESTED_BY = {  # what has no door of its own is tested through the door that it stands behind
    "retrieval/gallery/store": "retrieval/gallery/test_gallery.py",
    "sources/photo_lists": "sources/test_photo_sets.py",
}
SERVICES = ("geofabrik", "census", "mapillary", "panoramax", "kartaview", "google")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_a_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file opens by saying what it is for"
    assert path.stem not in BANNED_NAMES
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body_start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
            assert (node.end_lineno or 0) - body_start < LONGEST_FUNCTION, f"{node.name} is too long to be read at a glance"


def test_a_room_says_what_belongs_in_it_and_what_does_not() -> None:
    for path in PACKAGE.rglob("*/__init__.py"):
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert "Belongs here:" in told, path
        assert "Does not belong here:" in told, path


def test_the_roof_has_no_postponed_annotations() -> None:
    # they break the configuration of Dagster's assets
    offenders = [
        path for path in (PACKAGE / "orchestration").rglob("*.py") if "from __future__" in path.read_text(encoding="utf-8")
    ]
    assert names(offenders) == []


def test_wgs84_is_written_once() -> None:
    offenders = [path for path in MODULES if path.name != "crs.py" and re.search(r"\b4326\b", path.read_text(encoding="utf-8"))]
    assert names(offenders) == []


def test_only_storage_knows_where_things_are() -> None:
    folders = re.compile(r"""/ "(tables|images|models|qdrant|sources|reports|receipts)\"""")
    offenders = [
        path
        for path in MODULES
        if "storage" not in path.parts and "demo" not in path.parts and folders.search(path.read_text(encoding="utf-8"))
    ]
    assert names(offenders) == []


def test_nobody_catches_everything_or_asserts_in_earnest() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"
                assert ast.unparse(node.type) not in {"Exception", "BaseException"}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_source_says_its_six_lines(service: str) -> None:
    told = ast.get_docstring(ast.parse((PACKAGE / "sources" / f"{service}.py").read_text(encoding="utf-8"))) or ""
    assert [line for line in SOURCE_LINES if line not in told] == []


def test_every_module_has_its_tests() -> None:
    mirrored = {str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")}
    told_elsewhere = (PACKAGE / "orchestration", PACKAGE / "tables")  # the chain and the contracts' own tests see to them
    missing = []
    for path in MODULES:
        room = path.relative_to(PACKAGE).parent
        if path.name == "__init__.py" or any(parent in told_elsewhere for parent in path.parents) or room == Path():
            continue
        tests = TESTED_BY.get(f"{room}/{path.stem}", f"{room}/test_{path.stem}.py")
        if tests not in mirrored and not _is_imported_by_a_test(path):
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, missing


def _is_imported_by_a_test(path: Path) -> bool:
    """Return whether a test of the same room imports a name from the module: a small module may share its tests."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    folder = ROOT / "tests" / path.relative_to(PACKAGE).parent
    return any(module in test.read_text(encoding="utf-8") for test in folder.glob("test_*.py"))


def test_every_test_file_has_something_to_test() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders - rooms - {"online"} == set()


def test_importing_the_definitions_loads_neither_torch_nor_geopandas() -> None:
    program = (
        "import sys; import geoloc_pipeline.definitions as d; d.defs();"
        "print(sorted({'torch','timm','geopandas','pandas','sklearn','quackosm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_floors_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout


def test_every_asset_command_and_setting_is_in_the_readme() -> None:
    from geoloc_pipeline.definitions import defs
    from geoloc_pipeline.orchestration.keeping.commands import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    keys = [spec.key.to_user_string() for spec in defs().resolve_all_asset_specs()]
    settings = set()
    for path in MODULES:
        settings |= set(re.findall(r"\b(?:GEOLOC|MAPILLARY)_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    settings -= {"GEOLOC_WORKS_FOR_PID"}  # ours to our own workers
    commands = [*re.findall(r'add_parser\("(\w+)"', (PACKAGE / "cli.py").read_text(encoding="utf-8")), *COMMANDS]
    missing = [name for name in [*keys, *sorted(settings), *(f"geoloc {name}" for name in commands)] if name not in readme]
    assert not missing, missing


def test_every_error_is_raised_somewhere() -> None:
    errors = re.findall(r"^class (\w+)\(", (PACKAGE / "errors.py").read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = "".join(path.read_text(encoding="utf-8") for path in MODULES if path.name != "errors.py")
    unused = [name for name in errors if name not in {"GeolocError", "SourceError"} and f"{name}(" not in text]
    assert unused == []


def test_the_repository_names_no_registry_and_no_machine() -> None:
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    strange = re.compile(r"py" + r"pi\.org|python" + r"hosted|npm" + r"js\.|deb\." + r"debian|/wo" + r"rk/|/tm" + r"p/v/")
    found = []
    for name in files:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".txt", ".j2", ".css", ""} and path.is_file():
            found += [name for _ in strange.findall(path.read_text(encoding="utf-8", errors="ignore"))]
    assert found == []

"""The same tables once more: what a home was made of, written down, and a second home made from that.

Belongs here: the record, making a home from it, and the comparison, artefact by artefact.
Does not belong here: the chain itself (`chain`), what one row was made of (`lineage`).

The record holds nothing of the machine and no clock: two homes with the same tables have the same record. Data has to come out
byte for byte. A model is compared by its figures: its file also holds the commit, and another processor rounds otherwise.
"""

import json
import math
import platform
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from geoloc_pipeline import __version__
from geoloc_pipeline.errors import BadSourceFileError, SettingError
from geoloc_pipeline.geo.prefectures import BY_KEY
from geoloc_pipeline.orchestration.artefacts import Artefact, all_artefacts, is_name
from geoloc_pipeline.orchestration.running.chain import ChainState, Run, Stage, chain_of, run_chain
from geoloc_pipeline.orchestration.settings import SETTINGS, Profile
from geoloc_pipeline.orchestration.world import World, choose_world, read_world
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home

FORMAT = 1
FIGURES = {"geolocation_model": ("best_epoch", "epochs", "train_loss", "val_loss")}
_UNTOLD = ("evaluation_report", "geofabrik_extracts")
"""The report holds the record; what Geofabrik published that day is no artefact of ours."""
_OF_THE_MACHINE = ("gallery", "processes_seen")
_LIKE = 1e-5
_LEARNED = ("geolocation_model", "image_embeddings", "qdrant_collection")


def record_of(home: Home, *, profile: str = "") -> dict[str, Any]:
    """Return everything that decides what the tables of a home are.

    Args:
        home: The home.
        profile: GEOLOC_PROFILE of the runs; by default `demo` where the home has a demo world, else `japan`.

    Returns:
        Plain values: versions, commit, world or dumps, settings, seeds, every artefact's fingerprint, content hash and inputs,
        and the figures of the model and of the answers.
    """
    from geoloc_pipeline.training.checkpoint import git_commit

    name: Profile = "demo" if (profile or _profile_of(home)) == "demo" else "japan"
    artefacts = [artefact for artefact in all_artefacts(home) if artefact.key not in _UNTOLD]
    trained = _read(home.model() / "config.json")
    return {
        "format": FORMAT,
        "geoloc_pipeline": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "profile": name,
        "world": asdict(read_world(home)) if name == "demo" else None,
        "dumps": {a.partition: _dump(a) for a in artefacts if a.key == "osm_dump"},
        "settings": asdict(SETTINGS[name]),
        "training": trained.get("training_config", {}),
        "artefacts": {artefact.name: _told(artefact) for artefact in artefacts},
        "figures": _figures(home, artefacts),
    }


def write_record(home: Home, *, profile: str = "") -> Path:
    """Write the record of a home to `Home.reproduction`, whole or not at all, and return where.

    Args:
        home: The home.
        profile: As for `record_of`.

    Raises:
        HomeError: The disk is full or not ours to write.
    """
    write_text(home.reproduction(), json.dumps(record_of(home, profile=profile), ensure_ascii=False, indent=1, sort_keys=True))
    return home.reproduction()


def read_record(path: Path) -> dict[str, Any]:
    """Return a record: of a file, or of the home that a folder is.

    Raises:
        BadSourceFileError: The file is no record, or of a version that this one does not know.
        SettingError: There is neither.
    """
    if path.is_dir():
        home = Home.at(path)
        if not home.receipts():
            raise SettingError(setting="RECORD", value=str(path), cure="name a reproduction.json, or a home that holds tables")
        return _read(home.reproduction()) or record_of(home)
    if not path.is_file():
        raise SettingError(setting="RECORD", value=str(path), cure="name a home, or the reproduction.json among its reports")
    told = _read(path)
    if told.get("format") != FORMAT or not isinstance(told.get("artefacts"), dict):
        raise BadSourceFileError(
            path=path, reason="no record of this version", cure="take reproduction.json from a home's reports"
        )
    return told


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that this one asks for and that are installed here."""
    wanted = {
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        for line in metadata.requires("geoloc_pipeline") or ()
        if "extra ==" not in line
    }
    found = {}
    for name in sorted(wanted):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _profile_of(home: Home) -> str:
    return "demo" if home.world_choice().is_file() else "japan"


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return told if isinstance(told, dict) else {}


def _dump(artefact: Artefact) -> dict[str, Any]:
    return {name: artefact.receipt.metadata.get(name) for name in ("file", "md5", "sequence", "timestamp")}


def _told(artefact: Artefact) -> dict[str, Any]:
    inputs = {name: value for name, value in artefact.receipt.inputs.items() if name not in _OF_THE_MACHINE}
    return {"content": artefact.receipt.content_hash, "inputs": inputs}


def _figures(home: Home, artefacts: list[Artefact]) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for artefact in artefacts:
        names = [*FIGURES.get(artefact.key, ())]
        names += [name for name in artefact.receipt.metadata if name.startswith("val_accuracy")]
        found = {name: artefact.receipt.metadata[name] for name in names if name in artefact.receipt.metadata}
        if found:
            figures[artefact.key] = found
    if home.table("estimates").is_file():
        import pandas as pd

        answers = pd.read_parquet(home.table("estimates"), columns=["readout", "error_km"])
        medians = answers.groupby("readout")["error_km"].median()
        figures["evaluation_report"] = {f"median_km of {name}": float(value) for name, value in medians.items()}
    return figures


# --- once more ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """One artefact, or the figures of one, beside the record.

    Attributes:
        name: Artefact, or asset key and `figures`.
        state: `equal`; `differs`; `missing`: not made here; `alike`: other bytes, which its figures judge.
        why: What is known of the reason.
    """

    name: str
    state: str
    why: str = ""


def reproduce(
    record: dict[str, Any],
    home: Home,
    *,
    until: str = "",
    anyway: bool = False,
    watch: Callable[[ChainState], None] | None = None,
) -> list[Compared]:
    """Make the tables of a record once more, and compare.

    Args:
        record: From `read_record`.
        home: Where; empty, or begun from the same record.
        until: Asset key at which to stop; empty: the whole chain.
        anyway: Go on with other versions of packages.
        watch: Told how far it is.

    Returns:
        Every artefact of the record that was to be made, in the chain's order.

    Raises:
        SettingError: Other versions of packages, another world in the home, or no asset of that name.
        GeolocError: As `run_chain`.
    """
    differences = versions_beside(record)
    if differences and not anyway:
        cure = "install those versions, or give --anyway and judge the differences yourself"
        raise SettingError(setting="the installed versions", value="; ".join(differences), cure=cure)
    if record["world"]:
        told = record["world"]
        choose_world(home, World(**{**told, "prefecture_codes": tuple(told["prefecture_codes"])}))
    stages = stages_of(record, until)
    head, rest = stages[:2], stages[2:]
    run_chain(home, head, profile=record["profile"], watch=watch)
    _check_dumps(record, home)
    if rest:
        run_chain(home, rest, profile=record["profile"], watch=watch)
    return compare(record, home, {asset for stage in stages for run in stage.runs for asset in run.assets})


def stages_of(record: dict[str, Any], until: str) -> list[Stage]:
    """Return the stages that make a record's artefacts, up to an asset.

    Raises:
        SettingError: There is no asset of that name, or the record holds no prefecture.
    """
    keys = sorted({name.split("/")[1] for name in record["artefacts"]} & set(BY_KEY))
    if not keys:
        raise SettingError(setting="RECORD", value="a record without prefectures", cure="take that of a home that holds tables")
    stages = chain_of([BY_KEY[key].code for key in keys])
    known = [asset for stage in stages for run in stage.runs for asset in run.assets]
    if not until:
        return stages
    if until not in known:
        raise SettingError(setting="--until", value=until, cure=f"choose one of {', '.join(dict.fromkeys(known))}")
    kept: list[Stage] = []
    for stage in stages:
        runs = [_cut(run, until) for run in stage.runs]
        kept.append(Stage(tuple(runs)))
        if any(until in run.assets for run in stage.runs):
            return kept
    return kept


def _cut(run: Run, until: str) -> Run:
    if until not in run.assets:
        return run
    return Run(run.assets[: run.assets.index(until) + 1], run.partition, run.until)


def versions_beside(record: dict[str, Any]) -> list[str]:
    """Return where the versions of this installation differ from a record's, in words."""
    here = package_versions() | {"python": platform.python_version(), "geoloc_pipeline": __version__}
    then = {**record["packages"], "python": record["python"], "geoloc_pipeline": record["geoloc_pipeline"]}
    return [
        f"{name} {here.get(name, 'is missing')} instead of {version}"
        for name, version in sorted(then.items())
        if here.get(name) != version
    ]


def _check_dumps(record: dict[str, Any], home: Home) -> None:
    """Raise unless the maps are those of the record: what is cut out of others cannot be the same.

    Raises:
        SettingError: A map is another one.
    """
    found = {artefact.partition: artefact.receipt.metadata for artefact in all_artefacts(home) if artefact.key == "osm_dump"}
    for region, dump in record["dumps"].items():
        md5 = found.get(region, {}).get("md5")
        if md5 != dump["md5"]:
            cure = f"bring the file {dump['file']} with the md5 {dump['md5']} and name it in GEOLOC_OSM_DUMPS as {region}=FILE"
            raise SettingError(setting=f"the map of {region}", value=found.get(region, {}).get("file"), cure=cure)


def compare(record: dict[str, Any], home: Home, assets: set[str]) -> list[Compared]:
    """Return how a home's artefacts stand beside a record.

    Args:
        record: From `read_record`.
        home: The other home.
        assets: Asset keys that were to be made.

    Returns:
        One row an artefact, then one for each set of figures; where one differs, what of its inputs does.
    """
    here = {artefact.name: artefact for artefact in all_artefacts(home)}
    rows = []
    for name, told in record["artefacts"].items():
        if name.split("/")[0] not in assets:
            continue
        artefact = here.get(name)
        if artefact is None:
            rows.append(Compared(name, "missing", "it was not made here"))
        elif artefact.receipt.content_hash == told["content"]:
            rows.append(Compared(name, "equal"))
        else:
            state = "alike" if artefact.key in _LEARNED else "differs"
            rows.append(Compared(name, state, _why(told["inputs"], _told(artefact)["inputs"])))
    figures = _figures(home, list(here.values()))
    for key, values in record["figures"].items():
        if key in assets:
            rows.append(_figures_beside(key, values, figures.get(key, {})))
    return rows


def _why(then: dict[str, Any], now: dict[str, Any]) -> str:
    others = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    upstream = [name for name in others if is_name(name)]
    settings = [f"{name} is {now.get(name)!r}, was {then.get(name)!r}" for name in others if not is_name(name)]
    if settings:
        return "; ".join(settings)
    return f"because of {', '.join(upstream)}" if upstream else "the same went in, and other bytes came out"


def _figures_beside(key: str, then: dict[str, float], now: dict[str, float]) -> Compared:
    others = [
        f"{name} is {now.get(name)}, was {value}"
        for name, value in then.items()
        if name not in now or not math.isclose(now[name], value, rel_tol=_LIKE, abs_tol=1e-9)
    ]
    return Compared(f"{key} figures", "differs" if others else "equal", "; ".join(others))


def describe(rows: list[Compared]) -> str:
    """Return a comparison for a terminal: what is not equal in full, the rest counted."""
    counts = {state: sum(row.state == state for row in rows) for state in ("equal", "alike", "differs", "missing")}
    lines = [f"{row.state:<8} {row.name}{f': {row.why}' if row.why else ''}" for row in rows if row.state != "equal"]
    by_asset: dict[str, int] = {}
    for row in rows:
        if row.state == "equal":
            key = row.name.split("/")[0]
            by_asset[key] = by_asset.get(key, 0) + 1
    lines += [f"equal    {key}{f' ({count} partitions)' if count > 1 else ''}" for key, count in by_asset.items()]
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    if counts["alike"]:
        lines.append("alike: made by a model, other bytes; the figures below the artefacts judge whether it is the same model")
    return "\n".join([*lines, f"{told or 'nothing to compare'}"])


def is_same(rows: list[Compared]) -> bool:
    """Return whether everything that had to be is equal: data byte for byte, what a model made by its figures."""
    return bool(rows) and all(row.state in {"equal", "alike"} for row in rows)

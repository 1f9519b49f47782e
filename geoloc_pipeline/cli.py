"""The `geoloc` command.

Belongs here: arguments, and how answers and progress look in a terminal.
Does not belong here: what is done (`orchestration`, `retrieval`).

Exit status: 0 done; 2 the user can cure it (the message says how); 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_pipeline import __version__
from geoloc_pipeline.errors import GeolocError, MissingInputError, SettingError
from geoloc_pipeline.orchestration.keeping import commands as keeping
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shared import home_at, shared_home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoloc_pipeline.retrieval.answering.answer import Answer
    from geoloc_pipeline.retrieval.answering.desk import Desk

DEMO_HOME = "data/demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Command line without the program's name; from the process when absent.

    Returns:
        Exit status.
    """
    parser = _parser()
    told = parser.parse_args(arguments)
    try:
        return int(told.run(told))
    except GeolocError as error:
        print(f"geoloc: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("geoloc: stopped; run the same command again to go on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="geoloc", description="Photo geolocation from open map data.")
    parser.add_argument("--version", action="version", version=f"geoloc {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="grow a small made-up Japan and run the whole chain on it")
    demo.add_argument("--home", metavar="DIR", default=DEMO_HOME, help=f"where everything goes (default: {DEMO_HOME})")
    demo.add_argument(
        "--world", metavar="DIR", default="", help="real *.osm.pbf and e-Stat zips instead, with rendered pictures"
    )
    demo.add_argument("--seed", type=int, default=0, help="another seed grows another Japan (default: 0)")
    demo.add_argument(
        "--prefectures", metavar="CODES", default="01,13,35,47", help="of the made-up Japan (default: 01,13,35,47)"
    )
    demo.add_argument("--density", type=float, default=1.0, help="below 1: fewer roads, for a quicker look (default: 1)")
    demo.set_defaults(run=_demo)

    locate = commands.add_parser("locate", help="where was this photo taken?")
    locate.add_argument("photos", metavar="PHOTO", nargs="+", type=Path)
    locate.add_argument("--home", metavar="DIR", default="", help=f"default: $GEOLOC_HOME, else data, else {DEMO_HOME}")
    locate.add_argument("--top-k", type=int, default=100, help="neighbours to ask for (default: 100)")
    locate.add_argument("--readout", default="", help="how to read the neighbours (default: the one that won on validation)")
    locate.add_argument("--json", action="store_true", help="print one JSON object a photo")
    locate.add_argument("--prefecture", metavar="CODE", action="append", default=[], help="search only there; may come again")
    locate.add_argument(
        "--source", metavar="NAME", action="append", default=[], help="search only its pictures; may come again"
    )
    locate.add_argument("--abstain-over", metavar="KM", type=float, help="give no answer when the 90 %% region is larger")
    locate.add_argument("--abstain-below", metavar="SHARE", type=float, help="give no answer to a less familiar photo (0 to 1)")
    locate.add_argument("--report", metavar="FILE.html", type=Path, help="write an evidence page (of the first photo)")
    locate.add_argument("--language", choices=("en", "ja"), default="en", help="of the evidence page (default: en)")
    locate.add_argument(
        "--map", metavar="FILE.html", type=Path, help="write a folium map (of the first photo; needs the network)"
    )
    locate.set_defaults(run=_locate)
    serve = commands.add_parser("serve", help="the search page and its JSON API")
    serve.add_argument(
        "--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only; others need GEOLOC_SERVE_TOKEN"
    )
    serve.add_argument("--port", type=int, default=8080, help="default: 8080; 0: any free one")
    serve.add_argument("--home", metavar="DIR", default="", help=f"default: $GEOLOC_HOME, else data, else {DEMO_HOME}")
    serve.set_defaults(run=_serve)
    extract = commands.add_parser("extract", help="write archived pictures as plain WebP files")
    extract.add_argument("image_ids", metavar="IMAGE_ID", nargs="+", help="as in the tables and on evidence pages")
    extract.add_argument("--to", metavar="DIR", type=Path, default=Path(), help="default: the current folder")
    extract.add_argument("--home", metavar="DIR", default="", help=f"default: $GEOLOC_HOME, else data, else {DEMO_HOME}")
    extract.set_defaults(run=_extract)
    coverage = commands.add_parser("coverage", help="where street view is and is not, by prefecture and provider")
    coverage.add_argument("--home", metavar="DIR", default="", help=f"default: $GEOLOC_HOME, else data, else {DEMO_HOME}")
    coverage.add_argument("--json", action="store_true", help="print one JSON object a line")
    coverage.set_defaults(run=_coverage)
    keeping.add_commands(commands, run=_keep, home_help=f"default: $GEOLOC_HOME, else data, else {DEMO_HOME}")
    doctor = commands.add_parser("doctor", help="what is missing on this machine, and how to get it")
    doctor.add_argument("--home", metavar="DIR", default="", help=f"default: $GEOLOC_HOME, else data, else {DEMO_HOME}")
    doctor.set_defaults(run=_doctor)
    return parser


# --- geoloc demo --------------------------------------------------------------------------------------------------------


def _demo(told: argparse.Namespace) -> int:
    from geoloc_pipeline.orchestration.running.chain import chain_of, run_chain
    from geoloc_pipeline.orchestration.running.display import ChainDisplay
    from geoloc_pipeline.orchestration.world import World, choose_world, prefectures_in

    home = home_at(told.home, os.environ)
    if told.density <= 0:
        raise SettingError(setting="--density", value=told.density, cure="give a number above 0; 1 is the full demo")
    if told.world:
        source = Path(told.world).expanduser().absolute()
        codes = prefectures_in(source)
        world = World(source=str(source), seed=told.seed, prefecture_codes=codes)
    else:
        codes = tuple(sorted(code.strip() for code in told.prefectures.split(",")))
        world = World(seed=told.seed, prefecture_codes=codes, density=told.density)
    choose_world(home, world)
    stages = chain_of(codes)
    with ChainDisplay() as display:
        run_chain(home, stages, profile="demo", watch=display.show)
    _print_summary(home)
    return 0


def _print_summary(home: Home) -> None:
    from rich.console import Console
    from rich.table import Table

    if not home.summary().is_file():
        raise MissingInputError(what="the summary", path=home.summary(), cure="run `geoloc demo` again")
    summary: dict[str, Any] = json.loads(home.summary().read_text(encoding="utf-8"))
    console = Console()
    table = Table(title="Where were the test photos taken?", title_justify="left", title_style="bold")
    for name, justify in (
        ("read-out", "left"),
        ("median error", "right"),
        ("1 km", "right"),
        ("25 km", "right"),
        ("100 km", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in summary["results"]:
        name = f"{row['name']} (default)" if row["name"] == summary["default_readout"] else row["name"]
        table.add_row(
            name,
            f"{row['median_km']:.1f} km",
            *(f"{row[f'within_{km}_km_pct']:.1f} %" for km in (1, 25, 100)),
            style="bold" if row["name"] == summary["default_readout"] else "",
        )
    console.print()
    console.print(table)
    counts = summary["counts"]
    console.print(
        f"{counts['images']:,} pictures from {counts['sample_points']:,} places, {counts['test_images']:,} of them tested."
    )
    console.print(f"report    {home.report_page()}", soft_wrap=True)
    console.print(f"evidence  {home.evidence_page()}", soft_wrap=True)


# --- geoloc locate ------------------------------------------------------------------------------------------------------


def _locate(told: argparse.Namespace) -> int:
    from geoloc_pipeline.retrieval.embedding.quick_start import compiler_put_off

    with compiler_put_off():
        from geoloc_pipeline.retrieval.answering.desk import Desk
    from geoloc_pipeline.retrieval.answering.answer import Abstain
    from geoloc_pipeline.retrieval.answering.telling import describe
    from geoloc_pipeline.retrieval.gallery.neighbours import Where

    if told.top_k < 1:
        raise SettingError(setting="--top-k", value=told.top_k, cure="ask for at least one neighbour")
    asked: dict[str, Any] = {
        "top_k": told.top_k,
        "readout": told.readout,
        "where": Where(prefecture_codes=tuple(told.prefecture), sources=tuple(told.source)),
        "abstain": Abstain(over_km=told.abstain_over, below_familiarity=told.abstain_below),
    }
    desk = Desk.open(_home_of(told.home))
    status = 0
    for index, photo in enumerate(told.photos):
        try:
            answer = desk.locate(photo, **asked)
        except GeolocError as error:
            if len(told.photos) == 1:
                raise
            print(f"geoloc: {error}", file=sys.stderr)
            status = error.exit_code
            continue
        print(json.dumps(answer.to_json(), ensure_ascii=False) if told.json else describe(answer))
        if index == 0:
            _write_pages(told, desk, answer, photo)
    return status


def _write_pages(told: argparse.Namespace, desk: Desk, answer: Answer, photo: Path) -> None:
    if told.report:
        desk.write_evidence(answer, photo, told.report, language=told.language)
        print(f"evidence: {told.report}", file=sys.stderr)
    if told.map:
        from geoloc_pipeline.retrieval.answering.heatmap import write_folium

        near = answer.neighbours
        lat, lon, score = ([getattr(one, name) for one in near] for name in ("lat", "lon", "score"))
        write_folium(told.map, lat=lat, lon=lon, score=score, answer=(answer.lat, answer.lon))
        print(f"map: {told.map}", file=sys.stderr)


# --- geoloc serve -------------------------------------------------------------------------------------------------------


def _serve(told: argparse.Namespace) -> int:
    from geoloc_pipeline.web.guard import checked_token
    from geoloc_pipeline.web.listening import listen, url_of

    token = checked_token(told.host, os.environ.get("GEOLOC_SERVE_TOKEN", ""))
    listening = listen(told.host, told.port)  # before the model is loaded: a taken port is told at once, visitors can wait
    from geoloc_pipeline.retrieval.embedding.quick_start import compiler_put_off

    with compiler_put_off():
        from geoloc_pipeline.retrieval.answering.desk import Desk
    import uvicorn

    from geoloc_pipeline.web.app import build_app

    app = build_app(Desk.open(_home_of(told.home)), token=token)
    print(f"{url_of(listening)}  (Ctrl-C ends it)", file=sys.stderr, flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


# --- geoloc extract, coverage, doctor -----------------------------------------------------------------------------------


def _extract(told: argparse.Namespace) -> int:
    from geoloc_pipeline.storage.archive import PictureArchive

    archive = PictureArchive.open(_home_of(told.home))
    for image_id in told.image_ids:
        print(archive.extract(image_id, told.to))
    return 0


def _coverage(told: argparse.Namespace) -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from geoloc_pipeline.orchestration.showing.coverage_report import coverage_rows

    home = _home_of(told.home)
    rows = coverage_rows(home)
    if not rows:
        cure = "materialise `street_view_images` first"
        raise MissingInputError(what="collected street view", path=home.root, cure=cure)
    if told.json:
        print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        return 0
    table = Table(title="Street view at the sample points", title_justify="left", title_style="bold", box=box.SIMPLE)
    columns = ("prefecture", "points", "served", "provider", "asked", "panoramas", "flat", "none")
    for name in columns:
        table.add_column(name, justify="left" if name in {"prefecture", "provider"} else "right", no_wrap=True)
    former = None
    for row in rows:
        is_same = row["prefecture"] == former
        former = row["prefecture"]
        first = ("", "", "") if is_same else (former, f"{row['points']:,}", f"{row['with_picture_pct']:.1f} %")
        counts = (f"{row[name]:,}" for name in ("asked", "panoramas", "flat_sets", "nothing"))
        table.add_row(*first, row["source"], *counts)
    Console().print(table)
    return 0


def _keep(told: argparse.Namespace) -> int:
    said = told.answer(told, _home_of)
    print(said.text)
    return int(said.status)


def _doctor(told: argparse.Namespace) -> int:
    from geoloc_pipeline.orchestration.keeping.doctor import describe, examine

    findings = examine(_home_of(told.home, bring=False), os.environ)
    print(describe(findings))
    return 2 if any(finding.is_blocking for finding in findings) else 0


def _home_of(path: str, *, bring: bool = True) -> Home:
    """Return the home that is meant: the named one, else $GEOLOC_HOME, else the first of the usual ones that has a model.

    What stands on object storage is brought into this node's working copy first, where `bring` says so.
    """
    if path or os.environ.get("GEOLOC_HOME"):
        home = home_at(path or os.environ["GEOLOC_HOME"], os.environ)
        if bring and (shared := shared_home(home)):
            shared.bring()
        return home
    homes = [Home.at(usual) for usual in ("data", DEMO_HOME)]
    return next((home for home in homes if home.checkpoint().is_file()), homes[0])


if __name__ == "__main__":
    sys.exit(main())

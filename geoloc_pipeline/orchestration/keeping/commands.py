"""The commands of whoever keeps a home: lineage, forget, reproduce, clean, doctor. They return what they have to say.

Belongs here: their arguments, and which function answers. Does not belong here: printing (`cli`), the work.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.storage.layout import Home

HomeOf = Callable[[str], Home]


class Said(NamedTuple):
    """What a command has to say.

    Attributes:
        text: For the terminal.
        status: Exit status.
    """

    text: str
    status: int = 0


def add_commands(commands: Any, *, run: Callable[[argparse.Namespace], int], home_help: str) -> None:
    """Add the commands to a parser's.

    Args:
        commands: argparse's subparsers.
        run: Prints what `answer` of the arguments says.
        home_help: What --home means.
    """
    for name, (add, answer, help_) in COMMANDS.items():
        command = commands.add_parser(name, help=help_)
        add(command)
        command.add_argument("--home", metavar="DIR", default="", help=home_help)
        command.set_defaults(run=run, answer=answer)


def _add_lineage(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "id", metavar="ID", help="image_id, point_id, way/123, road_id, town_code, model, collection, table/part"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--page", metavar="FILE.html", type=Path, help="write the graph as a page")
    command.add_argument("--neighbours", type=int, default=5, help="of an answer, searched again exactly (default: 5)")
    command.add_argument("--check", action="store_true", help="also read the files that are named, and compare them")


def _lineage(told: argparse.Namespace, home_of: HomeOf) -> Said:
    from geoloc_pipeline.orchestration.lineage.lineage import trace
    from geoloc_pipeline.orchestration.lineage.shown import as_json, as_page, as_text
    from geoloc_pipeline.storage.atomic import write_text

    found = trace(home_of(told.home), told.id, neighbours=max(0, told.neighbours), check=told.check)
    if told.page:
        write_text(told.page.expanduser().absolute(), as_page(found))
    return Said(json.dumps(as_json(found), ensure_ascii=False) if told.json else as_text(found))


def _add_forget(command: argparse.ArgumentParser) -> None:
    command.add_argument("--source-image-id", metavar="ID", default="", help="the provider's id of a picture")
    command.add_argument("--capture-group", metavar="GROUP", default="", help="a sequence or author, as in the image tables")
    command.add_argument("--source", default="", help="provider or photo set of the picture, where several have that id")
    command.add_argument("--request-id", metavar="WORDS", default="", help="of whoever asked, for the record")
    command.add_argument("--outdate-model", action="store_true", help="the next training starts anew, without the picture")
    command.add_argument("--dry-run", action="store_true", help="say what would go, and touch nothing")


def _forget(told: argparse.Namespace, home_of: HomeOf) -> Said:
    from geoloc_pipeline.orchestration.keeping.forget import Request, describe, forget, plan_forgetting, read_note
    from geoloc_pipeline.orchestration.keeping.forget_records import outdate

    home = home_of(told.home)
    is_named = bool(told.source_image_id or told.capture_group)
    request = Request(told.source_image_id, told.capture_group, told.source, told.request_id, told.outdate_model)
    if told.dry_run:
        return Said(describe(plan_forgetting(home, request), is_plan=True))
    if told.outdate_model and not is_named and outdate(home, "geolocation_model"):
        return Said("the model is not current any more: the next training starts anew")
    if not is_named and read_note(home) is None:
        raise SettingError(setting="what to forget", value="", cure="name --source-image-id or --capture-group")
    return Said("\n".join(describe(note) for note in forget(home, request if is_named else None)))


def _add_reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument("record", metavar="RECORD", type=Path, help="reproduction.json of a report, or the home that it is of")
    command.add_argument("--until", metavar="ASSET", default="", help="stop at this asset, such as dataset_splits")
    command.add_argument("--anyway", action="store_true", help="go on with other versions of packages")


def _reproduce(told: argparse.Namespace, home_of: HomeOf) -> Said:
    from geoloc_pipeline.orchestration.keeping.reproduce import describe, is_same, read_record, reproduce
    from geoloc_pipeline.orchestration.running.display import ChainDisplay

    if not told.home:
        raise SettingError(setting="--home", value="", cure="name a new folder: the record's own home is not made anew")
    record = read_record(told.record.expanduser())
    with ChainDisplay() as display:
        rows = reproduce(record, home_of(told.home), until=told.until, anyway=told.anyway, watch=display.show)
    return Said(describe(rows), status=0 if is_same(rows) else 1)


def _add_clean(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dry-run", action="store_true", help="say what would go, and touch nothing")
    command.add_argument("--keep-dumps", metavar="N", type=int, default=2, help="newest maps of a region (default: 2)")
    command.add_argument("--keep-months", metavar="N", type=int, default=0, help="and the first of so many months (default: 0)")
    command.add_argument("--keep-collections", metavar="N", type=int, default=1, help="beside the live one (default: 1)")
    command.add_argument("--keep-previous-model", action="store_true", help="also the checkpoints of the run before")
    command.add_argument("--log-days", metavar="DAYS", type=float, default=30, help="how long logs are kept (default: 30)")
    command.add_argument("--report-days", metavar="DAYS", type=float, default=90, help="pages of no evaluation (default: 90)")
    command.add_argument("--scratch-days", metavar="DAYS", type=float, default=7, help="of killed steps (default: 7)")


def _clean(told: argparse.Namespace, home_of: HomeOf) -> Said:
    from geoloc_pipeline.orchestration.keeping.retention import Rules, clean, describe, find_spare
    from geoloc_pipeline.sources.dump_copies import Retention

    rules = Rules(
        dumps=Retention(newest=told.keep_dumps, firsts_of_month=told.keep_months),
        collections=told.keep_collections,
        previous_models=told.keep_previous_model,
        log_days=told.log_days,
        report_days=told.report_days,
        scratch_days=told.scratch_days,
    )
    home = home_of(told.home)
    spare = find_spare(home, rules) if told.dry_run else clean(home, rules)
    return Said(describe(home, spare, is_plan=told.dry_run))


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace, HomeOf], Said], str]] = {
    "lineage": (_add_lineage, _lineage, "where does this picture, point, way, town, answer, model or table come from?"),
    "reproduce": (_add_reproduce, _reproduce, "make the same tables once more in another home, and compare"),
    "clean": (_add_clean, _clean, "remove old maps, collections, checkpoints, logs and scratch that nobody needs"),
    "forget": (_add_forget, _forget, "remove a picture, or a whole capture group, everywhere and for good"),
}

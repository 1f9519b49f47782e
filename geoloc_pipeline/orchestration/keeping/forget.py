"""`geoloc forget`: a picture, or everything of a capture group, goes from everywhere, and does not come back.

Belongs here: which pictures are meant, the order in which they go, what is told.
Does not belong here: how a file loses them (`forget_files`), receipts and Dagster's records (`forget_records`), the list that
every collector honours (`imagery.forgotten`).

First the note of what is under way and the list of what must not come back, then the bytes, then the tables, the gallery and
everything else, last the receipts: a removal that is killed at any moment is finished by giving the same command again, or any
other `geoloc forget`. Meanwhile a step that is run sees a file that is not what its receipt says, and makes it anew without
what is on the list.

What stays, and is told: a model that has learned from the picture, until it is trained again; counts (classes, the report's
figures); the provider's ids on the list and in the plans of collections, without which the pictures would come back; the files
of a photo set, which are the user's.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.keeping.forget_shared import on_shared_home
from geoloc_pipeline.storage.atomic import disk_errors, write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.lifeline import hold_home
from geoloc_pipeline.tables import IMAGES

if TYPE_CHECKING:
    import pandas as pd

_PATIENCE_S = 5.0
_COLUMNS = ["image_id", "source", "source_image_id", "origin_id", "capture_group", "content_sha256", "point_id"]


@dataclass(frozen=True)
class Request:
    """What shall be forgotten.

    Attributes:
        source_image_id: The provider's id of a picture; empty: a group is meant.
        capture_group: As in the image tables; empty: a picture is meant.
        source: Provider or photo set; empty: whichever has it, if only one has.
        request_id: Of whoever asked, for the record; empty: made of the above.
        outdate_model: Let the next training train anew: the model is not current any more.
    """

    source_image_id: str = ""
    capture_group: str = ""
    source: str = ""
    request_id: str = ""
    outdate_model: bool = False

    @property
    def what(self) -> str:
        """Which kind of request it is."""
        return "source_image_id" if self.source_image_id else "capture_group"


@dataclass
class Note:
    """A removal that is under way (`Home.forgetting`).

    Attributes:
        request: What was asked for.
        request_id: For the record.
        image_ids: Every picture that goes.
        names: (source, source_image_id) of each.
        by_source: How many of each source.
        places: How many sample points they were taken for.
        list_before: Fingerprint of the list of forgotten pictures before.
        content_before: Content hashes before, by artefact.
        touched: Artefacts whose files have lost something.
        removed: Rows that went, by table.
        learned: How many of them the model has learned from.
    """

    request: dict[str, Any]
    request_id: str
    image_ids: list[str]
    names: list[tuple[str, str]]
    by_source: dict[str, int]
    places: int
    list_before: str
    content_before: dict[str, str]
    touched: list[str] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    learned: int = 0


def plan_forgetting(home: Home, request: Request) -> Note:
    """Return what would go; nothing is touched.

    The same picture may stand in several sets: whatever has its origin or came as the same bytes goes with it.

    Args:
        home: Whose pictures.
        request: What shall be forgotten.

    Returns:
        The note of a removal that has not begun.

    Raises:
        SettingError: Neither or both were named, several providers have a picture of that id, or nobody has and no source
            is named under which it could be put on the list.
    """
    from geoloc_pipeline.imagery.forgotten import Forgotten
    from geoloc_pipeline.orchestration.keeping.forget_files import count_losses

    if bool(request.source_image_id) == bool(request.capture_group):
        cure = "name either --source-image-id or --capture-group"
        raise SettingError(setting="what to forget", value=request.source_image_id or request.capture_group, cure=cure)
    known = _known_pictures(home)
    meant = _meant(known, request)
    pictures = _with_doubles(known, meant)
    listed = Forgotten(home.forgotten())
    told = json.dumps([request.source, request.source_image_id, request.capture_group])
    names = sorted(set(zip(pictures["source"], pictures["source_image_id"], strict=True)))
    note = Note(
        request=asdict(request),
        request_id=request.request_id or hashlib.sha256(told.encode()).hexdigest()[:12],
        image_ids=sorted(pictures["image_id"]),
        names=names,
        by_source={str(name): int(count) for name, count in Counter(pictures["source"]).items()},
        places=int(pictures["point_id"].nunique()),
        list_before=listed.fingerprint,
        content_before={artefact.name: artefact.receipt.content_hash for artefact in all_artefacts(home)},
    )
    if not names and request.source_image_id and not request.source:
        cure = "no picture of that id is here; to put it on the list all the same, name its provider with --source"
        raise SettingError(setting="--source-image-id", value=request.source_image_id, cure=cure)
    count_losses(home, note)
    return note


def _known_pictures(home: Home) -> "pd.DataFrame":
    """Return every archived picture, also those that lie in a chunk of which no table speaks (yet, or any more)."""
    import pandas as pd

    paths = [path for contract in IMAGES for path in home.tables(contract.name)]
    paths += sorted(home.images(IMAGES[0].name).parent.glob("*/*.manifest.parquet"))
    paths += sorted(home.images(IMAGES[1].name).parent.glob("*/*.manifest.parquet"))
    frames = [pd.read_parquet(path, columns=_COLUMNS) for path in paths]
    none = pd.DataFrame(columns=_COLUMNS, dtype="str")
    return pd.concat([none, *frames], ignore_index=True).drop_duplicates("image_id", ignore_index=True)


def _meant(known: "pd.DataFrame", request: Request) -> "pd.DataFrame":
    import numpy as np

    if request.capture_group:
        return known[known["capture_group"] == request.capture_group]
    wanted = request.source_image_id
    is_it = known["source_image_id"] == wanted
    is_it |= np.array([wanted in ids.split("+") for ids in known["source_image_id"]], dtype=bool)
    if request.source:
        is_it &= known["source"] == request.source
    found = known[is_it]
    sources = sorted(set(found["source"]))
    if len(sources) > 1:
        cure = f"{', '.join(sources)} each have a picture of that id: say whose with --source"
        raise SettingError(setting="--source-image-id", value=wanted, cure=cure)
    return found


def _with_doubles(known: "pd.DataFrame", meant: "pd.DataFrame") -> "pd.DataFrame":
    """Return the pictures that are meant, and those that are the same: of one origin, or come as the same bytes."""
    origins = set(meant["origin_id"].dropna()) - {""}
    origins |= {f"{origin.partition(':')[0]}:{one}" for origin in origins for one in origin.partition(":")[2].split("+")}
    contents = set(meant["content_sha256"]) - {""}
    same = known["origin_id"].isin(origins) | known["content_sha256"].isin(contents) | known["image_id"].isin(meant["image_id"])
    return known[same]


def read_note(home: Home) -> Note | None:
    """Return the note of a removal that was cut short; None where none is under way."""
    path = home.forgetting()
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    return Note(**{**told, "names": [tuple(name) for name in told["names"]]})


def forget(home: Home, request: Request | None = None) -> list[Note]:
    """Remove pictures everywhere; first those of a removal that was cut short.

    Args:
        home: Whose pictures.
        request: What shall be forgotten; None: only what was begun before.

    Returns:
        What went, one note a removal.

    Raises:
        SettingError: As `plan_forgetting`; or another run works in this home.
        HomeError: The disk is full or not ours to write; giving the command again goes on.
        CollectionError: The gallery cannot be changed; giving the command again goes on.
    """
    with hold_home(home, patience_s=_PATIENCE_S):
        done: list[Note] = []
        begun = read_note(home)
        if begun is not None:
            done.append(_carry_out(home, begun))
        if request is not None and (begun is None or begun.request != asdict(request)):
            note = plan_forgetting(home, request)
            write_text(home.forgetting(), json.dumps(asdict(note), ensure_ascii=False, indent=1))
            done.append(_carry_out(home, note))
        return done


def _carry_out(home: Home, note: Note) -> Note:
    """Do everything that a note tells; what is done already is passed over."""
    from geoloc_pipeline.imagery.forgotten import Forgotten
    from geoloc_pipeline.orchestration.keeping import forget_files, forget_records

    with on_shared_home(home):
        Forgotten(home.forgotten()).add_all(_listed(note), why=f"request {note.request_id}")
        forget_files.clear_archives(home, note)
        forget_files.clear_tables(home, note)
        forget_files.clear_gallery(home, note)
        forget_files.clear_pages(home, note)
        forget_records.clear_dagster(home, note)
        forget_records.renew_receipts(home, note)
    _record(home, note)
    with disk_errors(home.forgetting()):
        home.forgetting().unlink(missing_ok=True)
    return note


def _listed(note: Note) -> Iterable[tuple[str, str, str]]:
    request = note.request
    if request["capture_group"]:
        yield "", "", request["capture_group"]
    elif request["source"]:
        yield request["source"], request["source_image_id"], ""
    for source, source_image_id in note.names:
        joined = source_image_id.split("+")
        if request["source_image_id"] in joined:
            yield source, request["source_image_id"], ""  # the other views of a joined picture may serve again
        else:
            for one in joined:
                yield source, one, ""


def _record(home: Home, note: Note) -> None:
    """Append one line: what, when, how many, at whose request; nothing that leads back to a picture or a place."""
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": note.request_id,
        "what": "capture_group" if note.request["capture_group"] else "source_image_id",
        "pictures": len(note.image_ids),
        "by_source": note.by_source,
        "places": note.places,
        "removed": note.removed,
        "learned_by_the_model": note.learned,
    }
    path = home.forgotten_record()
    known = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, f"{known}{json.dumps(line, ensure_ascii=False, sort_keys=True)}\n")


def describe(note: Note, *, is_plan: bool = False) -> str:
    """Return a removal in sentences."""
    count = len(note.image_ids)
    by = ", ".join(f"{number} of {source}" for source, number in sorted(note.by_source.items()))
    verb = "would go" if is_plan else "are gone"
    lines = [
        f"{count} pictures{f' ({by})' if by else ''} {verb}, taken for {note.places} sample points; request {note.request_id}"
    ]
    lines += [f"  {rows:>6} rows of {table}" for table, rows in sorted(note.removed.items())]
    if is_plan:
        return "\n".join([*lines, "nothing was touched: this was a dry run"])
    if note.learned:
        how = (
            "the next training starts anew"
            if note.request["outdate_model"]
            else "the cure: `geoloc forget --outdate-model`, then materialise geolocation_model and what follows"
        )
        lines.append(f"the model still has learned from {note.learned} of them; {how}")
    lines.append("they are on the list that every collector honours")
    lines.append("yours to do: files of photo sets, pages saved elsewhere; and start a running `geoloc serve` again")
    return "\n".join(lines)

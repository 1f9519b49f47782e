"""What is written about artefacts that have lost pictures: receipts, the model's card, Dagster's own records.

Belongs here: receipts that stay true, so that nothing is made anew in vain; previews in Dagster's log: they show pictures.
Does not belong here: the artefacts' files (`forget_files`).
"""

import json
import os
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from geoloc_pipeline.orchestration.artefacts import Artefact, all_artefacts, content_hash, find_artefact
from geoloc_pipeline.orchestration.running.worker import open_instance
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import WHOLE, Home
from geoloc_pipeline.storage.receipts import Receipt, fingerprint_of

if TYPE_CHECKING:
    from geoloc_pipeline.orchestration.keeping.forget import Note

OUTDATED = "outdated by a removal of pictures"
_MODEL, _REPORT, _COLLECTION = f"geolocation_model/{WHOLE}", f"evaluation_report/{WHOLE}", f"qdrant_collection/{WHOLE}"
_PICTURE = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
_BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="
_NOTICE = "\n\nSince this model was trained, {count} of the pictures that it learned from were removed on request. "
_NOTICE += "It still has learned from them; the next training does without.\n"


def renew_receipts(home: Home, note: "Note") -> None:
    """Bring every receipt to what stands now, as if the artefacts had been made without the pictures.

    The model stays current unless the request outdates it: it is not trained for half a day because of one picture; its card
    and receipt say what it has learned from. An evaluation that lost answers or pages is outdated, and made anew next time.

    Raises:
        HomeError: The disk is full or not ours to write.
    """
    from geoloc_pipeline.imagery.forgotten import Forgotten

    if note.learned:
        _tell_on_card(home, note)
    artefacts = list(all_artefacts(home))
    content = {artefact.name: _content(artefact, note) for artefact in artefacts}
    listed, renewed = Forgotten(home.forgotten()).fingerprint, list[Artefact]()
    for artefact in artefacts:
        receipt = _renewed(artefact, note, content, listed)
        if receipt != artefact.receipt:
            _write(artefact, receipt)
            renewed.append(replace(artefact, receipt=receipt))
    _tell_dagster(home, [artefact for artefact in renewed if artefact.name in note.touched and artefact.name != _REPORT])


def outdate(home: Home, key: str) -> bool:
    """Let the next run of an asset without partitions make it anew; return whether it stands."""
    found = find_artefact(home, f"{key}/{WHOLE}")
    if found is not None:
        _write(found, replace(found.receipt, fingerprint=OUTDATED))
    return found is not None


def _write(artefact: Artefact, receipt: Receipt) -> None:
    told = json.dumps(asdict(receipt), sort_keys=True, ensure_ascii=False, indent=1)
    write_text(artefact.home.receipt(artefact.key, artefact.partition), told)


def _content(artefact: Artefact, note: "Note") -> str:
    files = artefact.hashed_files
    if artefact.name in note.touched and artefact.name != _REPORT and all(file.is_file() for file in files):
        return content_hash(files)
    return artefact.receipt.content_hash


def _renewed(artefact: Artefact, note: "Note", content: dict[str, str], listed: str) -> Receipt:
    receipt, before = artefact.receipt, note.content_before
    inputs: dict[str, Any] = {}
    for name, value in receipt.inputs.items():
        inputs[name] = content[name] if name in content and value == before.get(name) else value
    if inputs.get("forgotten") == note.list_before:
        inputs["forgotten"] = listed
    files = {}
    for name, size in receipt.files.items():
        path = artefact.home.root / name
        files[name] = path.stat().st_size if artefact.name in note.touched and path.is_file() else size
    metadata = dict(receipt.metadata)
    was_current = receipt.fingerprint == fingerprint_of(receipt.inputs)
    fingerprint = fingerprint_of(inputs) if was_current else receipt.fingerprint
    if artefact.name in note.touched and "rows" in metadata:
        metadata["rows"] = _rows(artefact)
    if artefact.name == _MODEL and note.learned:
        files = {name: (artefact.home.root / name).stat().st_size for name in files}
        metadata["forgotten_since"] = _counted(metadata.get("forgotten_since"), note)
        fingerprint = OUTDATED if note.request["outdate_model"] else fingerprint
    if artefact.name == _REPORT and _REPORT in note.touched:
        fingerprint = OUTDATED
    if artefact.name == _COLLECTION:
        metadata |= _collection_facts(artefact.home, metadata)
    return replace(
        receipt, fingerprint=fingerprint, content_hash=content[artefact.name], inputs=inputs, files=files, metadata=metadata
    )


def _counted(known: dict[str, int] | None, note: "Note") -> dict[str, int]:
    """Return how many pictures the model has learned from that are gone, by request: one that is done twice counts once."""
    return {**(known or {}), note.request_id: note.learned}


def _rows(artefact: Artefact) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(artefact.home.table(artefact.key, artefact.partition)).num_rows)


def _collection_facts(home: Home, metadata: dict[str, Any]) -> dict[str, Any]:
    from geoloc_pipeline.errors import CollectionError
    from geoloc_pipeline.retrieval.answering.desk import gallery_location
    from geoloc_pipeline.retrieval.gallery.gallery import open_gallery

    try:
        with open_gallery(gallery_location(home)) as gallery:
            return {"collection": gallery.collection, "points": gallery.count()}
    except CollectionError:  # nothing is left
        return {"points": 0} if "points" in metadata else {}


def _tell_on_card(home: Home, note: "Note") -> None:
    """Say on the model's card what it has learned from that is gone."""
    card, marked = home.model_export() / "README.md", f"<!-- removal {note.request_id} -->"
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8")
    if marked not in text:
        write_text(card, text.rstrip("\n") + f"\n\n{marked}" + _NOTICE.format(count=note.learned))


def records_of(home: Home) -> dg.DagsterInstance:
    """Return the instance that records this home's runs: DAGSTER_HOME's where that is set, else the home's own."""
    return dg.DagsterInstance.get() if os.environ.get("DAGSTER_HOME") else open_instance(home)


def clear_dagster(home: Home, note: "Note") -> None:
    """Take the previews of artefacts that have lost pictures out of Dagster's event log: they show them."""
    if not (os.environ.get("DAGSTER_HOME") or home.dagster().is_dir()):
        return
    names = {name for name in note.touched if name != _REPORT} | ({_MODEL} if note.learned else set())
    with records_of(home) as instance:
        for name in sorted(names):
            key, _, partition = name.partition("/")
            blank_previews(instance, key, None if partition == WHOLE else partition)


def blank_previews(instance: dg.DagsterInstance, key: str, partition: str | None) -> int:
    """Put an empty picture in place of those in the events of an artefact; return how many events were changed.

    There is no door in Dagster for this, so its tables are written directly: events stand as JSON in the index, in the
    run's own file (SQLite), and the last one once more beside the asset key.

    Args:
        instance: Dagster's records.
        key: Asset key.
        partition: Partition key; None: it has none.
    """
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    asset, changed, runs = json.dumps([key]), 0, set[str]()
    with storage.index_connection() as connection:
        changed += _blank(connection, "event_logs", "event", asset, partition, runs)
        _blank(connection, "asset_keys", "last_materialization", asset, None, set())
    for run_id in sorted(runs):
        with storage.run_connection(run_id) as connection:
            _blank(connection, "event_logs", "event", asset, partition, set())
    return changed


def _blank(connection: Any, table: str, column: str, asset: str, partition: str | None, runs: set[str]) -> int:
    """Rewrite the rows of one table that hold a picture, and note their runs."""
    import sqlalchemy as db

    if connection.dialect.name == "sqlite":
        connection.execute(db.text("PRAGMA secure_delete = ON"))  # what is overwritten is zeroed in the file
    run_id = "run_id" if table == "event_logs" else "id"
    words = f"SELECT id, {run_id}, {column} FROM {table} WHERE asset_key = :asset AND {column} LIKE '%;base64,%'"
    told = {"asset": asset}
    if partition is not None:
        words, told["partition"] = f"{words} AND partition = :partition", partition
    rows = connection.execute(db.text(words), told).fetchall()
    changed = 0
    for row_id, run, text in rows:
        runs.add(str(run))
        blank = _PICTURE.sub(_BLANK, text)
        if blank != text:
            changed += 1
            connection.execute(db.text(f"UPDATE {table} SET {column} = :text WHERE id = :id"), {"text": blank, "id": row_id})
    return changed


def _tell_dagster(home: Home, artefacts: list[Artefact]) -> None:
    """Report the new content of artefacts, as materialisations of the same code and inputs."""
    if not artefacts or not (os.environ.get("DAGSTER_HOME") or home.dagster().is_dir()):
        return
    with records_of(home) as instance:
        for artefact in artefacts:
            partition = None if artefact.partition == WHOLE else artefact.partition
            wanted = dg.AssetRecordsFilter(dg.AssetKey(artefact.key), asset_partitions=[partition] if partition else None)
            former = instance.fetch_materializations(wanted, limit=1).records
            if not former or former[0].asset_materialization is None:
                continue
            facts, tags = artefact.receipt.metadata, former[0].asset_materialization.tags or {}
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    artefact.key,
                    partition=partition,
                    description="Pictures were removed on request.",
                    metadata={"dagster/row_count": facts["rows"]} if "rows" in facts else {},
                    tags={**tags, "dagster/data_version": artefact.receipt.content_hash[:16]},
                )
            )

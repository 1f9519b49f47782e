"""How files lose pictures: shards, tables, the gallery, pages, scratch.

Belongs here: everything on disk that shows a picture or was computed from one. Each step looks at what is there, so that it can
be done again after a kill. Does not belong here: which pictures (`forget`), receipts (`forget_records`).

A shard is written anew, whole or not at all, with zeros and a nameless member where a picture was. The others stay where every
table says they are, so that a table and its shard never disagree about them. The collector packs such a shard when it next
writes the chunk.
"""

import fcntl
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import BadSourceFileError, CollectionError, SettingError
from geoloc_pipeline.storage.atomic import atomic_path, disk_errors
from geoloc_pipeline.storage.layout import WHOLE, Home
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.tables import CONTRACTS, IMAGES, LABELLED_IMAGES, REJECTED, TableContract

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.orchestration.keeping.forget import Note

NAMELESS = "forgotten"
_ID_COLUMNS = ("image_id", "query_id")
_LEARNED = ("train", "val")
_WITH_REJECTED = (*IMAGES, LABELLED_IMAGES)


def count_losses(home: Home, note: "Note") -> None:
    """Write into a note what its removal takes from which artefact; nothing is touched."""
    for contract in CONTRACTS.values():
        if contract is REJECTED:
            continue
        for path in home.tables(contract.name) if _key_of(contract) else ():
            _lose(note, _artefact_of(contract.name, path.stem), contract.name, _count(contract, path, note))
    for contract in _WITH_REJECTED:
        for path in home.tables(contract.name):
            _lose(
                note,
                f"{contract.name}/{path.stem}",
                "rejected",
                int(_turned_away(home.rejected(contract.name, path.stem), note).sum()),
            )
    _lose(note, f"evaluation_report/{WHOLE}", "pages", len(_pages(home, note)))
    for path in home.tables("training_shards"):
        rows = _rows_of(path, note, ["image_id", "split"])
        note.learned += int(rows.loc[rows["split"].isin(_LEARNED), "image_id"].nunique())


def _lose(note: "Note", artefact: str, what: str, count: int) -> None:
    if count:
        note.removed[what] = note.removed.get(what, 0) + count
        if artefact not in note.touched:
            note.touched.append(artefact)


def clear_archives(home: Home, note: "Note") -> None:
    """Take the pictures out of the archive's shards and chunks, and out of the training shards.

    Raises:
        SettingError: A collector is at work in a folder.
        HomeError: The disk is full or not ours to write.
    """
    for contract in IMAGES:
        for folder in _partitions(home, contract.name):
            with _alone_in(folder):
                for path in sorted(folder.glob("*.manifest.parquet")):
                    _clear_shards(path, folder, note)
                    _filter(contract, path, note)
                for path in sorted(folder.glob("*.rejected.parquet")):
                    _filter_rejected(path, note)
                _clear_intake(folder, note)
                _clear_shards(home.table(contract.name, folder.name), folder, note)
    for folder in _partitions(home, "training_shards"):
        _clear_shards(home.table("training_shards", folder.name), folder, note)


def _partitions(home: Home, key: str) -> list[Path]:
    return sorted(path for path in home.images(key).parent.glob("*") if path.is_dir())


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a collector's folder.

    Raises:
        SettingError: A collector holds it.
    """
    with disk_errors(folder), (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            cure = "a collection is at work in it: wait for it or end it, then give the command again"
            raise SettingError(setting="the archive", value=str(folder), cure=cure) from None
        yield


def _rows_of(path: Path, note: "Note", columns: list[str]) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        return pd.DataFrame(columns=columns)
    return pd.read_parquet(path, columns=columns, filters=[("image_id", "in", note.image_ids or [""])])


def _clear_shards(table: Path, folder: Path, note: "Note") -> None:
    """Blank the pictures that a table or manifest still speaks of."""
    rows = _rows_of(table, note, ["image_id", "shard", "offset", "size_bytes"])
    for shard, members in rows.groupby("shard", sort=True):
        path = folder / str(shard)
        if path.is_file():
            blank_members(path, list(zip(members["offset"].astype(int), members["size_bytes"].astype(int), strict=True)))


def blank_members(path: Path, places: list[tuple[int, int]]) -> None:
    """Write a shard anew with zeros in place of some pictures; nothing happens where they are blank already.

    Args:
        path: The tar file.
        places: Offset and size in bytes of each picture.

    Raises:
        BadSourceFileError: No member begins there.
        HomeError: The disk is full or not ours to write.
    """
    block = tarfile.BLOCKSIZE
    with path.open("rb") as stream:
        heads: list[tuple[int, bytes, int]] = []
        for offset, size_bytes in sorted(places):
            stream.seek(offset - block)
            try:
                member = tarfile.TarInfo.frombuf(stream.read(block), "utf-8", "strict")
            except tarfile.HeaderError as error:
                cure = "remove it and materialise the asset that its folder is named after again"
                raise BadSourceFileError(path=path, reason=f"no picture begins at {offset}", cure=cure) from error
            if member.name != NAMELESS:
                member.name = NAMELESS
                heads.append((offset - block, member.tobuf(tarfile.USTAR_FORMAT), size_bytes))
    if not heads:
        return
    with atomic_path(path) as partial:
        shutil.copyfile(path, partial)
        with partial.open("r+b") as stream:
            for start, head, size_bytes in heads:
                stream.seek(start)
                stream.write(head + bytes(size_bytes))


def _clear_intake(folder: Path, note: "Note") -> None:
    """Remove intake files that hold such a picture: what else they hold is fetched again."""
    request = note.request
    told = [("image_id", image_id) for image_id in note.image_ids]
    told += [(name, request[name]) for name in ("source_image_id", "capture_group") if request[name]]
    words = [json.dumps({name: value}, ensure_ascii=False)[1:-1].encode() for name, value in told]
    for path in folder.glob("*.intake"):
        content = path.read_bytes()
        if any(word in content for word in words):
            path.unlink()


def clear_tables(home: Home, note: "Note") -> None:
    """Take the pictures' rows out of every table of the home, and remove what shows them.

    Raises:
        HomeError: The disk is full or not ours to write.
    """
    for contract in CONTRACTS.values():
        for path in home.tables(contract.name) if contract is not REJECTED and _key_of(contract) else ():
            _filter(contract, path, note)
    for contract in _WITH_REJECTED:
        for path in home.tables(contract.name):
            _filter_rejected(home.rejected(contract.name, path.stem), note)
    for name in note.touched:
        key, _, partition = name.partition("/")
        home.preview(key, partition).unlink(missing_ok=True)
        if key == "training_shards":  # what a killed embedding has left
            shutil.rmtree(home.embedding_scratch(partition), ignore_errors=True)
    if note.learned:
        home.preview("geolocation_model").unlink(missing_ok=True)


def _artefact_of(table: str, partition: str) -> str:
    """Return the artefact that a table belongs to."""
    owners = {"estimates": "evaluation_report", "embedded_views": "image_embeddings", "backbone_tokens": "image_embeddings"}
    return f"{owners.get(table, table)}/{partition}"


def _key_of(contract: TableContract) -> str:
    """Return the column that names a table's pictures; empty where it has none."""
    return next((column.name for column in contract.columns if column.name in _ID_COLUMNS), "")


def _count(contract: TableContract, path: Path, note: "Note") -> int:
    import pyarrow.parquet as pq

    key = _key_of(contract)
    return len(pq.read_table(path, columns=[key], filters=[(key, "in", note.image_ids or [""])]))


def _filter(contract: TableContract, path: Path, note: "Note") -> None:
    """Write a table without the pictures; not at all where it holds none of them."""
    from geoloc_pipeline.storage.parquet import read_table, write_table

    if not _count(contract, path, note):
        return
    frame = read_table(contract, path)
    write_table(contract, frame[~frame[_key_of(contract)].isin(note.image_ids)], path)


def _turned_away(path: Path, note: "Note") -> Any:
    """Return which rows of a `rejected` table speak of the pictures: `[n]` bool."""
    import numpy as np
    import pandas as pd

    from geoloc_pipeline.storage.parquet import read_table

    if not path.is_file():
        return np.zeros(0, dtype=bool)
    frame = read_table(REJECTED, path)
    named = pd.MultiIndex.from_frame(frame[["source", "source_image_id"]]).isin(note.names or [("", "")])
    # Of a double, the detail names the picture that stayed.
    words = tuple(f" {source} {name}" for source, name in note.names) or ("\0",)
    return named | frame["detail"].str.endswith(words).to_numpy(dtype=bool)


def _filter_rejected(path: Path, note: "Note") -> None:
    """Write a `rejected` table without the pictures; not at all where it speaks of none."""
    from geoloc_pipeline.storage.parquet import read_table, write_table

    gone = _turned_away(path, note)
    if gone.any():
        write_table(REJECTED, read_table(REJECTED, path)[~gone], path)


def clear_gallery(home: Home, note: "Note") -> None:
    """Take the pictures' points out of the live collection and the way back; other collections are removed.

    A collection of an earlier version does not know what its points are called at their source, and two providers may call two
    pictures alike. Where other points are left than there are vectors, it is built anew, and the next run adds what is told of
    each picture.

    Raises:
        CollectionError: The gallery cannot be changed.
    """
    receipt = read_receipt(home.receipt("qdrant_collection"))
    if receipt is None or not any(name.startswith("image_embeddings/") for name in note.touched):
        return
    from geoloc_pipeline.orchestration.keeping.forget_records import outdate
    from geoloc_pipeline.retrieval.answering.desk import gallery_location
    from geoloc_pipeline.retrieval.gallery.gallery import build_gallery, forget_pictures, open_gallery
    from geoloc_pipeline.storage.parquet import read_tables
    from geoloc_pipeline.tables import IMAGE_EMBEDDINGS

    location, group = gallery_location(home), note.request["capture_group"]
    with closing(location.store()) as store:
        if not store.live():
            return
    inputs = (name.split("/") for name in receipt.inputs if name.startswith("image_embeddings/"))
    embeddings = read_tables(IMAGE_EMBEDDINGS, [path for name in inputs if (path := home.table(*name)).is_file()])
    try:
        names = [name for _, name in note.names]
        forget_pictures(location, source_image_ids=names, capture_groups=[group] if group else [])
        with open_gallery(location) as gallery:
            is_left = gallery.count() == len(embeddings)
    except CollectionError:  # of an earlier version, or damaged
        is_left = False
    if is_left:
        return
    outdate(home, "qdrant_collection")
    name = build_gallery(embeddings, location=location) if len(embeddings) else ""
    with closing(location.store()) as store:
        for other in store.names():
            if other != name:
                store.remove(other)


def clear_pages(home: Home, note: "Note") -> None:
    """Remove the pages that name such a picture: the next evaluation writes them anew."""
    for path in _pages(home, note):
        path.unlink(missing_ok=True)


def _pages(home: Home, note: "Note") -> list[Path]:
    """Return the reports that show one of the pictures: those that name it, and an evidence page that may be of it.

    An evidence page names its neighbours, but not the test picture that it is of; one of an earlier version names nobody.
    """
    pages = []
    for path in sorted(home.reports().rglob("*")):
        if not path.is_file() or path.suffix not in {".html", ".json", ".csv"}:
            continue
        text = path.read_text("utf-8", "replace")
        is_evidence = path == home.evidence_page() and bool(note.image_ids)
        may_be_of_it = is_evidence and ("estimates" in note.removed or "data-image-id" not in text)
        if may_be_of_it or any(image_id in text for image_id in note.image_ids):
            pages.append(path)
    return pages

"""A home on object storage: what stands there is shared, what a node needs of it lies in the node's working copy.

Files of artefacts are objects named after their SHA-256, which are never written over. One small object an artefact, its
manifest, holds the receipt and says which object each file is: an artefact is published by writing its manifest, after its
objects. So a reader sees the whole of it or the whole of the one before, however many files it has and whoever else publishes;
of two nodes that publish the same artefact the later one counts, and both are whole.

The working copy is an ordinary home on the node's disk. Its receipts are kept like those that are shared (`refresh`), its files
are brought when a step asks for them (`fetch`) and stay for the next one; pictures in tar shards are read where they are.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geoloc_pipeline
from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, SettingError
from geoloc_pipeline.storage.atomic import atomic_path, is_alive, write_bytes, write_text
from geoloc_pipeline.storage.manifests import (
    MANIFESTS,
    OBJECTS,
    Manifest,
    manifest_key,
    object_key,
    objects_in,
    parse_manifest,
    read_note,
)
from geoloc_pipeline.storage.objects import SETTING, ObjectStore, at_once, open_store
from geoloc_pipeline.storage.receipts import Receipt, as_text, file_hash, read_receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geoloc_pipeline.storage.layout import Home

LAYOUT = 1
"""Of the store; raised when what stands there is kept otherwise."""
_WORTH_ASKING_BYTES = 1 << 20  # whether an object is there already: below, it is written again as fast
_MARK, _FILES = "home.json", "files"


class SharedHome:
    """One home on object storage, seen from one node.

    May be shared between threads. Of several processes on one node each has its own; they share the working copy.
    """

    def __init__(self, home: Home, store: ObjectStore) -> None:
        """Take a working copy and its store; use `shared_home`."""
        self.home, self._store = home, store

    def refresh(self) -> None:
        """Make the working copy's receipts those that are shared, and bring the few loose files that changed.

        An artefact that a process of this node is making is left alone. A receipt that was never published stays.

        Raises:
            SourceUnavailableError: The storage does not answer.
            SourceRefusedError: The credentials are refused.
        """
        for listed in self._store.listed(_FILES):
            name = listed.key.removeprefix(f"{_FILES}/")
            note = self.home.shared_note(_FILES, name)
            if _text_of(note) != listed.tag:
                write_bytes(self._inside(name), self._store.get(listed.key))
                write_text(note, listed.tag)
        changed = []
        for listed in self._store.listed(MANIFESTS):
            asset_key, _, partition = listed.key.removeprefix(f"{MANIFESTS}/").removesuffix(".json").partition("/")
            told = self._told(asset_key, partition)
            if told is None or told[0] != listed.tag or not self.home.receipt(asset_key, partition).is_file():
                changed.append((asset_key, partition, listed.tag))
        at_once(lambda one: self._take(*one), changed)

    def fetch(self, asset_key: str, partition: str, *, shards: bool = False, beside: bool = False) -> None:
        """Bring the files of a published artefact into the working copy; those that are there already stay.

        Args:
            asset_key: Which asset.
            partition: Its partition key, or `all`.
            shards: Whether to bring tar shards, too: without, they are read where they are.
            beside: Whether to bring nothing but what the receipt does not name: what is shown, an embedded gallery.

        Raises:
            MissingInputError: An object is gone.
            BadSourceFileError: An object is not what its name says.
            SourceUnavailableError: As `refresh`.
            HomeError: The disk of the working copy is full.
        """
        told = self._told(asset_key, partition)
        if told is None:
            return
        objects = told[1].objects
        of_receipt = told[1].receipt["files"]
        wanted = [name for name in objects if (shards or not name.endswith(".tar")) and not (beside and name in of_receipt)]
        have = read_note(self.home.shared_note("have", f"{asset_key}/{partition}"))
        missing = [name for name in wanted if not self._stands(name, objects[name], have)]
        at_once(lambda name: self._bring(name, *objects[name]), missing)
        if missing:
            self._note_have(asset_key, partition, {name: objects[name][0] for name in wanted})

    def bring_shards(self, asset_key: str) -> None:
        """Bring an asset's tar shards for who reads all of them again and again, as far as the disk has room for them twice.

        What does not fit is read where it is; errors as `fetch`.
        """
        for path in sorted(self.home.receipt(asset_key).parent.glob("*.json")):
            sizes = self.sizes(asset_key, path.stem)
            missing = sum(size for name, size in sizes.items() if not (self.home.root / name).is_file())
            if 2 * missing < shutil.disk_usage(self.home.root).free:
                self.fetch(asset_key, path.stem, shards=True)

    def bring_table(self, path: Path) -> None:
        """Make a table of the working copy the published one, whoever asks for it; one that was never published stays.

        Args:
            path: As `Home.table` has it.

        Raises:
            MissingInputError: As `fetch`.
            BadSourceFileError: As `fetch`.
            SourceUnavailableError: As `refresh`.
        """
        name = path.relative_to(self.home.root).as_posix()
        told = objects_in(self._told_path(path.parent.name, path.stem)).get(name)
        if told is None or self._is_making(path.parent.name, path.stem):
            return
        have = read_note(self.home.shared_note("have", f"{path.parent.name}/{path.stem}"))
        if not self._stands(name, told, have):
            self._bring(name, *told)

    def publish(self, asset_key: str, partition: str, beside: Sequence[Path] = ()) -> None:
        """Let everybody see an artefact that was made in the working copy.

        Args:
            asset_key: Which asset.
            partition: Its partition key, or `all`.
            beside: More of its files than its receipt names, and folders of such; those that are not there are passed over.

        Raises:
            MissingInputError: The artefact has no receipt here, or a file of it is gone.
            SourceUnavailableError: As `refresh`; nothing is published then.
            SourceRefusedError: As `refresh`.
        """
        receipt = read_receipt(self.home.receipt(asset_key, partition))
        if receipt is None:
            cure = "materialise it again"
            raise MissingInputError(what=f"the receipt of {asset_key}/{partition}", path=self.home.root, cure=cure)
        files = [file for path in beside for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]
        more = [file.relative_to(self.home.root).as_posix() for file in files]
        objects: dict[str, tuple[str, int]] = {}
        before = self._told(asset_key, partition)
        published = {digest for digest, _ in before[1].objects.values()} if before else set()
        for name in dict.fromkeys([*receipt.files, *more]):
            path = self.home.root / name
            objects[name] = (file_hash(path), path.stat().st_size)
        new = {digest: name for name, (digest, _) in objects.items() if digest not in published}  # the same bytes go once
        at_once(lambda digest: self._send(new[digest], digest), list(new))
        manifest = Manifest(receipt=asdict(receipt), objects=objects)
        key = manifest_key(asset_key, partition)
        self._store.put(key, manifest.as_bytes())
        tag = next((listed.tag for listed in self._store.listed(key)), "")
        self._note_have(asset_key, partition, {name: digest for name, (digest, _) in objects.items()})
        self._note(asset_key, partition, tag, manifest)

    def withdraw(self, asset_key: str, partition: str) -> None:
        """Take back what is published of an artefact that turned out to be damaged; its step makes it again."""
        self._store.remove(manifest_key(asset_key, partition))
        self._told_path(asset_key, partition).unlink(missing_ok=True)

    def share_file(self, path: Path) -> None:
        """Let everybody have a small file that belongs to no artefact (which world the demo shows, what must not come back)."""
        key = f"{_FILES}/{path.relative_to(self.home.root).as_posix()}"
        self._store.put(key, path.read_bytes())

    def making(self, asset_key: str, partition: str) -> Path:
        """Return the note that says that this process is making an artefact; `refresh` leaves it alone while that is there."""
        path = self.home.shared_note("making", f"{asset_key}--{partition}.{os.getpid()}")
        write_text(path, "")
        return path

    def sizes(self, asset_key: str, partition: str) -> dict[str, int]:
        """Return the size in bytes of each published file of an artefact, by path relative to the home."""
        told = self._told_path(asset_key, partition)
        return {name: size for name, (_, size) in objects_in(told).items()}

    def is_published(self, asset_key: str, partition: str, receipt: Receipt) -> bool:
        """Return whether it is this receipt that everybody sees."""
        told = self._told(asset_key, partition)
        return told is not None and told[1].receipt == asdict(receipt)

    def bring(self, *, shards: bool = False, without: Sequence[str] = ("osm_dump",)) -> None:
        """Refresh, and bring every artefact's files, for who reads here and there.

        Args:
            shards: As for `fetch`.
            without: Assets whose files nobody reads there.
        """
        self.refresh()
        for path in self.home.receipts():
            if path.parent.name not in without:
                self.fetch(path.parent.name, path.stem, shards=shards)

    def shard_size(self, path: Path) -> int | None:
        """Return the size of a published tar shard, whether or not it lies in the working copy; None: it is not published."""
        found = self._shard(path)
        return found[1] if found else None

    def read_range(self, path: Path, *, offset: int, size_bytes: int) -> bytes:
        """Return some bytes of a published tar shard, fewer where it ends.

        Raises:
            MissingInputError: It is not published, or gone.
            SourceUnavailableError: As `refresh`.
        """
        found = self._shard(path)
        if found is None:
            cure = "materialise the asset that its folder is named after again"
            raise MissingInputError(what="an image shard", path=path, cure=cure)
        return self._store.get_range(object_key(found[0]), offset=offset, size_bytes=size_bytes)

    def named(self) -> set[str]:
        """Return the keys of all objects that a manifest names."""
        manifests = [json.loads(self._store.get(listed.key)) for listed in list(self._store.listed(MANIFESTS))]
        return {object_key(digest) for told in manifests for digest, _ in told["objects"].values()}

    def unnamed(self, *, before_s: float) -> list[tuple[str, int]]:
        """Return key and size of objects that no manifest names: of artefacts made anew, or of runs that were killed.

        Args:
            before_s: Younger ones, written at this time or later (seconds since 1970), may be about to be named: they stay.
        """
        old = [listed for listed in self._store.listed(OBJECTS) if listed.written_s < before_s]
        named = self.named() if old else set()
        return [(listed.key, listed.size_bytes) for listed in old if listed.key not in named]

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects that no manifest names."""
        at_once(self._store.remove, list(keys))

    def ensure_ours(self) -> None:
        """Make sure that the store is there, and was written by this version; an empty one is marked as ours.

        Raises:
            SettingError: There is no such bucket, or another version wrote there.
            SourceRefusedError: As `refresh`.
            SourceUnavailableError: As `refresh`.
        """
        self._store.look()
        ours = {"layout": LAYOUT, "version": geoloc_pipeline.__version__}
        try:
            theirs = json.loads(self._store.get(_MARK))
        except MissingInputError:
            self._store.put(_MARK, json.dumps(ours).encode())
            return
        if theirs != ours:
            version = theirs.get("version", "unknown")
            there, here = f"{version} (layout {theirs.get('layout')})", f"{ours['version']} (layout {LAYOUT})"
            cure = (
                f"geoloc_pipeline {there} works there, this node has {here}: install the same version on all nodes; "
                f"when all have the new one, remove {self._store.url}/{_MARK}"
            )
            raise SettingError(setting=SETTING, value=self._store.url, cure=cure)

    # --- the working copy -----------------------------------------------------------------------------------------------

    def _inside(self, name: str) -> Path:
        """Return a file of the working copy.

        Raises:
            BadSourceFileError: The name leads outside.
        """
        path = self.home.root / name
        if Path(os.path.normpath(path)) != path or not path.is_relative_to(self.home.root):
            raise BadSourceFileError(
                path=self._store.url, reason=f"names a file outside: {name!r}", cure="remove that manifest"
            )
        return path

    def _take(self, asset_key: str, partition: str, tag: str) -> None:
        """Make a receipt of the working copy the published one.

        Raises:
            BadSourceFileError: The manifest is spoilt.
        """
        if self._is_making(asset_key, partition):
            return
        data = self._store.get(manifest_key(asset_key, partition))
        manifest = parse_manifest(data, shown=f"{self._store.url}/{manifest_key(asset_key, partition)}")
        receipt = Receipt(**manifest.receipt)
        self._note(asset_key, partition, tag, manifest)
        write_text(self.home.receipt(asset_key, partition), as_text(receipt))

    def _is_making(self, asset_key: str, partition: str) -> bool:
        """Return whether a process of this node is making an artefact."""
        folder = self.home.shared_note("making", asset_key).parent
        makers = [path.suffix[1:] for path in folder.glob(f"{asset_key}--{partition}.*")]
        return any(pid.isdigit() and is_alive(int(pid)) for pid in makers)

    def _stands(self, name: str, wanted: tuple[str, int], have: dict[str, Any]) -> bool:
        path = self._inside(name)
        if not path.is_file():
            return False
        stat = path.stat()
        known = have.get(name)
        if known and known[1:] == [stat.st_size, stat.st_mtime_ns]:
            return bool(known[0] == wanted[0])
        return stat.st_size == wanted[1] and file_hash(path) == wanted[0]

    def _bring(self, name: str, digest: str, size_bytes: int) -> None:
        with atomic_path(self._inside(name)) as partial:
            self._store.get_file(object_key(digest), partial)
            if partial.stat().st_size != size_bytes or file_hash(partial) != digest:
                cure = "remove that object, and materialise the asset again"
                raise BadSourceFileError(
                    path=f"{self._store.url}/{object_key(digest)}", reason=f"damaged: it is not {name}", cure=cure
                )

    def _send(self, name: str, digest: str) -> None:
        path, key = self.home.root / name, object_key(digest)
        size_bytes = path.stat().st_size
        if size_bytes < _WORTH_ASKING_BYTES or self._store.size(key) != size_bytes:
            self._store.put_file(key, path)

    def _note_have(self, asset_key: str, partition: str, digests: dict[str, str]) -> None:
        note = self.home.shared_note("have", f"{asset_key}/{partition}")
        stats = {name: (self.home.root / name).stat() for name in digests}
        have = {name: [digest, stats[name].st_size, stats[name].st_mtime_ns] for name, digest in digests.items()}
        write_text(note, json.dumps(read_note(note) | have))

    def _told_path(self, asset_key: str, partition: str) -> Path:
        return self.home.shared_note(MANIFESTS, f"{asset_key}/{partition}.json")

    def _note(self, asset_key: str, partition: str, tag: str, manifest: Manifest) -> None:
        write_text(self._told_path(asset_key, partition), json.dumps({"tag": tag, **asdict(manifest)}, ensure_ascii=False))

    def _told(self, asset_key: str, partition: str) -> tuple[str, Manifest] | None:
        """Return the manifest as this node saw it last, and its tag."""
        told = read_note(self._told_path(asset_key, partition))
        return (told["tag"], Manifest.of(told)) if told else None

    def _shard(self, path: Path) -> tuple[str, int] | None:
        name = path.relative_to(self.home.root).as_posix()
        _, asset_key, partition, _ = name.split("/")  # as `Home.images` has them
        told = self._told_path(asset_key, partition)
        return objects_in(told).get(name)


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def home_at(place: str | Path, environ: Mapping[str, str]) -> Home:
    """Return the home at a folder or URL, its working copy where the environment wants it (`GEOLOC_WORKING_COPIES`)."""
    from geoloc_pipeline.storage.layout import WORKING_COPIES, Home

    return Home.at(place, working_copies=environ.get("GEOLOC_WORKING_COPIES", "").strip() or WORKING_COPIES)


def shared_home(home: Home) -> SharedHome | None:
    """Return what a home shares with other nodes; None: it is a folder, and shares nothing.

    Made once in each process, where the store is looked at: a bucket that is not there, refused credentials and another version
    are told before any work starts.

    Raises:
        SettingError: See `SharedHome.ensure_ours` and `objects.open_store`.
        SourceRefusedError: As `SharedHome.refresh`.
        SourceUnavailableError: As `SharedHome.refresh`.
    """
    return _opened(home, os.getpid()) if home.url else None


@lru_cache(maxsize=4)
def _opened(home: Home, _pid: int) -> SharedHome:
    shared = SharedHome(home, open_store(str(home.url)))
    shared.ensure_ours()
    write_text(home.shared_note("copy", "of"), str(home.url))
    return shared


def shared_home_of(path: Path) -> SharedHome | None:
    """Return the shared home in whose working copy a path lies, for who is handed nothing but paths; None: it lies in none."""
    from geoloc_pipeline.storage.layout import Home

    for folder in path.parents:
        url = _text_of(Home(root=folder).shared_note("copy", "of"))
        if url:
            return shared_home(Home(root=folder, url=url))
    return None

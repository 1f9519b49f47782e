"""Forgetting on a home that several nodes share: work on all of it here, let everybody see what is left, remove the objects.

Belongs here: what a removal needs beyond a folder. Does not belong here: what is removed (`forget`, `forget_files`).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.manifests import read_note
from geoloc_pipeline.storage.shared import SharedHome, shared_home

_MORE_THAN_RECEIPTS_NAME = ("qdrant_collection", "evaluation_report")


@contextmanager
def on_shared_home(home: Home) -> Iterator[None]:
    """Work on everything that a shared home holds; nothing happens where the home is a folder.

    What is cleared is published when the block ends well. Objects that were named before and are no longer held the pictures:
    they go last, and a list of them stays until they are gone, so that a removal that was killed is finished by the next one.

    Args:
        home: Whose pictures.

    Yields:
        None: all files are here, and no other process of this node brings former ones back.

    Raises:
        SourceUnavailableError: The storage does not answer; the next removal goes on.
    """
    shared = shared_home(home)
    if shared is None:
        yield
        return
    kept = home.shared_note("forgetting", "before.json")
    shared.bring(shards=True, without=())
    before = {*read_note(kept).get("keys", []), *shared.named()}
    write_text(kept, json.dumps({"keys": sorted(before)}))
    notes = [shared.making(artefact.key, artefact.partition) for artefact in all_artefacts(home)]
    try:
        yield
        _tell_all(home, shared)
        shared.remove(before - shared.named())
        kept.unlink()
    finally:
        for note in notes:
            note.unlink(missing_ok=True)


def _tell_all(home: Home, shared: SharedHome) -> None:
    shared.share_file(home.forgotten())
    for artefact in all_artefacts(home):
        is_told = shared.is_published(artefact.key, artefact.partition, artefact.receipt)
        if not is_told or artefact.key in _MORE_THAN_RECEIPTS_NAME:
            shared.publish(artefact.key, artefact.partition, home.beside(artefact.key, artefact.partition))

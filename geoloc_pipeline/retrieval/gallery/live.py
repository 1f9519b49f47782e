"""The live gallery, kept open between questions.

To open a collection takes longer than to search it, so a server opens it once. It notices when another collection has become
live and moves over between two searches; a collection that was taken away is looked for again before anybody is told.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.gallery import open_gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.gallery.gallery import Gallery, GalleryLocation
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours, Where
    from geoloc_pipeline.retrieval.gallery.store import Store

CHECK_EVERY_S = 1.0
_LOG = logging.getLogger(__name__)


@dataclass
class _Held:
    """A collection that is open, and how many searches use it."""

    gallery: Gallery
    open: ExitStack
    readers: int = field(default=0)


class LiveGallery:
    """Whatever collection is live; may be searched from several threads at once."""

    def __init__(self, location: GalleryLocation, *, model_version: str, check_every_s: float = CHECK_EVERY_S) -> None:
        """Open nothing yet: the first search does.

        Args:
            location: Where the gallery is.
            model_version: Of the model whose vectors will be searched for; a collection of another model is refused.
            check_every_s: How often it is asked which collection is live.
        """
        self.location = location
        self._model_version = model_version
        self._check_every_s = check_every_s
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._aliases: Store | None = None
        self._checked_s = float("-inf")

    def search(
        self, vectors: NDArray[np.float32], *, top_k: int = 100, exact: bool = False, where: Where | None = None
    ) -> Neighbours:
        """Return the most similar pictures; see `Gallery.search`.

        Raises:
            CollectionError: No collection is live, it is of another model, or it cannot be searched.
        """
        wanted: dict[str, Any] = {"top_k": top_k, "exact": exact, "where": where}
        asked = ""
        try:
            with self._borrowed() as gallery:
                asked = gallery.collection
                return gallery.search(vectors, **wanted)
        except CollectionError:
            if not self._has_moved(asked):
                raise
        with self._borrowed() as gallery:  # it was taken away between two looks at the alias
            return gallery.search(vectors, **wanted)

    def told(self) -> tuple[str, int]:
        """Return the name of the live collection and how many points it holds.

        Raises:
            CollectionError: See `search`.
        """
        with self._borrowed() as gallery:
            return gallery.collection, gallery.count()

    def close(self) -> None:
        """Let go of what is open; a later search opens it again."""
        with self._lock:
            if self._held is not None:
                self._let_go(self._held)
            if self._aliases is not None:
                self._aliases.close()
            self._held, self._aliases = None, None

    @contextmanager
    def _borrowed(self) -> Iterator[Gallery]:
        with self._lock:
            held = self._current()
            held.readers += 1
        try:
            yield held.gallery
        finally:
            with self._lock:
                held.readers -= 1
                if held is not self._held:
                    self._let_go(held)

    def _current(self) -> _Held:
        """Return the live collection, opened; call it with the lock.

        Raises:
            CollectionError: None is live, or it cannot be used.
        """
        now_s = time.monotonic()
        if self._held is not None and now_s - self._checked_s < self._check_every_s:
            return self._held
        live = self._live()
        if self._held is None or (live and live != self._held.gallery.collection):
            self._move_over()
        self._checked_s = now_s
        if self._held is None:  # `_move_over` raises instead; this tells the reader, and mypy
            raise CollectionError(collection="photos", reason="is not open", cure="materialise `qdrant_collection` first")
        return self._held

    def _live(self) -> str:
        if self._aliases is None:
            self._aliases = self.location.store()
        return self._aliases.live()

    def _move_over(self) -> None:
        """Open the live collection in place of the one that is held, which stays when the new one cannot be opened.

        Raises:
            CollectionError: Nothing is held and the live one cannot be opened, or it is of another model.
        """
        opened = ExitStack()
        try:
            gallery = opened.enter_context(open_gallery(self.location))
            gallery.count()  # opens it, and says now if it is damaged
        except CollectionError as error:
            opened.close()
            if self._held is None:
                raise
            _LOG.warning("staying with %s: %s", self._held.gallery.collection, error)
            return
        if gallery.model_version != self._model_version:
            opened.close()
            raise CollectionError(
                collection=gallery.collection,
                reason=f"was made with model {gallery.model_version}, and this program answers with {self._model_version}",
                cure="restart this program to load the newer model; if the gallery is the older one, materialise "
                "`image_embeddings` of every partition, then `qdrant_collection`",
            )
        former, self._held = self._held, _Held(gallery=gallery, open=opened)
        if former is not None:
            self._let_go(former)

    def _has_moved(self, former: str) -> bool:
        with self._lock:
            self._checked_s = float("-inf")
            return bool(former) and self._live() not in {"", former}

    @staticmethod
    def _let_go(held: _Held) -> None:
        if held.readers == 0:
            held.open.close()

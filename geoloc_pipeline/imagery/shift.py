"""Workers on one chunk of pictures, who go home when the service is down, refuses the token, or the day's budget is spent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BudgetSpentError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.imagery.journal import Archived, Journal, Rejection
from geoloc_pipeline.imagery.shoot import archive_choice
from geoloc_pipeline.sources.mapillary import SOURCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoloc_pipeline.imagery.choose import Choice
    from geoloc_pipeline.imagery.collect import CollectSettings
    from geoloc_pipeline.sources.mapillary import MapillaryClient
    from geoloc_pipeline.storage.progress import Progress

DOWN_AFTER = 3  # pictures in a row for which the service did not answer, each after all retries


class Shift:
    """Workers on one chunk; knows when to stop.

    Args:
        journal: Knows the pictures that were fetched before.
        client: Mapillary.
        settings: How to collect.
        progress: Told pictures.

    Attributes:
        n_unavailable: Pictures for which the service did not answer.
        end: Why no more was fetched; None while there is no reason.
    """

    def __init__(
        self, journal: Journal, client: MapillaryClient, *, settings: CollectSettings, progress: Progress | None
    ) -> None:
        self._journal, self._client, self._settings, self._progress = journal, client, settings, progress
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._last: SourceUnavailableError | None = None
        self.n_unavailable = 0
        self.end: SourceUnavailableError | SourceRefusedError | BudgetSpentError | None = None

    def work(self, chunk: Sequence[Choice]) -> list[tuple[Archived | None, list[Rejection]]]:
        """Return what became of each choice, in order; after an end, nothing of those that were not reached."""
        known = [self._journal.find(choice.source_image_id) for choice in chunk]
        pool = ThreadPoolExecutor(max_workers=self._settings.workers)
        try:
            results = []
            for result in pool.map(self._one, chunk, known):
                results.append(result)
                if self._progress:
                    self._progress.advance()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if self.n_unavailable == len(chunk) and self.end is None:
            self.end = self._last
        return results

    def _one(self, choice: Choice, known: Archived | None) -> tuple[Archived | None, list[Rejection]]:
        if known is not None:
            mine = {"point_id": choice.point_id, "requested_lat": choice.lat, "requested_lon": choice.lon}
            return Archived(known.row | mine, known.data), []
        if self.end is not None:
            return None, []
        try:
            result = archive_choice(choice, self._client, source_px=self._settings.source_px, side_px=self._settings.side_px)
        except (SourceRefusedError, BudgetSpentError) as error:
            self.end = self.end or error
            return None, []
        except SourceUnavailableError as error:
            return None, [self._unavailable(choice, error)]
        with self._lock:
            self._in_a_row = 0
        return result

    def _unavailable(self, choice: Choice, error: SourceUnavailableError) -> Rejection:
        with self._lock:
            self._in_a_row += 1
            self.n_unavailable += 1
            self._last = error
            if self._in_a_row >= DOWN_AFTER:
                self.end = self.end or error
        return SOURCE, choice.source_image_id, "unavailable", str(error)

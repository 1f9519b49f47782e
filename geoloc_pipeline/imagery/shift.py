"""Tasks that fetch what one provider's plan still lacks, many pictures at once, and chunks closed in order behind them.

A picture that is ready goes to the intake, so that nothing waits in memory; a chunk whose pictures are all there becomes a
shard. The tasks go home when the service is down, refuses the key, or the day's budget is spent; what was fetched is kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BudgetSpentError, ImageError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.imagery.intake import Outcome
from geoloc_pipeline.imagery.journal import Archived, Rejection, image_id_of
from geoloc_pipeline.imagery.shoot import archive_choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoloc_pipeline.imagery.choose import Choice
    from geoloc_pipeline.imagery.collect import CollectSettings
    from geoloc_pipeline.imagery.forgotten import Forgotten
    from geoloc_pipeline.imagery.intake import Intake
    from geoloc_pipeline.imagery.journal import Journal
    from geoloc_pipeline.sources.street_view import Picture, StreetViewProvider
    from geoloc_pipeline.storage.progress import Progress

log = logging.getLogger(__name__)

DOWN_AFTER = 4  # pictures in a row for which the service did not answer, each after all retries
TELL_EVERY_S = 60.0

End = SourceUnavailableError | SourceRefusedError | BudgetSpentError


@dataclass(frozen=True)
class Chunk:
    """One chunk to come.

    Attributes:
        name: As in the journal.
        choices: What it shall hold, in this order.
    """

    name: str
    choices: Sequence[Choice]


class Shift:
    """Fetches chunks from one provider; knows when to stop.

    Args:
        journal: Where chunks are written, and what other chunks hold.
        intake: What was fetched before and lies in no chunk.
        provider: Asked.
        forgotten: Pictures that must not come back.
        settings: How to collect.
        progress: Told pictures.

    Attributes:
        end: Why no more was fetched; None while there is no reason.
        parts: Names of chunks that could not be completed, written as far as they came.
    """

    def __init__(
        self,
        journal: Journal,
        intake: Intake,
        provider: StreetViewProvider,
        *,
        forgotten: Forgotten,
        settings: CollectSettings,
        progress: Progress | None,
    ) -> None:
        self._journal, self._intake, self._provider, self._forgotten = journal, intake, provider, forgotten
        self._settings, self._progress = settings, progress
        self._pool = ThreadPoolExecutor(max_workers=settings.encoders or os.cpu_count() or 1, thread_name_prefix="encode")
        self._unavailable: dict[str, Rejection] = {}
        self._in_a_row = self._answered = 0
        self._last: SourceUnavailableError | None = None
        self._pace = _Pace(provider)
        self._contents: dict[str, str] = {}
        self.end: End | None = None
        self.parts: list[str] = []

    async def work(self, chunks: Sequence[Chunk], *, contents: dict[str, str]) -> None:
        """Fetch the chunks and write each as soon as it, and all before it, are complete.

        Args:
            chunks: In the plan's order.
            contents: What is archived already: the provider's id by the hash of the bytes as they came; is added to.

        Raises:
            HomeError: The disk is full or not ours to write.
        """
        self._contents = contents
        remaining = [len(chunk.choices) for chunk in chunks]
        finished = [asyncio.Event() for _ in chunks]
        queue = self._queue(chunks)

        async def take() -> None:
            for number, choice in queue:
                if not await self._one(chunks[number].name, choice):
                    return
                remaining[number] -= 1
                if remaining[number] == 0:
                    finished[number].set()

        async def close() -> None:
            for chunk, event in zip(chunks, finished, strict=True):
                await event.wait()
                await asyncio.to_thread(self._close, chunk)

        self._pace.start(sum(remaining))
        closing = asyncio.create_task(close())
        takers = [asyncio.create_task(take()) for _ in range(min(self._settings.in_flight, sum(remaining)))]
        try:
            await _all_or_first_error([*takers, closing], until=takers)
            if self._unavailable and not self._answered:
                self.end = self.end or self._last
            if self.end is None:
                await closing
        finally:
            for task in (*takers, closing):
                task.cancel()
            await asyncio.gather(*takers, closing, return_exceptions=True)
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _queue(self, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Choice]]:
        for number, chunk in enumerate(chunks):
            for choice in chunk.choices:
                if self.end is not None:
                    return
                yield number, choice

    async def _one(self, chunk: str, choice: Choice) -> bool:
        """Try a choice; False when the service refuses to go on, and nothing is known of it."""
        key = self._key(choice)
        if key in self._intake:
            self._answered += 1
        else:
            outcome = await self._outcome(choice)
            if outcome is None:
                return key in self._unavailable
            self._intake.add(chunk, key, outcome)
        if self._progress:
            self._progress.advance()
        self._pace.count()
        return True

    async def _outcome(self, choice: Choice) -> Outcome | None:
        """Return what became of a choice; None when it has to be tried again another day."""
        known = self._journal.find(self._key(choice))
        if known is not None:
            return Outcome(known, [])
        if choice.reason:  # the chunk is made anew, in another width, say
            detail = "it was fetched before and could not be used"
            return Outcome(None, [(self._provider.source, choice.source_image_id, choice.reason, detail)])
        try:
            pictures, rejections = await self._download(choice)
        except (SourceRefusedError, BudgetSpentError) as error:
            self.end = self.end or error
            return None
        except SourceUnavailableError as error:
            told = (self._provider.source, choice.source_image_id, "unavailable", str(error))
            self._unavailable[self._key(choice)] = told
            self._in_a_row, self._last = self._in_a_row + 1, error
            if self._in_a_row >= DOWN_AFTER:
                self.end = self.end or error
            return None
        self._in_a_row, self._answered = 0, self._answered + 1
        return await asyncio.get_running_loop().run_in_executor(
            self._pool,
            lambda: archive_choice(
                choice, pictures, source=self._provider.source, side_px=self._settings.side_px, rejections=rejections
            ),
        )

    async def _download(self, choice: Choice) -> tuple[dict[str, Picture], list[Rejection]]:
        source, pictures, rejections = self._provider.source, {}, []
        for image_id in choice.image_ids:
            try:
                if self._forgotten.holds(source=source, source_image_id=image_id):
                    raise _forgotten(image_id)
                picture = await self._provider.picture(image_id, width_px=self._settings.source_px)
                if picture is None:
                    raise ImageError(
                        image=image_id, reason="gone", detail=f"{self._provider.service} does not know it any more"
                    )
                group = f"{source}:{picture.shot.sequence_id}"
                if self._forgotten.holds(source=source, source_image_id=image_id, capture_group=group):
                    raise _forgotten(image_id)
                pictures[image_id] = picture
            except ImageError as error:
                rejections.append((source, image_id, error.reason, f"{error.detail} (wanted by point {choice.point_id})"))
        return pictures, rejections

    def _key(self, choice: Choice) -> str:
        return image_id_of(self._provider.source, choice.source_image_id)

    def _close(self, chunk: Chunk) -> None:
        """Write a chunk whose choices were all tried; as a part, while the service owes some of them."""
        pictures: list[Archived] = []
        rejections: list[Rejection] = []
        for choice in chunk.choices:
            outcome = self._intake.find(self._key(choice))
            if outcome is None:
                rejections.append(self._unavailable[self._key(choice)])
                continue
            rejections += outcome.rejections
            if outcome.picture is not None:
                fault = self._fault_of(outcome.picture)
                if fault is None:
                    pictures.append(_serving(choice, outcome.picture))
                else:
                    rejections.append((self._provider.source, choice.source_image_id, *fault))
        is_whole = all(self._key(choice) in self._intake for choice in chunk.choices)
        if is_whole:
            self._journal.write(chunk.name, pictures, rejections)
            self._intake.close(chunk.name)
        else:
            name = self._journal.part_name(chunk.name, pictures)
            self._journal.write(name, pictures, rejections)
            self.parts.append(name)

    def _fault_of(self, picture: Archived) -> tuple[str, str] | None:
        """Return why a good picture stays out after all; otherwise its bytes are remembered."""
        row = picture.row
        named = {name: row[name] for name in ("source", "source_image_id", "capture_group")}
        if self._forgotten.holds(**named):
            return "forgotten", _FORGOTTEN
        first = self._contents.setdefault(row["content_sha256"], row["source_image_id"])
        return None if first == row["source_image_id"] else ("duplicate", f"the same bytes as {first}")


_FORGOTTEN = "it is on the list of forgotten pictures"


def _forgotten(image_id: str) -> ImageError:
    return ImageError(image=image_id, reason="forgotten", detail=_FORGOTTEN)


def _serving(choice: Choice, picture: Archived) -> Archived:
    """Return a picture with the point that it serves now: it may have been fetched for another."""
    mine = {"point_id": choice.point_id, "requested_lat": choice.lat, "requested_lon": choice.lon}
    return Archived(picture.row | mine, picture.data)


async def _all_or_first_error(tasks: Sequence[asyncio.Task[None]], *, until: Sequence[asyncio.Task[None]]) -> None:
    """Wait until the tasks `until` are done; raise the first error of any of them at once."""
    waiting = set(until)
    while waiting:
        done, _ = await asyncio.wait(
            [*waiting, *(task for task in tasks if not task.done())], return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
        waiting -= done


class _Pace:
    """Tells once a minute how fast it goes, how long it will take, and what is left of the day's budget."""

    def __init__(self, provider: StreetViewProvider) -> None:
        self._provider = provider
        self._done = self._total = 0
        self._started_s = self._told_s = 0.0

    def start(self, total: int) -> None:
        """Begin to count."""
        self._total = total
        self._started_s = self._told_s = time.monotonic()

    def count(self) -> None:
        """Count a picture, and tell when it is time."""
        self._done += 1
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            log.info("%s", self.said(now_s))

    def said(self, now_s: float) -> str:
        """Return the sentence."""
        per_second = self._done / max(now_s - self._started_s, 1e-9)
        minutes = (self._total - self._done) / max(per_second, 1e-9) / 60.0
        left = self._provider.left_today()
        budget = "" if left is None else f", {left:,} requests left today"
        return (
            f"{self._provider.service}: {self._done:,} of {self._total:,} pictures, {per_second:.1f} a second, "
            f"about {minutes:.0f} minutes left{budget}"
        )

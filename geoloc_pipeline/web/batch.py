"""Many photos in one request: a job that works through them behind the others' backs, and tells how far it is.

Jobs are few, bounded in photos and bytes, and forgotten half an hour after anybody last asked for them; the bytes of each photo
go as soon as it is answered. Nothing is written to a disk, so a restart forgets all jobs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.web.answering import AGAIN, RETRY
from geoloc_pipeline.web.recall import Recall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoloc_pipeline.web.answering import Answering
    from geoloc_pipeline.web.parts import Part
    from geoloc_pipeline.web.wishes import Wishes

MOST_PHOTOS = 200
LIMIT_BYTES = 200_000_000
MOST_RUNNING = 2
MOST_KEPT = 16
KEEP_S = 1800.0
_PATIENCE_S = 0.2


@dataclass
class Job:
    """One batch.

    Attributes:
        photos: Names and bytes; the bytes of those that are done are gone.
        wishes: For all of them.
        results: One for each photo that is done, in their order.
        task: That works on it.
    """

    photos: list[Part]
    wishes: Wishes
    results: list[dict[str, Any]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def is_done(self) -> bool:
        """Whether every photo has its result."""
        return len(self.results) == len(self.photos)

    def told(self) -> dict[str, Any]:
        """Return how far it is, and the results so far, as plain values."""
        return {
            "state": "done" if self.is_done else "running",
            "photos": len(self.photos),
            "done": len(self.results),
            "failed": sum("error" in result for result in self.results),
            "results": self.results,
        }


class Batches:
    """The jobs of one server."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._jobs: Recall[Job] = Recall(most=MOST_KEPT, keep_s=KEEP_S)

    def start(self, photos: Sequence[Part], wishes: Wishes) -> tuple[str, Job]:
        """Begin a job.

        Args:
            photos: At least one, at most `MOST_PHOTOS`.
            wishes: For all of them.

        Returns:
            Its name, under which it can be asked for, and the job.

        Raises:
            HTTPException: 400 when there are no photos, 413 when there are too many, 503 when enough jobs are at work.
        """
        if not photos:
            raise HTTPException(400, "there is no photo in the form; send each as a file of multipart/form-data")
        if len(photos) > MOST_PHOTOS:
            raise HTTPException(413, f"{len(photos)} photos are more than {MOST_PHOTOS}; send them in several batches")
        if sum(not job.is_done for job in self._jobs.values()) >= MOST_RUNNING:
            raise HTTPException(503, f"{MOST_RUNNING} batches are at work already; {AGAIN}", headers=RETRY)
        job = Job(photos=list(photos), wishes=wishes)
        name = self._jobs.put(job)
        job.task = asyncio.create_task(self._work(job))
        return name, job

    def job(self, name: str) -> Job:
        """Return a job.

        Raises:
            HTTPException: 404 when it was never begun, or is forgotten.
        """
        found = self._jobs.get(name)
        if found is None:
            raise HTTPException(404, "there is no such batch; it was forgotten, or the server was restarted")
        return found

    def stop(self, name: str) -> None:
        """End a job and forget it.

        Raises:
            HTTPException: 404 when it was never begun, or is forgotten.
        """
        job = self.job(name)
        if job.task is not None:
            job.task.cancel()
        self._jobs.drop(name)

    async def close(self) -> None:
        """End every job."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, job: Job) -> None:
        for index, photo in enumerate(job.photos):
            while self._answering.is_full():  # people at the page go first
                await asyncio.sleep(_PATIENCE_S)
            try:
                answer = await self._answering.run(partial(self._answering.plainly_located, photo.data, job.wishes))
                job.results.append({"name": photo.name, "answer": answer})
            except GeolocError as error:
                job.results.append({"name": photo.name, "error": str(error)})
            except HTTPException as error:
                job.results.append({"name": photo.name, "error": error.detail})
            job.photos[index] = photo._replace(data=b"")

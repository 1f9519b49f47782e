"""From the bytes of a photo to the bytes of an answer: who may come in, how many wait, and what an answer says.

Bodies are read within bounds of size, time and memory before anything is decoded, and nothing of them touches a disk. Work runs
in a few threads: the model reads one photo at a time (`retrieval.laps.OneReader`), everything else side by side.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.answering.desk import Question
from geoloc_pipeline.retrieval.answering.laps import Laps
from geoloc_pipeline.web.parts import file_parts, is_multipart
from geoloc_pipeline.web.recall import Recall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from geoloc_pipeline.imagery.quality import OpenedPicture
    from geoloc_pipeline.retrieval.answering.desk import Desk
    from geoloc_pipeline.retrieval.answering.locate import Answer
    from geoloc_pipeline.web.metrics import Metrics
    from geoloc_pipeline.web.parts import Part
    from geoloc_pipeline.web.wishes import Wishes

Result = TypeVar("Result")

LIMIT_BYTES = 40_000_000
HELD_BYTES = 400_000_000
"""Of all bodies that are being read or wait: more is turned away."""
MOST_WAITING = 64
BODY_TIMEOUT_S = 60.0
AGAIN = "try again in a few seconds"
RETRY = {"Retry-After": "3"}
_THREADS = max(2, min(8, (os.cpu_count() or 2) + 1))
_STAGE = ("geoloc_stage_seconds", "Seconds of one answer by stage.")


class Answering:
    """Answers requests with a desk, within bounds.

    Attributes:
        desk: Opened once.
        metrics: Told of every stage and of the queue.
        named: Pictures that an answer has named, so that their thumbnails may be seen.
    """

    def __init__(self, desk: Desk, metrics: Metrics) -> None:
        self.desk = desk
        self.metrics = metrics
        self.named: Recall[bool] = Recall(most=50_000, keep_s=24 * 3600.0)
        self._questions: Recall[Question] = Recall(most=500, keep_s=1800.0)
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._side_threads = anyio.CapacityLimiter(2)
        self._waiting = 0
        self._held_bytes = 0

    @asynccontextmanager
    async def body_of(self, request: Request, *, limit_bytes: int = 0) -> AsyncIterator[bytes]:
        """Yield the whole body of a request; its bytes count as held until the block ends.

        Raises:
            HTTPException: 413 when it is too large, 408 when it comes too slowly, 503 when too much is held already.
        """
        limit_bytes = limit_bytes or LIMIT_BYTES
        too_large = f"the body is larger than {limit_bytes // 1_000_000} MB; send a smaller photo, or fewer at once"
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > limit_bytes:
            raise HTTPException(413, too_large)
        body, held = bytearray(), 0
        try:
            with anyio.fail_after(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit_bytes:
                        raise HTTPException(413, too_large)
                    self._held_bytes += len(chunk)
                    held += len(chunk)
                    if self._held_bytes > HELD_BYTES:
                        raise HTTPException(503, f"too many photos are being sent at once; {AGAIN}", headers=RETRY)
            yield bytes(body)
        except TimeoutError as error:
            raise HTTPException(408, f"the photo did not arrive within {BODY_TIMEOUT_S:.0f} s; send it again") from error
        finally:
            self._held_bytes -= held

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns in a thread, as soon as one is free.

        Raises:
            HTTPException: 503 when too many wait already.
        """
        if self._waiting >= MOST_WAITING:
            raise HTTPException(503, f"{self._waiting} photos are waiting already; {AGAIN}", headers=RETRY)
        self._count(1)
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._count(-1)

    async def run_aside(self, work: Callable[[], Result]) -> Result:
        """Return what a small piece of work returns (a thumbnail, an outline), beside the queue of photos."""
        return await anyio.to_thread.run_sync(work, limiter=self._side_threads)

    def is_full(self) -> bool:
        """Whether a patient sender, such as a batch, should wait before it asks for more."""
        return self._waiting >= MOST_WAITING // 2

    def located(self, data: bytes, wishes: Wishes) -> bytes:
        """Return the answer to a photo, or to one that was asked about before, as JSON.

        Raises:
            HTTPException: 410 when the earlier photo is forgotten.
            GeolocError: The photo or the gallery is at fault.
        """
        laps = Laps()
        question, picture = self._question(data, wishes, laps)
        answer, asked = self._ask(question, wishes, laps)
        with laps.stage("respond"):
            name = self._questions.put(asked.without_pixels(), wishes.query)
            text = json.dumps(self._told(answer, picture, wishes) | {"query": name}, ensure_ascii=False, allow_nan=False)
        self._tell(laps)
        return f'{text[:-1]}, "timings_ms": {json.dumps(laps.milliseconds())}}}'.encode()

    def plainly_located(self, data: bytes, wishes: Wishes) -> dict[str, Any]:
        """Return the answer to a photo of a batch as plain values; it is not remembered."""
        laps = Laps()
        question, picture = self._question(data, wishes, laps)
        answer, _ = self._ask(question, wishes, laps)
        self._tell(laps)
        return self._told(answer, picture, wishes)

    def evidence(self, data: bytes, wishes: Wishes) -> bytes:
        """Return the evidence page of a photo.

        Raises:
            GeolocError: The photo or the gallery is at fault.
        """
        laps = Laps()
        with laps.stage("decode"):
            picture = self.desk.read(data)
        answer, _ = self._ask(Question(picture.pixels), wishes, laps)
        with laps.stage("respond"):
            name = wishes.name or ("写真" if wishes.language == "ja" else "photo")
            page = self.desk.evidence_page(answer, picture.pixels, name=name, language=wishes.language)
        self._tell(laps)
        return page.encode()

    def thumbnail(self, image_id: str, width_px: int) -> bytes | None:
        """Return a picture that an answer has named as WebP; None for every other one."""
        return self.desk.album.thumbnail(image_id, width_px=width_px) if self.named.get(image_id) else None

    def _question(self, data: bytes, wishes: Wishes, laps: Laps) -> tuple[Question, OpenedPicture | None]:
        if not wishes.query:
            with laps.stage("decode"):
                picture = self.desk.read(data)
            return Question(picture.pixels), picture
        found = self._questions.get(wishes.query)
        if found is None:
            raise HTTPException(410, "the server has forgotten this photo; send it again")
        return found, None

    def _ask(self, question: Question, wishes: Wishes, laps: Laps) -> tuple[Answer, Question]:
        return self.desk.ask(
            question, top_k=wishes.top_k, readout=wishes.readout, where=wishes.where, abstain=wishes.abstain, laps=laps
        )

    def _told(self, answer: Answer, picture: OpenedPicture | None, wishes: Wishes) -> dict[str, Any]:
        told = answer.to_json()
        for neighbour, more in zip(told["neighbours"], self.desk.told_of(answer), strict=True):
            self.named.put(True, neighbour["image_id"])
            neighbour |= more if more["source"] else more | {"source": neighbour["source"]}
        told["is_in_box"] = answer.is_in_box
        if wishes.exif and picture is not None:
            told["exif"] = _exif_check(answer, picture)
        return told

    def _tell(self, laps: Laps) -> None:
        for stage, seconds in laps.seconds.items():
            self.metrics.took(*_STAGE, seconds, stage=stage)

    def _count(self, change: int) -> None:
        self._waiting += change
        self.metrics.gauge("geoloc_queue_length", "Photos that are being answered or wait for it.", self._waiting)


def photos_in(body: bytes, content_type: str) -> list[Part]:
    """Return the photos of a body: the files of a form, or nothing when it is no form."""
    return file_parts(body, content_type) if is_multipart(content_type) else []


def one_photo(body: bytes, content_type: str) -> bytes:
    """Return the photo of a body: the body itself, or the only file of a form.

    Raises:
        HTTPException: 400 when a form has no file, or several.
    """
    if not is_multipart(content_type):
        return body
    parts = file_parts(body, content_type)
    if len(parts) != 1:
        raise HTTPException(400, f"the form has {len(parts)} files; send one photo, or several to /api/batch")
    return parts[0].data


def _exif_check(answer: Answer, picture: OpenedPicture) -> dict[str, float] | None:
    """Return where the photo itself says that it was taken, and how far that is from the answer; None when it does not say."""
    if picture.lat is None or picture.lon is None:
        return None
    away_m = float(distance_m(lat=answer.lat, lon=answer.lon, to_lat=picture.lat, to_lon=picture.lon))
    return {"lat": picture.lat, "lon": picture.lon, "distance_km": away_m / 1000.0}

"""Training shards: each archived picture cut into views no larger than training needs, in tar files read by offset.

Decoding a whole panorama to look at a quarter of it is what makes loaders slow; here each view is a picture of its own, small
enough for the largest crop that training takes. Views carry no EXIF: the archive's GPS tags would tell the place.
Same pictures, same bytes; the archive is only read.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.storage.shards import read_member, write_shard
from geoloc_pipeline.tables import TRAINING_SHARDS, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geoloc_pipeline.storage.progress import Progress

SHARD_BYTES = 192_000_000
"""A shard is closed when it has grown beyond this."""
WEBP_QUALITY = 90  # paper §3.1, of the archive; once more here
WEBP_METHOD = 1  # half the time of the default (4) at the same PSNR, for 5 % more bytes
_WORKERS = 4  # OpenCV and Pillow leave Python's lock while it decodes and encodes
_LABELS = ("split", "lat", "lon", "prefecture_code", "municipality_code", "town_code", "road_id", "landmark_id")


class _View(NamedTuple):
    name: str
    width_px: int
    height_px: int
    webp: bytes


def write_training_shards(
    labelled: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: Sequence[tuple[pd.DataFrame, Path]],
    folder: Path,
    *,
    side_px: int = 448,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Cut every labelled picture into views, write them as shards, and return where each view lies.

    Views of a panorama are squares of at most `side_px`; a photo's shorter side is at most `side_px`; nothing is enlarged.
    Shards of an earlier run that are no longer part of the set are removed.

    Args:
        labelled: `tables.LABELLED_IMAGES` of one prefecture.
        splits: `tables.DATASET_SPLITS` of the same pictures.
        manifests: Tables of `tables.IMAGES`, each with the folder of its shards; may hold other pictures too.
        folder: Where the shards shall stand.
        side_px: Side of a view, pixels.
        shard_bytes: A shard is closed when it has grown beyond this.
        progress: Told of each picture.

    Returns:
        `tables.TRAINING_SHARDS` in key order.

    Raises:
        MissingInputError: A labelled picture is in no manifest or has no side, or an archive shard is gone.
        ImageError: An archived picture cannot be decoded or is not what its manifest says: the archive is damaged.
        HomeError: `folder` cannot be written.
    """
    pictures = _pictures(labelled, splits, manifests)
    if progress:
        progress.tell(0, total=len(pictures), unit="images")
    folder.mkdir(parents=True, exist_ok=True)
    queue = _Queue(_cut(pictures, [source for _, source in manifests], side_px, progress))
    rows: list[dict[str, Any]] = []
    written: set[str] = set()
    while queue.peek() is not None:
        noted: list[tuple[Any, _View]] = []
        path = folder / f"{len(written):05d}.tar"
        members = write_shard(path, _until(queue, shard_bytes, noted))
        written.add(path.name)
        rows += [_row(picture, view, member) for (picture, view), member in zip(noted, members, strict=True)]
    for stale in folder.glob("*.tar"):
        if stale.name not in written:
            stale.unlink()
    if not rows:
        return empty_table(TRAINING_SHARDS)
    frame = pd.DataFrame(rows).sort_values(list(TRAINING_SHARDS.key), ignore_index=True)
    return as_table(TRAINING_SHARDS, {name: frame[name] for name in TRAINING_SHARDS.column_names})


def _pictures(labelled: pd.DataFrame, splits: pd.DataFrame, manifests: Sequence[tuple[pd.DataFrame, Path]]) -> pd.DataFrame:
    """Join labels, sides and places in the archive, in the order of `image_id`.

    Returns:
        One row for each labelled picture; `manifest` is the row of `manifests` that it is in.

    Raises:
        MissingInputError: A picture has no side or is in no manifest.
    """
    columns = ["image_id", "views", "sha256", "shard", "offset", "size_bytes"]
    archived = [frame[columns].assign(manifest=row) for row, (frame, _) in enumerate(manifests)]
    archive = pd.concat(archived) if archived else pd.DataFrame(columns=[*columns, "manifest"])
    pictures = (
        pd.DataFrame(labelled[["image_id", *(name for name in _LABELS if name != "split")]])
        .merge(splits[["image_id", "split"]], on="image_id", how="left")
        .merge(archive.drop_duplicates("image_id"), on="image_id", how="left")
    )
    for column, what in (("split", "the side (dataset_splits)"), ("shard", "the archived file (manifest)")):
        lost = pictures.loc[pictures[column].isna(), "image_id"]
        if len(lost):
            raise MissingInputError(
                what=f"{what} of {len(lost)} labelled pictures, such as {lost.iloc[0]},",
                path=column,
                cure="materialise labelled_images and dataset_splits of this partition again",
            )
    return pictures.sort_values("image_id", ignore_index=True)


def _cut(pictures: pd.DataFrame, sources: list[Path], side_px: int, progress: Progress | None) -> Iterator[tuple[Any, _View]]:
    """Yield (picture, view) in order; a few pictures are worked on at once."""

    def work(picture: Any) -> list[_View]:
        data = read_member(sources[picture.manifest], shard=picture.shard, offset=picture.offset, size_bytes=picture.size_bytes)
        if hashlib.sha256(data).hexdigest() != picture.sha256:
            where = sources[picture.manifest] / picture.shard
            detail = f"its bytes in {where} at {picture.offset} are not those that were archived (another SHA-256)"
            cure = "remove this shard and materialise the asset that collected it again"
            raise ImageError(image=picture.image_id, reason="damaged", detail=detail, cure=cure)
        return list(views_of(data, picture.views, side_px=side_px, image=picture.image_id))

    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[tuple[Any, Any]] = deque()
        for picture in pictures.itertuples(index=False):
            waiting.append((picture, pool.submit(work, picture)))
            if len(waiting) > 2 * _WORKERS:
                yield from _done(waiting, progress)
        while waiting:
            yield from _done(waiting, progress)


def _done(waiting: deque[tuple[Any, Any]], progress: Progress | None) -> Iterator[tuple[Any, _View]]:
    picture, future = waiting.popleft()
    for view in future.result():
        yield picture, view
    if progress:
        progress.advance()


def views_of(data: bytes, views: str, *, side_px: int, image: str) -> Iterable[_View]:
    """Cut one archived picture into its views, in the order in which they stand in it.

    Args:
        data: The picture, encoded.
        views: As in `tables.IMAGES`: `photo`, or a letter for each square of the strip, `-` for a missing one.
        side_px: Largest side of a square view and largest shorter side of a photo, pixels.
        image: What to call the picture in an error.

    Yields:
        Name, size and WebP bytes of each view.

    Raises:
        ImageError: The bytes are no picture, or not as many squares as `views` says.
    """
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ImageError(image=image, reason="unreadable", detail="the archived picture cannot be decoded", cure=_CURE)
    if views == "photo":
        yield _view("photo", pixels, side_px)
        return
    height, width = pixels.shape[:2]
    squares = [letter for letter in views if letter != "-"]
    if width == height * len(views):
        squares = list(views)  # missing views have their place in the strip
    if width != height * len(squares):
        detail = f"a strip of {width}x{height} pixels does not hold the views {views!r}"
        raise ImageError(image=image, reason="wrong_views", detail=detail, cure=_CURE)
    for place, letter in enumerate(squares):
        if letter != "-":
            yield _view(letter, pixels[:, place * height : (place + 1) * height], side_px)


_CURE = "the archive is damaged: materialise the asset that collected it again"


def _view(name: str, pixels: NDArray[np.uint8], side_px: int) -> _View:
    height, width = pixels.shape[:2]
    scale = side_px / min(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    stream = io.BytesIO()
    view = Image.fromarray(pixels)
    view.save(stream, "webp", quality=WEBP_QUALITY, method=WEBP_METHOD)
    return _View(name, view.width, view.height, stream.getvalue())


@dataclass
class _Queue:
    """An iterator that can be asked what comes next without taking it."""

    source: Iterator[tuple[Any, _View]]
    _next: tuple[Any, _View] | None = None

    def peek(self) -> tuple[Any, _View] | None:
        if self._next is None:
            self._next = next(self.source, None)
        return self._next

    def take(self) -> None:
        self._next = None


def _until(queue: _Queue, shard_bytes: int, noted: list[tuple[Any, _View]]) -> Iterator[tuple[str, bytes]]:
    """Yield members until the shard is full; what was yielded is noted, without its bytes."""
    size_bytes = 0
    while size_bytes < shard_bytes and (item := queue.peek()) is not None:
        picture, view = item
        queue.take()
        size_bytes += len(view.webp)
        noted.append((picture, view._replace(webp=b"")))
        yield f"{picture.image_id}.{view.name}.webp", view.webp


def _row(picture: Any, view: _View, member: Any) -> dict[str, Any]:
    return {
        "image_id": picture.image_id,
        "view": view.name,
        **{name: getattr(picture, name) for name in _LABELS},
        "shard": member.shard,
        "offset": member.offset,
        "size_bytes": member.size_bytes,
        "width_px": view.width_px,
        "height_px": view.height_px,
    }

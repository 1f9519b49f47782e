"""The archived pictures of one home, as a neighbour's card shows them: pixels, thumbnail, source, licence, whom to name.

Only the columns that are shown are read, and strings that repeat are kept once: the manifest of a whole country has a million
rows.
"""

from __future__ import annotations

import io
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.retrieval.answering.evidence import EvidencePicture, fit_pixels, fold_views
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoloc_pipeline.storage.layout import Home

_REPEATED = ("source", "licence", "attribution", "views", "shard", "folder")
_SHOWN = ("image_id", "source", "lat", "lon", "views", "captured_at", "licence", "attribution", "source_url")
_WHERE = ("shard", "offset", "size_bytes")


class Album:
    """The pictures of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """Every archived picture by image_id: what `_SHOWN` and `_WHERE` name, and the folder of its shard."""
        frames = []
        for contract in IMAGES:
            for path in self._home.tables(contract.name):
                frame = pq.read_table(path, columns=[*_SHOWN, *_WHERE]).to_pandas()
                frames.append(frame.assign(folder=str(self._home.images(contract.name, path.stem))))
        if not frames:
            return pd.DataFrame(columns=[*_SHOWN, *_WHERE, "folder"]).set_index("image_id")
        whole = pd.concat(frames, ignore_index=True)
        return whole.astype(dict.fromkeys(_REPEATED, "category")).set_index("image_id")

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that pictures came from, sorted."""
        return tuple(sorted(self.manifest["source"].unique()))

    def pixels_of(self, image_id: str) -> NDArray[np.uint8] | None:
        """Return an archived picture `[height, width, 3]` RGB; None when it is not known.

        Raises:
            MissingInputError: Its shard is gone.
            ImageError: Its bytes are spoilt.
        """
        if image_id not in self.manifest.index:
            return None
        row = self.manifest.loc[image_id]
        folder = Path(str(row["folder"]))
        data = read_member(folder, shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        return decode_view(data, name=image_id)

    def thumbnail(self, image_id: str, *, width_px: int) -> bytes | None:
        """Return an archived picture as WebP, at most `width_px` wide and without EXIF; None when it is not at hand."""
        pixels = self._pixels_at_hand(image_id)
        if pixels is None:
            return None
        stream = io.BytesIO()
        Image.fromarray(fit_pixels(fold_views(pixels), width_px, width_px)).save(stream, format="WEBP", quality=72, method=1)
        return stream.getvalue()

    def told(self, image_ids: Sequence[str], *, places: Sequence[str], with_pixels: bool = False) -> list[EvidencePicture]:
        """Return what is known of pictures, in their order.

        Args:
            image_ids: The pictures.
            places: Names of their places, for people.
            with_pixels: Whether they are wanted; a picture whose shard is gone comes without.

        Returns:
            What their cards show; but for its place all empty for a picture that is not known.
        """
        rows = self.manifest.iloc[self.manifest.index.get_indexer(image_ids)] if len(self.manifest) else self.manifest
        days = [
            f"{day:%Y-%m-%d}" if isinstance(day, datetime) and not pd.isna(day) else "" for day in rows["captured_at"].tolist()
        ]
        columns = (rows[name].tolist() for name in ("source", "licence", "attribution", "source_url", "views"))
        known = dict(
            zip(rows.index.tolist(), zip(days, *columns, strict=True), strict=True)
        )  # by column: rows of pandas are slow
        told = []
        for image_id, place in zip(image_ids, places, strict=True):
            if image_id not in known:
                told.append(EvidencePicture(place=place))
                continue
            day, source, licence, attribution, source_url, views = known[image_id]
            told.append(
                EvidencePicture(
                    pixels=self._pixels_at_hand(image_id) if with_pixels else None,
                    source=source,
                    licence=licence,
                    attribution=attribution,
                    source_url=source_url,
                    captured_at=day,
                    place=place,
                    view_names=views,
                )
            )
        return told

    def _pixels_at_hand(self, image_id: str) -> NDArray[np.uint8] | None:
        try:
            return self.pixels_of(image_id)
        except (MissingInputError, ImageError):
            return None

"""The desk at which a stranger with one photo is served: model, gallery, calibration and pictures of one home, opened once.

Belongs here: opening what an answer needs, and gathering what its evidence page shows.
Does not belong here: the answer itself (`locate.py`), the page (`evidence.py`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from geoloc_pipeline.errors import MissingInputError, SettingError
from geoloc_pipeline.evaluation.cartography import Outline, outlines_of_towns
from geoloc_pipeline.imagery.quality import read_photo
from geoloc_pipeline.model.preprocess import decode_view
from geoloc_pipeline.retrieval.embedder import Embedder
from geoloc_pipeline.retrieval.evidence import Evidence, EvidencePicture, write_evidence
from geoloc_pipeline.retrieval.gallery import GalleryLocation, open_gallery
from geoloc_pipeline.retrieval.locate import Answer, locate_photo
from geoloc_pipeline.retrieval.places import PlaceNames
from geoloc_pipeline.retrieval.readouts import BATCH_READOUTS
from geoloc_pipeline.retrieval.trial import Calibration
from geoloc_pipeline.storage.parquet import read_table, read_tables
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import CENSUS_TOWNS, IMAGES

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from geoloc_pipeline.storage.layout import Home


def gallery_location(home: Home) -> GalleryLocation:
    """Return where the gallery of a home is: the server in GEOLOC_QDRANT_URL, or the engine inside this process."""
    return GalleryLocation(
        folder=home.qdrant(),
        url=os.environ.get("GEOLOC_QDRANT_URL", ""),
        api_key=os.environ.get("GEOLOC_QDRANT_API_KEY", ""),
    )


@dataclass
class Desk:
    """Everything that an answer needs.

    Attributes:
        home: Where it all is.
        embedder: Of the trained model.
        calibration: What the last evaluation chose.
    """

    home: Home
    embedder: Embedder
    calibration: Calibration

    @classmethod
    def open(cls, home: Home) -> Desk:
        """Open the model and calibration of a home.

        Args:
            home: The home.

        Returns:
            The desk.

        Raises:
            MissingInputError: There is no model yet; the cure says how to make one.
        """
        if not home.checkpoint().is_file():
            raise MissingInputError(
                what="a trained model",
                path=home.checkpoint(),
                cure="run `geoloc demo` (or materialise `geolocation_model` and what follows), or name its home with --home",
            )
        told = home.calibration()
        calibration = Calibration.from_json(json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else Calibration()
        return cls(home=home, embedder=Embedder.load(home.checkpoint()), calibration=calibration)

    def locate(self, photo: Path, *, top_k: int = 100, readout: str = "") -> Answer:
        """Return where a photo was taken; its own EXIF position is never looked at.

        Args:
            photo: An image file of any kind that Pillow reads.
            top_k: Neighbours to ask for.
            readout: A name in `BATCH_READOUTS`; the calibrated default when empty.

        Returns:
            The answer.

        Raises:
            ImageError: The file is no usable picture.
            SettingError: There is no read-out of that name.
        """
        return self.locate_pixels(read_photo(photo).pixels, top_k=top_k, readout=readout)

    def locate_pixels(
        self, pixels: NDArray[np.uint8] | list[NDArray[np.uint8]], *, top_k: int = 100, readout: str = ""
    ) -> Answer:
        """Return where a picture `[height, width, 3]` RGB (or several views of one place) was taken; see `locate`.

        Raises:
            SettingError: There is no read-out of that name.
        """
        readout = readout or self.calibration.readout
        if readout not in BATCH_READOUTS:
            raise SettingError(setting="--readout", value=readout, cure=f"choose one of {', '.join(BATCH_READOUTS)}")
        with open_gallery(gallery_location(self.home)) as gallery:
            return locate_photo(
                pixels,
                embedder=self.embedder,
                gallery=gallery,
                top_k=top_k,
                readout=readout,
                regions=self.calibration.regions,
                settings=self.calibration.settings,
                names=self.names.names_at,
            )

    @cached_property
    def towns(self) -> Any:
        """The town blocks of every prefecture that was built."""
        return read_tables(CENSUS_TOWNS, self.home.tables("census_towns"))

    @cached_property
    def names(self) -> PlaceNames:
        """Names of places."""
        return PlaceNames(self.towns)

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """Every archived picture by image_id, with the folder of its shard."""
        frames = []
        for contract in IMAGES:
            for path in self.home.tables(contract.name):
                frame = pd.DataFrame(read_table(contract, path).drop(columns="geometry"))
                frames.append(frame.assign(folder=self.home.images(contract.name, path.stem)))
        return pd.concat(frames, ignore_index=True).set_index("image_id") if frames else pd.DataFrame(columns=["folder"])

    def pixels_of(self, image_id: str) -> NDArray[np.uint8] | None:
        """Return an archived picture `[height, width, 3]` RGB; None when it is not at hand."""
        if image_id not in self.manifest.index:
            return None
        row = self.manifest.loc[image_id]
        data = read_member(row["folder"], shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        return decode_view(data, name=image_id)

    def write_evidence(
        self,
        answer: Answer,
        photo: Path | NDArray[np.uint8],
        path: Path,
        *,
        name: str = "",
        truth: tuple[float, float] | None = None,
    ) -> None:
        """Write the evidence page of an answer: one file that opens anywhere, without the network.

        Args:
            answer: From `locate`.
            photo: The photo that was asked about, as file or as pixels.
            path: Where the page shall stand.
            name: Of the photo, for people; its file name when empty.
            truth: (lat, lon) where it was taken, where that is known.
        """
        is_array = hasattr(photo, "shape")
        pixels = photo if is_array else read_photo(photo).pixels  # type: ignore[arg-type]
        evidence = Evidence(
            answer=answer,
            photo=pixels,  # type: ignore[arg-type]
            photo_name=name or ("photo" if is_array else photo.name),  # type: ignore[union-attr]
            pictures={near.image_id: self._picture(near.image_id) for near in answer.neighbours},
            wide_outlines=self._outlines("prefecture"),
            detail_outlines=self._outlines("municipality"),
            truth=truth,
            truth_place=" ".join(self.names.names_at(lat=truth[0], lon=truth[1]).values()) if truth else "",
            provenance=self.provenance(),
            bandwidth_km=self.calibration.settings.bandwidth_km,
        )
        write_evidence(evidence, path)

    def _outlines(self, level: str) -> list[Outline]:
        return outlines_of_towns(self.towns, level=level)

    def _picture(self, image_id: str) -> EvidencePicture:
        if image_id not in self.manifest.index:
            return EvidencePicture()
        row = self.manifest.loc[image_id]
        captured = row["captured_at"]
        told = EvidencePicture(
            source=row["source"],
            licence=row["licence"],
            attribution=row["attribution"],
            source_url=row["source_url"],
            captured_at="" if pd.isna(captured) else f"{captured:%Y-%m-%d}",
            place=" ".join(self.names.names_at(lat=row["lat"], lon=row["lon"]).values()),
            view_names=row["views"],
        )
        return replace(told, pixels=self.pixels_of(image_id))

    def provenance(self) -> dict[str, str]:
        """Return what the answers of this home are made of, by name."""
        receipts = [read_receipt(path) for path in sorted(self.home.receipt("osm_dump").parent.glob("*.json"))]
        dumps = [name.rsplit("/", 1)[-1] for receipt in receipts if receipt for name in receipt.files]
        return {
            "model": self.embedder.model_version,
            "read-out": f"{self.calibration.readout}, chosen on validation pictures",
            "map": ", ".join(dumps) + " ((c) OpenStreetMap contributors, ODbL 1.0)",
            "census": "e-Stat 2020 small areas (A002005212020)",
        }

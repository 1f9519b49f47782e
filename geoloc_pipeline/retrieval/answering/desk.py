"""The desk at which a stranger with one photo is served: model, gallery, pictures and map of one home, opened once.

Belongs here: opening what an answer needs, asking it in order, and gathering what the evidence shows.
Does not belong here: the answer itself (`locate.py`), the page (`evidence.py`), HTTP (`web`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import MissingInputError, SettingError
from geoloc_pipeline.evaluation.pages import safe_link
from geoloc_pipeline.imagery.quality import OpenedPicture, read_photo
from geoloc_pipeline.retrieval.answering.album import Album
from geoloc_pipeline.retrieval.answering.answer import Abstain, Answer
from geoloc_pipeline.retrieval.answering.atlas import Atlas
from geoloc_pipeline.retrieval.answering.evidence import Evidence, EvidencePicture, evidence_html
from geoloc_pipeline.retrieval.answering.laps import Laps, OneReader, TimedEmbedder, TimedGallery
from geoloc_pipeline.retrieval.answering.locate import TOP_K, locate_photo
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation
from geoloc_pipeline.retrieval.gallery.live import LiveGallery
from geoloc_pipeline.retrieval.reading.calibration import Calibration
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.receipts import read_receipt

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from geoloc_pipeline.retrieval.embedding.embedder import Reading
    from geoloc_pipeline.retrieval.gallery.neighbours import Where
    from geoloc_pipeline.retrieval.reading.places import PlaceNames
    from geoloc_pipeline.storage.layout import Home

LEAST_SIDE_PX = 720
"""A photo of a phone is decoded to a half or quarter of its size as long as both sides keep this many pixels: archived pictures
are no larger, and the network sees at most half of that."""


def gallery_location(home: Home) -> GalleryLocation:
    """Return where the gallery of a home is: the server in GEOLOC_QDRANT_URL, or the engine inside this process."""
    return GalleryLocation(
        folder=home.qdrant(),
        url=os.environ.get("GEOLOC_QDRANT_URL", ""),
        api_key=os.environ.get("GEOLOC_QDRANT_API_KEY", ""),
    )


@dataclass(frozen=True)
class Question:
    """A photo that is asked about.

    Attributes:
        pixels: `[height, width, 3]` RGB uint8, or several views of one place.
        reading: What the model said of it, when it was asked about before: then its pixels are not looked at again.
    """

    pixels: NDArray[np.uint8] | list[NDArray[np.uint8]]
    reading: Reading | None = None

    def without_pixels(self) -> Question:
        """Return the question for later: the shape of its pixels is kept, and nothing that shows anything."""
        views = self.pixels if isinstance(self.pixels, list) else [self.pixels]
        blank = [np.broadcast_to(np.uint8(0), view.shape) for view in views]
        return replace(self, pixels=blank if isinstance(self.pixels, list) else blank[0])


class Desk:
    """Everything that an answer needs; may be asked from several threads at once.

    Attributes:
        home: Where it all is.
        embedder: Of the trained model.
        album: The archived pictures.
        atlas: Names and outlines of places.
        gallery: Whatever collection is live.
    """

    def __init__(self, home: Home, embedder: Embedder) -> None:
        self.home = home
        self.embedder = embedder
        self.album = Album(home)
        self.atlas = Atlas(home)
        self.gallery = LiveGallery(gallery_location(home), model_version=embedder.model_version)
        self._reader = OneReader(embedder)
        self._calibrated: tuple[int, Calibration] = (0, Calibration())

    @classmethod
    def open(cls, home: Home) -> Desk:
        """Open the model of a home; the gallery is opened by the first question.

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
        return cls(home, Embedder.load(home.checkpoint()))

    @property
    def calibration(self) -> Calibration:
        """What the last evaluation chose; read again when a newer one has been written."""
        told = self.home.calibration()
        try:
            written = told.stat().st_mtime_ns
        except FileNotFoundError:
            return Calibration()
        if written != self._calibrated[0]:
            self._calibrated = (written, Calibration.from_json(json.loads(told.read_text(encoding="utf-8"))))
        return self._calibrated[1]

    def read(self, photo: Path | bytes) -> OpenedPicture:
        """Return a photo's pixels, and what its EXIF says for those who want to compare.

        Raises:
            ImageError: It is no usable picture.
        """
        return read_photo(photo, least_side_px=LEAST_SIDE_PX)

    def locate(
        self, photo: Path | bytes, *, top_k: int = TOP_K, readout: str = "", where: Where | None = None, **how: Any
    ) -> Answer:
        """Return where a photo was taken; its own EXIF position is never looked at.

        Args:
            photo: An image file of any kind that Pillow reads, or its bytes.
            top_k: Neighbours to ask for.
            readout: A name in `BATCH_READOUTS`; the calibrated default when empty.
            where: To which prefectures and sources the search is limited.
            how: `abstain`, see `ask`.

        Returns:
            The answer.

        Raises:
            ImageError: The file is no usable picture.
            SettingError: There is no read-out of that name.
        """
        return self.locate_pixels(self.read(photo).pixels, top_k=top_k, readout=readout, where=where, **how)

    def locate_pixels(self, pixels: NDArray[np.uint8] | list[NDArray[np.uint8]], **how: Any) -> Answer:
        """Return where a picture `[height, width, 3]` RGB (or several views of one place) was taken; see `ask`."""
        return self.ask(Question(pixels), **how)[0]

    def ask(
        self,
        question: Question,
        *,
        top_k: int = TOP_K,
        readout: str = "",
        where: Where | None = None,
        abstain: Abstain | None = None,
        laps: Laps | None = None,
    ) -> tuple[Answer, Question]:
        """Return the answer to a question, and the question with what the model said of it.

        Args:
            question: The photo.
            top_k: Neighbours to ask for.
            readout: A name in `BATCH_READOUTS`; the calibrated default when empty.
            where: To which prefectures and sources the search is limited.
            abstain: When no answer shall be given; never when absent.
            laps: Told how long each stage took.

        Returns:
            The answer; and the question, to be asked again with another limit without reading the photo once more.

        Raises:
            SettingError: There is no read-out of that name.
            CollectionError: The gallery is empty, damaged, or of another model.
        """
        calibration, laps = self.calibration, laps or Laps()
        if (readout or calibration.readout) not in BATCH_READOUTS:
            raise SettingError(setting="readout", value=readout, cure=f"choose one of {', '.join(BATCH_READOUTS)}")
        embedder = TimedEmbedder(self._reader, laps, reading=question.reading)
        with laps.stage("read_out"):
            answer = locate_photo(
                question.pixels,
                embedder=embedder,
                gallery=TimedGallery(self.gallery, laps),
                calibration=calibration,
                top_k=top_k,
                readout=readout,
                names=self.names.names_at if len(self.towns) else None,
                where=where,
                abstain=abstain or Abstain(),
            )
        others = (laps.seconds.get(stage, 0.0) for stage in ("preprocess", "wait", "embed", "search"))
        laps.add("read_out", -sum(others))
        return answer, replace(question, reading=embedder.reading)

    def check(self) -> dict[str, Any]:
        """Return that model and gallery answer: a plain picture is read and its neighbour looked for.

        Returns:
            Model version, collection and its points.

        Raises:
            CollectionError: The gallery does not answer, or is of another model.
        """
        read = self._reader.read([np.full((64, 64, 3), 127, dtype=np.uint8)], Laps())
        self.gallery.search(read.embedding, top_k=1)
        collection, points = self.gallery.told()
        return {"model_version": self.embedder.model_version, "collection": collection, "points": points}

    def warm(self) -> None:
        """Do now what the first visitors would otherwise wait for.

        Raises:
            CollectionError: The gallery does not answer; everything else is warm.
        """
        _ = self.names, self.manifest, self.album.sources
        self.atlas.outlines("prefecture")
        self.check()

    def close(self) -> None:
        """Let go of the gallery; a later question opens it again."""
        self.gallery.close()

    @property
    def towns(self) -> Any:
        """The town blocks of every prefecture that was built."""
        return self.atlas.towns

    @property
    def names(self) -> PlaceNames:
        """Names of places."""
        return self.atlas.names

    @property
    def manifest(self) -> pd.DataFrame:
        """Every archived picture by image_id; see `Album.manifest`."""
        return self.album.manifest

    def pixels_of(self, image_id: str) -> NDArray[np.uint8] | None:
        """Return an archived picture `[height, width, 3]` RGB; None when it is not known."""
        return self.album.pixels_of(image_id)

    def told_of(self, answer: Answer) -> list[dict[str, Any]]:
        """Return what is known of each neighbour's picture beside its place, as plain values in the answer's order."""
        return [
            {
                "source": picture.source,
                "licence": picture.licence,
                "attribution": picture.attribution,
                "source_url": safe_link(picture.source_url),
                "captured_at": picture.captured_at,
                "place": picture.place,
            }
            for picture in self._pictures(answer)
        ]

    def write_evidence(self, answer: Answer, photo: Path | NDArray[np.uint8], path: Path, **shown: Any) -> None:
        """Write the evidence page of an answer: one file that opens anywhere, without the network; whole or not at all.

        Args:
            answer: From `locate`.
            photo: The photo that was asked about, as file or as pixels.
            path: Where the page shall stand.
            shown: `name`, `truth` and `language`, see `evidence_page`.
        """
        if isinstance(photo, Path):
            shown = {"name": photo.name} | shown
            photo = self.read(photo).pixels
        write_text(path, self.evidence_page(answer, photo, **shown))

    def evidence_page(
        self,
        answer: Answer,
        photo: NDArray[np.uint8],
        *,
        name: str = "photo",
        truth: tuple[float, float] | None = None,
        language: str = "en",
    ) -> str:
        """Return the evidence page of an answer as HTML.

        Args:
            answer: From `locate`.
            photo: `[height, width, 3]` RGB, the photo that was asked about.
            name: Of the photo, for people.
            truth: (lat, lon) where it was taken, where that is known.
            language: `en` or `ja`.

        Returns:
            One self-contained page.
        """
        near = answer.neighbours
        around = self.names.table_at(lat=[answer.lat, *(n.lat for n in near)], lon=[answer.lon, *(n.lon for n in near)])
        pictures = self._pictures(answer, with_pixels=True)
        return evidence_html(
            Evidence(
                answer=answer,
                photo=photo,
                photo_name=name,
                pictures={n.image_id: picture for n, picture in zip(near, pictures, strict=True)},
                wide_outlines=self.atlas.outlines("prefecture"),
                detail_outlines=self.atlas.outlines("municipality", around["prefecture_code"].dropna()),
                truth=truth,
                truth_place=self.atlas.places_at(lat=[truth[0]], lon=[truth[1]])[0] if truth else "",
                provenance=self.provenance(),
                bandwidth_km=self.calibration.settings.bandwidth_km,
                language=language,
            )
        )

    def _pictures(self, answer: Answer, *, with_pixels: bool = False) -> list[EvidencePicture]:
        near = answer.neighbours
        places = self.atlas.places_at(lat=[one.lat for one in near], lon=[one.lon for one in near])
        return self.album.told([one.image_id for one in near], places=places, with_pixels=with_pixels)

    def provenance(self) -> dict[str, str]:
        """Return what the answers of this home are made of, by name."""
        receipts = [read_receipt(path) for path in sorted(self.home.receipt("osm_dump").parent.glob("*.json"))]
        dumps = [name.rsplit("/", 1)[-1] for receipt in receipts if receipt for name in receipt.files]
        return {
            "model": self.embedder.model_version,
            "collection": self.gallery.told()[0],
            "read-out": f"{self.calibration.readout}, chosen on validation pictures",
            "map": ", ".join(dumps) + " ((c) OpenStreetMap contributors, ODbL 1.0)",
            "census": "e-Stat 2020 small areas (A002005212020)",
        }

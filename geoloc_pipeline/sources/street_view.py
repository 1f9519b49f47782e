"""What every street-view provider is asked and answers: one protocol, one set of records.

A provider tells which pictures there are around points (`Coverage`, area by area, kept by whoever asks), and gives one picture
at a time (`Picture`). Which picture serves which point is decided elsewhere, from coverage alone.

Belongs here: the protocol and its records. Does not belong here: any provider (`mapillary.py`, `panoramax.py`, `kartaview.py`,
`google.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

Point = tuple[str, float, float]
"""point_id, lat, lon in degrees."""


@dataclass(frozen=True)
class Area:
    """What a provider is asked about at once.

    Attributes:
        key: Names the area; a file name without suffix, such as `14-14551-6451`.
        points: The points that it matters to.
    """

    key: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Coverage:
    """Pictures that a provider has, in the order of their ids; all arrays are `[n]`.

    Attributes:
        image_id: object, the provider's ids as strings, sorted, each once.
        lat: float64, latitude in degrees.
        lon: float64, longitude in degrees.
        compass_deg: float64, compass direction of the centre column in [0, 360); NaN where unknown.
        captured_ms: int64, milliseconds since 1970; 0 where unknown.
        is_pano: bool, whether it is a full panorama.
        is_outdoor: bool, false where the provider says that it was taken inside a building.
        quality: float32, the provider's own rating, larger is better; NaN where unknown.
        sequence_id: object, strings; empty where unknown.
    """

    image_id: NDArray[np.object_]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    compass_deg: NDArray[np.float64]
    captured_ms: NDArray[np.int64]
    is_pano: NDArray[np.bool_]
    is_outdoor: NDArray[np.bool_]
    quality: NDArray[np.float32]
    sequence_id: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, rows: NDArray[Any]) -> Coverage:
        """Return the pictures at `rows` (positions in rising order, or a mask)."""
        return Coverage(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def of(
        *,
        image_id: Sequence[str],
        lat: Sequence[float] | NDArray[np.float64],
        lon: Sequence[float] | NDArray[np.float64],
        compass_deg: Sequence[float] | NDArray[np.float64] | None = None,
        captured_ms: Sequence[int] | NDArray[np.int64] | None = None,
        is_pano: Sequence[bool] | NDArray[np.bool_] | None = None,
        is_outdoor: Sequence[bool] | NDArray[np.bool_] | None = None,
        quality: Sequence[float] | NDArray[np.float32] | None = None,
        sequence_id: Sequence[str] | None = None,
    ) -> Coverage:
        """Return pictures given in any order, each id once (the first counts); what is left out is unknown."""
        count = len(image_id)
        ids = np.empty(count, dtype=object)
        ids[:] = [str(one) for one in image_id]
        sequences = np.empty(count, dtype=object)
        sequences[:] = [""] * count if sequence_id is None else [str(one or "") for one in sequence_id]

        def column(values: Any, dtype: Any, unknown: Any) -> NDArray[Any]:
            return np.full(count, unknown, dtype=dtype) if values is None else np.asarray(values, dtype=dtype).reshape(count)

        whole = Coverage(
            image_id=ids,
            lat=column(lat, np.float64, np.nan),
            lon=column(lon, np.float64, np.nan),
            compass_deg=column(compass_deg, np.float64, np.nan) % 360.0 % 360.0,  # a hair below 0 gives 360 at first
            captured_ms=column(captured_ms, np.int64, 0),
            is_pano=column(is_pano, np.bool_, False),
            is_outdoor=column(is_outdoor, np.bool_, True),
            quality=column(quality, np.float32, np.nan),
            sequence_id=sequences,
        )
        return whole.take(np.unique(ids.astype(str), return_index=True)[1]) if count else whole

    @staticmethod
    def empty() -> Coverage:
        """Return no pictures."""
        return Coverage.of(image_id=[], lat=[], lon=[])

    @staticmethod
    def joined(parts: Sequence[Coverage]) -> Coverage:
        """Return the pictures of several areas in id order, each once (areas may repeat what lies on their edge)."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return Coverage.empty()
        names = [field.name for field in fields(Coverage)]
        whole = Coverage(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
        return whole.take(np.unique(whole.image_id.astype(str), return_index=True)[1])


@dataclass(frozen=True)
class Shot:
    """What a provider tells of one picture; any of it but the id, the licence and the page can be missing.

    Attributes:
        image_id: The provider's id.
        lat: Latitude in WGS 84 degrees, the best that the provider knows.
        lon: Longitude in WGS 84 degrees.
        compass_deg: Compass direction of the centre column, clockwise from north, in [0, 360).
        captured_at: When the camera took it, UTC.
        is_pano: Whether it is a full panorama (equirectangular, 360 by 180 degrees).
        sequence_id: The drive it belongs to.
        creator: Who took it.
        licence: SPDX identifier.
        attribution: Whom to name beside the picture.
        page_url: Page of the picture, which does not expire.
        pitch_deg: Upward tilt of the optical axis; 0 where unknown.
        roll_deg: Clockwise turn of the camera about its axis, seen from behind it, so that the picture turns counter-clockwise;
            0 where unknown.
    """

    image_id: str
    lat: float | None
    lon: float | None
    compass_deg: float | None
    captured_at: datetime | None
    is_pano: bool
    sequence_id: str | None
    creator: str | None
    licence: str
    attribution: str
    page_url: str
    pitch_deg: float = 0.0
    roll_deg: float = 0.0


@dataclass(frozen=True)
class Picture:
    """One downloaded picture.

    Attributes:
        shot: What the provider tells of it.
        contents: Encoded pictures as sent, unchecked, by the heading in degrees that they look at; a whole panorama or flat
            picture stands alone under None.
        fetched_at: The service's Date header.
    """

    shot: Shot
    contents: dict[int | None, bytes]
    fetched_at: datetime


class StreetViewProvider(Protocol):
    """A service with street-level pictures, asked over HTTP by many tasks of one event loop at once.

    Every method that asks raises `SourceUnavailableError` (no answer, or not of the promised kind, after all retries),
    `SourceRefusedError` (key or request refused for good) and `BudgetSpentError` (the day's requests are used up).

    Attributes:
        source: Value of the column `source`, such as `mapillary`.
        service: Its name, for people.
        keeps_coverage: Whether its terms allow its coverage to be kept on disk.
        requests_per_picture: How many requests one picture costs.
    """

    @property
    def source(self) -> str: ...  # noqa: D102  told by the class

    @property
    def service(self) -> str: ...  # noqa: D102

    @property
    def keeps_coverage(self) -> bool: ...  # noqa: D102

    @property
    def requests_per_picture(self) -> int: ...  # noqa: D102

    def areas_around(self, points: Sequence[Point], *, radius_m: float) -> list[Area]:
        """Return the areas that hold all that lies within `radius_m` metres of the points, by key; asks nothing."""
        ...

    async def ask_coverage(self, area: Area, *, radius_m: float) -> bytes:
        """Return what the provider says of an area, as it may be kept; no bytes where there is nothing."""
        ...

    def read_coverage(self, area: Area, content: bytes) -> Coverage:
        """Return the pictures in what `ask_coverage` returned; raises ValueError when it is spoilt."""
        ...

    async def picture(self, image_id: str, *, width_px: int) -> Picture | None:
        """Return a picture of at least `width_px` if there is one so large; None when the provider does not know it (any more).

        Raises `ImageError` when the provider knows the picture but does not give it.
        """
        ...

    def left_today(self) -> int | None:
        """Return how many more requests the day's smallest budget allows; None without a budget."""
        ...

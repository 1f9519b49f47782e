"""Providers' JSON read without trust, and coverage kept as JSON: columns of just what the choice of a picture needs.

Any key may be absent, null, or a number written as a string: what cannot be read is unknown, never a fault.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.sources.street_view import Coverage

if TYPE_CHECKING:
    from numpy.typing import NDArray


def number_of(value: Any) -> float | None:
    """Return a finite number, also one written as a string; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def compass_of(value: Any) -> float | None:
    """Return a compass direction in [0, 360) degrees, whatever turns it was given with."""
    direction_deg = number_of(value)
    # twice: a hair below zero comes out of the first as 360
    return None if direction_deg is None else direction_deg % 360.0 % 360.0


def text_of(value: Any) -> str | None:
    """Return a string that is not blank, also of a whole number; None for everything else, and for half a character."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        return None  # a lone surrogate, which JSON can spell, can stand in no file
    return value.strip() or None


def object_of(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """Return a JSON list; an empty one for everything else."""
    return value if isinstance(value, list) else []


def place_of(*, lat: Any, lon: Any) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees; None unless both are on Earth."""
    north, east = number_of(lat), number_of(lon)
    if north is None or east is None or not (-90 <= north <= 90 and -180 <= east <= 180):
        return None
    return north, east


def moment_of(value: Any) -> datetime | None:
    """Return an ISO 8601 time in UTC; None when it does not say its zone: nobody knows which moment that is."""
    moment = _clock_of(value)
    return None if moment is None or moment.tzinfo is None else moment.astimezone(UTC)


def order_ms(value: Any) -> int:
    """Return an ISO 8601 time in milliseconds since 1970, to tell older from newer; 0 when it cannot be read.

    A time without a zone is taken for UTC: wrong by up to 14 hours, which seldom turns an order around.
    """
    moment = _clock_of(value)
    if moment is None:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _clock_of(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment and 1970 < moment.year < 2100 else None  # cameras whose clock was never set say 1970


def coverage_as_json(coverage: Coverage) -> bytes:
    """Return coverage as it may be kept; no bytes where there is nothing. `is_outdoor` is not kept: nobody here knows it."""
    if not len(coverage):
        return b""
    columns = {
        "image_id": coverage.image_id.tolist(),
        "lat": np.round(coverage.lat, 7).tolist(),
        "lon": np.round(coverage.lon, 7).tolist(),
        "compass_deg": _or_null(np.round(coverage.compass_deg, 2)),
        "captured_ms": coverage.captured_ms.tolist(),
        "is_pano": coverage.is_pano.astype(int).tolist(),
        "quality": _or_null(coverage.quality.astype(np.float64).round(2)),
        "sequence_id": coverage.sequence_id.tolist(),
    }
    return json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode()


def coverage_from_json(content: bytes) -> Coverage:
    """Return the coverage that `coverage_as_json` wrote.

    Raises:
        ValueError: It is spoilt.
    """
    if not content:
        return Coverage.empty()
    try:
        columns = json.loads(content)
        ids = columns.pop("image_id")
        if not isinstance(ids, list) or any(len(column) != len(ids) for column in columns.values()):
            raise ValueError("its columns have different lengths")
        numbers = {name: np.array(columns.pop(name), dtype=np.float64) for name in ("lat", "lon", "compass_deg", "quality")}
        return Coverage.of(
            image_id=ids,
            captured_ms=columns.pop("captured_ms"),
            is_pano=columns.pop("is_pano"),
            sequence_id=columns.pop("sequence_id"),
            lat=numbers["lat"],
            lon=numbers["lon"],
            compass_deg=numbers["compass_deg"],
            quality=numbers["quality"].astype(np.float32),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"no kept coverage: {error}") from None


def _or_null(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]

"""Which pictures a provider has around some points: its coverage, asked for once and kept for whoever comes next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import SourceUnavailableError
from geoloc_pipeline.imagery.choose import within_reach
from geoloc_pipeline.sources.street_view import Area, Coverage, Point, StreetViewProvider
from geoloc_pipeline.storage.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geoloc_pipeline.storage.progress import Progress

AREAS_AT_ONCE = 16  # a tile of a big city takes 10 MB, and more once it is read


async def coverage_around(
    points: Sequence[Point],
    provider: StreetViewProvider,
    *,
    radius_m: float,
    edition: str = "",
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Coverage:
    """Return every picture within the radius of a point, and a few beyond it.

    Args:
        points: What to look around.
        provider: Asked for the areas that hold a point or reach into its radius.
        radius_m: How far a picture may be from its point, metres.
        edition: Any word; what is kept under another one is not looked at.
        folder: Where a provider's coverage is kept for other prefectures and for a run that dies, where its terms allow that;
            None: nowhere.
        progress: Told areas.

    Returns:
        Pictures in id order.

    Raises:
        SourceUnavailableError: The provider does not answer.
        SourceRefusedError: It refuses the key.
        BudgetSpentError: The day's requests are used up; what is kept is not asked for again.
        HomeError: The disk is full or not ours to write.
    """
    areas = provider.areas_around(points, radius_m=radius_m)
    parts: list[Coverage] = []
    left = iter(areas)

    async def read_on() -> None:
        for area in left:
            whole = await _of(area, provider, _kept_path(area, provider, folder, edition=edition), radius_m=radius_m)
            parts.append(await asyncio.to_thread(within_reach, whole, area.points, radius_m=radius_m))
            if progress:
                progress.tell(len(parts), total=len(areas), unit=f"areas of {provider.service}")

    tasks = [asyncio.create_task(read_on()) for _ in range(min(AREAS_AT_ONCE, len(areas)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Coverage.joined(parts)


def kept_coverage(
    points: Sequence[Point], provider: StreetViewProvider, *, radius_m: float, edition: str, folder: Path | None
) -> tuple[Coverage, list[Area]]:
    """Return what is kept of the coverage around points, and the areas that the provider would have to be asked about."""
    parts, unkept = [], []
    for area in provider.areas_around(points, radius_m=radius_m):
        path = _kept_path(area, provider, folder, edition=edition)
        try:
            whole = provider.read_coverage(area, path.read_bytes()) if path else None
        except (FileNotFoundError, ValueError):
            whole = None
        if whole is None:
            unkept.append(area)
        else:
            parts.append(within_reach(whole, area.points, radius_m=radius_m))
    return Coverage.joined(parts), unkept


def _kept_path(area: Area, provider: StreetViewProvider, folder: Path | None, *, edition: str) -> Path | None:
    if folder is None or not provider.keeps_coverage:
        return None
    return folder / (edition or "first") / f"{area.key}.coverage"


async def _of(area: Area, provider: StreetViewProvider, path: Path | None, *, radius_m: float) -> Coverage:
    if path is not None:
        try:
            return await asyncio.to_thread(provider.read_coverage, area, path.read_bytes())
        except (FileNotFoundError, ValueError):
            pass  # not kept, or spoilt on disk: it is asked for
    content = await provider.ask_coverage(area, radius_m=radius_m)
    try:
        coverage = await asyncio.to_thread(provider.read_coverage, area, content)
    except ValueError as error:
        raise SourceUnavailableError(service=provider.service, url=f"its area {area.key}", reason=str(error)) from None
    if path is not None:
        await asyncio.to_thread(write_bytes, path, content)
    return coverage

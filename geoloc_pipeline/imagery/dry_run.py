"""What a collection would ask for, without asking for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from geoloc_pipeline.imagery.choose import choose_pictures
from geoloc_pipeline.imagery.coverage import kept_coverage
from geoloc_pipeline.imagery.plan import plan_path, read_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geoloc_pipeline.imagery.collect import CollectSettings
    from geoloc_pipeline.sources.street_view import Point, StreetViewProvider


def would_ask(
    points: pd.DataFrame,
    providers: Sequence[StreetViewProvider],
    folder: Path,
    *,
    settings: CollectSettings,
    coverage_folders: Mapping[str, Path] | None = None,
) -> pd.DataFrame:
    """Return what `collect_street_view` would ask each provider for; nothing is asked.

    Args:
        points: `tables.SAMPLE_POINTS`.
        providers: In the order in which they would be asked.
        folder: Where the shards stand.
        settings: How to collect.
        coverage_folders: Where coverage is kept, by source.

    Returns:
        One row a provider: source, points (not settled yet), areas (of coverage to ask for), pictures (to fetch), is_exact
        (whether all coverage is kept; else one picture a point is assumed, and the next provider is told of every point),
        requests, left_today (None without a budget).
    """
    waiting: list[Point] = sorted(zip(points["point_id"], map(float, points["lat"]), map(float, points["lon"]), strict=True))
    rows, is_exact = [], True
    for provider in providers:
        plan = read_plan(plan_path(folder, source=provider.source, radius_m=settings.radius_m, edition=settings.edition))
        served = {choice.point_id for choice in plan.planned if not choice.reason}
        settled = served | {choice.point_id for choice in plan.nothing}
        new = [point for point in waiting if point[0] not in settled]
        coverage, unkept = kept_coverage(
            new,
            provider,
            radius_m=settings.radius_m,
            edition=settings.edition,
            folder=(coverage_folders or {}).get(provider.source),
        )
        is_exact = is_exact and not unkept
        pictures = len(new)
        if is_exact:
            taken = {image_id for choice in plan.planned for image_id in choice.image_ids}
            choices = choose_pictures(new, coverage, radius_m=settings.radius_m, taken=taken)
            pictures = sum(len(choice.image_ids) for choice in choices)
            served |= {choice.point_id for choice in choices if not choice.reason}
        rows.append(
            {
                "source": provider.source,
                "points": len(new),
                "areas": len(unkept),
                "pictures": pictures,
                "is_exact": is_exact,
                "requests": len(unkept) + pictures * provider.requests_per_picture,
                "left_today": provider.left_today(),
            }
        )
        waiting = [point for point in waiting if point[0] not in served]
    return pd.DataFrame(rows)

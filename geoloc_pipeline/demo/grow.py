"""Grows a small made-up Japan: four prefectures at their true places, everything in them invented from a seed.

Belongs here: putting blocks, roads and landmarks together into a `Land`.
Does not belong here: how each is grown (`grow_towns.py`, `grow_roads.py`, `grow_ways.py`, `grow_landmarks.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from geoloc_pipeline.demo.chance import seed_of
from geoloc_pipeline.demo.grow_landmarks import grow_landmarks
from geoloc_pipeline.demo.grow_names import HOMELANDS
from geoloc_pipeline.demo.grow_roads import grow_routes
from geoloc_pipeline.demo.grow_towns import Ground, grow_blocks
from geoloc_pipeline.demo.grow_ways import cut_ways
from geoloc_pipeline.demo.land import Land, Landmark, Road, Town
from geoloc_pipeline.errors import SettingError

PUBLISHED_AT = datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC)
SEQUENCE = 4867


def grow_land(*, seed: int = 0, prefecture_codes: tuple[str, ...] = ("01", "13", "35", "47"), density: float = 1.0) -> Land:
    """Grows the made-up Japan.

    Each prefecture depends on the seed and its own code alone, so growing fewer of them changes none. At density 1 a
    prefecture asks for some 600 pictures at intervals of 2 km on motorways, 1 km on main roads and 500 m elsewhere,
    spread so that no town block is left without.

    Args:
        seed: What everything is drawn from.
        prefecture_codes: Any of 01, 13, 35, 47.
        density: 1 for the full demo; less (down to about 0.05) shortens and thins roads and keeps every oddity.

    Returns:
        The land; places in WGS 84 degrees with seven decimals.

    Raises:
        SettingError: There is no made-up prefecture of that code, or the density is not in (0, 1].
    """
    unknown = sorted(set(prefecture_codes) - set(HOMELANDS))
    if unknown or not prefecture_codes:
        raise SettingError(setting="prefecture_codes", value=prefecture_codes, cure=f"choose among {', '.join(HOMELANDS)}")
    if not 0.0 < density <= 1.0:
        raise SettingError(setting="density", value=density, cure="give a number above 0 and up to 1")
    roads: list[Road] = []
    landmarks: list[Landmark] = []
    towns: list[Town] = []
    for code in sorted(set(prefecture_codes)):
        ground = Ground(HOMELANDS[code])
        dice = np.random.default_rng(seed_of("land", seed, code))
        blocks = grow_blocks(ground, dice)
        routes, streets, sites = grow_routes(ground.homeland, blocks, dice, density=density)
        landmarks += grow_landmarks(ground, blocks, routes, sites, dice, density=density)
        roads += cut_ways(ground, routes + streets, sites, dice)
        towns += [block.town for block in blocks]
    return Land(
        seed=seed,
        roads=tuple(roads),
        landmarks=tuple(landmarks),
        towns=tuple(towns),
        published_at=PUBLISHED_AT,
        sequence=SEQUENCE,
        name=f"made-up Japan, seed {seed}, density {density:g}",
    )

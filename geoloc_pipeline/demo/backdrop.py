"""Sky, clouds and the distant hills: what is so far away that it looks the same from a whole street.

Belongs here: the upper half of a panorama before anything stands in it, and the tables of directions it needs.
Does not belong here: weather and sun (`light.py`), the ground (`ground.py`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoloc_pipeline.demo.chance import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.style import Style

    Singles = NDArray[np.float32]
    Floats = NDArray[np.float64]

_TILE_PX = 256


@lru_cache(maxsize=4)
def noise_tile(power: float = 1.7) -> Singles:
    """Gives a `[256, 256]` cloud of noise that repeats without a seam, mean 0, deviation 1.

    Args:
        power: How much slower waves outweigh fast ones; 0 is white noise.
    """
    waves = np.random.default_rng(7).normal(size=(_TILE_PX, _TILE_PX))
    frequency = np.hypot(np.fft.fftfreq(_TILE_PX)[:, None], np.fft.fftfreq(_TILE_PX)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.fft2(waves) / frequency**power
    spectrum[0, 0] = 0.0
    noise = np.fft.ifft2(spectrum).real
    tile: Singles = (noise / noise.std()).astype(np.float32)
    return tile


@lru_cache(maxsize=4)
def _sky_rays(width: int) -> Singles:
    """Gives `[h, w, 3]` directions of the upper half and a strip below the horizon, at a quarter of the resolution."""
    columns, rows = width // 4, width // 16 + _rows_below(width) // 4
    azimuth = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    elevation = (0.5 - (np.arange(rows) + 0.5) / (width // 8)) * np.pi
    level, up = np.cos(elevation)[:, None], np.sin(elevation)[:, None]
    rays = np.stack(np.broadcast_arrays(level * np.sin(azimuth), level * np.cos(azimuth), up), axis=-1)
    return rays.astype(np.float32)


def _rows_below(width: int) -> int:
    """Counts the rows below the picture's middle where a tilted camera may still see the sky."""
    return width // 16 // 4 * 4


def paint_sky(image: NDArray[np.uint8], light: Light, seed: int, turn: Floats) -> None:
    """Paints the sky into the upper half of a panorama, and some rows farther for tilted cameras.

    Args:
        image: `[w / 2, w, 3]`; changed in place.
        light: Sun and weather.
        seed: The picture's own chance: where the clouds are.
        turn: `[3, 3]` from directions of the camera to directions of the world.
    """
    width = image.shape[1]
    rays = _sky_rays(width) @ turn.T.astype(np.float32)
    up = np.clip(rays[..., 2], 0.0, 1.0)
    reach = 70.0 / (up + 0.12)  # clouds lie on a plane that bends down at the horizon
    cloud_x, cloud_y = reach * rays[..., 0], reach * rays[..., 1]
    dice = np.random.default_rng(seed_of("sky", seed))
    blend = np.sqrt(up)[..., None]
    sky = light.horizon.astype(np.float32) * (1 - blend) + light.zenith.astype(np.float32) * blend
    toward = rays @ light.sun.astype(np.float32)
    clear = np.float32(1 - light.cloud_cover)
    glow = 70 * np.exp((toward - 1) * 9) + 190 * np.exp((toward - 1) * 420)
    sky = sky + (glow * clear)[..., None] * np.array([1.0, 0.93, 0.75], dtype=np.float32)
    shift = dice.uniform(0, _TILE_PX, 2).tolist()
    noise = cv2.remap(
        noise_tile(), (cloud_x + shift[0]) % (_TILE_PX - 1), (cloud_y + shift[1]) % (_TILE_PX - 1), cv2.INTER_LINEAR
    )
    density = np.clip((noise + 3.2 * light.cloud_cover - 1.7) * 0.8, 0, 0.92)[..., None]
    lit = np.clip(225 - 26 * noise, 150, 250)[..., None] * np.array([1.0, 1.0, 1.02], dtype=np.float32)
    sky = sky * (1 - density) + lit * (0.55 + 0.45 * clear + 0.25 * light.cloud_cover) * density
    rows = width // 4 + _rows_below(width)
    small = np.clip(sky, 0, 255).astype(np.uint8)
    cv2.resize(small, (width, rows), dst=image[:rows], interpolation=cv2.INTER_LINEAR)


def paint_hills(image: NDArray[np.uint8], light: Light, style: Style, skyline: int, turn: Floats) -> None:
    """Paints two ranges of hills along the horizon, whose outline belongs to the municipality.

    Args:
        image: `[w / 2, w, 3]`; changed in place. The ground, painted afterwards, hides their feet.
        light: Haze.
        style: How high the hills stand.
        skyline: Seed of the outline.
        turn: `[3, 3]` from directions of the camera to directions of the world.
    """
    width = image.shape[1]
    azimuth = np.linspace(0.0, 2 * np.pi, 361)
    dice = np.random.default_rng(skyline)
    winter = style.snow_depth * light.snow
    for layer, (near, share) in enumerate(((0.28, 1.0), (0.5, 0.55))):
        outline = np.zeros(len(azimuth))
        for wave in range(1, 13):
            outline += dice.normal() / wave**0.9 * np.sin(wave * (layer + 1) * azimuth + dice.uniform(0, 2 * np.pi))
        height = np.radians(style.ridge_height_deg) * share * (0.75 + 0.45 * outline).clip(0.05, 2.2)
        green = np.array([62.0, 96.0, 62.0]) * (1 - winter) + np.array([208.0, 214.0, 222.0]) * winter
        colour = green * near + light.horizon * 0.94 * (1 - near)
        level = np.cos(height)
        x, y, z = np.column_stack([level * np.sin(azimuth), level * np.cos(azimuth), np.sin(height)]).T
        x, y, z = (np.stack([x, y, z], axis=1) @ turn).T
        column, row = np.arctan2(x, y), np.arctan2(z, np.hypot(x, y))
        order = np.argsort(column)
        column, row = column[order], row[order]
        column = np.concatenate([column[-1:] - 2 * np.pi, column, column[:1] + 2 * np.pi])
        row = np.concatenate([row[-1:], row, row[:1]])
        upper = np.column_stack([column, -row]) * (width / (2 * np.pi)) + np.array([width / 2, width / 4]) - 0.5
        foot = width // 4 + _rows_below(width)
        points = np.concatenate([upper, [[width + 8, foot], [-8, foot]]])
        tone = colour.clip(0, 255).tolist()
        cv2.fillPoly(image, [np.rint(points * 16).astype(np.int32)], tone, cv2.LINE_AA, 4)

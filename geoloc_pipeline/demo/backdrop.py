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
    from geoloc_pipeline.demo.shapes import Frame
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
def _sky_rays(columns: int, rows: int) -> Singles:
    """Gives `[rows, columns, 3]` directions from the zenith down, of a whole round with that many columns."""
    azimuth = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    elevation = (0.5 - (np.arange(rows) + 0.5) / (columns // 2)) * np.pi
    level, up = np.cos(elevation)[:, None], np.sin(elevation)[:, None]
    rays = np.stack(np.broadcast_arrays(level * np.sin(azimuth), level * np.cos(azimuth), up), axis=-1)
    return np.ascontiguousarray(rays, dtype=np.float32)


def _rows_below(width: int) -> int:
    """Counts the rows below the picture's middle where a tilted camera may still see the sky."""
    return width // 16 // 4 * 4


def paint_sky(frame: Frame, light: Light, seed: int, turn: Floats) -> None:
    """Paints the sky into the upper half of a panorama, and some rows farther for tilted cameras.

    Args:
        frame: Changed in place; its left and top are multiples of 4.
        light: Sun and weather.
        seed: The picture's own chance: where the clouds are.
        turn: `[3, 3]` from directions of the camera to directions of the world.
    """
    width, (left, top) = frame.width_px, (frame.left_px // 4, frame.top_px // 4)
    rows = min(width // 4 + _rows_below(width) - frame.top_px, frame.image.shape[0])
    if rows <= 0:
        return
    columns = frame.image.shape[1]
    seen = _sky_rays(width // 4, width // 16 + _rows_below(width) // 4)[top : top - (-rows // 4), left : left - (-columns // 4)]
    shape = seen.shape[:2]
    rays = seen.reshape(-1, 3)
    east, north, up = turn.astype(np.float32) @ rays.T
    np.clip(up, 0.0, 1.0, out=up)
    reach = 70.0 / (up + np.float32(0.12))  # clouds lie on a plane that bends down at the horizon
    shift = np.random.default_rng(seed_of("sky", seed)).uniform(0, _TILE_PX, 2).astype(np.float32)
    cloud_x, cloud_y = (east * reach + shift[0]).reshape(shape), (north * reach + shift[1]).reshape(shape)
    noise = cv2.remap(noise_tile(), cloud_x, cloud_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).reshape(-1)
    toward = rays @ (light.sun @ turn).astype(np.float32) - np.float32(1.0)
    glow = 70 * np.exp(toward * 9) + 190 * np.exp(toward * 420)
    density = np.clip(noise * np.float32(0.8) + np.float32((3.2 * light.cloud_cover - 1.7) * 0.8), 0, 0.92)
    clear = 1.0 - light.cloud_cover
    lit = np.clip(225 - 26 * noise, 150, 250) * np.float32(0.55 + 0.45 * clear + 0.25 * light.cloud_cover)
    # horizon to zenith, the sun's glow, and clouds before them: four shares of four colours
    shares = np.stack([1 - density, np.sqrt(up), glow * np.float32(clear), lit * density])
    shares[1:3] *= shares[0]
    colours = np.array([light.horizon, light.zenith - light.horizon, [1.0, 0.93, 0.75], [1.0, 1.0, 1.02]], dtype=np.float32)
    small = np.clip(shares.T @ colours, 0, 255).astype(np.uint8).reshape(*shape, 3)
    large = cv2.resize(small, (shape[1] * 4, shape[0] * 4), interpolation=cv2.INTER_LINEAR)
    frame.image[:rows] = large[:rows, :columns]


@lru_cache(maxsize=256)
def _outlines(skyline: int) -> Singles:
    """Gives the rise of both ranges of hills at each whole degree, `[2, 361]`, about 0.05 to 2.2."""
    azimuth, wave = np.linspace(0.0, 2 * np.pi, 361), np.arange(1, 13)[:, None]
    dice = np.random.default_rng(skyline)
    rises = []
    for layer in range(2):
        high, turned = dice.normal(size=(12, 1)), dice.uniform(0, 2 * np.pi, size=(12, 1))
        outline = (high / wave**0.9 * np.sin(wave * (layer + 1) * azimuth + turned)).sum(axis=0)
        rises.append((0.75 + 0.45 * outline).clip(0.05, 2.2))
    return np.array(rises, dtype=np.float32)


def paint_hills(frame: Frame, light: Light, style: Style, skyline: int, turn: Floats) -> None:
    """Paints two ranges of hills along the horizon, whose outline belongs to the municipality.

    Args:
        frame: Changed in place. The ground, painted afterwards, hides their feet.
        light: Haze.
        style: How high the hills stand.
        skyline: Seed of the outline.
        turn: `[3, 3]` from directions of the camera to directions of the world.
    """
    width = frame.width_px
    azimuth = np.linspace(0.0, 2 * np.pi, 361)
    winter = style.snow_depth * light.snow
    green = np.array([62.0, 96.0, 62.0]) * (1 - winter) + np.array([208.0, 214.0, 222.0]) * winter
    middle = np.array([width / 2 - frame.left_px, width / 4 - frame.top_px]) - 0.5
    foot = width // 4 + _rows_below(width) - frame.top_px
    for outline, near, share in zip(_outlines(skyline), (0.28, 0.5), (1.0, 0.55), strict=True):
        height = np.radians(style.ridge_height_deg) * share * outline
        level = np.cos(height)
        x, y, z = turn.T @ np.stack([level * np.sin(azimuth), level * np.cos(azimuth), np.sin(height)])
        column, row = np.arctan2(x, y), np.arctan2(z, np.hypot(x, y))
        order = np.argsort(column)
        column, row = column[order], row[order]
        column = np.concatenate([column[-1:] - 2 * np.pi, column, column[:1] + 2 * np.pi])
        row = np.concatenate([row[-1:], row, row[:1]])
        upper = np.column_stack([column, -row]) * (width / (2 * np.pi)) + middle
        points = np.concatenate([upper, [[width + 8 - frame.left_px, foot], [-8 - frame.left_px, foot]]])
        tone = (green * near + light.horizon * 0.94 * (1 - near)).clip(0, 255).tolist()
        cv2.fillPoly(frame.image, [np.rint(points * 16).astype(np.int32)], tone, cv2.LINE_AA, 4)

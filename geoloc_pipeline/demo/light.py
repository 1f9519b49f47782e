"""Light, weather and season of one picture: where the sun stands, how thick the air is, what the camera makes of it.

Belongs here: everything that changes a colour without telling where the picture was taken.
Does not belong here: shapes, and colours of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoloc_pipeline.demo.chance import seed_of

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


_DUSK = np.array([250.0, 180.0, 120.0])


@dataclass(frozen=True)
class Light:
    """What falls on things and what the camera does with it.

    Attributes:
        sun: Unit vector to the sun (x east, y north, z up), never below 3 degrees: night is drawn as dusk.
        sun_colour: Red, green, blue of direct light, as factors; small under clouds.
        sky_colour: Red, green, blue of light from the whole sky, as factors.
        zenith: Colour of the sky overhead, 0 to 255.
        horizon: Colour of the sky at the horizon and of haze.
        cloud_cover: 0 clear to 1 overcast.
        haze_m: Distance after which 63 % of a thing's contrast is lost.
        year_fraction: 0 on New Year's Day to 1.
        snow: 0 none to 1 deep, before a place's own snow depth counts.
        exposure: Mean brightness that the camera aims at, 0 to 255.
        balance: Red, green, blue factors of the camera's white balance.
        balancing: How much of the scene's own cast the camera takes away, 0 to 1.
        contrast: Slope of the camera's curve in the middle.
    """

    sun: Floats
    sun_colour: Floats
    sky_colour: Floats
    zenith: Floats
    horizon: Floats
    cloud_cover: float
    haze_m: float
    year_fraction: float
    snow: float
    exposure: float
    balance: Floats
    balancing: float
    contrast: float

    def on(self, normal: Floats) -> Floats:
        """Gives what surfaces send back of their colour.

        Args:
            normal: `[n, 3]` outward unit vectors.

        Returns:
            `[n, 3]` factors for red, green, blue.
        """
        direct = np.clip(normal @ self.sun, 0.0, None)[:, None]
        upward = (0.86 + 0.14 * normal[:, 2])[:, None]
        shaded: Floats = upward * self.sky_colour + direct * self.sun_colour
        return shaded


def light_of(*, lat: float, lon: float, captured_at: datetime, seed: int, brightness: float) -> Light:
    """Lights one picture: the sun by date and hour, the weather and the camera by chance.

    Args:
        lat: WGS 84 degrees.
        lon: WGS 84 degrees.
        captured_at: Aware time.
        seed: The picture's own chance.
        brightness: The place's daylight relative to the country's usual.

    Returns:
        The light; the camera's exposure and white balance vary so much that mean colour tells nothing about the place.
    """
    dice = np.random.default_rng(seed_of("light", seed))
    moment = captured_at.astimezone(UTC)
    year = (moment.timetuple().tm_yday - 1) / 365.25
    sun = _sun_vector(lat, lon, year, moment.hour + moment.minute / 60)
    low = float(np.exp(-np.degrees(np.arcsin(sun[2])) / 9.0))  # 1 at sunset, 0 by day
    cover = dice.uniform(*((0.0, 0.3), (0.3, 0.7), (0.8, 1.0))[int(dice.choice(3, p=[0.45, 0.3, 0.25]))])
    warm = np.array([1.0, 0.86 - 0.16 * low, 0.72 - 0.34 * low])
    direct = 0.75 * brightness * (1.0 - 0.93 * cover) * (1.0 - 0.45 * low)
    blue = np.array([0.80, 0.90, 1.0]) * (1 - cover) + cover
    grey = np.array([196.0, 200.0, 204.0]) * dice.uniform(0.85, 1.1)
    zenith = (1 - cover) * np.array([58.0, 118.0, 208.0]) + cover * grey * 0.92
    horizon = (1 - cover) * np.array([186.0, 212.0, 236.0]) + cover * (grey + 12)
    return Light(
        sun=sun,
        sun_colour=direct * warm,
        sky_colour=(0.62 + 0.12 * cover) * blue,
        zenith=zenith * (1 - 0.35 * low),
        horizon=horizon * (1 - 0.55 * low * (1 - cover)) + _DUSK * 0.55 * low * (1 - cover),
        cloud_cover=float(cover),
        haze_m=float(np.exp(dice.uniform(np.log(110.0), np.log(900.0)))),
        year_fraction=float(year),
        snow=_snow(year),
        exposure=float(dice.uniform(72.0, 168.0)),
        balance=np.exp(dice.normal(0.0, [0.12, 0.05, 0.14])),
        balancing=float(dice.uniform(0.45, 0.85)),
        contrast=float(dice.uniform(0.78, 1.35)),
    )


def _sun_vector(lat: float, lon: float, year: float, utc_hour: float) -> Floats:
    """Points to the sun: mean sun, good to a few degrees, which no picture can tell.

    Source: Spencer's and Cooper's declination, hour angle from the longitude.
    """
    declination = np.radians(-23.44) * np.cos(2 * np.pi * (year + 10 / 365.25))
    hour = np.radians((utc_hour + lon / 15 - 12.0) * 15.0)
    tilt = np.radians(lat)
    up = np.sin(tilt) * np.sin(declination) + np.cos(tilt) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(tilt) * np.sin(declination) - np.sin(tilt) * np.cos(declination) * np.cos(hour)
    low = np.sin(np.radians(3.0))
    if up < low:
        level = max(float(np.hypot(east, north)), 1e-9)
        east, north = (part / level * np.sqrt(1 - low**2) for part in (east, north))
        up = low
    return np.array([east, north, up], dtype=np.float64)


def _snow(year: float) -> float:
    """Gives the season's snow: from December to the end of March, most in February."""
    from_february = abs((year - 0.11 + 0.5) % 1.0 - 0.5)
    return float(np.clip((0.17 - from_february) / 0.05, 0.0, 1.0))


def exposed(image: NDArray[np.uint8], light: Light) -> NDArray[np.uint8]:
    """Gives the camera's table from painted to stored values, one column a channel.

    Args:
        image: `[h, w, 3]` what was painted; only read.
        light: Exposure, white balance and contrast.

    Returns:
        `[256, 3]` uint8.
    """
    mean = np.array(cv2.mean(np.ascontiguousarray(image[4::9, 4::9]))[:3]).clip(8.0)
    grey = mean.mean()
    gain = light.exposure / grey * (grey / mean) ** light.balancing * light.balance
    value = np.arange(256.0)[:, None] / 255.0 * np.clip(gain, 0.2, 3.5)
    rolled = np.where(value > 0.8, 0.8 + 0.2 * np.tanh((value - 0.8) / 0.2 * 0.8), value)  # highlights fade, not clip
    middle = light.exposure / 255.0
    curve = middle + (rolled - middle) * light.contrast
    table: NDArray[np.uint8] = np.clip(curve * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return table

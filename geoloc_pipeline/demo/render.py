"""Pictures of the demo's ground: equirectangular panoramas and flat views of any place of any map.

Belongs here: the camera, the order of painting, and the turn from the level world to the tilted picture.
Does not belong here: what stands where (`scenery.py`), what it looks like, and files or their metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoloc_pipeline.demo.backdrop import paint_hills, paint_sky
from geoloc_pipeline.demo.chance import seed_of
from geoloc_pipeline.demo.facades import add_houses
from geoloc_pipeline.demo.furniture import add_furniture
from geoloc_pipeline.demo.ground import draw_charts, paint_ground
from geoloc_pipeline.demo.light import exposed, light_of
from geoloc_pipeline.demo.monuments import add_monuments
from geoloc_pipeline.demo.plants import add_trees
from geoloc_pipeline.demo.shapes import Frame, Shapes
from geoloc_pipeline.demo.vehicles import add_vehicles, carrier

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from geoloc_pipeline.demo.scenery import Scenery

    Image = NDArray[np.uint8]
    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

_WORLD_SEED = seed_of("what houses look like")
_METER_PX = 256  # width of the panorama that a flat view's exposure is measured on


@dataclass(frozen=True)
class Camera:
    """Where, when and how one picture is taken.

    Attributes:
        lat: WGS 84 degrees.
        lon: WGS 84 degrees.
        heading_deg: Compass heading of the centre column.
        captured_at: Aware time; season and hour of light follow from it.
        seed: Chance of this one picture: vehicles, weather, exposure, white balance, height of the lens. Not the tilt.
        pitch_deg: Upward tilt of the optical axis.
        roll_deg: Clockwise turn of the camera about its axis, so that the picture turns counter-clockwise.
    """

    lat: float
    lon: float
    heading_deg: float
    captured_at: datetime
    seed: int
    pitch_deg: float = 0.0
    roll_deg: float = 0.0


def draw_panorama(scenery: Scenery, camera: Camera, *, width_px: int = 1024) -> Image:
    """Draws what is seen all around.

    Vehicles stand on the ground, not on the camera: without tilt, a heading that is turned by 90 degrees gives the same picture
    rolled by a quarter of its width, byte for byte.

    Args:
        scenery: The land.
        camera: Place, time and chance.
        width_px: Multiple of 64, at least 128.

    Returns:
        `[width / 2, width, 3]` RGB; compass heading h lies at ((h - heading_deg) / 360 + 0.5) mod 1 of the width; row 0 is up.

    Raises:
        ValueError: The width is no multiple of 64, or below 128.
    """
    if width_px < 128 or width_px % 64:
        raise ValueError(f"width_px is {width_px}: give a multiple of 64, at least 128")
    if camera.pitch_deg or camera.roll_deg:
        return _painted(scenery, camera, rotation_of(camera.heading_deg, camera.pitch_deg, camera.roll_deg), width_px)
    columns = round(camera.heading_deg / 360.0 * width_px)  # whole columns are moved, so that turning loses nothing
    level = _painted(scenery, camera, rotation_of(camera.heading_deg - columns * 360.0 / width_px, 0.0, 0.0), width_px)
    return np.ascontiguousarray(np.roll(level, -columns, axis=1))


def draw_view(scenery: Scenery, camera: Camera, *, fov_deg: float, width_px: int, height_px: int) -> Image:
    """Draws a flat picture, as a phone takes it: the part of the panorama around its centre, without its curves.

    Args:
        scenery: The land.
        camera: Place, time and chance; `heading_deg` is what the picture looks at.
        fov_deg: Horizontal angle of view, above 0 and below 170.
        width_px: Columns.
        height_px: Rows.

    Returns:
        `[height, width, 3]` RGB.

    Raises:
        ValueError: The angle of view or the size cannot be drawn.
    """
    if not 0.0 < fov_deg < 170.0 or width_px < 1 or height_px < 1:
        raise ValueError(f"cannot draw {width_px}x{height_px} px over {fov_deg} degrees: give 0 < fov_deg < 170 and a size")
    focal = width_px / 2 / np.tan(np.radians(fov_deg) / 2)
    width = int(np.clip(np.ceil(360.0 / fov_deg * width_px / 64.0) * 64, 512, 4096))
    turn = (rotation_of(0.0, camera.pitch_deg, camera.roll_deg) / focal).astype(np.float32)
    x = (np.arange(width_px) + 0.5 - width_px / 2).astype(np.float32)[None, :]
    z = (height_px / 2 - np.arange(height_px) - 0.5).astype(np.float32)[:, None]
    right, ahead, up = (to[0] * x + (to[1] * np.float32(focal) + to[2] * z) for to in turn)
    column = cv2.phase(-ahead, -right) * np.float32(width / (2 * np.pi)) - np.float32(0.5)  # from the seam behind the camera
    row = width / 2 - 0.5 - cv2.phase(-up, cv2.magnitude(right, ahead)) * np.float32(width / (2 * np.pi))  # from straight up
    row = np.clip(row, 0, width // 2 - 1)
    sides = _window(column, width), _window(row, width // 2)
    world = _painted(scenery, camera, rotation_of(camera.heading_deg, 0.0, 0.0), width, sides)
    left, top = (np.float32(side.start) for side in sides)
    view = cv2.remap(world, column - left, row - top, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view, dtype=np.uint8)


def _window(places: Singles, length: int) -> slice:
    """Gives the smallest range in steps of 8 that holds all places between 0 and the grid's length."""
    return slice(max(int(places.min() - 1) // 8 * 8, 0), min((int(places.max()) + 9) // 8 * 8, length))


def _painted(scenery: Scenery, camera: Camera, turn: Floats, width: int, window: tuple[slice, slice] | None = None) -> Image:
    """Draws and exposes a panorama; `turn` leads from directions of the picture to directions of the world.

    A window (columns, rows) is drawn alone; it is exposed as the panorama would be, by a small one of the same moment.
    """
    scene = scenery.around(lat=camera.lat, lon=camera.lon)
    light = light_of(
        lat=camera.lat, lon=camera.lon, captured_at=camera.captured_at, seed=camera.seed,
        brightness=scene.styles[scene.home].light,
    )  # fmt: skip
    eye_m = float(np.random.default_rng(seed_of("lens", camera.seed)).uniform(2.0, 2.7))
    shapes = Shapes()
    add_houses(shapes, scene.buildings, scene.styles, light, _WORLD_SEED, eye_m)
    add_trees(shapes, scene.trees, scene.styles, light, _WORLD_SEED)
    add_furniture(shapes, scene, light, _WORLD_SEED)
    add_monuments(shapes, scene, light)
    add_vehicles(shapes, scene, light, camera.seed)
    charts = draw_charts(scene, light, eye_m, carrier(scene, camera.seed))

    def paint(width: int, columns: slice, rows: slice) -> Image:
        shape = (rows.stop - rows.start, columns.stop - columns.start, 3)
        frame = Frame(np.empty(shape, dtype=np.uint8), width, columns.start, rows.start)
        paint_sky(frame, light, camera.seed, turn)
        paint_hills(frame, light, scene.styles[scene.home], scene.skyline, turn)
        paint_ground(frame, charts, light, eye_m, turn)
        shapes.paint(frame, eye_m, turn, light.horizon * 0.94, light.haze_m)
        return frame.image

    whole = width if window is None else _METER_PX
    measured = paint(whole, slice(0, whole), slice(0, whole // 2))
    image = measured if window is None else paint(width, *window)
    table = np.ascontiguousarray(exposed(measured, light)[:, None, :])
    return np.asarray(cv2.LUT(image, table, dst=image), dtype=np.uint8)


def rotation_of(heading_deg: float, pitch_deg: float, roll_deg: float) -> Floats:
    """Turns directions of the camera (x right, y ahead, z up) into directions of the world (x east, y north, z up)."""
    heading, pitch, roll = np.radians([heading_deg, pitch_deg, roll_deg])
    about_up = np.array([[np.cos(heading), np.sin(heading), 0], [-np.sin(heading), np.cos(heading), 0], [0, 0, 1.0]])
    about_right = np.array([[1.0, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_axis = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1.0, 0], [-np.sin(roll), 0, np.cos(roll)]])
    turn: Floats = about_up @ about_right @ about_axis
    return turn

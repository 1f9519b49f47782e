"""Panoramas a second, by one process and by two, beside a plain per-pixel NumPy ray-caster of the same scenes.

The plain ray-caster is what a user would write in an afternoon: for every pixel a ray, for every wall and every piece of road a
test. It draws flat walls, road and sky only: no windows, roofs, rails, trees, poles, signs, shadows, clouds or vehicles.

Run: python benchmarks/render.py [--count 60] [--width 1024]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from datetime import timedelta

import numpy as np

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.render import Camera, draw_panorama
from geoloc_pipeline.demo.scenery import Scenery


def cameras(count):
    land = grow_land(seed=0)
    dice = np.random.default_rng(0)
    chosen = []
    for number in range(count):
        road = land.roads[int(dice.integers(len(land.roads)))]
        lon, lat = road.lonlat[len(road.lonlat) // 2]
        when = land.published_at - timedelta(days=float(dice.uniform(0, 365)))
        tilt = dice.normal(0.0, 1.2, 2)
        chosen.append(Camera(float(lat), float(lon), float(dice.uniform(0, 360)), when, number, *tilt.tolist()))
    return Scenery(land), chosen


def plain_panorama(scenery, camera, width):
    """Casts every ray against every wall and every piece of road."""
    scene = scenery.around(lat=camera.lat, lon=camera.lon)
    height = width // 2
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi + np.radians(camera.heading_deg)
    elevation = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    east, north = np.sin(azimuth)[None, :], np.cos(azimuth)[None, :]
    slope = np.tan(elevation)[:, None]
    image = np.empty((height, width, 3))
    image[:] = np.where(slope[..., None] > 0, [150.0, 190.0, 230.0], [130.0, 130.0, 110.0])
    ground = np.where(slope < 0, -2.4 / np.minimum(slope, -1e-6), np.inf)
    x, y = ground * east, ground * north
    for start, along, end, half in zip(
        scene.pieces.start_m, scene.pieces.along, scene.pieces.end_m, scene.pieces.half_m, strict=True
    ):
        with np.errstate(invalid="ignore"):
            foot = np.clip((x - start[0]) * along[0] + (y - start[1]) * along[1], 0, np.hypot(*(end - start)))
            on_road = np.hypot(x - start[0] - along[0] * foot, y - start[1] - along[1] * foot) < half
        image[on_road & (slope < 0)] = 100.0
    nearest = ground.copy()
    for corners, floors, key in zip(scene.buildings.corners_m(), scene.buildings.floors, scene.buildings.key, strict=True):
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            step = b - a
            with np.errstate(divide="ignore", invalid="ignore"):
                across = east * step[1] - north * step[0]
                far = (a[0] * step[1] - a[1] * step[0]) / across
                share = (a[0] * north - a[1] * east) / -across
            top = 2.4 + far * slope
            hit = (far > 0) & (share >= 0) & (share <= 1) & (top > 0) & (top < floors * 2.9) & (far < nearest)
            nearest = np.where(hit, far, nearest)
            image[hit] = 120 + key % 100
    return image.astype(np.uint8)


_STATE = {}


def prepare(width):
    _STATE["scenery"], _STATE["cameras"] = cameras(240)
    _STATE["width"] = width
    draw_panorama(_STATE["scenery"], _STATE["cameras"][0], width_px=width)


def draw_one(number):
    image = draw_panorama(_STATE["scenery"], _STATE["cameras"][number % 240], width_px=_STATE["width"])
    return int(image[0, 0, 0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=120, help="panoramas to draw with each number of processes")
    parser.add_argument("--width", type=int, default=1024)
    options = parser.parse_args()
    prepare(options.width)
    start = time.perf_counter()
    for number in range(options.count):
        draw_one(number)
    alone = options.count / (time.perf_counter() - start)
    print(f"one process:   {alone:7.1f} panoramas/s ({options.width}x{options.width // 2})")
    with multiprocessing.get_context("spawn").Pool(2, prepare, (options.width,)) as pool:
        pool.map(draw_one, range(8), chunksize=1)  # both are up and warm
        start = time.perf_counter()
        pool.map(draw_one, range(options.count), chunksize=4)
        both = options.count / (time.perf_counter() - start)
    print(f"two processes: {both:7.1f} panoramas/s")
    few = max(options.count // 40, 2)
    start = time.perf_counter()
    for number in range(few):
        plain_panorama(_STATE["scenery"], _STATE["cameras"][number], options.width)
    plain = few / (time.perf_counter() - start)
    print(f"plain NumPy ray-caster, one process: {plain:.3f} panoramas/s ({alone / plain:.0f} times slower, and bare)")


if __name__ == "__main__":
    main()

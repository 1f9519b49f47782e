"""Vehicles: what happens to stand in the way of one picture, and the car that carries the camera.

Belongs here: occluders that belong to the picture, not to the place. They stand on the ground: turning the camera does not
turn them.
Does not belong here: anything that the next picture of the same place would show again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.demo.chance import seed_of
from geoloc_pipeline.demo.shapes import discs, uprights

if TYPE_CHECKING:
    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.shapes import Shapes
    from geoloc_pipeline.demo.surroundings import Floats, Surroundings

_PAINTS = np.array(
    [
        [238, 238, 236],
        [34, 36, 40],
        [150, 154, 160],
        [170, 30, 34],
        [38, 66, 128],
        [206, 196, 168],
        [90, 96, 92],
        [236, 236, 232],
    ],
    dtype=np.float64,
)
# length, width, height, height of the bonnet, cab's share from the rear
_FORMS = ((4.3, 1.75, 1.5, 0.9, 0.72), (3.4, 1.48, 1.75, 1.0, 0.86), (4.8, 1.9, 2.1, 2.0, 1.0), (7.5, 2.3, 3.1, 2.9, 1.0))
_GLASS = np.array([46.0, 56.0, 66.0])


def road_below(scene: Surroundings) -> tuple[Floats, Floats, float]:
    """Finds the road that the camera drives on.

    Returns:
        The nearest point on it, its direction as a unit vector, and half its width in metres; north through the camera's foot
        where there is no road within 15 m.
    """
    pieces = scene.pieces
    if len(pieces.rank):
        foot = np.clip(-(pieces.start_m * pieces.along).sum(axis=1), 0.0, np.hypot(*(pieces.end_m - pieces.start_m).T))
        points = pieces.start_m + pieces.along * foot[:, None]
        row = int(np.hypot(*points.T).argmin())
        if np.hypot(*points[row]) < 15.0:
            return points[row], pieces.along[row], float(pieces.half_m[row])
    return np.zeros(2), np.array([0.0, 1.0]), 2.5


def carrier(scene: Surroundings, seed: int) -> Floats | None:
    """Gives direction and paint of the car below the lens; None where somebody walks with the camera."""
    dice = np.random.default_rng(seed_of("carrier", seed))
    if dice.random() < 0.4:
        return None
    _, along, _ = road_below(scene)
    return np.concatenate([along, _PAINTS[dice.integers(len(_PAINTS))] * 0.8])


def add_vehicles(shapes: Shapes, scene: Surroundings, light: Light, seed: int) -> None:
    """Puts a few vehicles on the camera's road, now and then a van right beside it.

    Args:
        shapes: Takes the polygons.
        scene: Roads.
        light: Sun.
        seed: The picture's own chance.
    """
    dice = np.random.default_rng(seed_of("vehicles", seed))
    foot, along, half = road_below(scene)
    across = np.array([along[1], -along[0]])
    for _ in range(int(dice.integers(0, 5))):
        ahead = float(dice.uniform(5.0, 45.0) * dice.choice([-1.0, 1.0]))
        left = float(dice.choice([-1.0, 1.0]))
        at = foot + along * ahead + across * (left * max(half * 0.5, 1.3))
        _add_vehicle(shapes, at, along * -left, int(dice.choice([0, 0, 1, 1, 2, 3])), _PAINTS[dice.integers(8)], light)
    if dice.random() < 0.16:
        at = across * float(dice.choice([-1.0, 1.0]) * dice.uniform(2.6, 3.6)) + along * float(dice.uniform(-2.0, 2.0))
        _add_vehicle(shapes, at, along, 2 + int(dice.random() < 0.3), _PAINTS[dice.integers(8)], light)


def _add_vehicle(shapes: Shapes, at: Floats, along: Floats, form: int, paint: Floats, light: Light) -> None:
    """Adds a body, a cabin with dark windows, wheels and lamps."""
    length, width, height, bonnet, cab = _FORMS[form]
    if np.hypot(*at) < 1.0 + width / 2:
        return
    rear, front = -length / 2, length / 2
    _add_box(shapes, at, along, (rear, front, 0.3, bonnet, width), paint, light, 0.0)
    end = rear + length * cab
    if bonnet < height - 0.2:
        _add_box(shapes, at, along, (rear + 0.15, end, bonnet, height, width - 0.15), _GLASS, light, 0.05)
        _add_box(shapes, at, along, (rear + 0.2, end - 0.3, height - 0.12, height, width - 0.14), paint, light, 0.08)
    else:
        _add_box(
            shapes, at, along, (end - length * 0.3, end + 0.02, height * 0.55, height * 0.85, width + 0.03), _GLASS, light, 0.06
        )
    across = np.array([along[1], -along[0]])
    side = -np.sign(float(across @ at)) or 1.0
    for share in (-0.32, 0.32):
        hub = (at + along * (length * share) + across * (side * (width / 2 + 0.02)))[None]
        shapes.add(discs(hub, along[None], 0.33, 0.33, 0.33), np.array([30.0, 30.0, 32.0]), nearer_m=0.3)


def _add_box(
    shapes: Shapes, at: Floats, along: Floats, box: tuple[float, float, float, float, float], paint: Floats, light: Light,
    nearer_m: float,
) -> None:  # fmt: skip
    """Adds the sides and the top of a box that the camera can see."""
    rear, front, low, high, width = box
    across = np.array([along[1], -along[0]]) * (width / 2)
    ring = np.stack(
        [at + along * rear - across, at + along * front - across, at + along * front + across, at + along * rear + across]
    )
    end = np.roll(ring, -1, axis=0)
    step = end - ring
    normal = np.column_stack([-step[:, 1], step[:, 0]]) / np.maximum(np.hypot(*step.T), 1e-6)[:, None]
    middle = (ring + end) / 2
    normal *= np.sign((normal * (middle - at)).sum(axis=1))[:, None]
    shown = (normal * middle).sum(axis=1) < 0
    lit = light.on(np.column_stack([normal, np.zeros(4)]))
    cuts = np.arange(4)[:, None, None] / 3  # long sides bend in a panorama
    places = ring[shown] + step[shown] * cuts
    a, b = places[:-1].reshape(-1, 2), places[1:].reshape(-1, 2)
    shapes.add(uprights(a, b, low, high), np.tile((paint * lit)[shown], (3, 1)), nearer_m=nearer_m)
    if high < 2.2:
        top = np.column_stack([ring, np.full(4, high)])[None]
        bright = light.on(np.array([[0.0, 0.0, 1.0]]))[0]
        shapes.add(top, np.clip(paint * bright, 0, 255), nearer_m=nearer_m - 0.2)

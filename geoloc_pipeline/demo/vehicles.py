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

    # middle, direction; rear, front, low, high, width; paint; how much earlier than its distance it hides others
    _Box = tuple[Floats, Floats, tuple[float, float, float, float, float], Floats, float]

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
    boxes: list[_Box] = []
    for _ in range(int(dice.integers(0, 5))):
        ahead = float(dice.uniform(5.0, 45.0) * dice.choice([-1.0, 1.0]))
        left = float(dice.choice([-1.0, 1.0]))
        at = foot + along * ahead + across * (left * max(half * 0.5, 1.3))
        form = int(dice.choice([0, 0, 1, 1, 2, 3]))
        boxes += _vehicle(shapes, at, along * -left, form, _PAINTS[dice.integers(8)])
    if dice.random() < 0.16:
        at = across * float(dice.choice([-1.0, 1.0]) * dice.uniform(2.6, 3.6)) + along * float(dice.uniform(-2.0, 2.0))
        boxes += _vehicle(shapes, at, along, 2 + int(dice.random() < 0.3), _PAINTS[dice.integers(8)])
    if boxes:
        _add_boxes(shapes, boxes, light)


def _vehicle(shapes: Shapes, at: Floats, along: Floats, form: int, paint: Floats) -> list[_Box]:
    """Adds the wheels; gives a body and a cabin with dark windows."""
    length, width, height, bonnet, cab = _FORMS[form]
    across = np.array([along[1], -along[0]])
    side = -np.sign(float(across @ at)) or 1.0
    reach = np.array([[-0.32], [0.32]]) * length
    hubs = at + along * reach + across * (side * (width / 2 + 0.02))
    shapes.add(discs(hubs, np.stack([along, along]), 0.33, 0.33, 0.33), np.array([30.0, 30.0, 32.0]), nearer_m=0.3)
    rear, front = -length / 2, length / 2
    end = rear + length * cab
    boxes = [(at, along, (rear, front, 0.3, bonnet, width), paint, 0.0)]
    if bonnet < height - 0.2:
        boxes.append((at, along, (rear + 0.15, end, bonnet, height, width - 0.15), _GLASS, 0.05))
        boxes.append((at, along, (rear + 0.2, end - 0.3, height - 0.12, height, width - 0.14), paint, 0.08))
    else:
        pane = (end - length * 0.3, end + 0.02, height * 0.55, height * 0.85, width + 0.03)
        boxes.append((at, along, pane, _GLASS, 0.06))
    return boxes


def _add_boxes(shapes: Shapes, boxes: list[_Box], light: Light) -> None:
    """Adds the sides and the tops that the camera can see."""
    at, along, paint = (np.array([box[part] for box in boxes]) for part in (0, 1, 3))
    rear, front, low, high, width = np.array([box[2] for box in boxes]).T
    nearer = np.array([box[4] for box in boxes])
    across = np.column_stack([along[:, 1], -along[:, 0]])
    back, ahead, aside = along * rear[:, None], along * front[:, None], across * (width / 2)[:, None]
    ring = at[:, None] + np.stack([back - aside, ahead - aside, ahead + aside, back + aside], axis=1)
    end = np.roll(ring, -1, axis=1)
    outward = np.stack([-across, along, across, -along], axis=1)
    box, side = np.nonzero((outward * (ring + end)).sum(axis=2) < 0)
    normal = np.column_stack([outward[box, side], np.zeros(len(box))])
    tone = np.tile(paint[box] * light.on(normal), (3, 1))
    cuts = np.arange(4)[:, None, None] / 3  # long sides bend in a panorama
    places = ring[box, side] + (end - ring)[box, side] * cuts
    a, b, box = places[:-1].reshape(-1, 2), places[1:].reshape(-1, 2), np.tile(box, 3)
    far = np.hypot(*((a + b) / 2).T) - nearer[box]
    shapes.add(uprights(a, b, low[box], high[box]), tone, far_m=far)
    open_top = high < 2.2
    tops = np.concatenate([ring, np.broadcast_to(high[:, None, None], (len(high), 4, 1))], axis=2)[open_top]
    bright = light.on(np.array([[0.0, 0.0, 1.0]]))[0]
    far = np.hypot(*ring.mean(axis=1).T) - nearer + 0.2
    shapes.add(tops, np.clip(paint[open_top] * bright, 0, 255), far_m=far[open_top])

"""What the two profiles set differently: `japan` (the real thing) and `demo` (a small world, two cores).

Belongs here: one value a line, with its reason. What is not here has the same value in both and stands in its room.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Profile = Literal["japan", "demo"]


@dataclass(frozen=True)
class Settings:
    """Settings of a profile.

    Attributes:
        memory_limit_bytes: Cap for the extraction of a prefecture (QuackOSM would take 8 GB for a region otherwise).
        in_flight: Pictures in flight at once, per prefecture.
        source_px: Width in which panoramas are asked for.
        place_m: Pictures closer than this belong to one place and go to one side of the split.
        min_images: Training pictures that make a class (paper §3.2, table 2: 10 for towns).
        side_px: Side of a training view; views are never enlarged.
        preset: Training preset.
        processes: Training processes (one per GPU; in the demo one per core).
        top_k: Neighbours of a query (paper §3.3: 100).
    """

    memory_limit_bytes: int
    in_flight: int
    source_px: int
    place_m: float
    min_images: int
    side_px: int
    preset: str
    processes: int
    top_k: int
    training_overrides: dict[str, Any] = field(default_factory=dict)


SETTINGS: dict[Profile, Settings] = {
    "japan": Settings(
        memory_limit_bytes=6_000_000_000,
        in_flight=128,  # 500 pictures a second at 200 ms of latency; each takes the memory of its encoded bytes
        source_px=2048,  # a view of 512 px: room for training's 448 px crops
        place_m=100.0,  # sample points are about 350 m apart: a wider place would join whole cities into one group
        min_images=10,
        side_px=448,
        preset="best",
        processes=1,
        top_k=100,
    ),
    "demo": Settings(
        memory_limit_bytes=1_000_000_000,
        in_flight=4,  # pictures are drawn in this very process: more would only wait for each other
        source_px=1024,
        place_m=100.0,
        min_images=5,  # a town block has about 14 pictures
        side_px=448,
        preset="demo",
        processes=2,
        top_k=100,
    ),
}

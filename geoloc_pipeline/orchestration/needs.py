"""What a run needs of the machine that it runs on, so that a cluster can find a place for it; a single machine never asks.

https://docs.ray.io/en/latest/ray-core/scheduling/resources.html
Ray reserves what a run says it needs and measures nothing: memory here is for the scheduler, the caps that hold are in the
steps (`settings.memory_limit_bytes`). How many runs may use a service or the GPU at once is no matter of machines: pools keep
that.

Belongs here: the needs of each asset, and of several together.
Does not belong here: how a run gets to a machine (`running.ray_launcher`), how much each machine has (`deploy/ray`).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RAY_TAG = "dagster-ray/config"
"""The tag in which dagster-ray looks for the needs of a run."""
NETWORK = "network"
"""A resource that the nodes of a cluster declare, one a node: collections then spread over nodes and their addresses."""
GIB = 1 << 30


@dataclass(frozen=True)
class Needs:
    """What a run needs.

    Attributes:
        memory_bytes: Memory, for the scheduler.
        cpus: Cores.
        gpus: GPUs.
        network: Whether it speaks to a service for long.
    """

    memory_bytes: int = 2 * GIB
    cpus: int = 1
    gpus: int = 0
    network: bool = False

    def with_those_of(self, other: "Needs") -> "Needs":
        """Return what both need when one follows the other: the larger of each."""
        return Needs(
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
            cpus=max(self.cpus, other.cpus),
            gpus=max(self.gpus, other.gpus),
            network=self.network or other.network,
        )


NEEDS = {
    "osm_dump": Needs(network=True),
    "osm_roads": Needs(memory_bytes=8 * GIB),  # QuackOSM's cap of 6 GB, and the process around it
    "osm_landmarks": Needs(memory_bytes=8 * GIB),
    "street_view_images": Needs(memory_bytes=4 * GIB, network=True),  # 128 pictures in flight
    "photo_collections": Needs(memory_bytes=4 * GIB),
    "labelled_images": Needs(memory_bytes=4 * GIB),
    "geolocation_model": Needs(memory_bytes=16 * GIB, gpus=1),
    "image_embeddings": Needs(memory_bytes=8 * GIB, gpus=1),
    "qdrant_collection": Needs(memory_bytes=8 * GIB),
    "evaluation_report": Needs(memory_bytes=8 * GIB),
}
"""By asset key; an asset that is not here needs no more than `Needs()`."""


def needs_of(assets: Iterable[str]) -> Needs:
    """Return what a run of some assets needs; its steps go one after the other in one process.

    Args:
        assets: Asset keys.
    """
    needs = Needs()
    for asset in assets:
        needs = needs.with_those_of(NEEDS.get(asset, Needs()))
    return needs


def ray_tags(assets: Iterable[str]) -> dict[str, str]:
    """Return the tags by which dagster-ray's launcher knows what a run of some assets needs; nobody else reads them.

    Args:
        assets: Asset keys.
    """
    needs = needs_of(assets)
    told: dict[str, Any] = {"num_cpus": needs.cpus, "memory": needs.memory_bytes}
    if needs.gpus:
        told["num_gpus"] = needs.gpus
    if needs.network:
        told["resources"] = {NETWORK: 1}
    return {RAY_TAG: json.dumps(told, sort_keys=True)}

"""A small home of the demo's world, kept as it stood before each asset was made, and what a finished asset left there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.orchestration.running.chain import PREFECTURE_ASSETS, Run
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import file_hash, read_receipt

OTHER, DISTURBED = "13", "47"
"""The prefecture that is there already, and the one whose steps are disturbed."""
KEY = BY_CODE[DISTURBED].key
REGION = BY_CODE[DISTURBED].region
TIMED = ("reports/",)
"""Pages tell how long answers took: what they say beside it stands in `estimates`, which is compared."""

TARGETS = (
    Run(("geofabrik_extracts",)),
    Run(("osm_dump",), REGION),
    Run(("photo_collections",), "local"),
    Run(("census_towns",), KEY),
    Run(("osm_roads", "osm_landmarks"), KEY),
    *(Run((asset,), KEY) for asset in PREFECTURE_ASSETS[3:]),
    Run(("label_vocabulary",)),
    Run(("geolocation_model",)),
    Run(("image_embeddings",), KEY),
    Run(("qdrant_collection",)),
    Run(("evaluation_report",)),
)
"""Every asset once, in the order of the chain."""


def warm_up(home: Home) -> None:
    """Import what runs need and grow the home's land, so that processes that are forked have both."""
    import geopandas  # noqa: F401
    import osmium  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401

    from geoloc_pipeline.orchestration.running import worker  # noqa: F401
    from geoloc_pipeline.orchestration.world import ensure_world

    ensure_world(home)


def name_of(run: Run) -> str:
    """Return what a run is called in a table."""
    return " + ".join(run.assets)


@dataclass(frozen=True)
class Album:
    """Copies of a home: as it stood before each target, and what the undisturbed target left.

    Attributes:
        folder: Where they are.
        left: By target: what `left_by` told of it.
        made_from: By target: names of the artefacts that went in.
    """

    folder: Path
    left: dict[Run, dict[str, str]]
    made_from: dict[Run, list[str]]

    def before(self, run: Run) -> Path:
        """Return the copy of the home as it stood before a target."""
        return self.folder / "-".join(run.assets)


def grow_album(
    home: Home, folder: Path, *, density: float, do: Callable[[Run], None], look: Callable[[Callable[[], Any]], Any]
) -> Album:
    """Grow the home step by step, undisturbed, and copy it before each target.

    Args:
        home: Where; empty.
        folder: Takes the copies.
        density: Of the world.
        do: Runs one run in `home` to its end.
        look: Calls a function and returns what it returns.

    Returns:
        The copies.
    """
    choose_world(home, World(prefecture_codes=(OTHER, DISTURBED), density=density))
    warm_up(home)
    album = Album(folder, {}, {})
    for run, is_target in _in_order():
        if is_target:
            shutil.copytree(home.root, album.before(run), symlinks=True)
        do(run)
        if is_target:
            album.left[run] = look(lambda run=run: left_by(home, run))
            receipts = [read_receipt(home.receipt(asset, part)) for asset in run.assets for part in run.partitions]
            names = [name for receipt in receipts if receipt for name in receipt.inputs if "/" in name]
            album.made_from[run] = list(dict.fromkeys(names))
    return album


def _in_order() -> Iterator[tuple[Run, bool]]:
    """Yield every run of the chain, and whether it is a target: the other prefecture goes ahead."""
    other = BY_CODE[OTHER]
    ahead = {
        "census_towns": [
            Run(("osm_dump",), other.region),
            *(Run(("photo_collections",), name) for name in PHOTO_SETS if name != "local"),
            Run(PREFECTURE_ASSETS, other.key),
        ],
        "image_embeddings": [Run(("image_embeddings",), other.key)],
    }
    for run in TARGETS:
        for first in ahead.get(run.assets[0], []):
            yield first, False
        yield run, True


def left_by(home: Home, run: Run) -> dict[str, str]:
    """Return what stands of a run's artefacts: hashes by file, and by receipt of what went in and what came out.

    Args:
        home: Where it ran.
        run: The run.

    Returns:
        Text by name; two homes are the same where it is equal. A gallery is told by its points, not by the engine's files.
    """
    told: dict[str, str] = {}
    for asset in run.assets:
        for part in run.partitions:
            receipt = read_receipt(home.receipt(asset, part))
            if receipt is None:
                told[f"{asset}/{part}"] = "not there"
                continue
            told[f"{asset}/{part}"] = receipt.fingerprint
            if asset == "qdrant_collection":
                told |= _points(home)
            for name in receipt.files:
                if not name.startswith(TIMED):
                    told[name] = file_hash(home.root / name) if (home.root / name).is_file() else "not there"
    left = [path for path in home.root.rglob("*.partial") if "dagster" not in path.parts]
    return told | {str(path.relative_to(home.root)): "left half written" for path in left}


def _points(home: Home) -> dict[str, str]:
    """Return how many points the live gallery has, and what they find of each other."""
    import numpy as np
    import pandas as pd

    from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, open_gallery

    vectors = np.stack(pd.read_parquet(home.table("image_embeddings", KEY))["embedding"].to_list()[:20])
    with open_gallery(GalleryLocation(folder=home.qdrant())) as gallery:
        found = gallery.search(vectors, top_k=10, exact=True)
        told = [found.image_id.tolist(), found.score.round(5).tolist()]
        return {"points": str(gallery.count()), "neighbours": hashlib.sha256(repr(told).encode()).hexdigest()}

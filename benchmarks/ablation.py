"""What each departure from the paper brings: one small network under the paper's rules, and with one switch turned at a time.

python -m benchmarks.ablation [--home data/demo] [--seeds 0 1 2] [--passes 6] [--only paper best] [--jobs 2]
Learns from the demo world's street views: what two cores can do in a minute or two stands for the paper's days on two GPUs
(`SCALE`: a small network, small pictures, a larger rate, fewer pictures a step); every rule of the paper that is no matter of
size stays as in the `paper` preset. Each run sees equally many pictures. Judged on the validation and test pictures, by whole
pictures, in a gallery of training pictures alone; temperature and bandwidth of one half are chosen on the other half. Finished
runs are kept and not made again while settings and data stay the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measure import table

PASSES = 6  # epochs with one view of each picture
RATE = 20  # a small network learns from scratch what the paper's only adapts
WARM_UP = 50  # steps: the runs are short
SCALE: dict[str, Any] = {
    "backbone": "test_resnet", "backbone_weights": "none", "input_px": 64, "view_px": 96, "location_width": 32,
    "queue_length": 256, "learning_rate": 1e-4 * RATE, "beta2": 0.98, "global_batch": 64,
    "patience_epochs": 0, "validation_views": "all", "precision": "fp32", "compile_backbone": False, "workers": 0,
    "checkpoint_steps": 0,
}  # fmt: skip
SWITCHES: dict[str, dict[str, Any]] = {
    "crops of at least a quarter": {"crop_scale": [0.25, 1.0]},
    "reflection fills the corners": {"fill": "reflect"},
    "no AugMix": {"augmix": 0},
    "AugMix chains of three": {"augmix_depth": 3},
    "AugMix without the original": {"augmix_blend": False},
    "3 hidden layers (GeoCLIP's code)": {"location_hidden_layers": 3},
    "sigmas up to 4096": {"location_sigmas": [1, 4, 16, 64, 256, 1024, 4096]},
    "no contrast": {"contrastive": False},
    "contrast in both directions": {"contrastive_symmetric": True},
    "places within 1 km no negatives": {"same_place_km": 1.0},
    "no class weights": {"class_weighting": "none"},
    "logit adjustment instead": {"class_weighting": "none", "logit_adjust_tau": 1.0},
    "hierarchy": {"hierarchy_weight": 1.0},
    "targets smoothed over 10 km": {"smoothing_km": 10.0},
    "all views in an epoch": {"views_per_epoch": "all"},
    "two views together": {"views_together": 2, "same_place_km": 0.001},
    "cosine with warm-up": {"schedule": "cosine", "warmup_steps": WARM_UP},
}


def variants(passes: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return preset and overrides of every row of the table; in each, every picture is seen `passes` times."""
    from geoloc_pipeline.training.config import PRESETS, make_config

    best = PRESETS["best"]
    differs = {name: ours for name, (_, ours) in make_config("best").departures().items() if name not in SCALE}
    differs |= {"learning_rate": best.learning_rate * RATE, "warmup_steps": WARM_UP if best.warmup_steps else 0}
    rows = {"paper": {}, **SWITCHES, "best": differs}
    return {
        name: ("paper", SCALE | turned | {"max_epochs": passes // _views_in_an_epoch(turned)}) for name, turned in rows.items()
    }


def _views_in_an_epoch(turned: dict[str, Any]) -> int:
    return 4 if turned.get("views_per_epoch") == "all" else int(turned.get("views_together", 1))


def shrink(home: Path, folder: Path) -> None:
    """Write every view once more in the size that is learned from: otherwise each run would decode them all again."""
    import cv2

    from geoloc_pipeline.model.preprocess import decode_view, resize_square
    from geoloc_pipeline.storage.layout import Home
    from geoloc_pipeline.storage.parquet import read_table, write_table
    from geoloc_pipeline.storage.shards import read_member, write_shard
    from geoloc_pipeline.tables import TRAINING_SHARDS

    side_px = int(SCALE["view_px"])
    source = Home.at(home)
    for path in source.tables("training_shards"):
        rows = read_table(TRAINING_SHARDS, path)
        rows = rows[rows["width_px"] == rows["height_px"]].reset_index(drop=True)
        members = []
        for row in rows.itertuples():
            data = read_member(
                source.images("training_shards", path.stem), shard=row.shard, offset=row.offset, size_bytes=row.size_bytes
            )
            pixels = resize_square(decode_view(data, name=str(row.image_id)), side_px)
            members.append((f"{len(members)}.png", cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()))
        (folder / path.stem).mkdir(parents=True, exist_ok=True)
        written = write_shard(folder / path.stem / "000.tar", members)
        for name in ("shard", "offset", "size_bytes"):
            rows[name] = [getattr(member, name) for member in written]
        rows["width_px"] = rows["height_px"] = np.int32(side_px)
        write_table(TRAINING_SHARDS, rows, folder / f"{path.stem}.parquet")


def learn_and_judge(task: tuple[str, str, dict[str, Any], int, str, str]) -> dict[str, Any]:
    """Return the figures of one run."""
    name, preset, overrides, seed, home, kept = task
    import torch

    from geoloc_pipeline.storage.layout import Home
    from geoloc_pipeline.storage.receipts import fingerprint_of
    from geoloc_pipeline.training.checkpoint import BEST
    from geoloc_pipeline.training.config import make_config
    from geoloc_pipeline.training.loop import train
    from geoloc_pipeline.training.ranks import Ranks
    from geoloc_pipeline.training.report import Reporter
    from geoloc_pipeline.training.run import ShardTable, TrainingRun

    torch.set_num_threads(1)
    config = make_config(preset, {**overrides, "seed": seed})
    output = Path(kept) / fingerprint_of(config.as_dict())[:16]
    result = output / "figures.json"
    if result.is_file():
        return {"name": name, **json.loads(result.read_text())}
    small = Path(kept) / "views"
    parts = tuple(ShardTable(path, small / path.stem) for path in sorted(small.glob("*.parquet")))
    run = TrainingRun(config=config, vocabulary=Home.at(home).table("label_vocabulary"), shards=parts, output=output)
    alone = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))
    position = train(run, alone, Reporter(speaks=False))
    figures = {"seed": seed, **judge(output / BEST, parts), "best_epoch": position.best_epoch + 1}
    figures |= {f"val_{task}": round(share, 4) for task, share in position.history[position.best_epoch]["val_accuracy"].items()}
    result.write_text(json.dumps(figures))
    return {"name": name, **figures}


def judge(checkpoint: Path, parts: tuple[Any, ...]) -> dict[str, float]:
    """Return median error and shares within some distances, of pictures that were not learned from."""
    import pandas as pd

    from geoloc_pipeline.retrieval.embedding.embed import embed_shards
    from geoloc_pipeline.retrieval.embedding.queries import whole_pictures
    from geoloc_pipeline.retrieval.reading.choice import choose_settings
    from geoloc_pipeline.retrieval.trials.estimates import estimate_table
    from geoloc_pipeline.retrieval.trials.trial import MatrixGallery
    from geoloc_pipeline.storage.parquet import read_table
    from geoloc_pipeline.tables import TRAINING_SHARDS

    tables = [read_table(TRAINING_SHARDS, part.table) for part in parts]
    split_of = pd.concat(tables).drop_duplicates("image_id").set_index("image_id")["split"]
    embedded = [
        embed_shards(checkpoint, rows, part.folder, splits=("train", "val", "test"))
        for rows, part in zip(tables, parts, strict=True)
    ]
    embeddings = pd.concat(embedded, ignore_index=True)
    splits = embeddings["image_id"].map(split_of)
    gallery = MatrixGallery(embeddings[splits == "train"])
    halves = [whole_pictures(embeddings[splits == split]) for split in ("val", "test")]
    seen = [gallery.search(half.vectors, top_k=100) for half in halves]
    chosen = [choose_settings(found, true_lat=half.lat, true_lon=half.lon) for found, half in zip(seen, halves, strict=True)]
    errors: dict[str, list[float]] = {}
    for found, half, settings in zip(seen, halves, chosen[::-1], strict=True):
        estimates = estimate_table(found, query_id=half.image_id, true_lat=half.lat, true_lon=half.lon, settings=settings)
        for readout, rows in estimates.groupby("readout"):
            errors.setdefault(str(readout), []).extend(rows["error_km"])
    figures = {"pictures": float(len(errors["mode"]))}
    for readout, values in errors.items():
        figures[f"{readout}_median_km"] = float(np.median(values))
        for km in (1, 25):
            figures[f"{readout}_within_{km}_km"] = float(np.mean(np.array(values) <= km))
    return figures


def row_of(name: str, runs: list[dict[str, Any]]) -> list[str]:
    """Return one row: mean and spread over the seeds."""

    def told(key: str, scale: float, digits: int) -> str:
        values = [run[key] * scale for run in runs]
        return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.{digits}f}"

    return [
        name, told("mode_median_km", 1, 1), told("mode_within_1_km", 100, 2), told("nearest_within_1_km", 100, 2),
        told("mode_within_25_km", 100, 1), told("centroid_median_km", 1, 0), told("centroid_within_1_km", 100, 2),
        told("val_municipality", 100, 1), told("val_town", 100, 1),
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("data/demo"))
    parser.add_argument("--kept", type=Path, default=Path("data/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=None, help="rows of the table; all of them if absent")
    parser.add_argument("--passes", type=int, default=PASSES, help="views that are learned for each picture")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if not (asked.home / "tables" / "training_shards").is_dir():
        subprocess.run([sys.executable, "-m", "geoloc_pipeline.cli", "demo", "--home", str(asked.home)], check=True)
    if not (asked.kept / "views").is_dir():
        shrink(asked.home, asked.kept / "views.partial")
        (asked.kept / "views.partial").rename(asked.kept / "views")
    rows = {name: told for name, told in variants(asked.passes).items() if asked.only is None or name in asked.only}
    tasks = [
        (name, preset, overrides, seed, str(asked.home), str(asked.kept))
        for seed in asked.seeds
        for name, (preset, overrides) in rows.items()
    ]
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in rows}
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(asked.jobs, maxtasksperchild=1) as pool:
        for figures in pool.imap(learn_and_judge, tasks):
            done[figures["name"]].append(figures)
            print(*row_of(figures["name"], [figures]), f"seed {figures['seed']}", sep=" | ", file=sys.stderr, flush=True)
    columns = [
        "rule", "median km", "% within 1 km", "% (nearest)", "% within 25 km", "centroid, km", "its % within 1 km",
        "municipality, %", "town, %",
    ]  # fmt: skip
    print(table(columns, [row_of(name, runs) for name, runs in done.items()]))


if __name__ == "__main__":
    main()

"""Embedding: images a second, what share of the machine that is, and where the rest goes.

python -m benchmarks.embed_throughput [--backbone NAME] [--input-px 224] [--batch 256] [--seconds 20]
On a GPU the paper's ViT-L/14 at 224 px with fresh weights, elsewhere timm's `test_vit` at 64 px; speed does not depend on
weights. A ViT-L/14 forward is 162.0 GFLOP an image (two for a multiplication with its addition); any model's are counted, with
attention as plain matrix products. To be reached on an H200: 2,700 images/s.
`on the device`: uint8 squares that lie on the device already, through `Embedder.embed_batches`: normalised, embedded, fetched.
`whole job`: 448-px WebP views (quality 90; photographs where there are any, else blurred noise) in a training shard, through
`embed_partition`: read, hashed, decoded, shrunk, embedded, kept in chunks; all that read are timed over the middle half of the
views, after start and compilation and before the queues run empty.
`decoding alone`: the same without the model. `timm + DataLoader`: the same views by Pillow in as many processes as there are
cores, the timm model without the linear layer behind it, not compiled: what one would write first.
`of peak` is of the maker's dense bf16 figure, where the device is known; `of matmul` of what one large matrix product reaches
here, in the type that the model computes in.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._measure import table
from geoloc_pipeline.model.backbone import PAPER_BACKBONE
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT, load_geolocator
from geoloc_pipeline.model.vocabulary import CODE_COLUMNS, TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.embedding.embed import embed_partition
from geoloc_pipeline.retrieval.embedding.embedder import COMPILE_FROM, Embedder
from geoloc_pipeline.retrieval.embedding.views import ShardViews, ViewBatch
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.storage.shards import read_member, write_shard
from geoloc_pipeline.tables import TASKS, TRAINING_SHARDS, as_table

SIDE_PX, PICTURES = 448, 256
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}
CORES = len(os.sched_getaffinity(0))


def save_fresh(path, backbone, input_px):
    config = GeolocatorConfig(backbone=backbone, input_px=input_px, class_counts={})
    torch.manual_seed(0)
    model = Geolocator(config)
    vocabulary = Vocabulary(tasks={task: TaskClasses() for task in TASKS}).as_dict()
    contents = {"format": FORMAT, "model": model.state_dict(), "model_config": config.as_dict(), "vocabulary": vocabulary}
    torch.save(contents, path)


def gflop_an_image(model, input_px):
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model.embed(torch.zeros(1, 3, input_px, input_px))
    return counter.get_total_flops() / 1e9


def matmul_tflops(device, dtype):
    """What one large matrix product reaches: the most that any model could."""
    size = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(20):
        _wait(device)
        began = time.perf_counter()
        for _ in range(10 if device == "cuda" else 1):
            left @ right
        _wait(device)
        rates.append((10 if device == "cuda" else 1) * 2 * size**3 / (time.perf_counter() - began) / 1e12)
    return float(np.median(rates))


def _wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def on_the_device(embedder, batch, seconds, device):
    """Images a second of squares that need no reading, and where the device's time goes."""
    px = embedder.preprocessing.input_px
    pixels = torch.randint(0, 256, (batch, px, px, 3), dtype=torch.uint8, device=device)
    one = ViewBatch(rows=slice(0, batch), pixels=pixels, counts=np.ones(batch, dtype=np.int64), made_from=[])
    for _ in embedder.embed_batches([one] * 3):
        pass
    began, done = time.perf_counter(), 0
    for _ in embedder.embed_batches(cycle([one])):
        done += 1
        if time.perf_counter() - began > seconds:
            break
    rate = done * batch / (time.perf_counter() - began)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as told:
        for _ in embedder.embed_batches([one] * 4):
            pass
    return rate, shares(told, device)


def shares(told, device):
    """The eight kernels (on a CPU: operators) that take longest, with their share."""
    attribute = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    events = [event for event in told.key_averages() if device == "cpu" or "CUDA" in str(event.device_type)]
    times = sorted(((getattr(event, attribute), event.key, event.count) for event in events), reverse=True)
    total = sum(took for took, *_ in times) or 1.0
    return [[name[:90], count // 4, f"{100 * took / total:.1f}"] for took, name, count in times[:8]]


def pictures(folder):
    """Squares of photographs, or of blurred noise where there are none."""
    if not folder.is_dir():
        rng = np.random.default_rng(0)
        for _ in range(64):
            rough = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
            yield cv2.addWeighted(cv2.GaussianBlur(rough, (0, 0), 2), 0.9, rough, 0.1, 0)
        return
    for path in sorted(folder.glob("*.jpg")):
        photo = np.asarray(Image.open(path).convert("RGB"))
        for top in range(0, photo.shape[0] - SIDE_PX + 1, SIDE_PX):
            for left in range(0, photo.shape[1] - SIDE_PX + 1, SIDE_PX):
                yield np.ascontiguousarray(photo[top : top + SIDE_PX, left : left + SIDE_PX])


def write_views(photos, folder):
    """One shard of different views."""
    members = []
    for number, square in enumerate(islice(pictures(photos), PICTURES)):
        stream = io.BytesIO()
        Image.fromarray(square).save(stream, "webp", quality=90, method=1)
        members.append((f"{number}.webp", stream.getvalue()))
    return write_shard(folder / "00000.tar", members)


def rows_of(members, count):
    """`training_shards` of `count` views: the members over and over, as pictures of four views."""
    chosen = list(islice(cycle(members), count))
    columns = {
        "image_id": [f"{n // 4:08}" for n in range(count)], "view": ["ENSW"[n % 4] for n in range(count)],
        "split": ["train"] * count, "lat": [35.0] * count, "lon": [139.0] * count,
        **{name: [None] * count for name in CODE_COLUMNS.values()},
        "shard": [member.shard for member in chosen], "offset": [member.offset for member in chosen],
        "size_bytes": [member.size_bytes for member in chosen], "width_px": [SIDE_PX] * count, "height_px": [SIDE_PX] * count,
    }  # fmt: skip
    return as_table(TRAINING_SHARDS, columns)


class Watch(Progress):
    """A progress that notes when how many views were done."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def advance(self, count=1):
        """Count, and look at the clock."""
        super().advance(count)
        self.seen.append((time.perf_counter(), self.done))

    def per_second(self):
        """Views a second over the middle half of the batches."""
        (began, first), (ended, last) = self.seen[len(self.seen) // 4], self.seen[3 * len(self.seen) // 4]
        return (last - first) / (ended - began)


def decoding_alone(rows, folder, preprocessing, batch):
    watch, views = Watch(), ShardViews(rows, folder, maker="")
    for each in views.batches(preprocessing, chosen=np.arange(len(rows)), squares=batch):
        watch.advance(len(each.counts))
    return watch.per_second()


class Plain(Dataset):
    """Views as one would read them first: Pillow, and floats from the start."""

    def __init__(self, rows: pd.DataFrame, folder: Path, side_px: int) -> None:
        self.members = list(zip(rows["shard"], rows["offset"], rows["size_bytes"], strict=True))
        self.folder, self.side_px = folder, side_px

    def __len__(self):
        return len(self.members)

    def __getitem__(self, number):
        shard, offset, size_bytes = self.members[number]
        data = read_member(self.folder, shard=shard, offset=offset, size_bytes=size_bytes)
        view = Image.open(io.BytesIO(data)).convert("RGB").resize((self.side_px, self.side_px), Image.Resampling.BICUBIC)
        return (torch.from_numpy(np.asarray(view).copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5


def first_try(rows, folder, backbone, input_px, batch, device, *, bf16):
    options = {"img_size": input_px} if "vit" in backbone else {}
    model = timm.create_model(backbone, num_classes=0, **options).eval().to(device)
    watch = Watch()
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
        for pixels in DataLoader(
            Plain(rows, folder, input_px), batch_size=batch, num_workers=CORES, pin_memory=device == "cuda"
        ):
            model(pixels.to(device)).float().cpu()
            watch.advance(len(pixels))
    return watch.per_second()


def main():
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=PAPER_BACKBONE if on_gpu else "test_vit", help="timm's name")
    parser.add_argument("--input-px", type=int, default=224 if on_gpu else 64, help="side of the square that it sees")
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 64)
    parser.add_argument("--seconds", type=float, default=20.0 if on_gpu else 5.0, help="how long each way is measured, about")
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos/lund"), help="a folder of JPEG photographs")
    options = parser.parse_args()
    device = "cuda" if on_gpu else "cpu"
    name = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} of {CORES} cores"
    with tempfile.TemporaryDirectory() as place:
        report(options, device, name, Path(place))


def report(options, device, name, folder):
    batch, px, seconds = options.batch, options.input_px, options.seconds
    checkpoint = folder / "best.pt"
    save_fresh(checkpoint, options.backbone, px)
    saved = load_geolocator(checkpoint)
    gflop = gflop_an_image(saved.model, px)
    embedder = Embedder(saved, batch=batch)
    matmul = matmul_tflops(device, torch.bfloat16 if device == "cuda" else torch.float32)
    peak = next((value for known, value in PEAK_TFLOPS.items() if known in name), None)

    def row(way, rate):
        tflops = rate * gflop / 1e3
        return [way, f"{rate:,.0f}", f"{tflops:.3g}", f"{tflops / peak:.1%}" if peak else "", f"{tflops / matmul:.1%}"]

    rows = []
    if device == "cuda":
        rows.append(row("on the device, not compiled", on_the_device(embedder, batch, seconds / 2, device)[0]))
        embedder.compile()
    rate, spent = on_the_device(embedder, batch, seconds, device)
    rows.append(row("on the device", rate))
    members = write_views(options.photos, folder)
    many = rows_of(members, max(COMPILE_FROM if device == "cuda" else 0, 12 * batch))
    rows.append(row("decoding alone", decoding_alone(many, folder, embedder.preprocessing, batch)))
    del embedder, saved
    watch = Watch()
    embed_partition(checkpoint, many, folder, scratch=folder / "scratch", batch=batch, progress=watch)
    rows.append(row("whole job", watch.per_second()))
    few = many.iloc[: (3 * CORES if device == "cuda" else 8) * batch]  # three batches of each process
    for bf16 in (False, True) if device == "cuda" else (False,):
        beside = first_try(few, folder, options.backbone, px, batch, device, bf16=bf16)
        rows.append(row(f"timm + DataLoader, {'bf16' if bf16 else 'fp32'}", beside))
    print(f"{options.backbone} at {px} px on {name}: {gflop:.3g} GFLOP an image; one matrix product: {matmul:.3g} TFLOP/s\n")
    print(table(["way", "images/s", "TFLOP/s", "of peak", "of matmul"], rows) + "\n")
    print(table(["on the device, where the time goes", "calls a batch", "%"], spent))


if __name__ == "__main__":
    main()

"""Training steps: pictures a second, share of what the device can do, where the time goes; beside a plain loop over timm.

python -m benchmarks.train_throughput [--backbone NAME] [--batch 256] [--steps 30] [--preset best] [--profile]
    [--classes small] [--photos ../shared/data/photos]
python -m benchmarks.train_throughput --find-batch
Grows a run with Japan's class counts on disk and learns with the trainer's own objects (fresh weights, full loss, full queue).
Without a GPU a small network and fewer classes stand in (`CPU_OVERRIDES`); only shares and ratios mean anything there.
`pictures on the device`: uint8 views that lie there already. `real shards`: 448-px WebP of quality 90, decoded ahead by one
thread a core; `decoding alone`: the same without a step. FLOPs are the backbone's, forward times three, counted on meta tensors
(162.0 GFLOP for ViT-L/14 at 224 px). Parts of a step lie between marks that hooks set (events on a GPU: nothing is waited for,
and time in which it waits for its host falls to the part that comes next; processor time on a CPU).
The plain loop is what one would write first: torchvision's transforms per picture in a DataLoader, one process a core, bf16
autocast, AdamW, heads but no contrast; nothing compiled. What lies on the device for it is augmented already and of the input's
size: the two loops do the same work only when fed from shards (and even there the plain one skips the contrast).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._measure import apart, table
from benchmarks._plain_training import plain_speeds
from benchmarks._synthetic_run import CLASSES, PHOTOS, blank_batch, write_run
from geoloc_pipeline.model.backbone import PAPER_BACKBONE, build_backbone
from geoloc_pipeline.training.config import PRESETS, make_config
from geoloc_pipeline.training.dataset import batches
from geoloc_pipeline.training.learner import prepare
from geoloc_pipeline.training.memory import largest_fitting
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.report import Reporter
from geoloc_pipeline.training.step import learn_step, look_and_weigh

WARM_STEPS, STEPS_IN_EPOCH, MOST_VIEWS, LARGEST_BATCH = 3, 1_411, 2_048, 1_024
CPU_OVERRIDES = {
    "backbone": "test_vit", "input_px": 64, "view_px": 96, "location_width": 64, "queue_length": 512,
    "precision": "fp32",
}  # fmt: skip
DENSE_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # FLOP/s without sparsity, from the makers' data sheets
AIM_IMAGES_PER_S, AIM_AUGMENTATION = 900, 0.05  # of ViT-L/14 at 224 px on one H200


class Marks:
    """Marks in the stream of work; the time from one to the next belongs to the part that the first one names."""

    def __init__(self, device):
        self._device, self._marks = device, []

    def __call__(self, part):
        """End the part that is under way and begin another."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        else:
            event = time.process_time()
        self._marks.append((part, event))

    def ms_by_part(self):
        """Return milliseconds spent in each part, all steps together."""
        _wait(self._device)
        spent = defaultdict(float)
        for (part, start), (_, end) in itertools.pairwise(self._marks):
            spent[part] += start.elapsed_time(end) if self._device.type == "cuda" else (end - start) * 1e3
        spent.pop("between steps", None)
        return dict(spent)


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def _device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _ready(run):
    """Return a learner with a full queue, and the seconds that it took (data, memory trial, compilation)."""
    started_s = time.perf_counter()
    alone = Ranks(rank=0, world=1, local=0, device=_device())
    learner = prepare(run, alone, Reporter(speaks=False))
    learner.parallel.train()
    learner.queue.push(torch.rand(run.config.queue_length, 2, device=alone.device) * 10 + 33)
    return learner, time.perf_counter() - started_s


def _learn(learner, feed, steps):
    """Return seconds a step, and the seconds of it for which the host waited for pictures."""
    waited_s = 0.0
    for number in range(WARM_STEPS + steps):
        if number == WARM_STEPS:
            _wait(learner.ranks.device)
            started_s, waited_s = time.perf_counter(), 0.0
        asked_s = time.perf_counter()
        batch = next(feed)
        waited_s += time.perf_counter() - asked_s
        learn_step(learner, batch, steps=STEPS_IN_EPOCH, mine=slice(0, learner.config.global_batch))
        learner.position.step += 1
    _wait(learner.ranks.device)
    return (time.perf_counter() - started_s) / steps, waited_s / steps


def _marked(learner, batch, steps):
    """Return milliseconds of each part of a step."""
    mark = Marks(learner.ranks.device)

    def heads_begin(_, inputs):
        mark("heads and losses, forward")
        inputs[0].register_hook(lambda _: mark("network, backward"))

    hooks = [
        learner.objective.register_forward_pre_hook(lambda *_: mark("network, forward")),
        learner.model.projection.register_forward_pre_hook(heads_begin),
        learner.objective.register_forward_hook(lambda *_: mark("heads and losses, backward")),
        learner.optimizer.register_step_pre_hook(lambda *_: mark("optimiser")),
        learner.optimizer.register_step_post_hook(lambda *_: mark("queue")),
    ]

    def feed():
        while True:
            mark("augmentation and labels")
            yield batch
            mark("between steps")

    source = feed()
    _learn(learner, source, steps)
    mark("between steps")
    for hook in hooks:
        hook.remove()
    return {part: spent / (WARM_STEPS + steps) for part, spent in mark.ms_by_part().items()}


def _decoded(squares, numbers, config, device):
    return batches(squares, numbers, workers=config.workers, pin=device.type == "cuda")


def _decoding_alone(squares, numbers, config, device):
    """Return pictures a second."""
    started_s = time.perf_counter()
    seen = sum(len(batch.classes) for batch in _decoded(squares, numbers, config, device))
    return seen / (time.perf_counter() - started_s)


def _profiled(learner, batch, steps=3):
    """Return `(operator, milliseconds a step, share, calls a step)` of the dearest operators."""
    on_gpu = learner.ranks.device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=kinds) as told:
        _learn(learner, itertools.repeat(batch), steps)
    found = [each for each in told.key_averages() if not on_gpu or each.device_type == DeviceType.CUDA]
    spent = {each.key: (each.self_device_time_total if on_gpu else each.self_cpu_time_total, each.count) for each in found}
    total, ran = sum(us for us, _ in spent.values()), WARM_STEPS + steps
    dearest = sorted(spent.items(), key=lambda item: -item[1][0])[:14]
    return [(key[:60], us / ran / 1e3, us / total, count / ran) for key, (us, count) in dearest]


def ours(run, steps, profiling):
    """Return what the project's trainer reaches."""
    learner, ready_s = _ready(run)
    config, device, squares = learner.config, learner.ranks.device, learner.data.train
    batch = blank_batch(squares, config.global_batch, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step_s, _ = _learn(learner, itertools.repeat(batch), steps)
    found = {"ready_s": ready_s, "step_s": step_s, "peak_bytes": _peak_bytes(device)}
    found["parts_ms"] = _marked(learner, batch, steps)
    numbers = np.random.default_rng(1).integers(0, len(squares), (WARM_STEPS + steps, config.global_batch))
    found["decoded_per_s"] = _decoding_alone(squares, numbers, config, device)
    found["fed_s"], found["waited_s"] = _learn(learner, _decoded(squares, numbers, config, device), steps)
    found["parameters"] = sum(parameter.numel() for parameter in learner.model.parameters())
    found["profile"] = _profiled(learner, batch) if profiling else []
    return found


def _peak_bytes(device):
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def largest_batch(run):
    """Return the largest number of pictures that go through the network at once, up to `LARGEST_BATCH`."""
    learner, _ = _ready(run)
    device = learner.ranks.device
    _learn(learner, itertools.repeat(blank_batch(learner.data.train, learner.config.global_batch, device)), 1)  # moments

    def attempt(units):
        gc.collect()
        learner.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        told = learner.data.train.blank(np.arange(32 * units) % len(learner.data.train))
        pixels = torch.zeros(32 * units, 3, learner.config.input_px, learner.config.input_px, device=device)
        queued = learner.queue.entries()
        look_and_weigh(learner, pixels, learner.objective.targets(told.classes.to(device), told.places.to(device), queued))
        _wait(device)

    return 32 * largest_fitting(attempt, LARGEST_BATCH // 32)


def forward_flop(name, input_px):
    """Return the floating-point operations of one picture through a backbone."""
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        backbone = build_backbone(name, input_px=input_px)
        backbone(torch.zeros(1, 3, input_px, input_px))
    return counted.get_total_flops()


def matmul_rate(device):
    """Return FLOP/s of a large matrix product: bf16 on a GPU, else float32."""
    side, kind = (8_192, torch.bfloat16) if device.type == "cuda" else (1_024, torch.float32)
    left = torch.randn(side, side, device=device, dtype=kind)
    spent = []
    for _ in range(5):
        _wait(device)
        started_s = time.perf_counter()
        for _ in range(10):
            left @ left
        _wait(device)
        spent.append((time.perf_counter() - started_s) / 10)
    return 2 * side**3 / min(spent)


def _config(asked, device):
    on_cpu = device.type == "cpu"
    batch = 32 if asked.find_batch else asked.batch or (64 if on_cpu else 256)
    overrides = {"cache_bytes": 0, "workers": os.cpu_count() or 1, "global_batch": batch}
    if on_cpu and asked.preset != "demo":  # which is made for a CPU
        overrides |= CPU_OVERRIDES
    named = {"backbone": asked.backbone} if asked.backbone else {}
    return make_config(asked.preset, overrides | named | {"backbone_weights": "none"})


def _tell(config, device, found, plain, name):
    flop, rate = 3 * forward_flop(config.backbone, config.input_px), matmul_rate(device)
    peak = next((value for kind, value in DENSE_BF16.items() if kind in name), None)
    speeds = {
        "ours, pictures on the device": config.global_batch / found["step_s"],
        f"ours, real shards, {config.workers} threads": config.global_batch / found["fed_s"],
        **plain["per_s"],
    }
    rows = []
    for loop, per_s in speeds.items():
        share = f"{per_s * flop / peak:.1%}" if peak else "-"
        ms = 1e3 * config.global_batch / per_s
        rows.append((loop, f"{per_s:,.0f}", f"{ms:,.1f}", f"{per_s * flop / 1e12:,.3f}", share, f"{per_s * flop / rate:.1%}"))
    print(f"{name}, {config.backbone} at {config.input_px} px, batch {config.global_batch}, preset {config.preset}, "
          f"{found['parameters'] / 1e6:,.1f} M parameters; matrix products measured at {rate / 1e12:,.2f} TFLOP/s; "
          f"ready after {found['ready_s']:.0f} s; peak memory {found['peak_bytes'] / 2**30:,.1f} GiB, "
          f"of the plain loop {plain['peak_bytes'] / 2**30:,.1f} GiB\n")  # fmt: skip
    print(table(["loop", "images/s", "ms a step", "TFLOP/s", "of peak", "of measured matmul"], rows))
    parts, whole = found["parts_ms"], sum(found["parts_ms"].values())
    print(
        "\n" + table(["part", "ms", "of the step"], [(part, f"{ms:,.2f}", f"{ms / whole:.1%}") for part, ms in parts.items()])
    )
    print(f"\ndecoding alone: {found['decoded_per_s']:,.0f} images/s with {config.workers} threads; "
          f"the step waited {1e3 * found['waited_s']:,.1f} ms for pictures")  # fmt: skip
    if found["profile"]:
        lines = [(key, f"{ms:,.2f}", f"{share:.1%}", f"{calls:,.0f}") for key, ms, share, calls in found["profile"]]
        print("\n" + table(["operator", "ms a step", "share", "calls a step"], lines))
    if "H200" in name and config.backbone == PAPER_BACKBONE:
        share = parts["augmentation and labels"] / whole
        print(f"\naim: {AIM_IMAGES_PER_S} images/s, got {speeds['ours, pictures on the device']:,.0f}; "
              f"augmentation below {AIM_AUGMENTATION:.0%}, got {share:.1%}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="paper")
    parser.add_argument("--classes", choices=sorted(CLASSES), default="")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--find-batch", action="store_true")
    asked = parser.parse_args()
    device = _device()
    on_gpu = device.type == "cuda"
    if asked.find_batch and not on_gpu:
        sys.exit("--find-batch looks for the edge of a GPU's memory, and there is no GPU")
    logging.basicConfig(level=logging.WARNING)
    config, steps = _config(asked, device), asked.steps or (30 if on_gpu else 12)
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    with tempfile.TemporaryDirectory() as folder:
        views = min(MOST_VIEWS, 8 * config.global_batch)
        classes = asked.classes or ("japan" if on_gpu else "small")
        run = write_run(config, Path(folder), classes=classes, views=views, photos=asked.photos)
        if asked.find_batch:
            print(f"{name}: {apart(largest_batch, run)} pictures fit at once (multiples of 32, up to {LARGEST_BATCH})")
            return
        found = apart(ours, run, steps, asked.profile)
        _tell(config, device, found, plain_speeds(run, device, steps=steps, warm_steps=WARM_STEPS), name)


if __name__ == "__main__":
    main()

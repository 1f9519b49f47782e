"""What the paper's augmentation costs for a picture: ours for a whole batch beside torchvision's, one picture at a time.

The same crop, affine, AugMix and noise, on one thread, from views kept as uint8; at the demo's sizes and at the paper's. Where
there is a GPU: a batch of 256 on it, and which share of a training step of the paper's backbone that is.

Run: python -m benchmarks.augmentation [--repeats 5] [--step-ms 284]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from benchmarks._measure import table
from geoloc_pipeline.training.augment import augment, draw_augmentation
from geoloc_pipeline.training.config import make_config

SIZES = {"64 px from 96 px": ("demo", {"augmix": 3, "fill": "black"}, 64), "224 px from 448 px": ("paper", {}, 16)}
GPU_BATCH = 256
ASSUMED_STEP_MS = 256 / 900 * 1000  # 900 pictures a second


class Calls(TorchDispatchMode):
    """Counts calls that make a device work: views and empty tensors do not."""

    free = (
        "view",
        "slice",
        "select",
        "unsqueeze",
        "expand",
        "permute",
        "empty",
        "detach",
        "alias",
        "split",
        "unbind",
        "t.",
        "as_strided",
    )

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.name().removeprefix("aten::").startswith(self.free)
        return function(*args, **(kwargs or {}))


def views(count, side_px, device="cpu"):
    """Random blotches, lying in memory as the decoder leaves them."""
    rough = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0)).to(device)
    smooth = torch.nn.functional.interpolate(rough, size=(side_px, side_px), mode="bicubic")
    return (smooth * 255).clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def one_by_one(module, config):
    """The paper's augmentation as torchvision has it, for one picture."""
    crop = module.RandomResizedCrop(config.input_px, scale=config.crop_scale, ratio=config.crop_ratio, antialias=True)
    turn = module.RandomAffine(
        0, scale=config.affine_scale, shear=[-config.shear_deg, config.shear_deg], interpolation=InterpolationMode.BILINEAR
    )
    steps = module.Compose([crop, turn, module.AugMix()])

    def change(pixels):
        changed = steps(pixels)
        if torch.rand(()) < config.noise_probability:
            grain = torch.randint(-config.noise_levels, config.noise_levels + 1, changed.shape, dtype=torch.int16)
            changed = (changed + grain).clamp(0, 255)
        return changed.float()

    return change


def median_ms(call, repeats):
    """Processor time of one thread: others on the machine do not count."""
    call(0)
    taken = []
    for step in range(1, repeats + 1):
        start = time.process_time()
        call(step)
        taken.append((time.process_time() - start) * 1000)
    return statistics.median(taken)


def batch_of(config, pixels):
    def change(step):
        draw = draw_augmentation(config, len(pixels), epoch=0, step=step)
        noise = torch.Generator(device=pixels.device)
        noise.manual_seed(step)
        return augment(pixels, draw, config, noise=noise)

    return change


def on_one_thread(repeats):
    rows = []
    for name, (preset, overrides, count) in SIZES.items():
        config = make_config(preset, overrides)
        pixels = views(count, config.view_px)
        rows.append([name, f"ours, {count} at once", f"{median_ms(batch_of(config, pixels), repeats) / count:.2f}"])
        singles = [picture.contiguous() for picture in pixels]
        for label, module in (("torchvision.transforms", v1), ("torchvision.transforms.v2", v2)):
            change = one_by_one(module, config)
            taken = median_ms(lambda _, change=change, singles=singles: [change(picture) for picture in singles], repeats)
            rows.append([name, f"{label}, one at a time", f"{taken / count:.2f}"])
    print(table(["pictures", "how", "ms a picture"], rows))


def on_calls():
    """A GPU's cost of starting work does not depend on the pictures: so few calls matter more than fast ones."""
    config = make_config("paper", {"noise_levels": 0})  # it takes three calls, which a device without values cannot make
    rows = []
    for count in (64, GPU_BATCH):
        pixels = torch.empty(count, 3, config.view_px, config.view_px, dtype=torch.uint8, device="meta")
        with Calls() as calls:
            augment(pixels, draw_augmentation(config, count, epoch=0, step=0), config, noise=torch.Generator())
        rows.append([f"ours, a batch of {count}", calls.count, f"{calls.count / count:.1f}"])
    picture, change = views(1, config.view_px)[0].contiguous(), one_by_one(v1, config)
    with Calls() as calls:
        for _ in range(32):
            change(picture)
    rows.append(["torchvision.transforms, one at a time", "", f"{calls.count / 32:.1f}"])
    print(table(["how", "calls a batch", "calls a picture"], rows))


def on_gpu(repeats, step_ms):
    config = make_config("paper")
    pixels = views(GPU_BATCH, config.view_px, "cuda")
    measured = vit_step_ms(repeats)
    rows = []
    for label, overrides in (("the paper's", {}), ("without AugMix", {"augmix": 0}), ("chains of three", {"augmix_depth": 3})):
        change = batch_of(make_config("paper", overrides), pixels)
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        device_ms, host_ms = gpu_ms(change, repeats)
        grown = (torch.cuda.max_memory_allocated() - held) / 2**30
        shares = f"{device_ms / measured:.1%}", f"{device_ms / step_ms:.1%}"
        rows.append([label, f"{device_ms:.2f}", f"{host_ms:.2f}", f"{grown:.1f}", *shares])
    print(f"{torch.cuda.get_device_name()}, a batch of {GPU_BATCH}; ViT-L/14 at 224 px learns from it in {measured:.0f} ms\n")
    print(table(["augmentation", "GPU ms", "host ms", "GiB", "of that step", f"of a step of {step_ms:.0f} ms"], rows))


def gpu_ms(call, repeats):
    """Medians of what the GPU takes, and of what the host takes to ask for it: it must not wait in between."""
    device, host = [], []
    for step in range(repeats + 3):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        before.record()
        start = time.perf_counter()
        call(step)
        host.append((time.perf_counter() - start) * 1000)
        after.record()
        torch.cuda.synchronize()
        device.append(before.elapsed_time(after))
    return statistics.median(device[3:]), statistics.median(host[3:])


def vit_step_ms(repeats):
    """One step of the paper's backbone alone, without compiling: forward, backward, RAdam."""
    import timm

    model = timm.create_model("vit_large_patch14_clip_224", pretrained=False, num_classes=512).cuda().train()
    optimizer = torch.optim.RAdam(model.parameters(), lr=1e-4)
    pixels = torch.randn(GPU_BATCH, 3, 224, 224, device="cuda")

    def learn(_):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(pixels).float().square().mean()
        loss.backward()
        optimizer.step()

    return gpu_ms(learn, repeats)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step-ms", type=float, default=ASSUMED_STEP_MS, help="of a training step to compare with on a GPU")
    options = parser.parse_args()
    torch.set_num_threads(1)
    on_one_thread(options.repeats)
    print()
    on_calls()
    print()
    if torch.cuda.is_available():
        on_gpu(options.repeats, options.step_ms)
    else:
        print("No GPU here: nothing was measured on one.")


if __name__ == "__main__":
    main()

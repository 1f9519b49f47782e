"""The training loop that one would write first: timm, torchvision's transforms picture by picture, autocast, AdamW."""

from __future__ import annotations

import io
import itertools
import resource
import time

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everybody knows
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from geoloc_pipeline.model.backbone import build_backbone
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import EMBEDDING_SIZE, LABEL_IGNORED, TRAINING_SHARDS
from geoloc_pipeline.training.material import read_data


class _Pictures(Dataset):
    """Pictures of the run's shards through the paper's augmentation (§3.1), as uint8 tensors."""

    def __init__(self, run, count):
        shards = run.shards[0]
        rows = read_table(TRAINING_SHARDS, shards.table)
        self._members = list(zip(rows["shard"], rows["offset"], rows["size_bytes"], strict=True))
        data = read_data(run.vocabulary, run.shards, config=run.config)
        self.classes = data.train.blank(range(len(data.train))).classes
        self.class_counts = list(data.vocabulary.class_counts().values())
        self._folder, self._count = shards.folder, count
        steps = [
            transforms.RandomResizedCrop(run.config.input_px),
            transforms.RandomAffine(0, scale=(1.0, 1.1), shear=15),
            transforms.AugMix(),
            transforms.PILToTensor(),
        ]
        self._change = transforms.Compose(steps)

    def __len__(self):
        return self._count

    def __getitem__(self, number):
        shard, offset, size_bytes = self._members[number % len(self._members)]
        data = read_member(self._folder, shard=shard, offset=offset, size_bytes=size_bytes)
        pixels = self._change(Image.open(io.BytesIO(data)).convert("RGB"))
        if torch.rand(()) < 0.5:
            grain = torch.randint(-10, 11, pixels.shape, dtype=torch.int16)
            pixels = (pixels + grain).clamp(0, 255).to(torch.uint8)
        return pixels, self.classes[number % len(self._members)]


class _Network(nn.Module):
    def __init__(self, config, class_counts):
        super().__init__()
        self.backbone = build_backbone(config.backbone, input_px=config.input_px)
        with torch.no_grad():
            width = self.backbone(torch.zeros(1, 3, config.input_px, config.input_px)).shape[1]
        self.projection = nn.Linear(width, EMBEDDING_SIZE)
        self.heads = nn.ModuleList(nn.Linear(EMBEDDING_SIZE, count) for count in class_counts)

    def forward(self, pixels, classes):
        embedding = self.projection(self.backbone(pixels))
        pairs = zip(self.heads, classes.T, strict=True)
        return sum(F.cross_entropy(head(embedding), labels, ignore_index=LABEL_IGNORED) for head, labels in pairs)


def plain_speeds(run, device, *, steps, warm_steps):
    """Return pictures a second, with pictures ready and fed by a DataLoader, and the peak memory in bytes."""
    config = run.config
    rounds = -(-steps // config.workers)  # each process makes whole batches: they come in bursts, of which none may be cut
    pictures = _Pictures(run, (1 + rounds) * config.workers * config.global_batch)
    network = _Network(config, pictures.class_counts).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
    pixels = torch.randint(0, 256, (config.global_batch, 3, config.input_px, config.input_px), dtype=torch.uint8, device=device)
    ready = pixels, pictures.classes[: config.global_batch].to(device)

    def per_s(feed, warm, counted):
        for number in range(warm + counted):
            if number == warm:
                _wait(device)
                started_s = time.perf_counter()
            seen, classes = next(feed)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                normalised = seen.to(device, non_blocking=True).float() / 127.5 - 1.0
                loss = network(normalised, classes.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _wait(device)
        return counted * config.global_batch / (time.perf_counter() - started_s)

    pin = device.type == "cuda"
    loader = DataLoader(pictures, config.global_batch, num_workers=config.workers, pin_memory=pin, prefetch_factor=1)
    speeds = {
        "plain loop, pictures on the device": per_s(itertools.repeat(ready), warm_steps, steps),
        "plain loop, real shards, DataLoader": per_s(iter(loader), config.workers, rounds * config.workers),
    }
    peak_bytes = torch.cuda.max_memory_allocated() if pin else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"per_s": speeds, "peak_bytes": peak_bytes}


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()

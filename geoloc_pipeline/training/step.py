"""One step: augment, look, weigh, learn.

Nothing in here waits for a GPU: whatever the host has to know is known beforehand, and the sums stay on the device until the
loop asks for them.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

import torch

from geoloc_pipeline.training.augment import augment, draw_augmentation

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor
    from torch.nn.parallel import DistributedDataParallel

    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.dataset import Batch
    from geoloc_pipeline.training.learner import Learner
    from geoloc_pipeline.training.objective import Targets

_SEEDS = 2**63  # that torch can tell apart
_LAST_RATE = 0.01  # share of the learning rate at the end of a cosine schedule


def learn_step(learner: Learner, batch: Batch, *, steps: int, mine: slice) -> Tensor:
    """Learn from one batch.

    Args:
        learner: Whose position says which step it is.
        batch: This rank's share.
        steps: In an epoch.
        mine: Rows of the global batch that the share is.

    Returns:
        `[terms]` this rank's share of each term, on the device.
    """
    config, ranks, epoch, step = learner.config, learner.ranks, learner.position.epoch, learner.position.step
    chance = (((config.seed * 100_003 + epoch) * 1_000_003 + step) * 10_007 + ranks.rank) % _SEEDS
    torch.manual_seed(chance)  # of a backbone's dropout: a run that is taken up again drops the same
    noise = torch.Generator(device=ranks.device)
    noise.manual_seed(chance)
    draw = draw_augmentation(config, config.global_batch, epoch=epoch, step=step).rows(mine)
    pixels = augment(batch.pixels.to(ranks.device, non_blocking=True), draw, config, noise=noise)
    places = ranks.gather(batch.places.to(ranks.device, non_blocking=True))
    targets = learner.objective.targets(batch.classes.to(ranks.device, non_blocking=True), places, learner.queue.entries())
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate(config, step=epoch * steps + step, steps=steps)
    learner.optimizer.zero_grad(set_to_none=True)
    parts = look_and_weigh(learner, pixels, targets)
    if config.clip_norm:
        torch.nn.utils.clip_grad_norm_(learner.objective.parameters(), config.clip_norm)
    learner.optimizer.step()
    learner.queue.push(places)
    return parts


def look_and_weigh(learner: Learner, pixels: Tensor, targets: Targets) -> Tensor:
    """Add the gradients of this rank's pictures up, in portions of `micro_batch`, and return `[terms]` its share of each term.

    Ranks exchange gradients with the last portion alone.

    Args:
        learner: Whose parameters get the gradients.
        pixels: `[n, 3, side, side]` values in 0…255.
        targets: What is known of them.
    """
    config, device = learner.config, learner.ranks.device
    size = config.micro_batch or len(pixels)
    parts = pixels.new_zeros(len(learner.objective.names))
    for start in range(0, len(pixels), size):
        rows = slice(start, start + size)
        with gradients_kept(learner, unless=rows.stop >= len(pixels)):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bf16(config, device)):
                terms = learner.parallel(learner.model.preprocessing.normalise(pixels[rows]), targets.portion(rows))
            terms.total.backward()
        parts += terms.parts
    return parts


def gradients_kept(learner: Learner, *, unless: bool = False) -> AbstractContextManager[None]:
    """Keep gradients on this rank for the length of the block, to be exchanged with those of a later one."""
    if unless or learner.ranks.world == 1:
        return nullcontext()
    return cast("DistributedDataParallel", learner.parallel).no_sync()


def in_bf16(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether matrices are multiplied in bf16: only ever on a GPU."""
    return device.type == "cuda" and config.precision == "bf16"


def learning_rate(config: TrainingConfig, *, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted over the whole run, when an epoch has `steps`."""
    rate = config.learning_rate
    if config.warmup_steps:
        rate *= min(1.0, (step + 1) / config.warmup_steps)
    if config.schedule == "cosine":
        done = min(1.0, step / max(1, config.max_epochs * steps - 1))
        rate *= _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
    return rate

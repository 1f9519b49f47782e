"""Will it fit? Asked of a GPU with one step on blank pictures before any real one, so that no run dies of it hours later.

The trial also compiles the backbone, and leaves nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from geoloc_pipeline.errors import GpuMemoryError, SettingError
from geoloc_pipeline.tables import TASKS
from geoloc_pipeline.training.objective import Targets
from geoloc_pipeline.training.step import gradients_kept, in_bf16

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.learner import Learner

_STATES = 2  # RAdam and AdamW keep two numbers for each parameter


def check_precision(config: TrainingConfig, *, device: str, has_bf16: bool) -> None:
    """Refuse bf16 where a GPU would only emulate it.

    Args:
        config: Of the run.
        device: Its name.
        has_bf16: Whether it multiplies in bf16.

    Raises:
        SettingError: It is asked for and not there.
    """
    if config.precision == "bf16" and not has_bf16:
        cure = f"{device} cannot multiply in bf16 (that began with Ampere, 2020): set the override `precision` to fp32"
        raise SettingError(setting="precision", value="bf16", cure=cure)


def largest_fitting(attempt: Callable[[int], None], size: int) -> int:
    """Return the largest number up to `size` with which an attempt does not run out of memory; 0: none.

    Args:
        attempt: Raises `torch.OutOfMemoryError` when its number is too large.
        size: The number that is hoped for; tried first.
    """
    fits, too_many, tried = 0, size + 1, size
    while too_many - fits > 1:
        try:
            attempt(tried)
            fits = tried
        except torch.OutOfMemoryError:
            too_many = tried
        tried = (fits + too_many) // 2
    return fits


def check_memory(learner: Learner) -> None:
    """Take one step's forward and backward on blank pictures, beside the optimiser's states and a full queue.

    Args:
        learner: Before its first step.

    Raises:
        GpuMemoryError: The portion that a rank handles at once does not fit; names the largest that does.
    """
    config, ranks = learner.config, learner.ranks
    share = config.global_batch // ranks.world
    asked = min(config.micro_batch or share, share)
    fits = largest_fitting(lambda size: _try(learner, size), asked)
    if fits < asked:
        together = config.views_together
        usable = max((size for size in range(together, fits + 1, together) if share % size == 0), default=0)
        cure = (
            f"set the override `micro_batch` to {usable}: the same steps, in smaller portions"
            if usable
            else "use a smaller model"
        )
        raise GpuMemoryError(device=_name(ranks.device), asked=asked, fits=fits, cure=cure)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _try(learner: Learner, size: int) -> None:
    """Look at `size` blank pictures and learn nothing; no other rank is waited for."""
    config, device, objective = learner.config, learner.ranks.device, learner.objective
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    running = {name: buffer.clone() for name, buffer in objective.named_buffers()}  # a batch norm's statistics
    blank = torch.zeros(config.global_batch // learner.ranks.world, 3, config.input_px, config.input_px, device=device)
    targets = Targets(
        classes=torch.zeros(size, len(TASKS), dtype=torch.int64, device=device),
        own=torch.arange(size, device=device),
        places=torch.zeros(config.global_batch + 1, 2, device=device),  # more than all ranks have: no exchange with them
        queued=torch.zeros(config.queue_length, 2, device=device),
        divisors=torch.ones(len(objective.names), device=device),
    )
    held = [] if learner.optimizer.state else [torch.zeros_like(each) for each in parameters for _ in range(_STATES)]
    objective.train()
    try:
        # Through DDP, without its exchange: it has the backbone compiled in pieces, so that gradients travel early.
        with gradients_kept(learner):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bf16(config, device)):
                terms = learner.parallel(objective.model.preprocessing.normalise(blank[:size]), targets)
            terms.total.backward()
    finally:
        held.clear()
        for parameter in parameters:
            parameter.grad = None
        for name, buffer in objective.named_buffers():
            buffer.copy_(running[name])
        if device.type == "cuda":
            torch.cuda.empty_cache()

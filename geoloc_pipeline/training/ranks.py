"""The processes of one run: who am I, and what do all of us together say? Alone, everything here is free.

torchrun starts the processes and sets RANK, WORLD_SIZE, LOCAL_RANK; without it there is one rank.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among the others.

    Attributes:
        rank: Number of this process, from 0.
        world: How many there are.
        local: Number of this process on its machine.
        device: Where it computes.
    """

    rank: int
    world: int
    local: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: writes files, logs, reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the element-wise sum over the ranks; no gradient flows through it."""
        values = values.detach().clone()
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """Return the rows of all ranks, in rank order; every rank gives as many. No gradient flows through it."""
        values = values.detach()
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def gather_with_gradient(self, values: Tensor) -> Tensor:
        """Return the rows of all ranks as `gather` does; what any rank's loss says of a row flows back to its owner."""
        if self.world == 1:
            return values
        gathered: Tensor = _Gathered.apply(values, self)
        return gathered

    def least(self, values: Tensor) -> Tensor:
        """Return the element-wise minimum over the ranks."""
        values = values.detach().clone()
        if self.world > 1:
            dist.all_reduce(values, op=dist.ReduceOp.MIN)
        return values

    def wait(self) -> None:
        """Wait until every rank has come here."""
        if self.world > 1:
            dist.barrier()


class _Gathered(torch.autograd.Function):
    """`Ranks.gather` with a gradient: the sum over the ranks of what each says of a row."""

    @staticmethod
    def forward(context: Any, values: Tensor, ranks: Ranks) -> Tensor:
        context.ranks, context.count = ranks, len(values)
        return ranks.gather(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        start = context.ranks.rank * context.count
        return context.ranks.sum(gradients[0].contiguous())[start : start + context.count], None


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes for the length of the block; leave them when it ends.

    Yields:
        This process among the others: on a GPU of its own where there are GPUs, else on the CPU.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local % max(torch.cuda.device_count(), 1)) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    try:
        yield Ranks(rank=rank, world=world, local=local, device=device)
    finally:
        if world > 1:
            dist.destroy_process_group()

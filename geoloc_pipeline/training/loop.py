"""The training loop, to be read downwards: learn an epoch, validate, keep the best, stop in time.

Paper: §3.2, fig. 6.
"""

from __future__ import annotations

import math
import signal
import time
from typing import TYPE_CHECKING, Any

import torch

from geoloc_pipeline.errors import TrainingDivergedError
from geoloc_pipeline.training.augment import augment, draw_augmentation
from geoloc_pipeline.training.checkpoint import BEST, Position, write_best, write_last
from geoloc_pipeline.training.dataset import Batch, batches, epoch_order
from geoloc_pipeline.training.learner import Learner, align_buffers, prepare

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.training.config import TrainingConfig, TrainingRun
    from geoloc_pipeline.training.ranks import Ranks
    from geoloc_pipeline.training.report import Reporter

_LAST_RATE = 0.01  # share of the learning rate at the end of a cosine schedule


def train(run: TrainingRun, ranks: Ranks, reporter: Reporter) -> Position:
    """Train until the validation loss has stopped falling, or go on with a run that was interrupted.

    A run that is finished does nothing. Whenever it is killed, the same command ends in the same `best.pt`. Another run's
    files in the output folder are moved to `previous/`.

    Args:
        run: What to learn, from what, and where to.
        ranks: This process among the others.
        reporter: Who hears of it.

    Returns:
        How far it came; `finished` is False when it was asked to stop (SIGTERM) before the end.

    Raises:
        TrainingDivergedError: The loss is not finite any more; the last good checkpoint stays.
    """
    learner = prepare(run, ranks, reporter)

    def ask_to_stop(*_: object) -> None:
        learner.asked_to_stop = True

    before = signal.signal(signal.SIGTERM, ask_to_stop)
    try:
        while not learner.position.finished and not learner.stopping:
            _learn_epoch(learner)
    finally:
        signal.signal(signal.SIGTERM, before)
    if learner.position.finished:
        reporter.finish(learner.position, checkpoint=run.output / BEST)
    else:
        reporter.say(f"stopped as asked in epoch {learner.position.epoch + 1}; run the same command to go on")
    return learner.position


def _learn_epoch(learner: Learner) -> None:
    config, position = learner.config, learner.position
    order = epoch_order(
        learner.data.train.pictures,
        views=config.views_per_epoch,
        global_batch=config.global_batch,
        seed=config.seed,
        epoch=position.epoch,
    )
    started_s, first_step = time.monotonic(), position.step
    _learn_steps(learner, order)
    if learner.stopping:
        return
    elapsed_s = max(time.monotonic() - started_s, 1e-9)
    terms = dict(zip(learner.objective.names, (total / len(order) for total in position.sums), strict=True))
    record = {
        "epoch": position.epoch,
        "train_loss": sum(terms.values()),
        "train_terms": terms,
        **_validate(learner),
        "lr": _rate(config, step=(position.epoch + 1) * len(order) - 1, steps=len(order)),
        "images_per_s": (len(order) - first_step) * config.global_batch / elapsed_s,
    }
    _close_epoch(learner, record)


def _learn_steps(learner: Learner, order: NDArray[np.int64]) -> None:
    """Learn what is left of an epoch; leaves the sums of its terms in the position."""
    config, position, ranks = learner.config, learner.position, learner.ranks
    share = config.global_batch // ranks.world
    mine = slice(ranks.rank * share, (ranks.rank + 1) * share)
    sums = torch.tensor(position.sums or [0.0] * len(learner.objective.names), dtype=torch.float64, device=ranks.device)
    squares = learner.data.train
    loader = batches(
        squares,
        order[position.step :, mine],
        workers=0 if squares.in_memory else config.workers,
        pin=ranks.device.type == "cuda",
    )
    learner.parallel.train()
    for batch in loader:
        sums += _learn_step(learner, batch, steps=len(order), mine=mine)
        position.step += 1
        at_end = position.step == len(order)
        due = bool(config.checkpoint_steps) and position.step % config.checkpoint_steps == 0
        if at_end or due or position.step % config.check_steps == 0:
            position.sums = _agree(learner, sums)
        if at_end or due or learner.stopping:
            align_buffers(learner)
        if learner.stopping or (due and not at_end):
            _save(learner)
        if learner.stopping:
            return


def _learn_step(learner: Learner, batch: Batch, *, steps: int, mine: slice) -> Tensor:
    """Learn from one batch and return this rank's share of each term."""
    config, ranks, epoch, step = learner.config, learner.ranks, learner.position.epoch, learner.position.step
    on_gpu = ranks.device.type == "cuda"
    noise = torch.Generator(device=ranks.device)
    noise.manual_seed(((config.seed * 100_003 + epoch) * 1_000_003 + step) * 10_007 + ranks.rank)
    draw = draw_augmentation(config, config.global_batch, epoch=epoch, step=step).rows(mine)
    pixels = augment(batch.pixels.to(ranks.device, non_blocking=True), draw, config, noise=noise)
    places = ranks.gather(batch.places.to(ranks.device, non_blocking=True))
    for group in learner.optimizer.param_groups:
        group["lr"] = _rate(config, step=epoch * steps + step, steps=steps)
    learner.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(ranks.device.type, dtype=torch.bfloat16, enabled=on_gpu and config.precision == "bf16"):
        terms = learner.parallel(
            learner.model.preprocessing.normalise(pixels),
            batch.classes.to(ranks.device, non_blocking=True),
            places,
            learner.queue.entries(),
        )
    terms.total.backward()
    if config.clip_norm:
        torch.nn.utils.clip_grad_norm_(learner.objective.parameters(), config.clip_norm)
    learner.optimizer.step()
    learner.queue.push(places)
    learner.reporter.seen((epoch * steps + step + 1) * config.global_batch, of=config.max_epochs * steps * config.global_batch)
    parts: Tensor = terms.parts
    return parts


def _rate(config: TrainingConfig, *, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted over the whole run, when an epoch has `steps`."""
    rate = config.learning_rate
    if config.warmup_steps:
        rate *= min(1.0, (step + 1) / config.warmup_steps)
    if config.schedule == "cosine":
        done = min(1.0, step / max(1, config.max_epochs * steps - 1))
        rate *= _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
    return rate


def _agree(learner: Learner, sums: Tensor) -> list[float]:
    """Return the sums of the terms over all ranks; every rank learns whether any was asked to stop.

    A sum that is not finite stops every rank at once.
    """
    ranks = learner.ranks
    told = ranks.sum(torch.cat([sums, sums.new_tensor([float(learner.asked_to_stop)])])).tolist()
    learner.stopping = told[-1] > 0
    totals = [total / ranks.world for total in told[:-1]]
    _check_finite(learner, sum(totals))
    return totals


def _check_finite(learner: Learner, loss: float) -> None:
    if not math.isfinite(loss):
        kept = learner.run.output / BEST if learner.position.best_epoch >= 0 else "not there yet (no epoch was whole)"
        raise TrainingDivergedError(step=learner.position.step, loss=loss, checkpoint=kept)


def _validate(learner: Learner) -> dict[str, Any]:
    """Return loss, terms and share of right answers on the validation split; nothing when it is empty."""
    val, ranks, config = learner.data.val, learner.ranks, learner.config
    if len(val) == 0:
        return {}
    numbers = torch.arange(len(val)).numpy()
    size = max(1, config.global_batch // ranks.world)
    mine = [numbers[start : start + size] for start in range(0, len(val), size)][ranks.rank :: ranks.world]
    learner.objective.eval()
    sums = torch.zeros(len(learner.model.tasks), 4, dtype=torch.float64, device=ranks.device)
    on_gpu = ranks.device.type == "cuda"
    with torch.inference_mode(), torch.autocast(ranks.device.type, torch.bfloat16, on_gpu and config.precision == "bf16"):
        for batch in batches(val, mine, workers=0 if val.in_memory else config.workers, pin=on_gpu):
            pixels = learner.model.preprocessing.normalise(batch.pixels.to(ranks.device))
            sums += learner.objective.validate(pixels, batch.classes.to(ranks.device))
    totals = dict(zip(learner.model.tasks, ranks.sum(sums).tolist(), strict=True))
    terms = {task: loss / weights for task, (loss, weights, _, _) in totals.items() if weights > 0}
    accuracy = {task: right / labelled for task, (_, _, right, labelled) in totals.items() if labelled > 0}
    return {"val_loss": sum(terms.values()), "val_terms": terms, "val_accuracy": accuracy}


def _close_epoch(learner: Learner, record: dict[str, Any]) -> None:
    """Keep the model when it is the best so far, and write down how far the run is."""
    config, position = learner.config, learner.position
    loss = record.get("val_loss", -math.inf)  # nothing to validate with: the last epoch is the best
    _check_finite(learner, record.get("val_loss", record["train_loss"]))
    best = loss < position.best_loss or "val_loss" not in record
    position.history.append(record)
    if best:
        position.best_epoch, position.best_loss = position.epoch, loss
        if learner.ranks.first:
            validation = {name: record[name] for name in record if name.startswith("val_")}
            position.best_version = write_best(
                learner.run.output, learner.facts, learner.model, epoch=position.epoch, validation=validation
            )
    position.waited = 0 if best else position.waited + 1
    position.epoch, position.step, position.sums = position.epoch + 1, 0, []
    out_of_patience = bool(config.patience_epochs) and position.waited >= config.patience_epochs
    position.finished = position.epoch >= config.max_epochs or out_of_patience
    _save(learner)
    learner.reporter.epoch(record, best=best)


def _save(learner: Learner) -> None:
    if learner.ranks.first:
        write_last(
            learner.run.output,
            learner.facts,
            learner.model,
            optimizer=learner.optimizer,
            queue=learner.queue,
            position=learner.position,
        )
    learner.ranks.wait()

"""The training loop, to be read downwards: learn an epoch, validate, keep the best, stop in time.

Paper: §3.2, fig. 6.
"""

from __future__ import annotations

import math
import signal
import time
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from geoloc_pipeline.errors import TrainingDivergedError
from geoloc_pipeline.training.checkpoint import BEST, DIVERGED, Position, write_best, write_diverged, write_last
from geoloc_pipeline.training.dataset import batches
from geoloc_pipeline.training.learner import Learner, align_buffers, prepare
from geoloc_pipeline.training.order import epoch_order
from geoloc_pipeline.training.step import in_bf16, learn_step, learning_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.training.ranks import Ranks
    from geoloc_pipeline.training.report import Reporter
    from geoloc_pipeline.training.run import TrainingRun

_PICTURES_TOLD = 8  # of a batch that went wrong; the others stand in a file


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
        together=config.views_together,
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
        "lr": learning_rate(config, step=(position.epoch + 1) * len(order) - 1, steps=len(order)),
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
    told, told_at = sums.tolist(), position.step
    first_bad = torch.full((), torch.inf, dtype=torch.float64, device=ranks.device)
    for batch in loader:
        parts = learn_step(learner, batch, steps=len(order), mine=mine)
        sums += parts
        first_bad = torch.where(torch.isfinite(parts).all(), first_bad, first_bad.clamp(max=position.step))
        position.step += 1
        _tell_seen(learner, steps=len(order))
        at_end = position.step == len(order)
        due = bool(config.checkpoint_steps) and position.step % config.checkpoint_steps == 0
        if at_end or due or position.step % config.check_steps == 0:
            position.sums = _agree(learner, sums, first_bad, order)
            _tell_terms(learner, since=told, steps_since=position.step - told_at, steps=len(order))
            told, told_at = position.sums, position.step
        if at_end or due or learner.stopping:
            align_buffers(learner)
        if learner.stopping or (due and not at_end):
            _save(learner)
        if learner.stopping:
            return


def _tell_seen(learner: Learner, *, steps: int) -> None:
    config, position = learner.config, learner.position
    done = position.epoch * steps + position.step
    learner.reporter.seen(done * config.global_batch, of=config.max_epochs * steps * config.global_batch)


def _tell_terms(learner: Learner, *, since: list[float], steps_since: int, steps: int) -> None:
    position = learner.position
    means = [(now - before) / max(1, steps_since) for now, before in zip(position.sums, since, strict=True)]
    learner.reporter.checked(
        epoch=position.epoch,
        step=position.step,
        steps=steps,
        terms=dict(zip(learner.objective.names, means, strict=True)),
        rate=learning_rate(learner.config, step=position.epoch * steps + position.step - 1, steps=steps),
    )


def _agree(learner: Learner, sums: Tensor, first_bad: Tensor, order: NDArray[np.int64]) -> list[float]:
    """Return the sums of the terms over all ranks; every rank learns whether any was asked to stop.

    A step whose loss was not finite on any rank stops every rank at once.
    """
    ranks = learner.ranks
    told = ranks.sum(torch.cat([sums, sums.new_tensor([float(learner.asked_to_stop)])])).tolist()
    learner.stopping = told[-1] > 0
    totals = [total / ranks.world for total in told[:-1]]
    if not math.isfinite(sum(totals)):
        step = int(ranks.least(first_bad))
        _stop_diverged(learner, loss=sum(totals), step=step, images=learner.data.train.image_ids(order[step]))
    return totals


def _stop_diverged(learner: Learner, *, loss: float, step: int, images: list[str]) -> NoReturn:
    """End the run, naming the pictures of the first step whose loss was not finite.

    Raises:
        TrainingDivergedError: Always.
    """
    output, position = learner.run.output, learner.position
    if learner.ranks.first and images:
        write_diverged(output, epoch=position.epoch, step=step, images=images)
    told = images[:_PICTURES_TOLD] + (
        [f"… ({len(images)} in all, in {output / DIVERGED})"] if len(images) > _PICTURES_TOLD else []
    )
    kept = output / BEST if position.best_epoch >= 0 else "not there yet (no epoch was whole)"
    raise TrainingDivergedError(step=step, loss=loss, checkpoint=kept, images=told)


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
    loader = batches(val, mine, workers=0 if val.in_memory else config.workers, pin=ranks.device.type == "cuda")
    with torch.inference_mode(), torch.autocast(ranks.device.type, torch.bfloat16, in_bf16(config, ranks.device)):
        for batch in loader:
            pixels = learner.model.preprocessing.normalise(batch.pixels.to(ranks.device, non_blocking=True))
            sums += learner.objective.validate(pixels, batch.classes.to(ranks.device, non_blocking=True))
    totals = dict(zip(learner.model.tasks, ranks.sum(sums).tolist(), strict=True))
    terms = {task: loss / weights for task, (loss, weights, _, _) in totals.items() if weights > 0}
    accuracy = {task: right / labelled for task, (_, _, right, labelled) in totals.items() if labelled > 0}
    return {"val_loss": sum(terms.values()), "val_terms": terms, "val_accuracy": accuracy}


def _close_epoch(learner: Learner, record: dict[str, Any]) -> None:
    """Keep the model when it is the best so far, and write down how far the run is."""
    config, position = learner.config, learner.position
    loss = record.get("val_loss", -math.inf)  # nothing to validate with: the last epoch is the best
    if not math.isfinite(found := record.get("val_loss", record["train_loss"])):
        _stop_diverged(learner, loss=found, step=position.step, images=[])
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

"""What a run holds while it learns, built anew or taken up where it stopped."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from geoloc_pipeline.errors import ModelError, SettingError
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.queue import PlaceQueue
from geoloc_pipeline.training.checkpoint import LAST, Position, facts_of, find_last, run_fingerprint
from geoloc_pipeline.training.material import Data, read_data
from geoloc_pipeline.training.memory import check_memory, check_precision
from geoloc_pipeline.training.objective import Objective

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.ranks import Ranks
    from geoloc_pipeline.training.report import Reporter
    from geoloc_pipeline.training.run import TrainingRun


@dataclass
class Learner:
    """Everything that a run holds while it learns.

    Attributes:
        run: What to learn, from what, and where to.
        data: The squares and classes.
        ranks: This process among the others.
        reporter: Who hears of it.
        objective: Model and loss.
        parallel: The same, as DDP sees it; the objective itself when there is one rank.
        optimizer: Of the model's parameters.
        queue: Earlier places.
        position: How far the run is.
        facts: What every checkpoint says of its origin.
        asked_to_stop: This process got SIGTERM.
        stopping: All ranks have agreed to stop.
    """

    run: TrainingRun
    data: Data
    ranks: Ranks
    reporter: Reporter
    objective: Objective
    parallel: nn.Module
    optimizer: Optimizer
    queue: PlaceQueue
    position: Position
    facts: dict[str, Any]
    asked_to_stop: bool = False
    stopping: bool = False

    @property
    def config(self) -> TrainingConfig:
        """The knobs of the run."""
        return self.run.config

    @property
    def model(self) -> Geolocator:
        """The model that is trained."""
        return self.objective.model


def prepare(run: TrainingRun, ranks: Ranks, reporter: Reporter) -> Learner:
    """Read the data, build the model, and take the run up where its `last.pt` left it.

    Everything that can be wrong with what a user gave is said here, before any long work.

    Args:
        run: What to learn, from what, and where to.
        ranks: This process among the others.
        reporter: Who hears of it.

    Returns:
        Ready to learn, or finished already.

    Raises:
        SettingError: The batch cannot be divided among ranks and portions, or the GPU lacks the precision.
        GpuMemoryError: A rank's portion does not fit into its GPU.
    """
    config = run.config
    if config.global_batch % (ranks.world * config.views_together):
        each = f"{ranks.world} processes" + (f" times {config.views_together} views" if config.views_together > 1 else "")
        raise SettingError(setting="global_batch", value=config.global_batch, cure=f"give a multiple of the {each}")
    share = config.global_batch // ranks.world
    if config.micro_batch and share % config.micro_batch:
        cure = f"give 0 or a divisor of {share}, a process's share of the batch"
        raise SettingError(setting="micro_batch", value=config.micro_batch, cure=cure)
    if ranks.device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        check_precision(config, device=torch.cuda.get_device_name(ranks.device), has_bf16=has_bf16)
    data = read_data(run.vocabulary, run.shards, config=config)
    fingerprint = run_fingerprint(run, data)
    saved = find_last(run.output, fingerprint=fingerprint, first=ranks.first)
    ranks.wait()  # no rank may look for another run's files while the first one moves them aside
    learner = _build(run, data, ranks, reporter, fingerprint=fingerprint)
    if saved:
        _take_up(learner, saved)
    position = learner.position
    if not position.finished:
        reporter.opened(output=run.output, epoch=position.epoch, step=position.step)
        counts = ", ".join(f"{count} {task}" for task, count in data.vocabulary.class_counts().items())
        reporter.say(f"{len(data.train)} squares to learn from, {len(data.val)} to validate with; classes: {counts}")
        if data.train.size_bytes + data.val.size_bytes <= config.cache_bytes:
            data.train.keep_in_memory(ranks, file=run.output / "train.cache")
            data.val.keep_in_memory(ranks, file=run.output / "val.cache")
        if ranks.device.type == "cuda":
            check_memory(learner)
    return learner


def _build(run: TrainingRun, data: Data, ranks: Ranks, reporter: Reporter, *, fingerprint: str) -> Learner:
    config = run.config
    torch.manual_seed(config.seed)
    architecture = GeolocatorConfig(
        backbone=config.backbone,
        input_px=config.input_px,
        class_counts=data.vocabulary.class_counts(),
        location_sigmas=config.location_sigmas,
        location_width=config.location_width,
        location_hidden_layers=config.location_hidden_layers,
    )
    model = Geolocator(architecture, weights=config.backbone_weights).to(ranks.device)
    for squares in (data.train, data.val):
        squares.interpolation = model.preprocessing.interpolation
    if not config.contrastive:  # DDP waits for every parameter that wants a gradient
        model.location_encoder.requires_grad_(False)
        model.log_scale.requires_grad_(False)
    if config.compile_backbone and ranks.device.type == "cuda":
        model.backbone.compile(dynamic=False)  # one graph for each size: the last validation batch has its own
    centres = data.train.centres() if config.smoothing_km else None
    objective = Objective(model, data.vocabulary, config, ranks, centres).to(ranks.device)
    return Learner(
        run=run,
        data=data,
        ranks=ranks,
        reporter=reporter,
        objective=objective,
        parallel=_parallel(objective, ranks),
        optimizer=_optimizer(config, model),
        queue=PlaceQueue(config.queue_length).to(ranks.device),
        position=Position(),
        facts=facts_of(run, data, model, fingerprint=fingerprint),
    )


def _parallel(objective: Objective, ranks: Ranks) -> nn.Module:
    if ranks.world == 1:
        return objective
    # Buffers are brought into line before each validation and checkpoint (`align_buffers`), not at every step.
    renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters  # torch 2.14
    options: dict[str, Any] = {
        "forward_sync_buffers" if renamed else "broadcast_buffers": False,
        "gradient_as_bucket_view": True,
    }
    return DistributedDataParallel(objective, **options)


def align_buffers(learner: Learner) -> None:
    """Give every rank the mean of the ranks' running statistics, so that all validate, save and go on with the same model."""
    if learner.ranks.world > 1:
        for buffer in learner.model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(learner.ranks.sum(buffer) / learner.ranks.world)


def _optimizer(config: TrainingConfig, model: Geolocator) -> Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (0.9, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "radam":  # has no fused form in torch 2.14
        return torch.optim.RAdam(parameters, **options, foreach=True)
    return torch.optim.AdamW(parameters, **options, fused=True)


def _take_up(learner: Learner, saved: dict[str, Any]) -> None:
    try:
        learner.model.load_state_dict(saved["model"])
        learner.optimizer.load_state_dict(saved["optimizer"])
        learner.queue.load_state_dict(saved["queue"])
        learner.position = Position(**saved["position"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise ModelError(
            what=f"checkpoint {learner.run.output / LAST}", reason=str(error).splitlines()[0], cure="remove it to train anew"
        ) from error
    position = learner.position
    where = "finished" if position.finished else f"going on in epoch {position.epoch + 1} after step {position.step}"
    learner.reporter.say(f"found this run in {learner.run.output}: {where}")

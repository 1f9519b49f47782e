"""What a step minimises: five cross entropies and the contrastive term, each divided over all ranks.

Paper: §3.2, "the sum of the cross entropies of the tasks, without weights between tasks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody knows

from geoloc_pipeline.model.losses import masked_cross_entropy, picture_to_place, too_close
from geoloc_pipeline.tables import LABEL_IGNORED, TASKS

if TYPE_CHECKING:
    from geoloc_pipeline.model.geolocator import Geolocator
    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.ranks import Ranks

CONTRASTIVE = "contrastive"


class Terms(NamedTuple):
    """The loss of one step.

    Attributes:
        total: To be minimised. Its mean over the ranks is the loss of the global batch.
        parts: `[tasks + 1]` this rank's share of each term, in the order of `Objective.names`, detached; their mean over the
            ranks is the term of the global batch.
    """

    total: Tensor
    parts: Tensor


class Objective(nn.Module):
    """The model and its loss in one module, so that DDP sees one forward.

    Attributes:
        model: What is trained.
        names: Of the terms.
    """

    def __init__(self, model: Geolocator, vocabulary: Vocabulary, config: TrainingConfig, ranks: Ranks) -> None:
        super().__init__()
        self.model = model
        self._config = config
        self._ranks = ranks
        self.names = (*model.tasks, *((CONTRASTIVE,) if config.contrastive else ()))
        for task in model.tasks:
            classes = vocabulary.tasks[task]
            weights = torch.tensor(classes.weights, dtype=torch.float32)
            if config.class_weighting == "none":
                weights = torch.ones_like(weights)
            counts = torch.tensor(classes.n_train, dtype=torch.float32)
            self.register_buffer(f"weights_{task}", weights, persistent=False)
            self.register_buffer(f"log_prior_{task}", torch.log(counts / counts.sum()), persistent=False)

    def forward(self, pixels: Tensor, classes: Tensor, places: Tensor, queued: Tensor) -> Terms:
        """Return the loss of this rank's share of a batch.

        Args:
            pixels: `[n, 3, side, side]` normalised; every rank has n.
            classes: `[n, 5]` class index per task.
            places: `[world * n, 2]` places of all ranks' pictures, in rank order.
            queued: `[m, 2]` further places.

        Returns:
            The terms.
        """
        answer = self.model(pixels)
        sums, divisors = [], []
        for task, logits in answer.logits.items():
            tau = self._config.logit_adjust_tau
            prior = tau * getattr(self, f"log_prior_{task}") if tau else None
            weights = getattr(self, f"weights_{task}")
            loss, divisor = masked_cross_entropy(logits, classes[:, TASKS.index(task)], weights=weights, log_prior=prior)
            sums.append(loss)
            divisors.append(divisor)
        if self._config.contrastive:
            sums.append(self._contrast(answer.embedding, places, queued))
            divisors.append(torch.tensor(float(len(pixels)), device=pixels.device))
        # DDP takes the mean of the ranks' gradients: times the number of ranks, over the divisor of all of them.
        over_all = self._ranks.sum(torch.stack(divisors)).clamp(min=torch.finfo(torch.float32).tiny)
        terms = torch.stack(sums) * self._ranks.world / over_all
        return Terms(total=terms.sum(), parts=terms.detach())

    def _contrast(self, embedding: Tensor, places: Tensor, queued: Tensor) -> Tensor:
        count, rank = len(embedding), self._ranks.rank
        candidates = torch.cat([places, queued])
        own = torch.arange(count, device=embedding.device) + rank * count
        close = None
        if self._config.same_place_km > 0:
            close = too_close(places[own], candidates, own, within_km=self._config.same_place_km)
        pictures = F.normalize(embedding.float(), dim=1)
        encoded = self.model.embed_places(candidates)
        with torch.autocast(embedding.device.type, enabled=False):
            return picture_to_place(pictures, encoded, own, scale=self.model.scale(), false_negatives=close)

    def validate(self, pixels: Tensor, classes: Tensor) -> Tensor:
        """Return `[tasks, 4]` sums over some pictures: weighted loss, weights, right answers, labelled pictures; float64."""
        answer = self.model(pixels)
        rows = []
        for task, logits in answer.logits.items():
            target = classes[:, TASKS.index(task)]
            loss, divisor = masked_cross_entropy(logits, target, weights=getattr(self, f"weights_{task}"))
            labelled = target != LABEL_IGNORED
            right = (logits.argmax(dim=1) == target) & labelled
            rows.append(torch.stack([loss.double(), divisor.double(), right.sum().double(), labelled.sum().double()]))
        return torch.stack(rows)

"""What a step minimises: five cross entropies, the contrastive term, and what the switches add; each divided over all ranks.

A rank may hand in its pictures in portions: each portion meets all places of the step, and every divisor is known beforehand,
so the gradients add up to those of the whole.

Paper: §3.2, "the sum of the cross entropies of the tasks, without weights between tasks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody knows

from geoloc_pipeline.model.losses import contrast, implied_cross_entropy, masked_cross_entropy, row_weights, too_close
from geoloc_pipeline.tables import LABEL_IGNORED, TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoloc_pipeline.model.geolocator import Geolocator
    from geoloc_pipeline.model.vocabulary import Vocabulary
    from geoloc_pipeline.training.config import TrainingConfig
    from geoloc_pipeline.training.ranks import Ranks

CONTRASTIVE = "contrastive"
IMPLIED = {"town": ("municipality", 5), "municipality": ("prefecture", 2)}
"""The task above, and how many digits of a code are the code of the class above."""
AREAS = ("prefecture", "municipality", "town")
"""Tasks whose classes have a centre that stands for them; a road has none."""


class Targets(NamedTuple):
    """What is known of the pictures of a step, or of a portion of them.

    Attributes:
        classes: `[n, 5]` class index per task.
        own: `[n]` index of each picture's place among `places`.
        places: `[all, 2]` places of all ranks' pictures, in rank order.
        queued: `[m, 2]` further places.
        divisors: `[terms]` what each term is divided by, over all ranks.
    """

    classes: Tensor
    own: Tensor
    places: Tensor
    queued: Tensor
    divisors: Tensor

    def portion(self, rows: slice) -> Targets:
        """Return what is known of some of the pictures."""
        return self._replace(classes=self.classes[rows], own=self.own[rows])


class Terms(NamedTuple):
    """The loss of one step, or of a portion of it.

    Attributes:
        total: To be minimised. Its mean over the ranks is the loss of the global batch.
        parts: `[terms]` this rank's share of each term, in the order of `Objective.names`, detached; their mean over the ranks
            is the term of the global batch.
    """

    total: Tensor
    parts: Tensor


class Objective(nn.Module):
    """The model and its loss in one module, so that DDP sees one forward.

    Attributes:
        model: What is trained.
        names: Of the terms.
    """

    def __init__(
        self,
        model: Geolocator,
        vocabulary: Vocabulary,
        config: TrainingConfig,
        ranks: Ranks,
        centres: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """Place what the terms need beside the model.

        Args:
            model: What is trained.
            vocabulary: Its classes.
            config: The knobs.
            ranks: This process among the others.
            centres: `[classes, 2]` middle of the training pictures of each class, degrees, by task; for `smoothing_km`.
        """
        super().__init__()
        self.model = model
        self._config = config
        self._ranks = ranks
        implied = [task for task in IMPLIED if config.hierarchy_weight and task in model.tasks]
        self._implied = tuple(implied)
        self.names = (
            *model.tasks,
            *(f"{IMPLIED[task][0]}_of_{task}" for task in implied),
            *((CONTRASTIVE,) if config.contrastive else ()),
        )
        for task in model.tasks:
            classes = vocabulary.tasks[task]
            weights = torch.tensor(classes.weights, dtype=torch.float32)
            if config.class_weighting == "none":
                weights = torch.ones_like(weights)
            counts = torch.tensor(classes.n_train, dtype=torch.float32)
            self._keep(f"weights_{task}", weights)
            self._keep(f"log_prior_{task}", torch.log(counts / counts.sum()))
            smoothed = bool(config.smoothing_km) and task in AREAS and centres is not None
            self._keep(f"centres_{task}", torch.from_numpy(centres[task]) if smoothed and centres else None)
        for task in implied:
            _, digits = IMPLIED[task]
            groups = np.unique([code[:digits] for code in vocabulary.tasks[task].codes], return_inverse=True)[1]
            self._keep(f"parents_{task}", torch.from_numpy(groups.astype(np.int64)))

    def _keep(self, name: str, values: Tensor | None) -> None:
        self.register_buffer(name, values, persistent=False)

    def targets(self, classes: Tensor, places: Tensor, queued: Tensor) -> Targets:
        """Return what a step is measured by; every rank calls it once a step.

        Args:
            classes: `[n, 5]` class index per task of this rank's pictures; every rank has n.
            places: `[world * n, 2]` places of all ranks' pictures, in rank order.
            queued: `[m, 2]` further places.

        Returns:
            The targets, with divisors summed over the ranks.
        """
        count, together = len(classes), self._config.views_together
        looks = 2 if together > 1 else 1  # each view counts by itself, and once more in the mean of its picture
        sums = [
            row_weights(self._of(classes, task), weights=getattr(self, f"weights_{task}")).sum() for task in self.model.tasks
        ]
        sums += [(self._of(classes, task) != LABEL_IGNORED).sum().float() for task in self._implied]
        if self._config.contrastive:
            sums.append(classes.new_full((), count, dtype=torch.float32))
        # DDP takes the mean of the ranks' gradients: times the number of ranks, over the divisor of all of them.
        divisors = self._ranks.sum(torch.stack(sums)).clamp(min=torch.finfo(torch.float32).tiny) * looks / self._ranks.world
        own = torch.arange(count, device=classes.device) + self._ranks.rank * count
        return Targets(classes=classes, own=own, places=places, queued=queued, divisors=divisors)

    def forward(self, pixels: Tensor, targets: Targets) -> Terms:
        """Return the loss of some of this rank's pictures.

        Args:
            pixels: `[n, 3, side, side]` normalised.
            targets: What is known of these n.

        Returns:
            The terms.
        """
        answer = self.model(pixels)
        embedding, logits = answer.embedding, answer.logits
        sums = self._sums(embedding, logits, targets)
        together = self._config.views_together
        if together > 1:  # heads are linear: the mean of the logits is the logits of the mean
            means = {task: _mean_of(values, together) for task, values in logits.items()}
            of_each = targets._replace(classes=targets.classes[::together], own=targets.own[::together])
            sums = sums + together * self._sums(_mean_of(embedding, together), means, of_each)
        terms = sums / targets.divisors
        return Terms(total=terms.sum(), parts=terms.detach())

    def _sums(self, embedding: Tensor, logits: Mapping[str, Tensor], targets: Targets) -> Tensor:
        """Return `[terms]` sums over the given pictures."""
        config = self._config
        sums = []
        for task, values in logits.items():
            prior = config.logit_adjust_tau * getattr(self, f"log_prior_{task}") if config.logit_adjust_tau else None
            loss = masked_cross_entropy(
                values,
                self._of(targets.classes, task),
                weights=getattr(self, f"weights_{task}"),
                log_prior=prior,
                centres=getattr(self, f"centres_{task}"),
                smoothing_km=config.smoothing_km,
            )
            sums.append(loss)
        for task in self._implied:
            loss = implied_cross_entropy(logits[task], self._of(targets.classes, task), getattr(self, f"parents_{task}"))
            sums.append(config.hierarchy_weight * loss)
        if config.contrastive:
            sums.append(self._contrast(embedding, targets))
        return torch.stack(sums)

    def _contrast(self, embedding: Tensor, targets: Targets) -> Tensor:
        config, own = self._config, targets.own
        candidates = torch.cat([targets.places, targets.queued])
        pictures = F.normalize(embedding.float(), dim=1)
        encoded = self.model.embed_places(candidates)
        close = None
        if config.same_place_km > 0:
            close = too_close(targets.places[own], candidates, own, within_km=config.same_place_km)
        with torch.autocast(embedding.device.type, enabled=False):
            scale = self.model.scale()
            loss = contrast(pictures, encoded, own, scale=scale, false_negatives=close)
            if config.contrastive_symmetric and len(pictures) * self._ranks.world == len(targets.places):
                others = self._ranks.gather_with_gradient(pictures)
                close = None if close is None else close[:, : len(targets.places)]
                loss = (loss + contrast(encoded[own], others, own, scale=scale, false_negatives=close)) / 2
        return loss

    def validate(self, pixels: Tensor, classes: Tensor) -> Tensor:
        """Return `[tasks, 4]` sums over some pictures: weighted loss, weights, right answers, labelled pictures; float64."""
        answer = self.model(pixels)
        rows = []
        for task, logits in answer.logits.items():
            target, weights = self._of(classes, task), getattr(self, f"weights_{task}")
            loss, divisor = masked_cross_entropy(logits, target, weights=weights), row_weights(target, weights=weights).sum()
            labelled = target != LABEL_IGNORED
            right = (logits.argmax(dim=1) == target) & labelled
            rows.append(torch.stack([loss.double(), divisor.double(), right.sum().double(), labelled.sum().double()]))
        return torch.stack(rows)

    @staticmethod
    def _of(classes: Tensor, task: str) -> Tensor:
        return classes[:, TASKS.index(task)]


def _mean_of(values: Tensor, count: int) -> Tensor:
    return values.view(-1, count, values.shape[1]).mean(dim=1)

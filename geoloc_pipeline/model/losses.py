"""The terms of the loss: class-weighted cross entropy per head, and the contrast between a picture and places.

Every term comes as a sum and its divisor, so that ranks can add up both before they divide: then two ranks say the same as one.

Paper: §3.2 and eq. 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from geoloc_pipeline.tables import LABEL_IGNORED

_EARTH_DIAMETER_KM = 2 * 6_371.0088


def masked_cross_entropy(
    logits: Tensor, classes: Tensor, *, weights: Tensor, log_prior: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the class-weighted cross entropy of one head as (sum, divisor).

    Rows without a label take no part (§3.1). Torch's own mean over a batch that has no label at all is NaN; here sum and
    divisor are 0 then, and gradients stay finite.

    Args:
        logits: `[n, classes]`.
        classes: `[n]` class indices; `LABEL_IGNORED` where there is none.
        weights: `[classes]` weight of each class (eq. 1).
        log_prior: `[classes]` logarithm of each class's share, times tau, added to the logits while training (logit
            adjustment, Menon et al. 2021); an alternative to weights that does not blow up the variance of rare classes.

    Returns:
        The weighted sum over labelled rows, and the sum of their weights.
    """
    logits = logits.float()
    if log_prior is not None:
        logits = logits + log_prior
    labelled = classes != LABEL_IGNORED
    target = torch.where(labelled, classes, 0)
    row_weights = torch.where(labelled, weights[target], 0.0)
    losses = F.cross_entropy(logits, target, reduction="none")
    return (losses * row_weights).sum(), row_weights.sum()


def picture_to_place(
    pictures: Tensor,
    candidates: Tensor,
    own: Tensor,
    *,
    scale: Tensor,
    false_negatives: Tensor | None = None,
) -> Tensor:
    """Return the contrastive term from pictures to places, summed over pictures.

    One direction only, as in GeoCLIP's released code: each picture has to find its own place among all candidates.

    Args:
        pictures: `[n, 512]` unit vectors.
        candidates: `[m, 512]` unit vectors of places: those of the batch and those of the queue.
        own: `[n]` index of each picture's own place among the candidates.
        scale: Factor on the cosines.
        false_negatives: `[n, m]` True where a candidate is too close to a picture's place to count against it.

    Returns:
        The sum of n cross entropies.
    """
    logits = scale * pictures @ candidates.T
    if false_negatives is not None:
        logits = logits.masked_fill(false_negatives, -torch.inf)
    return F.cross_entropy(logits, own, reduction="sum")


def too_close(places: Tensor, candidates: Tensor, own: Tensor, *, within_km: float) -> Tensor:
    """Return `[n, m]` True where a candidate lies within `within_km` of a picture's place and is not its own entry.

    Args:
        places: `[n, 2]` latitude and longitude in degrees.
        candidates: `[m, 2]` likewise.
        own: `[n]` index of each picture's own place among the candidates; never True.
        within_km: Distance on the sphere, km.

    Returns:
        The mask for `picture_to_place`.
    """
    with torch.autocast(places.device.type, enabled=False):
        # The matrix form of the distance loses everything below some kilometres in float32; the plain form keeps a metre.
        chords = torch.cdist(_unit(places), _unit(candidates), compute_mode="donot_use_mm_for_euclid_dist")
        distances_km = _EARTH_DIAMETER_KM * torch.asin((chords / 2).clamp(max=1.0))
    close = distances_km <= within_km
    return close.scatter(1, own[:, None], False)


def _unit(places: Tensor) -> Tensor:
    lat, lon = torch.deg2rad(places[:, 0]), torch.deg2rad(places[:, 1])
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)

"""The terms of the loss: class-weighted cross entropy per head, and the contrast between a picture and places.

Every term comes as a sum; its divisor depends on labels alone and is added up over all ranks beforehand: so two ranks, or one
picture at a time, say the same as everybody at once.

Paper: §3.2 and eq. 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from geoloc_pipeline.tables import LABEL_IGNORED

_EARTH_DIAMETER_KM = 2 * 6_371.0088


def row_weights(classes: Tensor, *, weights: Tensor) -> Tensor:
    """Return `[n]` weight of each row: that of its class (eq. 1), 0 without a label.

    Their sum is the divisor of the task's term, and depends on labels alone: it is known before anything is looked at.
    """
    labelled = classes != LABEL_IGNORED
    return torch.where(labelled, weights[torch.where(labelled, classes, 0)], 0.0)


def masked_cross_entropy(
    logits: Tensor,
    classes: Tensor,
    *,
    weights: Tensor,
    log_prior: Tensor | None = None,
    centres: Tensor | None = None,
    smoothing_km: float = 0.0,
) -> Tensor:
    """Return the class-weighted cross entropy of one head, summed over rows.

    Rows without a label take no part (§3.1). Torch's own mean over a batch that has no label at all is NaN; here the sum is 0
    then, and gradients stay finite.

    Args:
        logits: `[n, classes]`.
        classes: `[n]` class indices; `LABEL_IGNORED` where there is none.
        weights: `[classes]` weight of each class (eq. 1).
        log_prior: `[classes]` logarithm of each class's share, times tau, added to the logits while training (logit
            adjustment, Menon et al. 2021); an alternative to weights that does not blow up the variance of rare classes.
        centres: `[classes, 2]` latitude and longitude in degrees of each class, for smoothed targets.
        smoothing_km: Length over which a class shares its target with those near it, as exp(-distance / length) (haversine
            smoothing of PIGEON, arXiv 2307.05845, between the centres of classes); 0: the right class alone.

    Returns:
        The weighted sum over labelled rows; its divisor is the sum of `row_weights`.
    """
    logits = logits.float()
    if log_prior is not None:
        logits = logits + log_prior
    target = torch.where(classes != LABEL_IGNORED, classes, 0)
    if centres is not None and smoothing_km > 0:
        shares = torch.exp(-distances_km(centres[target], centres) / smoothing_km)
        losses = F.cross_entropy(logits, shares / shares.sum(dim=1, keepdim=True), reduction="none")
    else:
        losses = F.cross_entropy(logits, target, reduction="none")
    return (losses * row_weights(classes, weights=weights)).sum()


def implied_cross_entropy(logits: Tensor, classes: Tensor, parents: Tensor) -> Tensor:
    """Return the cross entropy of the class above, as the classes below it imply it, summed over rows.

    A town implies its municipality: the probabilities of a municipality's towns add up to the municipality's. So a wrong town
    in the right municipality costs less than one elsewhere.

    Args:
        logits: `[n, classes]` of the finer head.
        classes: `[n]` its class indices; `LABEL_IGNORED` where there is none.
        parents: `[classes]` index of the class above; any number that no other group has where it is not a class.

    Returns:
        The sum over labelled rows of -log sum of p(class) over the classes with the right one's parent.
    """
    logits = logits.float()
    labelled = classes != LABEL_IGNORED
    siblings = parents == parents[torch.where(labelled, classes, 0)][:, None]
    inside = logits.masked_fill(~siblings, -torch.inf).logsumexp(dim=1)
    return ((logits.logsumexp(dim=1) - inside) * labelled).sum()


def contrast(
    seekers: Tensor, candidates: Tensor, own: Tensor, *, scale: Tensor, false_negatives: Tensor | None = None
) -> Tensor:
    """Return the contrastive term of one direction, summed: each seeker has to find its own among all candidates.

    From pictures to places it is the term of GeoCLIP's released code, which has this direction only; CLIP adds the one from
    places to pictures.

    Args:
        seekers: `[n, 512]` unit vectors.
        candidates: `[m, 512]` unit vectors: those of the batch and, when they are places, those of the queue.
        own: `[n]` index of each seeker's own among the candidates.
        scale: Factor on the cosines.
        false_negatives: `[n, m]` True where a candidate is too close to count against a seeker.

    Returns:
        The sum of n cross entropies.
    """
    logits = scale * seekers @ candidates.T
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
        The mask for `contrast`.
    """
    return (distances_km(places, candidates) <= within_km).scatter(1, own[:, None], False)


def distances_km(places: Tensor, others: Tensor) -> Tensor:
    """Return `[n, m]` distances on the sphere in km between places in degrees, outside autocast; good to about a metre."""
    with torch.autocast(places.device.type, enabled=False):
        # As a matrix product, float32 would lose everything below some kilometres; axis by axis it keeps a metre.
        here, there = _unit(places), _unit(others)
        axes = [(here[:, None, axis] - there[None, :, axis]).square() for axis in range(3)]
        chords = (axes[0] + axes[1] + axes[2]).sqrt()
        return _EARTH_DIAMETER_KM * torch.asin((chords / 2).clamp(max=1.0))


def _unit(places: Tensor) -> Tensor:
    lat, lon = torch.deg2rad(places[:, 0]), torch.deg2rad(places[:, 1])
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], dim=1)

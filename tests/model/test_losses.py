"""The terms of the loss against torch's own and against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from geoloc_pipeline.geo.sphere import destination
from geoloc_pipeline.model.losses import masked_cross_entropy, picture_to_place, too_close


def test_cross_entropy_is_torchs_own_where_every_row_has_a_label():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(20, 7), torch.randint(0, 7, (20,)), torch.rand(7) + 0.1
    loss, divisor = masked_cross_entropy(logits, classes, weights=weights)
    assert torch.allclose(loss / divisor, F.cross_entropy(logits, classes, weight=weights))


def test_rows_without_a_label_change_nothing():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(6, 4), torch.tensor([0, -1, 3, -1, 2, -1]), torch.rand(4) + 0.1
    kept = classes >= 0
    some = masked_cross_entropy(logits[kept], classes[kept], weights=weights)
    assert torch.allclose(torch.stack(masked_cross_entropy(logits, classes, weights=weights)), torch.stack(some))


def test_a_batch_without_any_label_gives_zero_and_finite_gradients():
    logits = torch.randn(5, 3, requires_grad=True)
    loss, divisor = masked_cross_entropy(logits, torch.full((5,), -1), weights=torch.ones(3))
    loss.backward()
    assert (float(loss), float(divisor)) == (0.0, 0.0)
    assert (logits.grad == 0).all()


def test_logit_adjustment_asks_more_of_common_classes():
    logits, weights = torch.zeros(1, 2), torch.ones(2)
    prior = torch.log(torch.tensor([0.9, 0.1]))
    rare, _ = masked_cross_entropy(logits, torch.tensor([1]), weights=weights, log_prior=prior)
    assert math.isclose(float(rare), -math.log(0.1), rel_tol=1e-6)


def test_the_contrast_is_the_cross_entropy_of_the_own_place_among_the_candidates():
    torch.manual_seed(0)
    pictures, candidates = F.normalize(torch.randn(3, 8), dim=1), F.normalize(torch.randn(5, 8), dim=1)
    own, scale = torch.tensor([1, 0, 4]), torch.tensor(10.0)
    by_hand = sum(
        -math.log(math.exp(10 * float(p @ candidates[o])) / sum(math.exp(10 * float(p @ c)) for c in candidates))
        for p, o in zip(pictures, own, strict=True)
    )
    assert math.isclose(float(picture_to_place(pictures, candidates, own, scale=scale)), by_hand, rel_tol=1e-5)


def test_masked_candidates_do_not_count_against_a_picture():
    pictures = candidates = F.normalize(torch.eye(3), dim=1)
    own, scale = torch.arange(3), torch.tensor(1.0)
    all_but_own = ~torch.eye(3, dtype=torch.bool)
    assert float(picture_to_place(pictures, candidates, own, scale=scale, false_negatives=all_but_own)) == pytest.approx(0.0)


@pytest.mark.parametrize("away_m", [20.0, 900.0, 1_100.0, 40_000.0])
def test_places_within_a_kilometre_are_too_close_and_the_own_entry_never_is(away_m: float):
    lat, lon = 43.06, 141.35
    other = destination(lat=lat, lon=lon, bearing_deg=70.0, away_m=away_m)
    places = torch.tensor(np.array([[lat, lon]]), dtype=torch.float32)
    candidates = torch.tensor(np.array([[lat, lon], other]), dtype=torch.float32)
    mask = too_close(places, candidates, torch.tensor([0]), within_km=1.0)
    assert mask.tolist() == [[False, away_m < 1000.0]]

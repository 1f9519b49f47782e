"""The terms of the loss against torch's own and against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from geoloc_pipeline.geo.sphere import destination
from geoloc_pipeline.model.losses import (
    contrast,
    distances_km,
    implied_cross_entropy,
    masked_cross_entropy,
    row_weights,
    too_close,
)


def test_cross_entropy_is_torchs_own_where_every_row_has_a_label():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(20, 7), torch.randint(0, 7, (20,)), torch.rand(7) + 0.1
    loss = masked_cross_entropy(logits, classes, weights=weights)
    assert torch.allclose(loss / row_weights(classes, weights=weights).sum(), F.cross_entropy(logits, classes, weight=weights))


def test_rows_without_a_label_change_nothing():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(6, 4), torch.tensor([0, -1, 3, -1, 2, -1]), torch.rand(4) + 0.1
    kept = classes >= 0
    some = masked_cross_entropy(logits[kept], classes[kept], weights=weights)
    assert torch.allclose(masked_cross_entropy(logits, classes, weights=weights), some)
    assert row_weights(classes, weights=weights).sum() == pytest.approx(
        float(row_weights(classes[kept], weights=weights).sum())
    )


def test_a_batch_without_any_label_gives_zero_and_finite_gradients():
    logits = torch.randn(5, 3, requires_grad=True)
    nobody = torch.full((5,), -1)
    loss = masked_cross_entropy(logits, nobody, weights=torch.ones(3))
    loss.backward()
    assert (float(loss), float(row_weights(nobody, weights=torch.ones(3)).sum())) == (0.0, 0.0)
    assert (logits.grad == 0).all()


def test_logit_adjustment_asks_more_of_common_classes():
    logits, weights = torch.zeros(1, 2), torch.ones(2)
    prior = torch.log(torch.tensor([0.9, 0.1]))
    rare = masked_cross_entropy(logits, torch.tensor([1]), weights=weights, log_prior=prior)
    assert math.isclose(float(rare), -math.log(0.1), rel_tol=1e-6)


def test_the_contrast_is_the_cross_entropy_of_the_own_place_among_the_candidates():
    torch.manual_seed(0)
    pictures, candidates = F.normalize(torch.randn(3, 8), dim=1), F.normalize(torch.randn(5, 8), dim=1)
    own, scale = torch.tensor([1, 0, 4]), torch.tensor(10.0)
    by_hand = sum(
        -math.log(math.exp(10 * float(p @ candidates[o])) / sum(math.exp(10 * float(p @ c)) for c in candidates))
        for p, o in zip(pictures, own, strict=True)
    )
    assert math.isclose(float(contrast(pictures, candidates, own, scale=scale)), by_hand, rel_tol=1e-5)


def test_masked_candidates_do_not_count_against_a_picture():
    pictures = candidates = F.normalize(torch.eye(3), dim=1)
    own, scale = torch.arange(3), torch.tensor(1.0)
    all_but_own = ~torch.eye(3, dtype=torch.bool)
    assert float(contrast(pictures, candidates, own, scale=scale, false_negatives=all_but_own)) == pytest.approx(0.0)


@pytest.mark.parametrize("away_m", [20.0, 900.0, 1_100.0, 40_000.0])
def test_places_within_a_kilometre_are_too_close_and_the_own_entry_never_is(away_m: float):
    lat, lon = 43.06, 141.35
    other = destination(lat=lat, lon=lon, bearing_deg=70.0, away_m=away_m)
    places = torch.tensor(np.array([[lat, lon]]), dtype=torch.float32)
    candidates = torch.tensor(np.array([[lat, lon], other]), dtype=torch.float32)
    mask = too_close(places, candidates, torch.tensor([0]), within_km=1.0)
    assert mask.tolist() == [[False, away_m < 1000.0]]


def test_distances_are_those_of_the_sphere_to_a_few_metres():
    rng = np.random.default_rng(0)
    one, other = (np.stack([rng.uniform(24, 46, 40), rng.uniform(123, 146, 40)], axis=1) for _ in range(2))
    found = distances_km(torch.tensor(one, dtype=torch.float32), torch.tensor(other, dtype=torch.float32))
    by_hand = [[haversine_km(a, b) for b in other] for a in one]
    assert np.allclose(found.numpy(), by_hand, atol=0.005)


def haversine_km(one: np.ndarray, other: np.ndarray) -> float:
    (lat, lon), (to_lat, to_lon) = np.radians(one), np.radians(other)
    half = math.sin((to_lat - lat) / 2) ** 2 + math.cos(lat) * math.cos(to_lat) * math.sin((to_lon - lon) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(half))


CENTRES = torch.tensor([[35.0, 135.0], [35.0, 135.2], [43.0, 141.0]])  # 18 km apart, and far away


def test_smoothed_targets_are_those_done_by_hand():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(4, 3), torch.tensor([0, 2, -1, 1]), torch.tensor([1.0, 2.0, 3.0])
    found = masked_cross_entropy(logits, classes, weights=weights, centres=CENTRES, smoothing_km=10.0)
    by_hand = 0.0
    for row, label in zip(logits, classes.tolist(), strict=True):
        if label >= 0:
            shares = np.array([math.exp(-haversine_km(CENTRES[label].numpy(), c.numpy()) / 10.0) for c in CENTRES])
            by_hand -= float(weights[label]) * float((torch.tensor(shares / shares.sum()) * row.log_softmax(0)).sum())
    assert float(found) == pytest.approx(by_hand, rel=1e-4)


def test_a_vanishing_length_smooths_nothing_and_a_miss_nearby_costs_less_than_one_far_away():
    torch.manual_seed(0)
    logits, classes, weights = torch.randn(5, 3), torch.randint(0, 3, (5,)), torch.ones(3)
    sharp = masked_cross_entropy(logits, classes, weights=weights)
    assert torch.allclose(masked_cross_entropy(logits, classes, weights=weights, centres=CENTRES, smoothing_km=0.01), sharp)
    near, far = (
        masked_cross_entropy(5 * torch.eye(3)[[said]], torch.tensor([0]), weights=weights, centres=CENTRES, smoothing_km=10.0)
        for said in (1, 2)
    )
    assert near < far


def test_a_town_implies_its_municipality():
    torch.manual_seed(0)
    logits, parents = torch.randn(6, 5, requires_grad=True), torch.tensor([0, 0, 1, 1, 2])
    classes = torch.tensor([0, 3, -1, 4, 1, -1])
    loss = implied_cross_entropy(logits, classes, parents)
    shares = logits.detach().softmax(dim=1)
    by_hand = -sum(
        math.log(float(shares[row, parents == parents[label]].sum()))
        for row, label in enumerate(classes.tolist())
        if label >= 0
    )
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-5)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[[2, 5]] == 0).all()


def test_a_wrong_town_of_the_right_municipality_is_no_fault_of_the_municipality():
    right, wrong = (
        implied_cross_entropy(20 * torch.eye(4)[[said]], torch.tensor([0]), torch.tensor([7, 7, 3, 3])) for said in (1, 2)
    )
    assert float(right) < 1e-6
    assert float(wrong) > 10

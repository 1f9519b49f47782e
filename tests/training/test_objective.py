"""The loss of a step against sums done by hand, and against itself shared out over ranks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.tables import TASKS
from geoloc_pipeline.training.config import make_config
from geoloc_pipeline.training.objective import Objective, Terms
from geoloc_pipeline.training.ranks import Ranks

COUNTS = {"prefecture": 3, "municipality": 4, "town": 2, "road": 0, "landmark": 0}
ALONE = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))
NOBODY = torch.empty(0, 2)


def objective(**overrides: object) -> Objective:
    torch.manual_seed(3)
    config = make_config("demo", {"input_px": 32, "location_width": 8, "same_place_km": 0.0, **overrides})
    architecture = GeolocatorConfig("test_vit", 32, COUNTS, (1.0, 16.0), 8)
    tasks = {
        task: TaskClasses(
            codes=tuple(map(str, range(count))), names=("",) * count, n_train=tuple(range(1, count + 1)),
            weights=tuple(1.0 / (index + 1) for index in range(count)),
        )
        for task, count in COUNTS.items()
    }  # fmt: skip
    return Objective(Geolocator(architecture), Vocabulary(tasks=tasks), config, ALONE).eval()


def terms_of(loss: Objective, pixels: torch.Tensor, classes: torch.Tensor, places: torch.Tensor, queued: torch.Tensor) -> Terms:
    return loss(pixels, loss.targets(classes, places, queued))


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    classes = torch.full((count, len(TASKS)), -1)
    classes[:, 0] = torch.randint(0, 3, (count,), generator=random)
    classes[::2, 1] = torch.randint(0, 4, ((count + 1) // 2,), generator=random)
    places = torch.rand(count, 2, generator=random) * 10 + torch.tensor([30.0, 130.0])
    return torch.randn(count, 3, 32, 32, generator=random), classes, places


def test_the_total_is_the_plain_sum_of_the_terms():
    loss = objective()
    pixels, classes, places = batch()
    terms = terms_of(loss, pixels, classes, places, NOBODY)
    assert loss.names == ("prefecture", "municipality", "town", "contrastive")
    answer = loss.model(pixels)
    prefecture = F.cross_entropy(answer.logits["prefecture"], classes[:, 0], weight=loss.weights_prefecture)
    municipality = F.cross_entropy(
        answer.logits["municipality"], classes[:, 1], weight=loss.weights_municipality, ignore_index=-1
    )
    similarity = loss.model.embed(pixels) @ loss.model.embed_places(places).T * loss.model.scale()
    contrast = F.cross_entropy(similarity, torch.arange(len(pixels)))
    expected = torch.stack([prefecture, municipality, torch.tensor(0.0), contrast])
    assert torch.allclose(terms.parts, expected, atol=1e-5)
    assert torch.allclose(terms.total, expected.sum(), atol=1e-5)


def test_a_batch_without_any_label_still_gives_finite_gradients():
    loss = objective()
    pixels, classes, places = batch()
    terms_of(loss, pixels, torch.full_like(classes, -1), places, NOBODY).total.backward()
    assert all(torch.isfinite(p.grad).all() for p in loss.model.parameters() if p.grad is not None)


def test_queued_places_are_further_negatives_and_close_ones_can_be_left_out():
    pixels, classes, places = batch(1)
    twin = places + 1e-4  # 14 m away
    assert float(terms_of(objective(), pixels, classes, places, NOBODY).parts[-1]) == pytest.approx(0.0)
    assert float(terms_of(objective(), pixels, classes, places, twin).parts[-1]) == pytest.approx(math.log(2), abs=1e-2)
    assert float(terms_of(objective(same_place_km=0.1), pixels, classes, places, twin).parts[-1]) == pytest.approx(0.0)
    assert float(terms_of(objective(same_place_km=0.01), pixels, classes, places, twin).parts[-1]) > 0.6


@pytest.mark.parametrize(("knob", "value"), [("class_weighting", "none"), ("logit_adjust_tau", 1.0)])
def test_weights_and_prior_are_switches(knob: str, value: object):
    pixels, classes, places = batch()
    assert not torch.allclose(
        terms_of(objective(), pixels, classes, places, NOBODY).parts[0],
        terms_of(objective(**{knob: value}), pixels, classes, places, NOBODY).parts[0],
    )


def test_the_priors_and_weights_are_no_part_of_the_saved_model():
    assert not [name for name in objective().state_dict() if "weights_" in name or "prior" in name]


def test_validation_counts_what_is_right_among_what_is_labelled():
    loss = objective()
    pixels, classes, _ = batch()
    counts = loss.validate(pixels, classes)
    right = (loss.model(pixels).logits["prefecture"].argmax(dim=1) == classes[:, 0]).sum()
    assert counts[0, 2] == right
    assert counts[:, 3].tolist() == [6, 3, 0]
    assert counts[2].tolist() == [0, 0, 0, 0]


def test_portions_of_a_batch_add_up_to_the_whole_in_loss_and_gradients():
    whole, parts = objective(same_place_km=1.0, hierarchy_weight=0.5), objective(same_place_km=1.0, hierarchy_weight=0.5)
    pixels, classes, places = batch(6)
    queued = places[:2] + 0.3
    total = terms_of(whole, pixels, classes, places, queued)
    total.total.backward()
    targets, sums = parts.targets(classes, places, queued), []
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        terms = parts(pixels[rows], targets.portion(rows))
        terms.total.backward()
        sums.append(terms.parts)
    assert torch.allclose(torch.stack(sums).sum(dim=0), total.parts, atol=1e-5)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        if one.grad is not None:
            assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_the_other_direction_is_half_of_the_symmetric_contrast():
    pixels, classes, places = batch()
    loss = objective(contrastive_symmetric=True)
    similarity = loss.model.embed(pixels) @ loss.model.embed_places(places).T * loss.model.scale()
    own = torch.arange(len(pixels))
    both = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2
    assert torch.allclose(terms_of(loss, pixels, classes, places, NOBODY).parts[-1], both, atol=1e-5)


def test_views_together_are_judged_each_by_itself_and_by_their_mean():
    loss = objective(views_together=2, same_place_km=0.5, contrastive=False)
    pixels, classes, places = batch(6)
    classes, places = classes[::2].repeat_interleave(2, dim=0), places[::2].repeat_interleave(2, dim=0)
    logits = loss.model(pixels).logits["prefecture"]
    weights = loss.weights_prefecture
    each = F.cross_entropy(logits, classes[:, 0], weight=weights)
    mean = F.cross_entropy(logits.view(3, 2, -1).mean(dim=1), classes[::2, 0], weight=weights)
    assert torch.allclose(terms_of(loss, pixels, classes, places, NOBODY).parts[0], (each + mean) / 2, atol=1e-5)


def test_what_a_task_implies_of_the_one_above_is_a_term_of_its_own():
    pixels, classes, places = batch()
    loss = objective(hierarchy_weight=2.0)
    assert loss.names == (
        "prefecture", "municipality", "town", "municipality_of_town", "prefecture_of_municipality", "contrastive",
    )  # fmt: skip
    parts = terms_of(loss, pixels, classes, places, NOBODY).parts
    # The codes here are one digit long: every class is a parent of its own, so the term is the plain cross entropy.
    plain = F.cross_entropy(loss.model(pixels).logits["municipality"], classes[:, 1], ignore_index=-1)
    assert parts[4] == pytest.approx(2.0 * float(plain), rel=1e-4)
    assert parts[3] == 0  # no picture here has a town

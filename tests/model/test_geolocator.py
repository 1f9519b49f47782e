"""The model as a whole."""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from geoloc_pipeline.model.geolocator import LARGEST_SCALE, Geolocator, GeolocatorConfig

SMALL = GeolocatorConfig(
    backbone="test_vit",
    input_px=32,
    class_counts={"prefecture": 3, "municipality": 5, "town": 7, "road": 2, "landmark": 0},
    location_sigmas=(1.0, 16.0),
    location_width=16,
)


def test_five_heads_read_the_512_numbers_and_a_task_without_classes_has_none():
    answer = Geolocator(SMALL)(torch.zeros(4, 3, 32, 32))
    assert answer.embedding.shape == (4, 512)
    assert {task: logits.shape[1] for task, logits in answer.logits.items()} == {
        "prefecture": 3, "municipality": 5, "town": 7, "road": 2,
    }  # fmt: skip


def test_embeddings_of_pictures_and_places_have_unit_length():
    model = Geolocator(SMALL).eval()
    pictures = model.embed(torch.randn(3, 3, 32, 32))
    places = model.embed_places(torch.tensor([[35.0, 139.0], [26.2, 127.7]]))
    assert torch.allclose(pictures.norm(dim=1), torch.ones(3), atol=1e-6)
    assert torch.allclose(places.norm(dim=1), torch.ones(2), atol=1e-6)
    assert pictures.dtype == places.dtype == torch.float32


def test_the_searched_vector_is_the_direction_of_what_the_heads_read():
    model, pixels = Geolocator(SMALL).eval(), torch.randn(2, 3, 32, 32)
    assert torch.allclose(model.embed(pixels), torch.nn.functional.normalize(model(pixels).embedding, dim=1), atol=1e-6)


def test_one_pass_gives_the_embedding_and_the_backbones_output_at_unit_length_in_fp32_under_autocast_too():
    model, pixels = Geolocator(SMALL).eval(), torch.randn(3, 3, 32, 32)
    embedding, token = model.embed_with_tokens(pixels)
    assert torch.equal(embedding, model.embed(pixels))
    assert torch.allclose(token, torch.nn.functional.normalize(model.backbone(pixels), dim=1), atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        halves = model.embed_with_tokens(pixels)
    for half, exact in zip(halves, (embedding, token), strict=True):
        assert half.dtype == torch.float32
        assert torch.allclose(half.norm(dim=1), torch.ones(3), atol=1e-6)
        assert ((half * exact).sum(dim=1) > 0.999).all()


def test_the_temperature_starts_at_0_07_and_is_bounded():
    model = Geolocator(SMALL)
    assert abs(float(model.scale().detach()) - 1 / 0.07) < 1e-4
    model.log_scale.data.fill_(10.0)
    assert float(model.scale().detach()) == LARGEST_SCALE


def test_the_config_survives_a_file():
    assert GeolocatorConfig.from_dict(json.loads(json.dumps(SMALL.as_dict()))) == SMALL
    assert GeolocatorConfig.from_dict(replace(SMALL, location_width=8).as_dict()) != SMALL

"""Pictures to vectors: whatever their shape, companions, precision, batch and memory."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from geoloc_pipeline.errors import GpuMemoryError, ImageError
from geoloc_pipeline.model.saved import load_geolocator
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.embedding.views import ViewBatch


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint)


def batch_of(*pixels: np.ndarray, side_px: int = 32) -> ViewBatch:
    squares = torch.from_numpy(np.stack([each[:side_px, :side_px] for each in pixels]))
    return ViewBatch(
        rows=slice(0, len(pixels)), pixels=squares, counts=np.ones(len(pixels), np.int64), made_from=[""] * len(pixels)
    )


class Watched(nn.Module):
    """A backbone that notes how many pictures it is shown, and holds no more than `room` of them."""

    def __init__(self, backbone: nn.Module, *, room: int = 1_000) -> None:
        super().__init__()
        self.backbone, self.room, self.shown = backbone, room, []

    def forward(self, pixels):
        self.shown.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("no room")
        return self.backbone(pixels)


def watched(checkpoint, **settings) -> tuple[Embedder, Watched]:
    room = settings.pop("room", 1_000)
    saved = load_geolocator(checkpoint)
    backbone = Watched(saved.model.backbone, room=room)
    saved.model.backbone = backbone
    return Embedder(replace(saved), **settings), backbone


def test_vectors_have_unit_length_whatever_the_shape_of_the_picture(embedder, noise):
    vectors = embedder.embed_views([noise(1), noise(2, 60, 80), noise(3, 300, 20), noise(4, 32, 128)])
    assert vectors.shape == (4, 512)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_picture_gives_no_vector(embedder):
    assert embedder.embed_views([]).shape == (0, 512)
    assert embedder.read_views([]).heads["prefecture"].shape == (0, 3)
    assert list(embedder.embed_batches([])) == []


def test_a_panorama_is_the_direction_of_the_mean_of_its_views(embedder, noise):
    views = [noise(number) for number in range(4)]
    mean = embedder.embed_views(views).mean(axis=0)
    assert np.allclose(embedder.embed_views([np.hstack(views)])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_vector_does_not_depend_on_its_companions(embedder, noise):
    views = [noise(number) for number in range(7)]
    together = embedder.embed_views(views)
    assert np.allclose(together, np.concatenate([embedder.embed_views([view]) for view in views]), atol=1e-5)


def test_one_pass_gives_the_vectors_and_what_the_heads_say(embedder, noise):
    pictures = [noise(1), noise(2, 48, 64)]
    found = embedder.read_views(pictures)
    assert np.allclose(found.embedding, embedder.embed_views(pictures), atol=1e-6)
    assert set(found.heads) == {"prefecture"}
    assert np.allclose(found.heads["prefecture"].sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "strange", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_what_is_not_rgb_is_refused(embedder, strange):
    with pytest.raises(ImageError, match=r"RGB uint8"):
        embedder.embed_views([strange])


def test_batches_come_back_in_order_with_what_each_alone_would_give(embedder, noise):
    batches = [batch_of(noise(3 * n), noise(3 * n + 1), noise(3 * n + 2)) for n in range(6)]
    found = list(embedder.embed_batches(batches))
    assert [batch for batch, _ in found] == batches
    for batch, vectors in found:
        assert np.array_equal(vectors.embedding, embedder.embed_views(list(batch.pixels.numpy())))
        assert vectors.token.shape == (3, 0)


def test_a_pass_with_tokens_gives_the_same_embeddings_and_the_backbones_output(embedder, checkpoint, noise):
    batch = batch_of(noise(1), noise(2))
    ((_, alone),) = embedder.embed_batches([batch])
    ((_, both),) = embedder.embed_batches([batch], tokens=True)
    assert np.array_equal(alone.embedding, both.embedding)
    model = load_geolocator(checkpoint).model
    with torch.inference_mode():
        features = model.backbone(model.preprocessing.batch(batch.pixels.numpy())).numpy()
    assert both.token.dtype == np.float16
    assert both.token.shape == (2, embedder.token_width)
    assert np.allclose(both.token, features / np.linalg.norm(features, axis=1, keepdims=True), atol=1e-3)


def test_bf16_says_the_same_and_its_vectors_are_normalised_in_fp32(checkpoint, embedder, noise):
    half = Embedder(load_geolocator(checkpoint), precision="bf16")
    views = [noise(number) for number in range(8)]
    found, exact = half.embed_views(views), embedder.embed_views(views)
    assert not np.array_equal(found, exact)
    assert ((found * exact).sum(axis=1) > 0.999).all()
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_out_of_memory_the_batch_is_halved_until_it_fits_and_stays_so(checkpoint, embedder, noise, caplog):
    small, backbone = watched(checkpoint, room=3, batch=16)
    views = [noise(number) for number in range(11)]
    with caplog.at_level(logging.WARNING):
        assert np.allclose(small.embed_views(views), embedder.embed_views(views), atol=1e-5)
    assert (small.batch, max(backbone.shown[-6:])) == (2, 2)
    assert "batches of 2 pictures" in caplog.text
    backbone.shown.clear()
    small.embed_views(views)
    assert backbone.shown == [2, 2, 2, 2, 2, 1]


def test_when_not_even_one_picture_fits_the_error_says_so(checkpoint, noise):
    none, _ = watched(checkpoint, room=0, batch=4)
    with pytest.raises(GpuMemoryError, match=r"4 pictures.*not even one"):
        none.embed_views([noise(1)])


def test_compiled_it_is_shown_batches_of_one_size_only(checkpoint, embedder, noise):
    fixed, backbone = watched(checkpoint, batch=4)
    batches = [batch_of(noise(1), noise(2), noise(3), noise(4)), batch_of(noise(5))]
    with torch.compiler.set_stance("force_eager"):
        fixed.compile()
        found = [vectors.embedding for _, vectors in fixed.embed_batches(batches)]
    assert backbone.shown == [4, 4]
    assert [len(each) for each in found] == [4, 1]
    assert np.allclose(found[1], embedder.embed_views([noise(5)[:32, :32]]), atol=1e-5)

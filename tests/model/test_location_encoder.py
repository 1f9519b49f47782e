"""The location encoder against published numbers, pyproj, and its own float64."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pyproj
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.model.location_encoder import SIGMAS, FourierFeatures, LocationEncoder, equal_earth

EQUAL_EARTH = pyproj.Transformer.from_crs("+proj=latlong +R=1", "+proj=eqearth +R=1", always_xy=True)


def japan(count: int) -> torch.Tensor:
    rng = np.random.default_rng(1)
    return torch.tensor(np.stack([rng.uniform(24, 46, count), rng.uniform(123, 146, count)], axis=1), dtype=torch.float32)


@settings(max_examples=200, deadline=None)
@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_the_projection_is_equal_earth_as_proj_computes_it(lat: float, lon: float):
    ours = equal_earth(torch.tensor([[lat, lon]], dtype=torch.float64))[0] * 180 / 66.50336
    assert np.allclose(ours.numpy(), EQUAL_EARTH.transform(lon, lat), atol=1e-9)


def test_the_projection_gives_the_golden_values_of_the_released_code(shared_data):
    golden = json.loads((shared_data / "geoclip" / "geoclip_location_encoder_golden.json").read_text())["points"]
    places = torch.tensor([[point["lat"], point["lon"]] for point in golden], dtype=torch.float64)
    assert np.allclose(equal_earth(places).numpy(), [point["proj"] for point in golden], atol=1e-7)


def test_poles_and_antimeridian_are_finite():
    places = torch.tensor([[90.0, 0.0], [-90.0, 180.0], [0.0, 180.0], [0.0, -180.0], [0.0, 0.0]])
    assert torch.isfinite(LocationEncoder(SIGMAS["best"], width=16)(places)).all()


@pytest.mark.parametrize("name", ["paper", "best"])
def test_autocast_to_bfloat16_changes_the_direction_by_less_than_a_ten_thousandth(name: str):
    torch.manual_seed(0)
    encoder, places = LocationEncoder(SIGMAS[name], width=128), japan(500)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(places)
    exact = encoder.double()(places.double())
    assert torch.cosine_similarity(rough.double(), exact).min() > 0.9999
    assert len(torch.unique(rough, dim=0)) == len(places)


def as_tf32(values: torch.Tensor) -> torch.Tensor:
    """Return float32 numbers with the ten bits after the point that a TF32 product reads of them."""
    bits = values.detach().contiguous().view(torch.int32)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("name", ["paper", "best"])
def test_tf32_products_change_the_direction_by_less_than_a_ten_thousandth(name: str):
    torch.manual_seed(0)
    encoder, places = LocationEncoder(SIGMAS[name], width=128), japan(500)
    exact = LocationEncoder(SIGMAS[name], width=128).double()
    exact.load_state_dict(encoder.state_dict())
    for layer in encoder.modules():
        if isinstance(layer, torch.nn.Linear):  # every matrix product there is; phases are formed element by element
            layer.weight.data = as_tf32(layer.weight)
            layer.register_forward_pre_hook(lambda _, inputs: (as_tf32(inputs[0]),))
    with torch.no_grad():
        rough = encoder(places)
        assert not torch.equal(rough, exact.float()(places))
        exact.double()
        assert torch.cosine_similarity(rough.double(), exact(places.double())).min() > 0.9999


def test_phases_keep_their_digits_under_autocast_even_for_the_finest_scale():
    torch.manual_seed(0)
    features, plane = FourierFeatures(4096.0), equal_earth(japan(300))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = features(plane)
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(rough.double(), features(plane.double())).min() > 0.9999


def test_the_output_is_the_sum_of_the_capsules():
    encoder, places = LocationEncoder(SIGMAS["geoclip"], width=32), japan(5)
    parts = [getattr(encoder, f"LocEnc{index}")(equal_earth(places)) for index in range(3)]
    assert torch.allclose(encoder(places), parts[0] + parts[1] + parts[2], atol=1e-6)


def test_layers_carry_the_names_and_shapes_of_the_published_weights():
    state = LocationEncoder(SIGMAS["geoclip"]).state_dict()
    assert len(state) == 3 * 9
    assert state["LocEnc0.capsule.0.b"].shape == (256, 2)
    assert state["LocEnc2.capsule.5.weight"].shape == (1024, 1024)
    assert state["LocEnc1.head.0.weight"].shape == (512, 1024)


def test_the_depth_of_the_mlp_is_a_switch():
    assert len(LocationEncoder((1.0,), hidden_layers=4).state_dict()) == len(LocationEncoder((1.0,)).state_dict()) + 2


def test_a_larger_sigma_tells_closer_places_apart():
    torch.manual_seed(0)
    tokyo_and_10_km_north = equal_earth(torch.tensor([[35.681, 139.767], [35.771, 139.767]], dtype=torch.float64))
    likeness = []
    for sigma in SIGMAS["best"]:
        features = FourierFeatures(sigma)(tokyo_and_10_km_north)
        likeness.append(float(torch.cosine_similarity(features[0], features[1], dim=0)))
    assert likeness[:5] == sorted(likeness[:5], reverse=True)
    assert likeness[0] > 0.999
    assert abs(likeness[-1]) < 0.2


@pytest.mark.parametrize("sigmas", [(), (1.0, -4.0)])
def test_impossible_sigmas_are_refused(sigmas: tuple[float, ...]):
    with pytest.raises(SettingError, match="location_sigmas"):
        LocationEncoder(sigmas)


@pytest.mark.online
def test_the_published_weights_load_and_give_the_golden_values(shared_data, tmp_path):
    pip = [sys.executable, "-m", "pip", "download", "geoclip==1.3.0", "--no-deps", "-d", str(tmp_path)]
    subprocess.run(pip, check=True, capture_output=True)
    wheel = next(tmp_path.glob("geoclip-*.whl"))
    weights = zipfile.ZipFile(wheel).extract("geoclip/model/weights/location_encoder_weights.pth", tmp_path)
    encoder = LocationEncoder(SIGMAS["geoclip"])
    encoder.load_state_dict(torch.load(weights, weights_only=True), strict=True)
    golden = json.loads((shared_data / "geoclip" / "geoclip_location_encoder_golden.json").read_text())
    with torch.no_grad():
        encoded = encoder(torch.tensor([[point["lat"], point["lon"]] for point in golden["points"]]))
    assert np.allclose(encoded[:, :16], [point["first16"] for point in golden["points"]], atol=1e-4)
    assert np.allclose(encoded.norm(dim=1), [point["norm"] for point in golden["points"]], atol=1e-4)
    unit = torch.nn.functional.normalize(encoded, dim=1)
    assert np.allclose(unit @ unit.T, golden["cosine"], atol=1e-4)

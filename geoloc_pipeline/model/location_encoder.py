"""GeoCLIP's location encoder: Equal Earth projection, random Fourier features per scale, one MLP per scale, summed.

Layer names are those of the published weights (`LocEnc0.capsule.0.b`, …), so that they load with `strict=True`.

Paper: §3.2. Source: GeoCLIP (arXiv 2309.16020) and its released code, `location_encoder.py` and `rff/`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from geoloc_pipeline.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGMAS = {
    "geoclip": (1.0, 16.0, 256.0),  # the released model
    "paper": (1.0, 4.0, 16.0, 64.0, 256.0),  # §3.2
    "best": (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0),  # 256 cannot tell places within ~10 km apart; 4096 reaches 0.7 km
}
FREQUENCIES = 256  # random frequencies per scale; cosine and sine of each make the paper's 512 features (§3.2)

_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796  # Equal Earth polynomial (Savric, Patterson, Jenny 2018)
_SCALE = 66.50336 / 180.0  # GeoCLIP's SF / 180: brings x into [-1, 1]


def equal_earth(places: Tensor) -> Tensor:
    """Return places in GeoCLIP's plane: Equal Earth on the unit sphere, times 66.50336 / 180.

    Computed in the type of `places`, outside autocast. The plane is not conformal: at 36°N one unit is 17,843 km from west to
    east and 14,421 km from south to north.

    Args:
        places: `[n, 2]` latitude and longitude in WGS 84 degrees, float32 or float64.

    Returns:
        `[n, 2]` (x, y); x in [-1, 1], y in [-0.49, 0.49].
    """
    with torch.autocast(places.device.type, enabled=False):
        lat, lon = torch.deg2rad(places[:, 0]), torch.deg2rad(places[:, 1])
        theta = torch.asin(math.sqrt(3.0) / 2.0 * torch.sin(lat))
        squared = theta * theta
        slope = _A1 + squared * (3 * _A2 + squared**2 * (7 * _A3 + squared * 9 * _A4))
        x = 2.0 * math.sqrt(3.0) * lon * torch.cos(theta) / (3.0 * slope)
        y = theta * (_A1 + squared * (_A2 + squared**2 * (_A3 + squared * _A4)))
        return torch.stack([x, y], dim=1) * _SCALE


class FourierFeatures(nn.Module):
    """Cosines and sines of random frequencies: `[n, 2]` places in the plane to `[n, 512]` features.

    Phases are formed element by element in the type of the input, outside autocast: a matrix product would run in bfloat16
    (or TF32), which rounds all of Japan onto steps of 28 to 70 km and leaves nothing of the finer scales.
    """

    b: Tensor

    def __init__(self, sigma: float, *, frequencies: int = FREQUENCIES) -> None:
        super().__init__()
        self.register_buffer("b", torch.randn(frequencies, 2) * sigma)

    def forward(self, plane: Tensor) -> Tensor:
        """Return `[n, 2 * frequencies]` features of `[n, 2]` places in the plane."""
        with torch.autocast(plane.device.type, enabled=False):
            b = self.b.to(plane.dtype)
            turns = plane[:, 0:1] * b[:, 0] + plane[:, 1:2] * b[:, 1]
            phases = 2.0 * math.pi * (turns - torch.round(turns))  # whole turns carry nothing and cost digits
            return torch.cat([torch.cos(phases), torch.sin(phases)], dim=1)


class Capsule(nn.Module):
    """The features of one scale through an MLP with ReLU."""

    def __init__(self, sigma: float, *, width: int, hidden_layers: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [FourierFeatures(sigma)]
        inputs = 2 * FREQUENCIES
        for _ in range(hidden_layers):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        self.capsule = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(inputs, size))

    def forward(self, plane: Tensor) -> Tensor:
        """Return `[n, size]` of `[n, 2]` places in the plane."""
        encoded: Tensor = self.head(self.capsule(plane))
        return encoded


class LocationEncoder(nn.Module):
    """Places to vectors that lie close when the places do; one capsule per scale, summed with equal weight.

    The output is not normalised. A larger sigma tells closer places apart (§3.2): the kernel of sigma 256 is 10.6 km wide.

    Attributes:
        sigmas: Standard deviations of the frequencies, in cycles per unit of the plane.
    """

    def __init__(
        self,
        sigmas: Sequence[float] = SIGMAS["paper"],
        *,
        width: int = 1024,
        hidden_layers: int = 3,
        size: int = 512,
    ) -> None:
        """Build the encoder with fresh weights.

        Args:
            sigmas: One capsule each.
            width: Of the hidden layers; the paper's is 1024 (§3.2).
            hidden_layers: Before the last linear layer. GeoCLIP's released code has 3; the paper's "5-layer MLP" is 4
                hidden layers and the last one.
            size: Of the output.

        Raises:
            SettingError: No sigma, or one that is not positive.
        """
        super().__init__()
        if not sigmas or min(sigmas) <= 0:
            raise SettingError(setting="location_sigmas", value=tuple(sigmas), cure="give one or more positive numbers")
        self.sigmas = tuple(float(sigma) for sigma in sigmas)
        for index, sigma in enumerate(self.sigmas):
            self.add_module(f"LocEnc{index}", Capsule(sigma, width=width, hidden_layers=hidden_layers, size=size))

    def forward(self, places: Tensor) -> Tensor:
        """Return `[n, size]` vectors of `[n, 2]` places (latitude, longitude in WGS 84 degrees)."""
        plane = equal_earth(places)
        capsules = [getattr(self, f"LocEnc{index}")(plane) for index in range(len(self.sigmas))]
        return torch.stack(capsules).sum(dim=0)

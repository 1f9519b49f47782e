"""The model: a picture to 512 numbers, five answers about its place, and a place to 512 numbers.

Paper: §3.2, fig. 1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from geoloc_pipeline.model.backbone import build_backbone, output_width, preprocessing_of
from geoloc_pipeline.model.location_encoder import SIGMAS, LocationEncoder
from geoloc_pipeline.tables import EMBEDDING_SIZE, TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SCALE = 1.0 / 0.07  # CLIP's and GeoCLIP's temperature at the start
LARGEST_SCALE = 100.0  # CLIP's bound; GeoCLIP's code has none and its trained scale is 39.7


@dataclass(frozen=True)
class GeolocatorConfig:
    """Everything that the architecture depends on; with the weights it is the model.

    Attributes:
        backbone: timm's name.
        input_px: Side of the square that the backbone sees.
        class_counts: Classes of each head; a task without classes has no head.
        location_sigmas: Scales of the location encoder.
        location_width: Width of its hidden layers.
        location_hidden_layers: How many of them.
    """

    backbone: str
    input_px: int
    class_counts: Mapping[str, int]
    location_sigmas: tuple[float, ...] = SIGMAS["paper"]
    location_width: int = 1024
    location_hidden_layers: int = 3

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        plain = asdict(self)
        return {**plain, "location_sigmas": list(self.location_sigmas), "class_counts": dict(self.class_counts)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> GeolocatorConfig:
        """Return the config that `as_dict` wrote."""
        return cls(**{**plain, "location_sigmas": tuple(plain["location_sigmas"])})


class Answer(NamedTuple):
    """What the model says of pictures.

    Attributes:
        embedding: `[n, 512]`, not normalised; the heads' input and, at unit length, what is searched.
        logits: `[n, classes]` of each task that has classes.
    """

    embedding: Tensor
    logits: dict[str, Tensor]


class Geolocator(nn.Module):
    """Image encoder, five heads and location encoder (§3.2).

    Attributes:
        config: Its architecture.
        preprocessing: How pictures become its input.
        tasks: Tasks that have a head.
    """

    def __init__(self, config: GeolocatorConfig, *, weights: str = "none") -> None:
        """Build the model; random numbers come from torch's global generator.

        Args:
            config: The architecture.
            weights: Of the backbone: `hub`, `none` or the path of a safetensors file.
        """
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, input_px=config.input_px, weights=weights)
        self.preprocessing = preprocessing_of(self.backbone, input_px=config.input_px)
        width = output_width(self.backbone, input_px=config.input_px)
        # §3.2: "the 1024 features before the output layer, pressed into 512 by a new linear layer"
        self.projection = nn.Linear(width, EMBEDDING_SIZE)
        # §3.2: "linear layers that infer prefecture, municipality, town, road and landmark from the 512 features"
        self.tasks = tuple(task for task in TASKS if config.class_counts.get(task, 0) > 0)
        self.heads = nn.ModuleDict({task: nn.Linear(EMBEDDING_SIZE, config.class_counts[task]) for task in self.tasks})
        self.location_encoder = LocationEncoder(
            config.location_sigmas,
            width=config.location_width,
            hidden_layers=config.location_hidden_layers,
            size=EMBEDDING_SIZE,
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))

    def forward(self, pixels: Tensor) -> Answer:
        """Return embeddings and logits of normalised `[n, 3, input_px, input_px]` pictures."""
        embedding: Tensor = self.projection(self.backbone(pixels))
        return Answer(embedding=embedding, logits={task: self.heads[task](embedding) for task in self.tasks})

    def embed(self, pixels: Tensor) -> Tensor:
        """Return `[n, 512]` float32 embeddings of unit length."""
        return self.embed_with_tokens(pixels)[0]

    def embed_with_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return, of one pass, the `[n, 512]` embeddings of `embed` and the `[n, width]` outputs of the backbone, float32.

        Both are of unit length, and normalised in float32 whatever autocast says.
        """
        token = self.backbone(pixels)
        return F.normalize(self.projection(token).float(), dim=1), F.normalize(token.float(), dim=1)

    def embed_places(self, places: Tensor) -> Tensor:
        """Return `[n, 512]` float32 unit vectors of `[n, 2]` places (latitude, longitude in degrees)."""
        return F.normalize(self.location_encoder(places).float(), dim=1)

    def scale(self) -> Tensor:
        """Return the factor on cosines in the contrastive term: the inverse of the learned temperature."""
        return self.log_scale.exp().clamp(max=LARGEST_SCALE)

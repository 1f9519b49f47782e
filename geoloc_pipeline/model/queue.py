"""The queue of earlier places that serve as further negatives of the contrastive term.

It holds raw coordinates, encoded anew at every step. GeoCLIP's starts with random vectors near (0°, 0°), so its first dozens
of steps contrast Japan with the Gulf of Guinea; this one starts empty and only its filled part is ever handed out.

Paper: §3.2 (8192 places).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlaceQueue(nn.Module):
    """A ring of places. Under several ranks everyone must push the same places (gathered in rank order).

    Attributes:
        length: Places that fit; 0 keeps none.
    """

    places: Tensor
    cursor: Tensor
    filled: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.register_buffer("places", torch.zeros(length, 2))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def entries(self) -> Tensor:
        """Return `[filled, 2]` latitude and longitude in degrees of the places in the ring."""
        return self.places[: int(self.filled)]

    @torch.no_grad()
    def push(self, places: Tensor) -> None:
        """Add `[n, 2]` places; the oldest leave when the ring is full. Of more than fit, the last are kept."""
        if self.length == 0:
            return
        places = places[-self.length :].to(self.places)
        slots = (int(self.cursor) + torch.arange(len(places), device=self.places.device)) % self.length
        self.places[slots] = places
        self.cursor.fill_((int(self.cursor) + len(places)) % self.length)
        self.filled.fill_(min(self.length, int(self.filled) + len(places)))

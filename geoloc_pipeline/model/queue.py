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

    How full it is stands on the host: a number on the GPU would have to be waited for in every step.

    Attributes:
        length: Places that fit; 0 keeps none.
    """

    places: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.register_buffer("places", torch.zeros(length, 2))
        self._cursor = 0
        self._filled = 0

    def get_extra_state(self) -> dict[str, int]:
        """Return what of the ring is no tensor."""
        return {"cursor": self._cursor, "filled": self._filled}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take up what `get_extra_state` gave."""
        self._cursor, self._filled = state["cursor"], state["filled"]

    def entries(self) -> Tensor:
        """Return `[filled, 2]` latitude and longitude in degrees of the places in the ring."""
        return self.places[: self._filled]

    @torch.no_grad()
    def push(self, places: Tensor) -> None:
        """Add `[n, 2]` places; the oldest leave when the ring is full. Of more than fit, the last are kept."""
        if self.length == 0:
            return
        places = places[-self.length :].to(self.places)
        until_end = min(len(places), self.length - self._cursor)
        self.places[self._cursor : self._cursor + until_end] = places[:until_end]
        self.places[: len(places) - until_end] = places[until_end:]
        self._cursor = (self._cursor + len(places)) % self.length
        self._filled = min(self.length, self._filled + len(places))

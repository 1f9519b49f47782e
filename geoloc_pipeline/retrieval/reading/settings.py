"""What may be turned at the read-outs; chosen on validation pictures (`choice.py`), kept in the calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geoloc_pipeline.errors import SettingError


@dataclass(frozen=True)
class ReadoutSettings:
    """What a person may turn.

    Attributes:
        temperature: Of the softmax over cosine similarities; smaller: the best neighbours count more; infinite: all count the
            same. GeoCLIP's learned temperature is 0.025.
        bandwidth_km: Of the density mode: neighbours this near to each other speak for the same place.
        gate_weight: How much the log of the heads' probability counts beside similarity over temperature; 0: not at all.
    """

    temperature: float = 0.05
    bandwidth_km: float = 25.0
    gate_weight: float = 0.5

    def __post_init__(self) -> None:
        for name in ("temperature", "bandwidth_km"):
            if not getattr(self, name) > 0:
                raise SettingError(setting=f"read-out {name}", value=getattr(self, name), cure="give a number above 0")
        if not 0 <= self.gate_weight < math.inf:
            raise SettingError(setting="read-out gate_weight", value=self.gate_weight, cure="give 0 or a number above it")


DEFAULT_SETTINGS = ReadoutSettings()

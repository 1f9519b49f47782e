"""What an answer consists of, and the promise of its JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.pages import km
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.retrieval.embedding.queries import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class AnswerNeighbour:
    """One picture that speaks for an answer.

    Attributes:
        rank: 1 is the most similar.
        image_id: Of the picture.
        lat: Degrees.
        lon: Degrees.
        score: Cosine similarity to the photo.
        distance_km: From the answer.
        source: Provider or photo set; empty where the gallery does not know it.
    """

    rank: int
    image_id: str
    lat: float
    lon: float
    score: float
    distance_km: float
    source: str = ""


@dataclass(frozen=True)
class HeadGuess:
    """One class that a head of the model believes in.

    Attributes:
        code: Prefecture, municipality or town code, road_id or landmark_id.
        name: For people; empty where there is none.
        probability: Of the class, as the head says; heads are surer than they are right.
    """

    code: str
    name: str
    probability: float


@dataclass(frozen=True)
class Abstain:
    """When no answer shall be given; by default one is given always.

    Attributes:
        over_km: When the 90 % region's radius is larger than this, or is not known.
        below_familiarity: When the photo's familiarity is lower than this, or is not known.
    """

    over_km: float | None = None
    below_familiarity: float | None = None

    def __post_init__(self) -> None:
        if self.over_km is not None and not self.over_km > 0:
            raise SettingError(setting="abstain_over_km", value=self.over_km, cure="give a radius above 0 km")
        if self.below_familiarity is not None and not 0 < self.below_familiarity <= 1:
            raise SettingError(setting="abstain_below", value=self.below_familiarity, cure="give a share above 0, at most 1")

    def apply(self, answer: Answer) -> Answer:
        """Return the answer, abstained from with the reason where it is too uncertain."""
        reasons = []
        if self.over_km is not None:
            if answer.region_90_km is None:
                reasons.append("no region is calibrated")
            elif answer.region_90_km > self.over_km:
                reasons.append(f"the 90 % region has a radius of {km(answer.region_90_km)}, above {km(self.over_km)}")
        if self.below_familiarity is not None:
            if answer.familiarity is None:
                reasons.append("no familiarity is calibrated")
            elif answer.familiarity < self.below_familiarity:
                reasons.append(f"its familiarity is {answer.familiarity:.3f}, below {self.below_familiarity:g}")
        return replace(answer, is_abstained=True, abstain_text=f"No answer: {' and '.join(reasons)}.") if reasons else answer


@dataclass(frozen=True)
class Answer:
    """Where a photo was taken, as far as its neighbours tell.

    Attributes:
        lat: Degrees.
        lon: Degrees.
        readout: How the place was read from the neighbours.
        region_50_km: Radius that holds the truth in 50 of 100 cases; None when it is not calibrated.
        region_90_km: Radius that holds the truth in 90 of 100 cases; None when it is not calibrated.
        spread_km: Distance within which half of the neighbours' weight lies.
        neighbours: Best first.
        names: Prefecture, municipality and town of the place; empty when none is known.
        regions_text: Where the regions come from, in one sentence.
        model_version: Content hash of the checkpoint.
        kind: `whole` when three squares or more were seen (a panorama, several views), `one_view` otherwise.
        heads: By task, the five likeliest classes; empty for a model without heads.
        familiarity: Share of validation pictures, 0 to 1, that were no more like the gallery than this photo; small: unlike
            anything known; None when it is not calibrated.
        is_abstained: Whether the answer is too uncertain to be given; place and neighbours are there all the same.
        abstain_text: Why, in one sentence; empty otherwise.
        is_on_land: Whether the place lies in a town block of the census; None when no census is loaded. No: the sea, abroad, or
            a prefecture whose census is not loaded.
    """

    lat: float
    lon: float
    readout: str
    region_50_km: float | None
    region_90_km: float | None
    spread_km: float
    neighbours: tuple[AnswerNeighbour, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    regions_text: str = ""
    model_version: str = ""
    kind: Kind = "one_view"
    heads: Mapping[str, tuple[HeadGuess, ...]] = field(default_factory=dict)
    familiarity: float | None = None
    is_abstained: bool = False
    abstain_text: str = ""
    is_on_land: bool | None = None

    @property
    def is_in_box(self) -> bool:
        """Return whether the place lies in the box around Japan."""
        return bool(in_japan_box(lat=self.lat, lon=self.lon))

    def neighbours_within(self, limit_km: float) -> int:
        """Return how many neighbours lie within a distance of the answer."""
        return sum(neighbour.distance_km <= limit_km for neighbour in self.neighbours)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that any JSON writer takes; the keys are a promise to other programs."""
        return {
            "lat": self.lat,
            "lon": self.lon,
            "readout": self.readout,
            "kind": self.kind,
            "region_50_km": self.region_50_km,
            "region_90_km": self.region_90_km,
            "spread_km": self.spread_km,
            "familiarity": self.familiarity,
            "is_abstained": self.is_abstained,
            "abstain_text": self.abstain_text,
            "is_on_land": self.is_on_land,
            "names": dict(self.names),
            "regions_text": self.regions_text,
            "model_version": self.model_version,
            "heads": {task: [asdict(guess) for guess in guesses] for task, guesses in self.heads.items()},
            "neighbours": [asdict(neighbour) for neighbour in self.neighbours],
        }


def known(value: float) -> float | None:
    """Return a number, or None where it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None

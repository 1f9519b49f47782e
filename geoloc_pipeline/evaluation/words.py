"""Names of read-outs and baselines in tables, and what each is, in words for people."""

from __future__ import annotations

MEAN_POSITION = "mean_position"
UNTRAINED = "untrained"
PRIOR = "prior"
FROZEN_BACKBONE = "frozen_backbone"
GEOCLIP = "geoclip"
GEOCLIP_MODE = "geoclip_mode"
CLASSIFIER = {
    "prefecture": "classifier_prefecture",
    "municipality": "classifier_municipality",
    "town": "classifier_town",
}

BASELINES: dict[str, tuple[str, str]] = {
    MEAN_POSITION: ("Mean position", "always the mean place of the training pictures; looks at no picture"),
    PRIOR: ("Densest place", "always the place with the most training pictures within 25 km; looks at no picture"),
    UNTRAINED: ("Untrained encoder", "the same network before training, same gallery, same read-out"),
    FROZEN_BACKBONE: (
        "Frozen backbone",
        "nearest neighbours by what the backbone put out before training, same gallery, same read-out",
    ),
    CLASSIFIER["prefecture"]: ("Classifier, prefecture", "the middle of the training pictures of the likeliest prefecture"),
    CLASSIFIER["municipality"]: (
        "Classifier, municipality",
        "the middle of the training pictures of the likeliest municipality",
    ),
    CLASSIFIER["town"]: ("Classifier, town", "the middle of the training pictures of the likeliest town block"),
    GEOCLIP: (
        "Image to coordinates",
        "as GeoCLIP answers: of all gallery coordinates, the one whose location embedding is most like the picture's",
    ),
    GEOCLIP_MODE: (
        "Image to coordinates, mode",
        "where the 100 coordinates stand densest whose location embeddings are most like the picture's",
    ),
}
"""Name and explanation of every baseline."""

READOUT_WORDS: dict[str, tuple[str, str]] = {
    "centroid": ("Centroid", "centre of all neighbours (the paper's read-out, §4)"),
    "weighted": ("Weighted centre", "neighbours weigh by similarity"),
    "nearest": ("Nearest", "place of the most similar picture"),
    "mode": ("Density mode", "where the neighbours stand densest"),
    "gated": ("Gated mode", "the density mode, neighbours weighed by what the heads say of their areas"),
    "reranked": ("Re-ranked", "the neighbour that a small learned model holds most likely"),
}
"""Name and explanation of every read-out."""

WORDS = {**BASELINES, **READOUT_WORDS}
"""Name and explanation of everything that may stand in the result table."""

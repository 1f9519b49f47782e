"""What the paper states about itself, beside which our figures stand.

Its test pictures are not public; whether a figure compares is said where it is shown.
"""

from __future__ import annotations

TABLE_3 = (
    ("OSV5M", 339.0, 0.3, 13.2, 27.9),
    ("GeoCLIP", 413.0, 0.04, 1.3, 10.0),
    ("The paper", 25.0, 20.5, 83.7, 91.4),
)
"""Model, median km, and percent within 1, 25 and 100 km on the paper's own test pictures (§4, table 3)."""

TABLE_4 = (("兵庫県", 5.63), ("三重県", 3.57), ("千葉県", 3.35), ("茨城県", 3.09), ("長野県", 3.03))
"""The five prefectures that the paper's model answers most, in percent of 47,000 answers (§4, its second "table 4")."""

BIAS_STD_PCT, BIAS_PREFECTURES, BIAS_PER_PREFECTURE = 0.8325, 47, 1000
"""Standard deviation of the shares of 47 prefectures, with 1,000 pictures of each (§4)."""

HEADS_PCT = {"prefecture": 76.0, "municipality": 35.0, "town": 11.0, "road": 18.0, "landmark": 12.0}
"""Accuracy of the heads (§3.2); which pictures and whether top 1, the paper does not say."""

LATENCY_MEAN_S, LATENCY_STD_S, LATENCY_N = 1.012, 1.026, 100
"""Seconds a picture (§4)."""

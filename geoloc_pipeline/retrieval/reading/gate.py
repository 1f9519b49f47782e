"""The soft gate: how well each neighbour's area agrees with what the model's heads say of the query.

Nobody is shut out: a neighbour in an unlikely prefecture, municipality or town only weighs less (`readouts.read_gated`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geoloc_pipeline.retrieval.gallery.neighbours import AREAS
from geoloc_pipeline.tables import LABEL_IGNORED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
    from geoloc_pipeline.retrieval.embedding.heads import HeadTops
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours

FLOOR = -7.0
"""Least log of an area's probability over the likeliest one's, about 1 to 1,000: heads are surer than they are right."""


def gate_neighbours(neighbours: Neighbours, heads: Mapping[str, HeadTops], vocabulary: Vocabulary) -> Neighbours:
    """Return the neighbours with their `gate`: the mean, over the levels that are known, of log(p(area) / p(likeliest area)).

    A head can say nothing about an area that it has no class for (too few training pictures, no census, abroad). At that level
    such a neighbour gets the mean of the query's others: it neither gains nor loses against them.

    Args:
        neighbours: Of a search, arrays `[q, k]`, with `codes`.
        heads: By task, of the same q queries.
        vocabulary: Codes of the heads' classes.

    Returns:
        The same neighbours; `gate` is None where no level is known both to the gallery and to the heads.
    """
    levels = [
        _agreement(neighbours.codes[level], heads[level], vocabulary.tasks[level])
        for level in AREAS
        if level in neighbours.codes and level in heads and heads[level].n_classes > 1
    ]
    return replace(neighbours, gate=np.mean(levels, axis=0) if levels else None)


def _agreement(codes: NDArray[np.object_], said: HeadTops, task: TaskClasses) -> NDArray[np.float64]:
    """Return `[q, k]` logs of probability over that of the likeliest class, 0 at best."""
    if codes.size == 0:
        return np.zeros(codes.shape)
    which, names = pd.factorize(codes.ravel(), use_na_sentinel=False)
    classes = task.indices(names)[which].reshape(codes.shape)
    best = said.probability[:, :1].astype(np.float64)
    logs = np.log(np.maximum(said.of(classes), 1e-30) / np.maximum(best, 1e-30)).clip(FLOOR, 0.0)
    is_known = classes != LABEL_IGNORED
    counts = is_known.sum(axis=1, keepdims=True)
    neutral = np.where(is_known, logs, 0.0).sum(axis=1, keepdims=True) / np.maximum(counts, 1)
    return np.where(is_known, logs, neutral)

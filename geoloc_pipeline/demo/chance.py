"""Chance that depends on nothing but its keys: the same building gets the same dice in every process.

Belongs here: hashes of names to seeds, and counter-based uniform numbers for whole arrays of keys at once.
Does not belong here: what is drawn from them.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53
_MASK = 0xFFFFFFFFFFFFFFFF


def seed_of(*parts: object) -> int:
    """Gives 64 bits that depend on the parts' text alone, unlike Python's `hash`, which is salted per process.

    Args:
        parts: Anything whose `str` is stable.

    Returns:
        An integer in [0, 2**64).
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniform(seed: int, *keys: ArrayLike) -> NDArray[np.float64]:
    """Draws one number for every row of keys, the same whatever other rows are asked for.

    Args:
        seed: Any integer; its low 64 bits count.
        keys: Integers or integer arrays that broadcast together.

    Returns:
        float64 in [0, 1), in the keys' broadcast shape, at least one-dimensional.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014), chained over the keys.
    """
    numbers = [key for key in itertools.takewhile(lambda key: isinstance(key, int), keys) if isinstance(key, int)]
    start = seed & _MASK
    for number in numbers:
        start = _mixed_number(start ^ ((number + int(_GOLDEN)) & _MASK))  # the same sums, cheaper than arrays of one
    state = np.array([start], dtype=np.uint64)
    for key in keys[len(numbers) :]:
        state = _mixed(state ^ (np.atleast_1d(np.asarray(key)).astype(np.int64).astype(np.uint64) + _GOLDEN))
    state = _mixed(state + _GOLDEN)
    return (state >> np.uint64(11)).astype(np.float64) * _TO_UNIT


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Stirs 64 bits so that neighbouring inputs have nothing in common."""
    for shift, factor in ((np.uint64(30), _MIX_A), (np.uint64(27), _MIX_B)):
        state = state ^ (state >> shift)
        state *= factor
    return state ^ (state >> np.uint64(31))


def _mixed_number(state: int) -> int:
    """Stirs one number as `_mixed` stirs arrays."""
    for shift, factor in ((30, int(_MIX_A)), (27, int(_MIX_B))):
        state = ((state ^ (state >> shift)) * factor) & _MASK
    return state ^ (state >> 31)

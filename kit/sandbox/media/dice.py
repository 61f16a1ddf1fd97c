"""Chance that repeats itself: a generator from words; knows nothing of what is drawn with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["dice", "pick"]

T = TypeVar("T")


def dice(*words: object) -> np.random.Generator:
    """Return a generator that depends on the words alone, the same in every process."""
    text = "\x1f".join(str(word) for word in words)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:16], "big"))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of the options, each equally likely."""
    return options[int(rng.integers(len(options)))]

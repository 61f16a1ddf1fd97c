"""Owns how far files have come and how fast, as the service tells it; it must not know what they belong to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from kit.notebook.widgets.words import pace

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Arrived", "Flow", "Progress", "flow"]

FRESH_S = 10.0  # a rate that was told longer ago says nothing of now: the line may stand still


class Arrived(NamedTuple):
    """What was last told of one file being fetched: bytes, bytes in all, bytes a second, and when (monotonic)."""

    received: int
    total: int | None
    rate: float | None = None
    at: float = 0.0


Progress = dict[tuple[str, int], Arrived]


class Flow(NamedTuple):
    """Several files together: what is not known of one of them is not known of all."""

    received: int
    total: int | None
    rate: float | None

    @property
    def text(self) -> str:
        """Say it as ``23.4 of 80.1 MB, 3.1 MB/s, 18 s left``; nothing where nothing has arrived."""
        return pace(self.received, self.total, self.rate) if self.received else ""


def flow(files: Iterable[Arrived], *, now: float | None = None) -> Flow:
    """Return what `files` amount to at `now`, which is a monotonic time; only what still arrives has a rate."""
    told = list(files)
    moment = time.monotonic() if now is None else now
    rates = [f.rate for f in told if f.rate is not None and f.received != f.total and moment - f.at <= FRESH_S]
    totals = [f.total for f in told if f.total is not None]
    known = sum(totals) if totals and len(totals) == len(told) else None
    return Flow(sum(f.received for f in told), known, sum(rates) if rates else None)

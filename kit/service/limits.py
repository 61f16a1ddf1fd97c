"""Owns how long a download may take and how slow it may be, by the monotonic clock; it knows neither host nor disk."""

from __future__ import annotations

import math
import threading
import time

from kit.service.answer import NotFetched

__all__ = ["ANSWER_S", "Limit", "Pace"]

ANSWER_S = 60.0  # to connect and to have the whole head of an answer
OVERALL_S = 1800.0
OVERALL_RATE = 100_000  # bytes/s: what is large may take longer than that
FLOOR = 10_000  # bytes/s over a span of FLOOR_S
FLOOR_S = 60.0
TELL_EVERY_S = 0.1


class Limit(threading.Event):
    """Set where the work is to end: because somebody stops it, or because its time is over.

    Whoever reads from the network looks at it in every wait: a head that drips in keeps each timeout happy for ever.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop
        self.begin()

    def begin(self) -> None:
        """Start the clock of a new fetch."""
        self._begun = time.monotonic()
        self._seconds, self._answer_by = OVERALL_S, math.inf

    def expect(self, total: int | None) -> None:
        """Allow what is large the time that it needs; `total` in bytes."""
        self._seconds = max(self._seconds, (total or 0) / OVERALL_RATE)

    def answer_within(self, seconds: float) -> None:
        """Give the next answer's head so many seconds to be there."""
        self._answer_by = time.monotonic() + seconds

    def answered(self) -> None:
        """Take note that the head is there."""
        self._answer_by = math.inf

    def is_set(self) -> bool:
        """Return whether to give up now."""
        return self._stop.is_set() or time.monotonic() >= min(self._answer_by, self._begun + self._seconds)

    def check(self) -> None:
        """Raise `NotFetched` where the whole fetch is to end, not one request alone."""
        if self._stop.is_set():
            raise NotFetched("stopped before it was complete", away=True)
        if time.monotonic() >= self._begun + self._seconds:
            raise NotFetched(f"not complete after {self._seconds:.0f} s", away=True)

    def pause(self, seconds: float) -> None:
        """Wait, but not past the end."""
        self._stop.wait(seconds)
        self.check()


class Pace:
    """How fast one body comes, and when its progress is worth telling."""

    def __init__(self) -> None:
        self._since, self._bytes, self._told = time.monotonic(), 0, 0.0

    def too_slow(self, more: int) -> bool:
        """Count bytes; return whether the last span of FLOOR_S brought too few."""
        self._bytes += more
        passed = time.monotonic() - self._since
        if passed < FLOOR_S:
            return False
        slow = self._bytes < FLOOR * passed
        self._since, self._bytes = self._since + passed, 0
        return slow

    def tell_now(self) -> bool:
        """Return whether it is time to tell."""
        if time.monotonic() - self._told < TELL_EVERY_S:
            return False
        self._told = time.monotonic()
        return True

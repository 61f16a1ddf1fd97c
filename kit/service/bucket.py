"""Owns a token bucket: so many at once, so many a second afterwards; it must not know what is counted."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """Lets `burst` requests through at once and `rate` a second from then on; it never sleeps, it says how long to."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self._burst = rate, burst
        self._tokens, self._at = burst, float("-inf")

    def take(self, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one; `now` is a clock's that never goes
        back."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return max((1 - self._tokens) / self.rate, 1e-3)  # not 0, which would mean that it was taken
        self._tokens -= 1
        return 0.0

"""Owns how often a way is looked at and challenged, and what that costs; it must not know how either is done.

How soon a loss is noticed: what this machine can see (the agent's process, its list of endpoints, its log) is looked at
every 3 s. A black hole shows only in a challenge: one every 25 s in the ten minutes after a submission, answered within
4 s or not at all, so that it is known 29 s later; else one every 10 minutes for a day after the last submission; and
one at once (10 s apart at the least) when a poll found an end that no callback had told.

What that costs of the 20,000 requests a month of a free ngrok account: 24 in the ten minutes after a submission, 144 in
a day of waiting, thus 168 for a day with one submission and about 5,000 for a month of such days. Somebody who submits
all day long would pass 20,000 (8 h at 25 s are 1,152 a day), so there is a purse: it holds 1,000 challenges and gets
10,000 new ones in 30 days, one every 259 s. While it is empty there is one challenge every 10 minutes. So in no month
are there more than 11,000 from one service, and the other half is left to the callbacks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["Purse", "Rhythm"]


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often and how long, in seconds; the module's docstring has the arithmetic.

    Attributes:
        look_s: between two looks that cost no request.
        watch_s, watched_for_s: between two challenges after a submission, and for how long.
        idle_s, idle_for_s: the same, later.
        gap_s: between a challenge and the next one that is asked for.
        retry_s: between a challenge that failed and the one that decides.
        kept_s: how long a proof is good for submissions.
        timeout_s, patient_s: how long a challenge may take: of the watch, and of a submission or a second try.
        ready_s: how long a submission waits for a way that is being opened.
        mending_s: how long an agent that lost its session is given to get it back.
        pauses_s: before each next attempt to open; where only a person can mend it, `lasting_s`.
        steady_s: how long a way has to hold until the pauses begin anew.
        purse, refill_s: challenges held at the most, and between two new ones.
    """

    look_s: float = 3
    watch_s: float = 25
    watched_for_s: float = 600
    idle_s: float = 600
    idle_for_s: float = 86_400
    gap_s: float = 10
    retry_s: float = 2
    kept_s: float = 600
    timeout_s: float = 4
    patient_s: float = 10
    ready_s: float = 15
    mending_s: float = 30
    pauses_s: tuple[float, ...] = (1, 2, 5, 15, 60, 300)
    lasting_s: float = 600
    steady_s: float = 60
    purse: int = 1000
    refill_s: float = 259.2


class Purse:
    """A store of challenges that fills up slowly."""

    def __init__(self, size: int, refill_s: float) -> None:
        self._size, self._refill_s = size, refill_s
        self._held, self._at = float(size), time.monotonic()

    @property
    def full_enough(self) -> bool:
        """Tell whether there is a challenge to spend."""
        return self._now() >= 1

    def pay(self) -> None:
        """Take one out; a submission's own proof is owed where there is none."""
        self._held, self._at = max(self._now() - 1, -1.0), time.monotonic()

    def _now(self) -> float:
        return min(self._size, self._held + (time.monotonic() - self._at) / self._refill_s)

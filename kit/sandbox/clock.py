"""Owns the simulated provider's three times: real, work (scaled by speed) and shelf (days skipped); it knows no job."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.sandbox.store import Store

__all__ = ["DAY", "Clock"]

DAY = 86_400.0


class Clock:
    """Real time for callbacks and dates, work time for the provider's labour, shelf time for expiry.

    Work goes on while the program is not running, as a provider's does. A change of speed bends work time from now on.
    """

    def __init__(self, store: Store, *, speed: float | None = None, now: Callable[[], float] = time.time) -> None:
        self._store, self._now = store, now
        kept = store.get("settings", "clock") or {"real": now(), "work": 0.0, "speed": 20.0, "skipped": 0.0}
        self._real, self._work = float(kept["real"]), float(kept["work"])
        self._speed, self._skipped = float(kept["speed"]), float(kept["skipped"])
        self._bent = asyncio.Event()
        self.set_speed(self._speed if speed is None else speed)

    def real(self) -> float:
        """Return seconds since 1970."""
        return self._now()

    def work(self) -> float:
        """Return the seconds the provider has worked since its folder began."""
        return self._work + max(0.0, self._now() - self._real) * self._speed

    def shelf(self) -> float:
        """Return the time by which files expire: real time and the days skipped."""
        return self._now() + self._skipped

    @property
    def speed(self) -> float:
        """How many times faster than life the provider works."""
        return self._speed

    def set_speed(self, speed: float) -> None:
        """Work at `speed` times life from now on; callbacks, rate windows and expiry keep real time."""
        self._work, self._real = self.work(), self._now()
        self._speed = float(speed)
        self._keep()
        self._bent.set()
        self._bent = asyncio.Event()

    def skip(self, days: float) -> None:
        """Let `days` pass on the shelf; nothing else moves."""
        self._skipped += days * DAY
        self._keep()

    async def reach(self, work: float) -> None:
        """Return once work time has come to `work`."""
        while (left := work - self.work()) > 0:
            try:
                async with asyncio.timeout(left / self._speed):
                    await self._bent.wait()
            except TimeoutError:
                continue

    def _keep(self) -> None:
        kept = {"real": self._real, "work": self._work, "speed": self._speed, "skipped": self._skipped}
        self._store.put("settings", "clock", kept)

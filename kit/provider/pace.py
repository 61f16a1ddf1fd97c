"""Owns how often a generation request may leave; knows nothing of what is requested."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Pace"]


class Pace:
    """Let at most `limit` turns pass in any `window_s` seconds, in the order asked for (provider-api 13.2)."""

    def __init__(
        self,
        limit: int = 20,
        window_s: float = 10.2,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limit, self._window_s, self._clock, self._sleep = limit, window_s, clock, sleep
        self._left: deque[float] = deque()
        self._line = asyncio.Lock()

    async def turn(self) -> None:
        """Wait until one more request may leave, and count it."""
        async with self._line:
            while (wait := self._wait_s()) > 0:
                await self._sleep(wait)
            self._left.append(self._clock())

    def _wait_s(self) -> float:
        while self._left and self._clock() - self._left[0] >= self._window_s:
            self._left.popleft()
        if len(self._left) < self._limit:
            return 0.0
        return self._left[0] + self._window_s - self._clock()

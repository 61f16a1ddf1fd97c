"""Owns the way of one file from its links into its part file: link after link, told of as it goes.

It must not know the ledger, nor what becomes of the file.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kit.service.courier import Courier
from kit.service.download import NotFetched, Rules
from kit.service.kept import Slot
from kit.service.room import Room
from kit.service.shelf import Content

__all__ = ["Fetching", "Progress"]

_log = logging.getLogger(__name__)
TELL_EVERY_S = 0.2
LOG_EVERY_S = 10.0
RATE_OVER_S = 5.0
RATE_AFTER_S = 0.5  # a rate over less is a guess


class Fetching:
    """One file on its way; kept over pauses, so that what has come is not fetched again where the host allows it."""

    def __init__(
        self,
        slot: Slot,
        part: Path,
        rules: Rules,
        *,
        courier: Courier,
        room: Room,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self.slot, self.part, self.rules, self._courier = slot, part, rules, courier
        self._room, self._progress = partial(room.claim, slot), Progress(slot, tell)

    async def fetch(self, urls: Sequence[str]) -> tuple[str, Content]:
        """Return the first link that gave a whole file, and what came; they are alternatives, direct ones first.

        Raises:
            NotFetched: none did; `gone`, `refused` or `away` say what they have in common.
            NoRoom: the disk is full; what has come is kept.
        """
        trouble: list[NotFetched] = []
        for url in urls:
            try:
                return url, await self._fetch(url)
            except NotFetched as reason:
                trouble.append(reason)
        raise NotFetched(
            "; ".join(dict.fromkeys(str(t) for t in trouble)),
            gone=all(t.gone for t in trouble),
            refused=all(t.gone or t.refused for t in trouble),
            away=any(t.away for t in trouble),
        )

    async def _fetch(self, url: str) -> Content:
        fetched = await self._courier.fetch(self.part, url, self.rules, room=self._room, tell=self._progress)
        try:
            return Content.of(self.part, fetched.bytes, fetched.sha256, fetched.identity)
        except OSError as reason:
            raise NotFetched("its part file was taken away") from reason

    def discard(self) -> None:
        """Have what has come removed."""
        self._courier.discard(self.part)


class Progress:
    """Tells how far a file is and how fast it comes, now and then."""

    def __init__(
        self, slot: Slot, tell: Callable[[dict[str, Any]], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slot, self._tell, self._clock = slot, tell, clock
        self._seen: deque[tuple[float, int]] = deque()
        self._told, self._logged = float("-inf"), clock()

    def __call__(self, received: int, total: int | None) -> None:
        """Take note that `received` of `total` bytes are there."""
        now = self._clock()
        if received != total and now - self._told < TELL_EVERY_S:
            return
        self._told, rate = now, self._rate(now, received)
        task, role, index = self._slot
        self._tell({"task": task, "role": role, "index": index, "received": received, "total": total, "rate": rate})
        if now - self._logged >= LOG_EVERY_S:
            self._logged = now
            _log.info("%s %s %d: %s", task, role, index + 1, _so_far(received, total, rate))

    def _rate(self, now: float, received: int) -> float | None:
        """Return bytes a second over the last seconds; None while it is too early to say."""
        if self._seen and received < self._seen[-1][1]:
            self._seen.clear()  # it began anew
        self._seen.append((now, received))
        while now - self._seen[0][0] > RATE_OVER_S and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        return (received - before) / (now - since) if now - since >= RATE_AFTER_S else None


def _so_far(received: int, total: int | None, rate: float | None) -> str:
    parts = [f"{received / 1e6:.1f}" + (f" of {total / 1e6:.1f} MB" if total is not None else " MB")]
    if rate:
        parts.append(f"{rate / 1e6:.2f} MB/s")
        if total is not None:
            parts.append(f"{max(0.0, total - received) / rate:.0f} s left")
    return ", ".join(parts)

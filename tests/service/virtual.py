"""Owns a loop whose time passes only when nobody has anything to do: hours of waiting take milliseconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["VirtualLoop", "run_virtually"]


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that, where it would wait for its next timer, sets its clock to it instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._really = self._selector.select
        self._selector.select = self._leap

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self.now

    def _leap(self, timeout: float | None = None) -> list[Any]:
        events = self._really(0)
        if not events:
            assert timeout is not None, "everybody waits for something that no timer will bring"
            self.now += timeout
        return events


def run_virtually(story: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run `story` on a loop of virtual time and return what it returns."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(story(loop))
    finally:
        loop.close()

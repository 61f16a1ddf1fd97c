"""Owns threads for work that blocks; it must not know what the work is, and no thread keeps the process from ending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Hands"]

T = TypeVar("T")
LOOK_EVERY_S = 0.02


class Hands:
    """Runs each piece of work in a daemon thread of its own; `stop` tells all of them to give up.

    An executor's threads are waited for at the end of the process, and a thread that waits for a host's answer or
    name may need half a minute for that.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._threads: set[threading.Thread] = set()

    async def run(self, work: Callable[[], T], *, name: str = "hand") -> T:
        """Return what `work` returns, or raise what it raises; cancelled, the thread is left to end by itself."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(settle: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
                loop.call_soon_threadsafe(lambda: None if done.done() else settle())

        def body() -> None:
            try:
                result = work()
            except BaseException as reason:  # whatever it was: who waits must hear of it
                error = reason
                tell(lambda: done.set_exception(error))
            else:
                tell(lambda: done.set_result(result))

        thread = threading.Thread(target=body, name=name, daemon=True)
        self._threads = {t for t in self._threads if t.is_alive()} | {thread}
        thread.start()
        return await done

    async def close(self, patience_s: float = 1.0) -> None:
        """Tell every thread to give up, and wait a little for those that do."""
        self.stop.set()
        deadline = time.monotonic() + patience_s
        while any(t.is_alive() for t in self._threads) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(LOOK_EVERY_S)

"""Owns the fetching process as the service sees it: started when there is something to fetch, replaced when it died.

It must not know the ledger, nor what becomes of a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kit.service.children import Children
from kit.service.download import Fetched, NoRoom, NotFetched, Rules
from kit.service.platforms import apart

__all__ = ["Courier"]

_log = logging.getLogger(__name__)
_COMMAND = (sys.executable, "-m", "kit.service.fetcher")


@dataclass(frozen=True)
class _Order:
    """What is being fetched into one part file, and who waits for it."""

    room: Callable[[int], None]
    tell: Callable[[int, int | None], None]
    done: asyncio.Future[Fetched]


class Courier:
    """Has files fetched in a process apart, several at once; what came of one is kept there between two tries."""

    def __init__(self, *, children: Children) -> None:
        self._children = children
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._orders: dict[str, _Order] = {}

    async def fetch(
        self,
        part: Path,
        url: str,
        rules: Rules,
        *,
        room: Callable[[int], None],
        tell: Callable[[int, int | None], None],
    ) -> Fetched:
        """Fetch `url` into `part`, as `kit.service.download.Download.fetch` does, and raise what that raises."""
        process = await self._running()
        order = _Order(room, tell, asyncio.get_running_loop().create_future())
        self._orders[str(part)] = order
        try:
            self._send(process, part, {"fetch": url, "rules": asdict(rules)})
            return await order.done
        finally:
            self._orders.pop(str(part), None)

    def discard(self, part: Path) -> None:
        """Have what has come removed, and forgotten."""
        if self._process is not None and self._process.returncode is None:
            self._send(self._process, part, {"discard": True})
        else:
            with contextlib.suppress(OSError):
                part.unlink()

    async def close(self) -> None:
        """End the process, whatever it is doing: part files are swept at the next start."""
        async with self._starting:
            await self._end()

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None or self._reading is None:
                await self._end()  # strikes out the one that died
                self._process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=-1, stdout=-1, **apart())
                self._children.adopt(self._process.pid, "the fetcher of files")
                self._reading = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the process says, until it ends."""
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                said = json.loads(line)
                order = self._orders.get(said["part"])
                if order is not None and not order.done.done():
                    self._hear(process, order, said)
        except (ValueError, KeyError):
            _log.exception("the fetcher said something that makes no sense: it is ended")
            process.kill()
        self._reading = None
        for order in self._orders.values():
            _fail(order, NotFetched("the process that fetches ended", away=True))

    def _hear(self, process: asyncio.subprocess.Process, order: _Order, said: dict[str, Any]) -> None:
        match said:
            case {"received": received, "total": total}:
                order.tell(received, total)
            case {"room": needed}:
                self._send(process, Path(said["part"]), {"room": _granted(order, needed)})
            case {"fetched": fetched}:
                order.done.set_result(Fetched(**fetched | {"identity": tuple(fetched["identity"])}))
            case {"not_fetched": reason, "gone": gone, "refused": refused, "away": away}:
                _fail(order, NotFetched(reason, gone=gone, refused=refused, away=away))
            case {"no_room": needed}:
                _fail(order, NoRoom(needed))
            case _:
                _fail(order, RuntimeError(f"fetching broke off ({said.get('broke')}); see the service's output"))

    def _send(self, process: asyncio.subprocess.Process, part: Path, order: dict[str, Any]) -> None:
        """Give an order; a process that has just ended does not read it, and its end is told by `_read`."""
        assert process.stdin is not None
        if not process.stdin.is_closing():
            process.stdin.write((json.dumps({"part": str(part)} | order) + "\n").encode())

    async def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        await self._children.end(process)
        if self._reading is not None:
            await self._reading  # whoever still waits hears that it ended


def _granted(order: _Order, needed: int) -> bool:
    try:
        order.room(needed)
    except NoRoom:
        return False
    return True


def _fail(order: _Order, reason: Exception) -> None:
    if not order.done.done():
        order.done.set_exception(reason)

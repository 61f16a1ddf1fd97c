"""Owns the examining process: keeps one warm, bounds its time, replaces it when it dies; it judges nothing itself."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from kit.service.children import Children
from kit.service.examination import Verdict
from kit.service.platforms import apart

__all__ = ["Verifier"]

_log = logging.getLogger(__name__)
PATIENCE_S = 60.0  # for any file, and
SLOWEST = 10 * 2**20  # bytes a second beyond
ATTEMPTS = 2  # a worker that dies before it has looked died of something else
_COMMAND = (sys.executable, "-m", "kit.service.examination")


class Verifier:
    """Asks a worker process about one file after the other; a decoder's crash costs one file's verdict."""

    def __init__(self, *, children: Children, patience_s: float = PATIENCE_S) -> None:
        self._children = children
        self._patience_s = patience_s
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def examine(self, path: Path, role: str) -> Verdict:
        """Return the verdict on a complete file.

        Where the decoder died, or ran out of time or memory, over a file of sound structure, the verdict stays at
        level `structure`; where not even that was found out, it says so as its reason.
        """
        async with self._turn:
            for _ in range(ATTEMPTS):
                verdict = await self._attempt(path, role)
                if verdict is not None:
                    return verdict
        return Verdict(reason="it could not be examined: the examining process died or did not answer")

    async def close(self) -> None:
        """End the worker."""
        async with self._turn:
            await self._end()

    async def _attempt(self, path: Path, role: str) -> Verdict | None:
        """Return the furthest verdict that one worker reached, or None."""
        said: list[Verdict] = []
        try:
            async with asyncio.timeout(self._patience_s + await asyncio.to_thread(_size, path) / SLOWEST):
                await self._ask(path, role, said)
        except (TimeoutError, OSError, ValueError) as reason:
            _log.warning("the examiner failed on %s (%r); reached: %s", path.name, reason, said[-1:] or "nothing")
        finally:
            if not said or not said[-1].final:
                await self._end()  # it is dead or beyond reach, or would answer a question that nobody asks any more
        return said[-1] if said else None

    async def _ask(self, path: Path, role: str, said: list[Verdict]) -> None:
        """Have one file examined; what is said of it is added to `said` at once, the last of it final."""
        process = await self._worker()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write((json.dumps({"path": str(path), "role": role}) + "\n").encode())
        await process.stdin.drain()
        while not said or not said[-1].final:
            line = await process.stdout.readline()
            if not line:
                raise OSError("it ended without a final verdict")
            said.append(Verdict(**json.loads(line)))

    async def _worker(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            await self._end()  # strikes out the one that died
            self._process = await asyncio.create_subprocess_exec(
                *_COMMAND, stdin=-1, stdout=-1, stderr=asyncio.subprocess.DEVNULL, **apart()
            )
            self._children.adopt(self._process.pid, "the examiner of files")
        return self._process

    async def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        await self._children.end(process)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

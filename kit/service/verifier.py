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
TIMEOUT_S = 120.0
_COMMAND = (sys.executable, "-m", "kit.service.examination")


class Verifier:
    """Asks a worker process about one file after the other; a decoder's crash costs one file's verdict."""

    def __init__(self, *, children: Children) -> None:
        self._children = children
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def examine(self, path: Path, role: str) -> Verdict:
        """Return the verdict on a complete file; where the worker died over it, one that says so."""
        async with self._turn:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._ask(path, role)
            except (TimeoutError, OSError, ValueError) as reason:
                _log.warning("the verifier failed on %s: %r", path.name, reason)
                await self._end()
                return Verdict(reason="the decoder died or did not end while looking at it")

    async def close(self) -> None:
        """End the worker."""
        async with self._turn:
            await self._end()

    async def _ask(self, path: Path, role: str) -> Verdict:
        process = await self._worker()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write((json.dumps({"path": str(path), "role": role}) + "\n").encode())
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise OSError("the verifier ended without a verdict")
        return Verdict(**json.loads(line))

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
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._children.release(self._process.pid)
        self._process = None

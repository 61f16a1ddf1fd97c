"""Owns a provider's local program: starts it on a kept port, watches it, ends it; it knows nothing of tasks."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from kit.errors import ServiceError

__all__ = ["Program"]

_log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0
PORT_TAKEN = 3  # the exit code by which a local program says that its port belongs to somebody else


class Program:
    """A child process that speaks a provider's API on loopback; it ends when the service ends, however that ends.

    The pipe on its standard input is the leash: the operating system closes it even after a SIGKILL of the service.
    """

    def __init__(self, argv: Sequence[str], folder: Path, *, token_file: Path, port: int, speed: float) -> None:
        self.folder, self.port, self.speed, self._token_file = folder, port, speed, token_file
        self._argv = tuple(argv)
        self.base_url = ""
        self.admin_token = secrets.token_urlsafe(24)
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the program and wait until it listens; a taken port means a fresh one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._token_file.touch(mode=0o600)
        self._token_file.write_text(self.admin_token, encoding="utf-8")
        if not await self._spawn(self.port) and not await self._spawn(0):
            raise ServiceError(f"The local provider {' '.join(self._argv)} could not get a port on loopback.")
        self._watch = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """End the program: close its leash, then insist."""
        if self._watch is not None:
            self._watch.cancel()
        if self._process is None or self._process.returncode is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _spawn(self, port: int) -> bool:
        options = ["--folder", str(self.folder), "--port", str(port), "--speed", str(self.speed)]
        options += ["--admin-token-file", str(self._token_file), "--until-stdin-closes"]
        with (self.folder / "program.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._argv, *options, stdin=-1, stdout=-1, stderr=log
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await self._process.stdout.readline()
        if not line:
            return await self._ended_at_start()
        self.base_url = json.loads(line)["base_url"]
        self.port = int(self.base_url.rsplit(":", 1)[1])
        return True

    async def _ended_at_start(self) -> bool:
        assert self._process is not None
        code = await self._process.wait()
        if code == PORT_TAKEN:
            return False
        log = (self.folder / "program.log").read_text(encoding="utf-8", errors="replace")[-800:]
        raise ServiceError(f"The local provider {' '.join(self._argv)} ended with code {code}:\n{log}")

    async def _keep_alive(self) -> None:
        """Start the program again whenever it ends by itself; its state is on its own disk."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            _log.warning("the local provider on port %s ended with code %s; starting it again", self.port, code)
            for pause in itertools.chain((0.5, 1, 2, 5), itertools.repeat(15)):
                await asyncio.sleep(pause)
                if await self._again():
                    break

    async def _again(self) -> bool:
        try:
            return await self._spawn(self.port)
        except (ServiceError, TimeoutError, ValueError, OSError):
            _log.exception("the local provider did not start; trying again")
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
            return False

"""Owns a provider's local program: starts it on a kept port, watches it, ends it; it knows nothing of tasks."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kit.errors import ServiceError
from kit.service.children import Children
from kit.service.platforms import apart

__all__ = ["Program"]

_log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0
PORT_TAKEN = 3  # the exit code by which a local program says that its port belongs to somebody else


class Program:
    """A child process that speaks a provider's API on loopback; it ends when the service ends, however that ends.

    The pipe on its standard input is the leash: the operating system closes it even after a SIGKILL of the service.

    Attributes:
        port, base_url: where it listens; another program may take the port while ours is down, so both can change.
        on_move: called with the new base URL when it had to move.
    """

    def __init__(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        token_file: Path,
        port: int,
        speed: float,
        children: Children,
    ) -> None:
        self.folder, self.port, self.speed, self._token_file = folder, port, speed, token_file
        self._argv, self._children = tuple(argv), children
        self.base_url = ""
        self.on_move: Callable[[str], None] = _nobody
        self.admin_token = secrets.token_urlsafe(24)
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the program and wait until it listens; a taken port means a fresh one.

        Raises:
            ServiceError: it ended, stayed silent, or no port can be had; nothing is left running.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._token_file.touch(mode=0o600)
        self._token_file.write_text(self.admin_token, encoding="utf-8")
        await self._listen()
        self._watch = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """End the program: close its leash, then insist."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            await self._kill()
        self._children.release(self._process.pid)

    async def _listen(self) -> None:
        """Start the process on its kept port, or on a free one where that belongs to somebody else by now."""
        try:
            if not await self._spawn(self.port) and not await self._spawn(0):
                raise ServiceError(f"The local provider {self} could not get a port on loopback.")
        except TimeoutError as silence:
            raise ServiceError(
                f"The local provider {self} did not say within {START_TIMEOUT_S:.0f} s where it listens."
            ) from silence
        except (OSError, ValueError, LookupError, TypeError) as reason:
            raise ServiceError(f"The local provider {self} could not be started ({reason!r}).") from reason

    async def _spawn(self, port: int) -> bool:
        options = ["--folder", str(self.folder), "--port", str(port), "--speed", str(self.speed)]
        options += ["--admin-token-file", str(self._token_file), "--until-stdin-closes"]
        with (self.folder / "program.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._argv, *options, stdin=-1, stdout=-1, stderr=log, **apart()
            )
        self._children.adopt(self._process.pid, f"the local provider {self}")
        listens = False
        try:
            listens = await self._hear()
        finally:
            if not listens:
                await self._kill()
        return listens

    async def _hear(self) -> bool:
        """Wait for the line that says where it listens; return False where its port is taken."""
        assert self._process is not None and self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await self._process.stdout.readline()
        if not line:
            return await self._ended_at_start()
        before, url = self.base_url, str(json.loads(line)["base_url"])
        self.port, self.base_url = int(url.rsplit(":", 1)[1]), url
        if before not in ("", self.base_url):
            _log.warning("the local provider %s moved to port %d: its own belongs to somebody else", self, self.port)
            self.on_move(self.base_url)
        return True

    async def _ended_at_start(self) -> bool:
        assert self._process is not None
        code = await self._process.wait()
        if code == PORT_TAKEN:
            return False
        log = (self.folder / "program.log").read_text(encoding="utf-8", errors="replace")[-800:]
        raise ServiceError(f"The local provider {self} ended with code {code}:\n{log}")

    async def _kill(self) -> None:
        """End the process without asking and strike it out."""
        assert self._process is not None
        await self._children.end(self._process)

    async def _keep_alive(self) -> None:
        """Start the program again whenever it ends by itself; its state is on its own disk."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self._children.release(self._process.pid)
            _log.warning("the local provider on port %s ended with code %s; starting it again", self.port, code)
            for pause in itertools.chain((0.5, 1, 2, 5), itertools.repeat(15)):
                await asyncio.sleep(pause)
                if await self._again():
                    break

    async def _again(self) -> bool:
        try:
            await self._listen()
        except ServiceError:
            _log.exception("the local provider did not start; trying again")
            return False
        return True

    def __str__(self) -> str:
        return " ".join(self._argv)


def _nobody(_: str) -> None:
    """Stand in until somebody wants to know of a new address."""

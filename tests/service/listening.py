"""Owns what the tests of the ways share: a small listener that expects secrets, and ways whose clocks run fast."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kit.errors import TunnelError
from kit.service.children import Children
from kit.service.rhythm import Rhythm
from kit.service.ways import Reach, Way, Ways
from kit.settings import Secret
from tests.agent import TOKEN, StandIn

__all__ = ["FAST", "Listener", "agents", "answering", "described", "kept", "listening", "ngrok", "reached", "refusal"]

FAST: dict[str, Any] = {
    "look_s": 0.05,
    "watch_s": 0.4,
    "gap_s": 0.1,
    "retry_s": 0.05,
    "timeout_s": 0.6,
    "patient_s": 0.8,
    "ready_s": 12,
    "mending_s": 1,
    "pauses_s": (0.05, 0.1, 0.2, 0.4),
    "lasting_s": 60,
}


class Listener:
    """Answers POST /cb/<secret> as the public listener does, and 404 to everything else."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[str] = []
        self.answer = 200
        self._expected: dict[str, asyncio.Future[None]] = {}

    @contextlib.contextmanager
    def expecting(self, secret: str) -> Iterator[asyncio.Future[None]]:
        """Expect one secret."""
        self._expected[secret] = asyncio.get_running_loop().create_future()
        try:
            yield self._expected[secret]
        finally:
            del self._expected[secret]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        target = head.split()[1]
        self.heard.append(target)
        waiting = self._expected.get(target.rpartition("/cb/")[2])
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        status = self.answer if waiting is not None else 404
        writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
        await writer.drain()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[int]:
    """Answer connections on a free loopback port, which is what this gives; none is left open."""
    running: set[asyncio.Task[Any]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            running.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0.01)  # whoever was accepted just now


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    """Have a listener of its own serve."""
    listener = Listener()
    async with answering(listener.serve) as listener.port:
        yield listener


@contextlib.asynccontextmanager
async def kept(tmp_path: Path, changes: list[int] | None = None, **rhythm: Any) -> AsyncIterator[tuple[Ways, Listener]]:
    """Keep ways until the block is left; then all is closed."""
    state = tmp_path / "private"
    state.mkdir(mode=0o700, exist_ok=True)
    seen = changes if changes is not None else []
    async with listening() as listener:
        ways = Ways(
            state,
            Children(state),
            Counter(),  # type: ignore[arg-type]
            public_port=lambda: listener.port,
            expecting=listener.expecting,
            on_change=lambda: seen.append(1),
            rhythm=Rhythm(**(FAST | rhythm)),
        )
        running = asyncio.create_task(ways.run())
        try:
            yield ways, listener
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await ways.close()


def ngrok(stand_in: StandIn, token: str = TOKEN) -> Reach:
    """Reach through the stand-in's agent."""
    return Reach(driver="ngrok", token=Secret(token), program=str(stand_in.path))


async def reached(true: Callable[[], Any], *, seconds: float = 15) -> float:
    """Wait until something holds; return how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come about in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def described(way: Way) -> str:
    """Return all that a way shows, as one text."""
    return f"{way.describe()} {way!r}"


async def refusal(ways: Ways, way: Way) -> str:
    """Return the sentence with which a way is not proven."""
    with pytest.raises(TunnelError) as refused:
        await ways.prove(way)
    return str(refused.value)


def agents() -> list[psutil.Process]:
    """Return the stand-ins that run as children of this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "--behaviour" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found

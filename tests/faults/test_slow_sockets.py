"""Slow sockets and too many of them do not stop a real callback."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.faults.listening import GOOD, asked, listener_process, post, status_of

if TYPE_CHECKING:
    from pathlib import Path

SLOW = 500
MANNERS = (  # how a slow socket begins, and what it drips
    (b"", b""),
    (b"POST /cb/x HTTP/1.1\r\nHost: h\r\n", b"A: b\r\n"),
    (b"POST /cb/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n", b"x"),
    (b"POST /cb/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    (b"GET", b"\r"),
)


async def drip(port: int, number: int) -> None:
    """Hold a connection open with as little as possible, and come back when it is closed."""
    first, more = MANNERS[number % len(MANNERS)]
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(first)
                while not writer.is_closing():
                    writer.write(more)
                    await asyncio.sleep(0.5)
            finally:
                writer.close()
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def dripping(port: int, count: int):
    """Keep `count` slow sockets at it."""
    slow = [asyncio.create_task(drip(port, number)) for number in range(count)]
    await asyncio.sleep(1)
    try:
        yield
    finally:
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def callbacks(port: int, secrets: list[str], count: int, pause_s: float) -> list[tuple[int, float]]:
    """Post one callback after the other, and return the status and the seconds of each."""
    clock, found = asyncio.get_running_loop().time, []
    for number in range(count):
        began = clock()
        answer = await asked(port, post(secrets[number % len(secrets)], GOOD))
        found.append((status_of(answer), clock() - began))
        await asyncio.sleep(pause_s)
    return found


def test_500_slow_sockets_stop_no_callback(tmp_path: Path) -> None:
    """While 500 sockets trickle and come back when cut, every callback is answered 200, and soon."""

    async def run(port, secrets):
        async with dripping(port, SLOW):
            return await callbacks(port, secrets, 120, 0.03)

    with listener_process(tmp_path) as listener:
        found = asyncio.run(run(listener.port, listener.secrets))
        counts, stored = listener.counts(), listener.stored()

    assert {200} == {status for status, _ in found}
    assert max(seconds for _, seconds in found) <= 5
    assert 120 == stored == counts["stored"]
    assert counts["evicted"] > 0


def test_without_file_descriptors_the_listener_recovers(tmp_path: Path) -> None:
    """With 64 open files and 150 slow sockets callbacks still get through, and afterwards all is as before."""

    async def run(port, secrets):
        async with dripping(port, 150):
            during = await callbacks(port, secrets, 20, 0.03)
        return during, await callbacks(port, secrets, 5, 0)

    with listener_process(tmp_path, files=64) as listener:
        during, after = asyncio.run(run(listener.port, listener.secrets))
        stored = listener.stored()

    assert {200} == {status for status, _ in [*during, *after]}
    assert 25 == stored

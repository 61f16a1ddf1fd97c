"""Owns the slow sockets: a program that holds many connections which never complete a request, and renews lost ones.

A third says nothing, a third sends a header byte by byte, a third a body; arguments: port, how many, a callback's path.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

__all__: list[str] = []

BYTE_EVERY_S = 1.0
AGAIN_AFTER_S = 1.0


class Crowd:
    """The connections, and how many are open now."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self.open, self.lost = port, 0, 0
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._openings = (b"", head.encode(), f"{head}Content-Length: 200000\r\n\r\n{{".encode())

    async def hold(self, number: int) -> None:
        """Keep one connection, renewed whenever it is closed."""
        await asyncio.sleep(number * 0.002)
        while True:
            with contextlib.suppress(OSError, EOFError):
                await self._dawdle(number % 3)
            self.lost += 1
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _dawdle(self, manner: int) -> None:
        """Send a byte now and then until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.open += 1
        try:
            writer.write(self._openings[manner])
            while not reader.at_eof():
                try:
                    async with asyncio.timeout(BYTE_EVERY_S):
                        await reader.read(1000)
                except TimeoutError:
                    if manner:
                        writer.write(b"x")
                        await writer.drain()
        finally:
            self.open -= 1
            writer.close()


async def main(port: int, count: int, path: str) -> None:
    """Hold them until ended, and say twice a second how many are open and how often one was closed."""
    crowd = Crowd(port, path)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(crowd.hold(number))
        while True:
            print(crowd.open, crowd.lost, flush=True)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))

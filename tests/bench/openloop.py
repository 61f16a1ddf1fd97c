"""Owns the open-loop load: one callback at every planned moment, whatever became of the last, timed from that plan."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from tests.bench.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["RATE", "Answers", "send_steadily"]

RATE = 67.0  # what a free tunnel carries at most, in a second
GIVEN_UP_S = 15.0  # as the providers do
LEAD_S = 0.2


@dataclass
class Answers:
    """What came back: milliseconds from each planned moment to the whole answer, and what went wrong."""

    took_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile."""
        return percentile(self.took_ms, 99)

    def document(self) -> dict[str, Any]:
        """Return the whole picture: percentiles and a histogram by powers of two."""
        buckets: dict[str, int] = {}
        for took in sorted(self.took_ms):
            name = f"<= {2 ** max(0, (int(took)).bit_length())} ms"
            buckets[name] = buckets.get(name, 0) + 1
        points = {f"p{point:g}_ms": round(percentile(self.took_ms, point), 3) for point in (50, 90, 99, 99.9, 100)}
        return {"answers": len(self.took_ms), "failed": self.failed[:20], **points, "histogram": buckets}


def send_steadily(port: int, requests: Iterable[bytes], seconds: float) -> Answers:
    """Send `RATE` requests a second for `seconds`, in a circle, each on a connection of its own."""
    return asyncio.run(_send(port, list(islice(cycle(requests), int(RATE * seconds)))))


async def _send(port: int, requests: list[bytes]) -> Answers:
    answers, start = Answers(), time.monotonic() + LEAD_S
    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            planned = start + number / RATE
            await asyncio.sleep(planned - time.monotonic())
            group.create_task(_one(port, request, planned, answers))
    return answers


async def _one(port: int, request: bytes, planned: float, answers: Answers) -> None:
    """Send one request and wait for its whole answer; whatever is not a 200 has failed."""
    try:
        async with asyncio.timeout(GIVEN_UP_S):
            status = await _exchange(port, request)
    except (OSError, EOFError, TimeoutError) as reason:
        answers.failed.append(repr(reason))
        return
    if status != b"200":
        answers.failed.append(f"HTTP {status.decode('latin-1')}")
    else:
        answers.took_ms.append(1000 * (time.monotonic() - planned))


async def _exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0]))
        return head.split(b" ", 2)[1]
    finally:
        writer.close()

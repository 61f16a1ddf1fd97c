"""A thousand hostile ids, bodies and requests: each is answered by rule and in time, and nothing else happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.faults.corpus import bodies, paths, raw_requests, unfinished
from tests.faults.listening import GOOD, asked, listener_process, post, status_of

if TYPE_CHECKING:
    from pathlib import Path

PLANNED = {0, 100, 200, 400, 404, 405, 408, 413, 431}  # 0: closed without a word
AT_ONCE = 12
GROWTH = 40 * 1024 * 1024
FIXED = {b'{"status":"received"}', b'{"status":"refused"}', b""}


async def all_asked(port: int, requests: list[bytes], *, end: bool = True) -> list[bytes | None]:
    """Send each on a connection of its own, a few at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(raw):
        async with room:
            return await asked(port, raw, end=end)

    return await asyncio.gather(*(one(raw) for raw in requests))


def told(answer: bytes) -> set[bytes]:
    """Return what the bodies of the answers on one connection are."""
    return {part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]}


def test_nothing_hostile_does_more_than_its_rule_says(tmp_path: Path) -> None:
    """No unplanned 5xx, no echo, none past the deadline, flat memory, every 200 kept or capped; then all is well."""
    with listener_process(tmp_path) as listener:
        own = listener.secrets
        hostile = [
            *(post(own[n % 30], body, b"Content-Type: " + kind) for n, (body, kind) in enumerate(bodies())),
            *(post(own[0], GOOD).replace(b"/cb/" + own[0].encode(), target) for target in paths(own[0])),
            *raw_requests(own[31], 700),
        ]
        asyncio.run(all_asked(listener.port, [post(own[32], GOOD)] * 100))
        before = listener.rss()
        answers = asyncio.run(all_asked(listener.port, hostile))
        grown = listener.rss() - before
        good = asyncio.run(asked(listener.port, post(own[33], GOOD)))
        counts, stored = listener.counts(), listener.stored()

    assert len(hostile) >= 1_000
    assert [] == [raw[:300] for raw, answer in zip(hostile, answers, strict=True) if answer is None]
    assert set() == {status_of(answer) for answer in answers} - PLANNED
    assert set() == {body for answer in answers for body in told(answer or b"")} - FIXED
    assert grown < GROWTH
    assert 200 == status_of(good)
    assert stored == counts["stored"]
    assert 101 + sum((answer or b"").count(b"HTTP/1.1 200 ") for answer in answers) <= stored + counts.get("capped", 0)
    assert 0 == counts.get("not_understood", 0) + counts.get("not_stored", 0)


def test_what_never_ends_is_ended(tmp_path: Path) -> None:
    """A request that stops half-way is told so, or its connection closed, within its ten seconds."""
    with listener_process(tmp_path) as listener:
        unending = list(unfinished(listener.secrets[0]))
        answers = asyncio.run(all_asked(listener.port, unending, end=False))
        counts, stored = listener.counts(), listener.stored()

    assert [] == [raw[:100] for raw, answer in zip(unending, answers, strict=True) if answer is None]
    assert {0, 408} == {status_of(answer) for answer in answers}
    assert len(unending) == counts["too_slow"]
    assert 0 == stored

"""Threads for what blocks: the loop goes on, results and errors come back, and nobody is waited for at the end."""

from __future__ import annotations

import asyncio
import time

import pytest

from kit.service.hands import Hands


def test_results_and_errors_come_back_while_the_loop_goes_on():
    """What a thread returns or raises is what the waiter gets, and others are served meanwhile."""

    async def story():
        hands, ticks = Hands(), 0
        waiting = asyncio.create_task(hands.run(lambda: time.sleep(0.1) or "done"))
        while not waiting.done():
            ticks += 1
            await asyncio.sleep(0.005)
        with pytest.raises(ZeroDivisionError):
            await hands.run(lambda: 1 / 0)
        await hands.close()
        return await waiting, ticks

    result, ticks = asyncio.run(story())
    assert ("done", True) == (result, ticks > 3)


def test_whoever_stops_waiting_leaves_the_thread_to_end_by_itself():
    """A cancelled wait returns at once, `close` tells the thread, and one that does not listen is not waited for."""

    async def story():
        hands, ended = Hands(), []
        listening = asyncio.create_task(hands.run(lambda: hands.stop.wait(10) and ended.append("listening")))
        deaf = asyncio.create_task(hands.run(lambda: time.sleep(1)))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        listening.cancel()
        deaf.cancel()
        await asyncio.gather(listening, deaf, return_exceptions=True)
        await hands.close(patience_s=0.2)
        return ended, time.monotonic() - began

    ended, took = asyncio.run(story())
    assert (["listening"], True) == (ended, took < 0.9)

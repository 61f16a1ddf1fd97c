"""Asking: when its time has come or a callback says so, one request at a time, and never in a storm."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from kit.errors import ProviderError
from kit.ledger.facts import Answer, Departure, Intent
from kit.ledger.store import Ledger
from kit.provider.client import DetailsAnswer
from kit.provider.profiles import profile_named
from kit.provider.wire import parse_details
from kit.service.hub import Hub
from kit.service.poller import Poller
from kit.service.providers import OpenProvider
from kit.settings import Secret

PENDING = {"code": 200, "msg": "success", "data": {"taskId": "v1", "successFlag": "PENDING", "response": None}}
DONE = {
    "code": 200,
    "msg": "success",
    "data": {"taskId": "v1", "successFlag": "SUCCESS", "response": {"videoUrl": "https://m.example/a.mp4"}},
}


class Client:
    """A provider whose details follow a script; its last line is repeated."""

    def __init__(self, *script):
        self.script, self.asked, self.at_once, self.most_at_once = list(script), 0, 0, 0

    async def details(self, kind, task_id):
        """Answer with the next line."""
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.005)
        self.at_once -= 1
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(line, Exception):
            raise line
        body = json.dumps(line).encode()
        return DetailsAnswer(200, body, parse_details(kind, "sunoapi", 200, body))


class Opened:
    """One open provider whose time runs at `speed`."""

    def __init__(self, client, speed):
        self.provider = OpenProvider(profile_named("sandbox"), "http://x", Secret("k"), None, client, None, speed)

    def get(self, name):
        """Return the open provider."""
        return self.provider


@pytest.fixture
def hub(tmp_path):
    """A picture of a fresh ledger."""
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    yield Hub(ledger)
    ledger.close()


def follow(hub, client, act, *, speed):
    """Submit one video and run a poller over it while `act(poller)` goes on."""

    async def run():
        now = datetime.now(UTC)
        given = {"provider": "sandbox", "dialect": "sunoapi", "params": {}, "request_key": "k"}
        await hub.record(
            Intent(task="t1", at=now, kind="video", **given),
            Departure(task="t1", at=now),
            Answer(task="t1", at=now, outcome="accepted", task_id="v1", code=200),
        )
        poller = Poller(hub, Opened(client, speed))
        poller.follow("t1")
        running = asyncio.create_task(poller.run())
        await asyncio.wait_for(act(poller), 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await poller.close()

    asyncio.run(run())
    return hub.states["t1"]


async def until_final(hub):
    """Wait until the task has ended."""
    while not hub.states["t1"].final:
        await asyncio.sleep(0.005)


def test_a_task_is_asked_for_until_it_ends_and_then_no_more(hub):
    """Polling finds the end by itself, says so, and stops."""
    client = Client(PENDING, PENDING, DONE)

    async def act(poller):
        await until_final(hub)
        await asyncio.sleep(0.6)

    state = follow(hub, client, act, speed=1000)
    assert ("succeeded", "poll", 3) == (state.status, state.learned_by, client.asked)


def test_what_was_said_before_is_no_new_fact(hub):
    """Equal answers are kept once, however often they come."""
    client = Client(PENDING, PENDING, PENDING, DONE)
    follow(hub, client, lambda poller: until_final(hub), speed=1000)

    assert 2 == sum(type(fact).__name__ == "Details" for _, fact in hub.ledger.facts())


def test_a_callback_is_followed_at_once_and_a_flood_of_them_by_one_request(hub):
    """A hundred deliveries in a moment ask once, now, and not again before the shortest gap is over."""
    client = Client(PENDING)

    async def act(poller):
        for _ in range(100):
            poller.ask_soon("t1", "callback")
            await asyncio.sleep(0.002)

    state = follow(hub, client, act, speed=1)
    assert (1, 1) == (client.asked, client.most_at_once)
    assert state.asked == 1


def test_a_callback_that_comes_while_one_is_asked_about_is_not_forgotten(hub):
    """News during a request leads to another request after the gap."""
    client = Client(PENDING, DONE)

    async def act(poller):
        poller.ask_soon("t1", "callback")
        while not client.asked:
            await asyncio.sleep(0.001)
        poller.ask_soon("t1", "callback")
        await until_final(hub)

    state = follow(hub, client, act, speed=50)
    assert ("succeeded", "callback", 2) == (state.status, state.learned_by, client.asked)


def test_an_unreachable_provider_only_costs_time(hub):
    """Failures are followed by longer pauses, and the end is found all the same."""
    client = Client(ProviderError("no answer"), RuntimeError("odd"), DONE)
    state = follow(hub, client, lambda poller: until_final(hub), speed=1000)

    assert ("succeeded", 3) == (state.status, client.asked)

"""Asking: when its time has come or a callback says so, one request at a time, and never in a storm."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from kit.errors import ProviderError
from kit.ledger.facts import Abandonment, Answer, Delivery, Departure, Intent
from kit.ledger.store import Ledger
from kit.provider.client import DetailsAnswer
from kit.provider.profiles import profile_named
from kit.provider.wire import parse_details
from kit.service.hub import Hub
from kit.service.poller import Poller
from kit.service.providers import OpenProvider
from kit.settings import Secret
from tests.service.virtual import run_virtually

LINK = "https://m.example/a.mp4"
PENDING = {"code": 200, "msg": "success", "data": {"taskId": "v1", "successFlag": "PENDING", "response": None}}
DONE = {
    "code": 200,
    "msg": "success",
    "data": {"taskId": "v1", "successFlag": "SUCCESS", "response": {"videoUrl": LINK}},
}
CALLED_BACK = json.dumps({"code": 200, "msg": "ok", "data": {"task_id": "v1", "video_url": LINK}}).encode()
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


def answered(kind, line, http_status=200):
    """Return what a client makes of an answer."""
    body = line if isinstance(line, bytes) else json.dumps(line).encode()
    return DetailsAnswer(http_status, body, parse_details(kind, "sunoapi", http_status, body))


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
        return answered(kind, line)


class Opened:
    """One open provider whose time runs at `speed`."""

    def __init__(self, client, speed):
        self.provider = OpenProvider(
            profile=profile_named("sandbox"),
            key=Secret("k"),
            webhook_key=None,
            client=client,
            program=None,
            speed=speed,
            way=None,
        )

    def get(self, name):
        """Return the open provider."""
        return self.provider


@pytest.fixture
def hub(tmp_path):
    """A picture of a fresh ledger."""
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    yield Hub(ledger)
    ledger.close()


def submitted(task, *, task_id="v1", at=MADE_AT, listening=True):
    """Return the facts of a video that was submitted."""
    given = {"provider": "sandbox", "dialect": "sunoapi", "params": {}, "request_key": task}
    return (
        Intent(task=task, at=at, kind="video", **given),
        Departure(task=task, at=at, listening=listening),
        Answer(task=task, at=at, outcome="accepted", task_id=task_id, code=200),
    )


def follow(hub, client, act, *, speed):
    """Submit one video and run a poller over it while `act(poller)` goes on."""

    async def run():
        await hub.record(*submitted("t1", at=datetime.now(UTC)))
        poller = Poller(hub, Opened(client, speed))
        poller.follow("t1")
        running = asyncio.create_task(poller.run())
        async with asyncio.timeout(10):
            await act(poller)
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


class Shelf:
    """A ledger that keeps facts in memory and has no thread: its time is the loop's."""

    def __init__(self):
        self.kept = 0

    def facts(self):
        """There are none at the start."""
        return iter(())

    def append(self, *facts, urls=()):
        """Number the facts."""
        done = Future()
        done.set_result([self.kept + n for n in range(1, len(facts) + 1)])
        self.kept += len(facts)
        return done

    def find_url(self, _):
        """No URL was handed out."""


class World:
    """Many videos at a provider in virtual time, one poller over them, and a record of every request."""

    def __init__(self, loop, *, tasks, client=None, latency=0.3, listening=True, made_at=MADE_AT):
        self.loop, self.latency = loop, latency
        self.done_at = dict.fromkeys((f"t{n}" for n in range(tasks)), float("inf"))  # by the loop's clock
        self.down = (float("inf"), float("-inf"))
        self.line = None
        self.asked, self.found, self.untold = [], {}, []
        self.leap = 0.0  # what the wall clock is set ahead by
        self.hub = Hub(Shelf())
        self.hub.on_change = self._noted
        self.poller = Poller(
            self.hub,
            Opened(self, 1.0),
            on_untold=self.untold.append,
            clock=loop.time,
            wall=lambda: MADE_AT.timestamp() + loop.time() + self.leap,
        )
        self._given = {"listening": listening, "at": made_at}

    async def details(self, kind, task_id):
        """Answer as a provider would at this moment; the time of every request is kept."""
        self.asked.append((self.loop.time(), task_id))
        await asyncio.sleep(self.latency)
        if self.down[0] <= self.loop.time() < self.down[1]:
            raise ProviderError("no answer")
        if self.line is not None:
            return answered(kind, *self.line)
        done = self.done_at["t" + task_id[1:]] <= self.loop.time()
        line = json.loads(json.dumps(DONE if done else PENDING).replace("v1", task_id))
        return answered(kind, line)

    def _noted(self, state):
        if state.final:
            self.found.setdefault(state.id, self.loop.time())
        self.poller.follow(state.id)

    async def __aenter__(self):
        for id in self.done_at:
            await self.hub.record(*submitted(id, task_id="v" + id[1:], **self._given))
        self._running = asyncio.create_task(self.poller.run())
        return self

    async def __aexit__(self, *_):
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.poller.close()

    def gaps(self, task_id):
        """Return the seconds between the requests for one task."""
        times = [at for at, asked in self.asked if asked == task_id]
        return [b - a for a, b in pairwise(times)]

    def most_in_a_second(self, since=0.0):
        """Return how many requests began in the fullest second."""
        times = [at for at, _ in self.asked if at >= since]
        return max((sum(a <= b < a + 0.999 for b in times) for a in times), default=0)


async def hear(world, id, body=CALLED_BACK):
    """Let a callback arrive for a task."""
    body = body.replace(b"v1", b"v" + id[1:].encode())
    await world.hub.record(Delivery(task=id, at=MADE_AT, body=body))
    world.poller.ask_soon(id, "callback")


def test_what_no_callback_tells_is_found_within_45_seconds():
    """With fifty tasks pending, 99 of 100 ends are found within 45 s, at two requests a second at most."""

    async def story(loop):
        async with World(loop, tasks=50) as world:
            for n, id in enumerate(world.done_at):
                world.done_at[id] = 100 + 7.3 * n
            await asyncio.sleep(600)
        return world

    world = run_virtually(story)
    late = sorted(world.found[id] - world.done_at[id] for id in world.done_at)
    assert late[-1] <= 45
    assert 2 >= world.most_in_a_second()


@pytest.mark.parametrize("fault", [None, (b"", 200), (b"<html>", 503), (b'{"code": 429}', 429), (b"\xff", 200)])
def test_a_hundred_tasks_are_settled_soon_after_an_outage(fault):
    """Ten minutes without a usable answer: all found within 120 s of the return, by two requests a second at most."""

    async def story(loop):
        async with World(loop, tasks=100) as world:
            await asyncio.sleep(60)
            world.down, world.line = ((60, 660) if fault is None else world.down), fault
            world.done_at = dict.fromkeys(world.done_at, 300.0)
            await asyncio.sleep(600)
            world.line, during = None, len(world.asked)
            assert world.poller.failing("sandbox") >= 100
            await asyncio.sleep(120)
        return world, during

    world, during = run_virtually(story)
    assert 100 == len(world.found)
    assert 2 >= world.most_in_a_second()
    assert during < 0.6 * 2 * 660  # pauses grew meanwhile
    assert 0 == world.poller.failing("sandbox")


def test_a_single_task_is_asked_for_often_enough_to_notice_the_end_of_an_outage():
    """However long the outage, something is asked every half minute or so, and only that."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            world.down, world.done_at["t0"] = (0, 3000), 1.0
            await asyncio.sleep(3040)
        return world

    world = run_virtually(story)
    assert 3000 <= world.found["t0"] <= 3035
    assert 3000 / 33 <= len(world.asked) <= 3040 / 27 + 2


def test_a_flood_over_many_urls_does_not_storm_the_provider():
    """A thousand deliveries for three hundred tasks ask twenty times at once and then twice a second."""

    async def story(loop):
        async with World(loop, tasks=300, made_at=MADE_AT) as world:
            await asyncio.sleep(1)
            for n in range(1000):
                world.poller.ask_soon(f"t{n % 300}", "callback")
                await asyncio.sleep(0.01)
            await asyncio.sleep(1)
        return world

    world = run_virtually(story)
    assert 20 <= len(world.asked) <= 20 + 2 * 12


def test_a_person_is_not_kept_waiting_by_a_flood():
    """What a person asks for has its own share."""

    async def story(loop):
        async with World(loop, tasks=300) as world:
            for n in range(299):
                world.poller.ask_soon(f"t{n}", "callback")
            await asyncio.sleep(0.1)
            world.poller.ask_soon("t299", "person")
            await asyncio.sleep(0.1)
        return world

    assert "v299" in [id for _, id in run_virtually(story).asked]


def test_an_end_that_details_do_not_show_yet_is_asked_about_again_soon():
    """A callback that says success while details say pending: asked again 5, 15 and 30 s later, then as usual."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            await hear(world, "t0")
            await asyncio.sleep(100)
        return world

    gaps = run_virtually(story).gaps("v0")
    assert [5, 10, 15] == [round(gap - 0.3) for gap in gaps[:3]]
    assert all(27 <= gap <= 34 for gap in gaps[3:])
    assert len(gaps) >= 4


def test_progress_told_by_a_callback_is_no_reason_for_doubt():
    """A callback that names no end changes nothing of the usual interval."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            await hear(world, "t0", b'{"code": 200, "msg": "ok", "data": {"task_id": "v1", "callbackType": "text"}}')
            await asyncio.sleep(100)
        return world

    assert all(27 <= gap <= 34 for gap in run_virtually(story).gaps("v0"))


@pytest.mark.parametrize("leap", [timedelta(hours=8), timedelta(days=400), timedelta(hours=-8)], ids=str)
def test_a_clock_that_is_set_makes_no_task_old(leap):
    """Whatever the wall clock does, the interval stays what it is, and nothing is asked in a storm."""

    async def story(loop):
        async with World(loop, tasks=20) as world:
            await asyncio.sleep(100)
            world.leap = leap.total_seconds()
            await asyncio.sleep(200)
        return world

    world = run_virtually(story)
    assert 2 >= world.most_in_a_second()
    assert 40 >= max(gap for id in ("v0", "v7", "v19") for gap in world.gaps(id))


def test_a_task_that_a_wrong_clock_dates_long_ago_is_asked_for_as_usual():
    """A task submitted while the clock was a year behind is not thought to be a year old."""

    async def story(loop):
        async with World(loop, tasks=1, made_at=MADE_AT - timedelta(days=365)) as world:
            await asyncio.sleep(200)
        return world

    assert all(gap <= 34 for gap in run_virtually(story).gaps("v0"))


def test_a_task_that_stays_pending_for_an_hour_is_asked_for_every_five_minutes():
    """Old tasks are asked for at the longest gap, now and after any number of restarts."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            await asyncio.sleep(10_000)
            world.poller._appointments.clear()  # what a restart forgets
            world.poller._dated.clear()
            world.poller.follow("t0")
            restarted = len(world.asked)
            await asyncio.sleep(2000)
        return world, restarted

    world, restarted = run_virtually(story)
    old = [gap for gap, (at, _) in zip(world.gaps("v0"), world.asked, strict=False) if at > 3700]
    assert len(old) > 20
    assert sum(not 250 <= gap <= 335 for gap in old) <= 1  # the first request after the restart
    assert len(world.asked) - restarted <= 9


def sleep_story(loop, *, slept_s, leap_s):
    """Twenty tasks end while the machine sleeps; return the world two minutes after it woke."""

    async def story():
        async with World(loop, tasks=20) as world:
            await asyncio.sleep(3700)  # by now each is asked for every five minutes, so that only waking finds it soon
            world.done_at = dict.fromkeys(world.done_at, loop.time())
            loop.now += slept_s  # nothing of ours ran meanwhile
            world.leap = leap_s
            world.woke = loop.time()
            await asyncio.sleep(60)
        return world

    return story()


@pytest.mark.parametrize(("slept_s", "leap_s"), [(60, 8 * 3600), (0, 8 * 3600), (60, 0)])
def test_after_a_sleep_everything_is_asked_for_soon_but_politely(slept_s, leap_s):
    """Stopped for a minute, a clock eight hours ahead, or both: all found within half a minute, two a second."""
    world = run_virtually(lambda loop: sleep_story(loop, slept_s=slept_s, leap_s=leap_s))

    assert 20 == len(world.found)
    assert max(world.found.values()) <= world.woke + 30
    assert 2 >= world.most_in_a_second(world.woke)


def test_an_end_that_only_a_poll_found_is_reported_as_untold():
    """Where a callback URL was out and nothing came, whoever keeps the tunnel is told which task it was."""

    async def story(loop):
        async with World(loop, tasks=3) as world:
            world.done_at = {"t0": 50.0, "t1": 50.0, "t2": 60.0}
            await asyncio.sleep(51)
            await hear(world, "t1")
            await hear(world, "t2")  # details do not show it yet: a later request finds it, and it was told
            await asyncio.sleep(60)
        return world

    world = run_virtually(story)
    assert ["t0"] == [state.id for state in world.untold]
    assert 3 == len(world.found)


def test_a_submission_without_callback_url_is_never_untold():
    """Polling only is what was asked for: nothing is to be suspected."""

    async def story(loop):
        async with World(loop, tasks=1, listening=False) as world:
            world.done_at["t0"] = 5.0
            await asyncio.sleep(60)
        return world

    world = run_virtually(story)
    assert ({"t0"}, []) == (set(world.found), world.untold)


def test_a_provider_that_was_away_for_a_moment_is_followed_again():
    """A task that came due while its provider was being replaced is taken up by the next change."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            opened = world.poller._providers
            there, opened.provider = opened.provider, None
            await asyncio.sleep(100)
            opened.provider = there
            world.done_at["t0"] = loop.time()
            world.poller.follow("t0")
            await asyncio.sleep(40)
        return world

    assert {"t0"} == set(run_virtually(story).found)


def test_what_a_person_let_go_is_asked_for_no_more():
    """An abandoned task keeps no appointment."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            await asyncio.sleep(20)
            await world.hub.record(Abandonment(task="t0", at=MADE_AT, reason="enough"))
            await asyncio.sleep(40)
            asked = len(world.asked)
            await asyncio.sleep(4000)
        return world, asked

    world, asked = run_virtually(story)
    assert asked == len(world.asked)


def test_fresh_details_of_a_finished_task_are_one_request_for_all_who_ask():
    """Links that died are asked about once, whoever waits, and what is new is known when the wait is over."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            world.done_at["t0"] = 1.0
            await asyncio.sleep(100)
            before, fresh = len(world.asked), json.loads(json.dumps(DONE).replace("v1", "v0").replace("a.mp4", "b.mp4"))
            world.line = (fresh,)
            answers = await asyncio.gather(*(world.poller.ask_now("t0") for _ in range(4)))
            urls = world.hub.states["t0"].files[0].urls
            await asyncio.sleep(1000)
        return answers, len(world.asked) - before, urls

    answers, requests, urls = run_virtually(story)
    assert ([True] * 4, 1) == (answers, requests)
    assert (LINK.replace("a.mp4", "b.mp4"),) == urls


def test_who_asks_for_fresh_details_hears_when_nobody_answered():
    """A provider that is down said nothing, nor did one that nobody has opened: it may know better when it is."""

    async def story(loop):
        async with World(loop, tasks=1) as world:
            world.done_at["t0"] = 1.0
            await asyncio.sleep(100)
            world.down = (0, 10_000)
            down = await world.poller.ask_now("t0")
            world.poller._providers.provider = None
            return down, await world.poller.ask_now("t0"), len(world.asked)

    down, closed, asked = run_virtually(story)
    assert (False, False, 2) == (down, closed, asked)


def test_asking_for_the_fresh_details_of_many_is_as_polite_as_polling():
    """Two hundred dead links cost two requests a second, not two hundred at once."""

    async def story(loop):
        async with World(loop, tasks=200) as world:
            world.done_at = dict.fromkeys(world.done_at, 0.0)
            await asyncio.sleep(200)
            since = loop.time()
            assert all(await asyncio.gather(*(world.poller.ask_now(id) for id in world.done_at)))
        return world, since

    world, since = run_virtually(story)
    assert 2 >= world.most_in_a_second(since)
    assert 400 == len(world.asked)

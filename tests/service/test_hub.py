"""The hub: deliveries share commits, nobody is told of what is not stored, and a restart finds the same picture."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import LedgerError
from kit.ledger.facts import Answer, Delivery, Departure, Details, Intent
from kit.ledger.store import Ledger
from kit.service import hub as hub_module
from kit.service.hub import Hub

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIVEN = {"kind": "video", "provider": "sandbox", "dialect": "sunoapi", "params": {}, "request_key": "k"}
DONE = b'{"code":200,"data":{"task_id":"v1","video_url":"https://m.example/a.mp4"}}'
FACTS = st.sampled_from(
    [
        lambda task, at: Departure(task=task, at=at),
        lambda task, at: Answer(task=task, at=at, outcome="accepted", task_id="v1", code=200),
        lambda task, at: Delivery(task=task, at=at, body=DONE),
        lambda task, at: Delivery(task=task, at=at, body=b"\xff{"),
        lambda task, at: Details(task=task, at=at, http_status=200, body='{"code":200,"data":null}', cause="poll"),
    ]
)


class SlowLedger:
    """A ledger whose commits are finished by hand."""

    def __init__(self):
        self.jobs, self.count, self.broken = [], 0, None

    def facts(self):
        """Return nothing: it is new."""
        return iter(())

    def append(self, *facts, urls=()):
        """Take one batch."""
        if self.broken:
            raise self.broken
        done = Future()
        self.jobs.append((facts, done))
        return done

    def finish(self, reason=None):
        """End the oldest commit that is under way."""
        facts, done = self.jobs.pop(0)
        if reason is not None:
            done.set_exception(reason)
            return len(facts)
        first, self.count = self.count + 1, self.count + len(facts)
        done.set_result(list(range(first, self.count + 1)))
        return len(facts)


def delivery(task="t1", body=b"{}"):
    """Return a delivery for a task."""
    return Delivery(task=task, at=NOW, body=body)


async def turns(count=5):
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_arrives_together_and_meanwhile_shares_a_commit() -> None:
    """One commit is under way at a time, and takes all that had arrived when it began, in the order of arrival."""

    async def run():
        ledger = SlowLedger()
        hub = Hub(ledger)
        first = [asyncio.create_task(hub.deliver(delivery())) for _ in range(3)]
        await turns()
        later = [asyncio.create_task(hub.deliver(delivery())) for _ in range(300)]
        await turns()
        under_way = len(ledger.jobs)
        sizes = []
        while ledger.jobs:
            sizes.append(ledger.finish())
            await turns()
        return under_way, sizes, await asyncio.gather(*first, *later)

    under_way, sizes, numbers = asyncio.run(run())

    assert 1 == under_way
    assert [3, 256, 44] == sizes
    assert list(range(1, 304)) == numbers


def test_nobody_is_told_before_the_commit() -> None:
    """A delivery is pending for as long as its commit is."""

    async def run():
        ledger = SlowLedger()
        stored = asyncio.create_task(Hub(ledger).deliver(delivery()))
        await turns(20)
        before = stored.done()
        ledger.finish()
        return before, await stored

    assert (False, 1) == asyncio.run(run())


@pytest.mark.parametrize("at_once", [True, False])
def test_a_failed_commit_fails_each_of_its_deliveries_and_no_other(at_once) -> None:
    """Each sender hears its own LedgerError, what the URL has used up is given back, and the next commit works."""

    async def run():
        ledger = SlowLedger()
        hub = Hub(ledger)
        ledger.broken = LedgerError("disk full") if at_once else None
        lost = [asyncio.create_task(hub.deliver(delivery(body=b"12345"))) for _ in range(4)]
        await turns()
        if not at_once:
            ledger.finish(LedgerError("disk full"))
        heard = await asyncio.gather(*lost, return_exceptions=True)
        ledger.broken = None
        used = hub.arrivals["t1"]
        kept = asyncio.create_task(hub.deliver(delivery()))
        await turns()
        ledger.finish()
        return heard, (used.count, used.size), await kept

    heard, used, kept = asyncio.run(run())

    assert [LedgerError] * 4 == [type(one) for one in heard]
    assert 4 == len({id(one) for one in heard})
    assert (1, 2) == used
    assert 1 == kept


def test_a_disk_that_does_not_keep_up_is_said_at_once(monkeypatch) -> None:
    """Beyond the bound a delivery is refused without waiting, and taken again when there is room."""
    monkeypatch.setattr(hub_module, "MOST_WAITING", 5)

    async def run():
        ledger = SlowLedger()
        hub = Hub(ledger)
        first = asyncio.create_task(hub.deliver(delivery()))
        await turns()
        waiting = [asyncio.create_task(hub.deliver(delivery())) for _ in range(5)]
        await turns()
        with pytest.raises(LedgerError):
            await hub.deliver(delivery())
        for _ in range(2):
            ledger.finish()
            await turns()
        again = asyncio.create_task(hub.deliver(delivery()))
        await turns()
        ledger.finish()
        return await asyncio.gather(first, *waiting, again)

    assert [1, 2, 3, 4, 5, 6, 7] == asyncio.run(run())


def test_a_sender_that_gave_up_does_not_disturb_the_others() -> None:
    """A cancelled wait is still stored and counted, and its neighbours are told."""

    async def run():
        ledger = SlowLedger()
        hub = Hub(ledger)
        both = [asyncio.create_task(hub.deliver(delivery())) for _ in range(2)]
        await turns()
        both[0].cancel()
        await turns()
        ledger.finish()
        return await asyncio.gather(*both, return_exceptions=True), hub.arrivals["t1"].count

    (gone, told), count = asyncio.run(run())

    assert isinstance(gone, asyncio.CancelledError)
    assert 2 == told
    assert 2 == count


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["t1", "t2"]), FACTS), max_size=25), st.integers(1, 6))
def test_a_restart_finds_the_same_picture(story, together) -> None:
    """After any facts, delivered or recorded in any grouping, a new hub on the same ledger has equal states."""

    async def run(hub):
        at = NOW
        for task in ("t1", "t2"):
            await hub.record(Intent(task=task, at=at, **GIVEN))
        for start in range(0, len(story), together):
            facts = [
                make(task, at + timedelta(seconds=start + i))
                for i, (task, make) in enumerate(story[start : start + together])
            ]
            seqs = [
                await hub.deliver(fact) if isinstance(fact, Delivery) else (await hub.store(fact))[0] for fact in facts
            ]
            hub.apply(seqs, facts)

    with TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        hub = Hub(ledger)
        asyncio.run(run(hub))
        again = Hub(ledger)
        refolded = Hub(ledger)
        for task in ("t1", "t2"):
            refolded.refold(task, [(seq, fact) for seq, fact in ledger.facts() if fact.task == task])

    assert hub.states == again.states
    assert hub.states == refolded.states
    assert {t: a for t, a in hub.arrivals.items() if a.count} == dict(again.arrivals)

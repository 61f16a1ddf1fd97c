"""Owns asking: one details request at a time for each task, when a callback says so or when its time has come.

Every duration here is read off a clock that only goes forward, so a wall clock that is wrong, set or leaps skips no
poll; the wall clock is looked at to notice that the machine slept, and for nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

from kit.errors import ProviderError
from kit.ledger.facts import Answer, Details
from kit.ledger.fold import TaskState
from kit.provider.wire import redact
from kit.service.bucket import Bucket
from kit.service.callbacks import echo_of
from kit.service.hub import Hub
from kit.service.providers import OpenProvider, Providers

__all__ = ["Cause", "Poller"]

_log = logging.getLogger(__name__)

Cause = Literal["callback", "poll", "submit", "person"]

FIRST_POLL = 0.4  # of the interval: 12 s of 30, as the quickstart pages wait before they ask at all
SHORTEST_GAP_S = 5.0  # between two requests for one task, however many deliveries ask for one (promise P19)
LONGEST_GAP_S = 300.0
SAME_AGAIN_S = 60.0  # an answer that stays the same is recorded again after this, for the fold reads how long it does
OLD_AFTER_S = 3600.0  # a task followed for longer is asked for at the longest gap
OLD_AFTER_ASKS = 60  # as is one with so many recorded answers: about the hour, counted without a clock or a restart
DOUBT_GAPS_S = (5.0, 10.0, 15.0)  # a callback named an end and details did not: asked again 5, 15 and 30 s later
PROBE_S = 30.0  # a provider that fails is asked for some task this often, however long the pauses of each have become
OUTAGE = 3  # failures in a row after which all that failed is asked for again as soon as one answer comes
RATE, BURST = 2.0, 20.0  # requests a second and at once, at each provider's own pace; polls come one at a time
TICK_S = 5.0  # the loop looks at the clocks at least this often
SLEPT_S = 10.0  # the clocks drifting apart, or a tick coming late, by more than this is a sleep


@dataclass
class _Appointment:
    due: float
    cause: Cause
    followed_at: float
    asked_at: float = float("-inf")
    failures: int = 0
    doubts: int = len(DOUBT_GAPS_S)  # how often it may still be asked soon about an end that only a callback named
    said: bytes = b""  # the hash of the last recorded answer: it may be large, and finished tasks stay here
    said_at: float = float("-inf")


class Poller:
    """Keeps one appointment for each unfinished task and keeps it, so that what a callback never says is found.

    `on_untold` is called with a task whose end a poll found although its callback URL was out and no delivery had
    named that end: callbacks may not reach this machine. `clock` and `wall` are seconds, forward only and since 1970.
    """

    def __init__(
        self,
        hub: Hub,
        providers: Providers,
        *,
        on_untold: Callable[[TaskState], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._hub, self._providers, self._on_untold = hub, providers, on_untold
        self._clock, self._wall = clock, wall
        self._appointments: dict[str, _Appointment] = {}
        self._dated: set[str] = set()  # those with a date: finished tasks stay above and need no look
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._buckets: dict[tuple[str, Cause], Bucket] = {}
        self._failing: Counter[str] = Counter()
        self._awaited: dict[str, asyncio.Future[bool]] = {}
        self._changed = asyncio.Event()

    def follow(self, id: str) -> None:
        """Begin to poll a task that was sent or found at start; tasks that cannot be asked for are left alone."""
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not _askable(state) or id in self._dated or id in self._asking:
            return
        self._appointment(id)
        self._date(id, self._clock() + FIRST_POLL * provider.poll_s, "poll")

    def ask_soon(self, id: str, cause: Cause) -> None:
        """Bring the appointment of a task forward to now, or to the end of the shortest gap."""
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not state.ask_id or (cause == "callback" and state.status == "succeeded"):
            return  # a success stays, whatever is said later
        appointment = self._appointment(id)
        gap = LONGEST_GAP_S if cause == "callback" and state.final else SHORTEST_GAP_S
        self._date(id, max(self._clock(), appointment.asked_at + gap / provider.speed), cause)

    async def ask_now(self, id: str) -> bool:
        """Ask for a task once, in its turn, and return when that is done: whether the provider said anything.

        For a finished task too: its links may have been made anew. True also where there is nobody to ask.
        """
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None:
            return False
        if not state.ask_id:
            return True
        done = self._awaited.setdefault(id, asyncio.get_running_loop().create_future())
        if id not in self._asking:  # else the answer that is on its way is fresh enough
            appointment = self._appointment(id)
            self._date(id, max(self._clock(), appointment.asked_at + SHORTEST_GAP_S / provider.speed), "poll")
        return await asyncio.shield(done)  # others may wait for the same answer

    def failing(self, provider: str) -> int:
        """Return how many requests to a provider have failed in a row; 0 where the last one was answered."""
        return self._failing[provider]

    async def run(self) -> None:
        """Keep the appointments until cancelled."""
        drift, expected = self._wall() - self._clock(), self._clock()
        while True:
            self._changed.clear()
            now = self._clock()
            ahead = self._wall() - now - drift
            drift += ahead
            if ahead > SLEPT_S or now - expected > SLEPT_S:
                _log.info("the machine slept, or its clock was set: asking for everything that is unfinished")
                self._hurry(list(self._dated))
            pause = min(self._start_what_is_due(now), TICK_S)
            expected = now + pause
            with contextlib.suppress(TimeoutError):
                # Not wait_for: Python 3.11's swallows a cancellation that comes together with the event.
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def close(self) -> None:
        """Break off what is being asked; nothing is lost, the next start asks again."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _appointment(self, id: str) -> _Appointment:
        return self._appointments.setdefault(id, _Appointment(float("inf"), "poll", self._clock()))

    def _date(self, id: str, due: float, cause: Cause) -> None:
        """Make an appointment, unless there is an earlier one."""
        appointment = self._appointments[id]
        if due < appointment.due:
            appointment.due, appointment.cause = due, cause
            self._dated.add(id)
            self._changed.set()

    def _start_what_is_due(self, now: float) -> float:
        """Ask for what is due and allowed, the longest overdue first; return the seconds until there is more to do."""
        waits = [float("inf")]
        dates = sorted((self._appointments[id].due, id) for id in self._dated if id not in self._asking)
        for due, id in dates:
            if due > now:
                waits.append(due - now)
                break
            wait = self._bucket(id).take(now)
            waits.append(wait)
            if not wait:
                self._asking[id] = asyncio.create_task(self._keep(id))
        return min((wait for wait in waits if wait), default=TICK_S)

    def _bucket(self, id: str) -> Bucket:
        """Return what limits the next request for a task: each cause has its share of the whole provider."""
        name, cause = self._hub.states[id].provider, self._appointments[id].cause
        provider = self._providers.get(name)
        rate = RATE * (provider.speed if provider is not None else 1.0)
        bucket = self._buckets.get((name, cause))
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[name, cause] = Bucket(rate, 1.0 if cause == "poll" else BURST)
        return bucket

    async def _keep(self, id: str) -> None:
        appointment, name = self._appointments[id], self._hub.states[id].provider
        cause, appointment.due, appointment.asked_at = appointment.cause, float("inf"), self._clock()
        self._dated.discard(id)
        answered = False
        try:
            answered = await self._ask(id, cause, appointment)
            self._note(name, appointment, answered=answered)
        except ProviderError as reason:
            self._note(name, appointment, answered=False)
            _log.warning("asking for %s failed (%d in a row): %s", id, appointment.failures, reason)
        except Exception:  # one task's trouble must not end the polling of the others; it is asked for again
            appointment.failures += 1
            _log.exception("asking for %s broke off", id)
        finally:
            self._asking.pop(id, None)
            if (awaited := self._awaited.pop(id, None)) is not None and not awaited.done():
                awaited.set_result(answered)
            self._next(id, appointment)
            self._changed.set()

    def _note(self, name: str, appointment: _Appointment, *, answered: bool) -> None:
        """Count how a request went; after an outage all that failed is asked for soon."""
        if not answered:
            appointment.failures += 1
            self._failing[name] += 1
            return
        appointment.failures = 0
        if self._failing.pop(name, 0) >= OUTAGE:
            _log.info("%s answers again", name)
            ids = (id for id in self._dated if self._hub.states[id].provider == name)
            self._hurry([id for id in ids if self._appointments[id].failures])

    def _hurry(self, ids: list[str]) -> None:
        """Bring appointments forward, spread so that they fit through the bucket without a crowd."""
        random.shuffle(ids)
        now = self._clock()
        for place, id in enumerate(ids):
            provider, appointment = self._providers.get(self._hub.states[id].provider), self._appointments[id]
            speed = provider.speed if provider is not None else 1.0
            due = now + (place + random.random()) / (RATE * speed)
            appointment.failures = 0
            self._date(id, max(due, appointment.asked_at + SHORTEST_GAP_S / speed), "poll")

    def _next(self, id: str, appointment: _Appointment) -> None:
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not _askable(state):
            return  # kept without a date: how long ago it was asked for still bounds what deliveries may cause
        gap = self._gap(state, provider, appointment)
        if self._failing[state.provider]:
            gap = self._probing(state.provider, gap, PROBE_S / provider.speed)
        self._date(id, self._clock() + gap, "poll")

    def _gap(self, state: TaskState, provider: OpenProvider, appointment: _Appointment) -> float:
        """Return the seconds to the next poll: the provider's interval; longer after failures and for old tasks."""
        longest = max(LONGEST_GAP_S / provider.speed, provider.poll_s)
        if not appointment.failures and appointment.doubts and _named_an_end(state):
            appointment.doubts -= 1
            return DOUBT_GAPS_S[-1 - appointment.doubts] / provider.speed
        old = self._clock() - appointment.followed_at > OLD_AFTER_S or state.asked > OLD_AFTER_ASKS
        gap = longest if old else min(provider.poll_s * 2.0 ** min(appointment.failures, 20), longest)
        return gap * random.uniform(0.9, 1.1)

    def _probing(self, name: str, gap: float, probe: float) -> float:
        """Return a shorter gap where otherwise nothing would be asked of a failing provider for a while."""
        soon = self._clock() + probe
        others = (id for id in self._dated if self._appointments[id].due <= soon)
        return gap if any(self._hub.states[id].provider == name for id in others) else min(gap, probe)

    async def _ask(self, id: str, cause: Cause, appointment: _Appointment) -> bool:
        """Ask for a task and record what is new; return whether the provider gave an answer that says something."""
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not state.ask_id:
            return True
        asked_id = state.ask_id
        answer = await provider.client.details(state.kind, asked_id)
        body = redact(answer.body, [provider.key.reveal()])
        said = sha256(f"{asked_id} {answer.http_status} {body}".encode("utf-8", "surrogatepass")).digest()
        same = said == appointment.said and self._clock() - appointment.said_at < SAME_AGAIN_S
        answered = answer.http_status < 500 and answer.http_status != 429 and answer.report.state != "unreadable"
        if same and cause != "person":
            return answered  # nothing new was said, so there is no new fact
        told = state.final or _named_an_end(state)
        await self._hub.record(
            Details(
                task=id,
                at=datetime.now(UTC),
                http_status=answer.http_status,
                body=body,
                cause=cause,
                asked_id=asked_id,
                echo=self._echo(state, asked_id, answer.body),
            )
        )
        appointment.said, appointment.said_at = said, self._clock()
        await self._keep_name(id)
        state = self._hub.states[id]
        if cause == "poll" and not told and state.final and state.listening and self._on_untold is not None:
            self._on_untold(state)
        return answered

    async def _keep_name(self, id: str) -> None:
        """Record the provider's id where a callback named it and details proved it, as the submit answer would have.

        Deliveries and details are asked for again after a ledger was lost, which nobody can without the id.
        """
        known = self._hub.states[id].evidence
        named = [source.task_id for source in (known.intent, known.answer) if source is not None and source.task_id]
        if known.details_id and not named:
            now, said = datetime.now(UTC), "named by its callback, proven by details"
            await self._hub.record(Answer(task=id, at=now, outcome="accepted", task_id=known.details_id, message=said))

    def _echo(self, state: TaskState, asked_id: str, body: bytes) -> Literal["ours", "other", "none"]:
        """Tell whose answer this is: by the callback URL it repeats, else by the row that is known to have the id."""
        echo = echo_of(self._hub, state.id, body)
        if echo == "none" and not state.task_id and self._hub.by_task_id(state.provider, asked_id, besides=state.id):
            return "other"  # a delivery named the id of another row, and the answer does not say whose it is
        return echo


def _askable(state: TaskState) -> bool:
    return bool(state.ask_id) and not state.final


def _named_an_end(state: TaskState) -> bool:
    return state.heard is not None and state.heard.state in ("succeeded", "failed")

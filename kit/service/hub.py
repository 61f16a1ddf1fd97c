"""Owns the living picture of all tasks: records facts, folds them, and tells who listens; it decides nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kit.errors import LedgerError
from kit.ledger.facts import Delivery, Fact, FileFact
from kit.ledger.fold import TaskState, advance_all, fold
from kit.ledger.store import Ledger, MintedUrl

__all__ = ["Arrivals", "Hub"]

Event = dict[str, Any]
BATCH = 256  # deliveries that share one commit at most; more would make the first of them wait
MOST_WAITING = 1024  # deliveries that may wait for the disk, and
MOST_WAITING_BYTES = 32 * 1024 * 1024  # what their bodies may come to; whoever comes then is told to come again

_Job = tuple[Delivery, asyncio.Future[int]]


@dataclass
class Arrivals:
    """What a task's callback URL has brought so far, kept or on its way to the disk; `size` in bytes."""

    count: int = 0
    size: int = 0


class Hub:
    """The tasks as they stand, kept in step with the ledger: a state changes only after its fact is durable."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.states: dict[str, TaskState] = {}
        self.on_change: Callable[[TaskState], None] = _nobody
        self.arrivals: defaultdict[str, Arrivals] = defaultdict(Arrivals)
        self.once_saved: dict[tuple[str, str, int], str] = {}  # task, role, index: the hash of what was last saved
        self._listeners: set[_Listener] = set()
        self._intake = _Intake(ledger)
        facts = list(ledger.facts())
        advance_all(self.states, facts)
        for _, fact in facts:
            if isinstance(fact, Delivery):
                self._count(fact, 1)
            self._remember(fact)

    @property
    def attached(self) -> int:
        """How many kernels hold their event connection open."""
        return len(self._listeners)

    async def store(self, *facts: Fact, urls: Sequence[MintedUrl] = ()) -> list[int]:
        """Make facts durable and return their numbers; the picture changes with `apply`."""
        return await asyncio.wrap_future(self.ledger.append(*facts, urls=urls))

    async def deliver(self, fact: Delivery) -> int:
        """Make a delivery durable and return its number; all that wait at the same time share one commit.

        Raises:
            LedgerError: it is not stored, and whoever sent it has to send it again.
        """
        self._count(fact, 1)
        try:
            return await self._intake.take(fact)
        except LedgerError:
            self._count(fact, -1)
            raise

    def apply(self, seqs: Sequence[int], facts: Sequence[Fact]) -> None:
        """Fold durable facts into the picture and tell the listeners."""
        for fact in facts:
            self._remember(fact)
        for state in advance_all(self.states, zip(seqs, facts, strict=True)):
            self.tell({"task": state.id, "status": state.status, "seq": state.last_seq})
            self.on_change(state)

    async def record(self, *facts: Fact, urls: Sequence[MintedUrl] = ()) -> None:
        """Store facts, then apply them."""
        self.apply(await self.store(*facts, urls=urls), facts)

    def refold(self, task: str, facts: Sequence[tuple[int, Fact]]) -> None:
        """Put together anew what all the facts of a task amount to, and tell the listeners."""
        state = fold(facts)
        if state is not None:
            self.states[task] = state
            self.tell({"task": task, "status": state.status, "seq": state.last_seq})
            self.on_change(state)

    def tell(self, event: Event) -> None:
        """Hand an event to every attached kernel."""
        for listener in self._listeners:
            listener.put(event)

    def earlier(self, request_key: str) -> TaskState | None:
        """Return the newest task made from the same provider, kind and parameters."""
        same = [s for s in self.states.values() if s.request_key == request_key and s.origin != "elsewhere"]
        newest = max(same, key=lambda s: s.id, default=None)  # ids sort by the time they were made
        while newest is not None and newest.known_as in self.states and newest.status == "abandoned":
            newest = self.states[newest.known_as]  # what the provider called a duplicate is that row
        return newest

    def by_task_id(self, provider: str, task_id: str, *, besides: str) -> TaskState | None:
        """Return another row that follows the provider's task `task_id`."""
        rows = self.states.values()
        return next((s for s in rows if s.provider == provider and s.task_id == task_id and s.id != besides), None)

    def unfinished(self, provider: str | None = None) -> list[TaskState]:
        """Return the tasks whose end is still to come."""
        return [s for s in self.states.values() if not s.final and provider in (None, s.provider)]

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[_Listener]:
        """Attach one listener for as long as the context lasts."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _remember(self, fact: Fact) -> None:
        """Keep the hash of a saved file: once it is lost from the disk, only the same bytes count as it."""
        if isinstance(fact, FileFact) and fact.status == "saved" and fact.sha256 is not None:
            self.once_saved[fact.task, fact.role, fact.index] = fact.sha256

    def _count(self, fact: Delivery, sign: int) -> None:
        arrivals = self.arrivals[fact.task]
        arrivals.count += sign
        arrivals.size += sign * len(fact.body)


class _Intake:
    """Deliveries on their way to the disk: one commit is under way, and all that wait meanwhile go with the next.

    A sync takes as long for one as for many, and so does waking the loop from the ledger's thread.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[_Job] = deque()
        self._size = 0  # bytes of all bodies that are not on the disk yet
        self._busy = False

    def take(self, fact: Delivery) -> asyncio.Future[int]:
        """Queue `fact`; the future has its number once it is on the disk."""
        if len(self._waiting) >= MOST_WAITING or self._size >= MOST_WAITING_BYTES:
            raise LedgerError("The disk does not keep up: too many deliveries wait for it. Send this one again.")
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[int] = loop.create_future()
        self._waiting.append((fact, stored))
        self._size += len(fact.body)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._commit, loop)  # not at once: what arrived in the same turn of the loop comes along
        return stored

    def _commit(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        try:
            done = self._ledger.append(*(fact for fact, _ in batch))
        except Exception as reason:  # whatever it was: those who wait must hear of it
            self._committed(loop, batch, reason, [])
            return

        def tell(done: Future[list[int]]) -> None:
            reason = done.exception()
            seqs = [] if reason else done.result()
            with suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
                loop.call_soon_threadsafe(self._committed, loop, batch, reason, seqs)

        done.add_done_callback(tell)

    def _committed(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Job], reason: BaseException | None, seqs: list[int]
    ) -> None:
        if self._waiting:
            loop.call_soon(self._commit, loop)
        self._busy = bool(self._waiting)
        self._size -= sum(len(fact.body) for fact, _ in batch)
        for place, (_, stored) in enumerate(batch):
            if stored.cancelled():
                continue
            if reason is None:
                stored.set_result(seqs[place])
            else:
                stored.set_exception(_not_stored(reason))


def _not_stored(reason: BaseException) -> LedgerError:
    """Return an error of each waiter's own, for a raised error gathers the traceback of whoever raises it."""
    error = LedgerError(str(reason))
    error.__cause__ = reason
    return error


class _Listener:
    """A bounded queue of events: where a kernel reads too slowly, old progress is dropped, never the newest."""

    def __init__(self, limit: int = 1000) -> None:
        self._events: deque[Event] = deque(maxlen=limit)
        self._ready = asyncio.Event()

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._ready.set()

    async def take(self) -> list[Event]:
        """Wait for events and return all that are there."""
        await self._ready.wait()
        self._ready.clear()
        events = list(self._events)
        self._events.clear()
        return events


def _nobody(_: TaskState) -> None:
    """Stand in until somebody wants to be told of changes."""

"""Owns the living picture of all tasks: records facts, folds them, and tells who listens; it decides nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kit.ledger.facts import Fact
from kit.ledger.fold import TaskState, advance
from kit.ledger.store import Ledger, MintedUrl

__all__ = ["Hub"]

Event = dict[str, Any]


class Hub:
    """The tasks as they stand, kept in step with the ledger: a state changes only after its fact is durable."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.states: dict[str, TaskState] = {}
        self.on_change: Callable[[TaskState], None] = _nobody
        self._listeners: set[_Listener] = set()
        for seq, fact in ledger.facts():
            self._fold(seq, fact)

    @property
    def attached(self) -> int:
        """How many kernels hold their event connection open."""
        return len(self._listeners)

    async def store(self, *facts: Fact, urls: Sequence[MintedUrl] = ()) -> list[int]:
        """Make facts durable and return their numbers; the picture changes with `apply`."""
        return await asyncio.wrap_future(self.ledger.append(*facts, urls=urls))

    def apply(self, seqs: Sequence[int], facts: Sequence[Fact]) -> None:
        """Fold durable facts into the picture and tell the listeners."""
        for seq, fact in zip(seqs, facts, strict=True):
            self._fold(seq, fact)
        for task in dict.fromkeys(fact.task for fact in facts):
            state = self.states[task]
            self.tell({"task": task, "status": state.status, "seq": state.last_seq})
            self.on_change(state)

    async def record(self, *facts: Fact, urls: Sequence[MintedUrl] = ()) -> None:
        """Store facts, then apply them."""
        self.apply(await self.store(*facts, urls=urls), facts)

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

    def _fold(self, seq: int, fact: Fact) -> None:
        self.states[fact.task] = advance(self.states.get(fact.task), seq, fact)


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

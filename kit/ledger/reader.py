"""Owns reading: facts and the states derived from them, kept up to date without a writer; it never writes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kit.ledger.fold import TaskState, advance
from kit.ledger.reading import fetch, fetch_facts

if TYPE_CHECKING:
    from kit.ledger.facts import Fact
    from kit.ledger.reading import FileId

__all__ = ["Reader"]


class Reader:
    """A view of a ledger file that is brought up to date by each call; nothing stays open in between.

    May be used from several threads. A file that does not exist yet reads as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._states: dict[str, TaskState] = {}
        self._seen = 0
        self._file: FileId | None = None

    def facts(self, task: str | None = None, since: int = 0, *, only: str | None = None) -> list[tuple[int, Fact]]:
        """Return facts in order with their numbers: of `task`, numbered above `since`, of the type `only`."""
        return fetch_facts(self.path, task=task, since=since, only=only)

    def states(self) -> dict[str, TaskState]:
        """Return the state of every task by our id, in the order they were first heard of.

        A file that took the place of the one read before (a rebuilt ledger) is read from its beginning.
        """
        with self._lock:
            file, facts = fetch(self.path, since=self._seen)
            if file != self._file:
                if self._seen:
                    file, facts = fetch(self.path)
                self._forget()
                self._file = file
            for seq, fact in facts:
                self._states[fact.task] = advance(self._states.get(fact.task), seq, fact)
                self._seen = seq
            return dict(self._states)

    def state(self, either_id: str) -> TaskState | None:
        """Return the task with our id or the provider's id `either_id`; of several rows the one still followed."""
        states = self.states()
        if either_id in states:
            return states[either_id]
        rows = [state for state in states.values() if state.task_id == either_id]
        return max(
            rows,
            key=lambda state: (state.status != "abandoned", state.origin != "elsewhere", state.last_seq),
            default=None,
        )

    def close(self) -> None:
        """Forget what was read; may be called again. There is no connection to close."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._states.clear()
        self._seen = 0
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

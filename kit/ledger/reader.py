"""Owns reading: facts and the states derived from them, kept up to date without a writer; it never writes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from kit.ledger.fold import TaskState, advance_all
from kit.ledger.reading import fetch, fetch_facts

if TYPE_CHECKING:
    from kit.ledger.facts import Fact
    from kit.ledger.reading import FileId

__all__ = ["Reader"]


class _View(NamedTuple):
    """What was read of which file, up to which number."""

    file: FileId | None
    seen: int
    states: dict[str, TaskState]


class Reader:
    """A view of a ledger file that is brought up to date by each call; nothing stays open in between.

    May be used from several threads. A file that does not exist yet reads as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._view = _View(None, 0, {})

    def facts(self, task: str | None = None, since: int = 0, *, only: str | None = None) -> list[tuple[int, Fact]]:
        """Return facts in order with their numbers: of `task`, numbered above `since`, of the type `only`."""
        return fetch_facts(self.path, task=task, since=since, only=only)

    def states(self) -> dict[str, TaskState]:
        """Return the state of every task by our id, in the order they were first heard of.

        A file that took the place of the one read before (a rebuilt ledger) is read from its beginning.
        """
        with self._lock:
            view = self._view
            file, facts = fetch(self.path, since=view.seen)
            if file != view.file:
                if view.seen:
                    file, facts = fetch(self.path)
                view = _View(file, 0, {})
            states = dict(view.states)
            advance_all(states, facts)
            # One store: an interrupt in the middle of a cell leaves the view before or the view after.
            self._view = _View(file, facts[-1][0] if facts else view.seen, states)
            return dict(states)

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
            self._view = _View(None, 0, {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

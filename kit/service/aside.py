"""Owns the files whose next attempt is later: until when, and for how much room; it fetches and records nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kit.service.download import NoRoom
from kit.service.kept import Slot
from kit.service.room import Room

__all__ = ["Aside", "Patience"]


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds: `attempts` between the attempts at one file, `away` where nobody can be asked.

    `room` is the pause where the disk is full; it doubles up to its second value where a disk says that there is room
    and then has none. `ledger` is for a ledger that takes no facts, `look` how often it is looked for what is due.
    """

    attempts: tuple[float, ...] = (1.0, 5.0, 20.0, 60.0)
    away: float = 300.0
    room: tuple[float, float] = (2.0, 60.0)
    ledger: float = 15.0
    look: float = 0.5


@dataclass
class _Wait:
    due: float  # by the monotonic clock
    needed: int | None


class Aside:
    """The files put aside."""

    def __init__(self, room: Room, patience: Patience) -> None:
        self._room, self._patience = room, patience
        self._waits: dict[Slot, _Wait] = {}
        self._pauses: dict[Slot, float] = {}  # how long each was last put aside for room

    def __contains__(self, slot: object) -> bool:
        return slot in self._waits

    @property
    def for_room(self) -> int:
        """How many files wait for room on the disk."""
        return sum(wait.needed is not None for wait in self._waits.values())

    def put(self, slot: Slot, pause: float) -> None:
        """Put a file aside for some seconds."""
        self._waits[slot] = _Wait(time.monotonic() + pause, None)

    def put_for_room(self, slot: Slot, needed: int) -> None:
        """Put a file aside until there are `needed` bytes of room for it."""
        first, last = self._patience.room
        pause = self._pauses[slot] = min(last, 2 * self._pauses.get(slot, first / 2))
        self._waits[slot] = _Wait(time.monotonic() + pause, needed)

    def hurry(self, task: str) -> None:
        """Let what is put aside of one task be due now."""
        for slot, wait in self._waits.items():
            if slot[0] == task:
                wait.due = 0.0

    def forget(self, slot: Slot) -> None:
        """Know nothing more of a file."""
        self._waits.pop(slot, None)
        self._pauses.pop(slot, None)

    def take_due(self, order: Callable[[Slot], object]) -> Iterator[Slot]:
        """Yield, in this order, and let go what is due; what waits for room has a claim on that then."""
        now = time.monotonic()
        for slot in sorted((s for s, wait in self._waits.items() if wait.due <= now), key=order):  # type: ignore[arg-type]
            wait = self._waits[slot]
            try:
                self._room.claim(slot, wait.needed or 0)
            except NoRoom:
                wait.due = now + self._patience.room[0]
            else:
                del self._waits[slot]
                yield slot

"""Owns which sessions are open in this process: it outlives a reload of the kit, and a forked child begins with none.

It must not know what a session is.
"""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType
from typing import Any

__all__ = ["Registry", "registry"]

# A module of this name is in no file, so that nothing ever executes it again: a reload finds what was put there.
_PLACE = "_callboard_sessions_1"


class Registry:
    """The open sessions by folder and profile, and the lock under which they are opened."""

    def __init__(self) -> None:
        self.open: dict[Any, Any] = {}
        self.lock = threading.RLock()
        self.left_behind: list[Any] = []

    def forked(self) -> None:
        """Begin anew in a forked child: what is open belongs to the parent, and its lock may be held for ever."""
        for session in self.open.values():
            session.disown()
        # They are kept, so that the end of none of them touches a connection that the parent still uses.
        self.left_behind = list(self.open.values())
        self.open, self.lock = {}, threading.RLock()


def registry() -> Registry:
    """Return the registry of this process, the same one however often the kit was loaded."""
    place = sys.modules.get(_PLACE)
    if place is None:
        fresh = ModuleType(_PLACE)
        fresh.registry = Registry()  # type: ignore[attr-defined]
        place = sys.modules.setdefault(_PLACE, fresh)
        if place is fresh and hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=fresh.registry.forked)
    found: Registry = place.registry
    return found

"""Owns the counts of what the listener did, kept across restarts; it must not know what the words mean."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from kit.service.record import write_private

__all__ = ["Counts"]


class Counts(Counter[str]):
    """How often each thing happened, by its word; `save` keeps it for the service that comes after this one."""

    def __init__(self, path: Path, known: dict[str, int] | None = None) -> None:
        super().__init__(known or {})
        self._path = path
        self._kept = dict(self)

    @classmethod
    def load(cls, state: Path) -> Counts:
        """Return the counts kept in the state folder; none where they cannot be read, for nothing depends on them."""
        path = state / "counts.json"
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, {str(word): int(number) for word, number in read.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls(path)

    def save(self) -> None:
        """Keep the counts where they have changed since the last time."""
        if self._kept != dict(self):
            self._kept = dict(self)
            write_private(self._path, self._kept)

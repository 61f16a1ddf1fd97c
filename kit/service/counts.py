"""Owns the counts of what the listener did, kept across restarts; it must not know what the words mean."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

from kit.service.record import write_private

__all__ = ["Counts"]

_log = logging.getLogger(__name__)


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
        now = dict(self)
        if self._kept == now:
            return
        try:
            write_private(self._path, now, sync=False)
        except OSError as reason:  # a disk that refuses costs the counts, not the listener
            _log.warning("the counts cannot be kept: %s", reason)
        else:
            self._kept = now

"""Owns the room on the disk: who may take how much of it, so that the ledger always has some; it knows no task."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Hashable
from pathlib import Path

from kit.service.download import NoRoom

__all__ = ["Room"]

RESERVE = 256 * 2**20  # bytes that stay free for the ledger, which must be able to keep every delivery,
RESERVE_SHARE = 0.05  # or on a small disk this share of it


class Room:
    """The disk under `folder`; what running downloads still need is taken into account. Safe between threads."""

    def __init__(self, folder: Path, *, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> None:
        self._folder, self._usage = folder, usage
        self._claims: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def free(self) -> int:
        """Return the bytes that nobody needs and that are not kept for the ledger; never less than 0."""
        with self._lock:
            return max(0, self._left(None))

    def fits(self, who: Hashable, needed: int) -> bool:
        """Tell whether `who` could take `needed` bytes now."""
        with self._lock:
            return needed <= self._left(who)

    def claim(self, who: Hashable, needed: int) -> None:
        """Note that `who` still needs `needed` bytes; raise `NoRoom`, and note nothing, where they are not there."""
        with self._lock:
            self._claims.pop(who, None)
            if needed > self._left(who):
                raise NoRoom(needed)
            self._claims[who] = needed

    def release(self, who: Hashable) -> None:
        """Note that `who` needs nothing any more."""
        with self._lock:
            self._claims.pop(who, None)

    def reason(self, needed: int) -> str:
        """Return the sentence fragment that says what is waited for."""
        with self._lock:
            total, free = self._disk()
            reserve = _reserve(total)
        return (
            f"waiting for room on the disk: {_said(needed)} needed, {_said(free)} free, "
            f"of which {_said(reserve)} are kept for the ledger"
        )

    def _left(self, who: Hashable) -> int:
        total, free = self._disk()
        return free - _reserve(total) - sum(need for other, need in self._claims.items() if other != who)

    def _disk(self) -> tuple[int, int]:
        try:
            total, _, free = self._usage(self._folder)
        except OSError:  # nobody knows, so nothing is held back: a disk that is full says so when it is written to
            return 0, sys.maxsize
        return total, free


def _reserve(total: int) -> int:
    return min(RESERVE, int(total * RESERVE_SHARE))


def _said(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

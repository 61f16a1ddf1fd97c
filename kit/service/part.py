"""Owns the part file of a download: opened safely, written, hashed on a thread of its own, synced; it knows no host."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FULL", "NoRoom", "Part"]

WAITING_PIECES = 4  # at most so many pieces (1 MiB each) are read and not yet hashed: memory stays constant
FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class NoRoom(Exception):
    """The disk has no room for `needed` more bytes."""

    def __init__(self, needed: int) -> None:
        self.needed = needed
        super().__init__(f"{needed} more bytes are needed than the disk has room for")


class Part:
    """One part file, its length and its running SHA-256; closed between the attempts, and known again by its inode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self._hash = _Hash()
        self.received = 0

    def open(self) -> bool:
        """Open the file, and return whether all that was written is still in it; otherwise it begins anew."""
        if self.received and self._reopened():
            self._hash.start()
            return True
        self.restart()
        return False

    def restart(self) -> None:
        """Begin again from nothing, in a file that was not there before: nobody's link is followed."""
        self.close()
        self._path.unlink(missing_ok=True)
        with _full_is_no_room(1):
            self._descriptor = os.open(self._path, FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        self._identity = _identity(os.fstat(self._descriptor))
        self.received, self._hash = 0, _Hash()
        self._hash.start()

    def write(self, piece: bytes, needed: int) -> None:
        """Append a piece; raise `NoRoom(needed)` where the disk is full, with nothing of the piece kept."""
        rest = memoryview(piece)
        try:
            with _full_is_no_room(needed):
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except BaseException:
            os.ftruncate(self._descriptor, self.received)
            os.lseek(self._descriptor, self.received, os.SEEK_SET)
            raise
        self._hash.update(piece)
        self.received += len(piece)

    def digest(self) -> str:
        """Return the SHA-256 of all that was written, in hex."""
        return self._hash.value()

    def seal(self) -> tuple[str, tuple[int, int]]:
        """Sync the file; return its SHA-256 and its identity (device, inode).

        Raises `NoRoom`, or OSError where what stands at its name is not what was written.
        """
        digest, length = self.digest(), self.received
        self.received = 0  # a sync that failed is never tried again on the same pages: they may count as written
        with _full_is_no_room(length):
            os.fsync(self._descriptor)
        self.received = length
        here = os.fstat(self._descriptor)
        if here.st_size != length or not self._in_place():
            raise OSError(errno.ESTALE, "the part file was taken away or changed meanwhile")
        return digest, _identity(here)

    def close(self) -> None:
        """Let go of the file and end the thread; what was written stays and can be resumed."""
        self._hash.stop()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def discard(self) -> None:
        """Remove the file and forget what was in it."""
        self.close()
        self.received, self._identity = 0, None
        with contextlib.suppress(OSError):  # a folder may stand there, or the disk refuse: `restart` says so
            self._path.unlink(missing_ok=True)

    def _in_place(self) -> bool:
        """Tell whether the file still stands at its name."""
        try:
            return _identity(self._path.lstat()) == self._identity
        except FileNotFoundError:
            return False

    def _reopened(self) -> bool:
        """Open the file again, where it is the very file that was written and as long as it was."""
        try:
            self._descriptor = os.open(self._path, FLAGS)
        except OSError:  # gone, or a link stands there now
            return False
        here = os.fstat(self._descriptor)
        if not stat.S_ISREG(here.st_mode) or (_identity(here), here.st_size) != (self._identity, self.received):
            return False
        os.lseek(self._descriptor, self.received, os.SEEK_SET)
        return True


class _Hash:
    """A running SHA-256 whose work is done beside the reading: hashing lets go of the interpreter's lock."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._pieces: queue.Queue[bytes | None] = queue.Queue(WAITING_PIECES)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have a thread for what comes."""
        self._thread = threading.Thread(target=self._work, name="hash", daemon=True)
        self._thread.start()

    def update(self, piece: bytes) -> None:
        """Hand over a piece; wait where too many wait already."""
        self._pieces.put(piece)

    def value(self) -> str:
        """Return the hash of all pieces handed over, in hex."""
        self._pieces.join()
        return self._sha.hexdigest()

    def stop(self) -> None:
        """End the thread once it has done all that was handed over."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
        self._thread = None

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._sha.update(piece)
            self._pieces.task_done()
        self._pieces.task_done()


@contextlib.contextmanager
def _full_is_no_room(needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as reason:
        if reason.errno in FULL:
            raise NoRoom(needed) from reason
        raise


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino

"""Owns the archive's folder: how a part file gets its final name, and what lies there; it must not know the ledger.

A final name exists only for a whole, synced file, and nothing that has one is ever overwritten or deleted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from kit.service.platforms import sync_folder

__all__ = ["Content", "Stray", "Swapped", "clear_parts", "hash_of", "lies_there", "part_name", "put_in_place", "strays"]

CHUNK = 2**20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV}
_OURS = re.compile(r"(?:^|-)(t[0-9a-z]{12})-([a-z][a-z_]*)-([1-9][0-9]{0,5})(?: \([1-9][0-9]{0,5}\))?\.([a-z0-9]+)\Z")


@dataclass(frozen=True)
class Content:
    """What a part file holds: its size and hash; and by what the file is known: device, number, time of the last write.

    A number alone is not enough: one that was deleted is given to the next file.
    """

    bytes: int
    sha256: str
    identity: tuple[int, int]
    written_ns: int

    @classmethod
    def of(cls, part: Path, size: int, sha256: str, identity: tuple[int, int]) -> Content:
        """Return what was just written into `part`."""
        return cls(size, sha256, identity, part.lstat().st_mtime_ns)


class Swapped(Exception):
    """What stands at the part's name is not the file that was fetched: somebody else removed or replaced it."""

    def __init__(self) -> None:
        super().__init__("the part file was replaced or removed by somebody else")


@dataclass(frozen=True)
class Stray:
    """A file whose name says for which task, role and index it was saved; whether it was, the ledger knows."""

    path: Path
    task: str
    role: str
    index: int
    extension: str


def part_name(task: str, role: str, index: int) -> str:
    """Return the name of a file that is not whole yet."""
    return f"{task}-{role}-{index + 1}.part"


def put_in_place(part: Path, name: str, what: Content, stop: threading.Event) -> Path:
    """Give a synced part file its final name, or the next free one, sync the folder, and return the path. Blocks.

    Raises:
        Swapped: the part is not the file that was fetched and examined any more, or it is a link.
        OSError: the disk did not do it.
    """
    _check(part, what, stop)
    final = next(final for final in _names(part.parent, name) if _take_name(part, final))
    try:
        _check(final, what, stop)  # between the look and the link the part may have been replaced
    except Swapped:
        final.unlink(missing_ok=True)  # the name is ours, whatever it leads to
        raise
    part.unlink(missing_ok=True)
    try:
        sync_folder(final.parent)
    except OSError:
        final.unlink(missing_ok=True)  # nobody knows whether the disk has the name: the next attempt gives it anew
        raise
    return final


def lies_there(path: Path, size: int | None = None) -> bool:
    """Tell whether a plain file lies at `path`, of that many bytes where `size` is given; a link is none."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)
    return False


def clear_parts(folder: Path) -> None:
    """Remove the part files of a run that ended: nobody else writes here."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):  # a folder of that name, say: the download to come says so
            part.unlink()


def strays(folder: Path) -> Iterator[Stray]:
    """Yield the plain files whose name ends as ours do, by name."""
    for path in sorted(folder.iterdir()):
        match = _OURS.search(path.name)
        if match and lies_there(path):
            task, role, number, extension = match.groups()
            yield Stray(path, task, role, int(number) - 1, extension)


def hash_of(path: Path, stop: threading.Event) -> tuple[int, str] | None:
    """Return size and SHA-256 of a plain file, never following a link; None where `stop` was set meanwhile. Blocks."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if stop.is_set():
                return None
    return size, digest.hexdigest()


def _check(path: Path, what: Content, stop: threading.Event) -> None:
    """Make sure that `path` is the very file, or holds the very bytes: some network disks renumber their files."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Swapped
        known = (what.identity, what.bytes, what.written_ns)
        if ((found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns) == known:
            return
        if hash_of(path, stop) != (what.bytes, what.sha256):
            raise Swapped
    except FileNotFoundError:
        raise Swapped from None


def _names(folder: Path, name: str) -> Iterator[Path]:
    """Yield the name, then the same with a number before its extension."""
    first = folder / name
    yield first
    for number in count(2):
        yield first.with_name(f"{first.stem} ({number}){first.suffix}")


def _take_name(part: Path, final: Path) -> bool:
    """Link the part to a name that nothing has; return False where something has it."""
    itself = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}
    try:
        os.link(part, final, **itself)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise Swapped from None
    except OSError as reason:
        if reason.errno not in _NO_LINKS:
            raise
        return _rename(part, final)
    return True


def _rename(part: Path, final: Path) -> bool:
    """Do without links: a rename overwrites, so it is looked first; the service alone writes in this folder."""
    if os.path.lexists(final):
        return False
    part.rename(final)
    return True

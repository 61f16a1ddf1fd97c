"""Owns SQLite's way to the disk: durable connections and what its errors mean; it must not know the tables."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from typing import TYPE_CHECKING, Literal

from kit.errors import LedgerError
from kit.ledger.reading import BUSY_S

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "SIDES",
    "connect",
    "fold_in",
    "is_damage",
    "is_disk_trouble",
    "make_durable",
    "side",
    "sync_file",
    "sync_folder",
]

log = logging.getLogger(__name__)

SIDES = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_WAL_LIMIT = 16 * 2**20  # bytes a WAL file shrinks to, once the reader that made it grow is gone


def connect(path: Path, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    """Return a connection that begins no transaction by itself; only "rwc" makes a missing file."""
    address = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)


def side(path: Path, name: str) -> Path:
    """Return the file that SQLite keeps beside the database `path`."""
    return path.with_name(path.name + name)


def is_damage(reason: BaseException) -> bool:
    """Tell whether SQLite says that the file itself is bad, and not the disk, the room or the rights."""
    return (getattr(reason, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def is_disk_trouble(reason: BaseException) -> bool:
    """Tell whether SQLite says that the disk did not read, write or sync, so that nobody knows what it holds."""
    return (getattr(reason, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_IOERR


def make_durable(connection: sqlite3.Connection, path: Path) -> str:
    """Set what makes a commit survive a power cut and read it back; return the journal mode in use.

    Builds differ in their defaults, so nothing is left to them. A disk that cannot do WAL gets a rollback journal.
    """
    wanted = "delete" if _on_network_disk(path) else "wal"
    mode = str(connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0])
    if mode != "wal":
        mode = str(connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0])
        log.warning(
            "The ledger %s is on a disk without shared memory (a network disk?): it uses a rollback journal, "
            "and what such a disk keeps through a power cut cannot be promised.",
            path,
        )
    # Checkpoints are made by the writer between two batches, so that no acknowledgement waits for one.
    expected = {"synchronous": 2, "fullfsync": 1, "checkpoint_fullfsync": 1, "wal_autocheckpoint": 0}
    for pragma, value in expected.items():
        connection.execute(f"PRAGMA {pragma}={value}")
        found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found != value:
            raise LedgerError(f"SQLite keeps {pragma}={found} for the ledger {str(path)!r}; it must be {value}.")
    connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT}")
    return mode


def fold_in(connection: sqlite3.Connection) -> None:
    """Take what an earlier connection left in the WAL into the database and begin the WAL at its start.

    After a sync that failed, pages count as written that are not: a commit behind such pages would be lost with them
    at a power cut, although its own sync succeeded. So nothing is ever appended to a WAL that an earlier connection
    wrote. Where a reader holds on to it nothing is waited for: then the WAL's index has outlived the failed commit,
    and the next one is written over it.
    """
    connection.execute("PRAGMA busy_timeout=0")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute(f"PRAGMA busy_timeout={int(1000 * BUSY_S)}")


def sync_file(path: Path) -> None:
    """Make what was written to a closed file durable; raise `OSError` where the disk does not."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable, where the system knows how."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _on_network_disk(path: Path) -> bool:
    """Tell whether `path` lies on a disk that other machines share, where SQLite's WAL is not safe."""
    import psutil

    folder = path.parent.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    if not mounts:
        return False
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype.lower()
    return kind in {"9p", "afpfs", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb2", "smb3", "smbfs", "webdav"}

"""Owns fetching committed facts by read-only connections; it must not know the writer, nor what the facts mean."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from kit.errors import LedgerError
from kit.ledger.facts import Row, from_row

if TYPE_CHECKING:
    from pathlib import Path

    from kit.ledger.facts import Fact

__all__ = ["BUSY_S", "FileId", "disk_id", "fetch", "fetch_facts", "unusable"]

BUSY_S = 5.0
_TRIES = 5

# The driver alone, and its own text: a kernel that only looks should not wait for SQLAlchemy to load.
_SELECT = "SELECT seq, task, type, at, body, raw FROM facts WHERE seq > :since"
_OF_TASK = " AND task = :task"
_OF_TYPE = " AND type = :type"
_MADE_AT = "SELECT applied_at FROM schema_changes WHERE version = 1"


class FileId(NamedTuple):
    """Which ledger file was read: a rebuilt one has the same name and is another; `made_at` in microseconds."""

    device: int
    inode: int
    made_at: int | None


def disk_id(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at `path` from another of the same name; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def fetch_facts(
    path: Path, *, task: str | None = None, since: int = 0, only: str | None = None
) -> list[tuple[int, Fact]]:
    """Return the committed facts numbered above `since` (of one task, of one type) in order, with their numbers.

    A missing file has no facts. Facts of types that this version does not know are left out. The connection is closed
    before this returns, so no reader holds a view of the past open.

    Raises:
        LedgerError: the file cannot be read.
    """
    return fetch(path, task=task, since=since, only=only)[1]


def fetch(
    path: Path, *, task: str | None = None, since: int = 0, only: str | None = None
) -> tuple[FileId | None, list[tuple[int, Fact]]]:
    """Return which file was read (None where there is none) and what `fetch_facts` returns.

    Raises:
        LedgerError: the file cannot be read.
    """
    asked = _SELECT + (_OF_TASK if task is not None else "") + (_OF_TYPE if only is not None else "") + " ORDER BY seq"
    for _ in range(_TRIES):
        try:
            if (before := disk_id(path)) is None:
                return None, []
            made_at, rows = _rows(path, asked, {"since": since, "task": task, "type": only})
        except (sqlite3.Error, OSError) as reason:
            if disk_id(path) != before:
                continue
            raise unusable(path, reason) from reason
        if disk_id(path) == before:  # else the file was replaced under our eyes, its WAL perhaps before itself
            facts = ((row[0], from_row(Row(*row[1:]))) for row in rows)
            return FileId(*before, made_at), [(seq, fact) for seq, fact in facts if fact is not None]
    raise unusable(path, OSError("it is replaced again and again"))


def _rows(path: Path, asked: str, given: dict[str, Any]) -> tuple[int | None, list[tuple[Any, ...]]]:
    """Return when the file was made and the rows that are asked for; nothing where it has no tables yet."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        made = connection.execute(_MADE_AT).fetchone()
        try:
            return made and made[0], connection.execute(asked, given).fetchall()
        except sqlite3.OperationalError as reason:
            if "decode" not in str(reason):
                raise
        connection.text_factory = lambda text: text.decode("utf-8", "replace")  # one bad byte hides no other row
        return made and made[0], connection.execute(asked, given).fetchall()
    except sqlite3.OperationalError as reason:
        if "no such table" in str(reason):  # the writer has made the file and not yet its tables
            return None, []
        raise
    finally:
        connection.close()


def unusable(path: Path, reason: Exception) -> LedgerError:
    """Return the error that says that the file cannot be used and what to do, with `reason` as its cause."""
    error = LedgerError(
        f"The ledger {str(path)!r} cannot be used ({reason}). See that its folder can be written and has room, and "
        "connect again: a file that is damaged is then moved aside and rebuilt."
    )
    error.__cause__ = reason
    return error

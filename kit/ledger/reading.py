"""Owns fetching committed facts by read-only connections; it must not know the writer, nor what the facts mean."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from kit.errors import LedgerError
from kit.ledger.facts import Row, from_row

if TYPE_CHECKING:
    from pathlib import Path

    from kit.ledger.facts import Fact

__all__ = ["BUSY_S", "fetch_facts", "unusable"]

BUSY_S = 5.0

# The driver alone, and its own text: a kernel that only looks should not wait for SQLAlchemy to load.
_SELECT = "SELECT seq, task, type, at, body, raw FROM facts WHERE seq > :since"
_OF_TASK = " AND task = :task"
_OF_TYPE = " AND type = :type"
_IN_ORDER = " ORDER BY seq LIMIT :limit"


def fetch_facts(
    path: Path, *, task: str | None = None, since: int = 0, only: str | None = None, limit: int = -1
) -> list[tuple[int, Fact]]:
    """Return the committed facts numbered above `since` (of one task, of one type) in order, with their numbers.

    A `limit` that is not negative bounds how many.

    A missing file has no facts. Facts of types that this version does not know are left out. The connection is closed
    before this returns, so no reader holds a view of the past open.

    Raises:
        LedgerError: the file cannot be read.
    """
    if not path.exists():
        return []
    asked = _SELECT + (_OF_TASK if task is not None else "") + (_OF_TYPE if only is not None else "") + _IN_ORDER
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            rows = connection.execute(asked, {"since": since, "task": task, "type": only, "limit": limit}).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as reason:
        if "no such table" in str(reason):  # the writer has made the file and not yet its tables
            return []
        raise unusable(path, reason) from reason
    facts = ((row[0], from_row(Row(*row[1:]))) for row in rows)
    return [(seq, fact) for seq, fact in facts if fact is not None]


def unusable(path: Path, reason: Exception) -> LedgerError:
    """Return the error that says that the file cannot be used and what to do, with `reason` as its cause."""
    error = LedgerError(
        f"The ledger {str(path)!r} cannot be used ({reason}). See that the folder can be written and has room; "
        "if the file is damaged, move it away: tasks still known to the provider are found again by their ids."
    )
    error.__cause__ = reason
    return error

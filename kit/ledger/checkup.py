"""Owns the look at a ledger file before it is used: whole, damaged, or newer than this version; it changes nothing."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.ledger.disk import connect, is_damage, side
from kit.ledger.journal import NOT_KEPT, Kept, fact_line, url_line
from kit.ledger.reading import unusable
from kit.ledger.schema import SCHEMA_CHANGES, SELECT_URLS, URL_COLUMNS, minted_url, url_row, versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Damaged", "Verdict", "check_pages", "examine", "kept_lines", "load_urls"]

CHECK_S = 2.0  # how long the pages are looked at; a large file is taken for whole after that
_HEADER = b"SQLite format 3\x00"
_SELECT_KEPT = "SELECT seq, task, type, at, body FROM facts WHERE type NOT IN ({}) ORDER BY seq".format(
    ", ".join(f"'{name}'" for name in sorted(NOT_KEPT))
)


class Damaged(Exception):
    """The file is no whole ledger any more; the text says how one can tell, as the end of a sentence."""


@dataclass(frozen=True)
class Verdict:
    """A file that may be used: `newer` says why only for reading, `behind` that its journal lacks something."""

    newer: str | None = None
    behind: bool = False


def examine(path: Path, kept: Kept) -> Verdict:
    """Look at the file and compare it with its journal; damage is believed when it is found twice.

    SQLite may call a page that the disk did not give "malformed". So before anything is called damaged, all of it is
    read, which fails where the disk does, and looked at once more.

    Raises:
        Damaged: it is no database, its pages do not fit together, or it lacks what the journal holds.
        LedgerError: it cannot be looked at: no rights, no disk, or another process holds it. Nobody knows then whether
            it is damaged, so nothing may be done to it.
    """
    try:
        try:
            return _once(path, kept)
        except Damaged:
            _read_through(path)
            return _once(path, kept)
    except (OSError, sqlite3.Error) as reason:
        raise unusable(path, reason) from reason


def _once(path: Path, kept: Kept) -> Verdict:
    header = _header(path)
    if not header:
        return _empty(kept)
    if not _is_database(header):
        raise Damaged("it is not a database")
    return _look(path, kept)


def check_pages(connection: sqlite3.Connection, seconds: float = CHECK_S) -> None:
    """Look whether the pages of the file fit together, for at most `seconds`.

    Raises:
        Damaged: they do not.
        sqlite3.Error: the file cannot be read.
    """
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as reason:
        if getattr(reason, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    code = re.search(r"error code=(\d+)", found)
    if code is not None and int(code[1]) & 0xFF != sqlite3.SQLITE_CORRUPT:  # a page that the disk did not give
        raise sqlite3.OperationalError(f"disk I/O error ({found})")
    if found != "ok":
        raise Damaged(" ".join(found.split()))


def kept_lines(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Iterate over the lines that a journal of this file has: the URLs, then the facts in order."""
    for row in load_urls(connection):
        yield url_line(url_row(minted_url(row)))
    for seq, task, type_, at, body in connection.execute(_SELECT_KEPT):
        yield fact_line(seq, task, type_, at, body)


def load_urls(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the columns of every URL ever handed out, in the order of their making."""
    return [dict(zip(URL_COLUMNS, row, strict=True)) for row in connection.execute(SELECT_URLS)]


def _header(path: Path) -> bytes:
    """Return the first bytes of the file, none where there is no file; called while nobody here has it open."""
    try:
        with path.open("rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""


def _read_through(path: Path) -> None:
    """Read every byte of the file and its WAL; raise `OSError` where the disk does not give one."""
    for part in (path, side(path, "-wal")):
        if part.exists():
            with part.open("rb") as file:
                while file.read(2**20):
                    pass


def _is_database(header: bytes) -> bool:
    """Tell whether a file that begins so is a database of today's format in UTF-8."""
    return (
        len(header) == 100
        and header.startswith(_HEADER)
        and header[18:20] in (b"\x01\x01", b"\x02\x02")  # how it may be written and read: by rollback journal, by WAL
        and header[21:24] == b"\x40\x20\x20"
        and header[56:60] in (b"\x00\x00\x00\x00", b"\x00\x00\x00\x01")
    )


def _empty(kept: Kept) -> Verdict:
    if kept.lines:
        raise Damaged("it is missing or empty")
    return Verdict(behind=kept.spoiled)


def _look(path: Path, kept: Kept) -> Verdict:
    try:
        return _look_by(path, kept, "ro")
    except sqlite3.OperationalError as reason:
        if getattr(reason, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_READONLY:
            raise
    return _look_by(path, kept, "rw")  # a rollback journal was left behind, which only a writer can play back


def _look_by(path: Path, kept: Kept, mode: Any) -> Verdict:
    with closing(connect(path, mode)) as connection:
        try:
            found = versions(connection)
            if found and found[-1] > len(SCHEMA_CHANGES):
                return Verdict(newer=_newer(path, found[-1]))
            if found != list(range(1, len(found) + 1)):
                raise Damaged("its schema changes are not in order")
            check_pages(connection)
            return _compare(kept, kept_lines(connection) if found else iter(()))
        except sqlite3.Error as reason:
            # "No such column" and its kin: what says how the tables are made is no longer what we wrote.
            if is_damage(reason) or getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
                raise Damaged(str(reason)) from reason
            if not hasattr(reason, "sqlite_errorcode"):  # the driver itself: text that is not UTF-8
                raise Damaged(str(reason)) from reason
            raise


def _compare(kept: Kept, lines: Iterator[bytes]) -> Verdict:
    """Compare journal and database, line by line: what the journal alone has was lost, or altered on the disk."""
    lost, behind = set(kept.lines), kept.spoiled
    try:
        for line in lines:
            behind |= line not in lost
            lost.discard(line)
    except (TypeError, ValueError, OverflowError, AttributeError) as reason:  # a column that is not of its type
        raise Damaged(f"a row cannot be read: {reason}") from reason
    if lost:
        raise Damaged(f"it lacks {len(lost)} lines that its journal holds, or has them otherwise")
    return Verdict(behind=behind)


def _newer(path: Path, version: int) -> str:
    return (
        f"The ledger {str(path)!r} was written by a newer version of Callboard (schema {version}, this one knows "
        f"{len(SCHEMA_CHANGES)}), so it is only read. Update to write (pip install --upgrade callboard) or connect "
        "with another data folder."
    )

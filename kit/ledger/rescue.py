"""Owns opening what may be damaged: the bad file is moved aside, never overwritten, and a new one is filled."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kit.errors import LedgerError
from kit.ledger.checkup import Damaged, Verdict, examine, kept_lines
from kit.ledger.disk import SIDES, connect, side, sync_file, sync_folder
from kit.ledger.facts import Row, from_row
from kit.ledger.journal import Kept, fact_of, read_journal, url_of, write_journal
from kit.ledger.reading import unusable
from kit.ledger.schema import INSERT_NUMBERED_FACT, INSERT_URL, SELECT_URLS, URL_COLUMNS, apply_changes, minted_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Opening", "journal_of", "make_usable", "move_sides"]

log = logging.getLogger(__name__)

_SALVAGE_S = 60.0
_GAP = 10_000  # the numbers of facts that were lost are not given again: a person may have noted one
_SELECT_ALL = "SELECT seq, task, type, at, body, raw FROM facts ORDER BY seq "


@dataclass(frozen=True)
class Opening:
    """What had to be done for a file to be usable: sentences for a person, None where there is nothing to say."""

    newer: str | None = None
    rebuilt: str | None = None


def journal_of(path: Path) -> Path:
    """Return where the journal of the ledger `path` is."""
    return path.with_suffix(".journal")


def make_usable(path: Path) -> Opening:
    """Look at the file and its journal, and rebuild whichever of the two is not whole from the other.

    Raises:
        LedgerError: the file cannot be read, written or locked. That is no damage, and nothing was moved.
    """
    kept, unread = _journal(path)
    rebuilt = None
    try:
        verdict = examine(path, kept)
    except Damaged as damage:
        if unread is not None:
            raise unusable(path, unread) from damage  # perhaps the whole story is there, behind a bad cable
        try:
            rebuilt = _rebuild(path, kept, damage)
        except (OSError, sqlite3.Error) as reason:
            raise unusable(path, reason) from reason
        verdict = Verdict(behind=True)
    if verdict.behind and unread is None and verdict.newer is None:
        _bring_up(path)
    return Opening(verdict.newer, rebuilt)


def _journal(path: Path) -> tuple[Kept, OSError | None]:
    try:
        return read_journal(journal_of(path)), None
    except OSError as reason:
        log.warning("the journal of the ledger %s cannot be read: %s", path, reason)
        return Kept(), reason


def _bring_up(path: Path) -> None:
    """Write the journal anew from a file that is whole."""
    if not path.exists():
        return
    try:
        with closing(connect(path, "ro")) as connection:
            write_journal(journal_of(path), kept_lines(connection))
    except (OSError, sqlite3.Error) as reason:
        log.warning("the journal of the ledger %s lags behind it: %s", path, reason)


def _rebuild(path: Path, kept: Kept, damage: Damaged) -> str:
    """Fill a new file from the journal and what can still be read, put it in place, and return what was done."""
    fresh = path.with_name(f"{path.stem}.rebuilding{path.suffix}")
    for name in ("", *SIDES):
        side(fresh, name).unlink(missing_ok=True)
    with closing(connect(fresh, "rwc")) as connection:
        connection.execute("PRAGMA journal_mode=OFF")  # a file that is not finished is thrown away by the next try,
        connection.execute("PRAGMA synchronous=OFF")  # and one sync of the finished one is enough
        apply_changes(connection)
        connection.execute("BEGIN IMMEDIATE")
        _fill(connection, path, kept)
        tasks, facts = connection.execute("SELECT count(DISTINCT task), count(*) FROM facts").fetchone()
        connection.execute("COMMIT")
    sync_file(fresh)
    aside = _put_in_place(fresh, path)
    told = (
        f"The ledger {str(path)!r} was damaged ({damage}) and has been rebuilt from its journal and from what could "
        f"still be read: {tasks} tasks, {facts} facts. Polling asks the provider for the rest"
        + (f"; the damaged file is kept as {aside.name!r}." if aside else ".")
    )
    log.error("%s", told)
    return told


def _fill(connection: sqlite3.Connection, path: Path, kept: Kept) -> None:
    """Insert what the journal holds and then, where nothing has that number, the rows that could be saved."""
    urls = {row["secret_hash"]: row for line in kept.lines if (row := url_of(line)) is not None}
    facts = dict(found for line in kept.lines if (found := fact_of(line)) is not None)
    connection.executemany(INSERT_NUMBERED_FACT, ((seq, *row) for seq, row in sorted(facts.items())))
    told = set(facts.values())
    rest = ((seq, *row) for seq, row in _salvaged_facts(path) if row not in told)  # a bad number makes no second one
    connection.executemany(INSERT_NUMBERED_FACT, rest)
    connection.execute("UPDATE sqlite_sequence SET seq = seq + ?", (_GAP,))
    connection.executemany(INSERT_URL, ({**_salvaged_urls(path), **urls}).values())


def _salvaged_facts(path: Path) -> Iterator[tuple[int, Row]]:
    """Iterate over the rows of a damaged file up to the first bad page, from both ends; unreadable ones are left out.

    Numbers may come twice.
    """
    for order in ("ASC", "DESC"):
        for seq, *columns in _readable(path, _SELECT_ALL + order):
            row = _fact_row(columns)
            if isinstance(seq, int) and seq > 0 and row is not None:
                yield seq, row


def _fact_row(columns: list[Any]) -> Row | None:
    try:
        task, type_, at, body, raw = columns
        row = Row(task.decode(), type_.decode(), at, body.decode(), raw)
    except (AttributeError, ValueError):
        return None
    return row if type(at) is int and from_row(row) is not None else None


def _salvaged_urls(path: Path) -> dict[bytes, dict[str, Any]]:
    urls = {}
    for values in _readable(path, SELECT_URLS):
        row = dict(zip(URL_COLUMNS, values, strict=True))
        with contextlib.suppress(AttributeError, TypeError, ValueError, OverflowError):
            row.update({name: row[name].decode() for name in ("task", "kind", "provider", "dialect")})
            urls[minted_url(row).secret_hash] = row
    return urls


def _readable(path: Path, asked: str) -> Iterator[tuple[Any, ...]]:
    """Iterate over the rows of an answer until the damage, with all text as bytes; nothing where nothing is left."""
    if not path.exists() or not path.stat().st_size:  # beside an empty file SQLite would delete the WAL
        return
    end = time.monotonic() + _SALVAGE_S  # pages that lead in circles can be read for ever
    with closing(connect(path, "ro")) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        connection.text_factory = bytes
        try:
            yield from connection.execute(asked)
        except sqlite3.DatabaseError as reason:
            log.warning("of the ledger %s no more can be read: %s", path, reason)


def _put_in_place(fresh: Path, path: Path) -> Path | None:
    """Let the new file take the name of the damaged one, which gets a name with the time; return that."""
    aside = move_sides(path)  # first: a new file beside an old WAL would take it for its own
    found = path.exists()
    if found:
        try:
            aside.hardlink_to(path)  # so that at every moment there is a file, and a reader finds the old or the new
        except OSError:
            path.rename(aside)
    fresh.replace(path)
    sync_folder(path.parent)
    return aside if found else None


def move_sides(path: Path) -> Path:
    """Move what SQLite keeps beside the database out of its way; return the name that goes with it.

    Raises:
        OSError: it could not be moved.
    """
    aside = _free_name(path)
    for name in SIDES:
        if side(path, name).exists():
            side(path, name).rename(side(aside, name))
    return aside


def _free_name(path: Path) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for number in range(1, 1000):
        name = f"{path.stem}.damaged-{stamp}{f'-{number}' if number > 1 else ''}{path.suffix}"
        if not any(side(path.with_name(name), end).exists() for end in ("", *SIDES)):
            return path.with_name(name)
    raise LedgerError(f"There are a thousand damaged copies beside {str(path)!r}. Move them away and connect again.")

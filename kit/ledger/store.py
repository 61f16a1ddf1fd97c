"""Owns the ledger's one writer: what waits together is committed together; it must not know what the facts mean."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from kit.errors import LedgerError
from kit.ledger.checkup import Damaged, check_pages, load_urls
from kit.ledger.disk import connect, fold_in, is_damage, is_disk_trouble, make_durable, side
from kit.ledger.facts import Fact, MintedUrl, Row, to_row
from kit.ledger.journal import NOT_KEPT, Journal, fact_line, url_line
from kit.ledger.reading import disk_id, fetch_facts, unusable
from kit.ledger.rescue import journal_of, make_usable, move_sides
from kit.ledger.schema import INSERT_URL, apply_changes, insert_facts, minted_url, url_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Ledger", "MintedUrl"]

log = logging.getLogger(__name__)

_AT_ONCE = 6  # a statement inserts 2 ** 6 facts at most
_BATCH = 256  # facts that share one sync at most; more would make the first of them wait
_PAGE = 4096
_FOLD_EVERY = 1000  # pages of the WAL, roughly, after which they are folded into the database


@dataclass(frozen=True)
class _Append:
    rows: tuple[Row, ...]
    urls: tuple[MintedUrl, ...]
    future: Future[list[int]]

    @property
    def kept(self) -> bool:
        """Tell whether the journal has to hold some of it."""
        return bool(self.urls) or any(row.type not in NOT_KEPT for row in self.rows)


class _Broken(Exception):
    """The open file is no longer the ledger; the text is the sentence for a person."""


class Ledger:
    """The one writer of a ledger file, in a thread of its own; what waits together is committed together.

    ``append`` may be called from any thread.

    Attributes:
        journal_mode: what the database says it uses: "wal" on a local disk.
        read_only: why this file is only read (a newer version wrote it), as a sentence; else None.
        rebuilt: how a damaged or missing file was rebuilt at the opening, as a sentence; else None.
        broken: why nothing can be stored any more (the file was deleted, replaced or damaged), as a sentence; else
            None. Every append fails from then on, and the next opening rebuilds the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal_mode = ""
        self.read_only: str | None = None
        self.rebuilt: str | None = None
        self.broken: str | None = None
        self._queue: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._urls: dict[bytes, MintedUrl] = {}
        self._gate = threading.Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._journal = Journal(journal_of(path))
        self._file: tuple[int, int] | None = None
        self._wal: tuple[int, int] | None = None
        self._unfolded = 0
        self._doubtful = False
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=f"ledger {path.parent.name}", daemon=True)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open the ledger file, made with its folder where missing, and bring its schema up to date.

        A damaged file is moved aside and rebuilt (`rebuilt`), one of a newer version is only read (`read_only`).

        Raises:
            LedgerError: the file cannot be read, written or locked; nothing was changed.
        """
        ledger = cls(Path(path))
        try:
            ledger.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise LedgerError(f"The folder of the ledger {str(path)!r} cannot be made: {reason.strerror}.") from reason
        ledger._thread.start()
        try:
            ledger._opened.result()
        except BaseException:
            ledger._thread.join()
            raise
        return ledger

    def append(self, *facts: Fact, urls: Sequence[MintedUrl] = ()) -> Future[list[int]]:
        """Store `facts` and `urls` in one transaction; the future has their numbers once they are safely on disk.

        The future fails with `LedgerError` when the commit failed; it cannot be cancelled. A commit whose last step
        failed may turn out to have been kept: whoever is told of a failure and tries again stores it twice, and
        whoever was told of a success never loses it. A fact that is not JSON, and a ledger that is closed, broken or
        read-only, raise `LedgerError` at once.
        """
        future: Future[list[int]] = Future()
        future.set_running_or_notify_cancel()  # what was handed over is written, also when nobody waits any more
        job = _Append(tuple([to_row(fact) for fact in facts]), tuple(urls), future)
        with self._gate:
            if refusal := self.read_only or self.broken:
                raise LedgerError(refusal)
            if self._closed:
                raise LedgerError(f"The ledger {str(self.path)!r} is closed. Connect again before writing to it.")
            self._queue.put(job)
        return future

    def find_url(self, secret_hash: bytes) -> MintedUrl | None:
        """Return the URL whose secret has this SHA-256, expired or not, from memory."""
        return self._urls.get(secret_hash)

    def urls(self) -> list[MintedUrl]:
        """Return every URL ever handed out, in the order of their making."""
        return list(self._urls.copy().values())

    def facts(self, *, since: int = 0) -> Iterator[tuple[int, Fact]]:
        """Iterate over the committed facts numbered above `since`, in order, with their numbers."""
        return iter(fetch_facts(self.path, since=since))

    def close(self) -> None:
        """Write what is queued, close the file and end the thread; may be called again."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._open()
        except Exception as reason:
            self._disconnect()
            self._closed = True
            self._opened.set_exception(reason if isinstance(reason, LedgerError) else unusable(self.path, reason))
            return
        self._opened.set_result(None)
        going = True
        while going:
            batch, going = self._gather()
            if batch:
                self._commit(batch)
        self._disconnect()
        self._journal.close()

    def _open(self) -> None:
        opening = make_usable(self.path)
        self.read_only, self.rebuilt = opening.newer, opening.rebuilt
        if self.read_only is None:
            self._connection = self._connect("rwc")
        with closing(connect(self.path, "ro")) as reader:
            try:
                self._urls = {row["secret_hash"]: minted_url(row) for row in load_urls(reader)}
            except sqlite3.Error:
                if self.read_only is None:  # how a newer version keeps its URLs is not ours to know
                    raise

    def _gather(self) -> tuple[list[_Append], bool]:
        """Return what is queued, at most one batch, after waiting for the first; False once the ledger is closed."""
        batch: list[_Append] = []
        size = 0
        try:
            while size < _BATCH:
                job = self._queue.get(block=not batch)
                if job is None:
                    return batch, False
                batch.append(job)
                size += len(job.rows)
        except queue.Empty:
            pass
        return batch, True

    def _commit(self, batch: list[_Append]) -> None:
        try:
            if self.broken is not None:
                raise _Broken(self.broken)
            if self._connection is None:
                self._connection = self._connect("rw")
            numbers = _write(self._connection, batch)
            self._see_that_it_is_ours()
        except Exception as reason:  # whatever it was: nobody may take an unstored fact for a stored one
            self._fail(batch, reason)
            return
        self._answer(batch, numbers)
        self._fold_in_turn(batch)

    def _answer(self, batch: list[_Append], numbers: list[list[int]]) -> None:
        """Give the numbers to who waits: at once for what the journal leaves out, else once the journal holds it."""
        lines: list[bytes] = []
        later: list[tuple[_Append, list[int]]] = []
        for job, seqs in zip(batch, numbers, strict=True):
            if not job.kept:
                job.future.set_result(seqs)
                continue
            self._urls.update((url.secret_hash, url) for url in job.urls)
            lines += [url_line(url_row(url)) for url in job.urls]
            lines += [
                fact_line(seq, *row[:4]) for seq, row in zip(seqs, job.rows, strict=True) if row[1] not in NOT_KEPT
            ]
            later.append((job, seqs))
        if lines:
            self._journal.add(lines)
        for job, seqs in later:
            job.future.set_result(seqs)

    def _fail(self, batch: list[_Append], reason: Exception) -> None:
        """Tell all who waited; the connection is closed, because after a failed sync it is not to be trusted."""
        self._doubtful |= is_disk_trouble(reason)
        if isinstance(reason, _Broken):
            self.broken = str(reason)
        elif is_damage(reason) or isinstance(reason, Damaged):
            self.broken = (
                f"The ledger {str(self.path)!r} is damaged ({reason}), so nothing can be stored in it. "
                "Connect again: it is then moved aside and rebuilt."
            )
        log.error("a commit of %d appends failed", len(batch), exc_info=reason)
        self._leave()
        sentence = self.broken or f"The ledger {str(self.path)!r} could not store this ({reason}): take it as not kept."
        for job in batch:
            error = LedgerError(sentence)
            error.__cause__ = reason
            job.future.set_exception(error)

    def _fold_in_turn(self, batch: list[_Append]) -> None:
        """Take the WAL into the database now and then; nobody waits for it, so its failure fails nothing."""
        size = sum(len(row.body) + len(row.raw or b"") for job in batch for row in job.rows)
        self._unfolded += 6 + size // _PAGE  # the ends of the table and of its index, and what the facts fill
        if self._unfolded < _FOLD_EVERY or self._connection is None:
            return
        self._unfolded = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as reason:
            log.warning("the WAL of the ledger %s could not be folded in: %s", self.path, reason)
            self._doubtful |= is_disk_trouble(reason)
            self._disconnect()

    def _connect(self, mode: Literal["rw", "rwc"]) -> sqlite3.Connection:
        """Return a connection to the file, which is made at the first time ("rwc") and has to be the same one later."""
        if self._file is not None and disk_id(self.path) != self._file:
            raise _Broken(self._moved(self.path))
        connection = connect(self.path, mode)
        try:
            if self._doubtful:
                check_pages(connection)
            self.journal_mode = make_durable(connection, self.path)
            apply_changes(connection)
            fold_in(connection)
            self._see_that_it_is_ours()
        except BaseException:
            connection.close()
            raise
        self._doubtful = False
        return connection

    def _see_that_it_is_ours(self) -> None:
        """Compare the files at the path with those that are open; what was committed to another one is lost."""
        found = disk_id(self.path)
        wal = disk_id(side(self.path, "-wal")) if self.journal_mode == "wal" else None
        self._file, self._wal = self._file or found, self._wal or wal
        if found is None or found != self._file:
            raise _Broken(self._moved(self.path))
        if wal != self._wal:
            raise _Broken(self._moved(side(self.path, "-wal")))

    @staticmethod
    def _moved(path: Path) -> str:
        return (
            f"The file {str(path)!r} was deleted or replaced while it was in use, so nothing can be stored any more. "
            "Connect again: the ledger is then made anew from its journal and from what is left."
        )

    def _leave(self) -> None:
        """Close what failed; where another file took the ledger's name, our WAL is not left beside it.

        SQLite would take such a WAL for that file's own and mix the pages of two databases.
        """
        ours = self._wal
        self._disconnect()
        try:
            stranger = disk_id(self.path) not in {None, self._file}
            if stranger and ours is not None and disk_id(side(self.path, "-wal")) == ours:
                move_sides(self.path)
        except (OSError, LedgerError) as reason:
            log.warning("the WAL of the ledger %s could not be moved away: %s", self.path, reason)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._wal = None
        if connection is not None:
            try:
                connection.close()  # rolls back what was not committed
            except sqlite3.Error as reason:
                log.warning("closing the ledger %s: %s", self.path, reason)


def _write(connection: sqlite3.Connection, batch: list[_Append]) -> list[list[int]]:
    """Commit `batch` as one transaction; return the numbers of each append's facts."""
    rows = [row for job in batch for row in job.rows]
    connection.execute("BEGIN IMMEDIATE")
    end = 0
    if rows:
        _insert(connection, rows)
        end = connection.execute("SELECT last_insert_rowid()").fetchone()[0] + 1
    for job in batch:
        for url in job.urls:
            connection.execute(INSERT_URL, url_row(url))
    connection.execute("COMMIT")
    numbers = iter(range(end - len(rows), end))  # one writer, one transaction: they follow each other
    return [[next(numbers) for _ in job.rows] for job in batch]


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Insert rows many at a time: the driver gives up the interpreter lock at each statement, not at each row."""
    start = 0
    while start < len(rows):
        size = 1 << min(_AT_ONCE, (len(rows) - start).bit_length() - 1)  # a handful of statements to prepare
        values = list(chain.from_iterable(rows[start : start + size]))
        connection.execute(insert_facts(size), values)
        start += size

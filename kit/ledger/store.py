"""Owns the database file: its schema and its one writer; it must not know what the facts mean."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from kit.errors import LedgerError
from kit.ledger.facts import Fact, MintedUrl, Row, from_microseconds, to_microseconds, to_row
from kit.ledger.reading import BUSY_S, fetch_facts, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.sql import ClauseElement
    from sqlalchemy.sql.ddl import ExecutableDDLElement

__all__ = ["SCHEMA_CHANGES", "Ledger", "MintedUrl"]

log = logging.getLogger(__name__)

_META = MetaData()
_FACTS = Table(
    "facts",
    _META,
    Column("seq", Integer, primary_key=True),
    Column("task", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("raw", LargeBinary),
    sqlite_autoincrement=True,  # a sequence number is never given twice, so readers can go on from their last one
)
_FACTS_BY_TASK = Index("facts_by_task", _FACTS.c.task, _FACTS.c.seq)
_URLS = Table(
    "urls",
    _META,
    Column("secret_hash", LargeBinary, primary_key=True),
    Column("task", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("listen_only", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)
_SCHEMA = Table(
    "schema_changes",
    _META,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", BigInteger, nullable=False),
)

# Append only. A change that was released is never edited: whoever alters a table above gives the earlier change a
# copy of the table as it was, and appends a change of their own. A test holds the text of each released change.
SCHEMA_CHANGES: tuple[tuple[ExecutableDDLElement, ...], ...] = (
    (CreateTable(_FACTS), CreateIndex(_FACTS_BY_TASK), CreateTable(_URLS)),
)

_DIALECT = sqlite.dialect(paramstyle="named")


def _sql(statement: ClauseElement) -> str:
    """Return `statement` as text for the driver: written once in SQLAlchemy, run without its overhead."""
    return str(statement.compile(dialect=_DIALECT))


_INSERT_FACT = _sql(insert(_FACTS).values({name: bindparam(name) for name in Row._fields}))
_INSERT_URL = _sql(insert(_URLS))
_SELECT_URLS = _sql(select(_URLS).order_by(_URLS.c.created_at))
_SELECT_VERSION = _sql(select(func.max(_SCHEMA.c.version)))
_INSERT_VERSION = _sql(insert(_SCHEMA))

_BATCH = 256  # facts that share one sync at most; more would make the first of them wait


@dataclass(frozen=True)
class _Append:
    rows: tuple[Row, ...]
    urls: tuple[MintedUrl, ...]
    future: Future[list[int]]


class Ledger:
    """The one writer of a ledger file, in a thread of its own; what waits together is committed together.

    ``append`` may be called from any thread. `journal_mode` is what the database says it uses: "wal" on a local disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal_mode = ""
        self._queue: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._urls: dict[bytes, MintedUrl] = {}
        self._gate = threading.Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=f"ledger {path.parent.name}", daemon=True)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open the ledger file, made with its folder where missing, and bring its schema up to date.

        Raises:
            LedgerError: the file is damaged, not writable, or of a newer version of the kit.
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

        The future fails with `LedgerError` when the commit failed; it cannot be cancelled. A fact that is not JSON
        and a closed ledger raise `LedgerError` at once.
        """
        future: Future[list[int]] = Future()
        future.set_running_or_notify_cancel()  # what was handed over is written, also when nobody waits any more
        job = _Append(tuple(to_row(fact) for fact in facts), tuple(urls), future)
        with self._gate:
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
            self._connection = self._connect()
            self._urls = _load_urls(self._connection)
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
            if self._connection is None:
                self._connection = self._connect()
            numbers = _write(self._connection, batch)
        except Exception as reason:  # whatever it was: nobody may take an unstored fact for a stored one
            log.exception("a commit of %d appends failed", len(batch))
            self._disconnect()
            for job in batch:
                error = LedgerError(f"The ledger {str(self.path)!r} could not store this ({reason}). Nothing was kept.")
                error.__cause__ = reason
                job.future.set_exception(error)
            return
        for job in batch:
            self._urls.update((url.secret_hash, url) for url in job.urls)
        for job, seqs in zip(batch, numbers, strict=True):
            job.future.set_result(seqs)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            self.journal_mode = _make_durable(connection, self.path)
            _apply_changes(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()  # rolls back what was not committed
            except sqlite3.Error as reason:
                log.warning("closing the ledger %s: %s", self.path, reason)


def _make_durable(connection: sqlite3.Connection, path: Path) -> str:
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
    expected: dict[str, Literal[1, 2]] = {"synchronous": 2, "fullfsync": 1, "checkpoint_fullfsync": 1}
    for pragma, value in expected.items():
        connection.execute(f"PRAGMA {pragma}={value}")
        found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found != value:
            raise LedgerError(f"SQLite keeps {pragma}={found} for the ledger {str(path)!r}; it must be {value}.")
    return mode


def _on_network_disk(path: Path) -> bool:
    """Tell whether `path` lies on a disk that other machines share, where SQLite's WAL is not safe."""
    import psutil

    folder = path.parent.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    if not mounts:
        return False
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype.lower()
    return kind in {"9p", "afpfs", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb2", "smb3", "smbfs", "webdav"}


def _apply_changes(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the schema changes that the file lacks, each with its record in one transaction."""
    connection.execute(_sql(CreateTable(_SCHEMA, if_not_exists=True)))
    found = int(connection.execute(_SELECT_VERSION).fetchone()[0] or 0)
    known = len(SCHEMA_CHANGES)
    if found > known:
        raise LedgerError(
            f"The ledger {str(path)!r} was written by a newer version of Callboard (schema {found}, this one knows "
            f"{known}). Update it (pip install --upgrade callboard) or connect with another data folder."
        )
    for version, change in enumerate(SCHEMA_CHANGES[found:], start=found + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in change:
            connection.execute(_sql(statement))
        connection.execute(_INSERT_VERSION, {"version": version, "applied_at": time.time_ns() // 1000})
        connection.execute("COMMIT")


def _write(connection: sqlite3.Connection, batch: list[_Append]) -> list[list[int]]:
    """Commit `batch` as one transaction; return the numbers of each append's facts."""
    numbers: list[list[int]] = []
    connection.execute("BEGIN IMMEDIATE")
    for job in batch:
        numbers.append([connection.execute(_INSERT_FACT, row._asdict()).lastrowid or 0 for row in job.rows])
        for url in job.urls:
            connection.execute(_INSERT_URL, _url_row(url))
    connection.execute("COMMIT")
    return numbers


def _url_row(url: MintedUrl) -> dict[str, Any]:
    expires = None if url.expires_at is None else to_microseconds(url.expires_at)
    return {**vars(url), "created_at": to_microseconds(url.created_at), "expires_at": expires}


def _load_urls(connection: sqlite3.Connection) -> dict[bytes, MintedUrl]:
    urls: dict[bytes, MintedUrl] = {}
    names = [column.name for column in _URLS.columns]
    for row in connection.execute(_SELECT_URLS):
        made = dict(zip(names, row, strict=True))
        expires = made["expires_at"]
        made["created_at"] = from_microseconds(made["created_at"])
        made["expires_at"] = None if expires is None else from_microseconds(expires)
        made["listen_only"] = bool(made["listen_only"])
        urls[made["secret_hash"]] = MintedUrl(**made)
    return urls

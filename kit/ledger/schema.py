"""Owns the ledger's tables and how they came to be, change by change; it must not know who reads or writes them."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

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
    insert,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from kit.ledger.facts import MintedUrl, Row, from_microseconds, to_microseconds

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy.sql import ClauseElement
    from sqlalchemy.sql.ddl import ExecutableDDLElement

__all__ = [
    "FACTS",
    "INSERT_NUMBERED_FACT",
    "INSERT_URL",
    "SCHEMA_CHANGES",
    "SELECT_URLS",
    "URLS",
    "URL_COLUMNS",
    "apply_changes",
    "insert_facts",
    "minted_url",
    "sql",
    "url_row",
    "versions",
]

_META = MetaData()
FACTS = Table(
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
_FACTS_BY_TASK = Index("facts_by_task", FACTS.c.task, FACTS.c.seq)
URLS = Table(
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
_CHANGES = Table(
    "schema_changes",
    _META,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", BigInteger, nullable=False),
)

# Append only. A change that was released is never edited: whoever alters a table above gives the earlier change a
# copy of the table as it was, and appends a change of their own. A test holds the text of each released change.
SCHEMA_CHANGES: tuple[tuple[ExecutableDDLElement, ...], ...] = (
    (CreateTable(FACTS), CreateIndex(_FACTS_BY_TASK), CreateTable(URLS)),
)

_NAMED = sqlite.dialect(paramstyle="named")
_IN_ORDER = sqlite.dialect(paramstyle="qmark")


def sql(statement: ClauseElement, *, named: bool = True) -> str:
    """Return `statement` as text for the driver: written once in SQLAlchemy, run without its overhead."""
    return str(statement.compile(dialect=_NAMED if named else _IN_ORDER))


# The two inserts of facts take tuples, which the driver binds in half the time of mappings.
_VALUES: dict[str, Any] = {name: bindparam(name) for name in Row._fields}
_INSERT_FACT = sql(insert(FACTS).values(_VALUES), named=False)
INSERT_NUMBERED_FACT = sql(
    insert(FACTS).prefix_with("OR IGNORE").values({"seq": bindparam("seq"), **_VALUES}), named=False
)
INSERT_URL = sql(insert(URLS))
SELECT_URLS = sql(select(URLS).order_by(URLS.c.created_at))
URL_COLUMNS = tuple(column.name for column in URLS.columns)
_SELECT_VERSIONS = sql(select(_CHANGES.c.version).order_by(_CHANGES.c.version))
_INSERT_VERSION = sql(insert(_CHANGES))


@cache
def insert_facts(count: int) -> str:
    """Return the statement that inserts `count` facts, their values one after the other."""
    return _INSERT_FACT + f", {_INSERT_FACT[_INSERT_FACT.rindex('(') :]}" * (count - 1)


def versions(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of the changes that the file has had; none for an empty one."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return [row[0] for row in connection.execute(_SELECT_VERSIONS)] if tables else []


def apply_changes(connection: sqlite3.Connection) -> None:
    """Apply the changes that the file lacks, in order, each with its record in one transaction.

    Raises:
        sqlite3.Error: a change could not be made; the ones before it stand, and of this one nothing does.
    """
    found = len(versions(connection))
    for version, change in enumerate(SCHEMA_CHANGES[found:], start=found + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(sql(CreateTable(_CHANGES, if_not_exists=True)))
            for statement in change:
                connection.execute(sql(statement))
            connection.execute(_INSERT_VERSION, {"version": version, "applied_at": time.time_ns() // 1000})
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def url_row(url: MintedUrl) -> dict[str, Any]:
    """Return `url` as the columns of its row."""
    expires = None if url.expires_at is None else to_microseconds(url.expires_at)
    return {**vars(url), "created_at": to_microseconds(url.created_at), "expires_at": expires}


def minted_url(row: dict[str, Any]) -> MintedUrl:
    """Return the URL of a row; raise `TypeError`, `ValueError` or `KeyError` where it is none."""
    if not isinstance(row["secret_hash"], bytes):
        raise TypeError("the hash of a secret is bytes")
    for name in ("task", "kind", "provider", "dialect"):
        if not isinstance(row[name], str):
            raise TypeError(f"{name} is text")
    expires = row["expires_at"]
    return MintedUrl(
        **{name: row[name] for name in ("secret_hash", "task", "kind", "provider", "dialect")},
        listen_only=bool(row["listen_only"]),
        created_at=from_microseconds(row["created_at"]),
        expires_at=None if expires is None else from_microseconds(expires),
    )

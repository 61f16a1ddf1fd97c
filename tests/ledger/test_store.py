"""The ledger file: durable, in order, each fact once, and honest about failure."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Index, MetaData, Table, Text
from sqlalchemy.schema import CreateIndex, CreateTable

from kit.errors import LedgerError
from kit.ledger import checkup, disk, schema, store
from kit.ledger.facts import Delivery, Departure, Fact, to_row
from kit.ledger.journal import read_journal
from kit.ledger.reading import fetch_facts
from kit.ledger.schema import SCHEMA_CHANGES
from kit.ledger.store import Ledger, MintedUrl
from tests.ledger.stories import answer, at, delivery, departure, intent

_RELEASED = {
    1: """
CREATE TABLE facts ( seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, type TEXT NOT NULL,
at BIGINT NOT NULL, body TEXT NOT NULL, raw BLOB )
CREATE INDEX facts_by_task ON facts (task, seq)
CREATE TABLE urls ( secret_hash BLOB NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL, provider TEXT NOT NULL,
dialect TEXT NOT NULL, listen_only BOOLEAN NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT,
PRIMARY KEY (secret_hash) )
""",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger will be."""
    return tmp_path / "sandbox" / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Return an open, empty ledger."""
    with Ledger.open(path) as made:
        yield made


def _url(secret: bytes = b"s" * 32, **more: object) -> MintedUrl:
    given = {"task": "t1", "kind": "video", "provider": "sandbox", "dialect": "kie", "listen_only": False}
    return MintedUrl(secret_hash=secret, created_at=at(), **{**given, **more})  # type: ignore[arg-type]


def test_what_was_appended_is_there_after_reopening(path: Path) -> None:
    """Facts and URLs of one append survive closing, with the numbers the future gave."""
    url = _url(expires_at=at(3600), listen_only=True)
    with Ledger.open(path) as ledger:
        assert [1, 2] == ledger.append(intent(), departure(), urls=[url]).result()
        assert url == ledger.find_url(url.secret_hash)
    with Ledger.open(path) as again:
        assert [(1, intent()), (2, departure())] == list(again.facts())
        assert [(2, departure())] == list(again.facts(since=1))
        assert [url] == again.urls()
        assert url == again.find_url(url.secret_hash)
        assert again.find_url(b"x" * 32) is None


def test_durability_is_set_and_read_back(path: Path, ledger: Ledger) -> None:
    """A local disk gets WAL with synchronous=FULL, whatever this build's defaults are."""
    connection = sqlite3.connect(path.with_name("other.sqlite"), isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=OFF")
        assert "wal" == disk.make_durable(connection, path) == ledger.journal_mode
        names = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
        assert ["wal", 2, 1, 1] == [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    finally:
        connection.close()


def test_a_network_disk_gets_a_rollback_journal_and_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WAL needs memory that machines do not share; there, facts are still kept and the promise is smaller."""
    monkeypatch.setattr(disk, "_on_network_disk", lambda _: True)
    with Ledger.open(path) as ledger:
        assert "delete" == ledger.journal_mode
        assert [1] == ledger.append(intent()).result()

    assert "rollback journal" in caplog.text
    assert [(1, intent())] == fetch_facts(path)


def test_a_setting_that_does_not_stick_is_an_error(path: Path) -> None:
    """A connection on which synchronous stays below FULL is refused, not used."""

    class Lax(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:  # type: ignore[override]
            return super().execute("PRAGMA synchronous=1" if sql == "PRAGMA synchronous=2" else sql, *args)

    path.parent.mkdir()
    connection = sqlite3.connect(path, factory=Lax, isolation_level=None)
    try:
        with pytest.raises(LedgerError, match="synchronous=1"):
            disk.make_durable(connection, path)
    finally:
        connection.close()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=8), width=st.integers(1, 3))
def test_many_callers_each_fact_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], width: int
) -> None:
    """Appends from many threads are each stored once, in each caller's order, with numbers that only grow."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    futures: dict[int, list[Future[list[int]]]] = {caller: [] for caller in range(len(counts))}

    def call(caller: int) -> None:
        for number in range(counts[caller]):
            facts = [delivery(second=number * width + k, task=f"t{caller}") for k in range(width)]
            futures[caller].append(ledger.append(*facts))

    with Ledger.open(path) as ledger:
        threads = [threading.Thread(target=call, args=(caller,)) for caller in futures]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = fetch_facts(path)
    told = {seq for mine in futures.values() for future in mine for seq in future.result(timeout=0)}

    assert [seq for seq, _ in found] == sorted(told)
    assert sum(counts) * width == len(told)
    for caller, mine in futures.items():
        seqs = [seq for future in mine for seq in future.result(timeout=0)]
        assert seqs == sorted(seqs)
        expected = [at(second) for second in range(counts[caller] * width)]
        assert expected == [fact.at for _, fact in found if fact.task == f"t{caller}"]


def test_a_batch_is_one_transaction(ledger: Ledger) -> None:
    """An append of several facts is stored whole or not at all."""
    ledger.append(urls=[_url()]).result()
    lost = ledger.append(intent(), departure(), urls=[_url()])  # the same secret twice cannot be stored

    with pytest.raises(LedgerError, match="could not store") as caught:
        lost.result()
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert [] == list(ledger.facts())


def test_a_failed_commit_fails_all_who_waited_and_the_next_one_works(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that an unstored fact was stored; the connection is made anew and numbers go on."""
    assert [1] == ledger.append(intent()).result()
    first = ledger._connection
    full = sqlite3.OperationalError("database or disk is full")

    def refuse(*_: object) -> list[list[int]]:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", refuse)
        waiting = [ledger.append(delivery(second=n)) for n in range(5)]
        reasons = [future.exception() for future in waiting]

    assert [full] * 5 == [reason.__cause__ for reason in reasons if isinstance(reason, LedgerError)]
    assert [2] == ledger.append(departure()).result()
    assert ledger._connection is not first
    assert [intent(), departure()] == [fact for _, fact in ledger.facts()]


def test_an_append_cannot_be_taken_back(ledger: Ledger) -> None:
    """Cancelling the wait does not unwrite the fact, nor disturb the writer."""
    future = ledger.append(intent())

    assert not future.cancel()
    assert [1] == future.result()


def test_close_writes_what_is_queued_and_may_be_repeated(path: Path) -> None:
    """Closing flushes, joins the thread, and is harmless the second time; appending afterwards is an error."""
    ledger = Ledger.open(path)
    waiting = [ledger.append(delivery(second=n)) for n in range(300)]
    ledger.close()
    ledger.close()

    assert list(range(1, 301)) == [future.result(timeout=0)[0] for future in waiting]
    assert not ledger._thread.is_alive()
    assert not path.with_name("ledger.sqlite-wal").exists()
    with pytest.raises(LedgerError, match="is closed"):
        ledger.append(intent())


def test_closing_from_a_callback_of_a_future_does_not_hang(path: Path) -> None:
    """The writer's own thread may ask for the end."""
    ledger = Ledger.open(path)
    ledger.append(intent()).add_done_callback(lambda _: ledger.close())
    ledger._thread.join(timeout=10)

    assert not ledger._thread.is_alive()


def test_a_long_reader_delays_no_commit(ledger: Ledger) -> None:
    """While a reader holds a view open, appends are committed, and the reader's view stays as it was."""
    ledger.append(intent()).result()
    reader = sqlite3.connect(f"{ledger.path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        reader.execute("BEGIN")
        assert 1 == reader.execute("SELECT count(*) FROM facts").fetchone()[0]
        for number in range(50):
            ledger.append(delivery(second=number)).result(timeout=5)
        assert 1 == reader.execute("SELECT count(*) FROM facts").fetchone()[0]
    finally:
        reader.close()
    assert 51 == len(list(ledger.facts()))


def test_readers_cannot_write(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that fetches facts is read-only and closed when the facts are there."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: made.append(connect(*a, **k)) or made[-1])
    ledger.append(intent()).result()
    fetch_facts(ledger.path)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[-1].execute("SELECT 1")
    reader = connect(f"{ledger.path.as_uri()}?mode=ro", uri=True)
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM facts")
    finally:
        reader.close()


def test_facts_are_fetched_by_task_and_by_type(ledger: Ledger) -> None:
    """The two filters may be used together; order is the order of writing."""
    facts: list[Fact] = [intent(), intent(task="t2"), delivery(), delivery(task="t2"), answer()]
    ledger.append(*facts).result()

    assert [1, 3, 5] == [seq for seq, _ in fetch_facts(ledger.path, task="t1")]
    assert [3, 4] == [seq for seq, _ in fetch_facts(ledger.path, only="delivery")]
    assert [(4, facts[3])] == fetch_facts(ledger.path, task="t2", only="delivery", since=2)


def test_a_missing_or_unmade_file_has_no_facts(tmp_path: Path) -> None:
    """A kernel may look before the service has made the file or its tables."""
    assert [] == fetch_facts(tmp_path / "none.sqlite")
    (tmp_path / "new.sqlite").touch()
    assert [] == fetch_facts(tmp_path / "new.sqlite")


def test_facts_of_a_later_version_are_left_out(ledger: Ledger) -> None:
    """A type that this version does not know is skipped, and its neighbours are read."""
    ledger.append(intent(), departure()).result()
    ledger.close()
    connection = sqlite3.connect(ledger.path)
    connection.execute("UPDATE facts SET type = 'mood' WHERE seq = 1")
    connection.commit()
    connection.close()

    assert [(2, departure())] == fetch_facts(ledger.path)


def _make_newer(path: Path, *facts: Fact) -> None:
    with Ledger.open(path) as ledger:
        ledger.append(*facts, urls=[_url()]).result()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")  # a mode of its own choice, which is not ours to change
    connection.execute("INSERT INTO schema_changes VALUES (2, 0)")
    connection.commit()
    connection.close()


def test_a_newer_file_is_only_read(path: Path) -> None:
    """A ledger of a newer kit is read, says so, takes nothing, and not one byte of it or its journal changes."""
    _make_newer(path, intent(), delivery())
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with Ledger.open(path) as ledger:
        sentence = ledger.read_only or ""
        assert [intent(), delivery()] == [fact for _, fact in ledger.facts()]
        assert _url() == ledger.find_url(b"s" * 32)
        with pytest.raises(LedgerError) as caught:
            ledger.append(departure())

    assert str(caught.value) == sentence
    assert re.search(r"newer version of Callboard \(schema 2, this one knows 1\).*Update", sentence)
    assert (None, None) == (ledger.rebuilt, ledger.broken)
    assert before == {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_an_older_file_is_brought_up_to_date_and_keeps_its_facts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as the first release made it, without a journal, is opened by a version with one more change."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    for statement in _RELEASED[1].strip().split("\nCREATE"):
        connection.execute(statement if statement.startswith("CREATE") else f"CREATE{statement}")
    connection.execute("CREATE TABLE schema_changes (version INTEGER NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)")
    connection.execute("INSERT INTO schema_changes VALUES (1, 1)")
    connection.execute("INSERT INTO facts VALUES (7, ?, ?, ?, ?, ?)", to_row(intent()))
    connection.commit()
    connection.close()
    added = CreateTable(Table("moods", MetaData(), Column("task", Text)))
    monkeypatch.setattr(schema, "SCHEMA_CHANGES", (*SCHEMA_CHANGES, (added,)))
    monkeypatch.setattr(checkup, "SCHEMA_CHANGES", (*SCHEMA_CHANGES, (added,)))
    with Ledger.open(path) as ledger:
        assert [8] == ledger.append(departure()).result()
        assert [(7, intent()), (8, departure())] == list(ledger.facts())
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert {"moods", "facts", "urls", "schema_changes"} <= tables
    assert 2 == len(read_journal(path.with_suffix(".journal")).lines)
    assert None is ledger.rebuilt is ledger.read_only


def test_a_reader_of_a_damaged_file_gets_a_sentence(path: Path) -> None:
    """Whoever only looks repairs nothing, and is told."""
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to look like a file " * 50)

    with pytest.raises(LedgerError, match="cannot be used") as caught:
        fetch_facts(path)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


def _trouble(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "trouble",
    [
        _trouble(sqlite3.SQLITE_IOERR_READ, "disk I/O error"),
        _trouble(sqlite3.SQLITE_BUSY, "database is locked"),
        _trouble(sqlite3.SQLITE_CANTOPEN, "unable to open database file"),
        _trouble(sqlite3.SQLITE_FULL, "database or disk is full"),
        _trouble(sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
        PermissionError(13, "Permission denied"),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["kit.ledger.checkup.check_pages", "kit.ledger.disk.sqlite3.connect"])
def test_trouble_with_the_disk_is_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception, where: str
) -> None:
    """A file that cannot be read, locked or written just now is an error, and nothing is moved or changed."""
    with Ledger.open(path) as ledger:
        ledger.append(intent()).result()
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def refuse(*_: object, **__: object) -> None:
        raise trouble

    with monkeypatch.context() as patch:
        patch.setattr(where, refuse)
        with pytest.raises(LedgerError, match="cannot be used") as caught:
            Ledger.open(path)
    assert caught.value.__cause__ is trouble
    now = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix[-4:] not in ("-shm", "-wal")}
    assert before == now
    with Ledger.open(path) as again:
        assert None is again.rebuilt
        assert [(1, intent())] == list(again.facts())


def test_a_locked_file_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program holds for itself is left to it."""
    monkeypatch.setattr(disk, "BUSY_S", 0.05)
    with Ledger.open(path) as ledger:
        ledger.append(intent()).result()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="locked"):
            Ledger.open(path)
    with Ledger.open(path) as again:
        assert (None, [(1, intent())]) == (again.rebuilt, list(again.facts()))


def test_a_page_the_disk_does_not_give_is_no_damage(path: Path) -> None:
    """`quick_check` reports an I/O error in the same words as damage; its code tells the two apart."""

    class Told:
        def __init__(self, text: str) -> None:
            self.text = text

        def set_progress_handler(self, *_: object) -> None: ...

        def execute(self, _: str) -> Told:
            return self

        def fetchone(self) -> tuple[str]:
            return (self.text,)

    page = "*** in database main ***\nPage 4: unable to get the page. error code="
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        checkup.check_pages(Told(f"{page}266"))  # type: ignore[arg-type]
    with pytest.raises(checkup.Damaged, match="error code=11"):
        checkup.check_pages(Told(f"{page}11"))  # type: ignore[arg-type]


def test_a_large_file_is_looked_at_for_a_bounded_time(ledger: Ledger) -> None:
    """What could not be looked through in time is taken for whole, and the connection stays usable."""
    ledger.append(*(delivery(second=n, task=f"t{n}") for n in range(2000))).result()
    with closing(disk.connect(ledger.path, "ro")) as connection:
        checkup.check_pages(connection, seconds=-1)

        assert 2000 == connection.execute("SELECT count(*) FROM facts").fetchone()[0]


def test_a_file_deleted_while_in_use_takes_nothing_more(ledger: Ledger) -> None:
    """Nobody is told that a fact was stored in a file that is gone, and the next opening has what the journal held."""
    ledger.append(intent(), delivery()).result()
    ledger.path.unlink()
    with pytest.raises(LedgerError, match="deleted or replaced") as caught:
        ledger.append(departure()).result()

    assert str(caught.value) == ledger.broken
    with pytest.raises(LedgerError, match="deleted or replaced"):
        ledger.append(departure())
    ledger.close()
    with Ledger.open(ledger.path) as again:
        assert [(1, intent())] == list(again.facts())
        assert "1 tasks" in (again.rebuilt or "")
        assert [10_002] == again.append(departure()).result()


@pytest.mark.parametrize("name", ["ledger.sqlite", "ledger.sqlite-wal"])
def test_a_file_replaced_while_in_use_takes_nothing_more(ledger: Ledger, name: str) -> None:
    """A copy put in the place of the database or of its WAL is noticed with the next commit, also an equal one."""
    ledger.append(intent(), delivery()).result()
    file = ledger.path.with_name(name)
    copy = file.with_name("copy")
    copy.write_bytes(file.read_bytes())
    copy.replace(file)

    with pytest.raises(LedgerError, match=rf"{name}' was deleted or replaced"):
        ledger.append(departure()).result()
    ledger.close()
    with Ledger.open(ledger.path) as again:
        assert (1, intent()) in list(again.facts())


def test_another_file_in_its_place_does_not_meet_its_wal(ledger: Ledger) -> None:
    """Where another database took the ledger's name, its own WAL is put aside and not played onto that one."""
    ledger.append(intent(), delivery()).result()
    other = ledger.path.with_name("other.sqlite")
    with Ledger.open(other) as made:
        made.append(intent(task="t9")).result()
    other.replace(ledger.path)
    with pytest.raises(LedgerError, match="deleted or replaced"):
        ledger.append(departure()).result()
    ledger.close()

    assert not ledger.path.with_name("ledger.sqlite-wal").exists()
    assert 1 == len(list(ledger.path.parent.glob("ledger.damaged-*.sqlite-wal")))
    with Ledger.open(ledger.path) as again:  # two ledgers, one name: the journal's facts and the file's
        assert {"t1"} <= {fact.task for _, fact in again.facts()}


def test_a_deleted_wal_is_noticed_and_what_it_held_is_kept(ledger: Ledger) -> None:
    """The open WAL still has what was acknowledged: it is taken into the database when the ledger breaks."""
    ledger.append(intent(), delivery()).result()
    ledger.path.with_name("ledger.sqlite-wal").unlink()
    with pytest.raises(LedgerError, match="deleted or replaced"):
        ledger.append(departure()).result()
    ledger.close()

    assert [intent(), delivery()] == [fact for _, fact in fetch_facts(ledger.path)][:2]


def test_damage_found_by_a_commit_breaks_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite says that the file is malformed, that append and all later ones fail."""
    malformed = sqlite3.DatabaseError("database disk image is malformed")
    malformed.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX

    def refuse(*_: object) -> list[list[int]]:
        raise malformed

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", refuse)
        with pytest.raises(LedgerError, match="is damaged"):
            ledger.append(intent()).result()

    assert "moved aside and rebuilt" in (ledger.broken or "")
    with pytest.raises(LedgerError, match="is damaged"):
        ledger.append(intent())
    assert [] == list(ledger.facts())


def test_after_disk_trouble_the_file_is_looked_at_before_it_is_used(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit whose sync failed is never synced again: the connection is made anew, checked, and its WAL emptied."""
    ledger.append(intent()).result()
    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", lambda *_: (_ for _ in ()).throw(_trouble(sqlite3.SQLITE_IOERR_FSYNC, "EIO")))
        with pytest.raises(LedgerError, match="could not store"):
            ledger.append(delivery()).result()
    looked: list[object] = []
    monkeypatch.setattr(store, "check_pages", looked.append)

    assert [[2], [3]] == [ledger.append(fact).result() for fact in (departure(), answer())]
    assert 1 == len(looked)


def test_the_wal_is_folded_in_by_the_writer_alone_and_in_its_own_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own checkpoint within a commit is off; the writer's comes after the answers and bounds the WAL."""
    monkeypatch.setattr(store, "_FOLD_EVERY", 50)
    for number in range(400):
        ledger.append(delivery(second=number)).result()

    assert ledger.path.with_name("ledger.sqlite-wal").stat().st_size < 100 * 4120
    assert 400 == len(list(ledger.facts()))


def test_a_checkpoint_that_fails_fails_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered is in the WAL; the connection is made anew and the work goes on."""

    class Stuck(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:  # type: ignore[override]
            if "PASSIVE" in sql:
                raise _trouble(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")
            return super().execute(sql, *args)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_FOLD_EVERY", 1)
        patch.setattr(store, "connect", lambda path, _: sqlite3.connect(path, isolation_level=None, factory=Stuck))
        ledger.append(urls=[_url()]).result()
        ledger._connection = None
        numbers = [ledger.append(delivery(second=n)).result() for n in range(3)]

    assert [[1], [2], [3]] == numbers
    assert [[4]] == [ledger.append(delivery()).result()]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """A file where the folder should be is named in the error."""
    (tmp_path / "sandbox").touch()

    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger.open(tmp_path / "sandbox" / "ledger.sqlite")


@pytest.mark.parametrize("version", range(1, len(SCHEMA_CHANGES) + 1))
def test_a_released_schema_change_is_never_edited(version: int) -> None:
    """The text of each change is what it was when it was released."""
    made = " ".join(schema.sql(statement) for statement in SCHEMA_CHANGES[version - 1])

    assert _RELEASED[version].split() == made.split()


def test_each_schema_change_comes_whole_with_its_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that breaks halfway leaves nothing behind, and the next opening applies it."""
    Ledger.open(path).close()
    good = CreateIndex(Index("facts_by_type", schema.FACTS.c.type))
    schema.FACTS.indexes.discard(good.element)
    broken = CreateTable(schema.URLS)  # exists already
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA_CHANGES", (*SCHEMA_CHANGES, (good, broken)))
        with pytest.raises(LedgerError, match="already exists"):
            Ledger.open(path)
    monkeypatch.setattr(schema, "SCHEMA_CHANGES", (*SCHEMA_CHANGES, (good,)))
    Ledger.open(path).close()

    connection = sqlite3.connect(path)
    versions = [row[0] for row in connection.execute("SELECT version FROM schema_changes ORDER BY version")]
    connection.close()
    assert [1, 2] == versions


def test_a_killed_writer_loses_nothing_that_was_promised(path: Path) -> None:
    """A copy of the files as they lie on disk after a commit, without closing, holds every acknowledged fact."""
    with Ledger.open(path) as ledger:
        ledger.append(intent(), delivery()).result()
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            (path.parent / f"copy-{name}").write_bytes(path.with_name(name).read_bytes())

    assert [intent(), delivery()] == [fact for _, fact in fetch_facts(path.with_name("copy-ledger.sqlite"))]


def test_bytes_are_kept_as_they_came(ledger: Ledger) -> None:
    """A delivery's body is stored byte for byte, whatever it is."""
    body = bytes(range(256)) * 40
    ledger.append(Delivery(task="t1", at=at(), body=body, headers={"content-type": "x\x00y"})).result()
    [(_, fact)] = ledger.facts()

    assert isinstance(fact, Delivery)
    assert (body, {"content-type": "x\x00y"}) == (fact.body, fact.headers)


def test_an_empty_append_resolves(ledger: Ledger) -> None:
    """Nothing to store is stored at once."""
    assert [] == ledger.append().result()
    assert [[1], [2]] == [ledger.append(Departure(task=t, at=at())).result() for t in ("t1", "t2")]

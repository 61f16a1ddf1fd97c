"""The ledger file: durable, in order, each fact once, and honest about failure."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import LedgerError
from kit.ledger import store
from kit.ledger.facts import Delivery, Departure, Fact
from kit.ledger.reading import fetch_facts
from kit.ledger.store import SCHEMA_CHANGES, Ledger, MintedUrl
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
        assert "wal" == store._make_durable(connection, path) == ledger.journal_mode
        names = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
        assert ["wal", 2, 1, 1] == [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    finally:
        connection.close()


def test_a_network_disk_gets_a_rollback_journal_and_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """WAL needs memory that machines do not share; there, facts are still kept and the promise is smaller."""
    monkeypatch.setattr(store, "_on_network_disk", lambda _: True)
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
            store._make_durable(connection, path)
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


def test_a_newer_file_is_refused_with_a_sentence(path: Path) -> None:
    """A ledger of a newer kit is not touched; the error says so and what to do."""
    Ledger.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO schema_changes VALUES (99, 0)")
    connection.commit()
    connection.close()

    with pytest.raises(LedgerError, match=r"newer version of Callboard \(schema 99.*Update it"):
        Ledger.open(path)


def test_a_damaged_file_is_refused_with_a_sentence(path: Path) -> None:
    """A file that is no database is a `LedgerError` for the writer and for readers, with the cause chained."""
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to look like a file " * 50)

    for look in (lambda: Ledger.open(path), lambda: fetch_facts(path)):
        with pytest.raises(LedgerError, match="cannot be used") as caught:
            look()
        assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """A file where the folder should be is named in the error."""
    (tmp_path / "sandbox").touch()

    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger.open(tmp_path / "sandbox" / "ledger.sqlite")


@pytest.mark.parametrize("version", range(1, len(SCHEMA_CHANGES) + 1))
def test_a_released_schema_change_is_never_edited(version: int) -> None:
    """The text of each change is what it was when it was released."""
    made = " ".join(store._sql(statement) for statement in SCHEMA_CHANGES[version - 1])

    assert _RELEASED[version].split() == made.split()


def test_each_schema_change_comes_whole_with_its_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that breaks halfway leaves nothing behind, and the next opening applies it."""
    Ledger.open(path).close()
    good = store.CreateIndex(store.Index("facts_by_type", store._FACTS.c.type))
    store._FACTS.indexes.discard(good.element)
    broken = store.CreateTable(store._URLS)  # exists already
    with monkeypatch.context() as patch:
        patch.setattr(store, "SCHEMA_CHANGES", (*SCHEMA_CHANGES, (good, broken)))
        with pytest.raises(LedgerError, match="already exists"):
            Ledger.open(path)
    monkeypatch.setattr(store, "SCHEMA_CHANGES", (*SCHEMA_CHANGES, (good,)))
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

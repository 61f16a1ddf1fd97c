"""The reader: up to date at each call, found by either id, and in nobody's way."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kit.errors import LedgerError
from kit.ledger import reading, store
from kit.ledger.disk import connect, side
from kit.ledger.facts import Abandonment
from kit.ledger.fold import fold
from kit.ledger.reader import Reader
from kit.ledger.reading import fetch_facts
from kit.ledger.store import Ledger
from tests.ledger.stories import answer, at, delivery, departure, details, file, intent


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Return an open, empty ledger."""
    with Ledger.open(tmp_path / "ledger.sqlite") as made:
        yield made


def test_a_reader_sees_each_commit_at_its_next_call(ledger: Ledger) -> None:
    """States are brought up to date from the last fact seen, and equal a fold of all facts."""
    with Reader(ledger.path) as reader:
        assert {} == reader.states()
        for fact in (intent(), departure(), answer(), delivery(), details(), file()):
            ledger.append(fact).result()
            assert fold(reader.facts("t1")) == reader.states()["t1"]
        assert ("succeeded", 6) == (reader.states()["t1"].status, reader.states()["t1"].last_seq)


def test_a_task_is_found_by_either_id(ledger: Ledger) -> None:
    """Our id and the provider's lead to the same state; of two rows for one job the one followed is meant."""
    ledger.append(intent(), answer(), intent(task="t2"), answer(task="t2")).result()
    ledger.append(Abandonment(task="t2", at=at(9), reason="forgotten")).result()
    reader = Reader(ledger.path)

    assert [("t1", "v1"), ("t2", "v1")] == [(s.id, s.task_id) for s in reader.states().values()]
    for id, expected in (("t1", "t1"), ("t2", "t2"), ("v1", "t1")):
        found = reader.state(id)
        assert found is not None
        assert expected == found.id
    assert reader.state("unknown") is None


def test_a_closed_reader_starts_afresh(ledger: Ledger) -> None:
    """Closing forgets; a later call reads all again, and a missing file is empty."""
    ledger.append(intent()).result()
    reader = Reader(ledger.path)
    assert ["t1"] == list(reader.states())
    reader.close()
    reader.close()

    assert ["t1"] == list(reader.states())
    assert {} == Reader(ledger.path.with_name("none.sqlite")).states()


def test_a_rebuilt_ledger_is_read_from_its_beginning(ledger: Ledger) -> None:
    """A reader that lives through a rebuild shows what the new file says, and nothing of the old one."""
    ledger.append(intent(), departure(), answer(), delivery(), details()).result()
    reader = Reader(ledger.path)
    assert "succeeded" == reader.states()["t1"].status
    ledger.close()
    ledger.path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError):
        reader.states()
    with Ledger.open(ledger.path) as again:
        expected = {"t1": fold(again.facts())}
        assert ("pending", expected) == (reader.states()["t1"].status, reader.states())
        again.append(intent(task="t2")).result()
        assert ["t1", "t2"] == list(reader.states())


def test_another_file_of_the_same_name_is_read_from_its_beginning(ledger: Ledger) -> None:
    """A deleted ledger has no tasks; a new one in its place has its own, also with fewer facts than were seen."""
    ledger.append(intent(), departure(), answer()).result()
    reader = Reader(ledger.path)
    assert ["t1"] == list(reader.states())
    ledger.close()
    shutil.rmtree(ledger.path.parent)
    assert {} == reader.states()
    with Ledger.open(ledger.path) as other:
        other.append(intent(task="t9")).result()

    assert ["t9"] == list(reader.states())


@pytest.mark.parametrize("malformed", [False, True])
def test_a_file_replaced_while_it_is_read_is_read_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, malformed: bool
) -> None:
    """Rows that were read while the file was replaced count for nothing, nor does an error on the way."""
    ledger.append(intent(), departure()).result()
    ledger.close()
    other = ledger.path.with_name("other.sqlite")
    shutil.copy(ledger.path, other)
    rows, reads = reading._rows, []

    def replaced(path: Path, *asked: object) -> object:
        found = rows(path, *asked)  # type: ignore[arg-type]
        reads.append(found)
        if len(reads) > 1:
            return found
        other.replace(path)
        if malformed:
            raise sqlite3.DatabaseError("malformed")
        return None, []

    monkeypatch.setattr(reading, "_rows", replaced)

    assert [(1, intent()), (2, departure())] == fetch_facts(ledger.path)
    assert 2 == len(reads)


def test_a_row_with_a_bad_byte_hides_no_other(ledger: Ledger) -> None:
    """Text that is no longer UTF-8 costs its own row."""
    ledger.append(intent(), departure(), intent(task="t2")).result()
    ledger.close()
    with closing(connect(ledger.path, "rw")) as connection:
        connection.execute("UPDATE facts SET body = CAST(x'7bff7d' AS TEXT) WHERE seq = 1")
        connection.execute("UPDATE facts SET task = 7, at = 'noon' WHERE seq = 2")

    assert [(3, intent(task="t2"))] == fetch_facts(ledger.path)


# A kernel that has begun to read and does not come to an end, as in `%debug` within `tasks()`.
READING = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
connection.execute("BEGIN")
rows = connection.execute("SELECT seq, raw FROM facts ORDER BY seq")
next(rows)
print("reading", flush=True)
sys.stdin.readline()
print(1 + sum(1 for _ in rows), flush=True)
"""

# Kernels as they are: they fetch all and close, again and again.
LOOKING = """
import sys
from pathlib import Path
from kit.ledger.reader import Reader
print("reading", flush=True)
while True:
    Reader(Path(sys.argv[1])).states()
"""


@contextmanager
def _process(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", script, str(path)]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    with process:
        try:
            assert process.stdout is not None
            assert "reading\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


def _slowest(ledger: Ledger, count: int) -> float:
    """Return the seconds that the slowest of `count` appends took."""
    slowest = 0.0
    for number in range(count):
        began = time.perf_counter()
        ledger.append(delivery(second=number)).result(timeout=30)
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


@pytest.mark.parametrize("stopped", [False, True], ids=["in a debugger", "stopped"])
def test_a_process_in_the_middle_of_reading_delays_no_append(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """While another process sits in a read transaction, appends and checkpoints go on, and both see what is theirs."""
    monkeypatch.setattr(store, "_FOLD_EVERY", 30)
    ledger.append(*(delivery(second=n) for n in range(500))).result()
    with _process(READING, ledger.path) as reader:
        if stopped:
            os.kill(reader.pid, signal.SIGSTOP)
        assert 3 > _slowest(ledger, 200)  # a wait for the reader would take the 5 s of the busy timeout
        assert 700 == len(fetch_facts(ledger.path))
        if stopped:
            os.kill(reader.pid, signal.SIGCONT)
        told, _ = reader.communicate("\n", timeout=30)
    grown = side(ledger.path, "-wal").stat().st_size
    _slowest(ledger, 200)

    assert "500\n" == told  # its view stayed as it was
    grown_since = side(ledger.path, "-wal").stat().st_size - grown
    assert grown_since < 60 * 4120  # the reader is gone: from the next checkpoint on the WAL begins anew
    assert 900 == len(fetch_facts(ledger.path))
    ledger.close()
    assert not side(ledger.path, "-wal").exists()


def test_kernels_that_are_stopped_anywhere_delay_no_append(ledger: Ledger) -> None:
    """A kernel is stopped at a random moment of `states()`, a dozen times over: no append waits for it."""
    ledger.append(*(delivery(second=n, task=f"t{n % 50}") for n in range(2000))).result()
    with _process(LOOKING, ledger.path) as reader:
        for number in range(12):
            time.sleep(0.01 + 0.013 * number)
            os.kill(reader.pid, signal.SIGSTOP)
            assert 3 > _slowest(ledger, 10)
            os.kill(reader.pid, signal.SIGCONT)

    assert 2120 == len(fetch_facts(ledger.path))


def test_one_connection_writes_and_checkpoints_and_no_other_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WAL-reset race needs two connections of which one checkpoints: all but the writer's are read-only.

    SQLite up to 3.51.2 may lose committed rows when one connection resets the WAL while another writes.
    """
    made: list[tuple[str, sqlite3.Connection]] = []
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda at, **more: made.append((at, real(at, **more))) or made[-1][1])
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger, Reader(path) as reader:
        ledger.append(intent(), departure()).result()
        reader.states()
        list(ledger.facts())
        writers = [connection for at, connection in made if not at.endswith("?mode=ro")]
        assert [ledger._connection] == writers
        for order in ("PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM facts"):
            before = path.read_bytes(), side(path, "-wal").read_bytes()
            with closing(real(f"{path.as_uri()}?mode=ro", uri=True)) as other:
                other.execute("SELECT count(*) FROM facts").fetchone()
                with pytest.raises(sqlite3.OperationalError, match=r"readonly|locked|disk I/O"):
                    other.execute(order)
            assert before == (path.read_bytes(), side(path, "-wal").read_bytes())


def test_only_two_modules_make_connections() -> None:
    """Whoever looks for a second writer has two places to look at; and only three ask for more than reading."""
    kit = Path(reading.__file__).parents[1]
    modules = {path.relative_to(kit).as_posix(): path.read_text(encoding="utf-8") for path in kit.rglob("*.py")}
    connecting = {name for name, text in modules.items() if "sqlite3.connect(" in text}
    asking = {name for name, text in modules.items() if '"rw"' in text or '"rwc"' in text}
    looking = modules["ledger/reading.py"]

    assert {"ledger/disk.py", "ledger/reading.py", "sandbox/store.py"} == connecting  # the last has a file of its own
    assert 1 == looking.count("?mode=ro") == looking.count("sqlite3.connect(")
    assert {f"ledger/{name}.py" for name in ("disk", "store", "rescue", "checkup")} == asking


WRITING = """
import os, signal, sys
from pathlib import Path
from kit.ledger.store import Ledger
from tests.ledger.stories import delivery, intent
ledger = Ledger.open(Path(sys.argv[1]))
ledger.append(intent(), *(delivery(second=n) for n in range(50))).result()
print("reading", flush=True)
sys.stdin.readline()
"""


def test_a_reader_that_closes_last_leaves_the_wal_alone(tmp_path: Path) -> None:
    """The writer is killed: a reader finds all that was acknowledged, and neither checkpoints nor deletes the WAL."""
    path = tmp_path / "ledger.sqlite"
    with _process(WRITING, path) as writer:
        writer.kill()
    before = path.read_bytes(), side(path, "-wal").read_bytes()
    assert before[1]
    for _ in range(3):
        assert 51 == len(fetch_facts(path))

    assert before == (path.read_bytes(), side(path, "-wal").read_bytes())
    with Ledger.open(path) as ledger:
        assert 0 == side(path, "-wal").stat().st_size  # the next writer takes it in before it writes
        assert 51 == len(list(ledger.facts()))

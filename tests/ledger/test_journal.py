"""The side journal: whatever happens to the ledger file, what nobody could tell us again is there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import LedgerError
from kit.ledger import journal, rescue, store
from kit.ledger.disk import SIDES, side
from kit.ledger.facts import FACT_TYPES, Fact, MintedUrl, SaveRequest, fact_type, to_row
from kit.ledger.journal import NOT_KEPT, fact_line, fact_of, read_journal, url_line, url_of
from kit.ledger.rescue import journal_of
from kit.ledger.schema import url_row
from kit.ledger.store import Ledger
from tests.ledger.stories import answer, any_fact, at, delivery, departure, details, file, intent

ANY = st.one_of(*(any_fact(cls) for cls in FACT_TYPES.values()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger will be."""
    return tmp_path / "sandbox" / "ledger.sqlite"


def _url(number: int = 0, **more: object) -> MintedUrl:
    given = {"task": "t1", "kind": "video", "provider": "sandbox", "dialect": "kie", "listen_only": False}
    return MintedUrl(secret_hash=bytes([number]) * 32, created_at=at(number), **{**given, **more})  # type: ignore[arg-type]


def _write(path: Path, *facts: Fact, urls: tuple[MintedUrl, ...] = ()) -> None:
    with Ledger.open(path) as ledger:
        ledger.append(*facts, urls=urls).result()


def _kept(facts: list[tuple[int, Fact]]) -> list[tuple[int, Fact]]:
    return [(seq, fact) for seq, fact in facts if fact_type(fact) not in NOT_KEPT]


def _asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob("ledger.damaged-*.sqlite"))


@given(fact=ANY, seq=st.integers(1, 2**62))
def test_a_line_gives_back_its_fact(fact: Fact, seq: int) -> None:
    """Whatever a fact holds, its line is one line and leads back to the very same row, but for a delivery's bytes."""
    row = to_row(fact)
    line = fact_line(seq, *row[:4])

    assert b"\n" not in line
    assert (seq, row._replace(raw=None)) == fact_of(line)
    assert url_of(line) is None


def test_a_url_line_gives_back_its_url() -> None:
    """A URL's columns survive, with the hash of its secret as hexadecimal digits and never the secret."""
    row = url_row(_url(3, expires_at=at(9), listen_only=True))

    assert row == url_of(url_line(row))
    assert fact_of(url_line(row)) is None


def test_the_journal_holds_what_nobody_could_tell_again(path: Path) -> None:
    """Every type of fact but deliveries and details is written beside the ledger, and so is every URL."""
    facts = [intent(), departure(), answer(), delivery(), details(), file(), SaveRequest(task="t1", at=at())]
    _write(path, *facts, urls=(_url(),))
    lines = read_journal(journal_of(path)).lines

    assert {1, 2, 3, 6, 7} == {found[0] for line in lines if (found := fact_of(line))}
    assert [url_row(_url())] == [found for line in lines if (found := url_of(line))]
    assert 0o600 == journal_of(path).stat().st_mode & 0o777


def test_deliveries_alone_do_not_touch_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to an acknowledgement goes past it."""
    with Ledger.open(path) as ledger:
        monkeypatch.setattr(journal.Journal, "add", lambda *_: pytest.fail("the journal was touched"))
        for number in range(5):
            ledger.append(delivery(second=number), details(second=number)).result()

    assert not journal_of(path).exists()


def test_an_answer_waits_for_its_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent's future resolves when its line is written; a delivery of the same batch does not wait for that."""
    jobs = [store._Append((to_row(fact),), (), Future()) for fact in (intent(), delivery())]
    seen = []
    with Ledger.open(path) as ledger:
        monkeypatch.setattr(journal.Journal, "add", lambda *_: seen.append([job.future.done() for job in jobs]))
        ledger._answer(jobs, [[3], [4]])

    assert [[False, True]] == seen
    assert [[3], [4]] == [job.future.result(timeout=0) for job in jobs]


def test_a_missing_file_is_made_anew_from_its_journal(path: Path) -> None:
    """Somebody deleted the ledger: tasks and URLs are back under their numbers, and it is said."""
    _write(path, intent(), departure(), answer(), delivery(), urls=(_url(),))
    path.unlink()
    with Ledger.open(path) as ledger:
        assert [(1, intent()), (2, departure()), (3, answer())] == list(ledger.facts())
        assert [_url()] == ledger.urls()
        told = ledger.rebuilt or ""

    assert "missing or empty" in told
    assert "1 tasks, 3 facts" in told
    assert [] == _asides(path)


def test_a_damaged_file_is_moved_aside_and_never_overwritten(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each damaged file is kept under a name with the time, two of one second too; the log says what was done."""
    _write(path, intent())
    for number in range(3):
        path.write_bytes(b"not a database %d" % number * 50)
        with Ledger.open(path) as ledger:
            told = ledger.rebuilt or ""
            assert [(1, intent())] == list(ledger.facts())
        assert "it is not a database" in told
        assert told in caplog.text
        assert _asides(path)[-1].name in told or 1 < len(_asides(path))

    assert {b"not a database %d" % number * 50 for number in range(3)} == {file.read_bytes() for file in _asides(path)}
    with Ledger.open(path) as ledger:
        assert (None, [(1, intent())]) == (ledger.rebuilt, list(ledger.facts()))


def test_what_can_still_be_read_is_kept(path: Path) -> None:
    """Deliveries and details on whole pages on either side of the damage come over with their numbers."""
    facts = [intent(), *(delivery(second=n, task=f"t{n}") for n in range(400)), details(), departure()]
    _write(path, *facts)
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    with Ledger.open(path) as ledger:
        found = dict(ledger.facts())
        assert "been rebuilt" in (ledger.rebuilt or "")

    assert {1: intent(), 403: departure(), 402: details()}.items() <= found.items()
    assert 300 < len(found) < 403
    assert all(facts[seq - 1] == fact for seq, fact in found.items())


def test_a_database_without_rows_that_the_journal_has_is_damaged(path: Path) -> None:
    """Without its WAL a database looks whole and lacks the newest facts: the journal tells."""
    with Ledger.open(path) as ledger:
        ledger.append(intent(), urls=[_url()]).result()
        ledger.append(delivery()).result()
        ledger.append(departure(), urls=[_url(1)]).result()
        shutil.copytree(path.parent, path.parent.with_name("copy"))
    copy = path.parent.with_name("copy") / path.name
    side(copy, "-wal").unlink()
    with Ledger.open(copy) as ledger:
        assert [(1, intent()), (3, departure())] == list(ledger.facts())
        assert [_url(), _url(1)] == ledger.urls()
        assert None is not ledger.rebuilt


def test_a_fact_altered_on_the_disk_is_put_right(path: Path) -> None:
    """A flipped letter leaves the pages whole; the journal, which has a checksum, tells what was written."""
    _write(path, intent(title="Window Seat"), delivery())
    path.write_bytes(path.read_bytes().replace(b"Window Seat", b"Window Heat"))
    with Ledger.open(path) as ledger:
        assert [(1, intent(title="Window Seat")), (2, delivery())] == list(ledger.facts())
        assert "otherwise" in (ledger.rebuilt or "")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-9],
        lambda text: text[:-9] + b"\x00" * 4000,
        lambda text: text.replace(b"Window Seat", b"Window Heat"),
        lambda text: b"\xff\xfe\n[]\n{}\nnull\n" + text,
        lambda text: b"",
        None,
    ],
    ids=["torn", "zeroed", "altered", "foreign lines", "emptied", "deleted"],
)
def test_a_spoiled_journal_is_written_anew_from_a_whole_ledger(path: Path, spoil: object) -> None:
    """The database is whole, so it is left alone, and its journal is what it was."""
    _write(path, intent(title="Window Seat"), departure(), delivery(), urls=(_url(),))
    before = path.read_bytes(), read_journal(journal_of(path))
    if spoil is None:
        journal_of(path).unlink()
    else:
        journal_of(path).write_bytes(spoil(journal_of(path).read_bytes()))  # type: ignore[operator]
    with Ledger.open(path) as ledger:
        assert None is ledger.rebuilt

    assert before == (path.read_bytes(), read_journal(journal_of(path)))
    assert [] == _asides(path)


def test_a_torn_journal_still_rebuilds_what_its_whole_lines_say(path: Path) -> None:
    """The last line may be half written when the machine dies; the ones before it count."""
    _write(path, intent())
    _write(path, departure())
    journal_of(path).write_bytes(journal_of(path).read_bytes()[:-5])
    path.unlink()
    with Ledger.open(path) as ledger:
        assert [(1, intent())] == list(ledger.facts())
        ledger.append(answer()).result()

    assert {1, 10_002} == {fact_of(line)[0] for line in read_journal(journal_of(path)).lines}  # type: ignore[index]


def test_what_a_crash_kept_from_the_journal_is_caught_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact is committed before its line is written; the next opening writes the line."""
    monkeypatch.setattr(journal.Journal, "add", lambda *_: None)
    _write(path, intent(), departure(), urls=(_url(),))
    monkeypatch.undo()
    assert not journal_of(path).exists()
    Ledger.open(path).close()

    assert 3 == len(read_journal(journal_of(path)).lines)


def test_a_line_that_could_not_be_written_is_owed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal without room fails no append; its lines are written with the next one, after a line break."""
    with Ledger.open(path) as ledger:
        ledger.append(intent()).result()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            assert [2] == ledger.append(departure()).result()
        ledger._journal.close()
        with journal_of(path).open("ab") as file:
            file.write(b'{"seq":2,"ta')
        assert [3] == ledger.append(answer()).result()
    kept = read_journal(journal_of(path))

    assert {1, 2, 3} == {fact_of(line)[0] for line in kept.lines}  # type: ignore[index]


def test_an_unreadable_journal_keeps_a_damaged_ledger_where_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the journal cannot be read nothing is rebuilt without it; beside a whole ledger it only lags."""
    _write(path, intent())

    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(rescue, "read_journal", refuse)
        with Ledger.open(path) as ledger:
            assert None is ledger.rebuilt
        path.write_bytes(b"damaged" * 99)
        with pytest.raises(LedgerError, match="Input/output error"):
            Ledger.open(path)
    assert b"damaged" * 99 == path.read_bytes()
    with Ledger.open(path) as ledger:
        assert [(1, intent())] == list(ledger.facts())


def test_a_rebuild_that_breaks_off_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the new file the damaged one stays where it is, and the next opening tries again."""
    _write(path, intent())
    path.write_bytes(b"damaged" * 99)
    full = sqlite3.OperationalError("database or disk is full")

    def refuse(*_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(rescue, "_fill", refuse)
        with pytest.raises(LedgerError, match="is full"):
            Ledger.open(path)
    assert b"damaged" * 99 == path.read_bytes()
    with Ledger.open(path) as ledger:
        assert [(1, intent())] == list(ledger.facts())
    assert {path.name, journal_of(path).name} == {file.name for file in path.parent.iterdir()} - {
        file.name for file in _asides(path)
    }


def test_a_wal_left_behind_is_moved_with_its_file(path: Path) -> None:
    """The new database never meets the old WAL, and the pair that was put aside can still be looked at."""
    with Ledger.open(path) as ledger:
        ledger.append(intent()).result()
        ledger.append(*(delivery(second=n) for n in range(200))).result()
        shutil.copytree(path.parent, path.parent.with_name("copy"))
    copy = path.parent.with_name("copy") / path.name
    copy.write_bytes(b"")
    with Ledger.open(copy) as ledger:
        assert [(1, intent())] == list(ledger.facts())
    [aside] = _asides(copy)

    assert side(path.parent.with_name("copy") / aside.name, "-wal").stat().st_size > 0
    assert not side(copy, "-wal").exists()


def test_pages_that_lead_in_circles_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading what is left of a damaged file takes a bounded time."""
    monkeypatch.setattr(rescue, "_SALVAGE_S", -1.0)
    _write(path, intent(), *(delivery(second=n) for n in range(3000)))

    assert 3001 > len(list(rescue._salvaged_facts(path)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder to make ledgers in."""
    return tmp_path_factory.mktemp("damaged")


_PLACES = st.floats(0, 1, exclude_max=True)
DAMAGE = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.sampled_from(["", "-wal"]), _PLACES, st.integers(1, 255)),
        st.tuples(st.just("flip head"), st.just(""), _PLACES, st.integers(1, 255)),
        st.tuples(st.just("zero"), st.sampled_from(["", "-wal"]), _PLACES, st.just(0)),
        st.tuples(st.just("cut"), st.sampled_from(["", "-wal"]), _PLACES, st.just(0)),
        st.tuples(st.just("delete"), st.sampled_from(["", "-wal", "-shm"]), st.just(0.0), st.just(0)),
    ),
    min_size=1,
    max_size=3,
)


def _spoil(path: Path, what: str, which: str, place: float, value: int) -> None:
    file = side(path, which)
    if not file.exists():
        return
    content = bytearray(file.read_bytes())
    spot = int(place * (100 if what == "flip head" else len(content)))
    if what == "delete":
        file.unlink()
        return
    if what == "cut":
        del content[spot:]
    elif what == "zero":
        content[spot // 4096 * 4096 : spot // 4096 * 4096 + 4096] = bytes(min(4096, len(content)))
    elif spot < len(content):
        content[spot] ^= value
    file.write_bytes(content)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    folded=st.lists(ANY, min_size=1, max_size=12), fresh=st.lists(ANY, max_size=12), urls=st.booleans(), damage=DAMAGE
)
def test_whatever_happens_to_the_file_the_journaled_facts_are_there(
    made: Path, folded: list[Fact], fresh: list[Fact], urls: bool, damage: list[tuple[str, str, float, int]]
) -> None:
    """Any facts, some still in the WAL; any damage to database or WAL: opened again, all the journal held is there.

    And what is read was once written, the file is whole, and the next opening finds nothing to do.
    """
    shutil.rmtree(made)
    path = made / "live" / "ledger.sqlite"
    _write(path, *folded, urls=(_url(1),) if urls else ())
    with Ledger.open(path) as ledger:
        if fresh:
            ledger.append(*fresh, urls=[_url(2)] if urls else []).result()
        before, minted = list(ledger.facts()), ledger.urls()
        shutil.copytree(path.parent, made / "copy")
    path = made / "copy" / "ledger.sqlite"
    for each in damage:
        _spoil(path, *each)
    with Ledger.open(path) as ledger:
        after = list(ledger.facts())
        expected = [item for item in _kept(before) if item in before]
        assert all(item in after for item in expected)
        assert all(url in ledger.urls() for url in minted)
        if ledger.read_only is None:
            ledger.append(departure(task="next")).result()
    with Ledger.open(path) as again:
        assert None is again.rebuilt
        assert all(item in list(again.facts()) for item in expected)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        assert "ok" == connection.execute("PRAGMA integrity_check").fetchone()[0]
    assert not [name for name in SIDES if side(path, name).exists() and name == "-journal"]

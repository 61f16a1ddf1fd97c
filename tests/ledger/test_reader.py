"""The reader: up to date at each call, found by either id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.ledger.facts import Abandonment
from kit.ledger.fold import fold
from kit.ledger.reader import Reader
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

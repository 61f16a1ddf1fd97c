"""The tables of a session: each is the one that the ledger's frames make."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kit.ledger import frames
from kit.ledger.fold import fold
from kit.notebook.tables import Tables
from tests.ledger.stories import answer, delivery, departure, details, file, intent, numbered

FACTS = numbered(intent(), departure(), answer(), delivery(), details(), file("saved", path="archive/a.mp4"))


class Session(Tables):
    """The tables alone, of one story."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    @property
    def _reader(self) -> Any:
        return self.reader


@pytest.mark.parametrize("name", frames.__all__)
def test_a_session_has_every_table_of_the_ledger(name, tmp_path):
    """Whatever table the frames make, a session returns it by the same name, of its own ledger."""
    story = SimpleNamespace(
        path=tmp_path / "ledger.sqlite", states=lambda: {"t1": fold(FACTS)}, facts=lambda **_: FACTS[3:4]
    )
    table = getattr(Session(story), name)()

    assert getattr(frames, name)(story).equals(table)
    assert len(table) == (0 if name in ("tracks", "lineage") else 1)

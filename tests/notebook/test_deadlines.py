"""How long links live: what a person may write for a stretch of time, and when they are warned of what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kit
from kit.ledger.fold import FileState
from kit.notebook.deadlines import duration, warnings

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
LIFE = timedelta(days=14)
NEXT = "Next: session.save_all()"


def file(share: float, status: Any = "waiting", **more: Any) -> FileState:
    """A file of whose link's life `share` is over."""
    began = NOW - share * LIFE
    return FileState("audio", 0, status=status, linked_at=began, expires_at=began + LIFE, **more)


def told(*files: FileState, shown: bool = True) -> list[str]:
    """What is said of one task with these files."""
    state: Any = SimpleNamespace(files=files, shown=shown)
    return warnings([state], NOW)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("3d", timedelta(days=3)),
        ("12h", timedelta(hours=12)),
        (" 1.5 d ", timedelta(hours=36)),
        ("90min", timedelta(minutes=90)),
        ("2w", timedelta(days=14)),
        ("3D", timedelta(days=3)),
        ("0d", timedelta(0)),
        (pd.Timedelta("3D"), timedelta(days=3)),
        (pd.Timedelta(hours=5, microseconds=7), timedelta(hours=5, microseconds=7)),
        (timedelta(days=2, seconds=1), timedelta(days=2, seconds=1)),
    ],
)
def test_a_stretch_of_time_is_written_in_many_ways(written, expected):
    """Days, hours, minutes and weeks, and both kinds of timedelta, mean what they say and come out plain."""
    assert expected == duration(written)
    assert timedelta is type(duration(written))


NONSENSE = [
    "", "d", "3", 3, 3.0, None, True, "three days", "-3d", "3 d 2 h", "3D;", "1e9d", "٣d", "3d\n3d", "nan d", "inf d",
    "99999999d", [], b"3d", timedelta(days=-1), timedelta.max, pd.NaT, pd.Timedelta("NaT"),
    datetime(2026, 1, 1, tzinfo=UTC),
]  # fmt: skip


@pytest.mark.parametrize("written", NONSENSE, ids=repr)
def test_nonsense_is_refused_with_what_would_work(written):
    """Whatever is no stretch of time from 0 to a hundred years is refused, and the message shows a call that works."""
    with pytest.raises(kit.InvalidInput, match=r'session\.expiring\(within="3d"\)$') as raised:
        duration(written)

    assert ("within", written) == (raised.value.name, raised.value.value) or written is pd.NaT


@given(st.text(max_size=12) | st.integers() | st.floats() | st.timedeltas() | st.binary(max_size=5))
def test_anything_is_a_sound_stretch_of_time_or_refused(value):
    """No value breaks the reading, and none leads to a moment that no clock can show."""
    try:
        span = duration(value)
    except kit.InvalidInput:
        return

    assert timedelta(0) <= span
    assert NOW + span > NOW - span or span == timedelta(0)


def test_before_half_of_its_life_nothing_is_said_of_a_link():
    """Half is the first step; one second before it there is silence."""
    assert [] == told(file(0.499))
    assert [
        f"1 file is not saved, and half of its link's time is over; it ends about 2026-03-27 12:00 UTC. {NEXT}"
    ] == (told(file(0.5)))


def test_each_step_is_one_sentence_with_its_count_and_its_soonest_date():
    """Three steps give three sentences, the most urgent first; each file is counted once."""
    said = told(file(0.6), file(0.5), file(0.8), file(0.9), file(0.95), file(1.2))

    assert 3 == len(said)
    assert said[0].startswith("1 file is not saved, and the time of its link is over")
    assert said[1].startswith(
        "3 files are not saved, and four fifths of their links' time is over; the first ends about "
    )
    assert said[2].startswith("2 files are not saved, and half of their links' time is over")
    assert "2026-03-21 04:48" in said[1]
    assert all(sentence.endswith(NEXT) for sentence in said)


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from(["waiting", "downloading", "saved", "failed", "expired"]))))
def test_counted_is_exactly_what_may_still_be_saved(files):
    """Whatever stands in the ledger, the counts add up to the unsaved, unexpired files past half of their time."""
    said = told(*(file(share, status) for share, status in files))
    due = [share for share, status in files if status not in ("saved", "expired") and share >= 0.5]

    assert len(due) == sum(int(sentence.split()[0]) for sentence in said)
    assert len(said) == len({(share >= 0.8) + (share >= 1) for share in due})


def test_links_of_unknown_life_and_hidden_rows_are_not_counted():
    """Without both ends of a life nobody can say how much of it is over; rows that no table shows stay silent."""
    known = file(0.9)

    assert [] == told(replace(known, linked_at=None), replace(known, expires_at=None))
    assert [] == told(replace(known, expires_at=known.linked_at))
    assert [] == told(known, shown=False)
    assert 1 == len(told(known))

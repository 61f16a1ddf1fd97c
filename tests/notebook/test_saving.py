"""How far a saving of many files is, and the sentences around it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from kit.ledger.fold import FileState
from kit.notebook.progress import Arrived
from kit.notebook.saving import Saving, announced, checked, checking, idle

FIRST, SECOND, THIRD = ("t1", "audio", 0), ("t1", "audio", 1), ("t2", "wav", 0)


def states(*files: tuple[tuple[str, str, int], str], **more: Any) -> Any:
    """Return states whose files are in these statuses."""
    tasks: dict[str, list[FileState]] = {}
    for (id, role, index), status in files:
        tasks.setdefault(id, []).append(FileState(role, index, status=status, **more))  # type: ignore[arg-type]
    return {id: SimpleNamespace(files=tuple(each)) for id, each in tasks.items()}


@pytest.mark.parametrize("status", ["saved", "failed", "expired"])
def test_it_is_over_when_every_file_is_saved_or_beyond_saving(status):
    """A file that waits or is on its way keeps it going; files that were not asked for do not."""
    saving = Saving({FIRST: 10, THIRD: 10})

    assert not saving.over(states((FIRST, "waiting"), (THIRD, status)))
    assert not saving.over(states((FIRST, status), (THIRD, "downloading")))
    assert saving.over(states((FIRST, status), (SECOND, "waiting"), (THIRD, "saved")))


def test_the_line_counts_files_and_bytes_and_says_how_long_it_takes():
    """What is saved counts whole, what waits counts with the size that its host told, and the rates are added up."""
    saving, now = Saving({FIRST: 40_000_000, SECOND: 20_000_000, THIRD: 20_000_000}), time.monotonic()
    rows = states((FIRST, "downloading"), (SECOND, "waiting")) | states((THIRD, "saved"), bytes=20_000_000)
    progress = {"t1": {("audio", 0): Arrived(4_000_000, 40_000_000, 2e6, now)}}
    progress["t2"] = {("wav", 0): Arrived(1, 20_000_000, 9e9, now)}
    assert not saving.over(rows)

    assert "1 of 3 files saved, 24.0 of 80.0 MB, 2.0 MB/s, 28 s left." == saving.words(progress)


def test_a_size_that_no_host_tells_leaves_the_end_open():
    """Without one of the sizes the line counts what is here and gives no time."""
    saving, now = Saving({FIRST: None, SECOND: 20_000_000}), time.monotonic()
    saving.over(states((FIRST, "downloading"), (SECOND, "waiting")))
    on_its_way = {"t1": {("audio", 0): Arrived(4_000_000, None, 2e6, now)}}

    assert "0 of 2 files saved, 4.0 MB so far, 2.0 MB/s." == saving.words(on_its_way)
    assert "0 of 2 files saved." == saving.words({})


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_what_will_not_come_is_not_waited_for(status):
    """A file that is beyond saving counts neither in the bytes nor in the time that is left."""
    saving, now = Saving({FIRST: 40_000_000, THIRD: 20_000_000}), time.monotonic()
    saving.over(states((FIRST, status), (THIRD, "downloading")))
    progress = {"t1": {("audio", 0): Arrived(4_000_000, 40_000_000, 1e6, now)}}
    progress["t2"] = {("wav", 0): Arrived(5_000_000, 20_000_000, 1e6, now)}

    assert "0 of 2 files saved, 5.0 of 20.0 MB, 1.0 MB/s, 15 s left." == saving.words(progress)


def test_what_waits_for_room_is_named_with_its_reason():
    """A person who reads the line knows what to do: make room."""
    saving = Saving({THIRD: 80_000_000})
    saving.over(states((THIRD, "waiting"), reason="waiting for room on the disk: 80.0 MB needed"))

    assert "0 of 1 files saved. wav 1: waiting for room on the disk: 80.0 MB needed." == saving.words({})


def test_the_end_says_what_is_saved_and_where_the_reason_is():
    """All saved is one sentence with the size; what is not saved points to its reason."""
    saving = Saving({FIRST: 1, SECOND: None})
    saving.over(states((FIRST, "saved"), (SECOND, "saved"), bytes=40_000_000))
    assert "2 files are saved and verified, 80.0 MB." == saving.outcome()
    saving.over(states((FIRST, "saved"), (SECOND, "expired")))

    assert "1 of 2 files saved; of the rest the column `reason` tells." == saving.outcome()


@pytest.mark.parametrize(
    ("sizes", "free", "expected"),
    [
        ({FIRST: 40_000_000, SECOND: 40_100_000}, 9 * 10**10, "Saving 2 files, 80.1 MB in all; 90.00 GB are free"),
        ({FIRST: 7, SECOND: None}, 10, "Saving 2 files, 7 B in all and 1 file of unknown size; 10 B are free"),
        ({FIRST: None}, 10, "Saving 1 file, of unknown size; 10 B are free on the disk."),
        ({FIRST: 11}, 10, "Saving 1 file, 11 B in all; 10 B are free on the disk. That is more than fits"),
    ],
)  # fmt: skip
def test_before_it_begins_a_person_knows_how_much_it_is(sizes, free, expected):
    """Count, size and room are said first; what is more than fits is said too."""
    assert announced(sizes, free).startswith(expected)
    assert ("more than fits" in expected) == ("more than fits" in announced(sizes, free))


def test_where_nothing_is_left_to_fetch_the_reason_is_said():
    """All saved, none there, or died unsaved: each has its words."""
    assert "Nothing to fetch: all 2 files are saved." == idle(["saved", "saved"])
    assert "Nothing to fetch: 1 file is saved." == idle(["saved"])
    assert "Nothing to fetch: there are no files yet." == idle([])
    assert "of 2 files the links have died. task.save().wait() asks" in idle(["expired", "expired"])
    assert "of 1 file the link has died." in idle(["expired", "saved"])
    assert "2 files of a provider that is not open are not saved." in idle(["waiting", "saved", "downloading"])


def test_a_check_says_how_far_it_is_and_what_it_found():
    """While it runs files are counted; afterwards what is not intact is counted by kind, with the next step."""
    assert "Checking: 1,000 of 2,000 files read." == checking((1000, 2000))
    assert "Checking every saved file ..." == checking(None)
    assert "All 2 files are intact." == checked(["intact", "intact"])
    assert "1 file is intact." == checked(["intact"])
    assert "nothing to check" in checked([])
    assert checked(["intact", "changed", "missing", "changed"]).startswith(
        "Of 4 files, 1 missing and 2 changed. While their links live, they are fetched again; session.save_all() waits"
    )
    assert "Of 2 files, 1 changed. While its link lives, it is fetched again" in checked(["changed", "intact"])

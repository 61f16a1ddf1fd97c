"""What is put aside comes back when its time has come and there is room for it, and blocks nobody else meanwhile."""

from __future__ import annotations

import pytest

from kit.service.aside import Aside, Patience
from kit.service.room import Room

BIG, SMALL, TINY = ("t1", "video", 0), ("t1", "wav", 0), ("t2", "image", 0)


def aside(tmp_path, free, patience=None):
    """Return a place beside a disk with so many bytes to give."""
    room = Room(tmp_path, usage=lambda _: (0, 0, free))
    return Aside(room, patience or Patience(room=(0.0, 0.0))), room


def test_what_does_not_fit_keeps_nobody_waiting(tmp_path):
    """The first in order stays where it does not fit, the next ones come back, each with its room held for it."""
    waiting, room = aside(tmp_path, 100)
    for slot, needed in ((BIG, 1000), (SMALL, 60), (TINY, 50)):
        waiting.put_for_room(slot, needed)

    assert [SMALL] == list(waiting.take_due([BIG, SMALL, TINY].index))
    assert (2, 40, True, False) == (waiting.for_room, room.free(), BIG in waiting, SMALL in waiting)


def test_a_person_who_asks_makes_a_task_due_now(tmp_path):
    """What waits for its next attempt is tried at once; other tasks keep their time."""
    waiting, _ = aside(tmp_path, 100)
    waiting.put(SMALL, 300)
    waiting.put(TINY, 300)
    before = list(waiting.take_due(str))
    waiting.hurry("t1")

    assert ([], [SMALL]) == (before, list(waiting.take_due(str)))


def test_a_disk_that_has_room_and_then_has_none_is_asked_less_and_less(tmp_path, monkeypatch):
    """The pause doubles up to its limit, and begins anew once the file is let go."""
    now = [0.0]
    monkeypatch.setattr("kit.service.aside.time.monotonic", lambda: now[0])
    waiting, _ = aside(tmp_path, 100, Patience(room=(2.0, 10.0)))
    pauses = []
    for _again in range(5):
        began = now[0]
        waiting.put_for_room(SMALL, 1)
        while not list(waiting.take_due(str)):
            now[0] += 1
        pauses.append(now[0] - began)
    waiting.forget(SMALL)
    waiting.put_for_room(SMALL, 1)
    now[0] += 2

    assert [2, 4, 8, 10, 10] == pytest.approx(pauses)
    assert [SMALL] == list(waiting.take_due(str))

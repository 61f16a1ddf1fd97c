"""How long a download may take, and how slow it may be."""

from __future__ import annotations

import threading

import pytest

from kit.service import limits
from kit.service.answer import NotFetched
from kit.service.limits import Limit, Pace


@pytest.fixture
def clock(monkeypatch):
    """Give the module a clock that only the test moves; it counts seconds."""
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    return now


def test_a_stop_ends_the_work(clock):
    """Once it is stopped, the reader sees it and the fetch says so; the network may be asked again another time."""
    stop = threading.Event()
    limit = Limit(stop)

    assert not limit.is_set()
    stop.set()
    assert limit.is_set()
    with pytest.raises(NotFetched, match="stopped") as reason:
        limit.check()
    assert reason.value.away


def test_half_an_hour_is_the_end_unless_the_file_is_large(clock):
    """A fetch ends after 30 minutes, or after as long as the file takes at 100 kB/s."""
    limit = Limit(threading.Event())
    clock[0] += 1799
    limit.check()
    clock[0] += 1
    with pytest.raises(NotFetched, match="1800 s") as reason:
        limit.check()

    assert reason.value.away
    limit.begin()
    limit.expect(4 * 10**9)
    clock[0] += 39_999
    limit.check()
    clock[0] += 1
    assert limit.is_set()


def test_a_head_that_drips_has_its_own_end(clock):
    """Until the answer's head is there a minute is the end of the request, not of the whole fetch."""
    limit = Limit(threading.Event())
    limit.answer_within(60)
    clock[0] += 60

    assert limit.is_set()
    limit.check()
    limit.answered()
    assert not limit.is_set()


def test_what_is_slower_than_10_kb_a_second_for_a_minute_is_too_slow(clock):
    """The floor is an average over spans of a minute: a pause within one is forgiven, a drip is not."""
    pace = Pace()
    clock[0] += 59
    assert not pace.too_slow(1)
    clock[0] += 1
    assert not pace.too_slow(600_000)
    clock[0] += 60
    assert pace.too_slow(599_999)


def test_progress_is_told_ten_times_a_second_at_most(clock):
    """A body in a million pieces does not make a million tellings."""
    pace = Pace()
    told = 0
    for _ in range(1000):
        clock[0] += 0.001
        told += pace.tell_now()

    assert 10 == told

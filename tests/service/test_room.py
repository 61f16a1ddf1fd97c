"""Room: what running downloads still need is taken, the ledger's part is never given away."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.service.download import NoRoom
from kit.service.room import RESERVE, RESERVE_SHARE, Room


def disk(total, free):
    """Return the usage of a disk."""
    return lambda _: (total, total - free, free)


def test_the_reserve_for_the_ledger_is_never_given_away(tmp_path):
    """On a disk of 1 GB with 60 MB free, 10 MB are to be had: 5 % stay; on a large one 256 MiB do."""
    small, large = Room(tmp_path, usage=disk(10**9, 60 * 10**6)), Room(tmp_path, usage=disk(10**12, RESERVE + 5))

    assert (10 * 10**6, 5) == (small.free(), large.free())
    small.claim("a", 10 * 10**6)
    with pytest.raises(NoRoom) as refused:
        small.claim("b", 1)
    assert 1 == refused.value.needed


def test_a_download_takes_into_account_what_the_others_still_need(tmp_path):
    """What is claimed counts as taken until it is released, and a claim of one's own counts once."""
    room = Room(tmp_path, usage=disk(1000, 150))  # 100 beyond the reserve

    room.claim("a", 70)
    assert (True, False, True) == (room.fits("b", 30), room.fits("b", 31), room.fits("a", 100))
    room.claim("a", 10)  # it has written 60, which this disk does not show
    room.claim("b", 90)
    room.release("a")
    assert 10 == room.free()


@given(
    total=st.integers(1, 10**13),
    share=st.floats(0, 1),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**12)), max_size=12),
)
def test_claims_and_reserve_together_never_exceed_what_is_free(tmp_path_factory, total, share, steps):
    """Whatever is asked in whatever order, the granted claims fit beside the reserve."""
    free, held = int(total * share), {}
    room = Room(tmp_path_factory.getbasetemp(), usage=disk(total, free))
    for who, needed in steps:
        held.pop(who, None)
        try:
            room.claim(who, needed)
        except NoRoom:
            continue
        held[who] = needed

    reserve = min(RESERVE, int(total * RESERVE_SHARE))
    assert sum(held.values()) <= max(0, free - reserve)


def test_two_threads_never_get_the_same_room(tmp_path):
    """Of twenty who ask at the same moment for a tenth each, ten get it."""
    room, got, ready = Room(tmp_path, usage=disk(10**6, 50_000 + 1000)), [], threading.Barrier(20)

    def ask(who):
        ready.wait()
        try:
            room.claim(who, 100)
        except NoRoom:
            return
        got.append(who)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 10 == len(got)


def test_the_reason_names_sizes(tmp_path):
    """A person reads how much is needed, how much is free, and why that is not enough."""
    reason = Room(tmp_path, usage=disk(10**9, 60 * 10**6)).reason(2_300_000_000)

    assert all(size in reason for size in ("2.3 GB needed", "60.0 MB free", "50.0 MB are kept for the ledger"))


def test_a_disk_that_does_not_tell_holds_nothing_back(tmp_path):
    """Where the look at the disk fails, nothing waits for what nobody knows."""

    def broken(_):
        raise OSError("stale handle")

    room = Room(tmp_path, usage=broken)
    room.claim("a", 10**15)
    assert room.fits("b", 10**12)

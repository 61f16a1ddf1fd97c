"""How far files have come: sums over several, rates that grow old, and the line that a person reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.notebook.progress import FRESH_S, Arrived, flow
from kit.notebook.widgets.words import pace, span

COUNTS = st.integers(0, 10**13)


@pytest.mark.parametrize(
    ("received", "total", "rate", "expected"),
    [
        (23_400_000, 80_100_000, 3_150_000, "23.4 of 80.1 MB, 3.1 MB/s, 18 s left"),
        (23_400_000, 80_100_000, None, "23.4 of 80.1 MB"),
        (23_400_000, None, 3_100_000, "23.4 MB so far, 3.1 MB/s"),
        (23_400_000, None, None, "23.4 MB so far"),
        (96_000, 812_000, 0, "96 of 812 kB, 0 B/s"),
        (120_000_000, 1_200_000_000, 1_000_000, "0.12 of 1.20 GB, 1.0 MB/s, 18 min left"),
        (812_000, 812_000, 5, "812 of 812 kB"),
        (900_000, 812_000, 5, "900 of 900 kB"),
        (1, 1000, 1, "0 of 1 kB, 1 B/s, 17 min left"),
    ],
)
def test_the_line_says_how_much_how_fast_and_how_long(received, total, rate, expected):
    """Both sizes are in the unit of the larger; what nobody knows is left out, and what is done has no time left."""
    assert expected == pace(received, total, rate)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "1 s"), (17.2, "18 s"), (99, "99 s"), (100, "2 min"), (3600, "1 h"), (7500, "2 h 5 min"), (200_000, "3 days")],
)
def test_a_time_to_wait_is_rounded_up(seconds, expected):
    """Nobody is told that it is over before it is."""
    assert expected == span(seconds)


@given(COUNTS, COUNTS | st.none(), st.floats(0, 1e12) | st.none())
def test_any_numbers_make_one_short_line(received, total, rate):
    """Whatever a host claims, the line is short, on one line, and tells no negative time."""
    line = pace(received, total, rate)

    assert len(line) < 60
    assert line.isprintable()
    assert "-" not in line


def test_files_are_added_up():
    """Sizes, totals and rates of what arrives together are one sum."""
    together = flow([Arrived(10, 100, 5.0, 50.0), Arrived(20, 100, 2.5, 50.0)], now=51)

    assert (30, 200, 7.5) == together
    assert pace(30, 200, 7.5) == together.text


def test_what_is_not_known_of_one_file_is_not_known_of_all():
    """A file of unknown size leaves the total open; a file whose rate nobody told yet adds none."""
    assert flow([Arrived(10, 100, 5.0, 50.0), Arrived(20, None, None, 50.0)], now=51) == (30, None, 5.0)
    assert flow([Arrived(10, 100), Arrived(20, 100)], now=51) == (30, 200, None)
    assert (0, None, None) == flow([], now=51)


def test_a_rate_counts_while_it_is_fresh_and_its_file_still_comes():
    """A line that fell silent, and a file that is whole, have no rate any more."""
    told = Arrived(10, 100, 5.0, 50.0)

    assert 5.0 == flow([told], now=50 + FRESH_S).rate
    assert flow([told], now=50.1 + FRESH_S).rate is None
    assert flow([told._replace(received=100)], now=50).rate is None


def test_nothing_is_said_before_the_first_byte():
    """A wait that has nothing to count says nothing of bytes."""
    assert "" == flow([Arrived(0, 100)], now=1).text

"""A token bucket: never more than was agreed, and never idle when something may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.service.bucket import Bucket

gaps = st.lists(st.floats(0, 30), max_size=60)


@given(gaps=gaps, rate=st.floats(0.1, 50), burst=st.integers(1, 20))
def test_no_stretch_of_time_sees_more_than_burst_and_rate_allow(gaps, rate, burst):
    """Between any two moments at most `burst` and `rate` a second are let through."""
    bucket, now, let = Bucket(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        while bucket.take(now) == 0:
            let.append(now)

    for n, first in enumerate(let):
        for m, last in enumerate(let[n:], start=1):
            assert m <= burst + (last - first) * rate + 1e-6


@given(rate=st.floats(0.1, 50), burst=st.integers(1, 20))
def test_what_is_refused_is_let_through_after_the_wait_that_was_named(rate, burst):
    """Whoever waits as long as told gets a token, and not much later than need be."""
    bucket = Bucket(rate, burst)
    while (wait := bucket.take(100.0)) == 0:
        continue

    assert wait == pytest.approx(1 / rate, abs=1e-3)
    assert 0 == bucket.take(100.0 + wait + 1e-9)

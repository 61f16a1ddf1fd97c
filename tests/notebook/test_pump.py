"""The thread behind a session: what it keeps of the events it takes."""

from __future__ import annotations

import time
from typing import Any

from kit.notebook.pump import Pump


class Service:
    """A service that tells a few events and then holds the line until it is closed."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events, self._open = events, True

    def events(self) -> Any:
        """Yield the first event, which is empty, and those that were given."""
        yield {}
        yield from self._events
        while self._open:
            time.sleep(0.01)

    def close(self) -> None:
        """Let go of the line."""
        self._open = False


def taken(*events: dict[str, Any]) -> Pump:
    """Return a pump that has taken these events and was stopped."""
    service: Any = Service(*events)
    pump = Pump(lambda: service)
    pump.start()
    deadline = time.monotonic() + 5
    while pump._changes <= len(events) and time.monotonic() < deadline:
        pump.wait_for_change(0.01)
    pump.stop()
    return pump


def arriving(received: int, **more: Any) -> dict[str, Any]:
    """Return the event of a file on its way."""
    return {"task": "t1", "role": "audio", "index": 1, "received": received, "total": 100, **more}


def test_the_last_word_on_each_file_is_kept_with_its_rate_and_its_moment():
    """Bytes, total and rate are those of the last event, and the moment is that of its arrival."""
    before = time.monotonic()
    pump = taken(arriving(10), arriving(30, rate=2.5), {**arriving(7, rate=None), "index": 0})
    first, second = pump.progress["t1"]["audio", 1], pump.progress["t1"]["audio", 0]

    assert (30, 100, 2.5) == first[:3]
    assert (7, 100, None) == second[:3]
    assert before <= first.at <= second.at <= time.monotonic()


def test_a_service_that_tells_no_rate_yet_is_understood():
    """A rate is known only after a while, and its absence breaks nothing."""
    assert taken(arriving(10)).progress["t1"]["audio", 1].rate is None


def test_how_far_a_check_is_comes_with_the_events():
    """The files read, of how many, are kept for who waits for the check."""
    assert (3, 12) == taken({"verifying": {"done": 1, "of": 12}}, {"verifying": {"done": 3, "of": 12}}).verifying

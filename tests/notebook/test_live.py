"""What a person reads while a cell runs: the words of each stage, and how often the card may change."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from kit.ledger.fold import TaskState, fold
from kit.notebook import live
from kit.notebook.live import LiveCard, say, words
from tests.ledger.stories import answer, departure, details, file, intent, numbered

SENT = (intent(), departure())
PENDING = (*SENT, answer())
DONE = (*PENDING, details())


def state(*facts: Any) -> TaskState:
    """Fold a story."""
    folded = fold(numbered(*facts))
    assert folded is not None
    return folded


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (SENT, "sending the request"),
        ((*SENT, answer("unknown")), "may have been charged"),
        (PENDING, "the provider is working on it"),
        ((*PENDING, details("PENDING", None)), "the provider is working on it"),
        ((*PENDING, details("GENERATING", None)), "being made"),
        ((*PENDING, details("TEXT_SUCCESS", None)), "the words are written, the music is being made"),
        ((*PENDING, details("FIRST_SUCCESS", None)), "the first take is ready, the others follow"),
        (DONE, "saving, 0 of 1 files are here"),
        ((*DONE, file("saved")), "done, 1 of 1 files saved"),
        ((intent(save=False), *PENDING[1:], details()), "done, 0 of 1 files saved"),
    ],
)
def test_each_stage_has_words(facts, expected):
    """A waiting person reads what is going on, not the provider's status word."""
    assert expected in words(state(*facts), {})


def test_bytes_that_have_arrived_are_counted():
    """While files are fetched the words say how much is here."""
    assert "2.5 MB so far" in words(state(*DONE), {("video", 0): (2_500_000, 5_000_000)})


def test_a_failure_shows_the_provider_s_words():
    """A failed task's line is what the provider wrote, or its status where it wrote nothing."""
    told = state(*PENDING, details("GENERATE_MP4_FAILED", None, error=500, errorMessage="out of film"))
    silent = state(*PENDING, details("GENERATE_MP4_FAILED", None))

    assert "out of film" == words(told, {})
    assert words(silent, {})


class Page:
    """A front end that keeps what is displayed, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now, self.shown, self.handles = 100.0, [], 0

    def monotonic(self) -> float:
        """Return the page's time."""
        return self.now

    def display(self, bundle: dict[str, str], **_: Any) -> Page:
        """Take a first display and return its handle."""
        self.handles += 1
        self.update(bundle)
        return self

    def update(self, bundle: dict[str, str], **_: Any) -> None:
        """Take a change in place."""
        self.shown.append(bundle)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Stand in for the notebook."""
    page = Page()
    monkeypatch.setattr(live, "_shell", object)
    monkeypatch.setattr(live, "time", page)
    monkeypatch.setattr("IPython.display.display", page.display)
    return page


def test_a_card_changes_twice_a_second_however_often_it_is_shown(page):
    """A thousand progress events within a second are at most three messages; the last state is always sent."""
    card, fetching = LiveCard("music video"), state(*DONE)
    for step in range(1000):
        page.now += 0.001
        card.show(fetching, {("video", 0): (step * 1000, 1_000_000)})
    assert 2 <= len(page.shown) <= 3
    card.show(state(*DONE, file("saved")), {}, now=True)

    assert 1 == page.handles
    assert "done" in page.shown[-1]["text/plain"]


def test_a_new_stage_is_shown_at_once(page):
    """From sent to pending to made: no stage waits for its half second."""
    card = LiveCard("music video")
    for facts in (SENT, PENDING, (*PENDING, details("GENERATING", None)), DONE):
        card.show(state(*facts), {})

    assert 4 == len(page.shown)


def test_the_share_of_known_sizes_is_the_bar(page):
    """Progress counts the files whose size is known; where none is, there is no bar."""
    card = LiveCard("music video")
    card.show(state(*DONE), {("a", 0): (30, 100), ("b", 0): (20, 100), ("c", 0): (7, None)}, now=True)
    card.show(state(*DONE), {("c", 0): (7, None)}, now=True)

    assert "(25 %)" in page.shown[0]["text/plain"]
    assert 'value="25"' in page.shown[0]["text/html"]
    assert "<progress" not in page.shown[1]["text/html"]


def test_hostile_words_are_text(page):
    """Title and provider's message are escaped in the card, and control characters cannot break the line."""
    hostile = "<script>alert(1)</script>"
    story = (intent(title=hostile), *PENDING[1:], details("GENERATE_MP4_FAILED", None, errorMessage=hostile))
    LiveCard("music video").show(state(*story), {}, now=True)

    assert "<script" not in page.shown[0]["text/html"]
    assert 2 == page.shown[0]["text/html"].count("&lt;script&gt;")


def test_a_plain_program_is_told_through_the_log(caplog, monkeypatch):
    """Without a notebook a sentence is a log line, a card is nothing, and IPython is not loaded for it."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    say("nothing was spent")
    LiveCard("song").show(state(*DONE), {}, now=True)

    assert ["nothing was spent"] == caplog.messages
    assert "IPython" not in sys.modules


def test_a_terminal_of_ipython_is_a_plain_program(monkeypatch):
    """A shell without a kernel has no page to change things on."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None)))

    assert live._shell() is None

"""What a person reads while a cell runs: the words of each stage, and how often the card may change."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from kit.ledger.fold import TaskState, fold
from kit.notebook import live
from kit.notebook.live import LiveCard, LiveLine, say, words
from kit.notebook.progress import Arrived
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
        (
            (intent(save=False), *PENDING[1:], details()),
            "its file stays with the provider until you ask: task.save() or",
        ),
    ],
)
def test_each_stage_has_words(facts, expected):
    """A waiting person reads what is going on, not the provider's status word."""
    assert expected in words(state(*facts))


def test_a_failure_shows_the_provider_s_words():
    """A failed task's line is what the provider wrote, or its status where it wrote nothing."""
    told = state(*PENDING, details("GENERATE_MP4_FAILED", None, error=500, errorMessage="out of film"))
    silent = state(*PENDING, details("GENERATE_MP4_FAILED", None))

    assert "out of film" == words(told)
    assert words(silent)


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
        card.show(fetching, {("video", 0): Arrived(step * 1000, 1_000_000)})
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
    """Where the size of a file is known the bar says how much of it is here; where it is not, there is no bar."""
    card = LiveCard("music video")
    card.show(state(*DONE), {("video", 0): Arrived(25, 100)}, now=True)
    card.show(state(*DONE), {("video", 0): Arrived(7, None)}, now=True)

    assert "(25 %)" in page.shown[0]["text/plain"]
    assert 'value="25"' in page.shown[0]["text/html"]
    assert "<progress" not in page.shown[1]["text/html"]


def test_the_bar_is_full_only_when_every_file_is_here(page):
    """A file that has not begun counts as much as one that is saved."""
    card = LiveCard("music video")
    card.show(state(*DONE, file("saved", bytes=10), file("waiting", index=1)), {}, now=True)

    assert "(50 %)" in page.shown[0]["text/plain"]


def test_the_card_says_how_fast_bytes_come_and_how_long_it_takes(page):
    """Rate and remaining time stand on the card and in its text; a rate that grew old is left out."""
    card, told = LiveCard("music video"), {("video", 0): Arrived(23_400_000, 80_100_000, 3_150_000.0, page.now)}
    card.show(state(*DONE), told, now=True)
    page.now += 60
    card.show(state(*DONE), told, now=True)

    for shown in page.shown[0].values():
        assert "23.4 of 80.1 MB, 3.1 MB/s, 18 s left" in shown
    for shown in page.shown[1].values():
        assert "23.4 of 80.1 MB" in shown
        assert "s left" not in shown


def test_a_file_that_waits_for_room_says_so(page):
    """The card names the file that waits, and why; it is said in the words, which a screen reader reads out."""
    waits = file("waiting", reason="waiting for room on the disk: 80.1 MB needed, 12.0 MB free")
    LiveCard("music video").show(state(*DONE, waits), {}, now=True)

    for shown in page.shown[0].values():
        assert "files are here; video 1: waiting for room on the disk: 80.1 MB needed, 12.0 MB free" in shown


def test_a_line_that_ticks_changes_twice_a_second_and_a_log_every_ten(page, caplog, monkeypatch):
    """What moves all the time is one output that changes, or a log line every ten seconds; `say` is never held back."""
    line = LiveLine()
    for step in range(1000):
        page.now += 0.001
        line.tick(f"{step} of 1000")
    line.say("all 1000")
    assert 1 == page.handles
    assert 3 == len(page.shown)
    assert "all 1000" == page.shown[-1]["text/plain"]

    monkeypatch.setattr(live, "_shell", lambda: None)
    caplog.set_level(logging.INFO, "kit.notebook.live")
    line = LiveLine()
    for step in range(25):
        page.now += 1
        line.tick(f"{step} of 25")

    assert ["0 of 25", "10 of 25", "20 of 25"] == caplog.messages


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

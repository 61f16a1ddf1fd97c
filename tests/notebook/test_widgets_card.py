"""The cards in words and HTML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.ledger.fold import Evidence, FileState, TaskState
from kit.notebook.widgets.card import task_card, wait_card, wait_text

FACTS: dict[str, Any] = {
    "label": "music video",
    "title": "Window Seat",
    "status": "pending",
    "words": "the provider is working on it",
    "elapsed_s": 42.4,
}


def a_state(**facts: Any) -> TaskState:
    """A task as the ledger states it."""
    began = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    known: dict[str, Any] = {
        "id": "t0abc", "kind": "video", "provider": "sandbox", "dialect": "sunoapi", "params": {}, "request_key": "k",
        "origin": "here", "save": True, "task_id": "p1", "status": "succeeded", "title": "Window Seat",
        "submitted_at": began, "finished_at": began + timedelta(seconds=95),
    }  # fmt: skip
    return TaskState(evidence=Evidence(task="t0abc"), **{**known, **facts})


def text_of(html: str) -> str:
    """What is left of HTML when every element is dropped."""
    pieces: list[str] = []
    parser = HTMLParser()
    parser.handle_data = pieces.append  # type: ignore[method-assign]
    parser.feed(html)
    return " ".join("".join(pieces).split())


def tags_of(html: str) -> list[str]:
    """The elements of a piece of HTML, in order."""
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(html)
    return tags


def test_wait_card_reads_without_styles() -> None:
    """Title, kind, status, time and words are text, in that order."""
    assert text_of(wait_card(**FACTS)).startswith("Window Seat music video ● pending · 0:42")
    assert "The provider is working on it" in text_of(wait_card(**FACTS))


def test_wait_card_announces_the_words_and_not_the_clock() -> None:
    """Only the words stand in the live region: a clock there would be read out with every update."""
    region = wait_card(**FACTS).split('aria-live="polite"')[1].split("</div>")[0]
    assert "The provider is working on it" in region
    assert "0:42" not in region


@pytest.mark.parametrize(
    ("progress", "value"), [(0.0, "0"), (0.624, "62"), (7.0, "100"), (-1.0, "0"), (float("nan"), "0")]
)
def test_wait_card_draws_progress_only_where_known(progress: float, value: str) -> None:
    """A known share is a progress element within its bounds; an unknown one is none."""
    assert f'value="{value}"' in wait_card(**FACTS, progress=progress)
    assert "<progress" not in wait_card(**FACTS)


def test_wait_text_is_the_same_in_plain_words() -> None:
    """The text twin has status, time, words, share and note."""
    expected = "music video 'Window Seat': pending after 0:42, the provider is working on it (50 %)\n  it goes on"
    assert expected == wait_text(**FACTS, progress=0.5, note="it goes on")


@given(st.text(max_size=60))
def test_cards_escape_every_word(text: str) -> None:
    """Whatever provider and person write, the cards hold the elements they always hold."""
    hostile = f'"><img src=x onerror=alert(1)>{text}'
    calm = {**FACTS, "detail": "d", "note": "n"}
    tried = {**calm, "title": hostile, "words": hostile, "status": hostile, "label": hostile, "detail": hostile}
    assert tags_of(wait_card(**calm)) == tags_of(wait_card(**tried))
    failed = a_state(status="failed", code=500, message="m", meaning="x", next_step="n")
    odd = a_state(status="failed", code=500, message=hostile, meaning=hostile, next_step=hostile, title=hostile)
    assert tags_of(task_card(failed)) == tags_of(task_card(odd))


def test_task_card_of_a_failure_says_what_to_do() -> None:
    """A failed task shows code, meaning, the provider's words, the credits and the next step, in both twins."""
    state = a_state(
        status="failed", code=500, message="oops", meaning="generation failed", refunded=True, next_step="try again"
    )
    for words in (text_of(task_card(state)),):
        assert "Code 500: generation failed." in words
        assert "The provider wrote: oops" in words
        assert "Credits: refunded." in words
        assert "Next: try again" in words
        assert "t0abc" in words


def test_task_card_lists_its_files() -> None:
    """Saved files show name, duration, size and how far they were checked; more than twelve are counted."""
    file = FileState(
        "video", 0, status="saved", path="songs/film.mp4", bytes=459_000, duration_s=95.0, verified="decoded"
    )
    state = a_state(files=(file,) * 15)
    assert "film.mp4: 1:35 · 459 kB · saved, checked: decoded" in text_of(task_card(state))
    assert "and 3 more" in text_of(task_card(state))
    assert "1:35" in text_of(task_card(state))

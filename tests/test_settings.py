"""The settings that are numbers: what counts as one, and what a person reads where it does not."""

from __future__ import annotations

import pytest

from kit import settings
from kit.errors import InvalidInput


@pytest.mark.parametrize(("text", "count"), [("", 3), ("1", 1), (" 8 ", 8), ("16", 16)])
def test_so_many_files_are_fetched_at_once(text: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """KIT_DOWNLOADS is a whole number from 1 to 16; unset it is 3."""
    monkeypatch.setenv("KIT_DOWNLOADS", text)

    assert count == settings.downloads()


@pytest.mark.parametrize("text", ["0", "17", "-1", "2.5", "many", "٣", "1e1", "999999999999"])
def test_a_number_of_downloads_that_is_none_is_refused_in_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be used is named, with one that can."""
    monkeypatch.setenv("KIT_DOWNLOADS", text)

    with pytest.raises(InvalidInput, match=r"KIT_DOWNLOADS=.*1 to 16.*KIT_DOWNLOADS=3"):
        settings.downloads()


@pytest.mark.parametrize("text", ["0", "nan", "soon", "-3"])
def test_idle_minutes_that_are_none_are_refused_in_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service ends after minutes above 0, and nothing else."""
    monkeypatch.setenv("KIT_IDLE_MINUTES", text)

    with pytest.raises(InvalidInput, match=r"KIT_IDLE_MINUTES=.*more than 0"):
        settings.idle_seconds()

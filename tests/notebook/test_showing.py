"""Which widget shows which files of a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kit
from kit.ledger.fold import TaskState, fold
from kit.notebook.showing import Several, widget_for
from kit.notebook.task import SavedFile
from kit.notebook.widgets.audio import AudioPlayer
from kit.notebook.widgets.gallery import CoverGallery
from kit.notebook.widgets.player import VideoPlayer
from kit.sandbox.media import compose, cover_bytes, mp3_bytes, video_bytes, wav_bytes
from tests.ledger.stories import intent, numbered

HOSTILE = '<img src=x onerror="alert(1)">'
TYPES = {"video": "video/mp4", "wav": "audio/wav", "audio": "audio/mpeg", "image": "image/png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each role on disk."""
    folder = tmp_path_factory.mktemp("archive")
    tune = compose(style="folk", title="Window Seat", take=0, seconds=2, seed="showing")
    made = {
        "video": video_bytes(tune, title="Window Seat", author="Mara"),
        "wav": wav_bytes(tune),
        "audio": mp3_bytes(tune),
        "image": cover_bytes(title="Window Seat", style="folk", variant=0, seed="showing"),
    }
    for role, data in made.items():
        (folder / role).write_bytes(data)
    return folder


def task(kind: str, title: str | None = "Window Seat") -> TaskState:
    """A task of a kind; only what the widgets read of it matters."""
    state = fold(numbered(intent(kind, title=title, params={"author": "Ada"})))
    assert state is not None
    return state


def saved(folder: Path, role: str, index: int = 0) -> SavedFile:
    """A file of that role."""
    path = folder / role
    return SavedFile(
        task="t1", role=role, index=index, path=path, bytes=path.stat().st_size, sha256="0" * 64,
        media_type=TYPES[role], verified="decoded",
    )  # fmt: skip


def url(task: str, role: str, index: int) -> str:
    """The loopback URL of a file."""
    return f"http://127.0.0.1:1/media/token/{task}/{role}/{index}"


def html(widget: Any) -> str:
    """The fallback that survives without kernel and widget."""
    return str(widget._repr_mimebundle_()[0]["text/html"])


@pytest.mark.parametrize(
    ("kind", "roles", "widget"),
    [
        ("video", ["video"], VideoPlayer),
        ("cover_image", ["image", "image"], CoverGallery),
        ("wav", ["wav"], AudioPlayer),
    ],
)
def test_each_kind_has_its_widget(folder, kind, roles, widget):
    """A video is a film player, covers are a gallery, a WAV is a player; each has the title in its HTML."""
    files = [saved(folder, role, index) for index, role in enumerate(roles)]
    shown = widget_for(task(kind), files, url)

    assert isinstance(shown, widget)
    assert "Window Seat" in html(shown)


def test_a_song_is_a_player_for_each_take(folder):
    """Two takes are shown one below the other, each under its number; one take is one player."""
    files = [saved(folder, role, index) for role in ("audio", "image") for index in (0, 1)]
    both = widget_for(task("music"), files, url)
    one = widget_for(task("music"), [f for f in files if f.index == 1], url)

    assert isinstance(both, Several)
    assert [True, True] == [isinstance(player, AudioPlayer) for player in both]
    assert isinstance(one, AudioPlayer)
    assert ["take 1" in html(both[0]), "take 2" in html(both[1]), "take 2" in html(one)] == [True] * 3


def test_several_widgets_are_displayed_in_order(folder, monkeypatch):
    """As the last value of a cell, the takes appear one after the other."""
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    takes = Several(("first", "second"))
    takes._ipython_display_()

    assert ["first", "second"] == shown


def test_a_song_whose_pictures_came_first_says_what_to_wait_for(folder):
    """With no sound saved there is nothing to play, and that is said instead of showing nothing."""
    with pytest.raises(kit.NotReady, match=r"no sound yet.*task\.wait\(\)\.show\(\)"):
        widget_for(task("music"), [saved(folder, "image")], url)


@pytest.mark.parametrize(
    ("kind", "role"), [("video", "video"), ("cover_image", "image"), ("wav", "wav"), ("music", "audio")]
)
def test_a_hostile_title_is_text_and_no_title_is_no_trouble(folder, kind, role):
    """Markup in a title is escaped in every widget; a task without a title is called by its kind."""
    files = [saved(folder, role)]
    hostile = html(widget_for(task(kind, HOSTILE), files, url))
    nameless = html(widget_for(task(kind, None), files, url))

    assert 'onerror="' not in hostile
    assert "<img src=x" not in hostile
    assert nameless


def test_a_missing_file_is_no_error(folder, tmp_path):
    """Where the archive was moved away the widget is there all the same, with the path it was saved under."""
    gone = replace(saved(folder, "wav"), path=tmp_path / "gone.wav")

    assert "gone.wav" in html(widget_for(task("wav"), [gone], url))

"""The widgets as Python sees them: traits, bundle, repr, and what a saved notebook keeps of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.notebook.widgets.audio import AudioPlayer
from kit.notebook.widgets.base import MediaWidget, script
from kit.notebook.widgets.gallery import CoverGallery
from kit.notebook.widgets.media import MediaItem
from kit.notebook.widgets.player import VideoPlayer
from kit.sandbox.media import compose, cover_bytes, video_bytes, wav_bytes

VIEW = "application/vnd.jupyter.widget-view+json"
NEVER = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "autoplay",
    ".loop =",
    "no-referrer",
)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MediaItem]:
    """A song's files on disk."""
    folder = tmp_path_factory.mktemp("media")
    tune = compose(style="folk", title="Window Seat", take=0, seconds=2, seed="players")
    content = {
        "film.mp4": ("video/mp4", video_bytes(tune, title="Window Seat", author="Mara")),
        "one.wav": ("audio/wav", wav_bytes(tune)),
        "1.png": ("image/png", cover_bytes(title="Window Seat", style="folk", variant=0, seed="players")),
        "2.png": ("image/png", cover_bytes(title="Window Seat", style="folk", variant=1, seed="players")),
    }
    for name, (_, data) in content.items():
        (folder / name).write_bytes(data)
    return {
        name: MediaItem(path=folder / name, bytes=len(data), media_type=kind, title="Window Seat")
        for name, (kind, data) in content.items()
    }


def widgets(items: dict[str, MediaItem]) -> list[MediaWidget]:
    """One widget of each sort."""
    return [
        VideoPlayer(items["film.mp4"]),
        CoverGallery([items["1.png"], items["2.png"]]),
        AudioPlayer(items["one.wav"], download_name="Window Seat - take 1.wav"),
    ]


def test_bundle_has_view_html_and_text(items: dict[str, MediaItem]) -> None:
    """Every widget comes with its view, its plain HTML with a poster, and one line of text."""
    for widget in widgets(items):
        bundle = widget._repr_mimebundle_()
        assert bundle is not None
        data = bundle[0]
        assert {VIEW, "text/html", "text/plain"} == set(data)
        assert data["text/plain"] == repr(widget)
        assert "\n" not in repr(widget)
        assert "Window Seat" in data["text/html"]
        assert ("data:image/webp" in data["text/html"]) == (not isinstance(widget, AudioPlayer))


def test_display_is_a_twin_and_then_the_widget(items: dict[str, MediaItem], monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown in a cell, the plain twin comes first, and the widget alone second; both together are small."""
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    for widget in widgets(items):
        widget._ipython_display_()
    assert [VIEW in data for data in shown] == [False, True] * 3
    assert all(data["text/html"] == "" for data in shown[1::2])
    assert all('class="callboard-twin"' in data["text/html"] for data in shown[::2])
    assert len(json.dumps(shown)) < 60_000


def test_state_holds_no_media(items: dict[str, MediaItem]) -> None:
    """What travels to the browser holds no bytes of the files, and few of anything else."""
    for widget in widgets(items):
        state = widget.get_state()
        own = {k: v for k, v in state.items() if k in widget.class_own_traits()}
        assert len(json.dumps(own)) < 40_000
        assert not any(isinstance(value, bytes | memoryview) for value in state.values())


def test_audio_measures_its_waveform_only_when_not_told(items: dict[str, MediaItem]) -> None:
    """No peaks measures the file, given ones are cut at 400, an empty list stays empty."""
    assert len(AudioPlayer(items["one.wav"]).peaks) == 300
    assert len(AudioPlayer(items["one.wav"], peaks=[0.5] * 900).peaks) == 400
    assert AudioPlayer(items["one.wav"], peaks=[]).peaks == []


def test_many_covers_share_one_allowance(items: dict[str, MediaItem]) -> None:
    """Forty covers in one gallery keep their posters together below 100 kB."""
    gallery = CoverGallery([items["1.png"]] * 40)
    assert len(gallery._plain_html) < 100_000


def test_widgets_of_missing_files_say_so(tmp_path: Path) -> None:
    """A widget for a deleted file is made without an error and says that the file is missing."""
    item = MediaItem(path=tmp_path / "gone.wav", bytes=10, media_type="audio/wav", title="Gone")
    for widget in (AudioPlayer(item), VideoPlayer(item), CoverGallery([item]), CoverGallery([])):
        assert isinstance(repr(widget), str)
    assert AudioPlayer(item).item["missing"] is True
    assert "file missing" in AudioPlayer(item)._plain_html


@pytest.mark.parametrize("name", ["player", "audio", "gallery"])
def test_scripts_write_no_markup_and_reach_no_network(name: str) -> None:
    """The browser side puts words in as text, starts nothing by itself and names no address on the internet."""
    source = script(name)
    assert [] == [word for word in NEVER if word in source]
    assert "http" not in source.replace("https?", "")
    assert source.count("export default") == 1

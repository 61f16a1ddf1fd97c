"""What a browser is told of a saved file: words, small posters, plain HTML, loudness."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import wave
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kit.notebook.widgets.media import (
    POSTER_BYTES,
    MediaItem,
    data_uri,
    frame_of,
    peaks_of,
    relative_url,
    small_poster,
    static_html,
    view,
)
from kit.notebook.widgets.words import clock, file_name, one_line, size


def a_file(folder: Path, name: str, content: bytes = b"0123456789") -> Path:
    """A file with a name, and its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def an_item(path: Path, media_type: str = "video/mp4", title: str = "Window Seat", **facts: object) -> MediaItem:
    """An item for a path, whether there is a file or not."""
    return MediaItem(path=path, bytes=10, media_type=media_type, title=title, **facts)  # type: ignore[arg-type]


class Elements(HTMLParser):
    """Collects the elements of a piece of HTML with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember one element."""
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of one name."""
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (-1, ""), (0, "0:00"), (7.6, "0:08"), (184, "3:04"), (3723, "1:02:03")]
)
def test_clock_reads_as_on_a_player(seconds: float | None, words: str) -> None:
    """Seconds read as minutes and hours, and nothing where nothing is known."""
    assert words == clock(seconds)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, ""),
        (999, "999 B"),
        (96_400, "96 kB"),
        (999_600, "1.0 MB"),
        (12_400_000, "12.4 MB"),
        (2 * 10**9, "2.00 GB"),
    ],
)
def test_size_reads_in_the_fitting_unit(count: int | None, words: str) -> None:
    """Bytes read in the unit that fits, and nothing where nothing is known."""
    assert words == size(count)


@given(st.text(max_size=400))
def test_file_name_is_accepted_everywhere(text: str) -> None:
    """Whatever a title holds, its file name has no separator, no control character and fits a file system."""
    name = file_name(text, ".wav")
    assert name.endswith(".wav")
    assert not re.search(r'[\x00-\x1f/\\:*?"<>|]', name)
    assert len(name.encode()) < 256
    assert not name.startswith(".")


def test_one_line_drops_what_turns_text_around() -> None:
    """Line breaks and direction marks of a provider's text reach nobody."""
    assert one_line("a\n\u202eb\x1b[31m  c", 100) == "a b [31m c"
    assert one_line("abcdef", 4) == "abc…"


@given(st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_relative_url_leads_back_to_the_file(name: str) -> None:
    """The encoded relative address, resolved from the kernel's folder, names the file again, whatever its name."""
    if name in (".", ".."):
        return
    start, path = Path("/songs/notebooks"), Path("/songs/data") / name
    url = relative_url(path, start)
    assert url is not None
    assert url.startswith("../data/")
    assert re.fullmatch(r"[A-Za-z0-9_.~%/-]+", url)
    assert unquote(url) == f"../data/{name}"


def test_relative_url_in_the_same_folder_is_no_scheme(tmp_path: Path) -> None:
    """A file beside the notebook whose name holds a colon does not read as another scheme."""
    assert relative_url(tmp_path / "javascript:x.png", tmp_path) == "./javascript%3Ax.png"


@pytest.mark.parametrize(("media_type", "tag"), [("video/mp4", "video"), ("audio/wav", "audio"), ("image/png", "img")])
def test_static_html_has_the_address_on_the_element(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media_type: str, tag: str
) -> None:
    """The plain twin plays by a relative address on the element itself, never by itself, and without a script."""
    monkeypatch.chdir(tmp_path)
    html = static_html(an_item(a_file(tmp_path / "Window Seat #1", "a b.bin"), media_type))
    elements = Elements(html)
    assert elements.of(tag)[0]["src"] == "./Window%20Seat%20%231/a%20b.bin"
    assert not {"script", "style", "source", "svg", "iframe"} & {name for name, _ in elements.found}
    assert not any({"autoplay", "loop", "referrerpolicy"} & set(attributes) for _, attributes in elements.found)
    assert elements.of("a")[0] == {"href": "./Window%20Seat%20%231/a%20b.bin", "download": None}


@given(st.text(max_size=80), st.text(max_size=80))
def test_static_html_escapes_everything(title: str, caption: str) -> None:
    """No title and no caption adds an element or an attribute."""
    plain = static_html(an_item(Path("/nowhere/x.mp4"), title="t", caption="c"))
    tried = static_html(
        an_item(Path("/nowhere/x.mp4"), title=f'"><script>{title}', caption=f"<img onerror=1>{caption}")
    )
    assert [n for n, _ in Elements(plain).found] == [n for n, _ in Elements(tried).found]


def test_static_html_says_where_a_missing_file_was(tmp_path: Path) -> None:
    """A deleted file is a sentence with its path and its poster, not a broken player."""
    html = static_html(an_item(tmp_path / "<gone>.mp4"), poster="data:image/webp;base64,AA")
    assert "file missing" in html
    assert "&lt;gone&gt;.mp4" in html
    assert Elements(html).of("video") == []
    assert len(Elements(html).of("img")) == 1


def test_static_html_never_names_the_loopback_address(tmp_path: Path) -> None:
    """The address with the service's token stays out of what a notebook saves."""
    item = an_item(a_file(tmp_path, "x.wav"), "audio/wav", loopback_url="http://127.0.0.1:1/media/secret")
    assert "secret" not in static_html(item)


def test_view_is_small_and_names_the_download(tmp_path: Path) -> None:
    """The browser is told path, size and names; a loopback address that is no http address is dropped."""
    path = a_file(tmp_path, "x.wav")
    told = view(an_item(path, "audio/wav", title='A/B: "C"', loopback_url="javascript:alert(1)", duration_s=184.0))
    assert (path.as_posix(), 10, "A B C.wav", None, False) == (
        told["path"], told["bytes"], told["download_name"], told["loopback_url"], told["missing"]
    )  # fmt: skip
    assert told["facts"] == "3:04 · 10 B"
    assert view(an_item(path, "audio/wav"), download_name="Mr. Smith - take 1.wav")["download_name"] == (
        "Mr. Smith - take 1.wav"
    )


def test_small_poster_stays_small_for_the_busiest_picture() -> None:
    """Even noise, which no codec makes small, is under the limit; its shape stays."""
    noise = np.random.default_rng(1).integers(0, 255, (900, 1600, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    poster = small_poster(buffer.getvalue())
    assert poster is not None
    assert len(poster) <= POSTER_BYTES
    assert len(data_uri(poster)) < 12_000
    with Image.open(io.BytesIO(poster)) as picture:
        assert picture.width / picture.height == pytest.approx(16 / 9, rel=0.02)


@pytest.mark.parametrize("junk", [None, b"", b"not a picture", Path("/nowhere.png")])
def test_small_poster_of_junk_is_none(junk: bytes | Path | None) -> None:
    """What is no picture is no poster, and no error."""
    assert small_poster(junk) is None
    assert data_uri(None) == ""


def test_frame_and_peaks_of_junk_are_nothing(tmp_path: Path) -> None:
    """A file that does not decode has no frame and no loudness, and raises nothing."""
    junk = a_file(tmp_path, "x.mp4", b"junk" * 100)
    assert frame_of(junk) is None
    assert peaks_of(junk) == []
    assert peaks_of(tmp_path / "gone.wav") == []


def test_peaks_follow_the_sound(tmp_path: Path) -> None:
    """A sound that is loud in its second half has its peaks there; the loudest is 1."""
    rate = 44100
    loud = np.concatenate([np.full(rate, 0.1), np.full(rate, 0.5)]) * np.sin(np.arange(2 * rate) * 0.06)
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((2, 2, rate, 0, "NONE", ""))
        file.writeframes(np.repeat((loud * 32767).astype("<i2"), 2).tobytes())
    peaks = peaks_of(tmp_path / "x.wav", bins=300)
    assert len(peaks) == 300
    assert max(peaks) == 1.0
    assert peaks[40] == pytest.approx(0.2, abs=0.02)
    assert peaks[250] == pytest.approx(1.0, abs=0.02)


def test_words_and_cards_load_no_heavy_library() -> None:
    """A program that shows no widget loads none: cards and items come without numpy, PyAV, Pillow or anywidget."""
    code = (
        "import sys, kit.notebook.widgets.card, kit.notebook.widgets.media; "
        "print([m for m in ('anywidget', 'ipywidgets', 'IPython', 'numpy', 'av', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

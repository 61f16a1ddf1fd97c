from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kit.sandbox.media import Tune, compose, video_bytes
from kit.sandbox.serving import serve
from tests.sandbox.hearing import decode_audio, likeness
from tests.sandbox.titles import ODD_TITLES


@pytest.fixture(scope="module")
def tune() -> Tune:
    """Compose the tune that is filmed."""
    return compose(style="slow piano, rain at the window", title="Window Seat", take=0, seed="s")


@pytest.fixture(scope="module")
def film(tune: Tune) -> bytes:
    """Film it once for all tests."""
    return video_bytes(tune, title="Window Seat", author="Ada", domain_name="callboard.example")


@pytest.fixture
def opened(film: bytes) -> Iterator[av.container.InputContainer]:
    """Open the film, and close it after the test."""
    with av.open(io.BytesIO(film)) as container:
        yield container


def boxes(data: bytes) -> list[str]:
    """List the names of a file's outermost boxes in order."""
    names, at = [], 0
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode("ascii"))
        at += int.from_bytes(data[at : at + 4], "big")
    return names


def test_a_film_of_a_gigabyte_is_the_same_film(film: bytes, tmp_path: Path) -> None:
    """The padding of `media="large"` is a box that readers skip: every packet is the film's."""
    path = tmp_path / "film.mp4"
    path.write_bytes(film)
    large = serve(path, "video/mp4", spoilt="large").path  # type: ignore[attr-defined]
    with av.open(io.BytesIO(film)) as small, av.open(str(large)) as padded:
        packets = [[(each.pts, bytes(each)) for each in one.demux()] for one in (small, padded)]

    assert packets[0] == packets[1]
    assert 10**9 == large.stat().st_size


def test_the_film_sounds_like_its_tune(film: bytes, tune: Tune) -> None:
    """The video's sound is the tune's, in stereo and within 0.2 s of its length."""
    heard, rate = decode_audio(film)

    assert rate == 44100
    assert heard.shape[1] == 2
    assert likeness(tune.samples, heard) > 0.98
    assert len(heard) / rate == pytest.approx(tune.duration_s, abs=0.2)


def test_the_film_does_not_sound_like_the_other_take(film: bytes) -> None:
    """A listener could tell which take was filmed."""
    other = compose(style="slow piano, rain at the window", title="Window Seat", take=1, seed="s")

    assert likeness(other.samples, decode_audio(film)[0]) < 0.5


def test_the_film_plays_in_a_browser(opened: av.container.InputContainer, tune: Tune) -> None:
    """It is H.264 in yuv420p with stereo AAC, 640 by 360, and both last as long as the tune."""
    video, audio = opened.streams.video[0], opened.streams.audio[0]

    assert (video.codec.name, video.pix_fmt) == ("h264", "yuv420p")
    assert (video.width, video.height) == (640, 360)
    assert (audio.codec.name, audio.channels) == ("aac", 2)
    assert video.frames == 192
    assert opened.duration is not None
    assert opened.duration / av.time_base == pytest.approx(tune.duration_s, abs=0.2)
    assert opened.metadata["title"] == "Window Seat"
    assert opened.metadata["artist"] == "Ada"


def test_the_index_comes_before_the_media(film: bytes) -> None:
    """A player can begin before the download ends: moov stands before mdat, and the boxes fill the file."""
    names = boxes(film)

    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")


def test_the_film_seeks_to_its_middle(opened: av.container.InputContainer) -> None:
    """Keyframes stand at most 2 s apart, so a seek to 8 s lands there."""
    video = opened.streams.video[0]
    keys = [float(frame.time or 0) for frame in opened.decode(video) if frame.key_frame]
    opened.seek(8 * av.time_base)
    landed = next(opened.decode(video))

    assert max(np.diff([*keys, 16.0])) <= 2.0
    assert 6.0 <= float(landed.time or 0) <= 8.0


def test_the_picture_moves_and_shows_where_it_is(opened: av.container.InputContainer) -> None:
    """Frames differ where the bars are, and the title's place stays still."""
    frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in opened.decode(video=0)]
    early, late = frames[30], frames[120]

    assert np.abs(early - late)[220:320].mean() > 2
    assert np.abs(early - late)[:200].mean() < 2
    assert early.max() > 200


def test_filming_repeats_itself() -> None:
    """The same tune filmed twice gives the same picture and sound."""
    tune = compose(style="pop", title="T", take=0, seconds=2, seed="s")

    assert video_bytes(tune, title="T", author="A") == video_bytes(tune, title="T", author="A")


@pytest.mark.parametrize("title", ODD_TITLES)
def test_any_title_and_author_can_be_filmed(title: str) -> None:
    """Empty, endless, right-to-left, Chinese and broken titles all give a film."""
    tune = compose(style="ambient", title=title, take=0, seconds=2, seed="s")

    assert "mdat" in boxes(video_bytes(tune, title=title, author=title, domain_name=title))


def test_a_given_cover_and_size_are_used() -> None:
    """The film hangs the cover it is given, in the size asked for, odd sides made even."""
    tune = compose(style="pop", title="T", take=0, seconds=2, seed="s")
    cover = Image.new("RGB", (50, 50), (255, 0, 0))
    data = video_bytes(tune, title="T", author=None, cover=cover, size=(427, 241), fps=24)
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")

    assert frame.shape == (240, 426, 3)
    red, green, _ = frame[60, 60]
    assert red > 200
    assert green < 60

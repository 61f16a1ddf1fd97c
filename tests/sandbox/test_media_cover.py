from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from kit.sandbox.media import cover_bytes, draw_cover
from kit.sandbox.media.cover import LAYOUTS
from tests.sandbox.titles import ODD_TITLES


def pixels(data: bytes) -> NDArray[np.int_]:
    """Decode a picture into whole numbers that can be subtracted."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), int)


@pytest.mark.parametrize("size", [768, 1024])
def test_a_cover_is_a_png_of_the_size_asked_for(size: int) -> None:
    """A cover decodes as a square PNG of the stated size, under 600 kB."""
    data = cover_bytes(title="Kilowatt Choir", style="techno", variant=0, seed="s", size=size)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert ("PNG", (size, size)) == (image.format, image.size)

    assert len(data) < 600_000


@pytest.mark.parametrize("style", ["slow piano, rain", "techno", "folk", ""])
def test_covers_of_one_song_differ_clearly(style: str) -> None:
    """The first four proposals for a song differ from one another by far more than grain."""
    covers = [pixels(cover_bytes(title="Song", style=style, variant=i, seed="s", size=384)) for i in range(4)]

    assert np.abs(covers[0] - covers[1]).mean() > 40
    assert all(np.abs(a - b).mean() > 20 for a, b in itertools.combinations(covers, 2))


def test_songs_have_covers_of_their_own() -> None:
    """Another title or another seed gives another picture."""
    first = pixels(cover_bytes(title="One", style="pop", variant=0, seed="s", size=384))

    assert np.abs(first - pixels(cover_bytes(title="Two", style="pop", variant=0, seed="s", size=384))).mean() > 5
    assert np.abs(first - pixels(cover_bytes(title="One", style="pop", variant=0, seed="t", size=384))).mean() > 5


def test_every_layout_is_drawn_with_contrast() -> None:
    """Six proposals come in six layouts, each with light and dark in it."""
    for variant in range(len(LAYOUTS)):
        levels = np.asarray(draw_cover(title="Song", style="x", variant=variant, seed="s", size=256).convert("L"), int)
        assert np.percentile(levels, 99.5) - np.percentile(levels, 0.5) > 60


def test_drawing_repeats_itself() -> None:
    """The same words give the same bytes."""
    first = cover_bytes(title="Song", style="jazz", variant=1, seed="s", size=256)

    assert first == cover_bytes(title="Song", style="jazz", variant=1, seed="s", size=256)


@pytest.mark.parametrize("title", ODD_TITLES)
def test_any_title_gives_a_cover(title: str) -> None:
    """Empty, endless, right-to-left, Chinese and broken titles all give a cover in each layout."""
    for variant in range(6):
        assert pixels(cover_bytes(title=title, style=title, variant=variant, seed="s", size=160)).shape == (160, 160, 3)


@settings(max_examples=30, deadline=None)
@given(title=st.text(max_size=80), style=st.text(max_size=80), variant=st.integers(0, 40))
def test_no_words_stop_the_pen(title: str, style: str, variant: int) -> None:
    """Whatever title and style say, a cover is drawn."""
    assert draw_cover(title=title, style=style, variant=variant, seed="s", size=96).size == (96, 96)

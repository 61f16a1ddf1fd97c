from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from kit.sandbox.media.lettering import line_width, set_text, write_setting
from kit.sandbox.media.words import clean


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=400))
def test_set_text_keeps_to_its_space(text: str) -> None:
    """Any text is set within the width, in no more lines than allowed, and can be written."""
    setting = set_text(text, face="bold", width=200, sizes=[40, 30, 20], lines=3)
    draw = ImageDraw.Draw(Image.new("RGB", (200, 200)))
    write_setting(draw, (0, 0), setting, (255, 255, 255))

    assert len(setting.lines) <= 3
    assert all(line_width(line, "bold", setting.size) <= 200 for line in setting.lines)


def test_a_short_title_is_set_large_and_a_long_one_is_shortened() -> None:
    """The first size that fits is taken; what fits in none ends with an ellipsis."""
    short = set_text("Hi", face="bold", width=200, sizes=[40, 20], lines=2)
    long = set_text("a word or two " * 30, face="bold", width=200, sizes=[40, 20], lines=2)

    assert (short.size, short.lines) == (40, ("Hi",))
    assert long.size == 20
    assert long.lines[-1].endswith("…")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\x00\n b", "a b"), ("\ud800x", "?x"), ("  ", ""), ("x" * 300, "x" * 159 + "…")],
)
def test_clean_text_can_be_drawn(text: str, expected: str) -> None:
    """Control characters, gaps, lone surrogates and endless text are made harmless."""
    assert clean(text) == expected

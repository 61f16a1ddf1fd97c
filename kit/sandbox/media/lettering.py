"""Sets text in any script with the fonts that are there: choice of font, width, wrapping; knows no picture's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import ImageDraw, ImageFont

from kit.sandbox.media.palette import Colour
from kit.sandbox.media.words import clean

__all__ = ["Face", "Setting", "line_width", "set_text", "write_line", "write_setting"]

Face = Literal["text", "bold", "serif"]
# By file name, which Pillow looks up where each platform keeps fonts. Pillow's own (a Latin sans) is always there.
_BUNDLED = ""
_FACES: dict[Face, tuple[str, ...]] = {
    "text": (_BUNDLED,),
    "bold": ("LiberationSans-Bold.ttf", "Arial Bold.ttf", "arialbd.ttf", "DejaVuSans-Bold.ttf", _BUNDLED),
    "serif": ("LiberationSerif-Bold.ttf", "Georgia Bold.ttf", "georgiab.ttf", "DejaVuSerif-Bold.ttf", _BUNDLED),
}
_OTHERS: dict[Face, tuple[str, ...]] = {
    "text": ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf"),
    "bold": ("NotoSansCJK-Bold.ttc", "DejaVuSans-Bold.ttf"),
    "serif": ("NotoSerifCJK-Bold.ttc", "DejaVuSerif-Bold.ttf"),
}
_ANYWHERE = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc", "Arial Unicode.ttf", "arial.ttf")


@dataclass(frozen=True)
class Setting:
    """Text set in lines of one size in pixels, ready to be written."""

    lines: tuple[str, ...]
    face: Face
    size: int
    leading: float

    @property
    def height(self) -> float:
        """Return the height in pixels from the first line's top to the last line's foot."""
        return self.size * (1 + self.leading * (len(self.lines) - 1)) if self.lines else 0.0


def set_text(
    text: str, *, face: Face, width: float, sizes: Sequence[int], lines: int, leading: float = 1.12
) -> Setting:
    """Set a text in the first size at which it fits the width in so many lines, else shorten it in the last size."""
    text = clean(text)
    for size in sizes:
        wrapped = _wrap(text, face, size, width)
        if len(wrapped) <= lines and all(line_width(line, face, size) <= width for line in wrapped):
            return Setting(tuple(wrapped), face, size, leading)
    size = sizes[-1]
    wrapped = [part for line in _wrap(text, face, size, width) for part in _break(line, face, size, width)]
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], _shorten(wrapped[lines - 1], face, size, width)]
    return Setting(tuple(wrapped), face, size, leading)


def _wrap(text: str, face: Face, size: int, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and line_width(joined, face, size) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line for line in lines if line]


def _break(word: str, face: Face, size: int, width: float) -> list[str]:
    """Cut what has no gaps to break at: Chinese, or a very long word."""
    parts, start = [], 0
    while start < len(word):
        end = start + 1
        while end < len(word) and line_width(word[start : end + 1], face, size) <= width:
            end += 1
        parts.append(word[start:end])
        start = end
    return parts


def _shorten(line: str, face: Face, size: int, width: float) -> str:
    while line and line_width(line + "…", face, size) > width:
        line = line[:-1]
    return line.rstrip() + "…"


def line_width(line: str, face: Face, size: int) -> float:
    """Return the width of a line in pixels."""
    return sum(_font(name, size).getlength(part) for name, part in _runs(line, face))


def write_setting(draw: ImageDraw.ImageDraw, xy: tuple[float, float], setting: Setting, fill: Colour) -> float:
    """Write set lines with the left of their top at ``xy``; return the y of their foot."""
    x, y = xy
    for number, line in enumerate(setting.lines):
        base = y + setting.size * (0.82 + setting.leading * number)
        write_line(draw, (x, base), line, face=setting.face, size=setting.size, fill=fill)
    return y + setting.height


def write_line(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    line: str,
    *,
    face: Face,
    size: int,
    fill: Colour,
    to_left: bool = False,
) -> None:
    """Write one line on a base line, each part in the first font that has its characters; ``to_left`` ends it there."""
    x, y = xy
    x -= line_width(line, face, size) if to_left else 0
    for name, part in _runs(line, face):
        font = _font(name, size)
        # Pillow's own font is of regular weight only: a stroke makes it bold where bold was asked for.
        stroke = size / 36 if name == _BUNDLED and face != "text" else 0
        draw.text((x, y), part, font=font, fill=fill, anchor="ls", stroke_width=stroke)
        x += font.getlength(part)


@lru_cache(maxsize=512)
def _runs(line: str, face: Face) -> tuple[tuple[str, str], ...]:
    """Split a line into parts of one font each; a character that no font has is left out."""
    runs: list[tuple[str, str]] = []
    for char in line:
        joins = char.isspace() or char in "\u200d\ufe0e\ufe0f"
        name = runs[-1][0] if runs and (joins or _has(runs[-1][0], char)) else _font_with(char, face)
        if name is None:
            continue
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + char)
        else:
            runs.append((name, char))
    return tuple(runs)


@lru_cache(maxsize=4096)
def _font_with(char: str, face: Face) -> str | None:
    names = (*_FACES[face], *_OTHERS[face], *_ANYWHERE)
    return next((name for name in names if _load(name) and _has(name, char)), None)


@lru_cache(maxsize=8192)
def _has(name: str, char: str) -> bool:
    """Tell whether a font has a character: what it lacks, it draws as it draws a code point that can never be one."""
    if char.isspace():
        return True
    font = _font(name, 24)
    try:
        mask, missing = font.getmask(char), font.getmask("\U0010ffff")
    except (UnicodeError, OSError, ValueError):
        return False
    return bool(mask.size[0]) and (mask.size != missing.size or bytes(mask) != bytes(missing))


@lru_cache(maxsize=32)
def _load(name: str) -> bool:
    try:
        _font(name, 24)
    except OSError:
        return False
    return True


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size) if name == _BUNDLED else ImageFont.truetype(name, size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # only a Pillow built without FreeType has no other
    return font

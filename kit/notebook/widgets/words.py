"""Owns how times, sizes and file names read to a person; it must not know what they belong to."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clock", "file_name", "one_line", "size"]

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')  # refused in a file name by one platform or another


def clock(seconds: float | None) -> str:
    """Return seconds as ``3:04`` or ``1:02:03``; an empty string where there is nothing to say."""
    if seconds is None or not 0 <= seconds < 1e6:
        return ""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: int | None) -> str:
    """Return bytes as ``812 B``, ``96 kB`` or ``12.4 MB``; an empty string where there is nothing to say."""
    if count is None or count < 0:
        return ""
    if count < 1000:
        return f"{count} B"
    if count < 999_500:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 999_950_000 else f"{count / 1e9:.2f} GB"


def one_line(text: str, limit: int = 200) -> str:
    """Return provider text on one line without control or direction characters, cut at `limit` characters."""
    # Cc and Cf hold line breaks, escapes and the marks that turn the reading direction of what follows.
    shown = "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else c for c in text[: limit * 4])
    joined = " ".join(shown.split())
    return joined if len(joined) <= limit else f"{joined[: limit - 1].rstrip()}…"


def file_name(text: str, extension: str) -> str:
    """Return `text` as a file name every platform accepts, with `extension` (its dot included) behind it."""
    stem = " ".join(_UNSAFE.sub(" ", one_line(text, 100)).split()).strip(" .")
    while len(stem.encode()) > 180:  # most file systems count bytes, and stop at 255
        stem = stem[:-1].rstrip(" .")
    return f"{stem or 'untitled'}{extension}"

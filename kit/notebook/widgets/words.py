"""Owns how times, sizes and file names read to a person; it must not know what they belong to."""

from __future__ import annotations

import math
import re
import unicodedata

__all__ = ["clock", "file_name", "one_line", "pace", "size", "span"]

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')  # refused in a file name by one platform or another

_UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


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


def span(seconds: float) -> str:
    """Return a time to wait as ``18 s``, ``4 min``, ``2 h 5 min`` or ``3 days``, rounded up."""
    whole = max(1, math.ceil(min(seconds, 1e9)))
    if whole < 100:
        return f"{whole} s"
    minutes = math.ceil(whole / 60)
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{minutes} min" if hours == 0 else f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{math.ceil(hours / 24)} days"


def pace(received: int, total: int | None, rate: float | None) -> str:
    """Return how far bytes have come, as ``23.4 of 80.1 MB, 3.1 MB/s, 18 s left``; what is not known is left out."""
    if total is None:
        known = f"{size(received)} so far"
    else:
        whole = size(max(total, received))
        known = f"{_in_the_unit_of(whole, received)} of {whole}"
    if rate is None or (total is not None and received >= total):
        return known
    if total is None or rate <= 0:
        return f"{known}, {size(round(max(rate, 0)))}/s"
    return f"{known}, {size(round(rate))}/s, {span((total - received) / rate)} left"


def _in_the_unit_of(whole: str, count: int) -> str:
    """Return `count` bytes in the unit in which `whole` is written, with as many places."""
    number, unit = whole.split()
    places = len(number.partition(".")[2])
    return f"{count / _UNITS[unit]:.{places}f}"


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

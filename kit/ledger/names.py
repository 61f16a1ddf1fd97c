"""Owns the names of files, from titles that nobody can trust; it must not know where a file is put or what is in it.

A name holds at most 120 bytes of UTF-8 and is valid on Windows, macOS and Linux alike, whatever the title was.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

__all__ = ["MOST_BYTES", "archive_name", "export_name", "folded"]

MOST_BYTES = 120
_MOST_READ = 1000  # characters of a title that are looked at
_MOST_MARKS = 4  # on one letter: every living script does with that, and a tower of them is no title

# Takes no room on a screen, so that two names would look the same: fillers, joiners, variation selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SEPARATORS = frozenset("/\\|¥₩⁄∕∖⧵⧸⧹╱╲￨￤")  # the two currency signs are the backslash of Japan and Korea
_REFUSED = frozenset('<>:"?*∶꞉ː՝׃܃')  # what Windows takes in no name, and what is drawn like its colon
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])\Z", re.IGNORECASE)
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")


def archive_name(title: str | None, task: str, role: str, index: int, extension: str) -> str:
    """Return `<readable>-<task>-<role>-<n>.<extension>` with n = index + 1.

    The readable part keeps the letters and digits of any script (NFC); all else becomes "-". Task, role and n alone
    make the name unique, also where the disk ignores case or composes characters.
    """
    own = f"{_plain(task)}-{_plain(role)}-{_plain(str(index + 1))}.{_suffix(extension)}"
    words = "".join(c if _is_word(c) else "-" for c in _characters(title))
    readable = _cut(re.sub("-+", "-", words).strip("-"), MOST_BYTES - len(own) - 1).strip("-")
    return f"{readable}-{own}" if readable else own


def export_name(title: str | None, what: str, extension: str, taken: Container[str]) -> str:
    """Return a name as a person would give it, such as "Window Seat - take 1.wav".

    `taken` holds the names in use, as `folded` gives them; where one is in use, " (2)" follows, or a higher number.
    """
    ending = f".{_suffix(extension)}"
    said, plain = _spoken(what), _spoken(title) or "Untitled"
    for again in _numbers():
        tail = f"{f' - {_cut(said, MOST_BYTES // 2)}' if said else ''}{again}{ending}"
        stem = _cut(plain, MOST_BYTES - len(tail.encode()) - 1).rstrip(" .")
        name = _no_device(f"{stem}{tail}")
        if folded(name) not in taken:
            return name
    raise AssertionError("numbers do not end")  # pragma: no cover


def folded(name: str) -> str:
    """Return what two names have in common exactly where some file system takes them for the same."""
    # Upper case too: it joins what lower case keeps apart, such as the dotless i.
    plain = unicodedata.normalize("NFD", name).casefold().upper().casefold()
    return unicodedata.normalize("NFC", plain)


def _numbers() -> Iterator[str]:
    yield ""
    yield from (f" ({number})" for number in count(2))


def _characters(title: str | None) -> str:
    """Return the beginning of `title`, composed, without what cannot be seen and without towers of marks."""
    text = unicodedata.normalize("NFC", _UNSEEN.sub("", (title or "")[:_MOST_READ]))
    kept: list[str] = []
    marks = _MOST_MARKS  # a mark needs a letter before it
    for character in text:
        marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0 if _is_word(character) else _MOST_MARKS
        if marks <= _MOST_MARKS or unicodedata.category(character)[0] != "M":
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _spoken(text: str | None) -> str:
    """Return `text` with its spaces and harmless signs, ready to be the beginning of a name."""
    words = unicodedata.normalize("NFC", "".join(map(_harmless, _characters(text))))
    return re.sub(r"\.+", ".", " ".join(words.split())).lstrip(" .-~").rstrip(" .")


def _harmless(character: str) -> str:
    # A wide form counts as what it stands for: some programs turn it into that on the way to the disk.
    forms = {character, *(c for c in unicodedata.normalize("NFKC", character) if c.isascii())}
    if forms & _SEPARATORS:
        return "-"
    if forms & _REFUSED or unicodedata.category(character)[0] in "CZ":
        return "" if unicodedata.category(character) == "Cf" else " "
    return character


def _no_device(name: str) -> str:
    """Return `name`, changed where Windows would take it for a device: it looks no further than the first dot."""
    return f"_{name}" if _DEVICE.match(name.partition(".")[0].rstrip(" ")) else name


def _plain(part: str) -> str:
    # A hash begins with "_", which no plain part does: the two cannot meet.
    return part if _PLAIN.fullmatch(part) else "_" + sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _suffix(extension: str) -> str:
    return extension if _EXTENSION.fullmatch(extension) else "bin"


def _cut(text: str, size: int) -> str:
    """Return the beginning of `text` that fits `size` bytes; no letter loses its marks."""
    short = text.encode()[: max(0, size)].decode(errors="ignore")
    rest = text[len(short) :]
    while short and rest and unicodedata.category(rest[0])[0] == "M":
        short, rest = short[:-1], short[-1] + rest
    return short

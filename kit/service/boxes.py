"""Owns the walk through an MP4: its boxes fit into each other and all sound and picture data are in the file.

It must not know how either is coded.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from kit.service.content import Content, Unsound

__all__ = ["check_mp4"]

MOST_BOXES = 100_000
DEEPEST = 12
MOST_ENTRIES = 4_000_000  # of one table: eighteen hours of film
LONGEST_INDEX = 64 * 2**20
_NESTING = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf"})


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int  # of what is in it
    end: int


@dataclass
class _Film:
    """What a walk gathers: indexes, data, the last box of all, and each track's tables by name."""

    indexes: int = 0
    last: bytes = b""
    data: list[_Box] = field(default_factory=list)
    tracks: list[dict[bytes, _Box]] = field(default_factory=list)

    def open(self, box: _Box) -> dict[bytes, _Box]:
        """Return where the boxes within `box` are to be noted."""
        inside: dict[bytes, _Box] = {}
        self.indexes += box.kind == b"moov"
        if box.kind == b"moov" and box.end - box.start > LONGEST_INDEX:
            raise Unsound(f"its index is longer than {LONGEST_INDEX} bytes")
        if box.kind == b"stbl":
            self.tracks.append(inside)
        return inside


def check_mp4(content: Content) -> None:
    """Follow every box to the end of the file, then every chunk of data that the index names to where it lies.

    Raises `Unsound`. A file in fragments that was cut exactly between two of them is no different from a shorter one.
    """
    film = _walk(content)
    if not film.indexes:
        raise Unsound("cut off or damaged: there is no index (moov) in it")
    if not film.data or film.last == b"moof":
        raise Unsound("cut off or damaged: there are no data (mdat) in it")
    film.data.sort(key=lambda box: box.start)
    starts = [box.start for box in film.data]
    for tables in film.tracks:
        for start, end in _chunks(content, tables):
            content.expect(end, "a piece of sound or picture")
            home = bisect_right(starts, start) - 1
            if home < 0 or end > film.data[home].end:
                raise Unsound(f"damaged: the index names data at byte {start}, where none are")


def _walk(content: Content) -> _Film:
    film, seen = _Film(), 0
    todo: list[tuple[int, int, int, dict[bytes, _Box]]] = [(0, content.size, 0, {})]
    while todo:
        at, end, depth, siblings = todo.pop()
        if depth > DEEPEST:
            raise Unsound(f"its boxes are nested more than {DEEPEST} deep")
        while at < end:
            box = _box(content, at, end, outermost=depth == 0)
            film.last = film.last if depth else box.kind
            if box.kind == b"mdat":
                film.data.append(box)
            siblings[box.kind] = box
            if box.kind in _NESTING:
                todo.append((box.start, box.end, depth + 1, film.open(box)))
            at, seen = box.end, seen + 1
            if seen > MOST_BOXES:
                raise Unsound(f"it has more than {MOST_BOXES} boxes")
    return film


def _box(content: Content, at: int, end: int, *, outermost: bool) -> _Box:
    head = content.read(at, 8, "a box")
    length, kind, start = int.from_bytes(head[:4], "big"), head[4:], at + 8
    if length == 1:  # the real length follows the name, in 64 bits
        length, start = int.from_bytes(content.read(start, 8, "a box"), "big"), at + 16
    elif length == 0 and kind == b"mdat" and outermost:  # up to the end, wherever that is
        length = end - at
    if length < start - at or any(byte < 0x20 for byte in kind):
        raise Unsound(f"damaged or followed by something else: no box begins at byte {at}")
    if at + length > end:
        raise Unsound(f"cut off: a box at byte {at} should end at byte {at + length}, what holds it ends at {end}")
    return _Box(kind, start, at + length)


def _chunks(content: Content, tables: dict[bytes, _Box]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each chunk of a track's data."""
    offsets = _offsets(content, tables)
    if not offsets:
        return  # a track of a film in fragments, or an empty one
    if b"stsz" not in tables or b"stsc" not in tables:
        raise Unsound("damaged: a track's tables are not all there")
    same, count, sizes = _sizes(content, tables[b"stsz"])
    first = 0
    for start, many in zip(offsets, _samples(content, tables[b"stsc"], len(offsets)), strict=True):
        last = min(count, first + many)
        yield start, start + (same * (last - first) if same else sum(sizes[first:last]))
        first = last
    if first < count:
        raise Unsound(f"damaged: the index places {first} of {count} pieces of a track")


def _offsets(content: Content, tables: dict[bytes, _Box]) -> array[int]:
    if b"co64" in tables:
        return _table(content, tables[b"co64"], 4, "Q", 1)
    return _table(content, tables[b"stco"], 4, "I", 1) if b"stco" in tables else array("I")


def _samples(content: Content, box: _Box, chunks: int) -> Iterator[int]:
    """Yield for each chunk how many samples are in it; the table states only where that number changes."""
    rows = _table(content, box, 4, "I", 3)
    if not rows or rows[0] != 1:
        raise Unsound("damaged: a track's table of chunks does not begin with the first")
    changes = [*rows[::3], chunks + 1]
    for i in range(len(changes) - 1):
        if not changes[i] <= changes[i + 1] <= chunks + 1:
            raise Unsound("damaged: a track's table of chunks is in no order")
        for _ in range(changes[i + 1] - changes[i]):
            yield rows[3 * i + 1]


def _sizes(content: Content, box: _Box) -> tuple[int, int, array[int]]:
    """Return the size that all samples have or 0, how many there are, and else the size of each."""
    head = content.read(box.start, 12, "a track's table")
    same, count = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    return same, count, array("I") if same else _table(content, box, 8, "I", 1)


def _table(content: Content, box: _Box, at: int, code: str, columns: int) -> array[int]:
    """Return a table's numbers; their count stands `at` so many bytes into the box and they follow it."""
    entries: array[int] = array(code)
    head = box.start + at
    count = int.from_bytes(content.read(head, 4, "a track's table"), "big") * columns
    if count > MOST_ENTRIES or head + 4 + count * entries.itemsize > box.end:
        raise Unsound("damaged: a track's table is longer than its box, or than any film's")
    entries.frombytes(content.read(head + 4, count * entries.itemsize, "a track's table"))
    if sys.byteorder == "little":
        entries.byteswap()
    return entries

"""Owns the walk through a file's structure in plain Python: is every part there that the file itself announces.

The work is bounded whatever the bytes say, nothing is decoded, and what follows a file's end is a fault as well as
what is missing. It must not know what a file is for. MP4 and MP3 have modules of their own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import BinaryIO

from kit.service.boxes import check_mp4
from kit.service.content import Content, Unsound
from kit.service.mpeg import check_mp3

__all__ = ["HEAD", "check_structure", "media_type_of"]

HEAD = 16  # bytes that tell what a file is
MOST_PARTS = 100_000
UNKNOWN = (0, 0xFFFFFFFF)  # sizes of a writer that could not go back to fill them in
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in a JPEG's picture data: neither stuffing nor a restart
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_RIFF_HEADER = 12


def media_type_of(head: bytes) -> str | None:
    """Return what a file is by its first `HEAD` bytes, or None for what is no media that the kit keeps."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if head[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return "audio/mpeg"
    return None


def check_structure(file: BinaryIO, media_type: str) -> None:
    """Walk through a file of a type that `media_type_of` gave.

    Raises `Unsound` where it is cut off, padded or contradicts itself, `OSError` where it cannot be read.
    """
    _WALKS[media_type](Content(file))


def _check_png(content: Content) -> None:
    """Every chunk with its checksum, IHDR first, picture data, IEND last."""
    at = 8
    kinds: set[bytes] = set()
    for _ in range(MOST_PARTS):
        head = content.read(at, 8, "a chunk of the picture")
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if not kinds and (length, kind) != (13, b"IHDR"):
            raise Unsound("the picture does not begin with its header")
        content.expect(at + 12 + length, "a chunk of the picture")
        check = zlib.crc32(kind)
        for piece in content.pieces(at + 8, at + 8 + length):
            check = zlib.crc32(piece, check)
        at += 12 + length
        if check != int.from_bytes(content.read(at - 4, 4, "a checksum"), "big"):
            raise Unsound(f"damaged: a checksum before byte {at} is wrong")
        kinds.add(kind)
        if kind == b"IEND":
            break
    if not {b"IDAT", b"IEND"} <= kinds:
        raise Unsound("there is no whole picture in it")
    content.end_at(at)


def _check_jpeg(content: Content) -> None:
    """Every segment by its length, the picture data by their markers, up to the end of image."""
    at, framed = 2, False
    for _ in range(MOST_PARTS):
        prefix, marker = content.read(at, 2, "the picture")
        if prefix != 0xFF:
            raise Unsound(f"damaged: no segment begins at byte {at}")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xD9:
            break
        length = int.from_bytes(content.read(at + 2, 2, "a segment of the picture"), "big")
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8 or length < 2:
            raise Unsound(f"damaged: no segment begins at byte {at}")
        framed = framed or marker in _FRAME_HEADERS
        at += 2 + length
        if marker == 0xDA:
            at = _after_scan(content, at)
    else:
        raise Unsound(f"it has more than {MOST_PARTS} segments")
    if not framed:
        raise Unsound("there is no picture in it")
    content.end_at(at + 2)


def _after_scan(content: Content, at: int) -> int:
    """Return where the picture data that begin at `at` end: at a marker that is none of theirs."""
    last = b""  # of the piece before, for a marker that lies on the border
    for piece in content.pieces(at, content.size):
        if found := _MARKER.search(last + piece):
            return at - len(last) + found.start()
        at += len(piece)
        last = piece[-1:]
    raise Unsound(f"cut off: the picture's data go on to the end of the file, at byte {content.size}")


def _check_webp(content: Content) -> None:
    """The size in the header is the file's, the chunks fill it, and one of them is the picture."""
    end = 8 + int.from_bytes(content.read(4, 4, "the header"), "little")
    content.end_at(end)
    kinds = {kind for kind, _, _ in _chunks(content, _RIFF_HEADER, end)}
    if not kinds & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise Unsound("there is no picture in it")


def _check_wav(content: Content) -> None:
    """The sizes that the header states against the file (the standard reader misses truncation)."""
    head = content.read(0, _RIFF_HEADER, "the header")
    stated, sound_length, at = int.from_bytes(head[4:8], "little"), None, _RIFF_HEADER
    if head[:4] == b"RF64":
        stated, sound_length, at = _large_sizes(content)
    known = stated not in UNKNOWN
    if known:
        content.expect(8 + stated, "the sound file")
    frame, sound = 0, None
    for kind, start, end in _chunks(content, at, 8 + stated if known else content.size, sound_length):
        if kind == b"fmt " and end - start >= 16:
            frame = int.from_bytes(content.read(start + 12, 2, "the format"), "little")
        if kind == b"data":
            sound = (start, end)
    if not frame or sound is None or sound[0] == sound[1]:
        raise Unsound("there is no sound in it")
    if (sound[1] - sound[0]) % frame:  # all that can be seen where the sizes are unknown
        raise Unsound(f"cut off: the sound ends at byte {sound[1]}, in the middle of a sample")
    if known:
        _end_of_riff(content, 8 + stated)


def _end_of_riff(content: Content, end: int) -> None:
    # Some writers do not count the byte that pads an odd chunk.
    padded = end % 2 == 1 and content.size == end + 1 and content.read(end, 1, "the padding") == b"\0"
    content.end_at(end + padded)


def _large_sizes(content: Content) -> tuple[int, int, int]:
    """Return what a file of 64-bit sizes states: the RIFF's, the sound's, and where the next chunk begins."""
    head = content.read(_RIFF_HEADER, 24, "the table of sizes")
    length = int.from_bytes(head[4:8], "little")
    if head[:4] != b"ds64" or length < 24:
        raise Unsound("the table of its 64-bit sizes is missing")
    riff, sound = (int.from_bytes(head[at : at + 8], "little") for at in (8, 16))
    return riff, sound, _RIFF_HEADER + 8 + length + length % 2


def _chunks(content: Content, at: int, end: int, sound_length: int | None = None) -> list[tuple[bytes, int, int]]:
    """Return name, start and end of each RIFF chunk from `at`; the last one has to end at `end`.

    An unknown length of sound is `sound_length`, or else reaches to the end.
    """
    found: list[tuple[bytes, int, int]] = []
    while at < end:
        if len(found) == MOST_PARTS:
            raise Unsound(f"it has more than {MOST_PARTS} chunks")
        head = content.read(at, 8, "a chunk")
        start, length = at + 8, int.from_bytes(head[4:], "little")
        if head[:4] == b"data" and length in UNKNOWN and (sound_length or start + length != end):
            length = sound_length or max(0, end - start)
        at = start + length + length % 2
        if start + length > end:
            raise Unsound(f"cut off: a chunk should end at byte {start + length}, the file at {end}")
        found.append((head[:4], start, start + length))
    return found


_WALKS: dict[str, Callable[[Content], None]] = {
    "video/mp4": check_mp4,
    "audio/wav": _check_wav,
    "audio/mpeg": check_mp3,
    "image/png": _check_png,
    "image/jpeg": _check_jpeg,
    "image/webp": _check_webp,
}

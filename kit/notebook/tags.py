"""Owns what a player shows of a copy: title, words and cover art, in the tags of its format; the sound stays as it is.

It must not know tasks, names or where a copy goes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kit.notebook.widgets.words import one_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LARGEST_PICTURE", "NotTagged", "Picture", "Tags", "has_tags", "write_tags"]

LARGEST_PICTURE = 8 * 2**20  # bytes; a larger one makes a song slow to open, and some players refuse it
_LONGEST = 250
_LONGEST_LINE = 500
_FRONT_COVER = 3
_UTF16 = 1
_MOST_CHUNKS = 1000  # of a WAV; real ones have a handful
_MOST_RIFF = 2**32 - 2**24  # its sizes have 32 bits; the tag needs some of them


class NotTagged(Exception):
    """A copy could not be given its tags; str() says why. The copy may be half changed: make it again."""


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What is said of a copy; None where nothing is known. `track` is (number, of how many)."""

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    track: tuple[int, int] | None = None
    lyrics: str | None = None
    comment: str | None = None


@dataclass(frozen=True)
class Picture:
    """Cover art: the bytes of a whole image file and its media type."""

    data: bytes = field(repr=False)
    media_type: str


def has_tags(media_type: str | None) -> bool:
    """Tell whether copies of this type are tagged: sound and film are, pictures stay as they are."""
    return media_type in _WRITERS


def write_tags(path: Path, media_type: str, tags: Tags, picture: Picture | None) -> None:
    """Write `tags` and cover art into the file at `path`, in place and in constant memory.

    Raises:
        NotTagged: the format cannot take them, or this file cannot.
    """
    try:
        _WRITERS[media_type](path, _readable(tags), picture)
    except NotTagged:
        raise
    except Exception as reason:  # a parser of many formats fails in many ways, and a tag is not worth a copy
        raise NotTagged(one_line(f"{type(reason).__name__}: {reason}")) from reason


def _readable(tags: Tags) -> Tags:
    """Return `tags` without what a player would take for an end, a second value or a change of direction."""
    lines = [one_line(line, _LONGEST_LINE) for line in (tags.lyrics or "").splitlines()]
    words = {name: _line(getattr(tags, name)) for name in ("title", "artist", "album", "genre", "comment")}
    return Tags(**words, track=tags.track, lyrics="\n".join(lines).strip() or None)


def _line(text: str | None) -> str | None:
    return one_line(text, _LONGEST) or None if text else None


def _mp3(path: Path, tags: Tags, picture: Picture | None) -> None:
    formats: Any = import_module("mutagen.id3")
    try:
        id3 = formats.ID3(path)
    except formats.ID3NoHeaderError:
        id3 = formats.ID3()
    _fill(id3, tags, picture)
    id3.save(path, v2_version=3)


def _wav(path: Path, tags: Tags, picture: Picture | None) -> None:
    _make_whole(path)
    wave = import_module("mutagen.wave").WAVE(path)
    if wave.tags is None:
        wave.add_tags()
    _fill(wave.tags, tags, picture)
    wave.tags.save(path, v2_version=3)


def _make_whole(path: Path) -> None:
    """Fill up an odd last byte and count it; raise `NotTagged` where the file does not say its own lengths.

    What is added behind a chunk that claims to be longer, or is not filled up, would be sound to a reader, or lost.
    """
    with path.open("rb+") as file:
        size = path.stat().st_size
        head, end = file.read(12), 12
        if head[:4] != b"RIFF" or head[8:] != b"WAVE" or _number(head[4:8]) not in (size - 8, size - 9):
            raise NotTagged("the file does not say its own length")
        for _ in range(_MOST_CHUNKS):
            if end >= size:
                break
            file.seek(end)
            length = _number(file.read(8)[4:])
            end += 8 + length + length % 2
        if end != size + size % 2 or size > _MOST_RIFF:
            raise NotTagged("the parts of the file are not as long as they say" if size <= _MOST_RIFF else "too large")
        file.truncate(end)
        file.seek(4)
        file.write(struct.pack("<I", end - 8))


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _fill(id3: Any, tags: Tags, picture: Picture | None) -> None:
    """Put ID3v2.3 frames in place of those of the same name: the version that every player reads."""
    frames: Any = import_module("mutagen.id3")
    id3.update_to_v23()
    plain = {"TIT2": tags.title, "TPE1": tags.artist, "TALB": tags.album, "TCON": tags.genre}
    plain["TRCK"] = f"{tags.track[0]}/{tags.track[1]}" if tags.track else None
    for name, text in plain.items():
        if text:
            id3.setall(name, [getattr(frames, name)(encoding=_UTF16, text=[text])])
    if tags.comment:
        id3.setall("COMM", [frames.COMM(encoding=_UTF16, lang="eng", desc="", text=[tags.comment])])
    if tags.lyrics:
        id3.setall("USLT", [frames.USLT(encoding=_UTF16, lang="XXX", desc="", text=tags.lyrics)])
    if picture:
        art = frames.APIC(encoding=0, mime=picture.media_type, type=_FRONT_COVER, desc="", data=picture.data)
        id3.setall("APIC", [art])


def _mp4(path: Path, tags: Tags, picture: Picture | None) -> None:
    formats: Any = import_module("mutagen.mp4")
    film = formats.MP4(path)
    if film.tags is None:
        film.add_tags()
    atoms = {"©nam": tags.title, "©ART": tags.artist, "©alb": tags.album, "©gen": tags.genre}
    for name, text in {**atoms, "©lyr": tags.lyrics, "©cmt": tags.comment}.items():
        if text:
            film[name] = [text]
    if tags.track:
        film["trkn"] = [tags.track]
    forms = {"image/jpeg": formats.MP4Cover.FORMAT_JPEG, "image/png": formats.MP4Cover.FORMAT_PNG}
    if picture and picture.media_type in forms:  # the format knows no other picture
        film["covr"] = [formats.MP4Cover(picture.data, imageformat=forms[picture.media_type])]
    film.save(path)


_WRITERS = {"audio/mpeg": _mp3, "audio/wav": _wav, "video/mp4": _mp4}

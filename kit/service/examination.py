"""Owns the look into a file: what it really is and how far that was checked; it runs in a process of its own.

Levels: `length` (all announced bytes came), `structure` (the container is whole), `decoded` (it really plays or shows).
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Verdict", "examine"]

PIXEL_CAP = 40_000_000
MAGIC: dict[str, Callable[[bytes], bool]] = {
    "video/mp4": lambda head: head[4:8] == b"ftyp",
    "audio/wav": lambda head: head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE",
    "audio/mpeg": lambda head: head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0),
    "image/png": lambda head: head[:8] == b"\x89PNG\r\n\x1a\n",
    "image/jpeg": lambda head: head[:3] == b"\xff\xd8\xff",
    "image/webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
}
EXTENSIONS = {
    "video/mp4": "mp4",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a file turned out to be; `reason` is set exactly where it must not be kept."""

    verified: str = "length"
    media_type: str | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    reason: str | None = None


def examine(path: Path, role: str) -> Verdict:
    """Return the verdict on the file at `path`, which should be of the given role; never raises on its bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    media_type = next((name for name, fits in MAGIC.items() if fits(head)), None)
    if media_type is None or not _fits_role(media_type, role):
        return Verdict(reason=f"not {_wanted(role)}: it begins with {head[:12]!r}")
    try:
        if media_type.startswith("image/"):
            return _image(path, media_type)
        if media_type == "audio/wav":
            _check_riff(path)
        if media_type == "video/mp4":
            _check_boxes(path)
        return _sound_or_film(path, media_type)
    except _Unsound as reason:
        return Verdict(media_type=media_type, reason=str(reason))
    except Exception as reason:  # a decoder may raise anything on hostile bytes: that is a verdict, not a crash
        return Verdict(media_type=media_type, reason=f"it does not decode ({type(reason).__name__})")


class _Unsound(Exception):
    pass


def _fits_role(media_type: str, role: str) -> bool:
    family = {"video": "video/mp4", "wav": "audio/wav", "audio": "audio/mpeg", "image": "image/"}[role]
    return media_type.startswith(family)


def _wanted(role: str) -> str:
    return {"video": "an MP4", "wav": "a WAV", "audio": "an MP3", "image": "a PNG, JPEG or WebP"}[role]


def _image(path: Path, media_type: str) -> Verdict:
    from PIL import Image

    with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
        width, height = image.size
        if width * height > PIXEL_CAP:
            raise _Unsound(f"{width} x {height} pixels are more than the limit of {PIXEL_CAP}")
        image.load()
    return Verdict(verified="decoded", media_type=media_type, width=width, height=height)


def _check_riff(path: Path) -> None:
    """Compare the sizes that the RIFF header states with the file (the standard reader misses truncation)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        name, stated = struct.unpack("<4sI", file.read(8))
        if name == b"RIFF" and stated not in (0, 0xFFFFFFFF) and stated + 8 > size:
            raise _Unsound(f"cut off: the header states {stated + 8} bytes, there are {size}")
        for chunk, start, length in _chunks(path, size):
            if chunk == b"data" and length not in (0, 0xFFFFFFFF) and start + length > size:
                raise _Unsound(f"cut off: the sound should end at byte {start + length}, the file ends at {size}")


def _chunks(path: Path, size: int) -> Iterator[tuple[bytes, int, int]]:
    position = 12
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            name, length = struct.unpack("<4sI", file.read(8))
            yield name, position + 8, length
            position += 8 + length + length % 2


def _check_boxes(path: Path) -> None:
    """Follow the outermost boxes of an MP4 to the end of the file; the last one must end there."""
    size, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            length = int.from_bytes(file.read(4), "big")
            if length == 1:  # the real length follows the name, in 64 bits
                file.seek(position + 8)
                length = int.from_bytes(file.read(8), "big")
            if length == 0:  # up to the end, wherever that is
                return
            if length < 8 or position + length > size:
                raise _Unsound(f"cut off: a box at byte {position} should have {length} bytes, the file ends at {size}")
            position += length


def _sound_or_film(path: Path, media_type: str) -> Verdict:
    import av

    with av.open(str(path), mode="r") as container:
        video = next(iter(container.streams.video), None) if media_type == "video/mp4" else None
        audio = next(iter(container.streams.audio), None)
        if media_type == "video/mp4" and video is None:
            raise _Unsound("there is no picture in it")
        if media_type != "video/mp4" and audio is None:
            raise _Unsound("there is no sound in it")
        stream = video or audio
        assert stream is not None
        stated = stream.frames
        duration = _decode(container, stream, whole=video is None)
        if video is not None and stated and _packets(path) < stated:
            raise _Unsound(f"cut off: {_packets(path)} of {stated} pictures are there")
        if video is not None and audio is not None and not _sounds(path):
            raise _Unsound("its sound does not decode")
        return Verdict(
            verified="decoded",
            media_type=media_type,
            duration_s=round(duration, 3) if duration else None,
            width=video.width if video else None,
            height=video.height if video else None,
            sample_rate=audio.rate if audio else None,
        )


def _decode(container: object, stream: object, *, whole: bool) -> float | None:
    """Decode all of a sound, or the first and last picture of a film; return the duration in seconds."""
    seconds, frames = 0.0, 0
    if whole:
        for frame in container.decode(stream):  # type: ignore[attr-defined]
            seconds += frame.samples / frame.sample_rate
            frames += 1
    else:
        next(container.decode(stream))  # type: ignore[attr-defined]
        seconds = container.duration / 1_000_000 if container.duration else 0.0  # type: ignore[attr-defined]
        container.seek(max(0, int((seconds - 0.5) * 1_000_000)))  # type: ignore[attr-defined]
        frames = 1 + sum(1 for _ in container.decode(stream))  # type: ignore[attr-defined, misc]
    if not frames:
        raise _Unsound("nothing in it can be decoded")
    return seconds or None


def _sounds(path: Path) -> bool:
    """Decode all of a film's sound; an error in it is raised by the decoder."""
    import av

    with av.open(str(path), mode="r") as container:
        return sum(frame.samples for frame in container.decode(container.streams.audio[0])) > 0


def _packets(path: Path) -> int:
    import av

    with av.open(str(path), mode="r") as container:
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)


def main() -> None:
    """Answer one JSON line for each JSON line ``{"path", "role"}`` until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            verdict = examine(Path(asked["path"]), asked["role"])
        except OSError as reason:
            verdict = Verdict(reason=f"it cannot be read ({reason.strerror})")
        sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

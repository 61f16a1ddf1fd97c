"""Owns the look into a file: what it really is and how far that was checked; it runs in a process of its own.

Levels: `length` (all announced bytes came), `structure` (the container is whole), `decoded` (it really plays or shows).
It must not know where a file came from or what becomes of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kit.service.content import Unsound
from kit.service.decoding import decode
from kit.service.platforms import limit_memory, step_back
from kit.service.structure import HEAD, check_structure, media_type_of

__all__ = ["EXTENSIONS", "Verdict", "examine", "look"]

EXTENSIONS = {
    "video/mp4": "mp4",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
}
MEMORY = 512 * 2**20  # what one file may take; a picture of the most pixels that are allowed needs a third
_FAMILIES = {"video": "video/mp4", "wav": "audio/wav", "audio": "audio/mpeg", "image": "image/"}
_WANTED = {"video": "an MP4", "wav": "a WAV", "audio": "an MP3", "image": "a PNG, JPEG or WebP"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a file turned out to be; `reason` is set exactly where it must not be kept.

    Seconds, pixels, hertz, LUFS; `clipped` is a share from 0 to 1.
    """

    verified: str = "length"
    media_type: str | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    loudness_lufs: float | None = None
    silence_s: float | None = None
    clipped: float | None = None
    reason: str | None = None

    @property
    def final(self) -> bool:
        """Tell whether a closer look could say nothing more."""
        return self.reason is not None or self.verified == "decoded"


def examine(path: Path, role: str) -> Verdict:
    """Return the final verdict on the file at `path`, which should be of the given role; never raises on its bytes.

    Only memory that ran out while decoding is raised, as `MemoryError`: it says nothing of the file.
    """
    *_, verdict = look(path, role)
    return verdict


def look(path: Path, role: str) -> Iterator[Verdict]:
    """Yield the verdict at level `structure`, then the final one; the final one alone where the structure is unsound.

    Whoever asks keeps the first, for the case that the decoder ends this process.
    """
    try:
        with path.open("rb") as file:
            media_type = _identify(file.read(HEAD), role)
            check_structure(file, media_type)
    except Unsound as reason:
        yield Verdict(reason=str(reason))
        return
    except OSError as reason:
        yield Verdict(reason=f"it cannot be read ({reason.strerror})")
        return
    sound = Verdict(verified="structure", media_type=media_type)
    yield sound
    try:
        yield replace(sound, verified="decoded", **asdict(decode(path, media_type)))
    except MemoryError:
        raise
    except Unsound as reason:
        yield Verdict(media_type=media_type, reason=str(reason))
    except Exception as reason:  # a decoder may raise anything on hostile bytes: that is a verdict, not a crash
        yield Verdict(media_type=media_type, reason=f"it does not decode ({type(reason).__name__})")


def _identify(head: bytes, role: str) -> str:
    media_type = media_type_of(head)
    if media_type is None or not media_type.startswith(_FAMILIES[role]):
        raise Unsound(f"not {_WANTED[role]}: it begins with {head[:12]!r}")
    return media_type


def main() -> None:
    """Answer each JSON line ``{"path", "role"}`` with one verdict a line, the last of them final, until the input ends.

    Ends without a final verdict where memory runs out: the next file gets a fresh process.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a decoder prints is no answer
        _warm_up()
        step_back()
        limit_memory(MEMORY)
        for line in sys.stdin:
            asked = json.loads(line)
            for verdict in look(Path(asked["path"]), asked["role"]):
                answers.write(json.dumps(asdict(verdict)) + "\n")
                answers.flush()


def _warm_up() -> None:
    """Import the decoders while memory is free: what they map for themselves is not the file's."""
    import av.filter
    import numpy as np
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    assert av and np and JpegImagePlugin and PngImagePlugin and WebPImagePlugin


if __name__ == "__main__":
    main()

"""Owns the walk through an MP3: tags, then frame after frame to the end; it must not know what they sound like."""

from __future__ import annotations

from dataclasses import dataclass

from kit.service.content import Content, Unsound

__all__ = ["check_mp3"]

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version's bits
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # version 1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # versions 2 and 2.5
}
_LAYER_3 = 1
_MONO = 3
_ID3V1 = 128
_APE_FOOTER = 32
MOST_FRAMES = 2_000_000  # fourteen hours


@dataclass(frozen=True)
class _Frame:
    """What the four bytes before each frame say; `alike` is what must not change within one recording."""

    alike: tuple[int, int]
    length: int
    side: int  # bytes between header and data, where an encoder's own tag stands in the first frame


@dataclass(frozen=True)
class _Stated:
    """What an encoder noted of its work: frames behind the note, and bytes with it; None where it did not."""

    frames: int | None
    bytes: int | None


def check_mp3(content: Content) -> None:
    """Follow the frames from the first to the last, which has to end where the file or a tag at its end does.

    Where the encoder noted how many frames it wrote (a Xing or Info tag), so many have to be there; without that note
    a file cut exactly between two frames is no different from a shorter one.
    """
    at = _after_tags(content, 0)
    end = _before_tags(content, at)
    first = _frame(content, at)
    if first is None:
        raise Unsound(f"no sound begins at byte {at}")
    begins, stated = at, _stated(content, at, first)
    count = 0
    while at < end:
        frame = _frame(content, at)
        if frame is None or frame.alike != first.alike:
            raise Unsound(f"damaged or followed by something else: no sound frame begins at byte {at}")
        at += frame.length
        count += 1
        if at > end:
            raise Unsound(f"cut off: a sound frame should end at byte {at}, the sound ends at {end}")
        if count > MOST_FRAMES:
            raise Unsound(f"it has more than {MOST_FRAMES} frames")
    # Some encoders count the frame of the tag too; where the bytes agree nothing is missing.
    if stated.frames is not None and count - 1 < stated.frames and stated.bytes != end - begins:
        raise Unsound(f"cut off: {count - 1} of {stated.frames} frames are there")


def _frame(content: Content, at: int) -> _Frame | None:
    head = int.from_bytes(content.read(at, 4, "a sound frame"), "big")
    version, layer, kbits, rate = head >> 19 & 3, head >> 17 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version not in _RATES or layer != _LAYER_3 or kbits in (0, 15) or rate == 3:
        return None
    full, mono = version == 3, head >> 6 & 3 == _MONO
    bits = (144 if full else 72) * 1000 * _KBITS[full][kbits]
    side = (17 if mono else 32) if full else (9 if mono else 17)
    return _Frame((version, rate), bits // _RATES[version][rate] + (head >> 9 & 1), side)


def _stated(content: Content, at: int, first: _Frame) -> _Stated:
    if first.length < 4 + first.side + 16:
        return _Stated(None, None)
    tag = content.read(at + 4 + first.side, 16, "the first sound frame")
    if tag[:4] not in (b"Xing", b"Info") or not tag[7] & 1:
        return _Stated(None, None)
    frames, size = int.from_bytes(tag[8:12], "big"), int.from_bytes(tag[12:], "big")
    return _Stated(frames, size if tag[7] & 2 else None)


def _after_tags(content: Content, at: int) -> int:
    """Return where an ID3v2 tag at `at` ends, or several of them, or `at`."""
    while content.size >= at + 10 and (head := content.read(at, 10, "a tag"))[:3] == b"ID3":
        if max(head[6:]) > 0x7F:
            raise Unsound(f"damaged: the tag at byte {at} states no length")
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += 10 + length + (10 if head[5] & 0x10 else 0)
        content.expect(at, "a tag")
    return at


def _before_tags(content: Content, start: int) -> int:
    """Return where the sound ends: before an ID3v1 or APE tag at the end, or both."""
    end = content.size
    if end - start >= _ID3V1 and content.read(end - _ID3V1, 3, "a tag") == b"TAG":
        end -= _ID3V1
    if end - start >= _APE_FOOTER and (foot := content.read(end - _APE_FOOTER, 24, "a tag"))[:8] == b"APETAGEX":
        length = int.from_bytes(foot[12:16], "little") + (_APE_FOOTER if foot[23] & 0x80 else 0)
        end = max(start, end - length)
    return end

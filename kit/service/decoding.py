"""Owns decoding a file whose structure is sound, and measuring what comes out; it must not know what a verdict is.

Frames are decoded one by one and forgotten, so that memory does not grow with a file's length. The decoders are
native code fed by strangers: this runs in a process of its own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kit.service.content import Unsound
from kit.service.measuring import Meter

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["Measures", "decode"]

PIXEL_CAP = 40_000_000
_PICTURES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
# The format is named, so that no other demuxer (a playlist, say) is chosen by the bytes. Edits are ignored, so that
# every picture comes that the index names; sound comes in larger pieces than a thousandth of a second.
_CONTAINERS = {"video/mp4": "mp4", "audio/wav": "wav", "audio/mpeg": "mp3"}
_OPTIONS = {"video/mp4": {"ignore_editlist": "1"}, "audio/wav": {"max_size": "65536"}, "audio/mpeg": {}}


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What was seen and heard: seconds, pixels, hertz, LUFS; None where that does not apply or cannot be told."""

    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    loudness_lufs: float | None = None
    silence_s: float | None = None
    clipped: float | None = None


def decode(path: Path, media_type: str) -> Measures:
    """Decode a picture, all sound, or all sound and the first and last picture of a film; return the measures.

    Raises `Unsound`, or whatever a decoder raises on bytes that it cannot decode; `MemoryError` says nothing of them.
    """
    if media_type in _PICTURES:
        return _picture(path, _PICTURES[media_type])
    import av

    options = {"protocol_whitelist": "file", **_OPTIONS[media_type]}
    form, odd = _CONTAINERS[media_type], "replace"  # a title in another encoding is no damage
    with av.open(str(path), mode="r", format=form, options=options, metadata_errors=odd) as container:
        return _film(container) if media_type == "video/mp4" else _sound(container)


def _picture(path: Path, form: str) -> Measures:
    from PIL import Image, ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=[form]) as image:
                width, height = image.size
                _check_size(width, height)
                image.load()
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as reason:
            raise Unsound(f"its pixels are more than the limit of {PIXEL_CAP}") from reason
    return Measures(width=width, height=height)


def _check_size(width: int, height: int) -> None:
    if width * height > PIXEL_CAP:
        raise Unsound(f"{width} x {height} pixels are more than the limit of {PIXEL_CAP}")


def _sound(container: InputContainer) -> Measures:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise Unsound("there is no sound in it")
    meter = Meter()
    for packet in container.demux(stream):
        for frame in stream.decode(packet):
            meter.feed(frame)
    return _heard(meter)


def _heard(meter: Meter) -> Measures:
    loudness, silence, clipped = meter.result()
    if not meter.seconds:
        raise Unsound("nothing in it can be decoded")
    return Measures(
        duration_s=round(meter.seconds, 3),
        sample_rate=meter.rate,
        loudness_lufs=loudness,
        silence_s=silence,
        clipped=clipped,
    )


def _film(container: InputContainer) -> Measures:
    from av.video.stream import VideoStream

    video = container.streams.best("video")  # not the cover that some files hold as one more
    if not isinstance(video, VideoStream):
        raise Unsound("there is no picture in it")
    _check_size(video.codec_context.width, video.codec_context.height)
    video.thread_type, video.codec_context.thread_count = "NONE", 1  # each thread would hold pictures of its own
    audio = next(iter(container.streams.audio), None)
    reel, meter = _Reel(video), Meter()
    for packet in container.demux([video, audio] if audio is not None else [video]):
        if packet.stream is video:
            reel.take(packet)
        elif audio is not None:
            for frame in audio.decode(packet):
                meter.feed(frame)
    reel.check()
    # Where pictures are refreshed piece by piece, none is whole from which the last ones could be decoded.
    if not any(_shows(container, video, begin=begin, until=reel.keys[-1]) for begin in reversed(reel.keys)):
        raise Unsound("cut off: its last picture does not decode")
    heard = _heard(meter) if audio is not None else Measures()
    size = video.codec_context
    seconds = max(reel.seconds, heard.duration_s or 0.0)
    return replace(heard, duration_s=round(seconds, 3), width=size.width, height=size.height)


class _Reel:
    """The pictures of a film as they are read: all are counted, the first is decoded.

    Attributes:
        keys: the times of the first key picture and of the last, in the stream's own unit.
    """

    def __init__(self, video: VideoStream) -> None:
        self.keys: list[int] = []
        self._video = video
        self._count, self._shown = 0, False
        self._begin: int | None = None
        self._end = 0

    @property
    def seconds(self) -> float:
        """How long the pictures last."""
        return float((self._end - (self._begin or 0)) * (self._video.time_base or 0))

    def take(self, packet: Packet[Stream]) -> None:
        """Take the next picture as it was coded, or the end."""
        self._count += bool(packet.size)
        if packet.pts is not None:
            self._begin = packet.pts if self._begin is None else min(self._begin, packet.pts)
            self._end = max(self._end, packet.pts + (packet.duration or 0))
            if packet.is_keyframe:
                self.keys[1:] = [packet.pts]
        self._shown = self._shown or bool(self._video.decode(packet))

    def check(self) -> None:
        """Raise `Unsound` where nothing could be seen or fewer pictures came than the index names."""
        if not self._shown or not self.keys:
            raise Unsound("none of its pictures can be decoded")
        if self._count < self._video.frames:
            raise Unsound(f"cut off: {self._count} of {self._video.frames} pictures are there")


def _shows(container: InputContainer, video: VideoStream, *, begin: int, until: int) -> bool:
    """Tell whether decoding from a key picture to the end shows a picture of the time `until` or later."""
    container.seek(begin, stream=video)
    return max((frame.pts for frame in container.decode(video) if frame.pts is not None), default=until - 1) >= until

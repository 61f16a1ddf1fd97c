"""Encodes a tune as a recording: PCM WAV and MP3; knows nothing of how it was composed."""

from __future__ import annotations

import io
import wave
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kit.sandbox.media.tune import SAMPLE_RATE, Tune
from kit.sandbox.media.words import clean

__all__ = ["audio_frames", "mp3_bytes", "pcm16", "wav_bytes"]


def pcm16(tune: Tune) -> NDArray[np.int16]:
    """Return the samples as 16-bit whole numbers of shape (n, 2)."""
    return np.rint(tune.samples * 32767).astype("<i2")


def wav_bytes(tune: Tune) -> bytes:
    """Encode as a stereo WAV: PCM, 16 bits, 44.1 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm16(tune).tobytes())
    return buffer.getvalue()


def mp3_bytes(tune: Tune) -> bytes:
    """Encode as a stereo MP3 of 192 kbit/s with the title as its tag."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        container.metadata["title"] = clean(tune.title)
        stream = container.add_stream(
            "libmp3lame", rate=SAMPLE_RATE, options={"compression_level": "7"}, layout="stereo"
        )
        stream.bit_rate = 192_000
        for frame in audio_frames(tune, "s16p"):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def audio_frames(tune: Tune, form: str, *, size: int = 1152 * 16) -> list[av.AudioFrame]:
    """Return the tune cut into frames of a planar sample format (``s16p`` or ``fltp``), stamped with their place."""
    whole: NDArray[Any] = tune.samples if form == "fltp" else pcm16(tune)
    frames = []
    for begin in range(0, len(whole), size):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole[begin : begin + size].T), form, "stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, begin
        frames.append(frame)
    return frames

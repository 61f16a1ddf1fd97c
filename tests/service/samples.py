"""Owns small media files of every kind and shape, made once: whole ones, as bytes, and how to take them apart."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from functools import cache

import av
import numpy as np
from PIL import Image

ROLES = {"mp4": "video", "wav": "wav", "rf64": "wav", "mp3": "audio", "png": "image", "jpeg": "image", "webp": "image"}
TYPES = {
    "mp4": "video/mp4",
    "wav": "audio/wav",
    "rf64": "audio/wav",
    "mp3": "audio/mpeg",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
RATE = 44100


def tone(seconds, *, level=0.1, channels=2, rate=RATE, hertz=997.0):
    """Return a sine of shape (samples, channels), as 64-bit floats; `level` is its peak as a share of full scale."""
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def frames(sound, form="s16", *, rate=RATE, size=4096):
    """Yield a sound of shape (samples, channels) in frames of a packed sample format."""
    layout = {1: "mono", 2: "stereo"}[sound.shape[1]]
    for begin in range(0, len(sound), size):
        part = np.ascontiguousarray(sound[begin : begin + size]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, form, layout)
        frame.sample_rate, frame.pts = rate, begin
        yield frame


def pcm(sound):
    """Return a sound as 16-bit whole numbers, full scale at 32767."""
    return np.rint(sound * 32767).astype("<i2")


def wav_of(sound, *, rate=RATE):
    """Return a sound of 16-bit whole numbers as the standard library writes it."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.astype("<i2").tobytes())
    return buffer.getvalue()


def chunk(name, body):
    """Return a RIFF chunk, padded to an even length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def rf64_of(wav, *, sound=None):
    """Return a plain WAV as one of 64-bit sizes."""
    fmt, data = wav[12:36], wav[44:]
    sound = len(data) if sound is None else sound
    rest = fmt + b"data" + struct.pack("<I", 0xFFFFFFFF) + data
    sizes = chunk(b"ds64", struct.pack("<QQQI", 4 + 36 + len(rest), sound, len(data) // 4, 0))
    return b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + sizes + rest


def sound_in(form, codec, sound, *, options=None, **more):
    """Return a sound of 16-bit whole numbers as libav encodes it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form, options=options or {}) as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo", **more)
        for frame in frames(sound):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def film_of(*, pictures=4, options=None, sound=True, size=(64, 48), keyframes=2, **coding):
    """Return a film of changing greys with a tone, eight pictures a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options=options or {}) as container:
        video = container.add_stream("libx264", rate=8, options={"g": str(keyframes), "preset": "ultrafast"} | coding)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="stereo", bit_rate=32_000) if sound else None
        for number in range(pictures):
            grey = np.full((size[1], size[0], 3), 20 * number % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, "rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for heard in frames(pcm(tone(pictures / 8))):
                container.mux(audio.encode(heard))
            container.mux(audio.encode(None))
    return buffer.getvalue()


def picture_of(form, *, size=(48, 40), mode="RGB", **options):
    """Return a picture of noise."""
    buffer = io.BytesIO()
    grey = Image.frombytes("L", size, np.random.default_rng(5).integers(0, 255, size[0] * size[1], np.uint8).tobytes())
    grey.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def box(kind, *inside):
    """Return an MP4 box."""
    body = b"".join(inside)
    return struct.pack(">I", 8 + len(body)) + kind + body


def boxes(body, at=0):
    """Return place and kind of each outermost box of 32-bit size."""
    found = []
    while at < len(body):
        found.append((at, body[at + 4 : at + 8]))
        at += int.from_bytes(body[at : at + 4], "big")
    return found


def data_box(body):
    """Return where the data of a film begin, its header included."""
    return next(at for at, kind in boxes(body) if kind == b"mdat")


def png_chunk(kind, body):
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@cache
def whole():
    """Return one small file of each kind, by its kind."""
    wav = wav_of(pcm(tone(0.012)))
    return {
        "mp4": film_of(options={"moov_size": "2000"}),
        "wav": wav,
        "rf64": rf64_of(wav),
        "mp3": sound_in("mp3", "libmp3lame", pcm(tone(0.3))),
        "png": picture_of("PNG"),
        "jpeg": picture_of("JPEG"),
        "webp": picture_of("WEBP"),
    }


@cache
def shapes():
    """Return more whole files, by kind and what is particular about them."""
    front, wav, mp3 = whole()["mp4"], whole()["wav"], whole()["mp3"]
    return {
        "mp4, index at the end": film_of(),
        "mp4, index at the front": front,
        "mp4, data of no stated size": _endless(front),
        "mp4, data of 64-bit size": _large(front),
        "mp4, silent": film_of(sound=False, options={"moov_size": "1500"}),
        "wav": wav,
        "wav, an odd chunk at the end": _with_chunk(wav, b"note", b"odd"),
        "wav, of 24 bits": sound_in("wav", "pcm_s24le", pcm(tone(0.02))),
        "rf64": whole()["rf64"],
        "mp3": mp3,
        "mp3, two tags before": b"ID3\x04\0\0\0\0\0\x05hello" + mp3,
        "png": whole()["png"],
        "png, with transparency": picture_of("PNG", mode="LA"),
        "jpeg": whole()["jpeg"],
        "jpeg, progressive": picture_of("JPEG", progressive=True),
        "jpeg, restarts": picture_of("JPEG", restart_marker_rows=1),
        "webp": whole()["webp"],
        "webp, lossless": picture_of("WEBP", lossless=True),
    }


def kind_of(shape):
    """Return the kind of a file of `shapes`."""
    return shape.partition(",")[0]


def _with_chunk(wav, name, body):
    grown = wav + chunk(name, body)
    return grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:]


def _endless(film):
    at = data_box(film)
    return film[:at] + b"\0\0\0\0" + film[at + 4 :]


def _large(film):
    """Join the data's header with the empty box of eight bytes that encoders leave before it for this."""
    at = data_box(film)
    assert film[at - 8 : at] == b"\0\0\0\x08free"
    size = int.from_bytes(film[at : at + 4], "big") + 8
    return film[: at - 8] + struct.pack(">I4sQ", 1, b"mdat", size) + film[at + 8 :]

"""Listens to media for tests: decodes its sound and says how alike two sounds are; knows nothing of who made them."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_audio", "likeness"]

Samples = NDArray[np.float32]


def decode_audio(data: bytes) -> tuple[Samples, int]:
    """Decode the first sound of a file; return float32 samples of shape (n, channels) and their rate."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=stream.rate)
        frames = [out.to_ndarray() for frame in container.decode(stream) for out in resampler.resample(frame)]
        frames += [out.to_ndarray() for out in resampler.resample(None)]
        return np.concatenate(frames, axis=1).T.astype(np.float32), stream.rate


def likeness(a: Samples, b: Samples, *, reach: int = 4096) -> float:
    """Return the normalised correlation (-1 to 1) of two sounds of shape (n,) or (n, channels), best aligned.

    Either may begin up to ``reach`` samples late, as encoders put a little silence first. What one has beyond the
    other's end counts as different; so does a swapped left and right.
    """
    left, right = (_channels(sound) for sound in (a, b))
    size = 1 << (max(left.shape[1], right.shape[1]) + reach).bit_length()
    spectra = np.fft.rfft(left, size) * np.conj(np.fft.rfft(right, size))
    products = np.fft.irfft(spectra.sum(axis=0), size)
    best = max(products[: reach + 1].max(), products[-reach:].max())
    energy = float(np.sqrt(np.sum(left**2) * np.sum(right**2)))
    return float(best) / energy if energy else 0.0


def _channels(sound: Samples) -> NDArray[np.float64]:
    return np.atleast_2d(np.asarray(sound, np.float64).T)

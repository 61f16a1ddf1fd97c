"""Turns single notes and drum strokes into sound, one table row an instrument; knows nothing of tunes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.sandbox.media.dice import dice

__all__ = ["SAMPLE_RATE", "Sound", "drum", "hiss", "sing", "voice"]

SAMPLE_RATE = 44100
Sound: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Timbre:
    """How an instrument sounds.

    ``partials`` are the strengths of the harmonics; ``decay`` and ``dulling`` say how fast the sound, and its
    brightness, die away (per second); ``spread`` detunes left and right against each other (cents).
    """

    partials: tuple[float, ...]
    attack: float = 0.004
    decay: float = 0.0
    release: float = 0.12
    dulling: float = 0.0
    spread: float = 0.0
    vibrato: float = 0.0
    breath: float = 0.0
    gain: float = 1.0


def _saw(count: int) -> tuple[float, ...]:
    return tuple(1 / k for k in range(1, count + 1))


TIMBRES: dict[str, Timbre] = {
    "piano": Timbre(
        partials=(1, 0.62, 0.3, 0.26, 0.12, 0.09, 0.05, 0.03), decay=1.5, release=0.3, dulling=1.3, spread=1.6,
        breath=0.012,
    ),
    "epiano": Timbre(partials=(1, 0.12, 0.34, 0.03, 0.1, 0, 0.05), decay=1.3, release=0.22, dulling=2.6, spread=2.5),
    "bell": Timbre(partials=(1, 0, 0.05, 0.42, 0, 0, 0.1, 0, 0, 0.13), decay=1.6, release=0.9, dulling=0.8, spread=3),
    "mallet": Timbre(partials=(1, 0.02, 0, 0.3, 0, 0, 0, 0, 0, 0.12), decay=3.6, release=0.35, dulling=5, gain=1.1),
    "organ": Timbre(partials=(1, 0.7, 0.45, 0.35, 0, 0.22, 0, 0.2), attack=0.015, release=0.09, spread=2, gain=0.5),
    "strings": Timbre(partials=_saw(12), attack=0.16, release=0.45, dulling=0.1, spread=9, vibrato=7, gain=0.42),
    "pad": Timbre(partials=(1, 0.5, 0.22, 0.2, 0.08, 0.06), attack=0.5, release=0.9, spread=11, gain=0.5),
    "flute": Timbre(partials=(1, 0.32, 0.1, 0.03), attack=0.06, release=0.14, vibrato=9, breath=0.035, gain=0.75),
    "reed": Timbre(
        partials=(0.8, 0.9, 0.75, 0.5, 0.42, 0.2, 0.16, 0.1, 0.06), attack=0.045, release=0.12, dulling=0.25,
        vibrato=11, breath=0.015, gain=0.42,
    ),
    "pluck": Timbre(partials=_saw(14), attack=0.003, decay=3.2, release=0.15, dulling=5.5, spread=6, gain=0.8),
    "saw": Timbre(partials=_saw(16), attack=0.004, decay=1.5, release=0.14, dulling=2.2, spread=13, gain=0.5),
    "chip": Timbre(partials=(1, 0, 0.33, 0, 0.2, 0, 0.14, 0, 0.11), attack=0.002, decay=0.8, release=0.05, gain=0.5),
    "upright": Timbre(partials=(1, 0.55, 0.2, 0.09, 0.04), attack=0.008, decay=1.7, release=0.12, dulling=3),
    "sub": Timbre(partials=(1, 0.16, 0.05), attack=0.012, decay=0.4, release=0.12),
    "synthbass": Timbre(partials=_saw(10), attack=0.003, decay=1.6, release=0.07, dulling=7, gain=0.95),
}  # fmt: skip
# Two formants a vowel, in hertz: what makes an "a" an "a" at any pitch.
_VOWELS = {"a": (800, 1200), "e": (480, 1900), "i": (320, 2300), "o": (480, 820), "u": (350, 700)}


def voice(name: str, pitch: int, seconds: float, force: float) -> Sound:
    """Return one note as a stereo sound of shape (2, n), its own ringing included, about 1 at its loudest."""
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    if name in ("guitar", "harp", "drive"):
        return _string(name, frequency, pitch, seconds, force)
    if name == "choir":
        return sing("u" if pitch % 2 else "o", frequency, seconds, force)
    return _play(TIMBRES[name], frequency, seconds, force, TIMBRES[name].partials)


def sing(vowel: str, frequency: float, seconds: float, force: float) -> Sound:
    """Return a sung vowel: harmonics weighed by where the vowel's formants lie."""
    first, second = _VOWELS[vowel]
    harmonics = frequency * np.arange(1, 15)
    weights = np.exp(-(((harmonics - first) / 180) ** 2)) + 0.5 * np.exp(-(((harmonics - second) / 240) ** 2))
    weights = (weights + 0.05) / np.arange(1, 15) ** 0.5
    timbre = Timbre(partials=(), attack=0.07, release=0.16, spread=7, vibrato=16, breath=0.02, gain=0.5)
    return _play(timbre, frequency, seconds, force, tuple(float(weight) for weight in weights / weights.max()))


def _play(timbre: Timbre, frequency: float, seconds: float, force: float, partials: tuple[float, ...]) -> Sound:
    count = int((seconds + timbre.release) * SAMPLE_RATE)
    t = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    bright = np.exp(-timbre.dulling * t) * np.float32(0.55 + 0.45 * force) if timbre.dulling else None
    sides = (-0.5, 0.5) if timbre.spread else (0.0,)
    waves = []
    for side in sides:
        cycles = (np.arange(count) * (frequency * 2 ** (side * timbre.spread / 1200) / SAMPLE_RATE) + 0.13 * side) % 1
        phase = (2 * np.pi * cycles).astype(np.float32)
        if timbre.vibrato:
            # It grows during the note, as a player's does; 5.2 swings a second.
            depth = frequency * (2 ** (timbre.vibrato / 1200) - 1) / 5.2
            phase += np.float32(depth) * np.minimum(t / np.float32(0.5), 1) * np.sin(np.float32(2 * np.pi * 5.2) * t)
        waves.append(_harmonics(phase, [p for k, p in enumerate(partials, 1) if k * frequency < 15000], bright))
    sound = np.stack(waves if len(waves) == 2 else waves * 2)
    if timbre.breath:
        sound = sound + timbre.breath * _breath(count, percussive=timbre.decay > 0)
    sound *= _envelope(timbre, t, seconds, frequency) * np.float32(timbre.gain * force / max(1.0, sum(partials) * 0.6))
    return np.asarray(sound, np.float32)


def _harmonics(phase: Sound, partials: list[float], bright: Sound | None) -> Sound:
    # sin(k x) = 2 cos(x) sin((k - 1) x) - sin((k - 2) x): two multiplications a harmonic instead of a sine.
    current, before = np.sin(phase), np.zeros_like(phase)
    twice = 2 * np.cos(phase)
    total, veil = np.float32(partials[0] if partials else 1.0) * current, bright
    for strength in partials[1:]:
        current, before = twice * current - before, current
        if strength:
            total += np.float32(strength) * (current if veil is None else current * veil)
        veil = veil * bright if veil is not None and bright is not None else None
    return total


def _breath(count: int, *, percussive: bool) -> Sound:
    noise = hiss(dice("breath"), count, 300, 5000)
    return noise * np.exp(np.arange(count, dtype=np.float32) / np.float32(-0.03 * SAMPLE_RATE)) if percussive else noise


def _envelope(timbre: Timbre, t: Sound, seconds: float, frequency: float = 440) -> Sound:
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(t / np.float32(timbre.attack), 1))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((t - np.float32(seconds)) / np.float32(timbre.release), 0, 1))
    shape = rise * fall
    decay = timbre.decay * min(1.6, (frequency / 440) ** 0.4)  # low strings ring longer
    return np.asarray(shape * np.exp(np.float32(-decay) * t) if decay else shape, np.float32)


def _string(name: str, frequency: float, pitch: int, seconds: float, force: float) -> Sound:
    """Return a plucked string after Karplus and Strong: noise that goes round a loop and is averaged each time.

    One turn of the averaging is a product in the frequency domain, so all turns are computed at once.
    """
    release, damping = (0.5, 0.9975) if name != "drive" else (0.12, 0.999)
    count = int((seconds + release) * SAMPLE_RATE)
    period = max(8, int(SAMPLE_RATE / frequency))
    turns = int(count * frequency / SAMPLE_RATE) + 3
    pluck = np.fft.rfft(dice("string", pitch).uniform(-1, 1, period))
    harmonics = np.arange(len(pluck))
    softness = np.exp(-harmonics / (9 if name == "harp" else 7 + 14 * force)) * np.abs(np.sin(np.pi * harmonics * 0.19))
    loss = damping * np.maximum(np.cos(np.pi * harmonics / period), 0) ** (1 if name == "drive" else 0.7)
    rounds = np.fft.irfft((pluck * softness) * loss ** np.arange(turns)[:, None], period).astype(np.float32).ravel()
    wave = np.interp(np.arange(count) * (frequency * period / SAMPLE_RATE), np.arange(len(rounds)), rounds)
    wave /= max(1e-6, float(np.abs(wave).max()))
    wave = np.tanh(5 * wave) * 0.4 if name == "drive" else wave
    t = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    shape = _envelope(Timbre(partials=(), attack=0.0015, release=release), t, seconds)
    mono = np.asarray(wave, np.float32) * shape * np.float32(0.8 * force)
    return np.stack((mono, mono))


def hiss(rng: np.random.Generator, count: int, low: float, high: float) -> Sound:
    """Return noise between two frequencies in hertz, its loudness about 0.3 throughout."""
    size = 1 << max(8, (count - 1).bit_length())
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32)
    band = (f / low) ** 2 / (1 + (f / low) ** 2) / (1 + (f / high) ** 2)
    noise = rng.standard_normal(2 * len(f), dtype=np.float32).view(np.complex64) * band
    wave = np.fft.irfft(noise, size)[:count]
    return np.asarray(wave * np.float32(0.3 / (np.sqrt(float(np.mean(wave**2))) + 1e-9)), np.float32)


def drum(name: str) -> Sound:
    """Return one stroke of a drum, of shape (n,), about 1 at its loudest."""
    rng, count = dice("drum", name), int(_DRUM_S[name] * SAMPLE_RATE)
    t = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    if name == "kick":
        sweep = 2 * np.pi * (46 * t + 118 / 26 * (1 - np.exp(-26 * t)))
        body = np.sin(sweep) * np.exp(-9 * t) + 0.25 * hiss(rng, count, 900, 4000) * np.exp(-180 * t)
    elif name == "snare":
        body = 0.5 * np.sin(2 * np.pi * 186 * t) * np.exp(-26 * t) + 1.5 * hiss(rng, count, 900, 7000) * np.exp(-17 * t)
    elif name == "clap":
        bursts = sum(np.exp(-150 * np.abs(t - at)) * (t >= at) for at in (0, 0.011, 0.021)) + np.exp(-16 * t) * (
            t > 0.03
        )
        body = 1.6 * hiss(rng, count, 900, 3200) * bursts
    elif name == "rim":
        body = (np.sin(2 * np.pi * 820 * t) + 0.6 * np.sin(2 * np.pi * 1480 * t)) * np.exp(-75 * t)
    else:
        low, high, rate = {"hat": (7000, 12000, 60), "open": (6500, 12000, 13), "ride": (4800, 10000, 7)}.get(
            name, (1400, 5200, 14) if name == "brush" else (5200, 9000, 40)
        )
        body = hiss(rng, count, low, high) * np.exp(-rate * t)
        if name in ("shaker", "brush"):
            body = body * np.minimum(t / (0.018 if name == "shaker" else 0.03), 1)
        if name == "ride":
            body = 0.5 * body + 0.2 * np.sin(2 * np.pi * 3170 * t) * np.exp(-11 * t)
    body = body * np.minimum((t[-1] - t) / 0.01, 1) * np.minimum(t / 0.0007, 1)
    return np.asarray(body / max(1e-6, float(np.abs(body).max())), np.float32)


_DRUM_S = {
    "kick": 0.42, "snare": 0.28, "clap": 0.26, "rim": 0.09, "hat": 0.09, "open": 0.26, "ride": 0.6, "brush": 0.3,
    "shaker": 0.12,
}  # fmt: skip

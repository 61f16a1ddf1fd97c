"""Makes a short tune from a style and a title: has it written, played, placed in a room and levelled; no files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from kit.sandbox.media.dice import dice
from kit.sandbox.media.manner import Manner, read_manner
from kit.sandbox.media.score import Note, Score, write_score
from kit.sandbox.media.voices import SAMPLE_RATE, Sound, drum, hiss, sing, voice

__all__ = ["SAMPLE_RATE", "Tune", "compose"]

_PEAK = 10 ** (-1 / 20)
# Loudness of a part as a whole in dB, place from left (-1) to right (1), and share sent to the reverb.
_PARTS = {
    "lead": (-19.0, 0.12, 0.34),
    "comp": (-22.5, -0.28, 0.26),
    "pad": (-27.0, 0.0, 0.5),
    "bass": (-19.5, 0.0, 0.04),
}
# The same for each drum, its loudness as a factor.
_DRUMS = {
    "kick": (0.8, 0.0, 0.03), "snare": (0.42, 0.05, 0.2), "clap": (0.36, -0.06, 0.22), "rim": (0.2, 0.3, 0.2),
    "hat": (0.1, 0.3, 0.05), "open": (0.13, -0.28, 0.08), "ride": (0.13, 0.35, 0.12), "brush": (0.16, -0.15, 0.2),
    "shaker": (0.08, -0.4, 0.1),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Tune:
    """A finished tune: ``samples`` float32 of shape (n, 2) at 44100 Hz within [-1, 1], read-only."""

    samples: Sound = field(repr=False)
    title: str
    bpm: int
    key: str
    tags: str

    @property
    def duration_s(self) -> float:
        """Return the length in seconds."""
        return len(self.samples) / SAMPLE_RATE


def compose(
    *,
    style: str,
    title: str,
    take: int,
    seconds: float = 16.0,
    instrumental: bool = True,
    lyrics: str | None = None,
    seed: str,
) -> Tune:
    """Compose one take of a song; the same arguments give the same samples.

    Tempo, key, metre and instruments come from words in the style, everything else from chance tied to the title and
    the seed. ``seconds`` below 2 count as 2. A song that is not instrumental has its melody sung on the lyrics' vowels.
    """
    manner = read_manner(style, title=title, seed=seed)
    count = int(max(2.0, seconds) * SAMPLE_RATE)
    score = write_score(manner, title=title, take=take, seconds=count / SAMPLE_RATE, seed=seed)
    vowels = "" if instrumental else _vowels(lyrics or title)
    dry, sent = _play(score, count, vowels)
    if manner.groove == "four":
        _pump(dry, score, count)
    _strike(score, dry, sent)
    rng = dice("room", seed, style, title, take)
    for name in manner.ambience:
        dry += _ambience(name, count, rng)
    mixed = _master(_room(dry, sent, manner), count)
    mixed.setflags(write=False)
    tags = ", ".join(part for part in (" ".join(style.split()), manner.key, f"{score.bpm} bpm") if part)
    return Tune(samples=mixed, title=title, bpm=score.bpm, key=manner.key, tags=tags)


def _vowels(lyrics: str) -> str:
    # Section marks such as [Chorus] are not sung; scripts without Latin vowels still get a tune to hum.
    groups = re.findall(r"[aeiou]+", re.sub(r"\[[^\]]*\]", " ", lyrics.lower()))
    return "".join(group[0] for group in groups) or "aou"


def _play(score: Score, count: int, vowels: str) -> tuple[Sound, Sound]:
    """Play all notes; return what is heard directly, of shape (2, n), and what is sent to the room, of shape (n,)."""
    dry, sent = np.zeros((2, count), np.float32), np.zeros(count, np.float32)
    made: dict[tuple[object, ...], Sound] = {}
    for part, (loudness, _, share) in _PARTS.items():
        notes = [note for note in score.notes if note.part == part]
        if notes:
            heard = _play_part(notes, count, vowels if part == "lead" else "", made)
            # Instruments differ in loudness; what is balanced is how they come out, whatever they play.
            level = 10 ** (loudness / 20) / max(1e-6, float(np.sqrt(np.mean(heard**2))))
            heard *= np.float32(min(4.0, level))
            dry += heard
            sent += heard.mean(axis=0) * np.float32(share)
    return dry, sent


def _play_part(notes: list[Note], count: int, vowels: str, made: dict[tuple[object, ...], Sound]) -> Sound:
    """Play the notes of one part, the same note of the same length and force only once."""
    heard = np.zeros((2, count), np.float32)
    for number, note in enumerate(notes):
        vowel = vowels[number % len(vowels)] if vowels else ""
        length, force = round(note.length, 2), max(0.125, round(note.force * 8) / 8)
        name = (note.voice, note.pitch, length, force, vowel)
        if name not in made:
            made[name] = _sound(note, length, force, vowel)
        _, place, _ = _PARTS[note.part]
        _lay(heard, made[name], note.at, 1.0, place + 0.1 * ((note.pitch % 5) - 2) * (note.part == "comp"))
    return heard


def _sound(note: Note, length: float, force: float, vowel: str) -> Sound:
    if vowel:
        pitch = note.pitch - 12 if note.pitch > 70 else note.pitch
        return sing(vowel, 440 * 2 ** ((pitch - 69) / 12), length, force)
    return voice(note.voice, note.pitch, length, force)


def _lay(bus: Sound, sound: Sound, at: float, loud: float, place: float) -> None:
    begin = int(at * SAMPLE_RATE)
    sound = sound[:, : max(0, bus.shape[1] - begin)]
    end = begin + sound.shape[1]
    bus[0, begin:end] += sound[0] * np.float32(loud * 1.414 * np.cos((place + 1) * np.pi / 4))
    bus[1, begin:end] += sound[1] * np.float32(loud * 1.414 * np.sin((place + 1) * np.pi / 4))


def _pump(dry: Sound, score: Score, count: int) -> None:
    # Club music ducks under its bass drum; without it the low end of both would add up to mud.
    t = np.maximum(np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE) - np.float32(score.start), 0)
    dry *= 1 - np.float32(0.6) * np.exp(-(t % np.float32(60 / score.bpm)) / np.float32(0.11)) * (t < score.end)


def _strike(score: Score, dry: Sound, sent: Sound) -> None:
    for name in sorted({hit.drum for hit in score.hits}):
        loud, place, share = _DRUMS[name]
        stroke, heard = np.tile(drum(name), (2, 1)), np.zeros_like(dry)
        for hit in score.hits:
            if hit.drum == name:
                _lay(heard, stroke, hit.at, loud * hit.force, place)
        dry += heard
        sent += heard.mean(axis=0) * np.float32(share)


def _ambience(name: str, count: int, rng: np.random.Generator) -> Sound:
    t = np.arange(count, dtype=np.float32) / np.float32(SAMPLE_RATE)
    if name == "sea":
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * t / 7.5 + rng.uniform(0, 6)) ** 3
        return np.stack([hiss(rng, count, 120, 900) * swell * np.float32(0.2) for _ in range(2)])
    if name == "wind":
        gusts = 0.55 + 0.3 * np.sin(2 * np.pi * t / 5.3) + 0.15 * np.sin(2 * np.pi * t / 1.7 + 1)
        return np.stack([hiss(rng, count, 220, 520) * gusts * np.float32(0.14) for _ in range(2)])
    if name == "crackle":
        return _drops(count, rng, per_second=14, low=1500, high=5000, loud=0.05)
    soft = np.stack([hiss(rng, count, 500, 3800) * np.float32(0.07) for _ in range(2)])
    return soft + _drops(count, rng, per_second=34, low=900, high=3600, loud=0.075)


def _drops(count: int, rng: np.random.Generator, *, per_second: int, low: float, high: float, loud: float) -> Sound:
    """Return short ticks at random places, pitches and strengths: drops on a window, dust on a record."""
    sound, length = np.zeros((2, count), np.float32), 700
    t = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    for _ in range(int(count / SAMPLE_RATE * per_second)):
        tick = np.sin(2 * np.pi * np.float32(rng.uniform(low, high)) * t) * np.exp(
            np.float32(-rng.uniform(250, 700)) * t
        )
        tick *= np.float32(loud * rng.pareto(3) / 0.7) if rng.random() < 0.9 else np.float32(loud)
        begin, place = int(rng.integers(0, count - length)), rng.random()
        sound[0, begin : begin + length] += tick * np.float32(1 - place)
        sound[1, begin : begin + length] += tick * np.float32(place)
    return np.clip(sound, -3 * loud, 3 * loud)


def _room(dry: Sound, sent: Sound, manner: Manner) -> Sound:
    """Add a soft reverb, a different one on either side, and take away what lies below hearing."""
    length = 2.4 if manner.bpm < 90 else 1.4
    tail = int(length * SAMPLE_RATE)
    size = _fast_size(dry.shape[1] + tail)
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32)
    rumble = (f / 28) ** 4 / (1 + (f / 28) ** 4)
    source = np.fft.rfft(sent, size)
    fade = np.exp(-6.2 * np.arange(tail, dtype=np.float32) / np.float32(tail))
    fade[: int(0.012 * SAMPLE_RATE)] = 0
    sides = []
    for side in range(2):
        echo = hiss(dice("echo", side), tail, 160, 3400) * fade
        echo /= np.sqrt(float(np.sum(echo**2)))
        sides.append(np.fft.irfft((np.fft.rfft(dry[side], size) + source * np.fft.rfft(echo, size)) * rumble, size))
    return np.stack(sides)[:, : dry.shape[1]].astype(np.float32)


def _fast_size(count: int) -> int:
    """Return the smallest product of small primes, for which the Fourier transform is quick, of at least ``count``."""
    sizes = (2**a * 3**b * 5**c for a in range(9, 24) for b in range(3) for c in range(3))
    return min((size for size in sizes if size >= count), default=count)


def _master(sound: Sound, count: int) -> Sound:
    """Round off the peaks, fade both ends and set the highest peak to -1 dBFS; return shape (n, 2)."""
    loud = float(np.quantile(np.abs(sound[:, ::7]), 0.999)) or 1.0
    sound = np.tanh(sound * np.float32(0.9 / loud))
    rise, fall = int(0.012 * SAMPLE_RATE), min(count // 3, int(1.1 * SAMPLE_RATE))
    sound[:, :rise] *= (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, rise))).astype(np.float32)
    sound[:, -fall:] *= (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, fall))).astype(np.float32)
    return np.ascontiguousarray((sound * np.float32(_PEAK / max(1e-9, float(np.abs(sound).max())))).T, np.float32)

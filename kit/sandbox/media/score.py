"""Writes the notes of a tune from its manner: form, chords, melody, bass and drums; knows nothing of sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kit.sandbox.media.dice import dice, pick
from kit.sandbox.media.manner import Manner
from kit.sandbox.media.patterns import PLAYING

__all__ = ["Hit", "Note", "Score", "write_score"]

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
# Four bars each, in steps of the scale; all lead back to the tonic chord that ends a tune.
_PROGRESSIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 2, 3, 4), (0, 3, 1, 4), (3, 4, 2, 5)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 4), (0, 5, 3, 4), (0, 2, 6, 3), (5, 6, 0, 3)),
    "dorian": ((0, 3, 0, 6), (0, 3, 6, 2), (0, 1, 2, 3), (0, 6, 3, 3)),
    "lydian": ((0, 1, 0, 1), (0, 4, 1, 2), (0, 1, 5, 4), (0, 2, 1, 4)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 3), (0, 4, 6, 3)),
    "jazz": ((1, 4, 0, 5), (0, 5, 1, 4), (2, 5, 1, 4), (3, 6, 1, 4)),
}
# One bar of melody each: (beat, length) in quarter notes.
_CELLS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "calm": (
        ((0, 1.5), (1.5, 0.5), (2, 2)),
        ((0, 1), (1, 1), (2, 1.5), (3.5, 0.5)),
        ((0.5, 0.5), (1, 1), (2, 2)),
        ((0, 2), (2, 1), (3, 1)),
        ((0, 3), (3, 0.5), (3.5, 0.5)),
        ((1, 0.5), (1.5, 0.5), (2, 1.5), (3.5, 0.5)),
    ),
    "lively": (
        ((0, 0.5), (0.5, 0.5), (1, 1), (2, 0.5), (2.5, 0.5), (3, 1)),
        ((0, 0.75), (0.75, 0.75), (1.5, 0.5), (2, 1), (3, 0.5), (3.5, 0.5)),
        ((0.5, 0.5), (1.5, 0.5), (2, 0.5), (2.5, 1), (3.5, 0.5)),
        ((0, 1.5), (1.5, 0.5), (2, 0.5), (2.5, 1.5)),
        ((0, 0.5), (0.5, 1), (1.5, 0.5), (2, 0.75), (2.75, 1.25)),
    ),
    "three": (
        ((0, 2), (2, 1)),
        ((0, 1), (1, 1), (2, 1)),
        ((0, 1.5), (1.5, 0.5), (2, 1)),
        ((0, 0.5), (0.5, 0.5), (1, 1), (2, 1)),
    ),
}
# Sixteenths of a bar of four, then of a bar of three: x hit, o soft hit.
_GROOVES: dict[str, dict[str, str]] = {
    "four": {
        "kick": "x...x...x...x...", "clap": "....x.......x...", "open": "..x...x...x...x.", "hat": "x.oox.oox.oox.oo",
    },
    "rock": {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
    "boom": {"kick": "x......x..x.....", "snare": "....x.......x..o", "hat": "x.o.x.o.x.o.x.oo"},
    "ride": {
        "ride": "x...x.o.x...x.o.", "hat": "....x.......x...", "brush": "o.......o.......", "kick": "o.........o.....",
    },
    "bossa": {"rim": "x..x..x...x..x..", "shaker": "xoxoxoxoxoxoxoxo", "kick": "x..ox..ox..ox..o"},
    "onedrop": {"kick": "........x.......", "rim": "........x.......", "hat": "x.o.x.o.x.o.x.o."},
    "soft": {"kick": "x.........o.....", "brush": "....x.......x...", "shaker": "o.o.o.o.o.o.o.o."},
    "waltz": {"kick": "x...........", "brush": "....x...x..."},
}  # fmt: skip
_REGISTERS = {"strings": 69, "reed": 65, "choir": 65, "bell": 79, "guitar": 67, "drive": 62, "pad": 67, "organ": 67}


@dataclass(frozen=True)
class Note:
    """One note: when and how long in seconds, how high as a MIDI number, how hard from 0 to 1, who plays it."""

    at: float
    length: float
    pitch: int
    force: float
    voice: str
    part: str


@dataclass(frozen=True)
class Hit:
    """One stroke of a drum."""

    at: float
    force: float
    drum: str


@dataclass(frozen=True)
class Score:
    """A whole tune on paper; ``end`` is where the last chord begins, in seconds."""

    notes: tuple[Note, ...]
    hits: tuple[Hit, ...]
    bpm: int
    start: float
    end: float


def write_score(manner: Manner, *, title: str, take: int, seconds: float, seed: str) -> Score:
    """Write one take; takes of a song share key, tempo family and instruments, and differ in chords and melody."""
    rng = dice("score", seed, title, take, manner.key)
    bpm, bars = _fit_bars(manner, seconds, take)
    pen = _Pen(manner, rng, bpm, bars, start=0.04 + 0.13 * (take % 4))
    for bar in range(bars):
        pen.write_bar(bar)
    pen.write_ending(seconds)
    return Score(tuple(pen.notes), tuple(pen.hits), bpm, pen.start, pen.start + bars * pen.bar_s)


def _fit_bars(manner: Manner, seconds: float, take: int) -> tuple[int, int]:
    """Choose a tempo near the wanted one at which whole bars leave about two seconds for the last chord."""
    reach = 0 if manner.tempo_given else max(2, manner.bpm // 18)

    def bars(bpm: int) -> int:
        return max(1, int((seconds - 1.5) / (manner.beats * 60 / bpm)))

    def waste(bpm: int) -> float:
        left = seconds - bars(bpm) * manner.beats * 60 / bpm
        return abs(left - 2.3) + 0.04 * abs(bpm - manner.bpm) + 0.3 * (bars(bpm) % 2)

    bpm = min(range(manner.bpm - reach, manner.bpm + reach + 1), key=waste)
    # Takes of a song are played at nearly the same tempo, as a band would, unless it was ordered.
    bpm += 0 if manner.tempo_given else (0, 2, -1, 3)[take % 4]
    return bpm, bars(bpm)


class _Pen:
    """Keeps what writing needs from bar to bar: the chords, the motif and where the melody stands."""

    def __init__(self, manner: Manner, rng: np.random.Generator, bpm: int, bars: int, *, start: float) -> None:
        self.manner, self.rng, self.bars, self.start = manner, rng, bars, start
        self.beat_s, self.bar_s = 60 / bpm, manner.beats * 60 / bpm
        self.notes: list[Note] = []
        self.hits: list[Hit] = []
        self.chords = self._plan_chords()
        kind = "three" if manner.beats == 3 else ("lively" if manner.lively else "calm")
        order = rng.permutation(len(_CELLS[kind]))
        self.cells = [_CELLS[kind][int(i)] for i in order[:2]]
        self.contours = [[int(step) for step in rng.choice((-2, -1, -1, 1, 1, 2, 3), 8)] for _ in self.cells]
        self.step = int(rng.integers(-1, 4))
        self.low = 52 if manner.comp in ("piano", "guitar", "drive") else 55

    def _plan_chords(self) -> list[int]:
        manner, rng = self.manner, self.rng
        family = "jazz" if manner.sevenths and manner.mode == "major" else manner.mode
        first, second = (pick(rng, _PROGRESSIONS[family]) for _ in range(2))
        chords = [(second if bar // 4 % 4 == 2 else first)[bar % 4] for bar in range(self.bars)]
        chords[-1] = 3 if manner.mode in ("lydian", "dorian", "mixolydian") else 4
        return chords

    def scale(self, degree: int) -> tuple[int, ...]:
        """Return the scale over a chord: a minor key borrows its leading note for the dominant."""
        steps = SCALES[self.manner.mode]
        return (*steps[:6], 11) if self.manner.mode == "minor" and degree == 4 else steps

    def ladder(self, degree: int, step: int) -> int:
        """Return semitones above the tonic for a step of the scale, below and above the octave alike."""
        return self.scale(degree)[step % 7] + 12 * (step // 7)

    def chord(self, degree: int, low: int | None = None) -> list[int]:
        """Return the chord within one octave above ``low``, so that voices move little from chord to chord."""
        low = self.low if low is None else low
        steps = (0, 2, 4, 6) if self.manner.sevenths else (0, 2, 4)
        classes = {(self.manner.tonic + self.ladder(degree, degree + step)) % 12 for step in steps}
        return sorted(low + (pitch - low) % 12 for pitch in classes)

    def time(self, bar: int, beat: float) -> float:
        """Return seconds for a place in a bar, off-beats moved by the swing."""
        whole, part = divmod(beat, 1)
        swing = self.manner.swing
        part = part * 2 * swing if part <= 0.5 else swing + (part - 0.5) * 2 * (1 - swing)
        return self.start + bar * self.bar_s + (whole + part) * self.beat_s

    def note(self, bar: int, beat: float, length: float, pitch: int, force: float, *, voice: str, part: str) -> None:
        """Put down one note in beats, a little early or late and not always as hard, as hands do."""
        late = float(self.rng.normal(0, 0.004)) if part != "bass" else 0.0
        force = float(np.clip(force * self.shape(bar) * self.rng.normal(1, 0.06), 0.05, 1))
        at = max(0.0, self.time(bar, beat) + late)
        self.notes.append(Note(at, length * self.beat_s, pitch, force, voice, part))

    def shape(self, bar: int) -> float:
        """Return how strong a bar is: each phrase swells to its third bar, and the whole to two thirds."""
        return 0.78 + 0.1 * float(np.sin(np.pi * (bar % 4 + 1) / 5)) + 0.12 * (bar / max(1, self.bars - 1))

    def write_bar(self, bar: int) -> None:
        """Write one bar of every part; a tune of some length lets the parts come in one after another."""
        opening = self.bars >= 6 and bar == 0
        self._write_comp(bar)
        if self.manner.pad:
            self._write_pad(bar)
        if not opening:
            self._write_bass(bar)
            self._write_melody(bar)
        self._write_drums(bar, opening=opening)

    def _write_melody(self, bar: int) -> None:
        degree, manner = self.chords[bar], self.manner
        which = (0, 0, 1, 0)[bar % 4]
        cell, contour = self.cells[which], self.contours[which]
        if bar % 4 == 3:
            cell = cell[: max(1, len(cell) // 2)]
        base = _REGISTERS.get(manner.lead, 72)
        tonic = base + (manner.tonic - base + 6) % 12 - 6
        self.step = self._near_chord(self.step - self.step // 5, degree)
        for i, (beat, length) in enumerate(cell):
            if i:
                turned = contour[i] if bar % 8 < 4 else -contour[i]
                self.step = int(np.clip(self.step + turned, -4, 8))
            if beat == int(beat) and beat % 2 == 0:
                self.step = self._near_chord(self.step, degree)
            force = 0.72 + 0.12 * (beat == 0) + 0.05 * (self.step > 4)
            held = manner.beats - beat if i == len(cell) - 1 and bar % 4 == 3 else length
            self.note(
                bar, beat, held * 0.96, tonic + self.ladder(degree, self.step), force, voice=manner.lead, part="lead"
            )

    def _near_chord(self, step: int, degree: int) -> int:
        return min(
            (step + move for move in (0, 1, -1, 2, -2)),
            key=lambda s: ((s - degree) % 7 not in (0, 2, 4), abs(s - step)),
        )

    def _write_comp(self, bar: int) -> None:
        manner, pitches, beats = self.manner, self.chord(self.chords[bar]), self.manner.beats
        for beat, length, chosen, force in PLAYING[manner.pattern](pitches, beats, bar):
            for i, pitch in enumerate(chosen):
                strum = 0.028 * i if manner.comp in ("guitar", "harp", "drive") else 0.0
                self.note(bar, beat + strum, length, pitch, force, voice=manner.comp, part="comp")

    def _write_pad(self, bar: int) -> None:
        voice = "choir" if self.manner.comp == "pad" else "pad"
        for pitch in self.chord(self.chords[bar], 57):
            self.note(bar, 0, self.manner.beats, pitch, 0.5, voice=voice, part="pad")

    def _write_bass(self, bar: int) -> None:
        manner, degree, beats = self.manner, self.chords[bar], self.manner.beats
        root = 33 + (manner.tonic + self.ladder(degree, degree % 7) - 33) % 12
        following = self.chords[bar + 1] if bar + 1 < self.bars else 0
        target = 33 + (manner.tonic + self.ladder(following, following % 7) - 33) % 12
        fifth = root + 7 if root < 40 else root - 5
        third = root + self.ladder(degree, degree + 2) - self.ladder(degree, degree)
        lines: dict[str, list[tuple[float, float, int]]] = {
            "root": [(0, beats, root)],
            "two": [(0, beats / 2, root), (beats / 2, beats / 2, fifth)],
            "offbeat": [(beat + 0.5, 0.42, root) for beat in range(beats)],
            "eighths": [(beat / 2, 0.45, root + 12 * (beat % 8 == 7)) for beat in range(2 * beats)],
            "groove": [(0, 1.4, root), (1.5, 0.4, root), (2, 1.2, fifth), (3.5, 0.4, target)],
            "walking": [(0, 0.95, root), (1, 0.95, third), (2, 0.95, fifth), (3, 0.95, target - 1)],
        }
        for beat, length, pitch in lines[manner.walk]:
            if beat < beats:
                self.note(bar, beat, length, pitch, 0.8, voice=manner.bass, part="bass")

    def _write_drums(self, bar: int, *, opening: bool) -> None:
        groove = _GROOVES.get(self.manner.groove, {})
        for drum, strokes in groove.items():
            if opening and drum in ("kick", "snare", "clap"):
                continue
            for i, stroke in enumerate(strokes[: 4 * self.manner.beats]):
                if stroke != ".":
                    force = (0.9 if stroke == "x" else 0.45) * float(self.rng.normal(1, 0.07)) * self.shape(bar)
                    self.hits.append(Hit(self.time(bar, i / 4), force, drum))
        if bar == self.bars - 1 and "snare" in groove:
            self.hits += [Hit(self.time(bar, self.manner.beats - 1 + i / 4), 0.5 + 0.1 * i, "snare") for i in range(4)]

    def write_ending(self, seconds: float) -> None:
        """Let everyone land on the tonic and ring to the end."""
        manner, bar = self.manner, self.bars
        left = max(0.5, seconds - self.start - bar * self.bar_s) / self.beat_s
        for i, pitch in enumerate(self.chord(0)):
            self.note(bar, 0.05 * i, left, pitch, 0.66, voice=manner.comp, part="comp")
            if manner.pad:
                self.note(bar, 0, left, pitch, 0.45, voice="pad", part="pad")
        root = 33 + (manner.tonic - 33) % 12
        self.note(bar, 0, left, root, 0.75, voice=manner.bass, part="bass")
        base = _REGISTERS.get(manner.lead, 72)
        tonic = base + (manner.tonic - base + 6) % 12 - 6
        last = self.ladder(0, min((0, 2, 4, 7), key=lambda step: abs(step - self.step)))
        self.note(bar, 0, left, tonic + last, 0.74, voice=manner.lead, part="lead")
        if manner.groove in ("four", "rock", "boom", "ride"):
            self.hits += [Hit(self.time(bar, 0), 0.8, "kick"), Hit(self.time(bar, 0), 0.6, "ride")]

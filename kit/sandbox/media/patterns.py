"""Ways to play a chord: arpeggio, picking, stabs and others, one bar at a time; knows nothing of keys or sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["PLAYING", "Played"]

# (beat, length in beats, pitches, force); each is made from a chord, the beats of a bar and the bar's number.
Played: TypeAlias = list[tuple[float, float, list[int], float]]


def _arpeggio(pitches: list[int], beats: int, _bar: int) -> Played:
    low, path = pitches[0] - 12, [*pitches, pitches[0] + 12]
    order = [low, path[1], path[2], path[3], path[2], path[1], path[2], path[1]]
    return [(i / 2, 1.6, [order[i % 8]], 0.6 if i == 0 else 0.42) for i in range(2 * beats)]


def _pick_strings(pitches: list[int], beats: int, bar: int) -> Played:
    order = [0, 2, 1, 2, -1, 2, 1, 2] if bar % 2 else [0, 1, 2, 1, -1, 1, 2, 1]
    strings = [pitches[0] - 12, pitches[1], pitches[2], pitches[0] + 12]
    return [(i / 2, 1.8, [strings[order[i % 8] % 4]], 0.62 if i % 4 == 0 else 0.46) for i in range(2 * beats)]


def _block(pitches: list[int], beats: int, _bar: int) -> Played:
    return [(0, 1.4, pitches, 0.55), (1.5, 0.9, pitches, 0.4), (beats - 1.5, 1.2, pitches, 0.45)]


def _sustain(pitches: list[int], beats: int, _bar: int) -> Played:
    return [(0, beats, pitches, 0.5)]


def _off_beat(pitches: list[int], beats: int, bar: int) -> Played:
    places = (0.5, 2, 3.5) if bar % 2 else (0, 1.5, 2.5)
    return [(place, 0.6, pitches, 0.5) for place in places if place < beats]


def _stab(pitches: list[int], beats: int, _bar: int) -> Played:
    return [(place, 0.3, pitches, 0.5) for place in (0.75, 1.5, 2.75, 3.5) if place < beats]


def _sixteenths(pitches: list[int], beats: int, _bar: int) -> Played:
    path = [*pitches, pitches[0] + 12, *pitches[:0:-1]]
    return [(i / 4, 0.24, [path[i % len(path)] + 12 * (i % 8 == 6)], 0.5 - 0.12 * (i % 2)) for i in range(4 * beats)]


def _power(pitches: list[int], beats: int, _bar: int) -> Played:
    root = pitches[0] - 12
    return [(i / 2, 0.4 if i % 8 else 0.9, [root, root + 7], 0.6 - 0.15 * (i % 2)) for i in range(2 * beats)]


def _waltz(pitches: list[int], beats: int, _bar: int) -> Played:
    return [(0, 0.9, [pitches[0] - 12], 0.55), *((beat, 0.7, pitches, 0.4) for beat in range(1, beats))]


PLAYING: dict[str, Callable[[list[int], int, int], Played]] = {
    "arpeggio": _arpeggio, "pick": _pick_strings, "block": _block, "sustain": _sustain, "offbeat": _off_beat,
    "stab": _stab, "sixteenths": _sixteenths, "power": _power, "waltz": _waltz,
}  # fmt: skip

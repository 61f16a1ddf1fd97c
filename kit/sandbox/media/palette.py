"""Holds the colours of covers and chooses among them by the mood of a style; knows nothing of shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Colour", "Palette", "choose_palette"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """A ground, an ink that reads well on it, and three accents from the strongest to the quietest."""

    name: str
    ground: Colour
    ink: Colour
    accents: tuple[Colour, Colour, Colour]
    moods: tuple[str, ...]


def _row(name: str, colours: str, *moods: str) -> Palette:
    ground, ink, a, b, c = ((int(h[:2], 16), int(h[2:4], 16), int(h[4:], 16)) for h in colours.split())
    return Palette(name, ground, ink, (a, b, c), moods)


_PALETTES = (
    _row("midnight", "11142b f2efe6 ff6b4a ffb84d 4653b8", "night", "jazz", "dark", "noir"),
    _row("print", "f4efe4 1d1d28 ff5a4f 2f6fde ffc145", "pop", "indie", "happy", "funk"),
    _row("forest", "10261f f0ead8 e8b04a 4f9d69 d1603d", "folk", "acoustic", "guitar", "country"),
    _row("blush", "f7d9cf 3b1330 e4572e 9b2d5e f3a712", "love", "soul", "bossa", "summer"),
    _row("ocean", "0b2b40 eef4ed 13a89e f2c14e f78154", "sea", "ocean", "wave", "reggae"),
    _row("violet", "1b1036 f6f0ff c04cfd 5e60ff ff4d8d", "synth", "retro", "80s", "dream"),
    _row("sand", "e9dcc3 26221c c8553d 588b8b f28f3b", "desert", "latin", "waltz", "classical"),
    _row("press", "ecebe7 141414 d7263d 2b2b2b 8d8d88", "rock", "punk", "metal", "jazz"),
    _row("neon", "07090f e8fff6 00d99a ff2e88 3b82ff", "techno", "house", "club", "trance"),
    _row("rain", "1c2a38 edf1f4 8fb8d8 4a6fa5 e0c9a6", "rain", "piano", "slow", "sad", "ambient", "雨"),
    _row("mist", "dfe7ea 22303c 3f6c8f e07a5f 9fb8c4", "rain", "ambient", "piano", "calm", "雨"),
    _row("mint", "d8efe4 12332b ff7f50 1f7a6d f9c74f", "lofi", "lo-fi", "chill", "hip"),
    _row("plum", "2d1330 fbeee6 f2a65a ee6c4d 8d5a97", "soul", "cinematic", "orchestra", "epic"),
)


def choose_palette(style: str, *, variant: int, rng: np.random.Generator) -> Palette:
    """Choose colours that suit the style; neighbouring variants always get different ones, one light, one dark."""
    order = [_PALETTES[int(i)] for i in rng.permutation(len(_PALETTES))]
    order.sort(key=lambda palette: not any(mood in style.lower() for mood in palette.moods))
    first = order[0]
    if variant % 2 == 0:
        return [palette for palette in order if _light(palette) == _light(first)][variant // 2 % 4]
    return [palette for palette in order if _light(palette) != _light(first)][variant // 2 % 4]


def _light(palette: Palette) -> bool:
    return sum(palette.ground) > 384

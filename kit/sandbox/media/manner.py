"""Reads a style in words and says how a tune goes: tempo, key, metre, instruments; knows nothing of notes or sound."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from kit.sandbox.media.dice import dice, pick

__all__ = ["NOTE_NAMES", "Manner", "read_manner"]

NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_PITCHES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a tune goes; ``bpm`` counts quarter notes, ``swing`` is where the off-beat falls within its beat."""

    words: tuple[str, ...] = ()
    tempo: tuple[int, int] = (84, 104)
    mode: str = ""
    lead: str = "piano"
    comp: str = "guitar"
    pattern: str = "arpeggio"
    bass: str = "upright"
    walk: str = "root"
    groove: str = ""
    swing: float = 0.5
    sevenths: bool = False
    lively: bool = False
    pad: bool = False
    beats: int = 4
    tonic: int = 0
    bpm: int = 96
    tempo_given: bool = False
    ambience: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name the key as a musician would, such as ``"F# minor"``."""
        return f"{NOTE_NAMES[self.tonic]} {self.mode}"


# The first row with a word in the style sets the scene; the last row is for styles that name none of these.
_GENRES: tuple[Manner, ...] = (
    Manner(
        words=("techno", "house", "trance", "edm", "club", "dance", "rave", "dubstep", "drum and bass", "电子", "舞曲"),
        tempo=(122, 130), mode="minor", lead="pluck", comp="saw", pattern="stab", bass="synthbass", walk="offbeat",
        groove="four", lively=True, pad=True,
    ),
    Manner(
        words=("lofi", "lo-fi", "hip hop", "hip-hop", "hiphop", "trap", "rap.", "chill", "嘻哈"),
        tempo=(74, 86), mode="dorian", lead="mallet", comp="epiano", pattern="block", bass="sub", walk="groove",
        groove="boom", swing=0.6, sevenths=True, ambience=("crackle",),
    ),
    Manner(
        words=("jazz", "swing", "bebop", "blues", "爵士", "蓝调"),
        tempo=(108, 138), mode="", lead="reed", comp="epiano", pattern="offbeat", bass="upright", walk="walking",
        groove="ride", swing=0.65, sevenths=True, lively=True,
    ),
    Manner(
        words=("bossa", "samba", "latin", "tango", "salsa"),
        tempo=(104, 122), mode="minor", lead="flute", comp="guitar", pattern="offbeat", bass="upright", walk="groove",
        groove="bossa", sevenths=True, lively=True,
    ),
    Manner(
        words=("ambient", "drone", "meditat", "sleep", "space", "ethereal", "dream", "氛围", "冥想"),
        tempo=(62, 72), mode="lydian", lead="bell", comp="pad", pattern="sustain", bass="sub", walk="root", pad=True,
    ),
    Manner(
        words=("metal", "punk", "grunge", "rock", "摇滚"),
        tempo=(116, 136), mode="minor", lead="drive", comp="drive", pattern="power", bass="synthbass", walk="eighths",
        groove="rock", lively=True,
    ),
    Manner(
        words=("synthwave", "retro", "80s", "chiptune", "8-bit", "8bit", "arcade", "electro"),
        tempo=(102, 118), mode="minor", lead="chip", comp="pluck", pattern="sixteenths", bass="synthbass",
        walk="eighths", groove="rock", lively=True, pad=True,
    ),
    Manner(
        words=("reggae", "dub.", "ska."),
        tempo=(74, 84), mode="major", lead="organ", comp="guitar", pattern="offbeat", bass="sub", walk="groove",
        groove="onedrop", swing=0.56,
    ),
    Manner(
        words=("waltz", "圆舞曲"),
        tempo=(108, 132), mode="", lead="piano", comp="strings", pattern="waltz", bass="upright", walk="root", beats=3,
    ),
    Manner(
        words=("folk", "country", "acoustic", "campfire", "ballad", "singer", "民谣"),
        tempo=(84, 100), mode="major", lead="flute", comp="guitar", pattern="pick", bass="upright", walk="two",
        groove="soft",
    ),
    Manner(
        words=("classical", "orchestra", "cinematic", "epic.", "film", "baroque", "symphon", "古典"),
        tempo=(72, 90), mode="", lead="strings", comp="harp", pattern="arpeggio", bass="strings", walk="root", pad=True,
    ),
    Manner(
        words=("pop.", "indie", "funk", "disco", "soul.", "r&b", "流行"),
        tempo=(98, 116), mode="major", lead="pluck", comp="epiano", pattern="block", bass="synthbass", walk="groove",
        groove="rock", lively=True, pad=True,
    ),
    Manner(groove="soft", pad=True),
)  # fmt: skip

_INSTRUMENTS: tuple[tuple[str, str], ...] = (
    ("rhodes", "epiano"), ("electric piano", "epiano"), ("piano", "piano"), ("钢琴", "piano"), ("keys", "epiano"),
    ("electric guitar", "drive"), ("guitar", "guitar"), ("吉他", "guitar"), ("ukulele", "guitar"), ("banjo", "guitar"),
    ("harp", "harp"), ("koto", "harp"), ("guzheng", "harp"), ("violin", "strings"), ("cello", "strings"),
    ("strings", "strings"), ("弦乐", "strings"), ("小提琴", "strings"), ("organ", "organ"), ("accordion", "organ"),
    ("flute", "flute"), ("whistle", "flute"), ("笛", "flute"), ("bell", "bell"), ("celesta", "bell"),
    ("music box", "bell"), ("glockenspiel", "bell"), ("marimba", "mallet"), ("kalimba", "mallet"),
    ("vibraphone", "mallet"), ("vibes", "mallet"), ("sax", "reed"), ("clarinet", "reed"), ("trumpet", "reed"),
    ("brass", "reed"), ("horn", "reed"), ("synth", "pluck"), ("pad.", "pad"), ("pads", "pad"),
    ("choir", "choir"), ("合唱", "choir"),
)  # fmt: skip

_PATTERNS = {
    "piano": "arpeggio", "harp": "arpeggio", "guitar": "pick", "epiano": "block", "organ": "sustain",
    "bell": "arpeggio", "strings": "sustain", "pad": "sustain", "choir": "sustain", "drive": "power",
    "pluck": "sixteenths", "mallet": "arpeggio", "flute": "sustain", "reed": "sustain",
}  # fmt: skip
_MODES = {
    "minor": ("minor", "sad.", "dark", "melanch", "rain", "night", "lonely", "tragic", "noir", "雨", "悲", "夜"),
    "major": ("major", "happy", "bright", "sunny", "joy", "upbeat", "summer", "cheer", "快乐", "阳光"),
    "dorian": ("dorian",),
    "lydian": ("lydian",),
    "mixolydian": ("mixolydian",),
}
_AMBIENCE = {
    "rain": ("rain", "storm", "drizzle", "雨"),
    "sea": ("sea.", "ocean", "wave", "beach", "shore", "海"),
    "wind": ("wind.", "windy", "desert", "mountain", "风"),
    "crackle": ("vinyl", "crackle", "tape", "fire"),
}


def read_manner(style: str, *, title: str, seed: str) -> Manner:
    """Return how a tune of this style and title goes; the same words give the same manner."""
    text, rng = style.lower(), dice("manner", seed, style, title)
    base = next((genre for genre in _GENRES[:-1] if _says(text, *genre.words)), None)
    manner = _cast(base or _GENRES[-1], text, named=base is not None)
    mode = next((mode for mode, words in _MODES.items() if _says(text, *words)), None)
    manner = replace(manner, mode=mode or manner.mode or pick(rng, ("major", "minor", "dorian")))
    manner = _in_time(manner, text, int(rng.integers(manner.tempo[0], manner.tempo[1] + 1)))
    heard = tuple(name for name, words in _AMBIENCE.items() if _says(text, *words))
    return _in_key(replace(manner, ambience=tuple(dict.fromkeys(manner.ambience + heard))), text, int(rng.integers(12)))


def _says(text: str, *words: str) -> bool:
    """Tell whether a text has one of the words: from its beginning, and to its end where the word ends in a stop.

    So "rain" is heard in "rainy", not in "train", and "wind." not in "window". Chinese has no gaps to begin at.
    """
    return any(re.search(_pattern(word), text) for word in words)


@lru_cache(maxsize=512)
def _pattern(word: str) -> str:
    if not word.isascii():
        return re.escape(word)
    return rf"(?<![a-z]){re.escape(word.removesuffix('.'))}" + (r"(?![a-z])" if word.endswith(".") else "")


def _cast(manner: Manner, text: str, *, named: bool) -> Manner:
    """Give the parts to the instruments that the style names, in the order it names them."""
    found = sorted((text.find(word.removesuffix(".")), name) for word, name in _INSTRUMENTS if _says(text, word))
    names = list(dict.fromkeys(name for _, name in found))
    if names:
        comp = names[1] if len(names) > 1 else (names[0] if not named else manner.comp)
        pattern = manner.pattern if named and comp == manner.comp else _PATTERNS[comp]
        manner = replace(manner, lead=names[0], comp=comp, pattern=pattern)
        if not named:
            manner = replace(manner, groove="", pad=comp not in ("pad", "strings", "choir"))
    if _says(text, "no drums", "without drums", "drumless"):
        return replace(manner, groove="")
    return replace(manner, groove=manner.groove or ("soft" if _says(text, "drum", "beat", "percussion", "鼓") else ""))


def _in_time(manner: Manner, text: str, bpm: int) -> Manner:
    if _says(text, "waltz", "3/4", "圆舞曲"):
        manner = replace(manner, beats=3, pattern="waltz", groove="waltz" if manner.groove else "")
    if given := re.search(r"(\d{2,3})\s*bpm", text):
        return replace(manner, bpm=min(220, max(40, int(given[1]))), tempo_given=True)
    if _says(text, "slow", "calm", "gentle", "quiet", "soft", "lullaby", "慢", "安静"):
        return replace(manner, bpm=round(bpm * 0.78), lively=False)
    if _says(text, "fast", "energetic", "driving", "upbeat", "uptempo", "快"):
        return replace(manner, bpm=round(bpm * 1.16), lively=True)
    return replace(manner, bpm=bpm)


def _in_key(manner: Manner, text: str, tonic: int) -> Manner:
    given = re.search(r"(?<![a-z])([a-g])\s*(#|sharp|b|♭|flat)?\s*(?:major|minor)", text)
    if given:
        shift = 0 if not given[2] else (1 if given[2] in ("#", "sharp") else -1)
        tonic = (_PITCHES[given[1]] + shift) % 12
    return replace(manner, tonic=tonic)

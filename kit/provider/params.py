"""Owns the parameters of each API type with their limits, as data; knows nothing of how they are checked or sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kit.provider.codes import Dialect

__all__ = ["COVER_IMAGE_PARAMS", "DEFAULT_MODEL", "MODELS", "MUSIC_PARAMS", "TRACK_PARAMS", "VIDEO_PARAMS", "Param"]

# provider-api 1.6; V3_5 is in the older of sunoapi's pages, and in no enum of kie's.
MODELS = ("V3_5", "V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5", "V5_5")
DEFAULT_MODEL = "V4_5"

MaxLength = int | Mapping[str, int]


@dataclass(frozen=True)
class Param:
    """Describe one parameter.

    Attributes:
        name, wire: what we call it, and what the provider calls it.
        max_length: characters; a mapping where it depends on the model; `max_length_in` overrides it for a dialect.
        minimum, maximum: inclusive; numbers have at most two decimals.
        choices: the only values there are; `choices_in` overrides them for a dialect.
        mode: "simple" or "custom" where only that mode of music has it.
        dialects: where it exists.
        models: the models that have it; empty for all.
        example: a call that would work and uses it.
    """

    name: str
    wire: str
    type: Literal["str", "bool", "float", "int"]
    doc: str
    example: str
    required: bool = False
    max_length: MaxLength | None = None
    max_length_in: Mapping[Dialect, MaxLength] = field(default_factory=dict)
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    choices_in: Mapping[Dialect, tuple[str, ...]] = field(default_factory=dict)
    mode: Literal["simple", "custom"] | None = None
    dialects: tuple[Dialect, ...] = ("sunoapi", "kie")
    models: tuple[str, ...] = ()

    def options(self, dialect: Dialect) -> tuple[str, ...]:
        """Return the only values that a dialect takes; empty where any text will do."""
        return self.choices_in.get(dialect, self.choices)

    def limit(self, dialect: Dialect, model: str | None = None) -> int | None:
        """Return how many characters are allowed; None where no page gives a limit (provider-api 1.6, 3.1)."""
        chosen = self.max_length_in.get(dialect, self.max_length)
        if chosen is None or isinstance(chosen, int):
            return chosen
        return chosen.get(model or DEFAULT_MODEL)


def _by_model(first: int, later: int, all_round: int | None = None) -> Mapping[str, int]:
    limits = {model: first if model in ("V3_5", "V4") else later for model in MODELS}
    return MappingProxyType(limits | ({"V4_5ALL": all_round} if all_round else {}))


_CUSTOM = 'session.generate_music(style="slow piano", title="Window Seat", instrumental=True'
_SUNG = 'session.generate_music(lyrics="Rain at the window", style="slow piano", title="Window Seat")'


def _id(name: str, wire: str, doc: str, example: str) -> Param:
    # Ids are opaque; the bound only keeps nonsense from leaving (provider-api 1.4).
    return Param(name, wire, "str", doc, example, required=True, max_length=256)


def _weight(name: str, wire: str, doc: str) -> Param:
    return Param(name, wire, "float", doc, f"{_CUSTOM}, {name}=0.65)", minimum=0, maximum=1)


MUSIC_PARAMS = (
    Param(
        "description",
        "prompt",
        "str",
        "what the song is about; the provider writes words and style (simple mode)",
        'session.generate_music("a slow song about rain")',
        max_length=500,
        # The newest capture of kie's page says 3000 for this endpoint (provider-api 1.6).
        max_length_in=MappingProxyType({"kie": 3000}),
        mode="simple",
    ),
    Param("lyrics", "prompt", "str", "the words that are sung", _SUNG, max_length=_by_model(3000, 5000), mode="custom"),
    Param("style", "style", "str", "genre, mood, sound", _SUNG, max_length=_by_model(200, 1000), mode="custom"),
    Param(
        "title",
        "title",
        "str",
        "the song's title",
        _SUNG,
        max_length=_by_model(80, 100, 80),
        max_length_in=MappingProxyType({"kie": 80}),
        mode="custom",
    ),
    Param("instrumental", "instrumental", "bool", "True for no voice", f"{_CUSTOM})"),
    Param(
        "model",
        "model",
        "str",
        "the model's name",
        f'{_CUSTOM}, model="V4_5")',
        choices=MODELS,
        choices_in=MappingProxyType({"kie": tuple(model for model in MODELS if model != "V3_5")}),
    ),
    Param(
        "negative_tags",
        "negativeTags",
        "str",
        "what to keep out",
        f'{_CUSTOM}, negative_tags="drums")',
    ),
    Param(
        "vocal_gender",
        "vocalGender",
        "str",
        "m or f, a hint",
        f'{_SUNG[:-1]}, vocal_gender="f")',
        choices=("m", "f"),
        mode="custom",
    ),
    _weight("style_weight", "styleWeight", "how closely to follow the style, 0 to 1"),
    _weight("weirdness", "weirdnessConstraint", "how far to stray, 0 to 1"),
    _weight("audio_weight", "audioWeight", "how much an audio reference counts, 0 to 1"),
    Param(
        "persona",
        "personaId",
        "str",
        "id of a persona or voice",
        f'{_CUSTOM}, persona="persona-id")',
        max_length=256,
        mode="custom",
    ),
    Param(
        "persona_model",
        "personaModel",
        "str",
        "which of the two the persona is",
        f'{_CUSTOM}, persona="persona-id", persona_model="style_persona", model="V5")',
        choices=("style_persona", "voice_persona"),
        mode="custom",
        models=("V5", "V5_5"),
    ),
    Param(
        "duration_s",
        "duration",
        "float",
        "wished length in seconds",
        f'{_CUSTOM}, duration_s=60, model="V5_5")',
        minimum=10,
        maximum=360,
        mode="custom",
        dialects=("kie",),
        models=("V5_5",),
    ),
)

_VIDEO = "session.create_video(song.tracks[0])"
_WAV = "session.convert_wav(song.tracks[0])"
_TASK = "the provider's id of the song's task"
_AUDIO = "the id of one track of that song"

VIDEO_PARAMS = (
    _id("task_id", "taskId", _TASK, _VIDEO),
    _id("audio_id", "audioId", _AUDIO, _VIDEO),
    Param(
        "author",
        "author",
        "str",
        "the artist's name shown on the video",
        f'{_VIDEO[:-1]}, author="Ada")',
        max_length=50,
    ),
    Param(
        "domain_name",
        "domainName",
        "str",
        "the watermark at the bottom",
        f'{_VIDEO[:-1]}, domain_name="example.org")',
        max_length=50,
    ),
)

TRACK_PARAMS = (_id("task_id", "taskId", _TASK, _WAV), _id("audio_id", "audioId", _AUDIO, _WAV))

COVER_IMAGE_PARAMS = (_id("task_id", "taskId", _TASK, "session.create_cover_images(song)"),)

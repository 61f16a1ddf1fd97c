"""Owns the truth table: all that differs between API types and dialects, as data; knows nothing of how it is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar

from kit.errors import InvalidInput
from kit.provider.codes import Code, Dialect, Page, meaning
from kit.provider.params import COVER_IMAGE_PARAMS, MUSIC_PARAMS, TRACK_PARAMS, VIDEO_PARAMS, Param

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CREDITS_PATH",
    "DIALECTS",
    "KINDS",
    "Asset",
    "Code",
    "Dialect",
    "Kind",
    "Page",
    "Param",
    "State",
    "TimeFormat",
    "kind_named",
    "meaning",
]

State = Literal["pending", "succeeded", "failed", "undelivered"]
TimeFormat = Literal["epoch_ms", "naive", "iso_z"]

T = TypeVar("T")

DIALECTS: tuple[Dialect, ...] = ("sunoapi", "kie")

# provider-api 1.1
CREDITS_PATH: Mapping[Dialect, str] = MappingProxyType(
    {"sunoapi": "/api/v1/generate/credit", "kie": "/api/v1/chat/credit"}
)


@dataclass(frozen=True)
class Asset:
    """Describe one file role of a result.

    Attributes:
        callback_fields: keys of the callback's `data` (of each item for music), direct links first, the documented
            spelling first.
        details_fields: keys of the details answer's `response` (of each item for music), likewise.
        many: True where one task has several, told apart by index.
    """

    role: str
    media_type: str
    extension: str
    callback_fields: tuple[str, ...]
    details_fields: tuple[str, ...]
    many: bool


@dataclass(frozen=True)
class Kind:
    """Describe one API type in both dialects.

    Attributes:
        label: what a person calls it.
        call, example: the session's method and a call of it that works.
        dedup: our parameters that make two submissions the same to the provider; empty where it never refuses one.
        callback_id_key: the key of `data` that carries the task id in a callback.
        status_field: the details answer's field that decides.
        states: its values, upper case, integers as digits.
        assets: the files of a result; a success needs a link for the first.
        retention_days: days after which the media is deleted.
        credits: price of one call; `priced` names the dialects that publish it, elsewhere the sandbox charges as much.
        time_format: how createTime and completeTime are written in details.
        work_s: typical seconds from submission to each stage (provider-api 13.4).
        stages: callbackType to msg of the staged callbacks; empty for one stage.
        success_msg, failure: msg, and code with msg, of the documented callback samples.
        variants: other spellings of the callback's url key that a dialect's pages show.
    """

    name: str
    label: str
    call: str
    example: str
    submit_path: str
    details_path: str
    params: tuple[Param, ...]
    dedup: tuple[str, ...]
    callback_id_key: Mapping[Dialect, str]
    status_field: str
    states: Mapping[str, State]
    assets: tuple[Asset, ...]
    retention_days: Mapping[Dialect, int]
    credits: Mapping[Dialect, float]
    time_format: Mapping[Dialect, TimeFormat]
    work_s: Mapping[str, float]
    success_msg: Mapping[Dialect, str]
    failure: Mapping[Dialect, tuple[int, str]]
    callback_codes: Mapping[Dialect, tuple[int, ...]]
    submit_codes: Mapping[Dialect, tuple[int, ...]]
    stages: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    priced: tuple[Dialect, ...] = ("kie",)

    def param(self, name: str) -> Param | None:
        """Return the parameter we call `name`, or None."""
        return next((p for p in self.params if p.name == name), None)


def _each(sunoapi: T, kie: T) -> Mapping[Dialect, T]:
    return MappingProxyType({"sunoapi": sunoapi, "kie": kie})


def _states(pending: str, failed: str) -> Mapping[str, State]:
    # Every type takes 0, 1 and the words of every page (provider-api 14 rows 6, 7, 20); 2 and 3 only cover's own.
    states: dict[str, State] = {"0": "pending", "GENERATING": "pending", "1": "succeeded", "SUCCESS": "succeeded"}
    states |= dict.fromkeys(pending.split(), "pending")
    states |= dict.fromkeys([*failed.split(), "CREATE_TASK_FAILED", "FAILED"], "failed")
    return MappingProxyType(states | {"CALLBACK_EXCEPTION": "undelivered"})


_INTERNAL = "Internal Error - Please try again later"
_SUBMIT_A = (200, 400, 401, 404, 405, 409, 413, 429, 430, 455, 500)
_SUBMIT_B = (200, 400, 401, 402, 404, 409, 422, 429, 455, 500)

_MUSIC = Kind(
    name="music",
    label="song",
    call="generate_music",
    example='session.generate_music(style="slow piano", title="Window Seat", instrumental=True)',
    submit_path="/api/v1/generate",
    details_path="/api/v1/generate/record-info",
    params=MUSIC_PARAMS,
    dedup=(),
    callback_id_key=_each("task_id", "task_id"),
    status_field="status",
    states=_states("PENDING TEXT_SUCCESS FIRST_SUCCESS", "GENERATE_AUDIO_FAILED SENSITIVE_WORD_ERROR"),
    assets=(
        Asset(
            "audio",
            "audio/mpeg",
            ".mp3",
            ("audio_url", "source_audio_url", "stream_audio_url", "source_stream_audio_url"),
            ("audioUrl", "sourceAudioUrl", "streamAudioUrl", "sourceStreamAudioUrl"),
            many=True,
        ),
        Asset(
            "image",
            "image/jpeg",
            ".jpeg",
            ("image_url", "source_image_url"),
            ("imageUrl", "sourceImageUrl"),
            many=True,
        ),
    ),
    retention_days=_each(15, 14),
    credits=_each(12.0, 12.0),
    time_format=_each("naive", "naive"),
    work_s=MappingProxyType({"text": 10.0, "first": 40.0, "complete": 120.0}),
    success_msg=_each("All generated successfully.", "All generated successfully."),
    failure=_each((400, "Music generation failed"), (501, "Audio generation failed")),
    callback_codes=_each((200, 400, 451, 500), (200, 400, 408, 413, 500, 501, 531)),
    submit_codes=_each(
        (200, 400, 401, 404, 405, 413, 429, 430, 455, 500), (200, 401, 402, 404, 409, 422, 429, 451, 455, 500)
    ),
    stages=MappingProxyType(
        {
            "text": "Text generation completed.",
            "first": "First track generated successfully.",
            "complete": "All generated successfully.",
        }
    ),
)

_VIDEO = Kind(
    name="video",
    label="music video",
    call="create_video",
    example='session.create_video(song.tracks[0], author="Ada")',
    submit_path="/api/v1/mp4/generate",
    details_path="/api/v1/mp4/record-info",
    params=VIDEO_PARAMS,
    dedup=("task_id", "audio_id"),
    callback_id_key=_each("task_id", "task_id"),
    status_field="successFlag",
    states=_states("PENDING", "GENERATE_MP4_FAILED"),
    assets=(Asset("video", "video/mp4", ".mp4", ("video_url", "videoUrl"), ("videoUrl", "video_url"), many=False),),
    retention_days=_each(15, 14),
    credits=_each(2.0, 2.0),
    time_format=_each("epoch_ms", "naive"),
    work_s=MappingProxyType({"complete": 120.0}),
    success_msg=_each("MP4 generated successfully.", "success"),
    failure=_each((400, "Music video generation failed"), (500, _INTERNAL)),
    callback_codes=_each((200, 400, 451, 500), (200, 500)),
    submit_codes=_each(_SUBMIT_A, _SUBMIT_B),
)

_COVER_IMAGE = Kind(
    name="cover_image",
    label="cover images",
    call="create_cover_images",
    example="session.create_cover_images(song)",
    submit_path="/api/v1/suno/cover/generate",
    details_path="/api/v1/suno/cover/record-info",
    params=COVER_IMAGE_PARAMS,
    dedup=("task_id",),
    callback_id_key=_each("taskId", "taskId"),
    status_field="successFlag",
    # Integers here, and 2 is "generating" (for other types of these providers 2 is a failure: provider-api 14 row 6).
    states=_states("PENDING 2", "3 GENERATE_COVER_FAILED"),
    assets=(Asset("image", "image/png", ".png", ("images",), ("images",), many=True),),
    retention_days=_each(14, 14),
    credits=_each(0.0, 0.0),
    time_format=_each("iso_z", "iso_z"),
    work_s=MappingProxyType({"complete": 146.0}),
    success_msg=_each("success", "success"),
    failure=_each((501, "Cover generation failed"), (501, "Cover generation failed")),
    callback_codes=_each((200, 400, 408, 500, 501, 531), (200, 400, 408, 500, 501, 531)),
    submit_codes=_each(_SUBMIT_B, _SUBMIT_B),
)

_WAV = Kind(
    name="wav",
    label="WAV",
    call="convert_wav",
    example="session.convert_wav(song.tracks[0])",
    submit_path="/api/v1/wav/generate",
    details_path="/api/v1/wav/record-info",
    params=TRACK_PARAMS,
    dedup=("task_id", "audio_id"),
    callback_id_key=_each("task_id", "task_id"),
    status_field="successFlag",
    states=_states("PENDING", "GENERATE_WAV_FAILED"),
    assets=(
        Asset("wav", "audio/wav", ".wav", ("audioWavUrl", "audio_wav_url"), ("audioWavUrl", "audio_wav_url"), False),
    ),
    retention_days=_each(15, 14),
    credits=_each(0.4, 0.4),
    time_format=_each("naive", "naive"),
    work_s=MappingProxyType({"complete": 60.0}),
    success_msg=_each("success", "success"),
    failure=_each((400, "WAV format conversion failed"), (500, _INTERNAL)),
    callback_codes=_each((200, 400, 401, 429, 451, 500), (200, 400, 500, 501)),
    submit_codes=_each(_SUBMIT_A, (200, 400, 401, 402, 404, 409, 422, 429, 451, 455, 500)),
    # The Chinese kie page spells the callback's key otherwise (provider-api 4.3).
    variants=MappingProxyType({"kie-zh": "audio_wav_url"}),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in (_MUSIC, _VIDEO, _COVER_IMAGE, _WAV)})


def kind_named(name: str) -> Kind:
    """Return the API type called `name`; raise `InvalidInput` that lists the known ones."""
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidInput("kind", name, f"one of {', '.join(KINDS)}", 'session.callback_url("video")')
    return kind

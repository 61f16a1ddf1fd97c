"""Owns songs and what was made from them, saved in an archive on disk, for the tests of exporting."""

from __future__ import annotations

import io
import json
import wave
from dataclasses import replace
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kit.ledger.fold import TaskState, fold
from kit.sandbox import media
from tests.ledger.stories import T0, answer, departure, details, file, intent, numbered

__all__ = ["Archive", "film", "mp3", "picture", "wav"]

KINDS = {"audio": ("audio/mpeg", "mp3"), "wav": ("audio/wav", "wav"), "video": ("video/mp4", "mp4")}
PICTURE = ("image/png", "png")


@cache
def _tune() -> media.Tune:
    return media.compose(style="slow piano", title="Window Seat", take=0, seconds=0.5, seed="s")


@cache
def mp3() -> bytes:
    """Return half a second of sound."""
    return media.mp3_bytes(_tune())


@cache
def film() -> bytes:
    """Return half a second of film with sound, its index before the media."""
    art = Image.new("RGB", (64, 64), "navy")
    return media.video_bytes(_tune(), title="Window Seat", author=None, cover=art, size=(160, 90), fps=4)


@cache
def wav(frames: int = 4410, channels: int = 2, width: int = 2) -> bytes:
    """Return a tenth of a second of noise."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(44_100)
        sound.writeframes(np.random.default_rng(1).bytes(frames * channels * width))
    return buffer.getvalue()


@cache
def picture(colour: str = "teal", form: str = "PNG") -> bytes:
    """Return a small picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, form)
    return buffer.getvalue()


class Archive:
    """A folder as the service leaves it, and the states of the tasks whose files are in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "archive").mkdir(parents=True)

    def song(
        self,
        id: str = "t1",
        *,
        title: str | None = "Window Seat",
        takes: int = 2,
        pictures: int = 2,
        name: str | None = None,
        audio: bytes | None = None,
        prompt: str | None = None,
        **params: Any,
    ) -> TaskState:
        """Return a song whose takes, and the first `pictures` of their pictures, are saved."""
        items: list[dict[str, Any]] = [
            {"id": f"{id}-a{n + 1}", "title": title, "tags": "slow piano", "prompt": prompt} for n in range(takes)
        ]
        for n, item in enumerate(items):
            item["audioUrl"] = f"https://media.example.com/{n}.mp3"
            if n < pictures:
                item["imageUrl"] = f"https://media.example.com/{n}.png"
        bodies = {("audio", n): mp3() if audio is None else audio for n in range(takes)}
        bodies |= {("image", n): picture(("teal", "navy", "olive")[n]) for n in range(min(takes, pictures))}
        given = {"title": title, **params}
        return self._done(id, "music", name or f"m-{id}", given, {"sunoData": items}, bodies, status="SUCCESS")

    def made_from(
        self, song: TaskState, kind: str, *, id: str, take: int | None = None, body: bytes | None = None, **params: Any
    ) -> TaskState:
        """Return a video, WAV or cover images made from a song, without a title of their own."""
        given = {"task_id": song.task_id, **params}
        if take is not None:
            given["audio_id"] = song.takes[take].audio_id
        links = {
            "video": {"videoUrl": "https://user:pass@media.example.com/v.mp4?sig=CANARY#x"},
            "wav": {"audioWavUrl": "https://media.example.com/v.wav"},
            "cover_image": {"images": [f"https://media.example.com/c{n}.png" for n in range(2)]},
        }[kind]
        if kind == "cover_image":
            bodies = {("image", n): body or picture(("red", "gold")[n]) for n in range(2)}
        else:
            bodies = {(kind, 0): body or {"video": film, "wav": wav}[kind]()}
        flag = "1" if kind == "cover_image" else "SUCCESS"
        return self._done(id, kind, f"p-{id}", given, links, bodies, successFlag=flag)

    def path(self, state: TaskState, role: str, index: int = 0) -> Path:
        """Return where a file of `state` lies."""
        found = next(f for f in state.files if (f.role, f.index) == (role, index))
        return self.home / (found.path or "")

    def _done(  # noqa: PLR0917 - in the order of a task's life
        self,
        id: str,
        kind: str,
        name: str,
        params: dict[str, Any],
        response: dict[str, Any],
        bodies: dict[tuple[str, int], bytes],
        **flags: Any,
    ) -> TaskState:
        body = {"taskId": name, "response": response, **flags}
        told = replace(details(id=name, task=id), body=json.dumps({"code": 200, "msg": "success", "data": body}), at=T0)
        facts = [
            intent(kind, task=id, params=params, title=params.get("title")),
            departure(task=id),
            answer(task=id, task_id=name),
            told,
        ]
        facts += [self._saved(id, role, index, data) for (role, index), data in bodies.items()]
        state = fold(numbered(*facts))
        assert state is not None
        assert state.status == "succeeded"
        return state

    def _saved(self, id: str, role: str, index: int, data: bytes) -> Any:
        media_type, extension = KINDS.get(role, PICTURE)
        path = f"archive/{id}-{role}-{index + 1}.{extension}"
        (self.home / path).write_bytes(data)
        url = "https://user:pass@media.example.com/x?sig=CANARY#y"
        known = {"path": path, "bytes": len(data), "sha256": sha256(data).hexdigest(), "media_type": media_type}
        return replace(
            file("saved", role=role, index=index, task=id, url=url, verified="decoded", **known),
            at=T0 + timedelta(seconds=90),
        )

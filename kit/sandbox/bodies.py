"""Owns the exact words of the simulated provider: answers, details and callbacks of each kind, dialect and stage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kit.provider.kinds import meaning

if TYPE_CHECKING:
    from kit.provider.kinds import Dialect
    from kit.sandbox.jobs import File, Job

__all__ = ["Bodies", "chirp", "envelope"]

_TIMES = {"naive": "%Y-%m-%d %H:%M:%S", "iso_z": "%Y-%m-%dT%H:%M:%S.000Z"}
_OTHER_KEY = {"task_id": "taskId", "taskId": "task_id", "video_url": "videoUrl", "audioWavUrl": "audio_wav_url"}
_OTHER_KEY |= {"audio_wav_url": "audioWavUrl"}
# provider-api 4.3: kie's WAV codes that only its Chinese page has, which spells the link's key otherwise.
_CHINESE_CODES = {("wav", "kie"): (400, 501)}


def envelope(code: int, msg: str, data: Any = None) -> dict[str, Any]:
    """Return the shape of every JSON answer (provider-api 1.2)."""
    return {"code": code, "msg": msg, "data": data}


def chirp(model: str) -> str:
    """Return the name under which answers report a model (provider-api 1.6)."""
    return "chirp-" + model.lower().replace("_", "-")


class Bodies:
    """Writes bodies for one dialect, with links that begin with `base`."""

    def __init__(self, dialect: Dialect, base: str) -> None:
        self._dialect: Dialect = dialect
        self._base = base

    def details(self, job: Job, *, spoilt: bool = False) -> dict[str, Any]:
        """Return the data of a details answer (provider-api 3.2, 4.2, 5.2, 6.2), `spoilt` without a usable link."""
        if job.kind == "music":
            return self._music_details(job, spoilt=spoilt)
        failed = job.outcome == "failed"
        data = {
            "taskId": job.task_id,
            **self._origin(job),
            "callbackUrl": job.callback_url,
            "completeTime": self._time(job, job.completed_at),
            "response": self._response(job, spoilt=spoilt) if job.outcome == "succeeded" else None,
            "successFlag": self.status(job),
            "createTime": self._time(job, job.created_at),
            "errorCode": job.code,
            "errorMessage": self._message(job) if failed else None,
        }
        if job.kind == "cover_image" and job.outcome == "succeeded":
            data |= {"errorCode": 200, "errorMessage": ""}  # provider-api 5.2: not null, and no failure
        return data

    def callback(self, job: Job, stage: str) -> dict[str, Any]:
        """Return the body of a callback (provider-api 3.3, 4.3, 5.3, 6.3), spoilt as the job's plan says."""
        failed = stage == "error"
        code, msg = (job.code or 500, self._message(job)) if failed else (200, self._success(job, stage))
        key, word = job.row.callback_id_key[self._dialect], job.plan.callbacks
        id_key = _OTHER_KEY[key] if word == "other_id_key" else key
        data = self._music_data(job, stage) if job.kind == "music" else self._data(job, failed=failed)
        body = envelope(code, msg, _with_id(job, id_key, data, failed=failed))
        if job.kind == "cover_image" and not failed:
            body = {name: body[name] for name in ("code", "data", "msg")}  # as 003_cd453cdf48329d32.txt has it
        if word == "null":
            body["data"] = None
        if word == "no_data":
            del body["data"]
        return body

    def _data(self, job: Job, *, failed: bool) -> dict[str, Any]:
        key = self._link_key(job)
        name = _OTHER_KEY[key] if job.plan.callbacks == "other_url_key" else key
        if failed:
            return {name: None}
        links = [self._link(file) for file in job.files]
        if job.plan.callbacks == "no_link":
            links = [_placeholder(job)] if not job.row.assets[0].many else []
        return {name: links if job.row.assets[0].many else links[0]}

    def _link_key(self, job: Job) -> str:
        if job.code in _CHINESE_CODES.get((job.kind, self._dialect), ()):
            return job.row.variants[f"{self._dialect}-zh"]
        return job.row.assets[0].callback_fields[0]

    def _music_data(self, job: Job, stage: str) -> dict[str, Any]:
        items: list[dict[str, Any]] | None = None if stage == "error" else []
        count = {"first": 1, "complete": len(job.audio_ids)}.get(stage, 0)
        for take in range(count):
            item = self._take(job, take, spoilt=job.plan.callbacks == "no_link")
            assert items is not None
            items.append({_snake(name): value for name, value in item.items() if self._called_back(name)})
        return {"callbackType": stage, "data": items}

    def _called_back(self, name: str) -> bool:
        # provider-api 6.3: B's callbacks of generate show no source_* keys.
        return self._dialect == "sunoapi" or not name.startswith("source")

    def _music_details(self, job: Job, *, spoilt: bool) -> dict[str, Any]:
        count = len(job.files_at(job.stage)) // 2
        takes = [self._take(job, take, spoilt=spoilt) for take in range(count)]
        return {
            "taskId": job.task_id,
            "parentMusicId": "",
            "param": json.dumps(job.request, ensure_ascii=False),
            "response": {"taskId": job.task_id, "sunoData": takes} if takes else None,
            "status": self.status(job),
            "type": "GENERATE",
            "operationType": "generate",
            "errorCode": job.code,
            "errorMessage": self._message(job) if job.outcome == "failed" else None,
        }

    def _take(self, job: Job, take: int, *, spoilt: bool) -> dict[str, Any]:
        audio, image = (next(f for f in job.files if (f.role, f.index) == (role, take)) for role in ("audio", "image"))
        sound, stream, cover = self._link(audio), self._link(audio, audio.alias), self._link(image)
        words = audio.recipe["song"]
        return {
            "id": job.audio_ids[take],
            "audioUrl": "" if spoilt else sound,
            "sourceAudioUrl": "" if spoilt else sound,
            "streamAudioUrl": "" if spoilt else stream,
            "sourceStreamAudioUrl": "" if spoilt else stream,
            "imageUrl": cover,
            "sourceImageUrl": cover,
            "prompt": words["lyrics"],
            "modelName": chirp(str(job.request.get("model"))),
            "title": words["title"],
            "tags": words["style"],
            "createTime": self._time(job, job.created_at),
            "duration": round(audio.duration or 0.0, 2),
        }

    def _response(self, job: Job, *, spoilt: bool) -> dict[str, Any]:
        asset, links = job.row.assets[0], [self._link(file) for file in job.files]
        if asset.many:
            return {asset.details_fields[0]: [] if spoilt else links}
        return {asset.details_fields[0]: _placeholder(job) if spoilt else links[0]}

    def _origin(self, job: Job) -> dict[str, Any]:
        song, audio_id = job.source
        if job.kind == "cover_image":
            return {"parentTaskId": song}
        index = next((file.recipe["song"]["take"] for file in job.files), 0)
        shown = job.kind == "video" or self._dialect == "kie"  # provider-api 4.2: B's WAV answer only
        return {"musicId": audio_id, **({"musicIndex": index} if shown else {})}

    def status(self, job: Job) -> str | int:
        """Return the word or number of the status field (provider-api 3.2, 4.2, 5.2, 6.2)."""
        if job.kind == "cover_image":
            waiting = 2 if job.stage == "generating" else 0
            return {"succeeded": 1, "failed": 3}.get(job.outcome, waiting)
        if job.outcome == "failed":
            return next(state for state in job.row.states if state.startswith("GENERATE_"))
        if job.outcome == "succeeded":
            silent = job.kind == "video" and self._dialect == "kie"  # provider-api 3.2: B's MP4 page omits it
            return "CALLBACK_EXCEPTION" if job.undeliverable and not silent else "SUCCESS"
        return f"{job.stage.upper()}_SUCCESS" if job.stage else "PENDING"

    def _success(self, job: Job, stage: str) -> str:
        return job.row.stages.get(stage) or job.row.success_msg[self._dialect]

    def _message(self, job: Job) -> str:
        code, msg = job.row.failure[self._dialect]
        if job.code == code:
            return msg
        said = meaning(job.kind, self._dialect, "callback", job.code).meaning
        return said[:1].upper() + said[1:]

    def _link(self, file: File, name: str = "") -> str:
        return f"{self._base}/media/{name or file.name}"

    def _time(self, job: Job, at: float | None) -> str | int | None:
        form = job.row.time_format[self._dialect]
        if at is None:
            return None
        return int(at * 1000) if form == "epoch_ms" else datetime.fromtimestamp(at, UTC).strftime(_TIMES[form])


def _with_id(job: Job, key: str, data: dict[str, Any], *, failed: bool) -> dict[str, Any]:
    """Put the id where the documented samples have it: after a WAV's link and a cover's, first elsewhere."""
    if job.kind == "music":
        return {"callbackType": data["callbackType"], key: job.task_id, "data": data["data"]}
    last = job.kind == "wav" or (job.kind == "cover_image" and not failed)
    return {**data, key: job.task_id} if last else {key: job.task_id, **data}


def _placeholder(job: Job) -> str:
    # What 002_4a6485410e712997.txt shows in the place of a link.
    return f"{job.kind}_url_{job.task_id[:12]}"


def _snake(name: str) -> str:
    # provider-api 6.3: createTime stays camel inside snake items.
    return name if name == "createTime" else "".join(f"_{c.lower()}" if c.isupper() else c for c in name)

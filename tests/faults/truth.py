"""Owns a provider that never lies, without HTTP: jobs go through their stages, and details and callbacks tell them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kit.provider.wire import parse_details
from kit.sandbox.bodies import Bodies, envelope
from kit.sandbox.faults import Plan
from kit.sandbox.files import plan_files
from kit.sandbox.jobs import Job, stages

if TYPE_CHECKING:
    from kit.provider.kinds import Dialect

__all__ = ["EVIL", "HONEST", "NOTHING", "TruthfulJob", "forged"]

HONEST, EVIL = "https://media.example.com", "https://evil.example.net"
NOTHING = json.dumps(envelope(200, "success")).encode()  # what details say of an id that nobody knows
_ids = itertools.count(1)


class TruthfulJob:
    """One job of the provider; `code` is 0 for a success, and for a failure the code its callback gives.

    With `silent` the details say that it failed and not why.
    """

    def __init__(
        self, kind: str, dialect: Dialect, url: str, *, code: int = 0, silent: bool = False, base: str = HONEST
    ) -> None:
        self.kind, self.dialect, self.silent = kind, dialect, silent
        self._bodies = Bodies(dialect, base)
        self._job = _job(kind, url, code or None)
        self._left = stages(self._job)
        self._links: set[str] | None = None
        self.told: list[str] = []

    @property
    def id(self) -> str:
        """The provider's id."""
        return self._job.task_id

    @property
    def begun(self) -> bool:
        """Whether it has reached any stage; before, the details endpoint may not show it."""
        return bool(self._job.stage)

    def go_on(self, *, to_the_end: bool = False) -> None:
        """Reach the next stage, or the last one."""
        while self._left:
            stage = self._left.pop(0)
            self._job.stage, self._links = stage.name, None
            if stage.told:
                self.told.append(stage.name)
            if not self._left:
                self._job.completed_at = self._job.created_at + 100
                self._job.code = self._job.plan.code
                self._job.outcome = "failed" if self._job.code else "succeeded"
            if not to_the_end:
                break

    def callback(self, stage: str, *, id: str | None = None) -> bytes:
        """Return the callback of a stage, under another id where one is given."""
        job = self._job if id is None else replace(self._job, task_id=id)
        return json.dumps(self._bodies.callback(job, stage)).encode()

    def details(self) -> bytes:
        """Return what details say now."""
        data = self._bodies.details(self._job)
        if self.silent and self._job.outcome == "failed":
            data |= {"errorCode": None, "errorMessage": None}
        return json.dumps(envelope(200, "success", data)).encode()

    def links(self) -> set[str]:
        """Return every link that the details name."""
        if self._links is None:
            report = parse_details(self.kind, self.dialect, 200, self.details())
            self._links = {url for link in report.links for url in link.urls}
        return self._links


def forged(manner: str, kind: str, dialect: Dialect, id: str, *, number: int) -> bytes:
    """Return a callback that somebody made up in one of several manners, about the task `id`."""
    job = TruthfulJob(kind, dialect, "", code=531 if manner == "failure" else 0, base=EVIL)
    job.go_on(to_the_end=True)
    if manner in ("success", "failure"):
        return job.callback(job.told[-1], id=id)
    if manner == "stage":
        return job.callback(job.told[0], id=id)
    body: dict[str, Any] = json.loads(job.callback(job.told[-1], id=id))
    odd = {
        "no id": {**body, "data": {k: v for k, v in body["data"].items() if k not in ("task_id", "taskId")}},
        "two ids": {**body, "data": {**body["data"], "task_id": id, "taskId": f"made up {number}"}},
        "made up": {**body, "data": {**body["data"], "task_id": f"made up {number}", "taskId": f"made up {number}"}},
        "a list": [body],
    }
    return json.dumps(odd[manner]).encode() if manner in odd else _JUNK[number % len(_JUNK)]


_JUNK = (
    b"", b"{", b"[" * 9000, b'{"code":200,"data":{"task_id":NaN}}', b'{"code":' + b"9" * 5000 + b"}",
    b'{"code":200,"code":500,"data":{}}', b'{"data":{"task_id":"\\ud800"}}', b"\xff\xfe\x00", b"null",
)  # fmt: skip


def _job(kind: str, url: str, code: int | None) -> Job:
    number = next(_ids)
    asked = {"callBackUrl": url, "taskId": "song", "audioId": "take", "model": "V4_5", "customMode": True}
    asked |= {"style": "slow piano", "title": "Window Seat", "instrumental": True}
    job = Job(f"{number:032x}", kind, number, asked, 1.7e9, 0.0, 2.0, plan=Plan(code=code))
    song = Job("song", "music", 0, asked, 1.7e9, 0.0, 12.0)
    plan_files(song, None)
    job.request["audioId"] = song.audio_ids[0]
    plan_files(job, song)
    return job

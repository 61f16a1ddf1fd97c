"""Owns the front desk: who may submit what, checked, rated, charged and written down; it must not know HTTP routes."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kit.provider.kinds import meaning
from kit.sandbox.files import plan_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.provider.kinds import Dialect, Kind, Param
    from kit.sandbox.faults import Faults
    from kit.sandbox.jobs import Book, Job

__all__ = ["Desk", "Refused", "Rules"]

_DUPLICATE = {
    "video": "Mp4 record already exists",
    "wav": "WAV record already exists",
    "cover_image": "Cover has already been generated for this task",
}


class Refused(Exception):
    """A request the provider answers with a code that is not 200."""

    def __init__(self, code: int, msg: str, *, http_status: int = 200, data: Any = None) -> None:
        self.code, self.msg, self.http_status, self.data = code, msg, http_status, data
        super().__init__(msg)


@dataclass(frozen=True)
class Rules:
    """The account and its limits (provider-api 13.2): `burst` submissions within `window_s` real seconds.

    `tell_duplicates` puts the existing task's id into a duplicate's answer (provider-api 1.5).
    """

    key: str = "sandbox-key"
    burst: int = 20
    window_s: float = 10.0
    tell_duplicates: bool = True


class Desk:
    """Takes submissions: key, rate, parameters, duplicates, balance, misbehaviour asked for, in this order."""

    def __init__(
        self, book: Book, faults: Faults, rules: Rules, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._book, self._faults, self._rules, self._monotonic = book, faults, rules, monotonic
        self._dialect: Dialect = book.dialect
        self._recent: deque[float] = deque()

    def admit(self, authorization: str | None) -> None:
        """Raise `Refused` unless the Bearer key is the account's (provider-api 1.1, 15.2)."""
        if (authorization or "").split() != ["Bearer", self._rules.key]:
            status = 401 if self._dialect == "kie" else 200
            raise Refused(401, "You do not have access permissions", http_status=status)

    def submit(self, kind: Kind, body: bytes) -> Job:
        """Return the job that a submission made; raise `Refused` with the documented code."""
        self._pace(kind)
        request = self._parse(body)
        self._check(kind, request)
        song = self._song(kind, request)
        self._refuse_twin(kind, request)
        if self._book.credits < kind.credits[self._dialect]:
            raise self._refusal(kind, "no_credits")
        plan = self._faults.take(kind.name)
        if plan.submit is not None and plan.submit != "lost_answer":
            raise self._refusal(kind, plan.submit)
        job = self._book.open(kind, request, plan)
        plan_files(job, song)
        self._book.keep(job)
        return job

    def find(self, kind: Kind, task_id: str) -> Job | None:
        """Return the job that somebody asks for, if there is one; raise `Refused` where no id is given."""
        if not task_id:
            raise self._invalid(kind, "taskId cannot be empty")
        return self._book.find(task_id, kind.name)

    def _pace(self, kind: Kind) -> None:
        now = self._monotonic()
        while self._recent and now - self._recent[0] >= self._rules.window_s:
            self._recent.popleft()
        if len(self._recent) >= self._rules.burst:
            raise self._refusal(kind, "rate_limited")
        self._recent.append(now)

    def _parse(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            raise Refused(400, "The request body is not valid JSON")
        return request

    def _check(self, kind: Kind, request: dict[str, Any]) -> None:
        if not isinstance(request.get("callBackUrl"), str) or not request["callBackUrl"]:
            raise self._invalid(kind, "Please enter callBackUrl.")
        if not _is_url(request["callBackUrl"]):
            raise self._invalid(kind, "callBackUrl must be an http or https URL")
        model, custom = request.get("model"), bool(request.get("customMode"))
        if kind.name == "music":
            self._check_mode(kind, request)
        for param in kind.params:
            other_mode = param.mode == ("simple" if custom else "custom")
            if not other_mode and self._dialect in param.dialects:
                self._check_param(kind, param, request.get(param.wire), model if isinstance(model, str) else None)

    def _check_mode(self, kind: Kind, request: dict[str, Any]) -> None:
        for name in ("customMode", "instrumental"):
            if not isinstance(request.get(name), bool):
                raise self._invalid(kind, f"{name} must be true or false")
        param = kind.param("model")
        models = param.options(self._dialect) if param else ()
        if request.get("model") not in models:
            raise self._invalid(kind, f"model must be one of {', '.join(models)}")
        sung = not (request["customMode"] and request["instrumental"])
        if sung and not request.get("prompt"):
            raise self._invalid(kind, "prompt cannot be empty")

    def _check_param(self, kind: Kind, param: Param, value: Any, model: str | None) -> None:
        if value in (None, ""):
            if param.required:
                raise self._invalid(kind, f"{param.wire} cannot be empty")
            return
        if not _fits(param, value):
            raise self._invalid(kind, f"{param.wire} must be of type {param.type}")
        limit = param.limit(self._dialect, model)
        if isinstance(value, str) and limit is not None and len(value) > limit:
            raise self._too_long(kind, param, limit)
        if param.choices and value not in param.choices:
            raise self._invalid(kind, f"{param.wire} must be one of {', '.join(param.choices)}")
        if param.minimum is not None and param.maximum is not None and not param.minimum <= value <= param.maximum:
            raise self._invalid(kind, f"{param.wire} must be between {param.minimum:g} and {param.maximum:g}")

    def _song(self, kind: Kind, request: dict[str, Any]) -> Job | None:
        if kind.name == "music":
            return None
        song = self._book.find(request["taskId"], "music")
        if song is None or song.outcome != "succeeded":
            raise self._invalid(kind, "taskId: the music task does not exist or is not finished")
        if kind.param("audio_id") and request["audioId"] not in song.audio_ids:
            raise self._invalid(kind, "audioId: the track does not exist in this task")
        return song

    def _refuse_twin(self, kind: Kind, request: dict[str, Any]) -> None:
        twin = self._book.twin(kind, request)
        if twin is None:
            return
        code = 400 if kind.name == "cover_image" else 409
        if (kind.name, self._dialect) == ("video", "kie"):
            code = 422  # as observed (provider-api 1.5)
        data = {"taskId": twin.task_id} if self._rules.tell_duplicates else None
        raise Refused(code, _DUPLICATE[kind.name], data=data)

    def _refusal(self, kind: Kind, reason: str | int) -> Refused:
        """Return the refusal for a word of `faults.WORDS["submit"]` or a documented submit code."""
        causes = {"rate_limited": ("rate", (430, 429)), "no_credits": ("credits", (429, 402))}
        if isinstance(reason, str):
            cause, codes = causes[reason]
            listed = [code for code in codes if code in kind.submit_codes[self._dialect]]
            reason = next(c for c in listed if meaning(kind.name, self._dialect, "submit", c).cause == cause)
        said = meaning(kind.name, self._dialect, "submit", reason).meaning
        limited = self._dialect == "kie" and reason == 429
        return Refused(reason, said[:1].upper() + said[1:], http_status=429 if limited else 200)

    def _too_long(self, kind: Kind, param: Param, limit: int) -> Refused:
        prompt_like = kind.name == "music" and 413 in kind.submit_codes[self._dialect]
        msg = f"{param.wire} is too long: at most {limit} characters"
        return Refused(413, msg) if prompt_like else self._invalid(kind, msg)

    def _invalid(self, kind: Kind, msg: str) -> Refused:
        # 422 wherever the page lists it: A's cover page does too, and there 400 means "already generated".
        return Refused(422 if 422 in kind.submit_codes[self._dialect] else 400, msg)


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        whole = text.split() == [text] and url.port != 0  # reading the port raises where it is none
        return whole and url.scheme in ("http", "https") and bool(url.hostname)
    except ValueError:
        return False


def _fits(param: Param, value: Any) -> bool:
    if param.type == "bool":
        return isinstance(value, bool)
    if param.type == "str":
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool)

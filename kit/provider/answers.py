"""Owns how one parsed callback or details answer becomes a Report; knows nothing of bytes, requests or rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kit.provider.reading import Document, clean, parse_time, whole
from kit.provider.results import Link, Take, find_links, find_takes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from kit.provider.codes import Dialect
    from kit.provider.kinds import Kind

__all__ = ["IDS", "Reader", "Report", "ReportState", "message_of", "task_ids"]

ReportState = Literal["pending", "succeeded", "failed", "undelivered", "missing", "unreadable"]

IDS = ("task_id", "taskId")
_ABSENT = re.compile(r"\bnull\b|not\s+(exist|found)|no\s+such|不存在", re.IGNORECASE)


@dataclass(frozen=True)
class Report:
    """Say what one delivery or one details answer tells about a task.

    Attributes:
        task_id: the provider's id; None where there is none, or where two ids disagree.
        state: "missing" where the provider does not know the task yet, "unreadable" where this says nothing of it.
        stage: callbackType or the status word, as written.
        code: the deciding code; for a failed details answer its errorCode. None where there is none.
        message: what the provider wrote, at most 2,000 characters.
        created_at, completed_at: UTC; None where no zone is given (the notes then keep the text).
        notes: what was odd, for people.
        incomplete: True where a details answer calls the task finished and lacks some of its links.
    """

    task_id: str | None
    state: ReportState
    stage: str | None = None
    code: int | None = None
    message: str | None = None
    links: tuple[Link, ...] = ()
    takes: tuple[Take, ...] = ()
    created_at: datetime | None = None
    completed_at: datetime | None = None
    notes: tuple[str, ...] = ()
    incomplete: bool = False


def task_ids(data: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Return the different task ids in the order of provider-api 10.1."""
    found = [holder.get(key) for holder, keys in ((data, IDS), (root, IDS[::-1])) for key in keys]
    texts = [clean(value, 256) for value in found if isinstance(value, (str, int))]
    return list(dict.fromkeys(text.strip() for text in texts if text and text.strip()))


def message_of(root: Mapping[str, Any], data: Mapping[str, Any]) -> str | None:
    """Return what the provider wrote, wherever it wrote it (provider-api 1.2, 6.3)."""
    candidates = (root.get("msg"), root.get("message"), data.get("error"), root.get("error"))
    return next((text for value in candidates if (text := clean(value))), None)


class Reader:
    """Reads one parsed answer of one API type."""

    def __init__(self, kind: Kind | None, document: Document, root: dict[str, Any]) -> None:
        data = root.get("data")
        self.kind, self.root = kind, root
        self.has_data = isinstance(data, dict)
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}
        response = self.data.get("response")
        self.response: dict[str, Any] = response if isinstance(response, dict) else {}
        self.notes = list(document.notes)
        self.ids = task_ids(self.data, root)
        self.clash = len(self.ids) > 1 or bool(document.duplicates & {*IDS})
        self.takes = find_takes(kind, self.data, self.response)
        self.links, odd = find_links(kind, self.data, self.response, self.takes)
        self.notes += odd
        self.code = whole(root.get("code"))
        self.incomplete = False

    def delivery(self, dialect: Dialect) -> Report:
        """Return the report of a callback."""
        stage = clean(self.data.get("callbackType"), 60) or self._word()
        if self.code is None:
            self.notes.append("no code")
        if self.kind is None:
            self.notes.append("the API type is not recognised")
        elif self.ids and (key := self.kind.callback_id_key[dialect]) not in self.data:
            self.notes.append(f"the id is not under data.{key} as documented")
        return self._report(self._delivered(stage), stage, self.code, message_of(self.root, self.data))

    def _delivered(self, stage: str | None) -> ReportState:
        # The code decides, never callbackType alone (provider-api 14 rows 5, 9); 0 counts with a link only (row 12).
        status = self._state_of(self._word())
        if status == "undelivered":
            return self._undelivered()
        if self.code not in (None, 200, 0) or status == "failed":
            return "failed"
        if status == "pending" or (self.kind is not None and self.kind.stages and not self._is_last(stage)):
            return "pending"
        return self._succeeded() if self.code is not None else "pending"

    def _is_last(self, stage: str | None) -> bool:
        word = (stage or "").lower()
        if word in ("complete", "task_completed", "success"):
            return True
        if word not in ("text", "first"):
            self.notes.append(f"unknown stage {stage!r}" if stage else "no stage")
        return False

    def details(self, http_status: int) -> Report:
        """Return the report of a details answer."""
        code = http_status if self.code is None else self.code
        if not self.has_data:
            return self._without_data(code)
        word = self._word()
        state = self._state_of(word)
        if word is None:
            self.notes.append("no status")
        elif state is None:
            self.notes.append(f"unknown state {word!r}")
        if code in (200, 0) and http_status < 400:
            return self._known(state, word, code)
        self.notes.append(f"the answer's own code is {code} (HTTP {http_status})")
        if state == "failed":
            return self._known(state, word, code)
        return self._report("pending" if state else "unreadable", word, code, message_of(self.root, self.data))

    def _known(self, state: str | None, word: str | None, code: int) -> Report:
        error, text = whole(self.data.get("errorCode")), clean(self.data.get("errorMessage")) or None
        if state == "failed":
            # 200, 0, "" and null are no error codes (provider-api 14 row 8).
            own = None if code in (200, 0) else code
            return self._report("failed", word, own if error in (None, 200, 0) else error, text or self._said())
        said = message_of(self.root, self.data)
        if state == "undelivered":
            return self._report(self._undelivered(), word, code, text or said)
        return self._report(self._finished() if state == "succeeded" else "pending", word, code, said)

    def _finished(self) -> ReportState:
        """Return how a finished task stands: one that names more files than it has links for may still gain them."""
        missing = self._missing() if self._has_first() else 0
        if not missing:
            return self._succeeded()
        self.incomplete = True
        self.notes.append(f"{missing} of its files have no usable link")
        return "pending"

    def _without_data(self, code: int) -> Report:
        message = message_of(self.root, self.data)
        absent = code in (200, 0, 404) or (code in (400, 422, 500) and _ABSENT.search(message or ""))
        if absent:
            self.notes.append("the provider does not know this task (yet)")
        else:
            self.notes.append(f"the details endpoint refused: {code}")
        return self._report("missing" if absent else "unreadable", None, code, message)

    def _said(self) -> str | None:
        said = message_of(self.root, self.data)
        return None if (said or "").lower() in ("success", "ok", "") else said

    def _succeeded(self) -> ReportState:
        if self._has_first():
            if self.code == 0:
                self.notes.append("code 0 taken as success: a usable link is there")
            return "succeeded"
        # Placeholders such as "video_url_847715e66259" come with code 200: ask again (provider-api 14 row 11).
        self.notes.append("no usable link")
        return "pending"

    def _has_first(self) -> bool:
        return self.kind is not None and any(link.role == self.kind.assets[0].role for link in self.links)

    def _missing(self) -> int:
        """Return how many takes of a song, or pictures of a set, are named and have no link."""
        assert self.kind is not None
        role = self.kind.assets[0].role
        found = sum(link.role == role for link in self.links)
        named = len(self.takes) or max((len(v) for v in self._lists() if isinstance(v, list)), default=0)
        return max(0, named - found)

    def _lists(self) -> list[Any]:
        assert self.kind is not None
        asset = self.kind.assets[0]
        return [self.data.get(k) for k in asset.callback_fields] + [self.response.get(k) for k in asset.details_fields]

    def _undelivered(self) -> ReportState:
        # Only the delivery failed; the media is usually there and paid for (provider-api 14 row 19).
        # A song may be stopped at an early stage so: then only direct files of every take are the result.
        if self._has_first() and all(take.audio_url for take in self.takes):
            self.notes.append("the provider could not deliver its callback; the result is there")
            return "succeeded"
        return "undelivered"

    def _word(self) -> str | None:
        fields = (self.kind.status_field if self.kind else "status", "successFlag", "status")
        for name in fields:
            value = self.data.get(name)
            text = clean(whole(value) if isinstance(value, float) else value, 60)
            if text and text.strip():
                return text.strip()
        return None

    def _state_of(self, word: str | None) -> str | None:
        return self.kind.states.get(word.upper()) if self.kind and word else None

    def _report(self, state: ReportState, stage: str | None, code: int | None, message: str | None) -> Report:
        created, completed = self._time("createTime"), self._time("completeTime")
        report = Report(
            self.ids[0] if self.ids and not self.clash else None,
            state,
            stage,
            code,
            message,
            self.links,
            self.takes,
            created,
            completed,
            tuple(dict.fromkeys(self.notes)),
            self.incomplete,
        )
        if not self.clash:
            return report
        return replace(report, state="unreadable", notes=(*report.notes, "two ids disagree"))

    def _time(self, name: str) -> datetime | None:
        items = (self.data, *self.data.get("data", ())[:1]) if isinstance(self.data.get("data"), list) else (self.data,)
        raw = next((i[name] for i in items if isinstance(i, dict) and i.get(name) not in (None, "")), None)
        instant = parse_time(raw)
        if raw is not None and instant is None:
            self.notes.append(f"{name} {clean(raw, 60)!r} names no time zone")
        return instant

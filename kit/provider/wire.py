"""Owns JSON <-> facts: exact out, tolerant in, never raising on data from the network; sends nothing itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kit.provider.answers import IDS, Reader, Report, message_of, task_ids
from kit.provider.kinds import KINDS
from kit.provider.reading import load, whole
from kit.provider.redaction import redact
from kit.provider.results import Link, Take
from kit.provider.sending import check_params, is_custom, submit_body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kit.provider.codes import Dialect

__all__ = [
    "Link",
    "Report",
    "SubmitAnswer",
    "Take",
    "check_params",
    "is_custom",
    "parse_delivery",
    "parse_details",
    "parse_submit",
    "redact",
    "sort_delivery",
    "submit_body",
]

Outcome = Literal["accepted", "duplicate", "rejected", "unknown"]


@dataclass(frozen=True)
class SubmitAnswer:
    """Say what became of one submission.

    Attributes:
        outcome: "rejected" only where no task was created, "unknown" where one may have been.
        task_id: the new task's id, or for a duplicate the existing one where the provider says it.
        body: the answer's text with callback URLs and secrets removed.
    """

    outcome: Outcome
    task_id: str | None = None
    code: int | None = None
    message: str | None = None
    http_status: int | None = None
    body: str = ""


# provider-api 1.5; the only place where a message decides (14 row 28), so the Chinese pages' words are here too.
_EXISTS = re.compile(r"already\s+(exists?|generated)|已存在|已经存在|已生成", re.IGNORECASE)
_DUPLICATE_CODES = (400, 409, 422)
_EDGE = (
    "edge refused the client (HTTP 403 without JSON): the host turned the request away before reading the key. "
    "Try another User-Agent or network; the key may be fine"
)


def parse_submit(
    kind: str,
    dialect: Dialect,  # noqa: ARG001 - both dialects' answers are read alike
    http_status: int,
    body: bytes,
    *,
    secrets: Sequence[str] = (),
) -> SubmitAnswer:
    """Return the outcome of a submit request; `secrets` are removed from all text (provider-api 1.2, 1.3, 1.5)."""
    root = load(body).value
    if not isinstance(root, dict):
        return _unreadable_submit(http_status, redact(body, secrets))
    own, task_id, message = whole(root.get("code")), _submitted_id(root), message_of(root, {})
    code = http_status if own is None else own
    if _is_duplicate(kind, code, task_id, message or ""):
        outcome: Outcome = "duplicate"
    else:
        outcome = _outcome(http_status, own, task_id)
    if outcome == "unknown" and http_status < 400 and code in (200, 0):
        message = f"the provider answered {message or code} and gave no task id"
    return SubmitAnswer(
        outcome=outcome,
        task_id=task_id if outcome in ("accepted", "duplicate") else None,
        code=code,
        message=redact(message.encode(), secrets) if message else None,
        http_status=http_status,
        body=redact(body, secrets),
    )


def parse_delivery(kind: str | None, dialect: Dialect, body: bytes) -> Report:
    """Return what a callback says; `kind` None sorts it by its keys (provider-api 3.3, 4.3, 5.3, 6.3, 10.1)."""
    document = load(body)
    root = document.value
    if not isinstance(root, dict):
        return Report(None, "unreadable", notes=(*document.notes, "the body is no JSON object"))
    if not {"code", "data", "msg", *IDS} & root.keys():
        return Report(None, "unreadable", notes=(*document.notes, "this is no callback: no code, no data, no id"))
    kind = kind if kind is not None else sort_delivery(body)
    return Reader(KINDS.get(kind or ""), document, root).delivery(dialect)


def parse_details(kind: str, dialect: Dialect, http_status: int, body: bytes) -> Report:  # noqa: ARG001
    """Return what a details answer says; both spellings are read in each dialect (provider-api 3.2 to 6.2, 11)."""
    document = load(body)
    root = document.value
    if not isinstance(root, dict):
        message = _EDGE if http_status == 403 else f"HTTP {http_status} without a JSON object"
        return Report(None, "unreadable", code=http_status, message=message, notes=document.notes)
    return Reader(KINDS.get(kind), document, root).details(http_status)


def sort_delivery(body: bytes) -> str | None:
    """Return the API type that a callback's keys belong to, or None (provider-api 10.1: presence counts, not truth)."""
    root = load(body).value
    data = root.get("data") if isinstance(root, dict) else None
    if not isinstance(data, dict):
        return None
    keys = data.keys() | (data["response"].keys() if isinstance(data.get("response"), dict) else set())
    for name in ("video", "wav", "cover_image"):
        asset = KINDS[name].assets[0]
        if keys & {*asset.callback_fields, *asset.details_fields}:
            return name
    return "music" if "callbackType" in data and not _is_lyrics(data.get("data")) else None


def _is_lyrics(items: object) -> bool:
    return isinstance(items, list) and any(isinstance(item, dict) and "text" in item for item in items)


def _unreadable_submit(http_status: int, body: str) -> SubmitAnswer:
    message = _EDGE if http_status == 403 else f"HTTP {http_status} without a JSON object"
    outcome = _by_status(http_status)
    return SubmitAnswer(outcome, None, None, message, http_status, body)


def _submitted_id(root: Mapping[str, Any]) -> str | None:
    data = root.get("data")
    if isinstance(data, str):
        return None
    ids = task_ids(data if isinstance(data, dict) else {}, {})
    return ids[0] if len(ids) == 1 else None


def _outcome(http_status: int, own: int | None, task_id: str | None) -> Outcome:
    """Return the outcome of an answer that is no duplicate; `own` is the code in the body."""
    code = http_status if own is None else own
    if code in (200, 0):
        return "accepted" if task_id and http_status < 400 else "unknown"
    if own is None:
        return _by_status(http_status)
    return "unknown" if http_status >= 500 and own >= 500 else "rejected"


def _by_status(http_status: int) -> Outcome:
    # A proxy's refusal (4xx) or redirect never reached the provider; its time-outs and 5xx may have.
    refused = 300 <= http_status < 500 and http_status not in (408, 425, 499)
    return "rejected" if refused else "unknown"


def _is_duplicate(kind: str, code: int, task_id: str | None, message: str) -> bool:
    """Apply the rule of provider-api 1.5."""
    if code not in _DUPLICATE_CODES:
        return False
    # 409 has no other meaning on the pages of types that dedup; music is never refused as a duplicate.
    entry = KINDS.get(kind)
    conflict = code == 409 and bool(entry and entry.dedup)
    return bool(task_id or _EXISTS.search(message) or conflict)

"""Owns the records of what happened and their form as rows; it must not know how they are stored or what they mean."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kit.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FACT_TYPES",
    "Abandonment",
    "Answer",
    "Confirmation",
    "Delivery",
    "Departure",
    "Details",
    "Fact",
    "FileFact",
    "Intent",
    "Loss",
    "MintedUrl",
    "Row",
    "SaveRequest",
    "fact_type",
    "from_microseconds",
    "from_row",
    "new_id",
    "request_key",
    "to_microseconds",
    "to_row",
]

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford: no i, l, o, u to misread


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that happened to our task `task` at the moment `at` (UTC)."""

    task: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Intent(Fact):
    """A task is wanted: written before any request leaves, with our own parameter names.

    `instead_of` is our id of the row that a person gave up on and submitted again as this one.
    """

    kind: str
    provider: str
    dialect: Literal["sunoapi", "kie"]
    params: dict[str, Any]
    request_key: str
    title: str | None = None
    parent_task_id: str | None = None
    audio_id: str | None = None
    origin: Literal["here", "adopted", "elsewhere"] = "here"
    task_id: str | None = None
    save: bool = True
    batch_id: str | None = None
    row_key: str | None = None
    instead_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Departure(Fact):
    """The submit request is about to leave; without a later `Answer` its outcome is unknown.

    `listening` is False where it carried no callback URL of ours, so that only polling can tell.
    """

    listening: bool = True


@dataclass(frozen=True, kw_only=True)
class Answer(Fact):
    """How the submit request ended; `known_as` is our id of the row that already has a duplicate."""

    outcome: Literal["accepted", "duplicate", "rejected", "unknown"]
    task_id: str | None = None
    code: int | None = None
    message: str | None = None
    http_status: int | None = None
    body: str = ""
    known_as: str | None = None


@dataclass(frozen=True, kw_only=True)
class Delivery(Fact):
    """One arrival of a callback, exactly as it came; it is news and decides nothing."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    signature: Literal["none", "valid", "invalid", "stale"] = "none"


@dataclass(frozen=True, kw_only=True)
class Details(Fact):
    """One answer of the details endpoint, redacted.

    `cause` is what made us ask, `asked_id` the provider's id we asked for. `echo` says whose callback URL the answer
    repeated: the one minted for this task, another one, or none.
    """

    http_status: int
    body: str
    cause: Literal["callback", "poll", "submit", "person"]
    asked_id: str | None = None
    echo: Literal["ours", "other", "none"] = "none"


@dataclass(frozen=True, kw_only=True)
class FileFact(Fact):
    """What became of one file: `path` is relative to the ledger's folder (posix); sizes in bytes, times in seconds.

    Of sound: `loudness_lufs` as EBU R 128 integrates it, `silence_s` in all, `clipped` the share of samples at full
    scale, 0 to 1.
    """

    role: str
    index: int
    status: Literal["waiting", "downloading", "saved", "failed", "expired"]
    url: str | None = None
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    media_type: str | None = None
    verified: Literal["none", "length", "structure", "decoded"] | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    loudness_lufs: float | None = None
    silence_s: float | None = None
    clipped: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loss(Fact):
    """A saved file was found gone from the disk, or not as it was saved; what is found later counts again."""

    role: str
    index: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Confirmation(Fact):
    """A person vouches for what was heard on a listen-only URL."""


@dataclass(frozen=True, kw_only=True)
class SaveRequest(Fact):
    """A person wants the files, whatever the intent said."""


@dataclass(frozen=True, kw_only=True)
class Abandonment(Fact):
    """The task is not followed any further."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class MintedUrl:
    """A callback URL that was handed out; of its secret only the SHA-256 is kept."""

    secret_hash: bytes
    task: str
    kind: str
    provider: str
    dialect: str
    listen_only: bool
    created_at: datetime
    expires_at: datetime | None = None


FACT_TYPES: Mapping[str, type[Fact]] = {
    "intent": Intent,
    "departure": Departure,
    "answer": Answer,
    "delivery": Delivery,
    "details": Details,
    "file": FileFact,
    "loss": Loss,
    "confirmation": Confirmation,
    "abandonment": Abandonment,
    "save": SaveRequest,
}
_NAMES = {cls: name for name, cls in FACT_TYPES.items()}


class Row(NamedTuple):
    """A fact as the database keeps it: `at` in microseconds since 1970 UTC, `body` JSON text, `raw` the bytes."""

    task: str
    type: str
    at: int
    body: str
    raw: bytes | None


def fact_type(fact: Fact) -> str:
    """Return the name under which facts of this class are stored."""
    return _NAMES[type(fact)]


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_BODY_NAMES = {
    cls: tuple(f.name for f in dataclasses.fields(cls) if f.name not in {"task", "at"}) for cls in FACT_TYPES.values()
}


def to_row(fact: Fact) -> Row:
    """Return `fact` as a row; raise `LedgerError` where it holds something that is not JSON."""
    raw = None
    if type(fact) is Delivery:  # by far the most frequent, and somebody waits for its acknowledgement
        raw, body = fact.body, {"headers": fact.headers, "signature": fact.signature}
    else:
        body = {name: getattr(fact, name) for name in _BODY_NAMES[type(fact)]}
    try:
        text = _encode(body)
    except (TypeError, ValueError) as reason:
        raise LedgerError(
            f"A {fact_type(fact)} of task {fact.task} holds a value that is not JSON ({reason}). "
            "Parameters are text, whole or finite numbers, True or False: convert them before submitting."
        ) from reason
    return Row(_valid(fact.task), _NAMES[type(fact)], to_microseconds(fact.at), _valid(text), raw)


def from_row(row: Row) -> Fact | None:
    """Return the fact of `row`; None (and a log line) for types or shapes of another version, or a damaged row."""
    cls = FACT_TYPES.get(row.type) if isinstance(row.type, str) else None
    if cls is None:
        log.debug("skipped a fact of the unknown type %r of task %s", row.type, row.task)
        return None
    try:
        if not isinstance(row.task, str) or not isinstance(row.raw, bytes | None):
            raise TypeError("a column is of another type")
        body = json.loads(row.body)
        known = {name: body[name] for name in _BODY_NAMES[cls] if name in body}
        if cls is Delivery:
            known["body"] = row.raw or b""
        return cls(**{**known, "task": row.task, "at": from_microseconds(row.at)})
    except (TypeError, ValueError, OverflowError) as reason:
        log.warning("skipped an unreadable %s of task %s: %s", row.type, row.task, reason)
        return None


def to_microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970 UTC; raise `LedgerError` for a time without a zone."""
    if moment.tzinfo is None:
        raise LedgerError(f"The time {moment!r} has no zone. Give it one: datetime.now(UTC).")
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return the UTC moment `value` microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=value)


def request_key(provider: str, kind: str, params: Mapping[str, Any]) -> str:
    """Return the key that two requests share exactly when provider, kind and given parameters are the same."""
    given = {name: _plain(value) for name, value in params.items() if value is not None}
    text = json.dumps([provider, kind, given], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    # 1.0 and 1 are one wish: a weight typed either way must not buy twice.
    return int(value) if isinstance(value, float) and value.is_integer() else value


_id_lock = threading.Lock()
_last_id = 0


def new_id() -> str:
    """Return a new id of ours, such as `t1c3k9x7q2m4z`: "t" and 12 base32 characters that sort by time."""
    global _last_id
    fresh = (time.time_ns() // 1_000_000 << 18) | secrets.randbits(18)
    with _id_lock:  # never the same twice, also for a batch within one millisecond or a clock set back
        _last_id = fresh if fresh > _last_id else _last_id + 1
        number = _last_id
    return "t" + "".join(_BASE32[number >> shift & 31] for shift in range(55, -1, -5))


def _valid(text: str) -> str:
    """Return `text` with half characters (lone surrogates) replaced, which no database or browser takes."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

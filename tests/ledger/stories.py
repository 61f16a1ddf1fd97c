"""Facts for tests: makers with short names, and strategies for arbitrary ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_type_hints

from hypothesis import strategies as st

from kit.ledger.facts import Answer, Delivery, Departure, Details, Fact, FileFact, Intent

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = "https://media.example.com/a.mp4"
OTHER = "https://media.example.com/b.mp4"


def at(seconds: float = 0) -> datetime:
    """Return the moment `seconds` after the story's beginning."""
    return T0 + timedelta(seconds=seconds)


def intent(kind: str = "video", *, second: float = 0, task: str = "t1", **more: Any) -> Intent:
    """Return the intent of a video task in dialect A."""
    given = {"provider": "sandbox", "dialect": "sunoapi", "params": {"task_id": "m1", "audio_id": "a1"}}
    return Intent(task=task, at=at(second), kind=kind, **{**given, "request_key": "k", **more})


def departure(second: float = 1, task: str = "t1") -> Departure:
    """Return the departure of the submit request."""
    return Departure(task=task, at=at(second))


def answer(outcome: Any = "accepted", *, second: float = 2, task: str = "t1", **more: Any) -> Answer:
    """Return the submit answer; an accepted one gives the provider's id `v1`."""
    given = {"task_id": "v1", "code": 200} if outcome == "accepted" else {}
    return Answer(task=task, at=at(second), outcome=outcome, **{**given, **more})


def delivery(
    code: int = 200, url: str | None = LINK, *, id: str | None = "v1", second: float = 60, task: str = "t1", **more: Any
) -> Delivery:
    """Return a callback of a video."""
    body = {"code": code, "msg": f"message {code}", "data": {"task_id": id, "video_url": url}}
    return Delivery(task=task, at=at(second), body=json.dumps(body).encode(), **more)


def details(
    flag: str = "SUCCESS",
    url: str | None = LINK,
    *,
    error: int | None = None,
    id: str | None = "v1",
    second: float = 61,
    cause: Any = "callback",
    task: str = "t1",
    **data: Any,
) -> Details:
    """Return a details answer of a video."""
    shown = {"taskId": id, "successFlag": flag, "response": {"videoUrl": url} if url else None, "errorCode": error}
    body = json.dumps({"code": 200, "msg": "success", "data": {**shown, "errorMessage": None, **data}})
    return Details(task=task, at=at(second), http_status=200, body=body, cause=cause)


def file(status: Any = "saved", *, role: str = "video", index: int = 0, second: float = 70, **more: Any) -> FileFact:
    """Return what became of the file of `role`."""
    return FileFact(task=more.pop("task", "t1"), at=at(second), role=role, index=index, status=status, **more)


def numbered(*facts: Fact) -> list[tuple[int, Fact]]:
    """Return `facts` with the numbers a ledger would give them."""
    return list(enumerate(facts, start=1))


moments = st.datetimes(timezones=st.just(UTC))
texts = st.text(max_size=20)
params = st.dictionaries(
    texts, st.none() | st.booleans() | texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=60),
    datetime: moments,
    dict[str, Any]: params,
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
}


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _BY_TYPE:
        return _BY_TYPE[hint]
    parts = get_args(hint)
    if type(None) in parts:
        return st.none() | st.one_of(_values(part) for part in parts if part is not type(None))
    return st.sampled_from(parts)


def any_fact(cls: type[Fact]) -> st.SearchStrategy[Fact]:
    """Return a strategy for arbitrary facts of the class `cls`, from its own annotations."""
    return st.builds(cls, **{name: _values(hint) for name, hint in get_type_hints(cls).items()})

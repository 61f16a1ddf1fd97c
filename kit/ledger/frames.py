"""Owns the tables: DataFrames with stable columns and types, also when empty; it reads and never writes.

Times are UTC, sizes bytes, durations seconds. Text from the network stays plain text, as it came.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kit.ledger.effects import Hearing
from kit.ledger.facts import Delivery
from kit.provider.kinds import meaning
from kit.provider.wire import parse_delivery, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kit.ledger.fold import FileState, TaskState
    from kit.ledger.reader import Reader
    from kit.provider.codes import Dialect
    from kit.provider.wire import Report, Take

__all__ = ["deliveries", "files", "lineage", "tasks", "tracks"]

_Origin = tuple[str, str, str | None]  # kind, parent, take

_UTC = "datetime64[us, UTC]"

_TASKS = {
    "id": "string",
    "task_id": "string",
    "kind": "string",
    "provider": "string",
    "status": "string",
    "code": "Int64",
    "message": "string",
    "meaning": "string",
    "retryable": "boolean",
    "refunded": "boolean",
    "next_step": "string",
    "title": "string",
    "parent_task_id": "string",
    "audio_id": "string",
    "submitted_at": _UTC,
    "finished_at": _UTC,
    "elapsed_s": "Float64",
    "learned_by": "string",
    "deliveries": "Int64",
    "confirmed": "boolean",
    "batch_id": "string",
    "row_key": "string",
    "origin": "string",
    "credits": "Float64",
    "notes": "string",
}
_TRACKS = {
    "id": "string",
    "task_id": "string",
    "audio_id": "string",
    "title": "string",
    "tags": "string",
    "duration_s": "Float64",
    "model": "string",
    "audio_url": "string",
    "stream_url": "string",
    "image_url": "string",
    "index": "Int64",
    "prompt": "string",
}
_FILES = {
    "id": "string",
    "task_id": "string",
    "kind": "string",
    "role": "string",
    "index": "Int64",
    "status": "string",
    "path": "string",
    "bytes": "Int64",
    "sha256": "string",
    "media_type": "string",
    "verified": "string",
    "duration_s": "Float64",
    "width": "Int64",
    "height": "Int64",
    "sample_rate": "Int64",
    "url": "string",
    "expires_at": _UTC,
    "saved_at": _UTC,
    "reason": "string",
    "wanted": "boolean",
    "linked_at": _UTC,
    "twin": "string",
    "loudness_lufs": "Float64",
    "silence_s": "Float64",
    "clipped": "Float64",
}
_DELIVERIES = {
    "received_at": _UTC,
    "id": "string",
    "task_id": "string",
    "kind": "string",
    "stage": "string",
    "code": "Int64",
    "message": "string",
    "signature": "string",
    "duplicate": "boolean",
    "body": "string",
    "state": "string",
    "seq": "Int64",
    "meaning": "string",
    "effect": "string",
}
_LINEAGE = {
    "id": "string",
    "task_id": "string",
    "audio_id": "string",
    "index": "Int64",
    "title": "string",
    "duration_s": "Float64",
    "audio_status": "string",
    "audio_path": "string",
    "image_status": "string",
    "image_path": "string",
    "video_id": "string",
    "video_status": "string",
    "video_path": "string",
    "wav_id": "string",
    "wav_status": "string",
    "wav_path": "string",
    "cover_image_id": "string",
    "cover_image_status": "string",
    "cover_image_paths": "string",
}


def tasks(reader: Reader) -> pd.DataFrame:
    """Return one row a task, in the order of their making.

    Columns: id, task_id, kind, provider, status, code, message, meaning, retryable, refunded, next_step, title,
    parent_task_id, audio_id, submitted_at, finished_at, elapsed_s (finished - submitted), learned_by, deliveries,
    confirmed, batch_id, row_key, origin, credits (the published price), notes (one a line). A listen-only URL on which
    nothing has arrived is no row.
    """
    return _frame(_TASKS, (_task(state) for state in _shown(reader)))


def tracks(reader: Reader) -> pd.DataFrame:
    """Return one row a take of a song.

    Columns: id, task_id, audio_id, title, tags, duration_s, model, audio_url, stream_url, image_url, index, prompt.
    """
    rows = ((state, take) for state in _shown(reader) for take in state.takes)
    return _frame(_TRACKS, (_pick(_TRACKS, take, id=state.id, task_id=state.task_id) for state, take in rows))


def files(reader: Reader) -> pd.DataFrame:
    """Return one row a file of a task that succeeded, saved or not.

    Columns: id, task_id, kind, role, index, status, path (absolute), bytes, sha256, media_type, verified, duration_s,
    width, height, sample_rate, url, expires_at (an estimate), saved_at, reason, wanted, linked_at (the link's life
    began), twin (another saved file of the same role that is the same byte for byte, as "t1c3k9x7q2m4z audio 1"), and
    of sound: loudness_lufs (integrated, EBU R 128), silence_s (in all), clipped (the share of samples at full scale).
    """
    rows = [(state, file) for state in _shown(reader) for file in state.files]
    twins = _twins(rows)
    return _frame(_FILES, (_file_row(state, file, twins) for state, file in rows))


def deliveries(reader: Reader) -> pd.DataFrame:
    """Return one row an arrival of a callback, in the order of arrival.

    Columns: received_at, id, task_id (as the body names it), kind, stage, code, message, signature, duplicate (the same
    body came before for the same task), body (text), state (what it says, unproven), seq (its number, for `replay`),
    meaning (of its code on that page of that provider; for what cannot be read: why), effect (what it meant for its
    task as that stands now), one of:

    - first news, later stage, earlier stage: work goes on; an earlier stage came after a later one and changes nothing
    - repeat: says what an earlier arrival said
    - agrees with details, contradicted by details: it says how the task ended, and what the provider itself answered
    - confirmed by you: it came on a listen-only URL, and you vouched for it
    - waiting for details: the provider has not been asked successfully yet
    - unconfirmed: nobody but the sender says so
    - not followed: the task was forgotten
    - set aside: it names another task than the one that its URL is for
    - unreadable: it is no callback
    """
    states = reader.states()
    seen: set[tuple[str, bytes]] = set()
    heard: dict[str, Hearing] = {}
    rows = []
    for seq, fact in reader.facts(only="delivery"):
        if isinstance(fact, Delivery):
            mark = (fact.task, sha256(fact.body).digest())
            hearing = heard.setdefault(fact.task, Hearing())
            rows.append(_delivery(seq, fact, states.get(fact.task), hearing, duplicate=mark in seen))
            seen.add(mark)
    return _frame(_DELIVERIES, rows)


def lineage(reader: Reader) -> pd.DataFrame:
    """Return one row a take, with what was made from it: its music video and WAV, and its song's cover images.

    Columns: id, task_id, audio_id, index, title, duration_s, audio_status, audio_path, image_status, image_path,
    video_id, video_status, video_path, wav_id, wav_status, wav_path, cover_image_id, cover_image_status,
    cover_image_paths (one a line). A status is the file's where there is one, else the task's; where several tasks of
    one kind were made from a take, the one that succeeded last is joined.
    """
    shown = _shown(reader)
    made = _offspring(shown)
    return _frame(_LINEAGE, (_descent(song, take, made) for song in shown for take in song.takes))


def _frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a frame with exactly `columns` in their order and types, however many rows there are."""
    table = list(rows)
    made = {name: pd.Series([row.get(name) for row in table], dtype=kind) for name, kind in columns.items()}
    return pd.DataFrame(made, columns=list(columns))


def _shown(reader: Reader) -> list[TaskState]:
    """Return the tasks that are rows, with the paths of their files made absolute: a table's reader opens them."""
    home = reader.path.parent
    return [replace(s, files=tuple(_placed(home, f) for f in s.files)) for s in reader.states().values() if s.shown]


def _placed(home: Path, file: FileState) -> FileState:
    return replace(file, path=str(home / file.path)) if file.path else file


def _pick(columns: Mapping[str, str], thing: object, **given: Any) -> dict[str, Any]:
    return {name: getattr(thing, name, None) for name in columns} | given


def _task(state: TaskState) -> dict[str, Any]:
    return _pick(_TASKS, state, notes="\n".join(state.notes) or None)


def _file_row(state: TaskState, file: FileState, twins: Mapping[str, list[str]]) -> dict[str, Any]:
    own = _label(state, file)
    others = [label for label in twins.get(_content(file), ()) if label != own]
    return _pick(_FILES, file, id=state.id, task_id=state.task_id, kind=state.kind, twin=others[0] if others else None)


def _twins(rows: list[tuple[TaskState, FileState]]) -> dict[str, list[str]]:
    """Return, by content, the saved files that have it."""
    found: dict[str, list[str]] = {}
    for state, file in rows:
        if file.status == "saved" and file.sha256:
            found.setdefault(_content(file), []).append(_label(state, file))
    return found


def _content(file: FileState) -> str:
    return f"{file.role} {file.sha256}"


def _label(state: TaskState, file: FileState) -> str:
    return f"{state.id} {file.role} {file.index + 1}"


def _delivery(
    seq: int, fact: Delivery, state: TaskState | None, hearing: Hearing, *, duplicate: bool
) -> dict[str, Any]:
    kind = state.kind if state and state.shown else None
    dialect: Dialect = "kie" if state and state.dialect == "kie" else "sunoapi"
    report = parse_delivery(kind, dialect, fact.body)
    return _pick(
        _DELIVERIES,
        report,
        seq=seq,
        received_at=fact.at,
        id=fact.task,
        kind=kind,
        signature=fact.signature,
        duplicate=duplicate,
        body=redact(fact.body),
        meaning=_meaning(kind, dialect, report),
        effect=hearing.effect(report, state),
    )


def _meaning(kind: str | None, dialect: Dialect, report: Report) -> str | None:
    if report.state == "unreadable":
        return "; ".join(report.notes) or None
    if kind is None or report.code is None:
        return None
    return meaning(kind, dialect, "callback", report.code, report.stage).meaning


def _descent(song: TaskState, take: Take, offspring: Mapping[_Origin, TaskState]) -> dict[str, Any]:
    own = {role: _file(song, role, take.index) for role in ("audio", "image")}
    row = _pick(_LINEAGE, take, id=song.id, task_id=song.task_id)
    row["title"] = take.title or song.title
    for role, file in own.items():
        row |= {f"{role}_status": file.status if file else None, f"{role}_path": file.path if file else None}
    for kind in ("video", "wav"):
        made = _made_from(offspring, kind, song, take.audio_id)
        file = _file(made, kind, 0) if made else None
        row |= {f"{kind}_id": made.id if made else None, f"{kind}_path": file.path if file else None}
        row[f"{kind}_status"] = file.status if file else made.status if made else None
    return row | _covers(_made_from(offspring, "cover_image", song, None))


def _covers(made: TaskState | None) -> dict[str, Any]:
    if made is None:
        return {}
    paths = [file.path for file in made.files if file.path]
    lacking = [file.status for file in made.files if file.status != "saved"]
    # One word for all of them: what is not saved yet speaks for the rest.
    status = lacking[0] if lacking else "saved" if made.files else made.status
    return {
        "cover_image_id": made.id,
        "cover_image_status": status,
        "cover_image_paths": "\n".join(paths) or None,
    }


def _offspring(shown: list[TaskState]) -> dict[_Origin, TaskState]:
    """Return, by what it was made from, each task that has a parent: the last that succeeded, else the last."""
    best: dict[_Origin, TaskState] = {}
    for state in sorted(shown, key=lambda state: (state.status == "succeeded", state.id)):
        if state.parent_task_id:
            best[state.kind, state.parent_task_id, state.audio_id] = state
    return best


def _made_from(
    offspring: Mapping[_Origin, TaskState], kind: str, song: TaskState, audio_id: str | None
) -> TaskState | None:
    # A parent may be named by its provider's id or by ours.
    keys = [(kind, parent, audio_id) for parent in (song.task_id, song.id) if parent]
    return next((offspring[key] for key in keys if key in offspring), None)


def _file(state: TaskState, role: str, index: int) -> FileState | None:
    return next((file for file in state.files if (file.role, file.index) == (role, index)), None)

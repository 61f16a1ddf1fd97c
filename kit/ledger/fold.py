"""Owns what the facts amount to: a task's state as a pure function of them; it must not know where they are kept.

The facts are first gathered as `Evidence`; the state is then read off it. Nothing here has a clock, and no sequence
of facts raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from kit.ledger.evidence import Evidence, Heard, LearnedBy, gather, heard_id, heard_of, known_id
from kit.provider.kinds import KINDS, Code, meaning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from kit.ledger.facts import Answer, Fact, FileFact, Intent
    from kit.provider.wire import Link, Report, Take

__all__ = ["FileState", "Status", "TaskState", "advance", "advance_all", "fold"]

Status = Literal["planned", "submitting", "pending", "succeeded", "failed", "unconfirmed", "abandoned"]

_NO_LINK = "no usable link"
_NOT_VISIBLE_YET = timedelta(seconds=60)  # a fresh task may be unknown for a moment (provider-api 11)
_STILL_COMING = timedelta(minutes=10)  # after CALLBACK_EXCEPTION a result may follow (provider-api 14 row 19)
_OTHERS_NAMED = 3  # of the ids that deliveries made up, so many are named in the notes
_RETENTION_DAYS = 14  # the safe lower bound where a page names more or nothing (provider-api 13.1)


@dataclass(frozen=True)
class FileState:
    """One file of a task: `path` is relative to the ledger's folder, `urls` are candidates, direct ones first.

    `wanted` is False where the task was submitted with ``save=False`` and nobody asked for its files since.
    The life of its links runs from `linked_at` to `expires_at`, an estimate. `loudness_lufs` is integrated (EBU R 128),
    `silence_s` in all, `clipped` the share of samples at full scale.
    """

    role: str
    index: int
    status: Literal["waiting", "downloading", "saved", "failed", "expired"] = "waiting"
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    media_type: str | None = None
    verified: str | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    loudness_lufs: float | None = None
    silence_s: float | None = None
    clipped: float | None = None
    urls: tuple[str, ...] = ()
    url: str | None = None
    linked_at: datetime | None = None
    expires_at: datetime | None = None
    saved_at: datetime | None = None
    reason: str | None = None
    wanted: bool = True


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """What is known of a task; a row of ``tasks()``.

    Attributes:
        code, message, meaning, retryable, refunded, next_step: of the answer that decided.
        learned_by: how the deciding answer was come by; None while nothing has decided.
        task_id: the provider's id; where a task was submitted here, as the submit answer or details gave it.
        ask_id: the id to ask the provider for: `task_id`, or else one that deliveries named and nobody has proven.
        listening: whether the submission carried a callback URL of ours.
        heard: the most telling delivery for this task's id, which by itself decides nothing.
        details: the last details answer; `details_since` is when it first said so, `asked` how often we asked.
        credits: the published price where this task was accepted, 0 where nothing was bought, None where unknown.
        shown: False for a listen-only URL on which nothing has arrived yet.
    """

    id: str
    kind: str
    provider: str
    dialect: str
    params: dict[str, Any]
    request_key: str
    origin: Literal["here", "adopted", "elsewhere"]
    save: bool
    task_id: str | None
    status: Status
    ask_id: str | None = None
    listening: bool = False
    code: int | None = None
    message: str | None = None
    meaning: str | None = None
    retryable: bool | None = None
    refunded: bool | None = None
    next_step: str | None = None
    title: str | None = None
    parent_task_id: str | None = None
    audio_id: str | None = None
    created_at: datetime | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    learned_by: LearnedBy | None = None
    deliveries: int = 0
    confirmed: bool = False
    heard: Report | None = None
    details: Report | None = None
    details_since: datetime | None = None
    asked: int = 0
    asked_at: datetime | None = None
    stage: str | None = None
    takes: tuple[Take, ...] = ()
    files: tuple[FileState, ...] = ()
    batch_id: str | None = None
    row_key: str | None = None
    known_as: str | None = None
    instead_of: str | None = None
    notes: tuple[str, ...] = ()
    credits: float | None = None
    last_seq: int = 0
    shown: bool = True
    evidence: Evidence = field(repr=False, compare=False)

    @property
    def final(self) -> bool:
        """True once nothing more is expected of the provider."""
        return self.status in ("succeeded", "failed", "abandoned")

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from submission to the end; None where one of the two is not known."""
        began, ended = self.submitted_at, self.finished_at
        return (ended - began).total_seconds() if began and ended else None

    @property
    def settled(self) -> bool:
        """True once the task is final and no wanted file is still to come."""
        return self.final and not any(f.wanted and f.status in ("waiting", "downloading") for f in self.files)

    @property
    def saved(self) -> bool:
        """True where the task succeeded and every one of its files is saved and verified."""
        return self.status == "succeeded" and bool(self.files) and all(f.status == "saved" for f in self.files)


def advance(state: TaskState | None, facts: Sequence[tuple[int, Fact]]) -> TaskState:
    """Return the state after one or more numbered facts of one task; many at once cost little more than one.

    `state` is None before a task's first fact.
    """
    known = state.evidence if state else Evidence(facts[0][1].task)
    for seq, fact in facts:
        known = gather(known, seq, fact)
    return _derive(replace(known, last_seq=max(known.last_seq, *(seq for seq, _ in facts))))


def advance_all(states: dict[str, TaskState], facts: Iterable[tuple[int, Fact]]) -> list[TaskState]:
    """Bring `states`, by our id, up to date with facts of any tasks; return those that changed."""
    news: dict[str, list[tuple[int, Fact]]] = {}
    for seq, fact in facts:
        news.setdefault(fact.task, []).append((seq, fact))
    for task, numbered in news.items():
        states[task] = advance(states.get(task), numbered)
    return [states[task] for task in news]


def fold(facts: Iterable[tuple[int, Fact]]) -> TaskState | None:
    """Return the state that one task's numbered facts amount to; None for no facts."""
    numbered = list(facts)
    return advance(None, numbered) if numbered else None


def _derive(known: Evidence) -> TaskState:
    intent = known.intent
    if intent is None:
        return TaskState(
            id=known.task, kind="unknown", provider="unknown", dialect="sunoapi", params={}, request_key="",
            origin="here", save=False, task_id=None, status="unconfirmed", last_seq=known.last_seq, shown=False,
            notes=("there is no intent for these facts",), evidence=known,
        )  # fmt: skip
    heard = heard_of(known)
    status = _status(known, intent, heard)
    decided = known.verdict is not None and status in ("succeeded", "failed")
    code, message = _said(known, intent, status, heard)
    submitted_at = _submitted_at(known, intent)
    return TaskState(
        id=known.task,
        kind=intent.kind,
        provider=intent.provider,
        dialect=intent.dialect,
        params=intent.params,
        request_key=intent.request_key,
        origin=intent.origin,
        save=intent.save or known.save_asked,
        task_id=known_id(known) or (heard_id(known) if intent.origin == "elsewhere" else None),
        ask_id=known_id(known) or heard_id(known),
        status=status,
        listening=known.listening,
        code=code.code if code else None,
        message=message,
        meaning=code.meaning if code else None,
        retryable=code.retryable if code else None,
        refunded=code.refunded if code else None,
        next_step=code.next_step if code else None,
        title=intent.title or next((take.title for take in known.takes if take.title), None),
        parent_task_id=intent.parent_task_id or _text(intent.params.get("task_id")),
        audio_id=intent.audio_id or _text(intent.params.get("audio_id")),
        created_at=intent.at,
        submitted_at=submitted_at,
        finished_at=_finished_at(known, status, submitted_at),
        learned_by=known.verdict.learned_by if known.verdict and decided else "submit" if status == "failed" else None,
        deliveries=known.deliveries,
        confirmed=status in ("succeeded", "failed"),
        heard=heard.report if heard else None,
        details=known.details,
        details_since=known.details_since,
        asked=known.asked,
        asked_at=known.asked_at,
        stage=_stage(known, heard),
        takes=known.takes or (known.details.takes if known.details else ()),
        files=_files(known, intent),
        batch_id=intent.batch_id,
        row_key=intent.row_key,
        known_as=known.answer.known_as if known.answer else None,
        instead_of=intent.instead_of,
        notes=_notes(known, heard),
        credits=_credits(known, intent),
        last_seq=known.last_seq,
        shown=intent.origin != "elsewhere" or bool(known.deliveries or known.verdict),
        evidence=known,
    )


def _status(known: Evidence, intent: Intent, heard: Heard | None) -> Status:
    verdict, answer = known.verdict.report.state if known.verdict else None, known.answer
    if verdict == "succeeded":
        return "succeeded"
    if answer and answer.known_as:
        return "abandoned"
    if verdict == "failed" or (answer and answer.outcome == "rejected"):
        return "failed"
    if known.abandonment:  # what has ended cannot be forgotten: its row goes on saying how
        return "abandoned"
    if intent.origin == "elsewhere":
        return "pending" if heard and heard.report.state in ("pending", "undelivered") else "unconfirmed"
    if known_id(known):
        return "unconfirmed" if _lost_from_sight(known) else "pending"
    if answer:
        return "failed" if answer.outcome == "duplicate" else "unconfirmed"
    return "submitting" if known.departed_at else "planned"


def _said(known: Evidence, intent: Intent, status: Status, heard: Heard | None) -> tuple[Code | None, str | None]:
    """Return what the deciding answer's code means, and its message as the provider wrote it."""
    answer = known.answer
    if status == "abandoned":
        return _abandoned(known)
    if status == "succeeded" and known.verdict:
        report = known.verdict.report
        return meaning(intent.kind, intent.dialect, "callback", 200), report.message
    if status == "failed" and known.verdict:
        report = known.verdict.report
        return meaning(intent.kind, intent.dialect, known.verdict.page, report.code, report.stage), report.message
    if status == "failed" and answer:
        return meaning(intent.kind, intent.dialect, "submit", answer.code), answer.message
    if intent.origin == "elsewhere" and heard:
        return _unconfirmed(heard.report, intent)
    if status == "unconfirmed" and (sight := _lost_from_sight(known)):
        return sight, known.details.message if known.details else None
    if status == "unconfirmed" and answer:
        return _lost(known, intent, answer), answer.message
    return None, None


def _abandoned(known: Evidence) -> tuple[Code, str | None]:
    answer = known.answer
    if known.abandonment is None and answer and answer.known_as:
        step = f"Use session.task({answer.known_as!r})."
        text = f"the provider already had this task; it is the row {answer.known_as}"
        return Code(answer.code, text, False, None, step, "duplicate"), answer.message or text
    reason = known.abandonment.reason if known.abandonment else None
    step = "Nothing, unless you want it after all: session.adopt its provider id, or submit it with again=True."
    return Code(None, "it is not followed any further", False, None, step, "unknown"), reason


def _unconfirmed(report: Report, intent: Intent) -> tuple[Code, str | None]:
    """Return what an unproven delivery says of a task that was submitted elsewhere."""
    if report.state == "unreadable":
        text, step = "the delivery could not be read", "Look at its body in session.deliveries()."
        return Code(None, text, False, None, step, "unknown"), report.message
    code = meaning(intent.kind, intent.dialect, "callback", report.code, report.stage)
    if report.state == "undelivered" or _NO_LINK in report.notes:
        step = "Wait for the next delivery, or ask with the provider's key: session.adopt its provider id."
        return replace(code, meaning=f"{code.meaning}; {_NO_LINK}", next_step=step), report.message
    if report.state == "succeeded":
        step = "Check that it is yours, then task.confirm(); with the provider's key, details confirm it."
        return replace(code, next_step=step), report.message
    return code, report.message


def _lost(known: Evidence, intent: Intent, answer: Answer) -> Code:
    """Return what to say of a submission whose answer never came: what it may have cost, and the ways out."""
    kind = KINDS.get(intent.kind)
    price = kind.credits.get(intent.dialect) if kind and intent.dialect in kind.priced else None
    cost = f"{price:g} credits" if price else "its price"
    text = f"the answer to the submission was lost: the task may exist, and {cost} may have been charged"
    waiting = "Its callback settles it if it still arrives" if known.listening else "Nothing will call back"
    step = (
        f"{waiting}; session.adopt the id that the provider's own log shows; task.resubmit() buys it again, for up "
        f"to {cost} more; task.forget() lets it go."
    )
    return Code(answer.code, text, False, None, step, "unknown")


def _lost_from_sight(known: Evidence) -> Code | None:
    """Return what to say of a task that the details endpoint has not shown for so long that it may never."""
    report = known.details
    if report is None or known.details_since is None or known.asked_at is None:
        return None
    shown_nothing = known.asked_at - known.details_since
    if report.state == "missing" and shown_nothing >= _NOT_VISIBLE_YET:
        step = "Check the id and the provider; the kit goes on asking now and then. task.forget() ends that."
        return Code(report.code, "the provider does not know this task id", False, None, step, "unknown")
    if report.state == "undelivered" and shown_nothing >= _STILL_COMING:
        text = "the provider could not deliver its callback and shows no result; it may have been made and charged"
        step = "Look at the task in the provider's own log; the kit goes on asking now and then."
        return Code(report.code, text, False, None, step, "unknown")
    return None


def _submitted_at(known: Evidence, intent: Intent) -> datetime | None:
    if intent.origin == "here":
        return known.departed_at or (known.answer.at if known.answer else None)
    reports = [known.verdict.report] if known.verdict else []
    created = next((r.created_at for r in (*reports, known.details) if r and r.created_at), None)
    first = known.heard[0].since if known.heard else None
    return created or (first if intent.origin == "elsewhere" else intent.at)


def _finished_at(known: Evidence, status: Status, submitted_at: datetime | None) -> datetime | None:
    if status == "abandoned":
        fact = known.abandonment or known.answer
        return fact.at if fact else None
    if status not in ("succeeded", "failed"):
        return None
    if known.verdict is None:
        return known.answer.at if known.answer else None
    done, at = known.verdict.report.completed_at, known.verdict.at
    # The provider's clock is believed only where it fits between what our own has seen.
    return done if done and done <= at and (submitted_at is None or submitted_at <= done) else at


def _stage(known: Evidence, heard: Heard | None) -> str | None:
    return known.details.stage if known.details and known.details.stage else heard.report.stage if heard else None


def _files(known: Evidence, intent: Intent) -> tuple[FileState, ...]:
    links = {(link.role, link.index): link for link in known.links}
    facts = {(fact.role, fact.index): fact for fact in known.files}
    life = _life(known, intent)
    wanted = intent.save or known.save_asked
    states = (_file(key, links.get(key), facts.get(key)) for key in sorted({*links, *facts}))
    return tuple(replace(state, wanted=wanted, linked_at=life[0], expires_at=life[1]) for state in states)


# What a file's last fact says of it, name by name.
_TOLD = (
    "status", "path", "bytes", "sha256", "media_type", "verified", "duration_s", "width", "height", "sample_rate",
    "loudness_lufs", "silence_s", "clipped", "reason",
)  # fmt: skip


def _file(key: tuple[str, int], link: Link | None, fact: FileFact | None) -> FileState:
    urls = link.urls if link else ()
    state = FileState(*key, urls=urls, url=urls[0] if urls else None)
    if fact is None:
        return state
    told = {name: getattr(fact, name) for name in _TOLD}
    return replace(state, url=fact.url or state.url, saved_at=fact.at if fact.status == "saved" else None, **told)


def _life(known: Evidence, intent: Intent) -> tuple[datetime | None, datetime | None]:
    """Return when the links' life began, with completion or as we heard of it, and when it ends.

    The retention is the shorter one where pages differ.
    """
    if known.verdict is None or known.verdict.report.state != "succeeded":
        return None, None
    kind = KINDS.get(intent.kind)
    days = min(_RETENTION_DAYS, kind.retention_days.get(intent.dialect, _RETENTION_DAYS) if kind else _RETENTION_DAYS)
    done, at = known.verdict.report.completed_at, known.verdict.at
    began = done if done and done <= at else at
    try:
        return began, began + timedelta(days=days)
    except OverflowError:
        return began, None


def _notes(known: Evidence, heard: Heard | None) -> tuple[str, ...]:
    notes = list(known.notes)
    ours = known_id(known) or heard_id(known)
    others = sorted({h.report.task_id for h in known.heard if h.report.task_id not in (None, ours)}, key=str)
    notes += [f"a delivery named another task id ({other}) and was left aside" for other in others[:_OTHERS_NAMED]]
    if len(others) > _OTHERS_NAMED:
        notes.append(f"deliveries named {len(others) - _OTHERS_NAMED} more task ids, and all were left aside")
    if known.details and known.verdict is None:
        notes += known.details.notes
        if known.details.state == "missing":
            notes.append("the provider does not show this task id (yet)")
        if known.details.state == "undelivered":
            notes.append("the provider could not deliver its callback and shows no result (yet)")
    if heard:
        notes += heard.report.notes
    if heard and known.verdict:
        notes += _differences(heard.report, known.verdict.report)
    notes += _twins(known.files)
    return tuple(dict.fromkeys(notes))


def _twins(files: tuple[FileFact, ...]) -> list[str]:
    """Return what to say of files of one role that are the same byte for byte: two were paid for, one was made."""
    first: dict[tuple[str, str], FileFact] = {}
    saved = [file for file in files if file.status == "saved" and file.sha256]
    pairs = [(first.setdefault((file.role, file.sha256 or ""), file), file) for file in saved]
    return [f"{a.role} {b.index + 1} is the same file as {a.role} {a.index + 1}" for a, b in pairs if a is not b]


def _differences(heard: Report, decided: Report) -> list[str]:
    if heard.state != decided.state:
        return [f"a delivery said {heard.state}; the details endpoint decided"]
    if heard.code in (None, decided.code):
        return []
    # Anybody who knows the URL may have sent it, so that it explains and decides nothing.
    return [f"a delivery gave the code {heard.code}: {heard.message or 'without a message'}"]


def _credits(known: Evidence, intent: Intent) -> float | None:
    kind, answer = KINDS.get(intent.kind), known.answer
    if intent.origin != "here" or answer is None or answer.outcome == "unknown":
        return None
    if answer.outcome != "accepted":
        return 0.0
    return kind.credits.get(intent.dialect) if kind and intent.dialect in kind.priced else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

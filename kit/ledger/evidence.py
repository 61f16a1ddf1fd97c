"""Owns what the facts of one task have said, gathered so that repeating or reordering deliveries changes nothing.

It knows no clock and no storage, and no sequence of facts raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from kit.ledger.facts import (
    Abandonment,
    Answer,
    Confirmation,
    Delivery,
    Departure,
    Details,
    Fact,
    FileFact,
    Intent,
    Loss,
    SaveRequest,
    to_microseconds,
)
from kit.provider.wire import parse_delivery, parse_details

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.provider.wire import Link, Report, Take

__all__ = ["Evidence", "Heard", "LearnedBy", "Verdict", "gather", "heard_id", "heard_of", "known_id"]

LearnedBy = Literal["callback", "poll", "submit"]

_LINKS_MAY_COME = timedelta(minutes=10)  # after this a finished task is taken with the links it has
_HEARD_IDS = 256  # more than one URL takes deliveries: no flood of made-up ids pushes the true one out
_RANK = {"succeeded": 5, "failed": 4, "undelivered": 3, "pending": 2, "missing": 1, "unreadable": 0}
_ANSWER_RANK = {"accepted": 2, "duplicate": 2, "rejected": 1, "unknown": 0}


@dataclass(frozen=True)
class Heard:
    """The most telling delivery that names one task id, and when that id was first heard."""

    report: Report
    at: datetime
    since: datetime
    order: tuple[Any, ...]


@dataclass(frozen=True)
class Verdict:
    """What decided a task: a details answer, or a delivery that a person vouches for."""

    report: Report
    at: datetime
    learned_by: LearnedBy
    page: Literal["details", "callback"]


@dataclass(frozen=True)
class Evidence:
    """Everything the facts so far have said about one task.

    `not_ours` are ids that deliveries named and details showed to be another task's; `not_seen` says how often the
    provider did not show an id that deliveries named.
    """

    task: str
    intent: Intent | None = None
    early: tuple[tuple[int, Fact], ...] = ()
    departed_at: datetime | None = None
    listening: bool = False
    answer: Answer | None = None
    heard: tuple[Heard, ...] = ()
    not_ours: frozenset[str] = frozenset()
    not_seen: Mapping[str, int] = field(default_factory=dict)
    deliveries: int = 0
    details: Report | None = None
    details_id: str | None = None
    details_since: datetime | None = None
    asked: int = 0
    asked_at: datetime | None = None
    verdict: Verdict | None = None
    links: tuple[Link, ...] = ()
    takes: tuple[Take, ...] = ()
    files: tuple[FileFact, ...] = ()
    abandonment: Abandonment | None = None
    save_asked: bool = False
    notes: tuple[str, ...] = ()
    last_seq: int = 0


def gather(known: Evidence, seq: int, fact: Fact) -> Evidence:
    """Return `known` with what `fact`, which has the number `seq`, adds to it, but for the last number itself."""
    if isinstance(fact, Intent):
        return _with_intent(known, fact)
    if known.intent is None:  # how to read it is not known yet
        return replace(known, early=(*known.early, (seq, fact)))
    match fact:
        case Departure():
            return _with_departure(known, fact)
        case Answer():
            rank = -1 if known.answer is None else _ANSWER_RANK.get(known.answer.outcome, 0)
            return replace(known, answer=fact) if _ANSWER_RANK.get(fact.outcome, 0) > rank else known
        case Delivery():
            return _with_delivery(known, known.intent, fact)
        case Details():
            return _with_details(known, known.intent, fact)
        case FileFact():
            return _with_file(known, fact)
        case Loss():
            return _with_loss(known, fact)
        case Confirmation():
            return _with_confirmation(known, known.intent)
        case Abandonment():
            return replace(known, abandonment=fact)
        case SaveRequest():
            return replace(known, save_asked=True)
    return known


def _with_intent(known: Evidence, fact: Intent) -> Evidence:
    if known.intent is not None:
        return known
    early, known = known.early, replace(known, intent=fact, early=())
    for seq, waiting in early:
        known = gather(known, seq, waiting)
    return known


def _with_departure(known: Evidence, fact: Departure) -> Evidence:
    open_again = known.answer is None or known.answer.outcome in ("unknown", "rejected")
    answer = None if open_again else known.answer  # a new request leaves: what the last one said is over
    return replace(known, departed_at=fact.at, listening=fact.listening, answer=answer)


def _with_delivery(known: Evidence, intent: Intent, fact: Delivery) -> Evidence:
    report = parse_delivery(intent.kind, intent.dialect, fact.body)
    rank = _RANK.get(report.state, 0)
    order = (
        fact.signature != "invalid",
        rank,
        fact.signature == "valid",
        len(report.links) + len(report.takes) if rank < _RANK["failed"] else 0,  # a later stage says more
        -to_microseconds(fact.at),  # the first that says it
        repr(report),  # and no two ways to sort two deliveries of one moment
    )
    fresh = Heard(report, fact.at, fact.at, order)
    same = next((h for h in known.heard if h.report.task_id == report.task_id), fresh)
    if same is not fresh and same.order >= order and same.since <= fact.at:
        return replace(known, deliveries=known.deliveries + 1)  # it says nothing that was not heard before
    best = replace(max(same, fresh, key=lambda h: h.order), since=min(same.since, fresh.since))
    others = [h for h in known.heard if h.report.task_id != report.task_id]
    heard = sorted((*others, best), key=lambda h: (h.since, h.report.task_id or ""))
    return replace(known, heard=tuple(heard[:_HEARD_IDS]), deliveries=known.deliveries + 1)


def _with_details(known: Evidence, intent: Intent, fact: Details) -> Evidence:
    report = parse_details(intent.kind, intent.dialect, fact.http_status, fact.body.encode("utf-8", "replace"))
    ours, about = intent.task_id or (known.answer.task_id if known.answer else None), report.task_id or fact.asked_id
    if ours and about and about != ours:
        return _noted(known, f"a details answer was about another task ({about}) and was left aside")
    if not ours and intent.origin == "here" and fact.asked_id:
        # Who named this id was a delivery, which anybody may have sent: the answer must not belong to another task.
        if fact.echo == "other":
            note = f"a delivery named the id of another task ({fact.asked_id}), which was left aside"
            return replace(_noted(known, note), not_ours=known.not_ours | {fact.asked_id})
        if report.state == "missing":
            times = known.not_seen.get(fact.asked_id, 0) + 1
            return replace(known, not_seen={**known.not_seen, fact.asked_id: times}, asked=known.asked + 1)
        if fact.echo == "none" and known.answer is None:
            return known  # the submit answer is still to come, and will say whether this id is ours
    before = known.details
    same = before is not None and (before.state, before.incomplete) == (report.state, report.incomplete)
    since = known.details_since if same and known.details_since else fact.at
    if report.incomplete and fact.at - since >= _LINKS_MAY_COME:
        known = _noted(known, "the provider finished it without a usable link for each of its files")
        report = replace(report, state="succeeded")
    known = replace(
        known,
        details=report,
        details_since=since,
        details_id=known.details_id or (about if report.state not in ("missing", "unreadable") else None),
        asked=known.asked + 1,
        asked_at=fact.at,
    )
    learned_by: LearnedBy = "poll" if fact.cause == "person" else fact.cause
    return _with_verdict(known, Verdict(report, fact.at, learned_by, "details"))


def _with_verdict(known: Evidence, verdict: Verdict) -> Evidence:
    """Let `verdict` decide: the first success stays, and a success takes the place of a failure (14 row 29).

    Where a person vouched for a delivery and details then say the same, details' links take the place of its links.
    """
    before = known.verdict.report.state if known.verdict else None
    after = verdict.report.state
    proves = known.verdict is not None and (known.verdict.page, verdict.page) == ("callback", "details")
    if after == "failed" and before == "succeeded":
        return _noted(known, "an answer after the success said that it failed; the success stays")
    if after == "succeeded":
        fresh = {(link.role, link.index): link for link in verdict.report.links}
        kept = {(link.role, link.index): link for link in (() if proves else known.links)} | fresh
        links = tuple(kept[key] for key in sorted(kept))
        known = replace(known, links=links, takes=verdict.report.takes or known.takes)
    decides = after in ("succeeded", "failed") and before not in ("succeeded", after)
    return replace(known, verdict=verdict) if decides or (proves and after == before) else known


def _with_file(known: Evidence, fact: FileFact) -> Evidence:
    key = (fact.role, fact.index)
    latest = {(f.role, f.index): f for f in known.files}
    if key in latest and latest[key].status == "saved" and fact.status != "saved":
        return known  # a saved file is never taken back
    latest[key] = fact
    return replace(known, files=tuple(latest[k] for k in sorted(latest)))


def _with_loss(known: Evidence, fact: Loss) -> Evidence:
    """Take a saved file back; where none is saved there is nothing to lose."""
    kept = {(f.role, f.index): f for f in known.files}
    lost = kept.get((fact.role, fact.index))
    if lost is None or lost.status != "saved":
        return known
    kept[lost.role, lost.index] = FileFact(
        task=fact.task, at=fact.at, role=fact.role, index=fact.index, status="failed", reason=fact.reason
    )
    return replace(known, files=tuple(kept[key] for key in sorted(kept)))


def _with_confirmation(known: Evidence, intent: Intent) -> Evidence:
    heard = heard_of(known)
    if heard is None or _RANK.get(heard.report.state, 0) < _RANK["failed"]:
        return _noted(known, "there was nothing to confirm yet")
    if intent.origin != "elsewhere" and known_id(known):
        return _noted(known, "a confirmation was left aside: the details endpoint decides this task")
    # What arrived is frozen here: whoever holds the URL cannot change what a person has vouched for.
    return _with_verdict(known, Verdict(heard.report, heard.at, "callback", "callback"))


def _noted(known: Evidence, note: str) -> Evidence:
    return known if note in known.notes else replace(known, notes=(*known.notes, note))


def known_id(known: Evidence) -> str | None:
    """Return the provider's id from those who can know it: the person, the submit answer, a details answer."""
    asked = known.intent.task_id if known.intent else None
    return asked or (known.answer.task_id if known.answer else None) or known.details_id


def heard_id(known: Evidence) -> str | None:
    """Return the id that deliveries named and that is to be asked for, of those that details did not disown.

    A listen-only URL is for the task that was named first. On the URL of a submission whose answer was lost each id
    has its turn: the one that the provider was seen not to show least often, then a signed one, then the newest.
    """
    named = [h for h in known.heard if h.report.task_id and h.report.task_id not in known.not_ours]
    if known.intent is None or known.intent.origin == "elsewhere":
        return named[0].report.task_id if named else None
    turn = min(named, key=lambda h: _turn(known, h), default=None)
    return turn.report.task_id if turn else None


def _turn(known: Evidence, heard: Heard) -> tuple[Any, ...]:
    id, (unforged, _, signed, *_) = heard.report.task_id or "", heard.order
    return known.not_seen.get(id, 0), not unforged, not signed, -to_microseconds(heard.since), id


def heard_of(known: Evidence) -> Heard | None:
    """Return the most telling delivery that is about this task's id, or names none."""
    ours = known_id(known) or heard_id(known)
    return max((h for h in known.heard if h.report.task_id in (None, ours)), key=lambda h: h.order, default=None)

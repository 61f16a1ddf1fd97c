"""Owns what each arrival of a callback meant for its task: one word of a small closed set; it decides nothing.

The words are read off the arrivals in their order and the task's state as it is now; nothing here has a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from kit.ledger.fold import TaskState
    from kit.provider.wire import Report

__all__ = ["EFFECTS", "Effect", "Hearing"]

Effect = Literal[
    "first news",
    "later stage",
    "earlier stage",
    "repeat",
    "agrees with details",
    "contradicted by details",
    "confirmed by you",
    "waiting for details",
    "unconfirmed",
    "not followed",
    "set aside",
    "unreadable",
]
EFFECTS: tuple[Effect, ...] = get_args(Effect)

_ENDS = ("succeeded", "failed")


class Hearing:
    """What has been heard of one task so far; `effect` tells what the next arrival adds to it."""

    def __init__(self) -> None:
        self._said: set[object] = set()
        self._furthest: tuple[bool, int] | None = None

    def effect(self, report: Report, state: TaskState | None) -> Effect:
        """Return the word for the next arrival of this task, which says `report`; call it once for each, in order."""
        if report.state == "unreadable":
            return "unreadable"
        if state is None:
            return "unconfirmed"
        if _is_anothers(report.task_id, state):
            return "set aside"
        says = (report.state, report.stage, report.code, report.links, report.takes)
        if says in self._said:
            return "repeat"
        self._said.add(says)
        before, reached = self._furthest, _reached(report)
        self._furthest = reached if before is None else max(before, reached)
        if report.state in _ENDS:
            return _end(report, state)
        if state.origin == "elsewhere" and not state.confirmed:
            return "unconfirmed"
        return "first news" if before is None else "later stage" if reached >= before else "earlier stage"


def _is_anothers(named: str | None, state: TaskState) -> bool:
    """Tell whether a report names a task that its URL is not for; while the own id is not known nobody can tell."""
    if named is None:
        return False
    return named in state.evidence.not_ours or (state.task_id is not None and named != state.task_id)


def _reached(report: Report) -> tuple[bool, int]:
    """Return how far a report says that its task has come: an end is further than any stage, more results further."""
    return report.state in _ENDS, len(report.links) + len(report.takes)


def _end(report: Report, state: TaskState) -> Effect:
    """Return the word for an arrival that says how the task ended: who decided, and whether it was right."""
    verdict = state.evidence.verdict
    if verdict is not None and verdict.page == "callback":
        return "confirmed by you" if report.state == verdict.report.state else "unconfirmed"
    if verdict is not None and verdict.report.state in _ENDS:
        return "agrees with details" if report.state == verdict.report.state else "contradicted by details"
    if state.status == "abandoned":
        return "not followed"
    can_be_asked = state.origin != "elsewhere" and (state.task_id or report.task_id)
    return "waiting for details" if can_be_asked else "unconfirmed"

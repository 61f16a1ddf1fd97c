"""Owns the words around what a person asks of a session: names that are not ours, wishes made before, prices.

It asks for nothing itself.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kit.errors import DuplicateTask, InvalidInput
from kit.provider.kinds import KINDS, Kind, kind_named
from kit.settings import Secret

if TYPE_CHECKING:
    from kit.ledger.fold import TaskState

__all__ = [
    "check_kind",
    "delivery_number",
    "duplicate_of",
    "earlier_wish",
    "not_used",
    "price_of",
    "refuse_unknown",
    "second_try",
]

# Names of the providers' own that are no parameter here: what to do instead.
_INSTEAD = {
    "customMode": "no customMode: a description alone is the simple mode, style and title are the custom mode",
    "callBackUrl": "no callBackUrl: every submission gets a secret address of its own",
    "taskId": "no taskId: what a task is made from is the first argument",
    "audioId": "no audioId: what a task is made from is the first argument",
}


def refuse_unknown(call: Callable[..., Any], kind_name: str, unknown: Mapping[str, object]) -> None:
    """Refuse keyword arguments that a call does not have; a provider's own word for one is answered with ours.

    Raises:
        InvalidInput: for the first of them; nothing was sent.
    """
    for name, value in unknown.items():
        kind, ours = kind_named(kind_name), _names(call)
        hidden = Secret(str(value)) if any(word in name.lower() for word in ("key", "token", "secret")) else value
        raise InvalidInput(name, hidden, _what_to_write(name, kind, ours), kind.example)


def _names(call: Callable[..., Any]) -> list[str]:
    kinds = inspect.signature(call).parameters.values()
    return [p.name for p in kinds if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD]


def _what_to_write(name: str, kind: Kind, ours: list[str]) -> str:
    instead = next((text for word, text in _INSTEAD.items() if _plain(word) == _plain(name)), None)
    if instead is not None:
        return instead
    called = [p.name for p in kind.params if p.name in ours and _plain(name) in (_plain(p.wire), _plain(p.name))]
    if called:
        return f"{' or '.join(called)}, as {name} is called here"
    by_plain = {_plain(own): own for own in ours}
    if close := get_close_matches(_plain(name), by_plain, n=1):
        return f"a parameter that this call has; {by_plain[close[0]]} comes closest"
    return f"a parameter that this call has: {', '.join(ours)}"


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def check_kind(kind: str, example: str) -> None:
    """Refuse what is no API type."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInput("kind", kind, f"one of {', '.join(KINDS)}", example)


def earlier_wish(state: TaskState) -> str:
    """Return what to say where the same wish was made before."""
    label, status = kind_named(state.kind).label, state.status
    if status in ("failed", "abandoned"):
        return f"This {label} was tried before (task {state.id}, {status}); nothing was sent. again=True tries again."
    if status == "unconfirmed":
        return (
            f"This is the earlier {label} task {state.id}, and nothing more was spent. {state.next_step or ''}".strip()
        )
    only = "The provider makes only one." if kind_named(state.kind).dedup else "again=True would buy another."
    return f"This is the earlier {label} task {state.id} ({status}), and nothing was spent. {only}"


def not_used(wished: TaskState, known: TaskState) -> str:
    """Return what to say where the provider already had what another wish asked for."""
    label = kind_named(known.kind).label
    differ = [k for k in wished.params if wished.params.get(k) != known.params.get(k)]
    values = ", ".join(f"{k}={wished.params.get(k)!r} (it has {known.params.get(k)!r})" for k in differ)
    unused = f" Not used: {values}. Choose another take, or a new song." if differ else ""
    return f"The provider already has its one {label} of this: task {known.id}. Nothing was spent.{unused}"


def second_try(lost: TaskState, new: str, *, before: bool) -> str:
    """Return what to say where a task is submitted in the stead of another, or was `before`."""
    label = kind_named(lost.kind).label
    if before:
        return f"This {label} was submitted again before, as task {new}: it is returned, and nothing was spent."
    left = f"Task {lost.id} is let go." if lost.status == "unconfirmed" else f"Task {lost.id} stays as it ended."
    twice = " The lost one may have been charged too." if lost.status == "unconfirmed" else ""
    return f"Submitting this {label} again as task {new}, for {price_of(lost)}.{twice} {left}"


def price_of(state: TaskState) -> str:
    """Return in words what one more submission of this costs, where the provider publishes it."""
    kind = kind_named(state.kind)
    price = kind.credits.get(state.dialect) if state.dialect in kind.priced else None
    return f"up to {price:g} credits" if price else "its price"


def duplicate_of(state: TaskState) -> DuplicateTask:
    """Return the error for a submission of what the provider already has, as a task that nobody here knows."""
    return DuplicateTask(
        id=state.id,
        kind=state.kind,
        code=state.code,
        provider_message=state.message,
        meaning=state.meaning or "the provider already has this task",
        refunded=None,
        next_step=f'find its id at the provider and follow it: session.adopt("<id>", kind="{state.kind}")',
    )


def delivery_number(delivery: object) -> int:
    """Return the number of a delivery that is given as a number, a row, or a frame of one row; refuse anything else."""
    found = delivery
    if getattr(found, "columns", None) is not None:  # a frame; it is not asked for by class, so that pandas stays away
        found = found.iloc[0] if len(found) == 1 else None  # type: ignore[attr-defined,arg-type]
    if hasattr(found, "index") and hasattr(found, "get"):
        found = found.get("seq")
    try:
        seq = -1 if isinstance(found, bool) else operator.index(found)  # type: ignore[arg-type]
    except TypeError:
        seq = -1
    if seq < 1:
        expected = "one row of session.deliveries(), or its number, the column seq"
        raise InvalidInput("delivery", delivery, expected, "session.replay(session.deliveries().iloc[-1])")
    return seq

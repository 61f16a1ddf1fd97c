"""Owns the misbehaviour somebody asked for and who gets it next; it must not know how it is carried out."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from kit.errors import InvalidInput
from kit.provider.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.provider.kinds import Dialect, Kind
    from kit.sandbox.store import Store

__all__ = ["ANSWERS", "ANY_KIND", "WORDS", "Faults", "Plan", "Wish", "plan_for"]

ANY_KIND = "*"
ANSWERS = 3

WORDS: Mapping[str, Mapping[str, str]] = {
    "callbacks": {
        "lost": "never sent; the job succeeds all the same",
        "refused": "as if the receiver had refused: nothing arrives; CALLBACK_EXCEPTION, with its result",
        "duplicate": "every delivery arrives twice",
        "late": "sent long after the job ended (120 s of the provider's time)",
        "reordered": "the stages of music arrive last first",
        "last_only": "music's text and first are skipped",
        "null": "data is null",
        "no_data": "there is no data",
        "other_id_key": "taskId where task_id is documented, and the other way round",
        "other_url_key": "the other documented spelling of the link",
        "no_link": "success with a placeholder where the link should be",
        "wrong_signature": "signed with another key (kie)",
        "stale_signature": "signed for an hour ago (kie)",
    },
    "media": {
        "slow": "arrives at 32 kB a second",
        "truncated": "ends in the middle of the file",
        "html": "an HTML error page with status 200",
        "forbidden": "HTTP 403, for good",
        "expired": "HTTP 404, for good",
        "large": "a gigabyte, for good: the same film with padding behind it (video)",
    },
    "details": {
        "outage": "HTTP 500",
        "null": "data is null",
        "no_link": "success without a usable link",
    },
    "submit": {
        "rate_limited": "refused: too many requests",
        "no_credits": "refused: the balance is too low",
        "lost_answer": "accepted and charged, but the connection closes without an answer",
    },
}
_ONLY_MUSIC = ("reordered", "last_only")
_ONLY_KIE = ("wrong_signature", "stale_signature")
_OTHER_SPELLING = ("video", "wav")
_ONLY_VIDEO = ("large",)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What goes wrong with one job; every field None is a job without faults.

    `answers` says how many answers of the details endpoint, or of each file, are affected before all is well again;
    None is `ANSWERS`.
    """

    code: int | None = None
    callbacks: str | None = None
    media: str | None = None
    details: str | None = None
    submit: str | int | None = None
    task_id: str | None = None
    answers: int | None = None

    def over(self, under: Plan) -> Plan:
        """Return this plan with `under` where this one says nothing."""
        return replace(under, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One request for misbehaviour: for which kind, what, and whether it stands or is used up by one job."""

    kind: str
    plan: Plan
    standing: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


class Faults:
    """The waiting wishes: one-shot ones first in, first out for each kind; standing ones under all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wishes = [Wish(**{**row, "plan": Plan(**row["plan"])}) for row in store.all("faults")]

    def add(self, wish: Wish) -> None:
        """Put a wish at the end of its line."""
        self._wishes.append(wish)
        self._store.put("faults", wish.id, asdict(wish))

    def take(self, kind: str) -> Plan:
        """Return what the next job of `kind` does wrong, and use up the one-shot wish it came from."""
        plan = Plan()
        for wish in self._wishes:
            if wish.standing and wish.kind in (kind, ANY_KIND):
                plan = wish.plan.over(plan)
        once = next((wish for wish in self._wishes if not wish.standing and wish.kind == kind), None)
        if once is None:
            return plan
        self.remove(once.id)
        return once.plan.over(plan)

    def remove(self, wish_id: str) -> bool:
        """Take a wish back; return False where it was used up already."""
        kept = [wish for wish in self._wishes if wish.id != wish_id]
        found = len(kept) < len(self._wishes)
        self._wishes = kept
        self._store.drop("faults", wish_id)
        return found

    def clear(self) -> None:
        """Take every wish back."""
        for wish in list(self._wishes):
            self.remove(wish.id)

    def waiting(self) -> list[Wish]:
        """Return the wishes nobody used up yet, oldest first."""
        return list(self._wishes)


def plan_for(kind: str, dialect: Dialect, wanted: Mapping[str, Any]) -> Plan:
    """Return the checked plan; raise `InvalidInput` naming the kind, the value and a call that would work."""
    known = {each.name for each in fields(Plan)}
    for name in wanted:
        if name not in known:
            raise InvalidInput(name, wanted[name], f"one of {sorted(known)}", _example(kind))
    plan = Plan(**{name: value for name, value in wanted.items() if value is not None})
    rows = [row for row in KINDS.values() if kind in (row.name, ANY_KIND)]
    if not rows:
        raise InvalidInput("kind", kind, f"one of {', '.join(KINDS)}", "sandbox.next('video', callbacks='lost')")
    for row in rows:
        _check_code(row, dialect, plan)
        _check_submit(row, dialect, plan)
    for name in ("callbacks", "media", "details"):
        _check_word(name, getattr(plan, name), kind)
    _check_fit(kind, dialect, plan)
    return plan


def _example(kind: str) -> str:
    return f"sandbox.next({'video' if kind == ANY_KIND else kind!r}, callbacks='lost')"


def _check_code(row: Kind, dialect: Dialect, plan: Plan) -> None:
    codes = sorted(code for code in row.callback_codes[dialect] if code != 200)
    if plan.code is not None and plan.code not in codes:
        expected = f"a failure code that {dialect} documents for the callbacks of {row.name}: {codes}"
        raise InvalidInput("code", plan.code, expected, f"sandbox.next({row.name!r}, code={codes[-1]})")


def _check_submit(row: Kind, dialect: Dialect, plan: Plan) -> None:
    if plan.submit is None or (isinstance(plan.submit, str) and plan.submit in WORDS["submit"]):
        return
    codes = sorted(code for code in row.submit_codes[dialect] if code != 200)
    if plan.submit not in codes:
        expected = f"one of {list(WORDS['submit'])} or a code {dialect} documents for submitting {row.name}: {codes}"
        raise InvalidInput("submit", plan.submit, expected, f"sandbox.next({row.name!r}, submit={codes[-1]})")


def _check_word(name: str, word: object, kind: str) -> None:
    if word is not None and (not isinstance(word, str) or word not in WORDS[name]):
        first = next(iter(WORDS[name]))
        raise InvalidInput(name, word, f"one of {list(WORDS[name])}", f"sandbox.next({kind!r}, {name}={first!r})")


def _check_fit(kind: str, dialect: Dialect, plan: Plan) -> None:
    word = plan.callbacks
    if word in _ONLY_MUSIC and kind not in ("music", ANY_KIND):
        expected = f"a word that fits {kind}, which has one stage only ({word} is for music)"
        raise InvalidInput("callbacks", word, expected, f"sandbox.next('music', callbacks={word!r})")
    if word == "other_url_key" and kind not in (*_OTHER_SPELLING, ANY_KIND):
        expected = f"a kind whose link has two spellings {_OTHER_SPELLING}, not {kind}"
        raise InvalidInput("callbacks", word, expected, "sandbox.next('wav', callbacks='other_url_key')")
    if plan.media in _ONLY_VIDEO and kind not in ("video", ANY_KIND):
        expected = f"a word that fits {kind} ({plan.media} is for video)"
        raise InvalidInput("media", plan.media, expected, f"sandbox.next('video', media={plan.media!r})")
    if word in _ONLY_KIE and dialect != "kie":
        raise InvalidInput("callbacks", word, f"signatures exist in the kie dialect, not in {dialect}", _example(kind))
    if plan.task_id is not None and (not isinstance(plan.task_id, str) or not plan.task_id):
        raise InvalidInput("task_id", plan.task_id, "a task id of at least one character", _example(kind))
    if plan.answers is not None and (not isinstance(plan.answers, int) or plan.answers < 1):
        raise InvalidInput("answers", plan.answers, "how many answers are affected, 1 or more", _example(kind))

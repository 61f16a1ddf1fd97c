"""Owns how long the links of unsaved files live, and what to say of it; it must not know how files are fetched."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kit.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kit.ledger.fold import FileState, TaskState

__all__ = ["duration", "warnings"]

LONGEST = timedelta(days=36_500)
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WORDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(min|h|d|w)\s*", re.ASCII | re.IGNORECASE)
# (share of a link's life that is over, how it is said); a file is counted once, under the first that it has reached
_STEPS = (
    (1.0, "and the time of {links} is over: what is left may be gone any moment"),
    (0.8, "and four fifths of {time} is over"),
    (0.5, "and half of {time} is over"),
)


def duration(value: object, *, name: str = "within") -> timedelta:
    """Return a stretch of time that is given as ``"3d"``, ``"12h"``, ``"90min"``, ``"2w"`` or a timedelta.

    A `pandas.Timedelta` is one too.

    Raises:
        InvalidInput: it is none of these, negative, or longer than a hundred years.
    """
    span = value if isinstance(value, timedelta) else _parsed(value)
    # The comparison also refuses pandas' NaT, which is no timedelta by its class but may be made one.
    if span is None or not timedelta(0) <= span <= LONGEST:
        expected = 'a stretch of time such as "3d", "12h" or "90min", or a timedelta, up to 36500 days'
        raise InvalidInput(name, value, expected, f'session.expiring({name}="3d")')
    return timedelta(days=span.days, seconds=span.seconds, microseconds=span.microseconds)


def _parsed(value: object) -> timedelta | None:
    found = _WORDS.fullmatch(value) if isinstance(value, str) else None
    return timedelta(**{_UNITS[found[2].lower()]: float(found[1])}) if found else None


def warnings(states: Iterable[TaskState], now: datetime) -> list[str]:
    """Return a sentence for each step of a link's life that unsaved files have reached, the most urgent first.

    Counted are files whose link may still be good: neither saved nor known to be expired.
    """
    reached: dict[float, list[FileState]] = {share: [] for share, _ in _STEPS}
    for file in (f for state in states if state.shown for f in state.files if f.status not in ("saved", "expired")):
        step = next((share for share, _ in _STEPS if _life_over(file, now) >= share), None)
        if step is not None:
            reached[step].append(file)
    return [_sentence(reached[share], words) for share, words in _STEPS if reached[share]]


def _life_over(file: FileState, now: datetime) -> float:
    """Return how much of the life of a file's link is over, 1 at its end; 0 where nobody knows."""
    if file.linked_at is None or file.expires_at is None or file.expires_at <= file.linked_at:
        return 0.0
    return (now - file.linked_at) / (file.expires_at - file.linked_at)


def _sentence(files: Sequence[FileState], words: str) -> str:
    one = len(files) == 1
    soonest = min(f.expires_at for f in files if f.expires_at is not None)
    what = words.format(
        links="its link" if one else "their links", time="its link's time" if one else "their links' time"
    )
    first = "it ends" if one else "the first ends"
    return (
        f"{len(files)} file{'' if one else 's'} {'is' if one else 'are'} not saved, {what}; {first} about "
        f"{soonest.astimezone(UTC):%Y-%m-%d %H:%M} UTC. Next: session.save_all()"
    )

"""Owns how everything stands, for a person: the service's own account in plain words, and the one thing that matters.

It is a look at one moment; it asks nobody and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kit.notebook.widgets.words import one_line, size
from kit.provider.kinds import kind_named

if TYPE_CHECKING:
    import pandas as pd

    from kit.ledger.fold import TaskState

__all__ = ["Health", "open_ends"]

LITTLE_ROOM = 2 * 10**9  # bytes; a handful of WAVs, with room for the ledger
_ARRIVED = {
    "duplicate": "the same body again",
    "set_aside": "set aside, naming another task",
    "unreadable": "unreadable, kept as they came",
    "bad_signature": "with a signature that does not fit",
    "not_understood": "not worked through yet",
}
_REFUSED = {
    "not_stored": "could not be stored; answered 503, so that the provider tries again",
    "capped": "over the limit of one address",
    "unknown_url": "at an address that was never handed out",
    "expired_url": "at an address whose time is over",
    "wrong_method": "not a POST",
    "not_found": "at another path",
    "too_large": "too large",
    "too_slow": "slower than 10 s",
    "evicted": "too slow, when others needed the connection",
    "bad_request": "no readable HTTP",
}


class Health:
    """How everything stood when it was asked; shown as text and as a card.

    Attributes:
        verdict: "All is well.", or the most important thing that is not; `ok` is True for the first.
        service: pid, version, started_at (UTC), public_port, attached (notebooks), unfinished (tasks), disk_free (in
            bytes).
        needs: sentences; what waits for a person, such as a task whose outcome nobody knows.
        ways: how callbacks get here, one dict each: driver, url, state, problem, since, proven_at, restarts.
        ledger: path, journal_mode, bytes, and a sentence or None in read_only, rebuilt and broken.
        counts: what arrived at the listener, by word, since the state folder began; `duplicate`, `set_aside`,
            `unreadable` and `bad_signature` are read off the deliveries in the ledger.
        providers: name, base_url, pending (tasks), failing (requests in a row without an answer), one dict each.
        notes, swept: sentences; what the service wants known, and what it ended that an earlier one had left.
    """

    def __init__(
        self, told: Mapping[str, Any], deliveries: pd.DataFrame, profile: str, needs: Sequence[str] = ()
    ) -> None:
        self._profile = profile
        names = ("pid", "version", "public_port", "attached", "unfinished", "disk_free")
        self.service: dict[str, Any] = {
            **{name: told.get(name) for name in names},
            "started_at": _moment(told.get("started_at")),
        }
        self.ways: list[dict[str, Any]] = [dict(way) for way in told.get("ways") or () if way.get("in_use", True)]
        self.needs = list(needs)
        self.ledger: dict[str, Any] = dict(told.get("ledger") or {})
        self.counts: dict[str, int] = {**(told.get("counts") or {}), **_counted(deliveries)}
        self.providers: list[dict[str, Any]] = [dict(one) for one in told.get("providers") or ()]
        said = [self.ledger.get(name) for name in ("broken", "read_only", "rebuilt")]
        self.notes: list[str] = [note for note in told.get("notes") or () if note not in said]
        self.swept: list[str] = list(told.get("swept") or ())
        problem = next(self._problems(), None)
        well = "All is well; there is something to know below." if self.notes else "All is well."
        self.ok, self.verdict = problem is None, problem or well

    def __repr__(self) -> str:
        lines = [f"Health: {one_line(self.verdict, 1000)}"]
        for name, values in self._rows():
            heads = [f"  {name:<10}", *[" " * 12] * (len(values) - 1)]
            lines += [f"{head}{one_line(value, 600)}" for head, value in zip(heads, values, strict=True)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from kit.notebook.widgets.card import sheet_card

        word, status = ("well", "succeeded") if self.ok else ("look here", "unconfirmed")
        return sheet_card("Health", word, status, self.verdict, self._rows())

    def _problems(self) -> Iterator[str]:
        """Yield what is wrong, the most important first."""
        yield from (str(self.ledger[name]) for name in ("broken", "read_only") if self.ledger.get(name))
        down = [way for way in self.ways if way.get("state") == "down"]
        yield from (f"Callbacks cannot arrive {_by(way)}: {_problem(way)}" for way in down)
        yield from self.needs
        if self.ledger.get("rebuilt"):
            yield str(self.ledger["rebuilt"])
        free = self.service["disk_free"]
        if isinstance(free, int) and free < LITTLE_ROOM:
            yield f"Only {size(free)} are free on the disk: make room, else files cannot be saved."
        for one in self.providers:
            if one.get("failing"):
                yield f"{one['name']} left {_requests(one['failing'])} without an answer; the kit goes on asking."
        opening = [way for way in self.ways if way.get("state") == "opening"]
        yield from (f"The way {_by(way)} is still opening. {way.get('problem') or ''}".strip() for way in opening)

    def _rows(self) -> list[tuple[str, list[str]]]:
        """Return what is shown, without the rows that have nothing to say."""
        rows = {
            "service": self._of_service(),
            "callbacks": [line for way in self.ways for line in _of_way(way)],
            "waits": self.needs,
            "ledger": self._of_ledger(),
            "arrived": self._arrived(),
            "refused": _in_words(self.counts, _REFUSED),
            "otherwise": _others(self.counts),
            "providers": [_of_provider(one) for one in self.providers],
            "notes": self.notes,
            "cleaned up": self.swept,
        }
        return [(name, values) for name, values in rows.items() if values]

    def _arrived(self) -> list[str]:
        stored, proofs = self.counts.get("stored", 0), self.counts.get("challenged", 0)
        odd = ", ".join(_in_words(self.counts, _ARRIVED))
        lines = [f"{stored:,} stored" if stored else "nothing yet", f"of what the ledger holds: {odd}" if odd else ""]
        lines.append(f"{proofs:,} from the kit itself, proving the way" if proofs else "")
        return [line for line in lines if line]

    def _of_service(self) -> list[str]:
        told, up = self.service, ""
        if told["started_at"] is not None:
            seconds = (datetime.now(UTC) - told["started_at"]).total_seconds()
            up = f", up since {told['started_at']:%Y-%m-%d %H:%M} UTC ({_ago(seconds)})"
        first = f"process {told['pid']}, callboard {told['version']}{up}, public port {told['public_port']}"
        attached = told["attached"] or 0
        free = f", {size(told['disk_free'])} free on the disk" if told["disk_free"] is not None else ""
        return [
            first,
            f"{attached} notebook{'s' * (attached != 1)} attached, {_tasks(told['unfinished'] or 0)} unfinished{free}",
        ]

    def _of_ledger(self) -> list[str]:
        told = self.ledger
        facts = [told.get("path"), f"journal: {told['journal_mode']}" if told.get("journal_mode") else None]
        first = ", ".join(str(fact) for fact in (*facts, size(told.get("bytes"))) if fact)
        return [line for line in (first, *(told.get(name) for name in ("broken", "read_only", "rebuilt"))) if line]


def open_ends(states: Iterable[TaskState]) -> list[str]:
    """Return what a person has to decide: tasks whose outcome nobody knows, and files that could not be saved."""
    said = []
    for state in states:
        name = f"{kind_named(state.kind).label} {state.title!r}" if state.title else kind_named(state.kind).label
        lost = [f for f in state.files if f.wanted and f.status in ("failed", "expired")]
        held = [f for f in state.files if f.wanted and f.status == "waiting" and f.reason]
        if state.status == "unconfirmed":
            said.append(f"{name} ({state.id}) is unconfirmed: {state.meaning}. {state.next_step or ''}".strip())
        elif lost:
            said.append(
                f"{len(lost)} of {len(state.files)} files of {name} ({state.id}) are not saved: {lost[0].reason}."
            )
        elif held:
            said.append(f"{len(held)} of {len(state.files)} files of {name} ({state.id}): {held[0].reason}.")
    return said


def _counted(deliveries: pd.DataFrame) -> dict[str, int]:
    """Return what the table of deliveries says of all that was stored."""
    effects = deliveries["effect"].value_counts()
    return {
        "duplicate": int(deliveries["duplicate"].sum()),
        "set_aside": int(effects.get("set aside", 0)),
        "unreadable": int(effects.get("unreadable", 0)),
        "bad_signature": int((deliveries["signature"] == "invalid").sum()),
    }


def _in_words(counts: Mapping[str, int], words: Mapping[str, str]) -> list[str]:
    return [f"{counts[word]:,} {text}" for word, text in words.items() if counts.get(word)]


def _others(counts: Mapping[str, int]) -> list[str]:
    known = {"stored", "challenged", *_ARRIVED, *_REFUSED}
    return [f"{number:,} {word.replace('_', ' ')}" for word, number in counts.items() if number and word not in known]


def _of_way(way: Mapping[str, Any]) -> Iterable[str]:
    since, proven = _moment(way.get("since")), _moment(way.get("proven_at"))
    when = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
    if way.get("driver") == "none":
        return ["none: results are found by polling alone"]
    if way.get("driver") == "direct":
        return ["directly, on this machine"]
    restarts = way.get("restarts") or 0
    again = f", restarted {restarts} time{'s' * (restarts != 1)}" if restarts else ""
    lines = [f"{_by(way)}: {way.get('state')}{when}{again}"]
    if way.get("problem"):
        lines.append(_problem(way))
    if proven:
        lines.append(f"last proven to lead here at {proven:%Y-%m-%d %H:%M} UTC")
    return lines


def _by(way: Mapping[str, Any]) -> str:
    through = "through ngrok" if way.get("driver") == "ngrok" else "by the public address"
    return f"{through} at {way['url']}" if way.get("url") else through


def _problem(way: Mapping[str, Any]) -> str:
    return str(way.get("problem") or "nobody knows why; it is opened again by itself.")


def _of_provider(one: Mapping[str, Any]) -> str:
    failing = f", {_requests(one['failing'])} without an answer" if one.get("failing") else ""
    return f"{one.get('name')} at {one.get('base_url')}: {_tasks(one.get('pending') or 0)} pending{failing}"


def _tasks(number: int) -> str:
    return f"{number:,} task{'s' * (number != 1)}" if number else "nothing"


def _requests(number: int) -> str:
    return "the last request" if number == 1 else f"the last {number:,} requests"


def _moment(text: object) -> datetime | None:
    """Return an ISO moment; None for what is none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ago(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    if minutes == 0:
        return "just now"
    return f"{minutes} min" if hours == 0 else f"{hours} h {rest} min" if hours < 48 else f"{hours // 24} days"

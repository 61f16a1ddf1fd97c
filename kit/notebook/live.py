"""Owns speaking to a person while a cell runs: sentences, and a card that changes in place; it decides nothing."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from kit.ledger.fold import FileState, TaskState
from kit.notebook.progress import Arrived, Progress, flow

__all__ = ["LiveCard", "LiveLine", "has_kernel", "say", "words"]

_log = logging.getLogger(__name__)

EVERY_S = 0.5  # a server drops messages above 1000 a second for ever; a person reads two a second at best
LOG_EVERY_S = 10.0  # a log keeps every line
STAGES = {
    "TEXT_SUCCESS": "the words are written, the music is being made",
    "FIRST_SUCCESS": "the first take is ready, the others follow",
    "GENERATING": "being made",
    "2": "being made",
}


def say(text: str) -> None:
    """Show one sentence under the running cell; in a plain program it goes to the log."""
    LiveLine().say(text)


class LiveLine:
    """One sentence under the running cell that can change; in a plain program each goes to the log."""

    def __init__(self) -> None:
        self._place, self._last, self._said_at = _Place(), "", float("-inf")

    def say(self, text: str) -> None:
        """Show `text` in the place of what was said before."""
        if text == self._last:
            return
        self._last, self._said_at = text, time.monotonic()
        if _shell() is None:
            _log.info("%s", text)
            return
        self._place.show({"text/plain": text, "text/html": f'<div class="callboard-note">{escape(text)}</div>'})

    def tick(self, text: str) -> None:
        """Say `text` where a while has passed since the last: half a second on a page, ten in a log."""
        if time.monotonic() - self._said_at >= (LOG_EVERY_S if _shell() is None else EVERY_S):
            self.say(text)


class _Place:
    """One output under the running cell, changed in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, bundle: dict[str, str]) -> None:
        """Display `bundle` here."""
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


def words(state: TaskState) -> str:
    """Return in words what a task is doing now."""
    if state.status == "submitting":
        return "sending the request"
    if state.status == "unconfirmed":
        return state.meaning or "nobody can say yet what became of it"
    if state.status == "pending":
        return STAGES.get(str(state.stage).upper(), "the provider is working on it")
    if state.status != "succeeded":
        return state.message or state.status
    return _files_in_words(state)


def _files_in_words(state: TaskState) -> str:
    saved, of = sum(f.status == "saved" for f in state.files), len(state.files)
    if saved == of:
        return f"done, {saved} of {of} files saved"
    if not state.save:
        left = "its file stays" if of == 1 else f"{of - saved} of {of} files stay"
        return f"done; {left} with the provider until you ask: task.save() or session.save_all()"
    waits = next((f for f in state.files if f.status == "waiting" and f.reason), None)
    if waits is None:
        return f"saving, {saved} of {of} files are here"
    return f"saving, {saved} of {of} files are here; {waits.role} {waits.index + 1}: {waits.reason}"


class LiveCard:
    """A card under the running cell that follows one task; its last state stays in the saved notebook."""

    def __init__(self, label: str) -> None:
        self._label, self._began, self._shown_at = label, time.monotonic(), float("-inf")
        self._place = _Place()
        self._last: tuple[str, str | None] | None = None
        self._active = _shell() is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds since waiting began."""
        return time.monotonic() - self._began

    def show(self, state: TaskState, progress: Progress, *, note: str | None = None, now: bool = False) -> None:
        """Bring the card up to date: at every new stage, else twice a second, or `now`."""
        stage = (state.status, state.stage)
        due = now or stage != self._last or time.monotonic() - self._shown_at >= EVERY_S
        if not self._active or not due:
            return
        self._last, self._shown_at = stage, time.monotonic()
        arrived = [_arrived(file, progress) for file in state.files]
        facts: dict[str, Any] = {
            "label": self._label,
            "title": state.title or state.id,
            "status": state.status,
            "words": words(state),
            "elapsed_s": _elapsed(state),
            "detail": flow(arrived, now=self._shown_at).text or None,
            "progress": _fraction(arrived),
            "note": note,
        }
        from kit.notebook.widgets.card import wait_card, wait_text

        self._place.show({"text/html": wait_card(**facts), "text/plain": wait_text(**facts)})


def _elapsed(state: TaskState) -> float:
    """Return how long a task has taken so far, or took, whenever waiting for it began."""
    if state.elapsed_s is not None:
        return max(0.0, state.elapsed_s)
    began = state.submitted_at or state.created_at
    return max(0.0, (datetime.now(UTC) - began).total_seconds()) if began else 0.0


def _arrived(file: FileState, progress: Progress) -> Arrived:
    """Return how far one file is, whether it has begun or not."""
    if file.status == "saved":
        return Arrived(file.bytes or 0, file.bytes or 0)
    return progress.get((file.role, file.index), Arrived(0, None))


def _fraction(files: Sequence[Arrived]) -> float | None:
    """Return how far all files are, each weighing the same: it is 1 only when every file is here."""
    if not any(file.received and file.total for file in files):
        return None
    return sum(file.received / file.total for file in files if file.total) / len(files)


def has_kernel() -> bool:
    """Tell whether this runs in a notebook's kernel."""
    return _shell() is not None


def _shell() -> Any:
    """Return the running IPython shell that has a front end, or None; IPython is never loaded for this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if shell is not None and getattr(shell, "kernel", None) is not None else None

"""Owns the cards in words and HTML: a task waited for, a task as it stands, a sheet; it must not know who shows them.

Styles are inline and colours come from the theme with system colours behind them; without any style the lines still
read in order. A colour never says anything that a word beside it does not say.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from kit.notebook.widgets.words import clock, one_line, size
from kit.provider.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kit.ledger.fold import FileState, TaskState

__all__ = ["sheet_card", "task_card", "wait_card", "wait_text"]

_TEXT = "var(--jp-content-font-color1,var(--vscode-editor-foreground,CanvasText))"
_QUIET = "var(--jp-content-font-color2,var(--vscode-descriptionForeground,CanvasText))"
_BACK = "var(--jp-layout-color1,var(--vscode-editor-background,Canvas))"
_LINE = "var(--jp-border-color2,var(--vscode-panel-border,GrayText))"
_BUSY = "var(--jp-brand-color1,var(--vscode-focusBorder,Highlight))"
_TONES = {
    "succeeded": "var(--jp-success-color1,#2e7d32)",
    "failed": "var(--jp-error-color1,#c62828)",
    "unconfirmed": "var(--jp-warn-color1,#e65100)",
    "planned": _LINE,
    "abandoned": _LINE,
}
_CARD = (
    f"box-sizing:border-box;max-width:640px;margin:4px 0 8px;padding:10px 16px 12px;border:1px solid {_LINE};"
    f"border-radius:10px;background:{_BACK};color:{_TEXT};"
    "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5"
)
_SHOWN_FILES = 12


def wait_card(
    *,
    label: str,
    title: str,
    status: str,
    words: str,
    elapsed_s: float,
    detail: str | None = None,
    progress: float | None = None,
    note: str | None = None,
) -> str:
    """Return the card under a waiting cell: what is waited for, its status and time, and in words what is going on.

    `progress` runs from 0 to 1, or is None where nobody knows; `detail` and `note` are one quiet line each.
    """
    # Only the words are announced by a screen reader: the clock beside them would be read out twice a second.
    lines = [
        _head(label, title, status, clock(elapsed_s)),
        f'<div role="status" aria-live="polite" style="margin-top:2px">{_safe(_sentence(words), 400)}</div>',
        _bar(progress),
        *(_quiet(_safe(line, 400)) for line in (detail, note) if line),
    ]
    return _card(lines)


def wait_text(
    *,
    label: str,
    title: str,
    status: str,
    words: str,
    elapsed_s: float,
    detail: str | None = None,
    progress: float | None = None,
    note: str | None = None,
) -> str:
    """Return what `wait_card` shows as plain text."""
    share = f" ({_percent(progress)} %)" if progress is not None else ""
    first = f"{label} {one_line(title)!r}: {status} after {clock(elapsed_s)}, {one_line(words, 400)}{share}"
    return "\n".join([first, *(f"  {one_line(line, 400)}" for line in (detail, note) if line)])


def task_card(state: TaskState) -> str:
    """Return a task as it stands: status, what it means and what to do next, its ids and its files."""
    label, title, took = _names(state)
    lines = [_head(label, title, state.status, took)]
    lines += [f'<div style="margin-top:2px">{_safe(line, 600)}</div>' for line in _verdict(state)]
    lines += [_quiet(" · ".join(f"{name} <code>{_safe(value)}</code>" for name, value in _ids(state)))]
    if state.files:
        rows = "".join(f"<li>{_safe(_file(f), 300)}</li>" for f in state.files[:_SHOWN_FILES])
        lines.append(f'<ul style="margin:6px 0 0;padding-left:18px">{rows}{_rest(state.files)}</ul>')
    return _card(lines)


def sheet_card(title: str, word: str, status: str, verdict: str, rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a card of named rows, each with one or more lines, under a title, one word and a sentence that sums up.

    `status` is the task status whose colour the word takes; the word alone says what is meant.
    """
    head = _head("", title, word, "", tone=_TONES.get(status, _BUSY))
    lines = [head, f'<div style="margin:2px 0 8px">{_safe(verdict, 1000)}</div>']
    for name, values in rows:
        shown = "".join(f"<div>{_safe(value, 600)}</div>" for value in values)
        lines.append(
            f'<div style="display:flex;gap:16px;padding:3px 0;border-top:1px solid {_LINE}">'
            f'<span style="flex:0 0 88px;color:{_QUIET}">{_safe(name)} </span>'
            f'<div style="flex:1 1 0;min-width:0;overflow-wrap:anywhere">{shown}</div></div>'
        )
    return _card(lines)


def _names(state: TaskState) -> tuple[str, str, str]:
    kind = KINDS.get(state.kind)
    return kind.label if kind else state.kind, one_line(state.title or state.id), clock(state.elapsed_s)


def _verdict(state: TaskState) -> Iterable[str]:
    if state.status == "failed" or (state.status == "unconfirmed" and state.meaning):
        code = f"Code {state.code}: " if state.code is not None else ""
        yield _sentence(f"{code}{state.meaning or 'the provider gave no reason'}.")
        if state.message and _provider_wrote(state):
            yield f"The provider wrote: {state.message}"
        if state.refunded is not None:
            yield f"Credits: {'refunded' if state.refunded else 'not refunded'}."
        if state.next_step:
            yield f"Next: {state.next_step}"
    elif state.status == "unconfirmed":
        yield "The request left and no answer came; its callback can still settle it. Next: wait for it, or resubmit()."
    if state.known_as:
        yield f"The provider already had this task: it is {state.known_as} here."


def _provider_wrote(state: TaskState) -> bool:
    """Tell whether the message is the provider's own, and not ours about an answer that never came."""
    answer = state.evidence.answer
    return state.status != "unconfirmed" or answer is None or answer.http_status is not None


def _ids(state: TaskState) -> Iterable[tuple[str, str]]:
    yield "task", state.id
    if state.task_id:
        yield "provider id", state.task_id
    yield "profile", state.provider


def _file(file: FileState) -> str:
    name = file.path.rsplit("/", 1)[-1] if file.path else f"{file.role} {file.index}"
    facts = [clock(file.duration_s), size(file.bytes)]
    if file.width and file.height:
        facts.insert(1, f"{file.width} × {file.height}")
    facts.append(f"{file.status}, checked: {file.verified}" if file.verified else file.status)
    if file.reason and file.status != "saved":
        facts.append(file.reason)
    return f"{name}: {' · '.join(fact for fact in facts if fact)}"


def _rest(files: tuple[FileState, ...]) -> str:
    more = len(files) - _SHOWN_FILES
    return f"<li>and {more} more</li>" if more > 0 else ""


def _head(label: str, title: str, status: str, time: str, *, tone: str = "") -> str:
    tone = tone or _TONES.get(status, _BUSY)
    dot = f'<span style="color:{tone}" aria-hidden="true">●</span>'
    when = f' · <span style="font-variant-numeric:tabular-nums">{time}</span>' if time else ""
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:0 16px;justify-content:space-between;align-items:baseline">'
        f'<span style="overflow-wrap:anywhere"><strong style="font-size:15px;font-weight:600">{_safe(title)}</strong>'
        f' <span style="color:{_QUIET};margin-left:4px">{_safe(label)}</span></span>'
        f' <span style="white-space:nowrap">{dot} {_safe(status)}{when}</span></div>'
    )


def _bar(progress: float | None) -> str:
    if progress is None:
        return ""
    share = _percent(progress)
    style = f"width:100%;height:8px;accent-color:{_BUSY};display:block;margin-top:8px"
    return f'<progress max="100" value="{share}" aria-label="progress" style="{style}">{share} %</progress>'


def _percent(progress: float) -> int:
    return round(100 * min(1.0, max(0.0, progress))) if math.isfinite(progress) else 0


def _quiet(inner: str) -> str:
    return f'<div style="margin-top:6px;color:{_QUIET};overflow-wrap:anywhere">{inner}</div>'


def _card(lines: list[str]) -> str:
    return f'<div class="callboard-card" style="{_CARD}">{"".join(lines)}</div>'


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _safe(text: str, limit: int = 200) -> str:
    return escape(one_line(text, limit), quote=True)

"""Owns how far a saving or a checking of many files is, and its words; it must not know who saves and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kit.notebook.progress import Arrived, flow
from kit.notebook.widgets.words import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.ledger.fold import FileState, TaskState

__all__ = ["Saving", "Slot", "announced", "checked", "checking", "idle"]

Slot = tuple[str, str, int]  # a task's id, a role, and a number from 0
Told = Mapping[str, Mapping[tuple[str, int], Arrived]]


class Saving:
    """The files that one `save_all()` waits for, and how far they are."""

    def __init__(self, sizes: Mapping[Slot, int | None]) -> None:
        self._sizes, self._files = sizes, dict[Slot, "FileState"]()

    def over(self, states: Mapping[str, TaskState]) -> bool:
        """Take the files as they stand; return whether each is saved or beyond saving."""
        tasks = {id for id, _, _ in self._sizes}
        every = {(id, f.role, f.index): f for id in tasks if id in states for f in states[id].files}
        self._files = {slot: file for slot, file in every.items() if slot in self._sizes}
        return all(file.status not in ("waiting", "downloading") for file in self._files.values())

    def words(self, progress: Told) -> str:
        """Say how many files are here, how far the bytes are, and what waits for room."""
        counted = f"{self._saved} of {len(self._sizes)} files saved"
        coming = [slot for slot in self._sizes if self._status(slot) not in ("failed", "expired")]
        moved = flow([self._arrived(slot, progress) for slot in coming]).text
        waits = next((f for f in self._files.values() if f.status == "waiting" and f.reason), None)
        held = f" {waits.role} {waits.index + 1}: {waits.reason}." if waits else ""
        return f"{', '.join(filter(None, [counted, moved]))}.{held}"

    def outcome(self) -> str:
        """Say how it ended."""
        lost, total = len(self._files) - self._saved, sum(f.bytes or 0 for f in self._files.values())
        if not lost:
            return f"{_files(self._saved)} {_are(self._saved)} saved and verified, {size(total)}."
        return f"{self._saved} of {len(self._files)} files saved; of the rest the column `reason` tells."

    @property
    def _saved(self) -> int:
        return sum(file.status == "saved" for file in self._files.values())

    def _status(self, slot: Slot) -> str | None:
        file = self._files.get(slot)
        return file.status if file else None

    def _arrived(self, slot: Slot, progress: Told) -> Arrived:
        file, told = self._files.get(slot), progress.get(slot[0], {}).get(slot[1:])
        if file is not None and file.status == "saved":
            return Arrived(file.bytes or 0, file.bytes or 0)
        known = self._sizes[slot]
        if told is None:
            return Arrived(0, known)
        return told._replace(total=told.total if told.total is not None else known)


def announced(sizes: Mapping[Slot, int | None], free: int) -> str:
    """Say what is going to be saved: how many files, how large, and what is free on the disk."""
    known = [count for count in sizes.values() if count is not None]
    unknown = len(sizes) - len(known)
    parts = [f"{size(sum(known))} in all"] if known else []
    if unknown:
        parts.append(f"{_files(unknown)} of unknown size" if known else "of unknown size")
    short = " That is more than fits: what finds no room waits until there is some." if sum(known) > free else ""
    return f"Saving {_files(len(sizes))}, {' and '.join(parts)}; {size(free)} are free on the disk.{short}"


def idle(statuses: Sequence[str]) -> str:
    """Say that nothing is left to fetch, where files have these statuses."""
    died, saved = statuses.count("expired"), statuses.count("saved")
    if not statuses:
        return "Nothing to fetch: there are no files yet."
    if left := len(statuses) - died - saved:
        closed = f"{_files(left)} of a provider that is not open {_are(left)} not saved"
        return f"Nothing to fetch here: {closed}. Connect to that one, and save there."
    if not died:
        return f"Nothing to fetch: {'all ' * (saved > 1)}{_files(saved)} {_are(saved)} saved."
    return (
        f"Nothing to fetch: {_files(saved)} {_are(saved)} saved; of {_files(died)} the "
        f"{'link has' if died == 1 else 'links have'} died. task.save().wait() asks the provider for a fresh one."
    )


def checking(told: tuple[int, int] | None) -> str:
    """Say how far a check is: files read, of how many."""
    return f"Checking: {told[0]:,} of {_files(told[1])} read." if told else "Checking every saved file ..."


def checked(results: Sequence[str]) -> str:
    """Say what a check found."""
    bad = [result for result in results if result != "intact"]
    if not results:
        return "No file is saved yet, so there is nothing to check."
    if not bad:
        return f"{'All ' * (len(results) > 1)}{_files(len(results))} {_are(len(results))} intact."
    counted = " and ".join(f"{bad.count(word)} {word}" for word in ("missing", "changed") if word in bad)
    links = "its link lives, it is" if len(bad) == 1 else "their links live, they are"
    return f"Of {_files(len(results))}, {counted}. While {links} fetched again; session.save_all() waits for that."


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"

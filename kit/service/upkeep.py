"""Owns the comparison of the archive's folder with the ledger: at every start, and whenever somebody wants it verified.

It fetches nothing and deletes nothing but part files; what is missing is recorded, and the archiver hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from kit.errors import LedgerError, ServiceError
from kit.ledger.facts import Fact, FileFact, Loss
from kit.ledger.fold import FileState
from kit.service.examination import EXTENSIONS
from kit.service.hands import Hands
from kit.service.hub import Hub
from kit.service.kept import Kept, Slot, saved_fact
from kit.service.shelf import Stray, clear_parts, hash_of, lies_there, strays
from kit.service.verifier import Verifier

__all__ = ["Upkeep"]

_log = logging.getLogger(__name__)
TELL_EVERY_S = 0.3

Result = Literal["intact", "missing", "changed"]


@dataclass(frozen=True)
class _Saved:
    """A file that the ledger calls saved."""

    slot: Slot
    file: FileState
    path: Path

    @property
    def whole(self) -> bool:
        """Whether a plain file of its size lies there, which is quick to tell."""
        return lies_there(self.path, self.file.bytes)


_Loss = tuple[_Saved, str]  # and why it does not count any more


class Upkeep:
    """Looks after what was saved in `area`, the folder that holds the ledger and the archive."""

    def __init__(self, hub: Hub, verifier: Verifier, hands: Hands, area: Path) -> None:
        self._hub, self._verifier, self._hands, self._area = hub, verifier, hands, area
        self._strays: defaultdict[Slot, list[Stray]] = defaultdict(list)
        self._turn = asyncio.Lock()

    async def sweep(self) -> None:
        """Mend what a run that was killed left behind; nothing of it keeps the service from starting."""
        try:
            gone, found = await self._hands.run(partial(self._survey, list(self._saved())), name="sweep")
            for stray in found:
                self._strays[stray.task, stray.role, stray.index].append(stray)
            await self._record_losses(gone)
            for slot in list(self._strays):
                await self.adopt(slot)
        except Exception:
            _log.exception("the look through the archive's folder broke off; the next start looks again")

    async def adopt(self, slot: Slot) -> bool:
        """Return whether a whole file lay in the archive without a row, and has one now; each is looked at once.

        That of a task nobody knows (yet) is kept in mind: its ledger may have been lost, and be on its way back.
        """
        file = self._file(slot)
        if file is None or file.status == "saved":
            return False
        for stray in self._strays.pop(slot, ()):
            if (kept := await self._examined(stray)) is not None:
                _log.info("%s was whole already, and has its row now", kept.path)
                await self._hub.record(saved_fact(slot, kept))
                return True
        return False

    async def verify(self) -> dict[str, Any]:
        """Hash everything that is saved and compare; what is missing or changed is recorded and fetched again.

        Returns ``{"files": [{"task", "role", "index", "path", "result"}]}``, where the result is "intact", "missing"
        or "changed". Attached kernels are told how far it is.
        """
        async with self._turn:
            rows, saved, told = [], list(self._saved()), float("-inf")
            for done, one in enumerate(saved):
                if time.monotonic() - told >= TELL_EVERY_S:
                    told = time.monotonic()
                    self._hub.tell({"verifying": {"done": done, "of": len(saved)}})
                result = await self._check(one)
                if self._hands.stop.is_set():
                    raise ServiceError("The service is ending, and the check with it. Run session.verify() again.")
                task, role, index = one.slot
                rows.append({"task": task, "role": role, "index": index, "path": one.file.path, "result": result})
            self._hub.tell({"verifying": {"done": len(saved), "of": len(saved)}})
            return {"files": rows}

    async def _check(self, saved: _Saved) -> Result:
        """Hash one file, and record where it is not what was saved."""
        result, why = await self._hands.run(partial(_compare, saved, self._hands), name="verify")
        if result != "intact":
            try:
                await self._record_losses([(saved, why)])
            except LedgerError:  # on a full disk, say: whoever asked is told all the same
                _log.exception("%s could not be recorded: %s", saved.file.path, why)
        return result

    def _saved(self) -> Iterator[_Saved]:
        """Yield what the ledger calls saved."""
        for state in list(self._hub.states.values()):
            for file in state.files:
                if file.status == "saved" and file.path is not None:
                    yield _Saved((state.id, file.role, file.index), file, self._area / file.path)

    def _survey(self, saved: list[_Saved]) -> tuple[list[_Loss], list[Stray]]:
        """Return what is gone and why, and the files that no row speaks of; remove the parts. Blocks."""
        archive = self._area / "archive"
        if not archive.is_dir():
            raise FileNotFoundError(archive)  # a link to a disk that is not there just now, say: nothing is lost yet
        clear_parts(archive)
        gone = [(one, _why(one)) for one in saved if not one.whole]
        lost = {one.slot for one, _ in gone}
        spoken_of = {one.path for one in saved if one.slot not in lost}
        return gone, [stray for stray in strays(archive) if stray.path not in spoken_of]

    async def _record_losses(self, losses: Sequence[_Loss]) -> None:
        """Record that files are not as they were saved, and that those whose links live are wanted again."""
        now, facts = datetime.now(UTC), list[Fact]()
        for (task, role, index), file, why in [(saved.slot, saved.file, why) for saved, why in losses]:
            current = self._file((task, role, index))
            if current is None or (current.status, current.path) != ("saved", file.path):
                continue  # it was saved anew meanwhile
            _log.warning("%s: %s", file.path, why)
            facts.append(Loss(task=task, at=now, role=role, index=index, reason=why))
            if file.urls and (file.expires_at is None or now < file.expires_at):
                again = f"fetched again: {why}"
                facts.append(FileFact(task=task, at=now, role=role, index=index, status="waiting", reason=again))
        if facts:
            await self._hub.record(*facts)

    async def _examined(self, stray: Stray) -> Kept | None:
        """Return a file that may count as saved: sound, of its kind, and what it was if it was saved before."""
        found = await self._hands.run(partial(_hash, stray.path, self._hands), name="adopt")
        before = self._hub.once_saved.get((stray.task, stray.role, stray.index))
        if found is None or before not in (None, found[1]):
            return None
        verdict = await self._verifier.examine(stray.path, stray.role)
        if verdict.reason is not None or EXTENSIONS.get(verdict.media_type or "") != stray.extension:
            return None
        return Kept(None, stray.path.relative_to(self._area).as_posix(), *found, verdict)

    def _file(self, slot: Slot) -> FileState | None:
        state = self._hub.states.get(slot[0])
        files = state.files if state else ()
        return next((f for f in files if (f.role, f.index) == slot[1:]), None)


def _why(saved: _Saved) -> str:
    if lies_there(saved.path):
        with contextlib.suppress(OSError):
            return f"the saved file has {saved.path.lstat().st_size} bytes now, not {saved.file.bytes}"
    return "the saved file is not in the archive any more"


def _hash(path: Path, hands: Hands) -> tuple[int, str] | None:
    try:
        return hash_of(path, hands.stop)
    except OSError:
        return None


def _compare(saved: _Saved, hands: Hands) -> tuple[Result, str]:
    """Return what became of a saved file, and why it does not count any more. Blocks."""
    if not lies_there(saved.path):
        return "missing", _why(saved)
    try:
        found = hash_of(saved.path, hands.stop)
    except OSError as reason:
        return "changed", f"the saved file cannot be read ({reason.strerror})"
    if found is None or found == (saved.file.bytes, saved.file.sha256):
        return "intact", ""  # the service is ending, and nobody reads this; or it is as it was
    return "changed", "the saved file holds other bytes than were saved"

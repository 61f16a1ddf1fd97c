"""Owns keeping: every wanted file fetched, examined, and given its final name in one step, soonest expiry first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from kit.errors import LedgerError
from kit.ledger.facts import FileFact, SaveRequest
from kit.ledger.fold import FileState, TaskState
from kit.service.download import Fetched, NotFetched, Rules, fetch
from kit.service.examination import EXTENSIONS, Verdict
from kit.service.hub import Hub
from kit.service.platforms import sync_folder
from kit.service.providers import Providers
from kit.service.verifier import Verifier

__all__ = ["Archiver"]

_log = logging.getLogger(__name__)

AT_ONCE = 3
PAUSES_S = (1.0, 5.0, 20.0, 60.0)  # between the attempts at one file
PROGRESS_EVERY_S = 0.2
LEDGER_PAUSE_S = 15.0
AWAY_PAUSE_S = 300.0
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)

Slot = tuple[str, str, int]  # task, role, index
FileStatus = Literal["downloading", "saved", "failed", "expired"]


class Archiver:
    """Fetches what succeeded tasks have waiting; what it calls saved is complete, examined and synced."""

    def __init__(self, hub: Hub, providers: Providers, verifier: Verifier, archive: Path) -> None:
        self._hub, self._providers, self._verifier, self._archive = hub, providers, verifier, archive
        self._queue: asyncio.PriorityQueue[tuple[datetime, int, Slot]] = asyncio.PriorityQueue()
        self._taken: set[Slot] = set()
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(30, connect=10), trust_env=False)
        archive.mkdir(parents=True, exist_ok=True)
        for part in archive.glob("*.part"):  # nobody else writes here: a part file is from a run that ended
            part.unlink()

    @property
    def busy(self) -> bool:
        """Whether files are being fetched or wait for their turn."""
        return bool(self._taken)

    def consider(self, state: TaskState) -> None:
        """Queue the files of a task that are wanted and not yet in hand."""
        if state.status != "succeeded" or not state.save:
            return
        for file in state.files:
            slot = (state.id, file.role, file.index)
            if file.status in ("waiting", "downloading") and file.urls and slot not in self._taken:
                self._taken.add(slot)
                self._queue.put_nowait((file.expires_at or FAR_FUTURE, len(self._taken), slot))

    def _consider_again(self, id: str) -> None:
        self.consider(self._hub.states[id])

    async def save(self, id: str) -> None:
        """Fetch the files of one task that are not saved, whatever its setting and whatever failed before."""
        await self._hub.record(SaveRequest(task=id, at=datetime.now(UTC)))
        for file in self._hub.states[id].files:
            if file.status in ("failed", "expired"):
                await self._note(id, file, "downloading")

    async def run(self) -> None:
        """Work through the queue until cancelled."""
        await asyncio.gather(*(self._work() for _ in range(AT_ONCE)))

    async def close(self) -> None:
        """Drop the connections."""
        await self._http.aclose()

    async def _work(self) -> None:
        while True:
            _, _, slot = await self._queue.get()
            try:
                await self._keep(slot)
            except LedgerError:
                _log.exception("what became of %s could not be recorded; trying again in %s s", slot, LEDGER_PAUSE_S)
                asyncio.get_running_loop().call_later(LEDGER_PAUSE_S, self._consider_again, slot[0])
            except Exception:  # one file's trouble must not end the keeping of the others; its row says failed
                _log.exception("keeping %s broke off", slot)
                with contextlib.suppress(LedgerError):
                    await self._note(slot[0], self._file(slot), "failed", reason="an error inside the kit; see its log")
            finally:
                self._taken.discard(slot)

    async def _keep(self, slot: Slot) -> None:
        """Try the sources of one file, a few times over, until it is saved or beyond saving."""
        for attempt in range(len(PAUSES_S) + 1):
            file = self._file(slot)
            try:
                await self._save_once(slot, file)
            except NotFetched as reason:
                _log.info("attempt %d at %s: %s", attempt + 1, slot, reason)
                if attempt == len(PAUSES_S) and reason.away and _in_time(file):
                    # The network is away, perhaps for the night; what is paid for is not given up before its link is.
                    asyncio.get_running_loop().call_later(AWAY_PAUSE_S, self._consider_again, slot[0])
                    return
                if reason.gone or attempt == len(PAUSES_S):
                    status: FileStatus = "expired" if reason.gone else "failed"
                    await self._note(slot[0], file, status, reason=str(reason))
                    return
                await asyncio.sleep(PAUSES_S[attempt])
            else:
                return

    async def _save_once(self, slot: Slot, file: FileState) -> None:
        await self._note(slot[0], file, "downloading")
        part = self._archive / f"{slot[0]}-{file.role}-{file.index + 1}.part"
        try:
            url, fetched = await self._fetch_any(slot, file, part)
            verdict = await self._verifier.examine(part, file.role)
            if verdict.reason is not None:
                raise NotFetched(verdict.reason)
            final = self._archive / _name(self._hub.states[slot[0]], file, verdict)
            await asyncio.to_thread(_put_in_place, part, final)
        finally:
            part.unlink(missing_ok=True)
        path = final.relative_to(self._archive.parent).as_posix()
        await self._note_saved(slot[0], file, _Kept(url, path, fetched, verdict))

    async def _fetch_any(self, slot: Slot, file: FileState, part: Path) -> tuple[str, Fetched]:
        """Fetch from the first source that gives a whole file; they are alternatives, direct ones first."""
        name = self._hub.states[slot[0]].provider
        rules = Rules(file.role, lambda url: self._providers.may_fetch(name, url), self._providers.user_agent(name))
        trouble: list[NotFetched] = []
        for url in file.urls:
            try:
                return url, await fetch(self._http, url, part, rules, self._progress(slot))
            except NotFetched as reason:
                trouble.append(reason)
        said = "; ".join(str(t) for t in trouble)
        raise NotFetched(said, gone=all(t.gone for t in trouble), away=any(t.away for t in trouble))

    def _progress(self, slot: Slot) -> Any:
        told = 0.0

        def tell(received: int, total: int | None) -> None:
            nonlocal told
            if received == total or time.monotonic() - told >= PROGRESS_EVERY_S:
                told = time.monotonic()
                task, role, index = slot
                self._hub.tell({"task": task, "role": role, "index": index, "received": received, "total": total})

        return tell

    def _file(self, slot: Slot) -> FileState:
        task, role, index = slot
        return next(f for f in self._hub.states[task].files if (f.role, f.index) == (role, index))

    async def _note(self, id: str, file: FileState, status: FileStatus, *, reason: str | None = None) -> None:
        await self._hub.record(
            FileFact(task=id, at=datetime.now(UTC), role=file.role, index=file.index, status=status, reason=reason)
        )

    async def _note_saved(self, id: str, file: FileState, kept: _Kept) -> None:
        saved = FileFact(
            task=id,
            at=datetime.now(UTC),
            role=file.role,
            index=file.index,
            status="saved",
            url=kept.url,
            path=kept.path,
            bytes=kept.fetched.bytes,
            sha256=kept.fetched.sha256,
        )
        found = {name: value for name, value in vars(kept.verdict).items() if name != "reason"}
        await self._hub.record(replace(saved, **found))


@dataclass(frozen=True)
class _Kept:
    """What is known of a file that has its final name; `path` is relative to the area folder."""

    url: str
    path: str
    fetched: Fetched
    verdict: Verdict


def _name(state: TaskState, file: FileState, verdict: Verdict) -> str:
    """Return a name that says what it is to a person and that nothing from the network can bend."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", state.title or "").strip("-")[:40].strip("-")
    parts = [readable, state.id, file.role, str(file.index + 1)]
    return "-".join(p for p in parts if p) + "." + EXTENSIONS[verdict.media_type or ""]


def _in_time(file: FileState) -> bool:
    """Tell whether the file's link may still be good."""
    return file.expires_at is None or datetime.now(UTC) < file.expires_at


def _put_in_place(part: Path, final: Path) -> None:
    """Give a synced part file its final name, which belongs to this task, role and index alone, and sync the folder."""
    try:
        os.link(part, final)
    except FileExistsError:
        final.unlink()  # left by a run that ended between this step and its row: same task, same role, same index
        os.link(part, final)
    except OSError:  # no hard links on this file system
        part.rename(final)
    sync_folder(final.parent)

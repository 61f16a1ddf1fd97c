"""Owns keeping: every wanted file fetched, examined, and given its final name in one step, soonest expiry first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from kit.errors import LedgerError
from kit.ledger.facts import Fact, FileFact, SaveRequest
from kit.ledger.fold import FileState, TaskState
from kit.ledger.names import archive_name
from kit.service.aside import Aside, Patience
from kit.service.courier import Courier
from kit.service.download import NoRoom, NotFetched, Rules
from kit.service.examination import EXTENSIONS, Verdict
from kit.service.fetching import Fetching
from kit.service.hands import Hands
from kit.service.hub import Hub
from kit.service.kept import Kept, Slot, saved_fact
from kit.service.part import FULL
from kit.service.providers import Providers
from kit.service.room import Room
from kit.service.shelf import Content, Swapped, lies_there, part_name, put_in_place
from kit.service.upkeep import Upkeep
from kit.service.verifier import Verifier

__all__ = ["Archiver", "in_time"]

_log = logging.getLogger(__name__)

ASKED_LATELY_S = 60.0  # details this old say where a file is now
NEEDED_FOR_LONG_S = 86_400.0  # what has waited for longer does not keep the service running
MAY_BE_ON_ITS_WAY = timedelta(minutes=10)  # after it was made a file may not be at its host yet
ON_ITS_WAY_ATTEMPTS = 2
SHORTER_S, SHORTER = 2.0, 0.95  # a take may be so much shorter than it is said to be: pages round, encoders trim
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)

FileStatus = Literal["waiting", "downloading", "failed", "expired"]


@dataclass
class _Tried:
    """What was done for a file in vain: attempts, and when the provider was asked for fresh links, and answered."""

    attempts: int = 0
    asked_at: float = float("-inf")
    answered: bool = True


class Archiver:
    """Fetches what succeeded tasks have waiting; what it calls saved is complete, examined and synced.

    `ask_now` asks the provider for a task once and returns whether it answered. `at_once` is how many files are
    fetched at a time.
    """

    def __init__(
        self,
        hub: Hub,
        providers: Providers,
        verifier: Verifier,
        archive: Path,
        *,
        ask_now: Callable[[str], Awaitable[bool]],
        upkeep: Upkeep,
        hands: Hands,
        courier: Courier,
        room: Room,
        at_once: int,
        patience: Patience | None = None,
    ) -> None:
        self._hub, self._providers, self._verifier, self._archive = hub, providers, verifier, archive
        self._ask_now, self._upkeep, self._hands, self._courier = ask_now, upkeep, hands, courier
        self._room, self._at_once = room, at_once
        self._queue: asyncio.PriorityQueue[tuple[datetime, int, Slot]] = asyncio.PriorityQueue()
        self._order = count()
        self._taken: dict[Slot, float] = {}  # queued, fetched or put aside, and since when
        self._patience = patience or Patience()
        self._aside = Aside(room, self._patience)
        self._tried: dict[Slot, _Tried] = {}
        self._fetching: dict[Slot, Fetching] = {}
        self._placed: dict[Slot, Kept] = {}  # under their final names, and not in the ledger yet
        self._asked_at: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        """Whether files are being fetched, wait for their turn, or have lately been put aside."""
        old = time.monotonic() - NEEDED_FOR_LONG_S
        return any(since > old or slot not in self._aside for slot, since in self._taken.items())

    @property
    def waiting_for_room(self) -> int:
        """How many files wait for room on the disk."""
        return self._aside.for_room

    def consider(self, state: TaskState) -> None:
        """Queue the files of a task that are wanted and not yet in hand."""
        if state.status != "succeeded" or not state.save or not self._providers.reachable(state.provider):
            return  # a provider's opening leads here once more
        for file in state.files:
            slot = (state.id, file.role, file.index)
            if file.status in ("waiting", "downloading") and file.urls and slot not in self._taken:
                self._taken[slot] = time.monotonic()
                self._enqueue(slot)

    async def save(self, *ids: str, dead: bool = True) -> None:
        """Fetch the files of tasks that are not saved, whatever their setting and whatever failed before.

        `dead` says whether links whose life is over are tried again, too.
        """
        facts: list[Fact] = []
        for state in (self._hub.states[id] for id in ids):
            if not state.save:
                facts.append(SaveRequest(task=state.id, at=datetime.now(UTC)))
            again = [f for f in state.files if f.status == "failed" or (f.status == "expired" and (dead or in_time(f)))]
            facts += [_fact((state.id, f.role, f.index), "waiting") for f in again]
            self._hurry(state)
        if facts:
            await self._hub.record(*facts)
        for id in ids:  # what waits since before the service's start has no new fact that would lead there
            self.consider(self._hub.states[id])

    def _hurry(self, state: TaskState) -> None:
        """Let a task's files have all their attempts again, beginning now."""
        for file in state.files:
            self._tried.pop((state.id, file.role, file.index), None)
        self._aside.hurry(state.id)

    async def run(self) -> None:
        """Work through the queue until cancelled."""
        await self._upkeep.sweep()
        await asyncio.gather(self._watch_aside(), *(self._work() for _ in range(self._at_once)))

    def _enqueue(self, slot: Slot) -> None:
        self._queue.put_nowait((self._expires_at(slot), next(self._order), slot))

    def _expires_at(self, slot: Slot) -> datetime:
        return self._file(slot).expires_at or FAR_FUTURE

    async def _work(self) -> None:
        while True:
            _, _, slot = await self._queue.get()
            try:
                await self._keep(slot)
            except LedgerError:
                _log.exception("what became of %s could not be recorded; trying again later", slot)
                if slot not in self._aside:
                    self._aside.put(slot, self._patience.ledger)
            except Exception:  # one file's trouble must not end the keeping of the others; its row says failed
                _log.exception("keeping %s broke off", slot)
                self._aside.put(slot, self._patience.ledger)  # for the case that this cannot be recorded either
                with contextlib.suppress(LedgerError):
                    await self._note(slot, "failed", reason="an error inside the kit; see its log")
                    self._aside.forget(slot)
            self._room.release(slot)
            if slot not in self._aside:
                self._leave(slot)

    def _leave(self, slot: Slot) -> None:
        """Let go of a file that is saved or beyond saving, unless somebody has asked for it again meanwhile."""
        self._aside.forget(slot)
        if (fetching := self._fetching.pop(slot, None)) is not None:
            fetching.discard()
        self._tried.pop(slot, None)
        self._taken.pop(slot, None)
        self.consider(self._hub.states[slot[0]])

    async def _watch_aside(self) -> None:
        """Queue again what was put aside when its time has come and there is room for it, soonest expiry first."""
        while True:
            await asyncio.sleep(self._patience.look)
            for slot in self._aside.take_due(self._expires_at):
                self._enqueue(slot)

    def _wanted(self, slot: Slot) -> bool:
        file = self._file(slot)
        return file.status != "saved" and bool(file.urls) and self._providers.reachable(self._provider(slot))

    async def _keep(self, slot: Slot) -> None:
        """Try the links of one file until it is saved, put aside or beyond saving."""
        while self._wanted(slot):
            file = self._file(slot)
            try:
                return await self._save_once(slot, file)
            except NoRoom as full:
                self._aside.put_for_room(slot, full.needed)
                return await self._note(slot, "waiting", reason=self._room.reason(full.needed))
            except NotFetched as reason:
                _log.info("attempt at %s: %s", slot, reason)
                if await self._is_elsewhere(slot, file, reason):
                    continue
                return await self._after(slot, file, reason)
        return None

    async def _is_elsewhere(self, slot: Slot, file: FileState, reason: NotFetched) -> bool:
        """Tell whether a file whose links are dead or refused, or failed to the last, has others now."""
        tried, now = self._tried.setdefault(slot, _Tried()), time.monotonic()
        last = tried.attempts == len(self._patience.attempts)
        if not (reason.gone or reason.refused or last) or now - tried.asked_at <= ASKED_LATELY_S:
            return False  # what was given since may have died in its turn: some links live for minutes
        tried.asked_at = now
        if now - self._asked_at.get(slot[0], float("-inf")) > ASKED_LATELY_S:
            tried.answered = await self._ask_now(slot[0])  # costs nothing, and buys nothing
            if tried.answered:
                self._asked_at[slot[0]] = now
        return self._file(slot).urls != file.urls

    async def _after(self, slot: Slot, file: FileState, reason: NotFetched) -> None:
        """Put a file aside until its next attempt, or give it up."""
        tried, pauses, lives = self._tried.setdefault(slot, _Tried()), self._patience.attempts, in_time(file)
        last = tried.attempts == len(pauses)
        if lives and (not tried.answered or (last and reason.away)):
            # The network is away, perhaps for the night; what is paid for is not given up before its link is.
            del self._tried[slot]
            self._aside.put(slot, self._patience.away)
            await self._note(slot, "waiting", reason=f"{reason}; trying again until its link has died")
        elif last or not tried.answered or (reason.gone and tried.attempts >= _soon(file)):
            died = reason.gone or not (lives or reason.away)  # who is away says nothing of the link
            await self._note(slot, "expired" if died else "failed", reason=str(reason))
        else:
            pause = pauses[tried.attempts]
            tried.attempts += 1
            self._aside.put(slot, pause)
            await self._note(slot, "waiting", reason=f"{reason}; next attempt after {pause:.0f} s")

    async def _save_once(self, slot: Slot, file: FileState) -> None:
        kept = self._placed.get(slot)
        if kept is None or not lies_there(self._archive.parent / kept.path, kept.bytes):
            if await self._upkeep.adopt(slot):
                return
            if (file.status, file.reason) != ("downloading", None):
                await self._note(slot, "downloading")
            kept = self._placed[slot] = await self._fetch(slot, file)
        # Only from here on is it saved: where the ledger takes no facts, this is all that is done again.
        await self._hub.record(saved_fact(slot, kept))
        del self._placed[slot]
        _log.info("saved %s", kept.path)

    async def _fetch(self, slot: Slot, file: FileState) -> Kept:
        """Return the file when it is whole, examined and under its final name."""
        try:
            self._archive.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
        except OSError as reason:
            raise NotFetched(f"the archive's folder is not there ({reason.strerror})", away=True) from reason
        fetching = self._way_of(slot)
        url, content, verdict = await self._sound(slot, fetching, file.urls)
        title, extension = self._hub.states[slot[0]].title, EXTENSIONS[verdict.media_type or ""]
        name = archive_name(title, *slot, extension)
        try:
            final = await self._hands.run(partial(put_in_place, fetching.part, name, content, self._hands.stop))
        except Swapped as reason:
            fetching.discard()
            raise NotFetched(str(reason)) from reason
        except OSError as reason:
            if reason.errno in FULL:
                raise NoRoom(content.bytes) from reason
            raise NotFetched(f"it could not be put into the archive ({reason.strerror})") from reason
        return Kept(url, final.relative_to(self._archive.parent).as_posix(), content.bytes, content.sha256, verdict)

    async def _sound(self, slot: Slot, fetching: Fetching, urls: Sequence[str]) -> tuple[str, Content, Verdict]:
        """Return the first link that gives a whole file which is one, what came, and the verdict on it."""
        url, content = await fetching.fetch(urls)
        verdict = await self._verifier.examine(fetching.part, slot[1])
        wrong = verdict.reason or self._too_short(slot, verdict)
        if wrong is None:
            return url, content, verdict
        fetching.discard()
        if not (others := urls[urls.index(url) + 1 :]):
            raise NotFetched(wrong)
        try:
            return await self._sound(slot, fetching, others)
        except NotFetched as reason:
            raise NotFetched(f"{wrong}; {reason}", away=reason.away) from reason

    def _too_short(self, slot: Slot, verdict: Verdict) -> str | None:
        """Return what is wrong with a take that sounds for a shorter time than the provider says it is long."""
        take = next((take for take in self._hub.states[slot[0]].takes if take.index == slot[2]), None)
        stated, found = take.duration_s if take else None, verdict.duration_s
        if slot[1] != "audio" or stated is None or found is None or found >= min(stated - SHORTER_S, stated * SHORTER):
            return None
        return f"cut off: {found:.1f} of {stated:.1f} s of sound are there"

    def _way_of(self, slot: Slot) -> Fetching:
        """Return how this file is fetched: as before a pause, unless the rules have changed since."""
        name = self._provider(slot)
        rules = Rules(slot[1], self._providers.listed(name), self._providers.user_agent(name))
        fetching = self._fetching.get(slot)
        if fetching is None or fetching.rules != rules:
            part = self._archive / part_name(*slot)
            fetching = Fetching(slot, part, rules, courier=self._courier, room=self._room, tell=self._hub.tell)
            self._fetching[slot] = fetching
        return fetching

    def _provider(self, slot: Slot) -> str:
        return self._hub.states[slot[0]].provider

    def _file(self, slot: Slot) -> FileState:
        task, *which = slot
        found = (f for f in self._hub.states[task].files if [f.role, f.index] == which)
        return next(found, FileState(slot[1], slot[2]))  # details may have taken its links back

    async def _note(self, slot: Slot, status: FileStatus, *, reason: str | None = None) -> None:
        await self._hub.record(_fact(slot, status, reason))


def _fact(slot: Slot, status: FileStatus, reason: str | None = None) -> FileFact:
    task, role, index = slot
    return FileFact(task=task, at=datetime.now(UTC), role=role, index=index, status=status, reason=reason)


def _soon(file: FileState) -> int:
    """Return after how many attempts a file that is not there is believed to be gone: a new one may be on its way."""
    young = file.linked_at is not None and datetime.now(UTC) - file.linked_at < MAY_BE_ON_ITS_WAY
    return ON_ITS_WAY_ATTEMPTS if young else 0


def in_time(file: FileState) -> bool:
    """Tell whether the file's link may still be good."""
    return file.expires_at is None or datetime.now(UTC) < file.expires_at

"""Owns the archive as a whole: puts together who fetches, who looks after the folder, and the room there is."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from kit.ledger.fold import FileState, TaskState
from kit.service.archiver import Archiver, in_time
from kit.service.children import Children
from kit.service.courier import Courier
from kit.service.hands import Hands
from kit.service.hub import Hub
from kit.service.providers import Providers
from kit.service.room import Room
from kit.service.sizes import Asked, sizes_of
from kit.service.upkeep import Upkeep
from kit.service.verifier import Verifier

__all__ = ["Archive"]


class Archive:
    """The files of one area, the folder `area`; `ask_now` asks a provider for a task once.

    `at_once` is how many files are fetched at a time.
    """

    def __init__(
        self,
        hub: Hub,
        providers: Providers,
        verifier: Verifier,
        area: Path,
        *,
        children: Children,
        ask_now: Callable[[str], Awaitable[bool]],
        at_once: int,
    ) -> None:
        self._hub, self._providers = hub, providers
        self._hands, self._courier = Hands(), Courier(children=children)
        folder = area / "archive"
        with contextlib.suppress(OSError):  # each download tries again, and says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
        self._room = Room(folder)
        self._upkeep = Upkeep(hub, verifier, self._hands, area)
        self._archiver = Archiver(
            hub,
            providers,
            verifier,
            folder,
            ask_now=ask_now,
            upkeep=self._upkeep,
            hands=self._hands,
            courier=self._courier,
            room=self._room,
            at_once=at_once,
        )
        self.consider, self.save, self.run = self._archiver.consider, self._archiver.save, self._archiver.run
        self.verify = self._upkeep.verify

    @property
    def busy(self) -> bool:
        """Whether files are being fetched, wait for their turn, or have lately been put aside."""
        return self._archiver.busy

    @property
    def waiting_for_room(self) -> int:
        """How many files wait for room on the disk."""
        return self._archiver.waiting_for_room

    async def unsaved(self) -> dict[str, Any]:
        """Return what `save_all` would fetch, with sizes as far as hosts tell them, and the bytes there is room for."""
        files = list(self._unsaved())
        asked = [
            Asked(f.urls, self._providers.listed(s.provider), self._providers.user_agent(s.provider)) for s, f in files
        ]
        sizes = await sizes_of(asked, self._hands)
        rows = [
            {"task": state.id, "role": file.role, "index": file.index, "bytes": size}
            for (state, file), size in zip(files, sizes, strict=True)
        ]
        return {"files": rows, "free": self._room.free()}

    async def save_all(self) -> dict[str, Any]:
        """Fetch all that is not saved and whose link may still be good; return ``{"tasks": [ids]}``."""
        ids = list(dict.fromkeys(state.id for state, _ in self._unsaved()))
        await self.save(*ids, dead=False)
        return {"tasks": ids}

    async def close(self) -> None:
        """End the fetching process and tell every thread to give up; the archive's own work was cancelled before."""
        await self._courier.close()
        await self._hands.close()

    def _unsaved(self) -> Iterator[tuple[TaskState, FileState]]:
        for state in self._hub.states.values():
            if state.status == "succeeded" and self._providers.reachable(state.provider):
                for file in state.files:
                    if file.urls and file.status != "saved" and (file.status != "expired" or in_time(file)):
                        yield state, file

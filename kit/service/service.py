"""Owns the running service: puts its parts together, serves its two ports, and ends when nobody needs it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kit.errors import ServiceError
from kit.ledger.facts import Abandonment, Confirmation, Delivery
from kit.ledger.fold import TaskState
from kit.ledger.reading import fetch_facts
from kit.ledger.store import Ledger, MintedUrl
from kit.service.archive import Archive
from kit.service.callbacks import CallbackApp
from kit.service.children import Children
from kit.service.control import control_app
from kit.service.counts import Counts
from kit.service.health import report, trouble_of
from kit.service.hub import Hub
from kit.service.listener import public_server
from kit.service.media import MediaServer
from kit.service.platforms import bind_loopback, mind_signals
from kit.service.poller import Poller
from kit.service.providers import OpenProvider, Providers, Terms
from kit.service.record import ServiceRecord, kit_version
from kit.service.serving import QuietServer
from kit.service.submitter import Submitter, Wish
from kit.service.verifier import Verifier
from kit.service.ways import Reach, Ways
from kit.settings import Secret

__all__ = ["Service"]

_log = logging.getLogger(__name__)
IDLE_LOOK_S = 2.0
FOLLOWED_FOR = timedelta(days=1)  # a task pending for longer no longer keeps the service running


class Service:
    """One data folder's service; `run` returns when it was told to stop or nobody needs it any more."""

    def __init__(self, area: Path, state: Path, *, idle_s: float, at_once: int) -> None:
        self._area, self._state, self._idle_s = area, state, idle_s
        self._stop = asyncio.Event()
        self._children = Children(state)
        self._swept = self._children.sweep()
        self._counts = Counts.load(state)
        self._hub = Hub(Ledger.open(area / "ledger.sqlite"))
        kept_port = _kept_port(state)
        self._public, taken = bind_loopback(kept_port)
        self._loopback, _ = bind_loopback(0)
        self._notes = [_moved(kept_port, self._public)] if taken else []
        self._ways = Ways(
            state,
            self._children,
            self._counts,
            public_port=lambda: _port(self._public),
            expecting=self._expecting,
            on_change=lambda: self._hub.tell({"way": True}),
        )
        self._providers = Providers(area, state, self._ways, self._children)
        self._verifier = Verifier(children=self._children)
        self._poller = Poller(self._hub, self._providers, on_untold=self._untold)
        self._archive = Archive(
            self._hub,
            self._providers,
            self._verifier,
            area,
            children=self._children,
            ask_now=self._poller.ask_now,
            at_once=at_once,
        )
        self._submitter = Submitter(self._hub, self._providers, self._ways)
        self._callbacks = CallbackApp(self._hub, self._providers, self._counts, understand=self._understand)
        self._hub.on_change = self._changed
        self._started_at = datetime.now(UTC)
        self._needed_at = time.monotonic()
        self._opening = 0

    async def run(self) -> None:
        """Serve until stopped."""
        mind_signals(asyncio.get_running_loop(), self.stop)
        if self._hub.ledger.read_only is None:
            await self._submitter.recover()
        record = self._written = self._record()
        media = MediaServer(self._hub, self._area, record.media_token)
        control = control_app(self, self._hub, media, token=record.control_token)
        servers = [public_server(self._callbacks, self._counts), QuietServer(control)]
        sockets = [self._public, self._loopback]
        work = [asyncio.create_task(s.serve(sockets=[k])) for s, k in zip(servers, sockets, strict=True)]
        loops = [asyncio.create_task(run()) for run in self._loops()]
        _look_for_garbage_rarely()
        record.write(self._state)
        _log.info("listening on %s (public) and %s (control)", record.public_port, record.control_port)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stopping, *work, *loops], return_when=asyncio.FIRST_COMPLETED)
        for broken in (part for part in (*work, *loops) if part.done()):
            _log.error("a part of the service ended by itself: ending all of it", exc_info=broken.exception())
        await self._end(servers, work, loops)

    def _loops(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """Return what runs as long as the service does; a ledger that takes no facts leaves nothing to follow."""
        following = () if self._hub.ledger.read_only else (self._poller.run, self._archive.run)
        return (*following, self._ways.run, self._watch_need)

    def stop(self) -> None:
        """Begin to end; attached kernels are told, so that none starts the service again."""
        self._hub.tell({"stopping": True})
        self._stop.set()

    def hello(self) -> dict[str, Any]:
        """Return which version this is, how many are attached, whether it is ending, and what it has to say."""
        return {
            "version": kit_version(),
            "attached": self._hub.attached,
            "ending": self._stop.is_set(),
            "notes": self._all_notes(),
        }

    def health(self) -> dict[str, Any]:
        """Return how everything stands; JSON, without secrets."""
        return report(
            hub=self._hub,
            counts=self._counts,
            ways=self._ways,
            providers=self._providers,
            poller=self._poller,
            archive=self._archive,
        ) | {
            "started_at": self._started_at.isoformat(),
            "public_port": _port(self._public),
            "swept": self._swept,
            "notes": self._all_notes(),
        }

    def way(self, provider: str) -> dict[str, Any]:
        """Return how callbacks of an open provider get here."""
        return self._opened(provider).way.describe()

    async def open_provider(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Open a provider and take up its unfinished tasks."""
        name = asked["name"]
        await self._submitter.drain()  # a changed speed or key replaces the client, and no request may be cut off
        secrets_given = {part: Secret(asked[part]) for part in ("key", "webhook_key") if asked.get(part)}
        reach = _reach(asked.get("reach"), asked.get("ngrok_token"))
        terms = Terms(speed=asked.get("speed"), user_agent=asked.get("user_agent"), reach=reach, **secrets_given)
        in_use = self._hub.attached > 0 or bool(self._hub.unfinished(name))
        self._opening += 1
        try:
            provider = await self._providers.open(name, terms, in_use=in_use)
        finally:
            self._opening -= 1
        for state in [s for s in self._hub.states.values() if s.provider == name]:
            self._changed(state)
        return provider.describe()

    async def submit(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make a wish a task."""
        self._needed_at = time.monotonic()
        id, earlier = await self._submitter.take(Wish(**asked))
        return {"id": id, "earlier": earlier}

    async def command(self, id: str, verb: str) -> dict[str, Any]:
        """Run one verb of a person on a task."""
        self._known(id)
        now = datetime.now(UTC)
        if verb == "refresh":
            self._poller.ask_soon(id, "person")
        elif verb == "confirm":
            await self._hub.record(Confirmation(task=id, at=now))
        elif verb == "forget":
            await self._hub.record(Abandonment(task=id, at=now, reason="forgotten by the person"))
        elif verb == "save":
            await self._archive.save(id)
        else:
            raise ServiceError(f"A task can be told to refresh, confirm, forget or save; {verb!r} is none of these.")
        return {"id": id}

    async def resubmit(self, id: str) -> dict[str, Any]:
        """Buy again what a task wanted."""
        self._known(id)
        return {"id": await self._submitter.resubmit(id)}

    async def unsaved(self) -> dict[str, Any]:
        """Ask the hosts how large what is not saved is."""
        return await self._archive.unsaved()

    async def save_all(self) -> dict[str, Any]:
        """Fetch all that is neither saved nor expired."""
        return await self._archive.save_all()

    async def verify(self) -> dict[str, Any]:
        """Hash again what is saved."""
        return await self._archive.verify()

    async def replay(self, seq: int) -> dict[str, Any]:
        """Work through a stored delivery once more, as if it had just arrived."""
        path = self._hub.ledger.path
        found = await asyncio.to_thread(fetch_facts, path, since=seq - 1, only="delivery")
        if not found or found[0][0] != seq:
            raise ServiceError(f"No delivery has the number {seq}; session.deliveries() lists them as `seq`.")
        task = found[0][1].task
        facts = await asyncio.to_thread(fetch_facts, path, task=task)
        if self._known(task).last_seq <= facts[-1][0]:  # else something newer arrived while this was read
            self._hub.refold(task, facts)
        self._poller.ask_soon(task, "callback")
        return {"id": task}

    async def mint_url(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Hand out a listen-only URL."""
        id, url = await self._submitter.mint(asked["kind"], asked["provider"])
        return {"id": id, "url": url}

    async def credits(self, provider: str) -> dict[str, Any]:
        """Ask a provider for the balance."""
        return {"credits": await self._opened(provider).client.credits()}

    def _opened(self, provider: str) -> OpenProvider:
        opened = self._providers.get(provider)
        if opened is None:
            raise ServiceError(f"{provider} is not open in the service; connect again: kit.connect({provider!r}).")
        return opened

    def _known(self, id: str) -> TaskState:
        if id not in self._hub.states:
            raise ServiceError(f"No task {id!r} is known here; session.tasks() lists those that are.")
        return self._hub.states[id]

    def _all_notes(self) -> list[str]:
        ledger = self._hub.ledger
        return [*self._notes, *(text for text in (ledger.rebuilt, ledger.read_only, ledger.broken) if text)]

    async def _understand(self, url: MintedUrl, deliveries: Sequence[tuple[int, Delivery]]) -> None:
        self._hub.apply([seq for seq, _ in deliveries], [fact for _, fact in deliveries])
        self._poller.ask_soon(url.task, "callback")

    def _expecting(self, secret: str) -> AbstractContextManager[asyncio.Future[None]]:
        return self._callbacks.expecting(secret)

    def _untold(self, state: TaskState) -> None:
        """Doubt the tunnel where a poll found an end that no callback had told of."""
        provider = self._providers.get(state.provider)
        if provider is not None:
            self._ways.suspect(provider.way)

    def _changed(self, state: TaskState) -> None:
        """Pass every change on to who may have work with it."""
        self._poller.follow(state.id)
        self._archive.consider(state)

    def _record(self) -> ServiceRecord:
        return ServiceRecord(
            pid=os.getpid(),
            version=kit_version(),
            area=str(self._area),
            control_port=_port(self._loopback),
            control_token=secrets.token_urlsafe(32),
            media_token=secrets.token_urlsafe(24),
            public_port=_port(self._public),
        )

    async def _watch_need(self) -> None:
        """Stop when nothing has been needed for the idle time."""
        while True:
            await asyncio.sleep(min(IDLE_LOOK_S, self._idle_s / 4))
            self._keep_record()
            self._counts.save()
            if (broken := trouble_of(self._hub.ledger)) is not None:
                _log.error("ending, so that the next start can mend the ledger: %s", broken)
                self._stop.set()  # nobody is told: attached kernels start the service again
            if self._needed():
                self._needed_at = time.monotonic()
            elif time.monotonic() - self._needed_at > self._idle_s:
                _log.info("nothing to do and nobody attached for %.0f s: ending", self._idle_s)
                self.stop()

    def _keep_record(self) -> None:
        """Write the record again where it was damaged or removed: without it no kernel finds this service."""
        if ServiceRecord.read(self._state) != self._written:
            try:
                self._written.write(self._state)
            except OSError as reason:  # a full disk, perhaps: the listener goes on, and this is tried again
                _log.warning("the service record cannot be written: %s", reason)

    def _needed(self) -> bool:
        if self._hub.attached or self._archive.busy or self._opening:
            return True
        now = datetime.now(UTC)
        if any(u.expires_at and u.expires_at > now and not self._hub.states[u.task].final for u in self._urls()):
            return True
        followed = (s for s in self._hub.unfinished() if self._providers.get(s.provider) is not None)
        return any(s.submitted_at is not None and now - s.submitted_at < FOLLOWED_FOR for s in followed)

    def _urls(self) -> list[MintedUrl]:
        return [url for url in self._hub.ledger.urls() if url.listen_only and url.task in self._hub.states]

    async def _end(
        self, servers: list[QuietServer], work: list[asyncio.Task[None]], loops: list[asyncio.Task[None]]
    ) -> None:
        await self._submitter.close()
        for server in servers:
            server.should_exit = True
        for loop in loops:
            loop.cancel()
        await self._poller.close()
        await asyncio.gather(*loops, return_exceptions=True)
        await asyncio.gather(*work, return_exceptions=True)
        await self._providers.close()
        await self._archive.close()
        await self._verifier.close()
        await self._ways.close()
        self._hub.ledger.close()
        self._counts.save()


def _look_for_garbage_rarely() -> None:
    """Leave the picture of all tasks out of the collector's rounds, which stopped every answer for 100 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 100)


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _kept_port(state: Path) -> int:
    record = ServiceRecord.read(state)
    return record.public_port if record else 0


def _moved(wanted: int, public: socket.socket) -> str:
    return (
        f"Port {wanted}, on which callbacks arrived before, belongs to another program now; callbacks arrive on "
        f"{_port(public)}. Those of earlier tasks are missed, and polling finds what they would have told."
    )


def _reach(asked: dict[str, Any] | None, token: str | None) -> Reach | None:
    """Return how a session wants callbacks to get here; None where it left that open."""
    return None if asked is None else Reach(**asked, token=Secret(token) if token else None)

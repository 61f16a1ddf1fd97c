"""Owns the running service: puts its parts together, serves its two ports, and ends when nobody needs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import uvicorn

from kit.errors import ServiceError
from kit.ledger.facts import Abandonment, Confirmation, Delivery
from kit.ledger.fold import TaskState
from kit.ledger.store import Ledger, MintedUrl
from kit.service.archiver import Archiver
from kit.service.callbacks import CallbackApp
from kit.service.control import control_app
from kit.service.hub import Hub
from kit.service.media import MediaServer
from kit.service.poller import Poller
from kit.service.providers import Providers, Terms
from kit.service.record import ServiceRecord, kit_version
from kit.service.submitter import Submitter, Wish
from kit.service.verifier import Verifier
from kit.settings import Secret

__all__ = ["Service"]

_log = logging.getLogger(__name__)
IDLE_LOOK_S = 2.0
FOLLOWED_FOR = timedelta(days=1)  # a task pending for longer no longer keeps the service running


class Service:
    """One data folder's service; `run` returns when it was told to stop or nobody needs it any more."""

    def __init__(self, area: Path, state: Path, *, idle_s: float) -> None:
        self._area, self._state, self._idle_s = area, state, idle_s
        self._stop = asyncio.Event()
        self._hub = Hub(Ledger.open(area / "ledger.sqlite"))
        self._providers = Providers(area, state)
        self._verifier = Verifier()
        self._archiver = Archiver(self._hub, self._providers, self._verifier, area / "archive")
        self._poller = Poller(self._hub, self._providers)
        self._public = _bind(_kept_port(state))
        self._loopback = _bind(0)
        self._submitter = Submitter(self._hub, self._providers, public_port=lambda: _port(self._public))
        self._callbacks = CallbackApp(self._hub, self._providers, understand=self._understand)
        self._hub.on_change = self._changed
        self._needed_at = time.monotonic()

    async def run(self) -> None:
        """Serve until stopped."""
        self._mind_signals()
        await self._submitter.recover()
        record = self._written = self._record()
        media = MediaServer(self._hub, self._area, record.media_token)
        control = control_app(self, self._hub, media, token=record.control_token)
        servers = [_Server(self._callbacks), _Server(control)]
        sockets = [self._public, self._loopback]
        work = [asyncio.create_task(s.serve(sockets=[k])) for s, k in zip(servers, sockets, strict=True)]
        loops = [asyncio.create_task(run()) for run in (self._poller.run, self._archiver.run, self._watch_need)]
        record.write(self._state)
        _log.info("listening on %s (public) and %s (control)", record.public_port, record.control_port)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stopping, *work, *loops], return_when=asyncio.FIRST_COMPLETED)
        for broken in (part for part in (*work, *loops) if part.done()):
            _log.error("a part of the service ended by itself: ending all of it", exc_info=broken.exception())
        await self._end(servers, work, loops)

    def stop(self) -> None:
        """Begin to end; attached kernels are told, so that none starts the service again."""
        self._hub.tell({"stopping": True})
        self._stop.set()

    def hello(self) -> dict[str, Any]:
        """Return which version this is, who is attached, whether it is ending, and what arrived."""
        return {
            "version": kit_version(),
            "attached": self._hub.attached,
            "ending": self._stop.is_set(),
            "counts": dict(self._callbacks.counts),
        }

    async def open_provider(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Open a provider and take up its unfinished tasks."""
        name = asked["name"]
        await self._submitter.drain()  # a changed speed or key replaces the client, and no request may be cut off
        secrets_given = {part: Secret(asked[part]) for part in ("key", "webhook_key") if asked.get(part)}
        terms = Terms(speed=asked.get("speed"), user_agent=asked.get("user_agent"), **secrets_given)
        in_use = self._hub.attached > 0 or bool(self._hub.unfinished(name))
        provider = await self._providers.open(name, terms, in_use=in_use)
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
        if id not in self._hub.states:
            raise ServiceError(f"No task {id!r} is known here; session.tasks() lists those that are.")
        now = datetime.now(UTC)
        if verb == "refresh":
            self._poller.ask_soon(id, "person")
        elif verb == "confirm":
            await self._hub.record(Confirmation(task=id, at=now))
        elif verb == "forget":
            await self._hub.record(Abandonment(task=id, at=now, reason="forgotten by the person"))
        elif verb == "save":
            await self._archiver.save(id)
        else:
            raise ServiceError(f"A task can be told to refresh, confirm, forget or save; {verb!r} is none of these.")
        return {"id": id}

    async def mint_url(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Hand out a listen-only URL."""
        id, url = await self._submitter.mint(asked["kind"], asked["provider"])
        return {"id": id, "url": url}

    async def credits(self, provider: str) -> dict[str, Any]:
        """Ask a provider for the balance."""
        opened = self._providers.get(provider)
        if opened is None:
            raise ServiceError(f"{provider} is not open in the service; connect again: kit.connect({provider!r}).")
        return {"credits": await opened.client.credits()}

    async def _understand(self, url: MintedUrl, fact: Delivery, seq: int) -> None:
        self._hub.apply([seq], [fact])
        self._poller.ask_soon(url.task, "callback")

    def _changed(self, state: TaskState) -> None:
        """Pass every change on to who may have work with it."""
        self._poller.follow(state.id)
        self._archiver.consider(state)

    def _mind_signals(self) -> None:
        """End on SIGTERM; an interrupt or a closed terminal is meant for somebody else."""
        for name in ("SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        with contextlib.suppress(NotImplementedError):  # Windows ends a process without asking it
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)

    def _record(self) -> ServiceRecord:
        return ServiceRecord(
            pid=os.getpid(),
            create_time=psutil.Process().create_time(),
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
            if ServiceRecord.read(self._state) != self._written:
                self._written.write(self._state)  # damaged or removed: without it no kernel finds this service
            if self._needed():
                self._needed_at = time.monotonic()
            elif time.monotonic() - self._needed_at > self._idle_s:
                _log.info("nothing to do and nobody attached for %.0f s: ending", self._idle_s)
                self.stop()

    def _needed(self) -> bool:
        if self._hub.attached or self._archiver.busy:
            return True
        now = datetime.now(UTC)
        if any(u.expires_at and u.expires_at > now and not self._hub.states[u.task].final for u in self._urls()):
            return True
        followed = (s for s in self._hub.unfinished() if self._providers.get(s.provider) is not None)
        return any(s.submitted_at is not None and now - s.submitted_at < FOLLOWED_FOR for s in followed)

    def _urls(self) -> list[MintedUrl]:
        return [url for url in self._hub.ledger.urls() if url.listen_only and url.task in self._hub.states]

    async def _end(
        self, servers: list[_Server], work: list[asyncio.Task[None]], loops: list[asyncio.Task[None]]
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
        await self._archiver.close()
        await self._verifier.close()
        self._hub.ledger.close()


class _Server(uvicorn.Server):
    """Uvicorn on a socket that is bound already, leaving the signals to the service."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # the path of a callback is a secret
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,  # an attached kernel would otherwise hold the end up for ever
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(port: int) -> socket.socket:
    """Return a loopback socket on `port`, or on a free one where that belongs to somebody else."""
    # The protocol is named because asyncio switches Nagle off only then, which saves 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":  # there it would let two programs share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError):
        _log.warning("port %d is taken; callbacks of earlier tasks will be missed, polling finds them", port)
        listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    listener.setblocking(False)
    return listener


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _kept_port(state: Path) -> int:
    record = ServiceRecord.read(state)
    return record.public_port if record else 0

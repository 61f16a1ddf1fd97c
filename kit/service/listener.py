"""Owns the public server: who may connect, how many at once and for how long; it must not know what is asked of it.

Each rule is about requests that are not complete yet. A complete one belongs to the app and is never cut off.
"""

from __future__ import annotations

import errno
import functools
import socket
import time
from collections import Counter
from typing import Any, cast

from kit.service.connection import Connection
from kit.service.serving import QuietServer

__all__ = ["CONNECTIONS", "public_server"]

CONNECTIONS = 256  # that have not sent a complete request; beyond, the one that has waited longest goes
AT_ONCE = 4  # parts in which as many are accepted: a burst then pushes out nobody who was not even read yet
GRACE_S = 0.1  # a connection may stay so long, however many others come: time to send what it came for
KERNEL_QUEUE = 1024  # connections that may wait to be accepted
PAUSE_S = 0.5  # between two attempts to accept while there is no file descriptor left

_NOTHING_FREE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def public_server(app: Any, counts: Counter[str]) -> QuietServer:
    """Return the server of the public app; its refusals are counted in `counts`.

    `serve(sockets=[...])` runs it, `should_exit = True` ends it, as with every uvicorn server.
    """
    return _PublicServer(app, _Watch(counts))


class _PublicServer(QuietServer):
    """The server with its watch: ten times a second whoever has taken too long is sent away."""

    def __init__(self, app: Any, watch: _Watch) -> None:
        # Uvicorn calls whatever stands here to make the protocol of each new connection.
        protocol = cast("Any", functools.partial(Connection, watch=watch))
        super().__init__(
            app,
            http=protocol,
            loop="asyncio",
            interface="asgi3",
            backlog=max(1, watch.limit // AT_ONCE),
            date_header=False,
            proxy_headers=False,  # whoever asks may write them, and nothing here depends on who asks
        )
        self._watch = watch

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the bound `sockets` and close them at the end."""
        given = sockets or []
        doors: list[socket.socket] = [_Door(self._watch, fileno=socket.dup(one.fileno())) for one in given]
        try:
            await super().serve(doors)
        finally:
            for one in (*doors, *given):
                one.close()

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections; tell whether to end."""
        self._watch.look(time.monotonic())
        return await super().on_tick(counter)


class _Door(socket.socket):
    """A listening socket that makes room itself when the process is out of file descriptors."""

    def __init__(self, watch: _Watch, *, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.setblocking(False)
        self._watch, self._closed_until = watch, 0.0

    def listen(self, _backlog: int = 0, /) -> None:
        """Queue more connections in the kernel than asyncio, which asks for this, accepts at once."""
        super().listen(KERNEL_QUEUE)

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; raise `BlockingIOError` where there is none, or no descriptor for it."""
        if time.monotonic() < self._closed_until or self._watch.is_busy():
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as reason:
            if reason.errno not in _NOTHING_FREE:
                raise
            if self._watch.evict():
                raise BlockingIOError from reason  # asyncio asks again at once, and by then one is free
            self._closed_until = time.monotonic() + PAUSE_S
            raise  # asyncio logs it and accepts nobody for a second


class _Watch:
    """The connections that have not sent a complete request, those that have waited longest first; `limit` of them."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts
        self.limit = _room()
        self._waiting: dict[Connection, float] = {}  # and since when, in monotonic seconds

    def wait(self, connection: Connection) -> None:
        """Watch a connection, as the one that has waited least; where there is no room the longest goes."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = time.monotonic()
        self._make_room()

    def release(self, connection: Connection) -> None:
        """Leave a connection alone: its request is complete, or it is gone."""
        self._waiting.pop(connection, None)

    def is_busy(self) -> bool:
        """Tell whether there is no room, and nobody who had the time to send what it came for."""
        return len(self._waiting) >= self.limit and not self._has_old()

    def evict(self) -> bool:
        """Close the connection that has waited longest; False where nobody waits."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self.counts["evicted"] += 1
        self.release(oldest)
        oldest.abort()
        return True

    def look(self, now: float) -> None:
        """Send away whoever has taken too long."""
        for connection in [one for one in self._waiting if one.due <= now]:
            connection.expire()
        self._make_room()

    def _make_room(self) -> None:
        while len(self._waiting) > self.limit and self._has_old():
            self.evict()

    def _has_old(self) -> bool:
        return time.monotonic() - next(iter(self._waiting.values())) >= GRACE_S


def _room() -> int:
    """Return how many may wait: a quarter of the files this process may open, at most `CONNECTIONS`."""
    try:
        import resource
    except ImportError:  # a platform without such limits
        return CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, max(8, files // 4))

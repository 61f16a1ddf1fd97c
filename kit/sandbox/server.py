"""Owns the socket: binding on loopback, serving an app there, and connections that a response may cut."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.types import ASGIApp

__all__ = ["HOST", "Server", "bind"]

HOST = "127.0.0.1"


def bind(port: int) -> socket.socket:
    """Return a listening socket on loopback; port 0 takes a free one; raises `OSError` where the port is taken."""
    # The protocol is named because asyncio switches Nagle's delay off only where it is: 40 ms a request otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(256)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


class _Connection(H11Protocol):
    """Puts the transport into the request's state, so that a response can end the connection without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Server(uvicorn.Server):
    """Serves an app and says when it listens."""

    def __init__(self, app: ASGIApp, *, on_listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                lifespan="on",
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._on_listening()

    def stop(self, *_: Any) -> None:
        """Ask the server to end; safe from any thread."""
        self.should_exit = True

"""Owns how the service runs a uvicorn server inside its own loop; it must not know what is served."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

__all__ = ["QuietServer"]


class QuietServer(uvicorn.Server):
    """Uvicorn on a socket that is bound already: it logs no request and leaves the signals to the service.

    `serve(sockets=[...])` returns after `should_exit` was set and the requests under way were answered, or a second
    later. `settings` are further settings of `uvicorn.Config`.
    """

    def __init__(self, app: Any, **settings: Any) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # the path of a callback is a secret
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,  # an attached kernel would otherwise hold the end up for ever
            **settings,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers as they are."""
        yield

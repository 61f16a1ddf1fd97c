"""Owns the loopback port for kernels: commands, events and media, behind two tokens; it decides nothing itself."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kit.errors import KitError
from kit.service.hub import Hub
from kit.service.media import MediaServer

__all__ = ["Commands", "control_app"]

_log = logging.getLogger(__name__)

BODY_LIMIT = 4 * 2**20
ALIVE_EVERY_S = 15.0


class Commands(Protocol):
    """What the service can be told; every answer is JSON."""

    def hello(self) -> dict[str, Any]:
        """Say who is here."""

    async def open_provider(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make a provider ready."""

    async def submit(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Record a wish and send it."""

    async def command(self, id: str, verb: str) -> dict[str, Any]:
        """Run a person's verb on a task."""

    async def mint_url(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Hand out a listen-only URL."""

    async def resubmit(self, id: str) -> dict[str, Any]:
        """Buy again what a task wanted."""

    async def unsaved(self) -> dict[str, Any]:
        """Ask how large what is not saved is."""

    async def save_all(self) -> dict[str, Any]:
        """Fetch all that is neither saved nor expired."""

    async def verify(self) -> dict[str, Any]:
        """Hash again what is saved."""

    async def replay(self, seq: int) -> dict[str, Any]:
        """Run a stored delivery again."""

    async def credits(self, provider: str) -> dict[str, Any]:
        """Ask for the balance."""

    def way(self, provider: str) -> dict[str, Any]:
        """Say how callbacks of a provider get here."""

    def health(self) -> dict[str, Any]:
        """Say how everything stands."""

    def stop(self) -> None:
        """Begin to end."""


def control_app(commands: Commands, hub: Hub, media: MediaServer, *, token: str) -> ASGIApp:
    """Return the app behind the control port."""

    async def hello(_: Request) -> dict[str, Any]:
        return commands.hello()

    async def providers(request: Request) -> dict[str, Any]:
        return await commands.open_provider(await _body(request))

    async def tasks(request: Request) -> dict[str, Any]:
        return await commands.submit(await _body(request))

    async def verb(request: Request) -> dict[str, Any]:
        return await commands.command(request.path_params["id"], request.path_params["verb"])

    async def urls(request: Request) -> dict[str, Any]:
        return await commands.mint_url(await _body(request))

    async def credits(request: Request) -> dict[str, Any]:
        return await commands.credits(request.path_params["provider"])

    async def resubmit(request: Request) -> dict[str, Any]:
        return await commands.resubmit(request.path_params["id"])

    async def replay(request: Request) -> dict[str, Any]:
        return await commands.replay(request.path_params["seq"])

    async def unsaved(_: Request) -> dict[str, Any]:
        return await commands.unsaved()

    async def save_all(_: Request) -> dict[str, Any]:
        return await commands.save_all()

    async def verify(_: Request) -> dict[str, Any]:
        return await commands.verify()

    async def way(request: Request) -> dict[str, Any]:
        return commands.way(request.path_params["provider"])

    async def health(_: Request) -> dict[str, Any]:
        return commands.health()

    async def shutdown(_: Request) -> dict[str, Any]:
        commands.stop()
        return {"stopping": True}

    async def events(_: Request) -> Response:
        return StreamingResponse(_events(hub), media_type="application/x-ndjson")

    routes = [
        _command("/hello", hello, "GET"),
        _command("/providers", providers, "POST"),
        _command("/tasks", tasks, "POST"),
        _command("/tasks/{id}/resubmit", resubmit, "POST"),
        _command("/tasks/{id}/{verb}", verb, "POST"),
        _command("/deliveries/{seq:int}/replay", replay, "POST"),
        _command("/urls", urls, "POST"),
        _command("/archive/unsaved", unsaved, "GET"),
        _command("/archive/save", save_all, "POST"),
        _command("/archive/verify", verify, "POST"),
        _command("/credits/{provider}", credits, "GET"),
        _command("/ways/{provider}", way, "GET"),
        _command("/health", health, "GET"),
        _command("/shutdown", shutdown, "POST"),
        Route("/events", events, methods=["GET"]),
        Route("/media/{token}/{task}/{role}/{index}", media.__call__, methods=["GET", "HEAD"]),
    ]
    return _Guard(Starlette(routes=routes), token)


class _Guard:
    """Lets a request in that names this host and, except for media, carries the token and comes from no web page."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._welcome(scope):
            await JSONResponse({"error": "This port serves the notebooks of its owner."}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _welcome(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        host, _, port = headers.get(b"host", b"").partition(b":")
        if host not in (b"127.0.0.1", b"localhost") or not (port or b"0").isdigit():
            return False
        if scope["path"].startswith("/media/"):
            return True  # the path carries a token of its own
        return b"origin" not in headers and hmac.compare_digest(headers.get(b"authorization", b""), self._expected)


def _command(path: str, run: Callable[[Request], Awaitable[dict[str, Any]]], method: str) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await run(request))
        except KitError as refusal:
            return JSONResponse({"error": str(refusal), "type": type(refusal).__name__}, 409)
        except Exception as trouble:
            _log.exception("a command broke off: %s", path)
            return JSONResponse(
                {"error": f"The service could not do that ({type(trouble).__name__}); see its log."}, 500
            )

    return Route(path, endpoint, methods=[method])


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if len(raw) > BODY_LIMIT:
        raise KitError(f"The command is larger than {BODY_LIMIT // 2**20} MiB.")
    try:
        body = json.loads(raw)
    except ValueError as reason:
        raise KitError("The command is not JSON.") from reason
    if not isinstance(body, dict):
        raise KitError("The command is not a JSON object.")
    return body


async def _events(hub: Hub) -> AsyncIterator[bytes]:
    """Yield one JSON line an event; an empty line now and then shows the kernel that the service is there."""
    async with hub.listen() as listener:
        yield b"\n"
        while True:
            try:
                async with asyncio.timeout(ALIVE_EVERY_S):
                    events = await listener.take()
            except TimeoutError:
                yield b"\n"
                continue
            yield "".join(json.dumps(event) + "\n" for event in events).encode()

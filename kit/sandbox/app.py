"""Owns the provider's routes in one dialect and puts the rooms of the sandbox together; facts come from `kinds`."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from kit.provider.kinds import CREDITS_PATH, KINDS, meaning
from kit.sandbox.bodies import Bodies, envelope
from kit.sandbox.callbacks import Courier, Manners
from kit.sandbox.clock import Clock
from kit.sandbox.console import Console
from kit.sandbox.desk import Desk, Refused, Rules
from kit.sandbox.faults import Faults
from kit.sandbox.files import Files, make
from kit.sandbox.jobs import Book
from kit.sandbox.serving import HangUp, gone, serve
from kit.sandbox.store import Store
from kit.sandbox.work import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.requests import Request

    from kit.provider.kinds import Dialect, Kind
    from kit.sandbox.files import Made

__all__ = ["Provider", "build"]

log = logging.getLogger(__name__)


def build(
    folder: Path,
    *,
    dialect: Dialect,
    base: str,
    token: str,
    speed: float | None = None,
    rules: Rules | None = None,
    manners: Manners | None = None,
    maker: Callable[[dict[str, Any]], Made] = make,
) -> Starlette:
    """Return the app of one simulated provider, which keeps everything in `folder` and is reached at `base`."""
    store = Store(folder / "sandbox.sqlite")
    clock, bodies = Clock(store, speed=speed), Bodies(dialect, base)
    book, faults = Book(store, clock, dialect), Faults(store)
    files, desk = Files(folder / "media", maker=maker), Desk(book, faults, rules or Rules())
    courier = Courier(book, clock, bodies.callback, manners)
    worker = Worker(book, clock, files, courier)
    provider = Provider(book, desk, bodies, files, worker)
    console = Console(book, clock, faults, bodies, token=token)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        worker.resume()
        yield
        await worker.close()
        await courier.close()
        files.close()
        store.close()

    routes = [*provider.routes(), Mount("/_sandbox", routes=console.routes())]
    refusals = {HTTPException: provider.unrouted, Refused: _refusal, Exception: _accident}
    return Starlette(routes=routes, exception_handlers=refusals, lifespan=lifespan)


class Provider:
    """The public half: submit, details, balance and media, on the provider's own paths."""

    def __init__(self, book: Book, desk: Desk, bodies: Bodies, files: Files, worker: Worker) -> None:
        self._book, self._desk, self._bodies, self._files, self._worker = book, desk, bodies, files, worker

    def routes(self) -> list[Route]:
        """Return the routes that this dialect documents for the kinds of the table."""
        listed = [Route(CREDITS_PATH[self._book.dialect], self._credits, methods=["GET"])]
        for kind in KINDS.values():
            listed.append(Route(kind.submit_path, partial(self._submit, kind=kind), methods=["POST"]))
            listed.append(Route(kind.details_path, partial(self._details, kind=kind), methods=["GET"]))
        return [*listed, Route("/media/{name:path}", self._media, methods=["GET"])]

    async def _credits(self, request: Request) -> Response:
        self._desk.admit(request.headers.get("Authorization"))
        return JSONResponse(envelope(200, "success", _plain(self._book.credits)))

    async def _submit(self, request: Request, kind: Kind) -> Response:
        self._desk.admit(request.headers.get("Authorization"))
        job = self._desk.submit(kind, await request.body())
        self._worker.start(job)
        if job.plan.submit == "lost_answer":
            return HangUp()
        return JSONResponse(envelope(200, "success", {"taskId": job.task_id}))

    async def _details(self, request: Request, kind: Kind) -> Response:
        self._desk.admit(request.headers.get("Authorization"))
        job = self._desk.find(kind, request.query_params.get("taskId", ""))
        if job is None:
            return self._nothing_found()
        word = job.plan.details
        early = word == "no_link" and job.outcome != "succeeded"
        spoilt = word if word and not early and self._book.spoil(job, "details") else None
        if spoilt == "outage":
            return await _accident(request, None)
        data = None if spoilt == "null" else self._bodies.details(job, spoilt=spoilt == "no_link")
        return JSONResponse(envelope(200, "success", data))

    async def unrouted(self, _request: Request, refused: Exception) -> Response:
        """Answer a wrong path or method: code 404 for both, as 405 is A's rate limit (provider-api 1.3)."""
        assert isinstance(refused, HTTPException)
        said = meaning("music", self._book.dialect, "submit", 404).meaning
        return JSONResponse(envelope(404, said[:1].upper() + said[1:]), refused.status_code)

    def _nothing_found(self) -> Response:
        # Not documented for these kinds; B's other products say it so (provider-api 11).
        if self._book.dialect == "kie":
            return JSONResponse(envelope(422, "recordInfo is null"))
        return JSONResponse(envelope(200, "success"))

    async def _media(self, request: Request) -> Response:
        found = self._book.find_file(request.path_params["name"])
        if found is None:
            return gone()
        job, file = found
        if file not in job.files_at(job.stage) or self._book.expired(job):
            return gone()
        await self._files.ready([file])
        word = job.plan.media
        for_good = word in ("expired", "forbidden", "large")
        spoilt = word if word and (for_good or self._book.spoil(job, file.name)) else None
        return serve(self._files.path(file), file.media_type, spoilt=spoilt)


async def _refusal(_request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return JSONResponse(envelope(refused.code, refused.msg, refused.data), refused.http_status)


async def _accident(request: Request, reason: Exception | None) -> Response:
    if reason is not None:
        log.error("%s %s failed", request.method, request.url.path, exc_info=reason)
    return JSONResponse(envelope(500, "Internal Error - Please try again later"), 500)


def _plain(balance: float) -> float | int:
    return int(balance) if balance == int(balance) else balance

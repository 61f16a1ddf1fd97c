"""Owns the private half of the server: faults, balance, speed and clock for whoever holds the admin token."""

from __future__ import annotations

import hmac
import math
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kit.errors import InvalidInput
from kit.sandbox.faults import ANY_KIND, Wish, plan_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from kit.sandbox.bodies import Bodies
    from kit.sandbox.clock import Clock
    from kit.sandbox.faults import Faults
    from kit.sandbox.jobs import Book, Job

__all__ = ["TOKEN_HEADER", "Console"]

TOKEN_HEADER = "X-Sandbox-Token"  # noqa: S105 - a name, not a secret
_SPEEDS = (0.001, 100_000.0)


class Console:
    """The routes under /_sandbox; every one asks for the token."""

    def __init__(self, book: Book, clock: Clock, faults: Faults, bodies: Bodies, *, token: str) -> None:
        self._book, self._clock, self._faults, self._bodies, self._token = book, clock, faults, bodies, token

    def routes(self) -> list[Route]:
        """Return the routes, each behind the token."""
        return [
            Route("/state", self._guard(self._state), methods=["GET"]),
            Route("/state", self._guard(self._change), methods=["PATCH"]),
            Route("/jobs", self._guard(self._jobs), methods=["GET"]),
            Route("/faults", self._guard(self._wish), methods=["POST"]),
            Route("/faults", self._guard(self._clear), methods=["DELETE"]),
            Route("/faults/{id}", self._guard(self._take_back), methods=["DELETE"]),
        ]

    def _guard(self, handle: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            given = request.headers.get(TOKEN_HEADER, "")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return JSONResponse({"error": f"{TOKEN_HEADER} is missing or wrong"}, 403)
            try:
                return JSONResponse(await handle(request))
            except InvalidInput as refused:
                names = ("name", "value", "expected", "example")
                return JSONResponse({"refused": {name: getattr(refused, name) for name in names}}, 400)

        return guarded

    async def _state(self, _request: Request) -> dict[str, Any]:
        return {
            "dialect": self._book.dialect,
            "credits": self._book.credits,
            "speed": self._clock.speed,
            "creates": len(self._book),
            "faults": [{"id": wish.id, "kind": wish.kind} for wish in self._faults.waiting()],
        }

    async def _change(self, request: Request) -> dict[str, Any]:
        wanted = await request.json()
        if "credits" in wanted:
            self._book.credits = _number("credits", wanted["credits"], 0, 1e9, "sandbox.credits = 1000")
        if "speed" in wanted:
            self._clock.set_speed(_number("speed", wanted["speed"], *_SPEEDS, "sandbox.speed = 20"))
        if "days" in wanted:
            self._clock.skip(_number("days", wanted["days"], 0, 36_500, "sandbox.advance(days=15)"))
        return await self._state(request)

    async def _jobs(self, _request: Request) -> list[dict[str, Any]]:
        return [self._shown(job) for job in self._book]

    async def _wish(self, request: Request) -> dict[str, Any]:
        wanted = await request.json()
        plan = plan_for(wanted["kind"], self._book.dialect, wanted["plan"])
        if plan.task_id is not None and (wanted["standing"] or self._book.find(plan.task_id)):
            expected = "an id no job has yet, for one job"
            raise InvalidInput(
                "task_id", plan.task_id, expected, "sandbox.next('video', task_id='taskId_774b9aa0422f')"
            )
        if wanted["kind"] == ANY_KIND and not wanted["standing"]:
            raise InvalidInput("kind", ANY_KIND, "one kind for one job", "sandbox.always(callbacks='lost')")
        wish = Wish(kind=wanted["kind"], plan=plan, standing=bool(wanted["standing"]))
        self._faults.add(wish)
        return {"id": wish.id}

    async def _take_back(self, request: Request) -> dict[str, Any]:
        return {"removed": self._faults.remove(request.path_params["id"])}

    async def _clear(self, _request: Request) -> dict[str, Any]:
        self._faults.clear()
        return {}

    def _shown(self, job: Job) -> dict[str, Any]:
        return {
            "number": job.number,
            "task_id": job.task_id,
            "kind": job.kind,
            "state": str(self._bodies.status(job)),
            "outcome": job.outcome,
            "code": job.code,
            "callback_url": job.callback_url,
            "created_at": job.created_at,
            "completed_at": job.completed_at,
            "charged": job.charged,
            "audio_ids": job.audio_ids,
            "source": job.source[0] or None,
            "deliveries": job.deliveries,
            "undelivered": job.outbox,
        }


def _number(name: str, value: Any, least: float, most: float, example: str) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not least <= value <= most:
        raise InvalidInput(name, value, f"a number from {least:g} to {most:g}", example)
    return float(value)

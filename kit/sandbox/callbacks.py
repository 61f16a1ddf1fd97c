"""Owns delivering callbacks, with the provider's 15 s, retries and signature; it must not know what a body says."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from kit.provider.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from kit.sandbox.jobs import stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from kit.sandbox.clock import Clock
    from kit.sandbox.jobs import Book, Job

__all__ = ["Courier", "Manners"]

log = logging.getLogger(__name__)

LATE_S = 120.0
HEAD_START_S = 1.0
STALE_S = 3600
_LAST = ("complete", "error")


@dataclass(frozen=True)
class Manners:
    """How callbacks are delivered (provider-api 10): the receiver's limit and the gaps before the retries, in seconds.

    `webhook_key` signs every callback (provider-api 12); None signs nothing, as where it is not switched on.
    """

    limit_s: float = 15.0
    gaps_s: tuple[float, ...] = (2.0, 4.0, 8.0)
    webhook_key: str | None = None


@dataclass(eq=False)
class _Round:
    """One delivery with its retries; `out` is set once its first try is over, and nobody need wait for it any more."""

    job: Job
    stage: str
    out: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Courier:
    """Delivers what is in the jobs' outboxes, every stage on its own, and gives each up after its last retry."""

    def __init__(
        self, book: Book, clock: Clock, write: Callable[[Job, str], dict[str, Any]], manners: Manners | None = None
    ) -> None:
        self._book, self._clock, self._write = book, clock, write
        self._manners = manners or Manners()
        self._rounds: dict[tuple[str, str], _Round] = {}
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=60)

    def post(self, job: Job) -> None:
        """Begin to deliver what is in the outbox of `job`, except what is on its way already."""
        self._sort(job)
        if job.plan.callbacks == "reordered" and job.outcome == "pending":
            return  # the last stage, which goes first, will take the others along
        for stage in job.outbox:
            if (job.task_id, stage) not in self._rounds:
                self._send_out(job, stage)

    async def close(self) -> None:
        """Stop; what was not delivered stays in its outbox for the next start."""
        tasks = [each.task for each in self._rounds.values() if each.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _sort(self, job: Job) -> None:
        word = job.plan.callbacks
        if word == "refused" and job.outbox:
            job.undeliverable = True
        if word in ("lost", "refused"):
            job.outbox.clear()
        if word == "last_only":
            job.outbox[:] = [stage for stage in job.outbox if stage in _LAST]
        if word == "reordered":
            job.outbox.sort(key=("error", "complete", "first", "text").index)
        self._book.keep(job)

    def _send_out(self, job: Job, stage: str) -> None:
        ahead = [each.out for each in self._rounds.values() if each.job is job]
        round_ = self._rounds[job.task_id, stage] = _Round(job, stage)
        # Tried before this run: its place in the order is taken, and its next try may be a long gap away.
        if _tries(job, stage):
            round_.out.set()
        round_.task = asyncio.create_task(self._go_round(round_, ahead), name=f"{stage} of {job.task_id}")

    async def _go_round(self, round_: _Round, ahead: list[asyncio.Event]) -> None:
        job, stage = round_.job, round_.stage
        try:
            await self._wait(job, stage)
            await _let_pass(ahead)
            await self._deliver(round_)
        finally:
            round_.out.set()
            del self._rounds[job.task_id, stage]

    async def _deliver(self, round_: _Round) -> None:
        job, stage = round_.job, round_.stage
        delivered = await self._insist(round_)
        if delivered and job.plan.callbacks == "duplicate":
            await self._try(job, stage)
        # A lost text or first is followed by others; the job is undeliverable where nothing told of its end.
        if not delivered and stage in _LAST:
            job.undeliverable = True
        job.outbox.remove(stage)
        self._book.keep(job)

    async def _wait(self, job: Job, stage: str) -> None:
        if job.plan.callbacks == "late":
            due = next(each.after for each in stages(job) if each.name == stage)
            await self._clock.reach(job.begun + due + LATE_S)

    async def _insist(self, round_: _Round) -> bool:
        """Try once and then after each gap; return whether the receiver said 200 (provider-api 10)."""
        job, stage = round_.job, round_.stage
        gaps = (0.0, *self._manners.gaps_s)
        for gap in gaps[_tries(job, stage) :]:
            await asyncio.sleep(gap)
            if await self._try(job, stage):
                return True
            round_.out.set()
        log.info("gave up calling back for the %s of %s %s", stage, job.kind, job.task_id)
        return False

    async def _try(self, job: Job, stage: str) -> bool:
        body = json.dumps(self._write(job, stage), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **self._signature(job)}
        try:
            async with asyncio.timeout(self._manners.limit_s):
                answer = await self._client.post(job.callback_url, content=body, headers=headers)
            said = str(answer.status_code)
        except TimeoutError:
            said = "timeout"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as reason:
            said = type(reason).__name__
        job.deliveries.append({"stage": stage, "at": self._clock.real(), "answer": said})
        self._book.keep(job)
        return said == "200"

    def _signature(self, job: Job) -> dict[str, str]:
        key, word = self._manners.webhook_key, job.plan.callbacks
        if not key:
            return {}
        at = int(time.time()) - (STALE_S if word == "stale_signature" else 0)
        signature = sign(job.task_id, at, f"not {key}" if word == "wrong_signature" else key)
        return {TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: signature}


def _tries(job: Job, stage: str) -> int:
    return sum(delivery["stage"] == stage for delivery in job.deliveries)


async def _let_pass(ahead: list[asyncio.Event]) -> None:
    """Wait a moment for the first tries of earlier stages, so that a healthy receiver hears them in order."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HEAD_START_S):
            for out in ahead:
                await out.wait()

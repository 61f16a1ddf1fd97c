"""Owns delivering callbacks, with the provider's 15 s, retries and signature; it must not know what a body says."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass
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
STALE_S = 3600


@dataclass(frozen=True)
class Manners:
    """How callbacks are delivered (provider-api 10): the receiver's limit and the gaps before the retries, in seconds.

    `webhook_key` signs every callback (provider-api 12); None signs nothing, as where it is not switched on.
    """

    limit_s: float = 15.0
    gaps_s: tuple[float, ...] = (2.0, 4.0, 8.0)
    webhook_key: str | None = None


class Courier:
    """Delivers what is in the jobs' outboxes, each job's in order, and gives a job up after the last retry."""

    def __init__(
        self, book: Book, clock: Clock, write: Callable[[Job, str], dict[str, Any]], manners: Manners | None = None
    ) -> None:
        self._book, self._clock, self._write = book, clock, write
        self._manners = manners or Manners()
        self._rounds: dict[str, asyncio.Task[None]] = {}
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=60)

    def post(self, job: Job) -> None:
        """Begin to deliver what is in the outbox of `job`, unless that is going on already."""
        self._sort(job)
        if job.outbox and job.task_id not in self._rounds:
            round_ = asyncio.create_task(self._go_round(job), name=f"callbacks of {job.task_id}")
            self._rounds[job.task_id] = round_

    async def close(self) -> None:
        """Stop; what was not delivered stays in its outbox for the next start."""
        rounds = list(self._rounds.values())
        for task in rounds:
            task.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)
        await self._client.aclose()

    def _sort(self, job: Job) -> None:
        word = job.plan.callbacks
        if word == "refused" and job.outbox:
            job.undeliverable = True
        if word in ("lost", "refused") or job.undeliverable:
            job.outbox.clear()
        if word == "last_only":
            job.outbox[:] = [stage for stage in job.outbox if stage in ("complete", "error")]
        if word == "reordered":
            job.outbox.sort(key=("error", "complete", "first", "text").index)
        self._book.keep(job)

    async def _go_round(self, job: Job) -> None:
        try:
            await self._deliver(job)
        finally:
            # Here and not in a done callback: one step later a stage posted meanwhile would have found a round that
            # is over, and would have waited for ever.
            del self._rounds[job.task_id]

    async def _deliver(self, job: Job) -> None:
        while job.outbox:
            if job.plan.callbacks == "reordered" and job.outcome == "pending":
                return  # the last stage, which comes first, will start another round
            stage = job.outbox[0]
            await self._wait(job, stage)
            if not await self._insist(job, stage):
                job.undeliverable = True
                job.outbox.clear()
            elif job.plan.callbacks == "duplicate":
                await self._try(job, stage)
            if stage in job.outbox:
                job.outbox.remove(stage)
            job.attempts = 0
            self._book.keep(job)

    async def _wait(self, job: Job, stage: str) -> None:
        if job.plan.callbacks == "late":
            due = next(each.after for each in stages(job) if each.name == stage)
            await self._clock.reach(job.begun + due + LATE_S)

    async def _insist(self, job: Job, stage: str) -> bool:
        """Try once and then after each gap; return whether the receiver said 200 (provider-api 10)."""
        gaps = (0.0, *self._manners.gaps_s)
        for gap in gaps[job.attempts :]:
            await asyncio.sleep(gap)
            delivered = await self._try(job, stage)
            job.attempts += 1
            self._book.keep(job)
            if delivered:
                return True
        log.info("gave up calling back for %s %s", job.kind, job.task_id)
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

"""Owns the provider's labour: it takes each job through its stages when they are due and their files are there."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from kit.sandbox.jobs import Stage, stages

if TYPE_CHECKING:
    from kit.sandbox.callbacks import Courier
    from kit.sandbox.clock import Clock
    from kit.sandbox.files import Files
    from kit.sandbox.jobs import Book, Job

__all__ = ["Worker"]

log = logging.getLogger(__name__)


class Worker:
    """One asyncio task for each job that is not at its end."""

    def __init__(self, book: Book, clock: Clock, files: Files, courier: Courier) -> None:
        self._book, self._clock, self._files, self._courier = book, clock, files, courier
        self._running: set[asyncio.Task[None]] = set()

    def resume(self) -> None:
        """Go on with everything that an earlier run left unfinished or undelivered."""
        for job in self._book:
            if job.outcome == "pending":
                self.start(job)
            if job.outbox:
                self._courier.post(job)

    def start(self, job: Job) -> None:
        """Begin to work on a job."""
        task = asyncio.create_task(self._work(job), name=f"{job.kind} {job.task_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Stop; the book knows how far each job came."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _work(self, job: Job) -> None:
        files = [] if job.plan.code else job.files
        for file in files:
            self._files.begin(file)
        try:
            for stage in _ahead(job):
                await self._clock.reach(job.begun + stage.after)
                await self._files.ready(job.files_at(stage.name))
                self._reach(job, stage)
        except Exception:
            log.exception("%s %s could not be made", job.kind, job.task_id)
            job.plan = replace(job.plan, code=500)
            self._reach(job, Stage("error", 0.0))

    def _reach(self, job: Job, stage: Stage) -> None:
        self._book.reach(job, stage)
        self._courier.post(job)


def _ahead(job: Job) -> list[Stage]:
    """Return the stages a job has not reached yet."""
    every = stages(job)
    reached = next((place for place, stage in enumerate(every, 1) if stage.name == job.stage), 0)
    return every[reached:]

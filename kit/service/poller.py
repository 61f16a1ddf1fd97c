"""Owns asking: one details request at a time for each task, when a callback says so or when its time has come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

from kit.errors import ProviderError
from kit.ledger.facts import Details
from kit.ledger.fold import TaskState
from kit.provider.wire import redact
from kit.service.callbacks import echo_of
from kit.service.hub import Hub
from kit.service.providers import OpenProvider, Providers

__all__ = ["Cause", "Poller"]

_log = logging.getLogger(__name__)

Cause = Literal["callback", "poll", "submit", "person"]

FIRST_POLL = 0.4  # of the interval: 12 s of 30, as the quickstart pages wait before they ask at all
SHORTEST_GAP_S = 5.0  # between two requests for one task, however many deliveries ask for one (promise P19)
LONGEST_GAP_S = 300.0
SAME_AGAIN_S = 60.0  # an answer that stays the same is recorded again after this, for the fold reads how long it does
OLD_AFTER_S = 3600.0  # a task pending for longer is asked for at the longest gap


@dataclass
class _Appointment:
    due: float
    cause: Cause
    asked_at: float = float("-inf")
    failures: int = 0
    said: bytes = b""  # the hash of the last recorded answer: it may be large, and finished tasks stay here
    said_at: float = float("-inf")


class Poller:
    """Keeps one appointment for each unfinished task and keeps it, so that what a callback never says is found."""

    def __init__(self, hub: Hub, providers: Providers) -> None:
        self._hub, self._providers = hub, providers
        self._appointments: dict[str, _Appointment] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def follow(self, id: str) -> None:
        """Begin to poll a task that was sent or found at start; tasks that cannot be asked for are left alone."""
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not _askable(state):
            return
        self._appointments.setdefault(id, _Appointment(time.monotonic() + FIRST_POLL * provider.poll_s, "poll"))
        self._changed.set()

    def ask_soon(self, id: str, cause: Cause) -> None:
        """Bring the appointment of a task forward to now, or to the end of the shortest gap."""
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not state.task_id:
            return
        appointment = self._appointments.setdefault(id, _Appointment(float("inf"), cause))
        due = max(time.monotonic(), appointment.asked_at + SHORTEST_GAP_S / provider.speed)
        if due < appointment.due:
            appointment.due, appointment.cause = due, cause
        self._changed.set()

    async def run(self) -> None:
        """Keep the appointments until cancelled."""
        while True:
            self._changed.clear()
            now = time.monotonic()
            for id in [i for i, a in self._appointments.items() if a.due <= now and i not in self._asking]:
                self._asking[id] = asyncio.create_task(self._keep(id))
            waiting = [a.due for i, a in self._appointments.items() if i not in self._asking]
            pause = min([d - time.monotonic() for d in waiting], default=60.0)
            with contextlib.suppress(TimeoutError):
                # Not wait_for: Python 3.11's swallows a cancellation that comes together with the event.
                async with asyncio.timeout(max(0.0, min(pause, 60.0))):
                    await self._changed.wait()

    async def close(self) -> None:
        """Break off what is being asked; nothing is lost, the next start asks again."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _keep(self, id: str) -> None:
        appointment = self._appointments[id]
        cause, appointment.due, appointment.asked_at = appointment.cause, float("inf"), time.monotonic()
        try:
            await self._ask(id, cause, appointment)
            appointment.failures = 0
        except ProviderError as reason:
            appointment.failures += 1
            _log.warning("asking for %s failed (%d in a row): %s", id, appointment.failures, reason)
        except Exception:  # one task's trouble must not end the polling of the others; it is asked for again
            appointment.failures += 1
            _log.exception("asking for %s broke off", id)
        finally:
            self._asking.pop(id, None)
            self._next(id, appointment)
            self._changed.set()

    def _next(self, id: str, appointment: _Appointment) -> None:
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not _askable(state):
            return  # kept without a date: how long ago it was asked for still bounds what deliveries may cause
        due = time.monotonic() + _gap(state, provider, appointment.failures)
        if due < appointment.due:
            appointment.due, appointment.cause = due, "poll"

    async def _ask(self, id: str, cause: Cause, appointment: _Appointment) -> None:
        state = self._hub.states[id]
        provider = self._providers.get(state.provider)
        if provider is None or not state.task_id:
            return
        asked_id = state.task_id
        answer = await provider.client.details(state.kind, asked_id)
        body = redact(answer.body, [provider.key.reveal()])
        said = sha256(f"{answer.http_status} {body}".encode("utf-8", "surrogatepass")).digest()
        same = said == appointment.said and time.monotonic() - appointment.said_at < SAME_AGAIN_S
        if same and cause != "person":
            return  # nothing new was said, so there is no new fact
        await self._hub.record(
            Details(
                task=id,
                at=datetime.now(UTC),
                http_status=answer.http_status,
                body=body,
                cause=cause,
                asked_id=asked_id,
                echo=echo_of(self._hub, id, answer.body),
            )
        )
        appointment.said, appointment.said_at = said, time.monotonic()


def _askable(state: TaskState) -> bool:
    return bool(state.task_id) and not state.final


def _gap(state: TaskState, provider: OpenProvider, failures: int) -> float:
    """Return the seconds to the next poll: the provider's interval, longer after failures and for old tasks."""
    age = (datetime.now(UTC) - state.submitted_at).total_seconds() if state.submitted_at else 0.0
    longest = max(LONGEST_GAP_S / provider.speed, provider.poll_s)
    gap = min(provider.poll_s * 2.0**failures, longest) if age < OLD_AFTER_S else longest
    return gap * random.uniform(0.9, 1.1)

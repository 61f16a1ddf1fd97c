"""Owns the care for one way: opens it, proves it, notices that it is gone, opens it again; not how any is done."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from kit.service.challenge import Challenger
from kit.service.rhythm import Purse, Rhythm
from kit.service.tunnel import Driver, State, Trouble, Way, no_way

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)
NEVER = float("-inf")
NEVER_AGAIN = float("inf")
ASLEEP_S = 20.0
ENDING = "The tunnel is closed, for the service is ending."
REFUSED_JUST_NOW_S = 5.0  # a batch that cannot go out is told so at once, each row


class Keeper:
    """Keeps one way; `run` does until it is cancelled, and `prove` answers whoever is about to submit."""

    def __init__(
        self,
        way: Way,
        driver: Driver,
        challenger: Challenger,
        *,
        counts: Counter[str],
        on_change: Callable[[], None],
        rhythm: Rhythm,
    ) -> None:
        self.way = way
        self._driver, self._challenger, self._rhythm = driver, challenger, rhythm
        self._counts, self._on_change = counts, on_change
        self._purse = Purse(rhythm.purse, rhythm.refill_s)
        self._crossing = asyncio.Lock()
        self._news, self._stir, self._wanted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._proof: asyncio.Task[str | None] | None = None
        self._next: Driver | None = None
        self._generation = self._refusals = self._strikes = self._failures = 0
        self._proven, self._proven_at, self._refused_at, self._used_at = NEVER, 0.0, NEVER, NEVER
        self._challenged_at, self._lost_at, self._suspected = NEVER, NEVER, False

    @property
    def fresh(self) -> bool:
        """Tell whether the last proof is good for a submission, by both clocks: a machine that slept has none."""
        kept = self._rhythm.kept_s
        recent = time.monotonic() - self._proven < kept and 0 <= time.time() - self._proven_at < kept
        return recent and self.way.state == "proven"

    async def prove(self) -> None:
        """Return once the way is proven; a proof that is fresh is enough, and all who ask at once share one.

        Raises:
            TunnelError: it is not, with what is wrong and the next step; within `ready_s` + `patient_s`.
        """
        if self.fresh:
            return
        if self._proof is None or self._proof.done():
            self._proof = asyncio.create_task(self._prove())
        asked = self._proof
        try:
            problem = await asyncio.shield(asked)
        except asyncio.CancelledError:
            if not asked.cancelled():
                raise
            raise no_way(ENDING) from None
        if problem is not None:
            raise no_way(problem)

    def used(self) -> None:
        """Note that a submission went out with this way's URL: from now on a loss matters."""
        self._used_at = time.monotonic()
        self._stir.set()

    def suspect(self) -> None:
        """Challenge soon: something did not arrive that should have."""
        self._suspected = True
        self._stir.set()

    def replace(self, driver: Driver) -> None:
        """Go on with another driver (another token, another program)."""
        self._next = driver
        self._stir.set()
        self._wanted.set()

    async def run(self) -> None:
        """Open the way, watch it, and open it again, until cancelled."""
        while True:
            opened = time.monotonic()
            trouble = await self._stand()
            self._generation += 1
            steady = self._proven > opened and time.monotonic() - opened > self._rhythm.steady_s
            self._failures = 1 if steady else self._failures + 1
            self._down(trouble.sentence)
            await self._shut()
            await self._pause(trouble)
            self.way.restarts += 1

    async def close(self) -> None:
        """End what this way runs on; it is closed from now on."""
        if self._proof is not None:
            self._proof.cancel()
        self._generation += 1
        await self._shut()
        self._enter("closed")

    async def _stand(self) -> Trouble:
        """Open and watch; return what ended it."""
        if self._next is not None:
            self._driver, self._next = self._next, None
        self._strikes, self._challenged_at, self._lost_at, self._suspected = 0, NEVER, NEVER, False
        self._wanted.clear()
        self._enter("opening", self.way.problem)
        try:
            self.way.url = await self._driver.open(self._tell)
            self._enter("open")
            return await self._watch()
        except Trouble as trouble:
            self._refused()
            return trouble
        except Exception as fault:  # a fault of ours must not end the service
            self._refused()
            _log_fault("keeping", fault)
            return Trouble(f"The keeper of the tunnel stumbled ({type(fault).__name__}); the service's log says where.")

    async def _shut(self) -> None:
        try:
            await self._driver.close()
        except Exception as fault:
            _log_fault("closing", fault)

    async def _watch(self) -> Trouble:
        while True:
            if self._next is not None:
                return Trouble("The tunnel is opened anew, for its token or its program was changed.")
            if trouble := await self._look():
                return trouble
            if self._lost_at == NEVER and time.monotonic() >= self._due():
                patient = bool(self._strikes)
                found = await self._challenge(self._rhythm.patient_s if patient else self._rhythm.timeout_s)
                if found is not None and self._strikes > 1:
                    self._refused()
                    return found
            await self._rest()

    async def _look(self) -> Trouble | None:
        """Return a trouble that ends this life; one that its other end is mending gets its time."""
        trouble = await self._driver.look()
        if trouble is None:
            if self._lost_at != NEVER:
                self._lost_at = self._challenged_at = NEVER  # it says that it is back: see for ourselves
                self._suspected = True
            return None
        if not trouble.mending:
            return trouble
        if self._lost_at == NEVER:
            self._lost_at = time.monotonic()
            self._down(trouble.sentence)
        return trouble if time.monotonic() - self._lost_at > self._rhythm.mending_s else None

    def _due(self) -> float:
        """Return when the next challenge is due, on the monotonic clock."""
        last, rhythm, now = self._challenged_at, self._rhythm, time.monotonic()
        if last == NEVER:
            return last
        if self._strikes:
            return last + rhythm.retry_s
        if self._suspected and self._purse.full_enough:
            return last + rhythm.gap_s
        if now - self._used_at < rhythm.watched_for_s and self._purse.full_enough:
            return last + rhythm.watch_s
        return last + rhythm.idle_s if self._suspected or now - self._used_at < rhythm.idle_for_s else NEVER_AGAIN

    async def _rest(self) -> None:
        """Wait for the next look, the next challenge, or somebody who stirs; a long absence is a doubt."""
        mono, wall = time.monotonic(), time.time()
        due = self._due() if self._lost_at == NEVER else NEVER_AGAIN
        until = min(self._rhythm.look_s, max(0.0, due - mono))
        await _wait(self._stir, until)
        self._stir.clear()
        if max(time.monotonic() - mono, abs(time.time() - wall)) > until + ASLEEP_S:
            self._suspected = True  # this machine was asleep, or stopped: the other end may have given up on it

    async def _pause(self, trouble: Trouble) -> None:
        """Wait before the next attempt; whoever wants to submit ends the waiting."""
        pauses = self._rhythm.pauses_s
        pause = pauses[min(self._failures, len(pauses)) - 1]
        if trouble.lasting:
            pause = self._rhythm.lasting_s
        await _wait(self._wanted, pause * random.uniform(0.8, 1.2))

    async def _prove(self) -> str | None:
        """Return None once a challenge has crossed the way, else the problem."""
        problem = await self._standing()
        if problem is not None or self.fresh:
            return problem
        found = await self._challenge(self._rhythm.patient_s)
        return found.sentence if found else None

    async def _standing(self) -> str | None:
        """Wait until the way is open; return the problem where it cannot be opened, or not in time."""
        refusals = self._refusals
        if self.way.state == "down":
            if time.monotonic() - self._refused_at < REFUSED_JUST_NOW_S:
                return self.way.problem
            self._wanted.set()
        try:
            async with asyncio.timeout(self._rhythm.ready_s):
                while self.way.state not in ("open", "proven"):
                    if self.way.state == "closed":
                        return ENDING
                    if self._refusals > refusals:
                        return self.way.problem
                    await self._news.wait()
        except TimeoutError:
            why = f" ({self.way.problem.rstrip('. ')})" if self.way.problem else ""
            return f"The tunnel is not open yet{why}. Opening goes on in the background: submit again in a minute."
        return None

    async def _challenge(self, within_s: float) -> Trouble | None:
        """Send one challenge and let its outcome be the way's state; return what is wrong."""
        async with self._crossing:
            url, generation = self.way.url, self._generation
            if url is None or self.way.state == "closed":
                return Trouble(ENDING)
            self._challenged_at, self._suspected = time.monotonic(), False
            self._purse.pay()
            found = await self._challenger.cross(url, within_s=within_s)
            if generation != self._generation:  # the way was lost in the meantime, and that is known already
                return found or Trouble(self.way.problem or ENDING)
            if found is None:
                self._strikes, self._proven, self._proven_at = 0, time.monotonic(), time.time()
                self.way.proven_at = datetime.now(UTC)
                self._enter("proven")
                return None
            self._strikes += 1
            if not found.lasting:
                found = Trouble(f"{found.sentence} {self._driver.advice}")
            self._down(found.sentence)
            self._stir.set()
            return found

    def _refused(self) -> None:
        self._refusals, self._refused_at = self._refusals + 1, time.monotonic()

    def _tell(self, sentence: str) -> None:
        """Show what an opening is waiting for."""
        _log.info("%s", sentence)
        self._enter("opening", sentence)

    def _down(self, problem: str) -> None:
        if self.way.state in ("open", "proven"):
            self._counts["tunnel_down"] += 1
        self._enter("down", problem)

    def _enter(self, state: State, problem: str | None = None) -> None:
        way, before = self.way, self.way.state
        if (before, way.problem) == (state, problem):
            return
        if before != state:
            way.since = datetime.now(UTC)
            level = logging.WARNING if state == "down" else logging.INFO
            _log.log(level, "the %s way is %s (was %s): %s", way.driver, state, before, problem or way.url or "")
        way.state, way.problem = state, problem
        self._news_is_out()
        self._on_change()

    def _news_is_out(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _log_fault(doing: str, fault: Exception) -> None:
    """Log where a fault was and of what kind; its message may hold what is secret."""
    where = "".join(traceback.format_tb(fault.__traceback__))
    _log.error("%s the tunnel broke off: %s\n%s", doing, type(fault).__name__, where)

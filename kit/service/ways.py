"""Owns the ways by which callbacks reach this machine: hands them out, and has each kept; it knows nothing of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import SettingsError
from kit.service.challenge import Challenger
from kit.service.keeper import Keeper
from kit.service.ngrok import NgrokAgent
from kit.service.ngrok_program import clear_away
from kit.service.rhythm import Rhythm
from kit.service.tunnel import Driver, OwnUrl, Reach, Way
from kit.settings import Secret, checked_url

if TYPE_CHECKING:
    from kit.service.children import Children
    from kit.service.counts import Counts

__all__ = ["Reach", "Way", "Ways"]

WITHOUT_ACCOUNT = (
    "The ngrok tunnel needs the token of an ngrok account, and NGROK_AUTHTOKEN is not set. Copy it from "
    "dashboard.ngrok.com (Your Authtoken) into a line NGROK_AUTHTOKEN=... of a file named .env and connect again. "
    'To go on without callbacks, by polling: kit.connect("sunoapi", tunnel="none").'
)


class Ways:
    """All ways of one service. The same reach is the same way, and there is one ngrok agent at the most.

    Args:
        state: the private folder for the agent's configuration.
        children: where processes that are started get recorded and put on a leash.
        counts: gets `tunnel_down`, how often a way that stood was lost.
        public_port: the port of the public listener.
        expecting: has the listener expect one secret; the future it gives is set when that has come in.
        on_change: called whenever a way's state or problem changes.
        rhythm: how often and how long; tests hurry.
    """

    def __init__(
        self,
        state: Path,
        children: Children,
        counts: Counts,
        *,
        public_port: Callable[[], int],
        expecting: Callable[[str], AbstractContextManager[asyncio.Future[None]]],
        on_change: Callable[[], None],
        rhythm: Rhythm | None = None,
    ) -> None:
        self._state, self._children, self._counts = state, children, counts
        self._public_port, self._on_change = public_port, on_change
        self._challenger = Challenger(expecting)
        self._rhythm = rhythm or Rhythm()
        self._ways: dict[tuple[str, str | None], Way] = {}
        self._keepers: dict[Way, Keeper] = {}
        self._terms: dict[Way, tuple[Secret | None, str | None]] = {}
        self._new: asyncio.Queue[Keeper] = asyncio.Queue()
        clear_away(state)  # an earlier service that was killed could not

    @property
    def direct_url(self) -> str:
        """The listener's own address, for who is on this machine."""
        return f"http://127.0.0.1:{self._public_port()}"

    async def open(self, reach: Reach) -> Way:
        """Return the way, at once: opening and proving go on in `run`.

        A changed token or program of ngrok has the one agent start anew.

        Raises:
            InvalidInput: the public URL cannot be one.
            SettingsError: there is no token for ngrok.
        """
        url = checked_url(reach.url or "") if reach.driver == "url" else None
        if reach.driver == "ngrok" and reach.token is None:
            raise SettingsError(WITHOUT_ACCOUNT)
        way = self._ways.setdefault((reach.driver, url), Way(reach.driver, url=url))
        if reach.driver == "direct":
            way.url, way.state = self.direct_url, "proven"
        elif reach.driver != "none" and self._terms.get(way) != (terms := (reach.token, reach.program)):
            if way not in self._keepers or reach.driver == "ngrok":
                self._keep(way, self._driver(reach, url))
            self._terms[way] = terms
        return way

    async def prove(self, way: Way) -> None:
        """Return once a challenge has gone through the way's URL and come in here; it is good for 10 minutes.

        Returns at once for "direct" and "none". All who ask at the same time share one challenge.

        Raises:
            TunnelError: it did not within 25 s; what is wrong, the next step, and how to go on without callbacks.
        """
        if way in self._keepers:
            await self._keepers[way].prove()

    def used(self, way: Way) -> None:
        """Note that a submission goes out with this way's URL: for 10 minutes a loss is noticed within 30 s."""
        if way in self._keepers:
            self._keepers[way].used()

    def suspect(self, way: Way) -> None:
        """Note that a poll found an end which no callback had told: the way is challenged soon."""
        if way in self._keepers:
            self._keepers[way].suspect()

    def describe(self) -> list[dict[str, object]]:
        """Return all ways that were opened as JSON, for `health()`."""
        return [way.describe() for way in self._ways.values()]

    async def run(self) -> None:
        """Keep every way that is opened, until cancelled."""
        async with asyncio.TaskGroup() as kept:
            while True:
                keeper = await self._new.get()
                kept.create_task(keeper.run())

    async def close(self) -> None:
        """End the agent, if there is one, and leave no process; `run` has been cancelled before."""
        for keeper in self._keepers.values():
            await keeper.close()

    def _keep(self, way: Way, driver: Driver) -> None:
        if way in self._keepers:
            self._keepers[way].replace(driver)
            return
        way.state = "opening"
        keeper = Keeper(
            way, driver, self._challenger, counts=self._counts, on_change=self._on_change, rhythm=self._rhythm
        )
        self._keepers[way] = keeper
        self._new.put_nowait(keeper)

    def _driver(self, reach: Reach, url: str | None) -> Driver:
        if reach.driver == "url":
            assert url is not None
            return OwnUrl(url, self._public_port)
        assert reach.token is not None
        return NgrokAgent(
            self._state, self._children, token=reach.token, program=reach.program, public_port=self._public_port
        )

"""Owns an archiver in a world of its own: a real ledger and folder, a host on loopback, an examiner that is quick."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from kit.ledger.facts import Answer, Departure, Details, Intent, new_id
from kit.ledger.store import Ledger
from kit.service.archiver import Archiver
from kit.service.aside import Patience
from kit.service.children import Children
from kit.service.courier import Courier
from kit.service.examination import Verdict
from kit.service.hands import Hands
from kit.service.hub import Hub
from kit.service.room import Room
from kit.service.upkeep import Upkeep
from tests.service.hosting import host

__all__ = ["FILM", "PLENTY", "QUICK", "World", "details", "made", "names", "song", "story"]

FILM = b"a film " * 1000
QUICK = Patience(attempts=(0.01, 0.01), away=0.01, room=(0.01, 0.02), ledger=0.05, look=0.01)
PLENTY = (10**12, 0, 10**12)


class Anywhere:
    """Providers whose files may come from one loopback host."""

    def __init__(self, *listed):
        self._listed = listed

    def listed(self, _name):
        """Return the origins."""
        return self._listed

    def reachable(self, _name):
        """Everything is."""
        return True

    def user_agent(self, _name):
        """Return a name."""
        return "callboard-test"


class Judge:
    """An examiner that takes everything that begins as a film does; `meanwhile` happens while it looks."""

    def __init__(self):
        self.looked, self.meanwhile, self.heard_s = 0, lambda path: None, 3.0

    async def examine(self, path, role):
        """Return a verdict."""
        self.looked += 1
        self.meanwhile(path)
        if not path.is_symlink() and path.read_bytes().startswith(b"a film"):
            media_type = {"audio": "audio/mpeg", "video": "video/mp4"}[role]
            return Verdict(verified="decoded", media_type=media_type, duration_s=self.heard_s)
        return Verdict(media_type="video/mp4", reason="not an MP4")


class World:
    """An archiver over a real ledger and a real folder, and a host on loopback."""

    def __init__(self, area, served, *, at_once=3, patience=QUICK):
        self.area, self.served, self.archive = area, served, area / "archive"
        with contextlib.suppress(OSError):  # as the service does it
            self.archive.mkdir(exist_ok=True)
        self.usage, self.fresh, self.answers, self.asked = PLENTY, None, True, []
        self.ledger = Ledger.open(area / "ledger.sqlite")
        self.hub, self.judge, self.hands = Hub(self.ledger), Judge(), Hands()
        self.courier = Courier(children=Children(area))
        self.room = Room(self.archive, usage=lambda _: self.usage)
        self.upkeep = Upkeep(self.hub, self.judge, self.hands, area)
        self.archiver = Archiver(
            self.hub,
            Anywhere(served.base),
            self.judge,
            self.archive,
            ask_now=self.ask_now,
            upkeep=self.upkeep,
            hands=self.hands,
            courier=self.courier,
            room=self.room,
            at_once=at_once,
            patience=patience,
        )
        self.hub.on_change = self.archiver.consider
        self.swept = False

    async def ask_now(self, id):
        """Be a poller that records what the provider says now."""
        self.asked.append(id)
        if self.answers and self.fresh is not None:
            await self.hub.record(details(id, self.fresh))
        return self.answers

    async def _run(self):
        sweep = self.upkeep.sweep

        async def swept():
            await sweep()
            self.swept = True

        self.upkeep.sweep = swept
        await self.archiver.run()

    @asynccontextmanager
    async def running(self, *, works=True):
        """Let the archiver work while the context lasts, unless it is not to work at all."""
        work = asyncio.create_task(self._run() if works else asyncio.sleep(0))
        try:
            async with asyncio.timeout(20):
                yield self
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self.courier.close()
            await self.hands.close()
            self.ledger.close()

    def file(self, id):
        """Return the state of a task's file."""
        return self.hub.states[id].files[0]

    async def until(self, id, *statuses):
        """Wait until a task's file has one of these statuses, and return it."""
        await self.when(lambda: self.file(id).status in statuses)
        return self.file(id)

    async def when(self, reached):
        """Wait until something has come about."""
        while not reached():
            await asyncio.sleep(0.005)


def details(id, *urls, ago=timedelta(0)):
    """Return the fact that a video was made, and where it is."""
    response = dict(zip(("video_url", "videoUrl"), urls, strict=False))
    data = {"taskId": "v1", "successFlag": "SUCCESS", "response": response}
    body = json.dumps({"code": 200, "msg": "success", "data": data})
    return Details(task=id, at=datetime.now(UTC) - ago, http_status=200, body=body, cause="poll", asked_id="v1")


def song(url, seconds):
    """Return the id of a song with one take of so many seconds, and its facts."""
    id, at = new_id(), datetime.now(UTC)
    given = {"provider": "sandbox", "dialect": "sunoapi", "params": {}, "request_key": id, "save": True}
    take = {"id": "a1", "audioUrl": url, "title": "Window Seat", "duration": seconds}
    data = {"taskId": "m1", "status": "SUCCESS", "response": {"sunoData": [take]}}
    body = json.dumps({"code": 200, "msg": "success", "data": data})
    return id, (
        Intent(task=id, at=at, kind="music", title="Window Seat", **given),
        Departure(task=id, at=at),
        Answer(task=id, at=at, outcome="accepted", task_id="m1", code=200),
        Details(task=id, at=at, http_status=200, body=body, cause="poll", asked_id="m1"),
    )


def made(*urls, ago=timedelta(0), save=True):
    """Return the id of a video that was made so long ago, and its facts."""
    id, at = new_id(), datetime.now(UTC) - ago
    given = {"provider": "sandbox", "dialect": "sunoapi", "params": {}, "request_key": id, "save": save}
    return id, (
        Intent(task=id, at=at, kind="video", title="Window Seat", **given),
        Departure(task=id, at=at),
        Answer(task=id, at=at, outcome="accepted", task_id="v1", code=200),
        details(id, *urls, ago=ago),
    )


def story(tmp_path, tell, *, works=True, **given):
    """Run `tell(world)` beside a working archiver, and return what it returns."""

    async def run():
        with host() as served:
            async with World(tmp_path, served, **given).running(works=works) as world:
                return await tell(world)

    return asyncio.run(run())


def names(folder):
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())

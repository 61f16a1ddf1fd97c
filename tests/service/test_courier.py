"""The fetching process: what it does is what a download does, and its end costs an attempt and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from contextlib import asynccontextmanager

import psutil
import pytest

from kit.service.children import Children
from kit.service.courier import Courier
from kit.service.download import NoRoom, NotFetched, Rules
from tests.faults.mediahost import MediaHost, head, honest, paced

BODY = random.Random(7).randbytes(400_000)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def host():
    """Give a media host for all tests of this module; each offers its own pages."""
    with MediaHost() as host:
        yield host


class Errands:
    """A courier in a folder, and what was asked and told."""

    def __init__(self, folder, host, courier):
        self.folder, self.courier, self.told, self.rooms = folder, courier, [], []
        self.rules = Rules("audio", (host.origin,), "callboard-test")
        self.room = self.rooms.append

    @property
    def part(self):
        """Where the first file goes."""
        return self.folder / "1.part"

    async def fetch(self, url, part=None):
        """Fetch, and return what comes of it."""
        return await self.courier.fetch(
            part or self.part, url, self.rules, room=self.room, tell=lambda *far: self.told.append(far)
        )


@pytest.fixture
def errands(host, tmp_path):
    """Give a way to run a story with a courier, after which no process is left."""

    @asynccontextmanager
    async def open_one():
        courier = Courier(children=Children(tmp_path))
        try:
            yield Errands(tmp_path, host, courier)
        finally:
            await courier.close()

    async def run(tell):
        async with asyncio.timeout(30), open_one() as one:
            return await tell(one)

    yield lambda tell: asyncio.run(run(tell))
    assert [] == fetchers()


def fetchers():
    """Return the fetching processes that this test has started."""
    mine = psutil.Process().children(recursive=True)
    return [p for p in mine if p.status() != psutil.STATUS_ZOMBIE and "kit.service.fetcher" in " ".join(p.cmdline())]


def test_a_file_is_fetched_in_another_process(host, errands):
    """Its bytes, hash, link and identity are told, with progress, after room for it was asked for here."""
    url = host.offer(BODY)

    async def tell(one):
        fetched = await one.fetch(url)
        return fetched, one.part.read_bytes(), one.part.lstat(), one.rooms, one.told, len(fetchers())

    fetched, content, found, rooms, told, processes = errands(tell)
    assert (len(BODY), SHA, url) == (fetched.bytes, fetched.sha256, fetched.url)
    assert (BODY, (found.st_dev, found.st_ino)) == (content, fetched.identity)
    assert ([len(BODY)], (len(BODY), len(BODY)), 1) == (rooms, told[-1], processes)


def test_several_files_come_at_once_and_each_is_told_of_by_its_own(host, errands):
    """One process serves all of them, and nothing of one is said of another."""
    bodies = [random.Random(n).randbytes(50_000 + n) for n in range(4)]
    urls = [host.offer(body, paced(200_000)) for body in bodies]

    async def tell(one):
        parts = [one.folder / f"{n}.part" for n in range(4)]
        got = await asyncio.gather(*(one.fetch(url, part) for url, part in zip(urls, parts, strict=True)))
        return got, len(fetchers()), [part.read_bytes() for part in parts]

    got, processes, contents = errands(tell)
    assert (bodies, 1) == (contents, processes)
    assert [len(body) for body in bodies] == [one.bytes for one in got]


@pytest.mark.parametrize(
    ("status", "mark"), [("404 Not Found", "gone"), ("403 Forbidden", "refused"), ("503 Busy", "away")]
)
def test_why_nothing_came_is_told_as_a_download_tells_it(host, errands, status, mark):
    """The reason crosses over with what it means."""
    url = host.offer(BODY, lambda _page, _asked: [head(status, "Content-Length: 0")])

    async def tell(one):
        with pytest.raises(NotFetched, match=status[:3]) as reason:
            await one.fetch(url)
        return reason.value

    reason = errands(tell)
    assert [mark] == [name for name in ("gone", "refused", "away") if getattr(reason, name)]


def test_no_room_here_is_no_room_there(host, errands):
    """Who has the order grants the room; what is not granted is not written, and so much is needed."""
    url = host.offer(BODY)

    async def tell(one):
        def refuse(needed):
            raise NoRoom(needed)

        one.room = refuse
        with pytest.raises(NoRoom) as reason:
            await one.fetch(url)
        refused = (reason.value.needed, one.part.read_bytes())
        one.room = one.rooms.append
        return refused, await one.fetch(url)

    refused, fetched = errands(tell)
    assert ((len(BODY), b""), SHA) == (refused, fetched.sha256)


def test_what_came_before_is_not_asked_for_again(host, errands):
    """Between two orders the process keeps how far a file is, and goes on from there where the host allows it."""
    stubborn = [True]

    def script(page, asked):
        if stubborn[0] and asked.number:
            return [head("503 Busy", "Content-Length: 0")]
        return honest(page, asked)

    url = host.offer(BODY, script, etag='"v1"', cuts=[150_000])

    async def tell(one):
        with pytest.raises(NotFetched):
            await one.fetch(url)
        stubborn[0] = False
        return await one.fetch(url)

    assert SHA == errands(tell).sha256
    assert len(BODY) == host.content_sent(url)


def test_what_is_discarded_is_gone(host, errands):
    """The part is removed, and a later order begins anew."""
    url = host.offer(BODY)

    async def tell(one):
        await one.fetch(url)
        one.courier.discard(one.part)
        again = await one.fetch(url)
        one.courier.discard(one.part)
        while one.part.exists():
            await asyncio.sleep(0.005)
        return again

    assert SHA == errands(tell).sha256
    assert 2 * len(BODY) == host.content_sent(url)


def test_a_process_that_dies_costs_an_attempt(host, errands):
    """Who waits for it hears so at once, and the next order is carried out by a new one."""
    url = host.offer(BODY, paced(100_000))

    async def tell(one):
        order = asyncio.create_task(one.fetch(url))
        while not one.told:
            await asyncio.sleep(0.005)
        os.kill(fetchers()[0].pid, signal.SIGKILL)
        with pytest.raises(NotFetched, match="ended") as reason:
            await order
        return reason.value.away, await one.fetch(url)

    away, fetched = errands(tell)
    assert (True, SHA) == (away, fetched.sha256)


def test_closing_ends_the_process_whatever_it_is_doing(host, errands):
    """A service that ends does not wait for a host that sends drop by drop."""
    url = host.offer(BODY, paced(1000))

    async def tell(one):
        order = asyncio.create_task(one.fetch(url))
        while not one.rooms:
            await asyncio.sleep(0.005)
        began = asyncio.get_running_loop().time()
        await one.courier.close()
        with pytest.raises(NotFetched):
            await order
        return asyncio.get_running_loop().time() - began

    assert errands(tell) < 1.0


def test_nothing_is_started_where_there_is_nothing_to_fetch(errands):
    """A courier without an order is no process, and discarding needs none."""

    async def tell(one):
        one.part.write_bytes(b"left behind")
        one.courier.discard(one.part)
        return fetchers(), one.part.exists()

    assert ([], False) == errands(tell)

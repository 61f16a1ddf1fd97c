"""The ways to this machine: proved before they are used, watched while they matter, mended when they break."""

from __future__ import annotations

import asyncio
import time

import pytest

from kit.errors import SettingsError
from kit.service.ways import Reach
from tests.agent import StandIn
from tests.service.listening import agents, kept, listening, ngrok, reached, refusal

EITHER = 'tunnel="none"'


def test_a_direct_way_needs_no_proof_and_none_is_no_way(tmp_path):
    """On loopback the URL is the listener's own; polling alone has no URL; both let a submission go at once."""

    async def run():
        async with kept(tmp_path) as (ways, listener):
            direct, none = [await ways.open(Reach(driver=name)) for name in ("direct", "none")]
            for way in (direct, none):
                await ways.prove(way)
                ways.used(way)
                ways.suspect(way)
            return listener.port, direct, none, listener.heard

    port, direct, none, heard = asyncio.run(run())

    assert (f"http://127.0.0.1:{port}", "proven") == (direct.url, direct.state)
    assert (None, "closed", None) == (none.url, none.state, none.problem)
    assert [] == heard


def test_the_same_reach_is_the_same_way(tmp_path):
    """Connecting twice opens one way, for each kind and each URL; what it needs and lacks is said at once."""

    async def run():
        async with kept(tmp_path) as (ways, listener):
            own = f"http://127.0.0.1:{listener.port}"
            reaches = [Reach(driver="direct"), Reach(driver="none"), Reach(driver="url", url=own)]
            same = [await ways.open(r) is await ways.open(r) for r in reaches]
            slash = await ways.open(reaches[2]) is await ways.open(Reach(driver="url", url=own + "/"))
            other = await ways.open(reaches[2]) is await ways.open(Reach(driver="url", url=own + "/prefix"))
            with pytest.raises(SettingsError, match="NGROK_AUTHTOKEN is not set"):
                await ways.open(Reach(driver="ngrok"))
            return same, slash, other

    assert ([True] * 3, True, False) == asyncio.run(run())


def test_a_proof_goes_out_and_comes_in_and_is_good_for_a_while(tmp_path):
    """The first proof sends one challenge; as long as it is fresh there is none; then there is another."""

    async def run():
        async with kept(tmp_path, kept_s=0.5) as (ways, listener):
            way = await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{listener.port}/a/path"))
            await reached(lambda: way.state == "proven")
            await asyncio.gather(*(ways.prove(way) for _ in range(50)))
            first = len(listener.heard)
            await asyncio.sleep(0.6)
            await asyncio.gather(*(ways.prove(way) for _ in range(50)))
            return way.state, way, first, listener.heard

    state, way, first, heard = asyncio.run(run())

    assert (1, 2) == (first, len(heard))
    assert "proven" == state
    assert way.proven_at is not None
    assert len(set(heard)) == 2, "each challenge has a secret of its own"
    assert all(target.startswith("/a/path/cb/") and len(target) >= len("/a/path/cb/") + 32 for target in heard)


def test_an_agent_that_leads_to_a_foreign_server_is_no_proof(tmp_path):
    """A tunnel whose other end is somebody else's port never becomes proven, and no submission goes out on it."""
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with listening() as foreign, kept(tmp_path) as (ways, listener):
            stand_in.behave(upstream=foreign.port)
            way = await ways.open(ngrok(stand_in))
            message = await refusal(ways, way)
            return message, way.proven_at, listener.heard, len(foreign.heard)

    message, proven_at, heard, strayed = asyncio.run(run())

    assert "does not lead to this service: something else answered with status 404" in message
    assert proven_at is None
    assert [] == heard
    assert strayed >= 1


def test_a_black_hole_costs_a_submission_no_longer_than_its_limit(tmp_path):
    """A URL that takes requests and answers none is told of after the limit of one challenge."""
    stand_in = StandIn(tmp_path / "agent", black_hole=True)

    async def run():
        async with kept(tmp_path, pauses_s=(60,)) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            return await refusal(ways, way)

    message = asyncio.run(run())

    assert "takes requests and answers none" in message
    assert EITHER in message


def test_an_error_page_of_ngrok_is_its_sentence(tmp_path):
    """The monthly limit, as ngrok's page says it: the sentence, ngrok's own words, and no useless restart."""
    page = [429, "ERR_NGROK_727", "This ngrok account has reached its HTTP requests limit for the month."]
    stand_in = StandIn(tmp_path / "agent", page=page)

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            message = await refusal(ways, way)
            await reached(lambda: not agents())
            await asyncio.sleep(0.5)
            return message, stand_in.starts

    message, starts = asyncio.run(run())

    assert "A limit of your ngrok account is reached" in message
    assert "has reached its HTTP requests limit for the month" in message
    assert 1 == starts


def test_a_proof_ends_with_either_clock(tmp_path, monkeypatch):
    """A machine that slept has no proof: the wall clock says so, though the other clock stood still."""

    async def run():
        async with kept(tmp_path) as (ways, listener):
            way = await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{listener.port}"))
            await ways.prove(way)
            before = len(listener.heard)
            now = time.time()
            monkeypatch.setattr("kit.service.keeper.time.time", lambda: now + 8 * 3600)
            await ways.prove(way)
            return len(listener.heard) - before

    assert asyncio.run(run()) >= 1


def test_a_batch_on_a_dead_way_is_refused_row_by_row_without_delay(tmp_path):
    """What was refused a moment ago is refused again at once, with the same sentence and no further challenge."""
    stand_in = StandIn(tmp_path / "agent", token="another")

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            first = await refusal(ways, way)
            began = time.monotonic()
            rest = {await refusal(ways, way) for _ in range(100)}
            return first, rest, time.monotonic() - began, stand_in.starts

    first, rest, took, starts = asyncio.run(run())

    assert {first} == rest
    assert took < 2
    assert 1 == starts


def test_a_way_that_opens_too_slowly_says_so_and_goes_on(tmp_path):
    """A submission is told what the opening waits for; the opening itself goes on and succeeds."""
    stand_in = StandIn(tmp_path / "agent", slow_s=2)

    async def run():
        async with kept(tmp_path, ready_s=0.3) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            message = await refusal(ways, way)
            await reached(lambda: way.state == "proven")
            return message

    message = asyncio.run(run())

    assert "not open yet (starting the ngrok agent)" in message
    assert "submit again in a minute" in message


def test_a_submission_at_the_end_of_the_service_is_refused_with_a_sentence(tmp_path):
    """Whoever still waits for a proof when the ways are closed is told, and not left hanging."""
    stand_in = StandIn(tmp_path / "agent", silent=True)

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            waiting = asyncio.create_task(refusal(ways, way))
            await reached(agents)
        return await waiting, way.state

    message, state = asyncio.run(run())

    assert "the service is ending" in message
    assert "closed" == state

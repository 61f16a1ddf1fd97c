"""What breaks while a way is kept: noticed in time, told, and mended with pauses that grow."""

from __future__ import annotations

import asyncio
import os
import signal

from kit.service.ways import Reach
from tests.agent import StandIn
from tests.service.listening import agents, kept, ngrok, reached, refusal

EITHER = 'tunnel="none"'


def test_a_killed_agent_is_noticed_and_another_takes_over_with_its_url(tmp_path):
    """A SIGKILL of the agent is seen at the next look; the next agent's URL is the way's, proven before it is used."""
    stand_in = StandIn(tmp_path / "agent")
    changes: list[int] = []

    async def run():
        async with kept(tmp_path, changes) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            before = way.url
            changes.clear()
            os.kill(agents()[0].pid, signal.SIGKILL)
            noticed = await reached(lambda: way.state != "proven")
            await ways.prove(way)  # a submission at this moment waits for the next agent
            return before, way.describe(), noticed, ways._counts["tunnel_down"], len(agents())

    before, shown, noticed, downs, running = asyncio.run(run())

    assert before != shown["url"]
    assert ("proven", 1, 1, 1) == (shown["state"], shown["restarts"], downs, running)
    assert noticed < 2
    assert len(changes) >= 3


def test_an_agent_that_keeps_dying_is_started_ever_more_rarely(tmp_path):
    """The pauses between two starts grow, so that nothing spins."""
    stand_in = StandIn(tmp_path / "agent", dies_after_s=0.3)

    async def run():
        async with kept(tmp_path, pauses_s=(0.05, 0.4, 60)) as (ways, _):
            await ways.open(ngrok(stand_in))
            await reached(lambda: stand_in.starts == 3)
            await asyncio.sleep(2)
            return stand_in.starts

    assert 3 == asyncio.run(run())


def test_a_vanished_endpoint_is_noticed_and_opened_again(tmp_path):
    """The agent lives but no longer lists our endpoint: seen without a request, and the agent is started anew."""
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            stand_in.behave(vanished=True)
            noticed = await reached(lambda: way.state != "proven")
            problem = way.problem
            stand_in.behave(vanished=False)
            await reached(lambda: way.state == "proven")
            return noticed, problem, way.restarts

    noticed, problem, restarts = asyncio.run(run())

    assert noticed < 2
    assert "no longer serves" in problem
    assert restarts >= 1


def test_an_agent_that_hangs_is_noticed_and_replaced(tmp_path, monkeypatch):
    """An agent that is there but answers nothing, twice in a row, is ended and another one started."""
    monkeypatch.setattr("kit.service.ngrok.LOOK_S", 0.3)
    monkeypatch.setattr("kit.service.ngrok.END_S", 0.3)
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            os.kill(agents()[0].pid, signal.SIGSTOP)
            await reached(lambda: way.state != "proven")
            problem = way.problem
            await reached(lambda: way.state == "proven")
            return problem, len(agents())

    problem, running = asyncio.run(run())

    assert "no longer answers" in problem
    assert 1 == running


def test_a_lost_session_is_given_time_and_proven_when_it_is_back(tmp_path):
    """The agent says that it lost its session: the way is down at once, the agent stays, what it regains is proven."""
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with kept(tmp_path, mending_s=30) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            stand_in.behave(lost=True)
            await reached(lambda: way.state == "down")
            problem = way.problem
            await asyncio.sleep(0.5)
            stand_in.behave(lost=False)
            await reached(lambda: way.state == "proven")
            return problem, way.restarts, stand_in.starts

    problem, restarts, starts = asyncio.run(run())

    assert "lost its connection" in problem
    assert (0, 1) == (restarts, starts)


def test_a_session_that_stays_lost_gets_a_new_agent(tmp_path):
    """After its time the agent is ended and another one started."""
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with kept(tmp_path, mending_s=0.3) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            stand_in.behave(lost=True)
            await reached(lambda: stand_in.starts >= 2)
            stand_in.behave(lost=False)
            await reached(lambda: way.state == "proven")
            return way.restarts

    assert asyncio.run(run()) >= 1


def test_a_black_hole_is_noticed_while_a_submission_waits_and_mended(tmp_path):
    """After a submission the way is challenged by itself: a tunnel that swallows all is found out and opened anew."""
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            ways.used(way)
            stand_in.behave(black_hole=True)
            noticed = await reached(lambda: way.state == "down")
            problem = way.problem
            await reached(lambda: stand_in.starts >= 2)
            stand_in.behave(black_hole=False)
            await reached(lambda: way.state == "proven")
            return noticed, problem

    noticed, problem = asyncio.run(run())

    assert noticed < 0.4 + 0.6 + 1  # the interval, the challenge, and slack for a loaded machine
    assert "takes requests and answers none" in problem


def test_a_black_hole_that_a_poll_suspects_is_looked_into_at_once(tmp_path):
    """Without a recent submission nobody asks; a suspicion does, and a flood of them asks once in its gap."""

    async def run():
        async with kept(tmp_path, watch_s=60, gap_s=0.3) as (ways, listener):
            way = await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{listener.port}"))
            await ways.prove(way)
            before = len(listener.heard)
            await asyncio.sleep(0.5)
            quiet = len(listener.heard) - before
            for _ in range(100):
                ways.suspect(way)
                await asyncio.sleep(0.01)
            return quiet, len(listener.heard) - before

    quiet, asked = asyncio.run(run())

    assert 0 == quiet
    assert 2 <= asked <= 5


def test_one_lost_challenge_is_noticed_but_starts_nothing_anew(tmp_path):
    """A hiccup is shown as down, and the second challenge, which comes through, makes it proven again."""

    async def run():
        async with kept(tmp_path, retry_s=0.3) as (ways, listener):
            way = await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{listener.port}"))
            await ways.prove(way)
            ways.used(way)
            listener.answer = 500
            await reached(lambda: way.state == "down")
            listener.answer = 200
            await reached(lambda: way.state == "proven")
            return way.restarts, way.problem

    assert (0, None) == asyncio.run(run())


def test_a_fault_of_the_keeper_is_logged_without_what_it_held(tmp_path, monkeypatch, caplog):
    """A fault of ours ends neither the service nor the keeping, and its message, which may hold a secret, stays out."""
    stand_in = StandIn(tmp_path / "agent")

    async def stumble(*held):
        raise ValueError(f"hunter{len(held)}")

    monkeypatch.setattr("kit.service.ngrok.NgrokAgent.open", stumble)

    async def run():
        async with kept(tmp_path) as (ways, _):
            return await refusal(ways, await ways.open(ngrok(stand_in)))

    message = asyncio.run(run())

    assert "ValueError" in message
    assert "ValueError" in caplog.text
    assert "hunter2" not in message + caplog.text

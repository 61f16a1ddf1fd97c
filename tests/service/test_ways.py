"""The ways to this machine: proved before they are used, watched while they matter, mended when they break."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import InvalidInput, SettingsError, TunnelError
from kit.service.challenge import Challenger
from kit.service.keeper import Keeper
from kit.service.rhythm import Purse, Rhythm
from kit.service.tunnel import OwnUrl, Way, checked_url
from kit.service.ways import Reach
from kit.settings import Secret
from tests.agent import StandIn
from tests.service.listening import Listener, answering, kept, listening, ngrok, reached
from tests.service.test_ngrok import agents

EITHER = 'kit.connect("sunoapi", tunnel="none")'


async def refusal(ways, way) -> str:
    """Return the sentence with which a way is not proven."""
    with pytest.raises(TunnelError) as refused:
        await ways.prove(way)
    return str(refused.value)


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


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://music.example.org/", "https://music.example.org"),
        ("https://music.example.org/hooks/suno/", "https://music.example.org/hooks/suno"),
        (" https://music.example.org:8443 ", "https://music.example.org:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_a_public_url_keeps_its_path_and_loses_its_last_slash(given_url, expected):
    """A path in front is the person's own; callback URLs are appended to it."""
    assert expected == checked_url(given_url)


@pytest.mark.parametrize(
    "bad",
    [
        "http://music.example.org",
        "ftp://music.example.org",
        "music.example.org",
        "https://",
        "",
        "https://ada:hunter2@music.example.org",
        "https://music.example.org/?key=hunter2",
        "https://music.example.org/#hunter2",
        "https://music.example.org/?",
        "http://127.0.0.1.example.org",
        "https://[::1",
        "https://music.example.org\x00",
        "javascript:alert(1)",
    ],
)
def test_an_url_that_cannot_be_public_is_refused_without_its_secrets(bad):
    """Plain http, credentials, queries and fragments are refused, and what is in them is not repeated."""
    with pytest.raises(InvalidInput) as refused:
        checked_url(bad)

    assert "hunter2" not in str(refused.value)
    assert "public_url=" in str(refused.value)


@given(st.text(max_size=60))
def test_whatever_is_given_as_an_url_is_taken_or_refused(text):
    """No text breaks the check, and what passes is https or this machine."""
    with contextlib.suppress(InvalidInput):
        assert checked_url(text).startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]"))


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


def test_a_foreign_server_is_no_proof(tmp_path):
    """Something else that answers 200 on the URL is refused, and what it said is quoted, clean and short."""

    async def foreign(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = b"<html><script>alert(1)</script><h1>JupyterLab\x1b[31m</h1> token=hunter2" + b"x" * 9000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def run():
        async with answering(foreign) as port, kept(tmp_path) as (ways, _):
            return await refusal(ways, await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{port}")))

    message = asyncio.run(run())

    assert "something else answered with status 200" in message
    assert '"JupyterLab' in message
    assert "alert" not in message
    assert "\x1b" not in message
    assert "on this machine." in message
    assert len(message) < 700
    assert EITHER in message


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


def test_a_challenge_whose_answer_is_not_200_is_no_proof(tmp_path):
    """The provider would not be content with another status either, though the challenge came in."""

    async def run():
        async with kept(tmp_path) as (ways, listener):
            listener.answer = 502
            return await refusal(ways, await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{listener.port}")))

    assert "came in here, but its answer came back as status 502" in asyncio.run(run())


def test_nobody_there_and_no_such_name_and_no_trust_are_told_apart(tmp_path, monkeypatch):
    """A refused connection, a name that DNS does not know, and a certificate nobody vouches for: a sentence each."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def unknown(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    async def plain(_, writer):
        writer.write(b"HTTP/1.1 400 plain HTTP\r\n\r\n")

    async def run():
        async with answering(plain) as untrusted, kept(tmp_path, pauses_s=(60,)) as (ways, _):
            nobody = await refusal(ways, await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{port}")))
            tls = await refusal(ways, await ways.open(Reach(driver="url", url=f"https://127.0.0.1:{untrusted}")))
            monkeypatch.setattr("anyio.connect_tcp", unknown)
            name = await refusal(ways, await ways.open(Reach(driver="url", url="https://window-seat.invalid")))
            return nobody, tls, name

    nobody, tls, name = asyncio.run(run())

    assert f"No answer came from http://127.0.0.1:{port}" in nobody
    assert "could not be trusted (TLS:" in tls
    assert "The name window-seat.invalid was not found (DNS)" in name


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


def test_a_month_of_submissions_all_day_leaves_half_of_the_free_requests(monkeypatch):
    """With somebody submitting day and night the purse pays at most 11,000 challenges in 30 days."""
    now = [0.0]
    monkeypatch.setattr("kit.service.keeper.time.monotonic", lambda: now[0])
    rhythm = Rhythm()
    keeper = Keeper(
        Way("url"), OwnUrl("https://x.example", lambda: 1), None, counts={}, on_change=lambda: None, rhythm=rhythm
    )
    sent = 0
    while now[0] < 30 * 86_400:
        keeper._used_at = now[0]
        due = keeper._due()
        if due <= now[0]:
            keeper._challenged_at = now[0]
            keeper._purse.pay()
            sent += 1
        now[0] = max(now[0] + 1, min(due, now[0] + 60) if due > now[0] else now[0] + 1)

    assert 10_000 <= sent <= 11_000


def test_a_day_with_one_submission_costs_what_the_docstring_says(monkeypatch):
    """24 challenges in the first ten minutes, one every ten minutes for the rest of the day, none afterwards."""
    now = [1000.0]
    monkeypatch.setattr("kit.service.keeper.time.monotonic", lambda: now[0])
    keeper = Keeper(
        Way("url"), OwnUrl("https://x.example", lambda: 1), None, counts={}, on_change=lambda: None, rhythm=Rhythm()
    )
    keeper._used_at = keeper._challenged_at = now[0]
    sent = []
    while now[0] < 1000 + 2 * 86_400:
        if keeper._due() <= now[0]:
            keeper._challenged_at = now[0]
            keeper._purse.pay()
            sent.append(now[0] - 1000)
        now[0] += 1

    assert 23 <= len([at for at in sent if at <= 600]) <= 24
    assert 160 <= len(sent) <= 168
    assert max(sent) <= 86_400 + 600


def test_a_purse_fills_up_slowly_and_owes_no_more_than_one(monkeypatch):
    """Empty is empty: what is owed is one challenge at the most, and it refills at its pace."""
    now = [0.0]
    monkeypatch.setattr("kit.service.keeper.time.monotonic", lambda: now[0])
    purse = Purse(2, 10)
    for _ in range(50):
        purse.pay()
    empty = purse.full_enough
    now[0] = 19.9
    soon = purse.full_enough
    now[0] = 20.1

    assert (False, False, True) == (empty, soon, purse.full_enough)


def test_what_answers_slowly_or_nonsense_is_told(tmp_path):
    """An answer that dribbles, breaks off, or is no HTTP ends in a sentence within its limit."""

    async def says(reader, writer, what):
        await reader.readuntil(b"\r\n\r\n")
        for byte in what:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async def run(what: bytes) -> str:
        async with answering(lambda r, w: says(r, w, what)) as port:
            found = await Challenger(Listener().expecting).cross(f"http://127.0.0.1:{port}", within_s=0.5)
            assert found is not None
            return found.sentence

    assert "answers none" in asyncio.run(run(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 99))
    assert "does not speak HTTP" in asyncio.run(run(b"SSH-2.0-x\r\n"))
    assert "broke off" in asyncio.run(run(b"HTTP"))


def test_a_secret_that_was_echoed_is_not_shown(tmp_path):
    """A page that repeats the address it was asked for does not put the challenge into a sentence."""

    async def echo(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"you asked for " + head.split()[1]
        writer.write(b"HTTP/1.1 404 -\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def run():
        async with answering(echo) as port:
            found = await Challenger(Listener().expecting).cross(f"http://127.0.0.1:{port}", within_s=2)
            return found.sentence

    assert '"you asked for /cb/…"' in asyncio.run(run())


def test_a_token_makes_no_reach_talkative():
    """A reach with a token prints without it."""
    assert "hunter2" not in repr(Reach(driver="ngrok", token=Secret("hunter2")))

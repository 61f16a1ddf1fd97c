"""The ngrok agent, driven by pyngrok for real against the stand-in: opening, refusing, ending, and the token."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import traceback
from pathlib import Path

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import TunnelError
from kit.service.ngrok_errors import cleaned, complaint_in
from kit.settings import Secret
from tests.agent import HELD_334, LIMIT_108, TOKEN, StandIn
from tests.service.listening import agents, described, kept, ngrok, reached


def free(port: int) -> bool:
    """Tell whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_tunnel_opens_and_is_proven_and_leaves_nothing(tmp_path):
    """The right token brings a public URL that reaches the listener; closed, no process, port or file is left."""
    stand_in = StandIn(tmp_path / "agent")
    ports = []

    async def run():
        async with kept(tmp_path) as (ways, listener):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            shown = way.describe()
            [agent] = agents()
            ports.extend(c.laddr.port for c in agent.net_connections() if c.status == psutil.CONN_LISTEN)
            return shown, list(listener.heard)

    shown, heard = asyncio.run(run())

    assert ("ngrok", "proven", None, 0) == tuple(shown[k] for k in ("driver", "state", "problem", "restarts"))
    assert shown["url"].startswith("http://127.0.0.1:")
    assert all(target.startswith("/cb/") for target in heard)
    assert [] == agents()
    assert 2 == len(ports)
    assert all(free(port) for port in ports)
    assert [] == [p.name for p in (tmp_path / "private").iterdir() if p.name not in ("children.json", ".lock")]


def test_the_configuration_is_private_and_inspects_nothing(tmp_path):
    """The file with the token is its owner's alone; the inspector, updates and remote control are off, the API has a
    port of its own, and the agent has a session of its own."""
    stand_in = StandIn(tmp_path / "agent")

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            await ways.prove(way)
            path = tmp_path / "private" / "ngrok.yml"
            [agent] = agents()
            listed = await asyncio.to_thread(lambda: json.loads(path.read_text()))
            async with httpx.AsyncClient(trust_env=False) as http:
                served = (await http.get(f"http://{listed['agent']['web_addr']}/api/endpoints")).json()["endpoints"]
            return path.stat().st_mode, listed, os.getsid(agent.pid) == agent.pid, served

    mode, config, own_session, served = asyncio.run(run())
    agent = config["agent"]

    assert 0o600 == stat.S_IMODE(mode)
    assert (3, TOKEN, -1) == (config["version"], agent["authtoken"], agent["inspect_db_size"])
    assert [False] * 2 == [agent[k] for k in ("update_check", "remote_management")]
    assert agent["web_addr"].startswith("127.0.0.1:")
    assert not agent["web_addr"].endswith(":4040")
    assert own_session
    assert [False] == [endpoint["inspect"] for endpoint in served]


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch):
    """Let no test fetch an agent by accident; those that mean it put their own in its place."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("pyngrok was about to fetch the agent")

    monkeypatch.setattr("pyngrok.installer.install_ngrok", refuse)
    monkeypatch.setattr("pyngrok.installer._download_file", refuse)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"token": "another"}, ["NGROK_AUTHTOKEN", "ERR_NGROK_107", "dashboard.ngrok.com"]),
        ({"refuse": LIMIT_108}, ["ERR_NGROK_108", "ts_2c46Kcqe1Gxr8F7oQqFgHLTxzfS", "limited to 1 simultaneous"]),
        ({"refuse": "x ERR_NGROK_121"}, ["`ngrok update`", "KIT_NGROK_PATH"]),
        ({"refuse": "Usage requires a verified account. ERR_NGROK_4018"}, ["Confirm the e-mail address"]),
        ({"refuse": "A new thing. ERR_NGROK_98765"}, ['"A new thing."', "ERR_NGROK_98765"]),
        ({"endpoint": HELD_334}, ["ERR_NGROK_334", "is held by another agent", "is already online"]),
        ({"refuse": "dial tcp: no such host"}, ["did not get a connection", '"dial tcp: no such host']),
    ],
)
def test_every_refusal_is_a_sentence_with_the_next_step(tmp_path, behaviour, said):
    """What the agent refuses is told in a sentence with the next step, its own words, and the way on without it."""
    stand_in = StandIn(tmp_path / "agent", **behaviour)

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            with pytest.raises(TunnelError) as refused:
                await ways.prove(way)
            return str(refused.value), way.describe()

    message, shown = asyncio.run(run())

    assert [] == [words for words in [*said, 'tunnel="none"', "nothing was submitted"] if words not in message]
    assert "down" == shown["state"]
    assert shown["problem"] in message
    assert TOKEN not in message
    assert [] == agents()


def test_a_missing_or_unusable_program_is_a_sentence(tmp_path):
    """KIT_NGROK_PATH that leads nowhere, or to what cannot be executed, says how to mend it; nothing is fetched."""
    stand_in = StandIn(tmp_path / "agent")

    async def problem(program: Path) -> str:
        stand_in.path = program
        async with kept(tmp_path) as (ways, _):
            with pytest.raises(TunnelError) as refused:
                await ways.prove(await ways.open(ngrok(stand_in)))
            return str(refused.value)

    plain = tmp_path / "plain"
    plain.write_text("no program")

    assert "KIT_NGROK_PATH=/path/to/ngrok" in asyncio.run(problem(tmp_path / "nowhere"))
    assert f"chmod +x {plain}" in asyncio.run(problem(plain))


def test_the_program_is_fetched_once_where_there_is_none(tmp_path, monkeypatch):
    """Without a program pyngrok fetches it; while it does the way says so, and afterwards it is used."""
    place = tmp_path / "home" / "ngrok"
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(place))
    fetched = []

    def install(path: str, **_: object) -> None:
        fetched.append(path)
        Path(path).parent.mkdir(parents=True)
        StandIn(tmp_path / "agent").path.rename(path)

    monkeypatch.setattr("pyngrok.installer.install_ngrok", install)
    told = []

    async def run():
        async with kept(tmp_path) as (ways, _):
            reach = ngrok(StandIn(tmp_path / "unused"))
            way = await ways.open(type(reach)(driver="ngrok", token=reach.token))
            await ways.prove(way)
            return way.state

    monkeypatch.setattr("kit.service.keeper.Keeper._tell", lambda self, sentence: told.append(sentence))

    assert "proven" == asyncio.run(run())
    assert 1 == len(fetched)
    assert place.is_file()
    assert ["fetching the ngrok agent (about 10 MB, once) ...", "starting the ngrok agent ..."] == told
    assert ["ngrok"] == [p.name for p in place.parent.iterdir()]


def test_a_program_that_cannot_be_fetched_is_put_there_by_hand(tmp_path, monkeypatch):
    """A download that fails is a sentence that says where to put the program, and nothing half is left."""
    place = tmp_path / "home" / "ngrok"
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(place))

    def install(path: str, **_: object) -> None:
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text("half")
        raise OSError("<urlopen error [Errno 101] Network is unreachable>")

    monkeypatch.setattr("pyngrok.installer.install_ngrok", install)

    async def run():
        async with kept(tmp_path) as (ways, _):
            reach = ngrok(StandIn(tmp_path / "unused"))
            with pytest.raises(TunnelError) as refused:
                await ways.prove(await ways.open(type(reach)(driver="ngrok", token=reach.token)))
            return str(refused.value)

    message = asyncio.run(run())

    assert "could not be fetched" in message
    assert "KIT_NGROK_PATH=/path/to/ngrok" in message
    assert [] == list(place.parent.iterdir())


def test_a_slow_start_is_waited_for(tmp_path):
    """An agent that takes two seconds to get its session is proven all the same; until then the way is opening."""
    stand_in = StandIn(tmp_path / "agent", slow_s=2)

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            first = way.state
            await ways.prove(way)
            return first, way.state, way.restarts

    assert ("opening", "proven", 0) == asyncio.run(run())


def test_an_agent_that_never_starts_is_ended_and_told_of(tmp_path, monkeypatch):
    """A program that says nothing at all is killed at the deadline, though pyngrok waits for its line for ever."""
    monkeypatch.setattr("kit.service.ngrok.START_S", 1)
    stand_in = StandIn(tmp_path / "agent", silent=True)

    async def run():
        async with kept(tmp_path, pauses_s=(60,)) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            with pytest.raises(TunnelError) as refused:
                await ways.prove(way)
            await reached(lambda: not agents())
            return str(refused.value)

    message = asyncio.run(run())

    assert "said nothing for 1 s" in message
    assert [] == agents()


def test_closing_while_it_starts_leaves_no_agent(tmp_path):
    """A service that ends while its agent is starting ends that too."""
    stand_in = StandIn(tmp_path / "agent", silent=True)

    async def run():
        async with kept(tmp_path) as (ways, _):
            await ways.open(ngrok(stand_in))
            await reached(agents)

    asyncio.run(run())

    assert [] == agents()


def test_an_agent_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    """An agent that ignores the request to end is ended all the same."""
    monkeypatch.setattr("kit.service.ngrok.END_S", 0.2)
    stand_in = StandIn(tmp_path / "agent", deaf=True)

    async def run():
        async with kept(tmp_path) as (ways, _):
            await ways.prove(await ways.open(ngrok(stand_in)))

    asyncio.run(run())

    assert [] == agents()


def test_a_changed_token_starts_the_one_agent_anew(tmp_path):
    """Connecting with another token is the same way with another agent; the same token again changes nothing."""
    stand_in = StandIn(tmp_path / "agent", token="wrong so far")

    async def run():
        async with kept(tmp_path) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            with pytest.raises(TunnelError):
                await ways.prove(way)
            stand_in.behave(token="the new one")
            again = await ways.open(ngrok(stand_in, "the new one"))
            await reached(lambda: way.state == "proven")
            starts = stand_in.starts
            same = await ways.open(ngrok(stand_in, "the new one"))
            await asyncio.sleep(0.3)
            return again is way, same is way, stand_in.starts - starts, len(agents())

    assert (True, True, 0, 1) == asyncio.run(run())


@pytest.mark.parametrize(
    "behaviour", [{}, {"token": "another"}, {"endpoint": f"your authtoken: {TOKEN} ERR_NGROK_107"}]
)
def test_the_token_stands_in_its_file_alone(tmp_path, monkeypatch, caplog, capfd, behaviour):
    """Not in the arguments or the environment of the agent, in logs, reprs, tracebacks, output, or any other file."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)  # pyngrok would take it from here and put it into the arguments
    caplog.set_level(logging.DEBUG)
    logging.getLogger("pyngrok").setLevel(logging.DEBUG)
    stand_in = StandIn(tmp_path / "agent", **behaviour)
    seen: list[str] = []

    def look() -> None:
        for pid in [p.pid for p in psutil.Process().children(recursive=True)]:
            with contextlib.suppress(OSError):
                seen.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
            with contextlib.suppress(OSError):
                if b"--behaviour" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    seen.append(Path(f"/proc/{pid}/environ").read_bytes().decode())

    async def run():
        async with kept(tmp_path, pauses_s=(60,)) as (ways, _):
            way = await ways.open(ngrok(stand_in))
            proving = asyncio.create_task(ways.prove(way))
            while not proving.done():
                look()
                await asyncio.sleep(0.01)
            if refusal := proving.exception():
                seen.extend(traceback.TracebackException.from_exception(refusal, capture_locals=True).format())
            look()
            keeper = ways._keepers[way]
            seen.append(f"{described(way)} {keeper!r} {vars(keeper)} {vars(keeper._driver)} {vars(ways)}")
            files = [p for p in (tmp_path / "private").iterdir() if p.is_file() and p.name != "ngrok.yml"]
            seen.extend(p.read_text() for p in files)

    asyncio.run(run())
    seen.extend(capfd.readouterr())
    seen.extend([caplog.text, str([record.__dict__ for record in caplog.records])])

    assert len(seen) > 5
    assert [] == [text for text in seen if TOKEN in text]


@given(st.text(max_size=400), st.text(max_size=400))
def test_what_a_stranger_writes_is_shown_as_one_short_clean_line(before, after):
    """Whatever an agent or a page says becomes at most 280 printable characters without the token."""
    shown = cleaned(f"{before}{TOKEN}{after}", token=Secret(TOKEN))

    assert len(shown) <= 280
    assert TOKEN not in shown
    assert "\n" not in shown
    assert not any(ord(c) < 32 or ord(c) == 127 for c in shown)


@given(st.integers(0, 999_999), st.text(max_size=200))
def test_every_code_of_ngrok_becomes_a_sentence(code, words):
    """Known or not, a code leads to a sentence that names it."""
    complaint = complaint_in(f"{words} ERR_NGROK_{code}")

    assert complaint is not None
    assert f"ERR_NGROK_{complaint.code}" in complaint.sentence

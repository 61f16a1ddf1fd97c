"""Callbacks through a tunnel, end to end: a sandbox session, a real pyngrok, a stand-in agent that really forwards."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

import kit
from kit import settings
from tests.agent import TOKEN, StandIn
from tests.flows.acting import job_of, make_song, until
from tests.guards.source import ROOT

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> StandIn:
    """Put a stand-in agent where the settings look for the real one, with a token that it accepts."""
    agent = StandIn(tmp_path / "agent")
    monkeypatch.setenv("KIT_NGROK_PATH", str(agent.path))
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    return agent


def agents(stand_in: StandIn) -> list[psutil.Process]:
    """Return the agents that run from this stand-in, whoever started them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if str(stand_in.path.parent) in " ".join(line) and "start" in line:
                found.append(process)
    return found


def slowly(connect, **options) -> kit.Session:
    """Connect so that polls are rare and the provider is quick: what is learned is learned by callback."""
    session = connect(speed=1, **options)
    session.sandbox.speed = 200
    return session


def test_a_song_and_a_video_are_told_of_through_the_tunnel(connect, stand_in):
    """The callbacks of a sandbox session cross the tunnel, and every result is learned by them."""
    session = slowly(connect, tunnel="ngrok")
    song = session.generate_music(style="techno", title="Tail Lights", instrumental=True).wait(timeout=60)
    video = session.create_video(song.tracks[0], author="Ada").wait(timeout=60)
    way = session.way()
    frame = session.tasks()

    assert ("ngrok", "proven") == (way["driver"], way["state"])
    assert all(job_of(session, task)["callback_url"].startswith(f"{way['url']}/cb/") for task in (song, video))
    assert ["callback"] * 2 == list(frame["learned_by"])
    assert way["url"] != f"http://127.0.0.1:{session.service.public_port}"
    assert [1] == [way["restarts"] + 1 for way in session.health().ways if way["driver"] == "ngrok"]


def test_an_agent_killed_mid_way_loses_no_task(connect, stand_in):
    """What was submitted before is found by polling, what is submitted afterwards uses the new URL, health says so."""
    session = connect(tunnel="ngrok", speed=20)
    song = make_song(session)
    before = session.way()["url"]
    session.sandbox.speed = 5
    first = session.create_video(song.tracks[0], author="Ada")
    until(lambda: first.task_id)
    os.kill(agents(stand_in)[0].pid, signal.SIGKILL)
    until(lambda: session.way()["state"] != "proven")
    until(lambda: session.way()["state"] == "proven", seconds=30)
    session.sandbox.speed = 200
    second = session.create_video(song.tracks[1], author="Ada")
    [first.wait(timeout=90), second.wait(timeout=90)]
    after = session.way()
    frame = session.tasks().set_index("id")

    assert before != after["url"]
    assert job_of(session, first)["callback_url"].startswith(before)
    assert job_of(session, second)["callback_url"].startswith(after["url"])
    assert "poll" == frame.loc[first.id, "learned_by"]
    assert after["restarts"] >= 1
    assert session.health().counts["tunnel_down"] >= 1


def test_a_killed_service_leaves_no_agent_and_the_next_one_opens_its_own(connect, stand_in):
    """After a SIGKILL of the service its agent is gone within 5 s, the token's file with the next start, and the tasks
    go on through another agent."""
    session = connect(tunnel="ngrok", speed=20)
    song = make_song(session)
    [agent] = agents(stand_in)
    old = session.service
    os.kill(old.pid, signal.SIGKILL)
    began = time.monotonic()
    until(lambda: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE, seconds=5)
    ended = time.monotonic() - began
    until(lambda: session.attached and session.service.pid != old.pid, seconds=30)
    video = session.create_video(song.tracks[0], author="Ada").wait(timeout=60)

    assert ended <= 5
    assert 1 == len(agents(stand_in))
    assert job_of(session, video)["callback_url"].startswith(session.way()["url"])


def test_a_session_that_ends_takes_its_agent_and_its_token_along(connect, stand_in):
    """Shut down in order, neither a process nor a file with the token is left."""
    session = connect(tunnel="ngrok")
    until(lambda: agents(stand_in))
    state = settings.state_folder(session.area)
    held = (state / "ngrok.yml").exists()
    session.shutdown()

    assert held
    until(lambda: not agents(stand_in), seconds=10)
    assert [] == [path.name for path in state.glob("ngrok*")]


def test_a_tunnel_that_never_proves_lets_no_submission_out(connect, stand_in):
    """A refused token: the submission is refused with the sentence, nothing was sent, charged or kept; polling alone,
    asked for by name, goes on."""
    stand_in.behave(token="another")
    session = connect(tunnel="ngrok")
    with pytest.raises(kit.TunnelError) as refused:
        session.generate_music("a song that is never bought")
    creates, rows, state = session.sandbox.creates, len(session.tasks()), session.way()["state"]
    log = (session.area / "logs" / "service.log").read_text(encoding="utf-8")
    song = make_song(connect(tunnel="none"))

    assert "ERR_NGROK_107" in str(refused.value)
    assert 'tunnel="none"' in str(refused.value)
    assert (0, 0, "down") == (creates, rows, state)
    assert TOKEN not in log
    assert "succeeded" == song.status


def test_an_own_address_is_proven_and_used(connect):
    """`public_url` that leads here is in every callback URL; one that leads elsewhere lets no submission out."""
    plain = connect()
    own = f"http://localhost:{plain.service.public_port}"
    session = slowly(connect, public_url=own)
    song = make_song(session)
    url, learned_by = job_of(session, song)["callback_url"], list(session.tasks()["learned_by"])
    elsewhere = connect(public_url=f"http://127.0.0.1:{session.service.control_port}")
    with pytest.raises(kit.TunnelError, match="something else answered with status 403"):
        elsewhere.generate_music("never sent")

    assert url.startswith(f"{own}/cb/")
    assert ["callback"] == learned_by


def test_polling_alone_is_asked_for_by_name(connect):
    """With `tunnel="none"` no callback can arrive, and the result is found all the same."""
    session = connect(tunnel="none")
    song = make_song(session)

    assert "localhost" in job_of(session, song)["callback_url"]
    assert ["poll"] == list(session.tasks()["learned_by"])
    assert "none" == session.way()["driver"]


def test_the_token_is_nowhere_but_in_its_file(connect, stand_in, tmp_path, capsys):
    """Not in any argument or environment on this machine, nor in any file of the session, nor in what it shows."""
    session = connect(tunnel="ngrok")
    make_song(session)
    shown = f"{session!r} {session.way()} {session.health()} {capsys.readouterr()}"
    leaks = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if TOKEN.encode() in Path(f"/proc/{process.pid}/{name}").read_bytes():
                    leaks.append(f"{process.pid} {name}")
    with_it = [
        path.name
        for path in tmp_path.rglob("*")
        if path.is_file() and path.parent != stand_in.path.parent and TOKEN.encode() in path.read_bytes()
    ]

    assert TOKEN not in shown
    assert [] == leaks
    assert ["ngrok.yml"] == with_it


def test_the_first_notebook_runs_through_the_tunnel(connect, stand_in, tmp_path):
    """The first notebook, told to go through the tunnel and nothing else, ends with every result; callbacks crossed."""
    notebook = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("kit.connect()", 'kit.connect(tunnel="ngrok")')
    with (tmp_path / "kernel.log").open("ab") as log:
        NotebookClient(notebook, kernel_name="python3", timeout=120).execute(stderr=log)
    session = connect(tunnel="ngrok", speed=None)
    through = session.way()["url"]
    frame = session.tasks()

    assert all(job["callback_url"].startswith(f"{through}/cb/") for job in session.sandbox.jobs())
    assert {"succeeded"} == set(frame["status"])
    assert (frame["deliveries"] > 0).all()

"""Connecting with a way for the callbacks: what is said, when the session stays the same, and who sees the token."""

from __future__ import annotations

import logging
import os
import signal
import socket

import pytest

import kit
from kit.service import process
from kit.service.control_client import Control
from tests.flows.acting import until
from tests.flows.test_restarts import python
from tests.notebook.kernels import running_kernel
from tests.notebook.test_session import CANARY, bytes_below


@pytest.fixture
def told(monkeypatch):
    """What is asked of the service when a provider is opened, and a way that the test sets; nothing is opened."""
    asked: list[dict[str, object]] = []
    way = {"driver": "ngrok", "url": "https://a.ngrok.app", "state": "proven", "problem": None}
    opened = Control.open_provider

    def open_provider(self, name, **options):
        asked.append(options)
        kept = {k: v for k, v in options.items() if k not in ("reach", "ngrok_token")}
        return opened(self, name, **kept)

    monkeypatch.setattr(Control, "open_provider", open_provider)
    monkeypatch.setattr(Control, "way", lambda self, provider: dict(way))
    return asked, way


def test_the_same_cell_twice_is_one_session_and_other_options_another(connect, told, monkeypatch, caplog):
    """With the same way the session is the same one; with another it is closed, and that is said."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", CANARY)
    caplog.set_level(logging.INFO, "kit.notebook.live")
    first, second = connect(tunnel="ngrok"), connect(tunnel="ngrok")
    assert first is second
    third = connect(tunnel="none")

    assert third is not first
    assert not first.attached
    assert "The earlier session on sandbox is closed now; this one takes its place." in caplog.text


def test_the_service_gets_the_way_and_the_token_apart_from_it(connect, told, monkeypatch, caplog, tmp_path):
    """The token travels as a secret of its own; it is in no repr, no line, no log and no file of ours."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", CANARY)
    caplog.set_level(logging.DEBUG)
    session = connect(tunnel="ngrok")
    asked = told[0][-1]
    shown = f"{session!r}{vars(session)}{asked}{session.reach}{caplog.text}"
    session.shutdown()

    assert {"driver": "ngrok", "url": None, "program": None} == asked["reach"]
    assert CANARY == asked["ngrok_token"].reveal()
    assert CANARY not in shown
    assert CANARY.encode() not in bytes_below(tmp_path)


def test_a_way_that_opens_late_is_waited_for_and_one_that_fails_is_told(connect, told, monkeypatch, caplog):
    """While it opens a line says so; what is wrong stands there with the next step, and nothing is raised."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", CANARY)
    caplog.set_level(logging.INFO, "kit.notebook.live")
    states = iter(["opening", "opening", "down"])
    monkeypatch.setattr(
        Control, "way", lambda self, provider: {**told[1], "state": next(states), "problem": "The token is wrong."}
    )
    connect(tunnel="ngrok")
    lines = [record.message for record in caplog.records]

    assert "Opening the way for callbacks: The token is wrong." == lines[-2]
    assert lines[-1].startswith("Callbacks cannot arrive: The token is wrong. Meanwhile ")


def test_waiting_for_a_way_has_an_end(connect, told, monkeypatch, caplog):
    """A way that does not open in time is told as opening."""
    monkeypatch.setattr("kit.notebook.connect.OPENS_WITHIN_S", 0.3)
    monkeypatch.setenv("NGROK_AUTHTOKEN", CANARY)
    caplog.set_level(logging.INFO, "kit.notebook.live")
    told[1].update(state="opening", url=None)
    connect(tunnel="ngrok")

    assert caplog.records[-1].message.startswith("Callbacks cannot arrive yet: the ngrok tunnel is still opening")


def test_the_same_cell_again_says_what_is_wrong_and_nothing_else(connect, told, monkeypatch, caplog):
    """A session that is there already is silent while its way is good, and says it where it is not."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", CANARY)
    caplog.set_level(logging.INFO, "kit.notebook.live")
    first = connect(tunnel="ngrok")
    caplog.clear()
    connect(tunnel="ngrok")
    assert "" == caplog.text

    told[1].update(state="down", problem="The agent ended.")
    assert first is connect(tunnel="ngrok")
    assert "Callbacks cannot arrive: The agent ended." in caplog.text


def test_an_address_of_one_s_own_brings_the_callbacks(connect, caplog):
    """With `public_url` the way is proven before the submission, and what arrives there is the result."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    port = connect().service.public_port
    session = connect(public_url=f"http://127.0.0.1:{port}")
    song = session.generate_music(style="x", title="y", instrumental=True, save=False).wait(timeout=60)
    (way,) = [way for way in session.health().ways if way["driver"] == "url"]

    assert f"Callbacks arrive at http://127.0.0.1:{port}." in caplog.text
    assert ("proven", "callback") == (way["state"], session.tasks().set_index("id").loc[song.id, "learned_by"])
    assert session.health().ok


def test_an_address_that_leads_nowhere_submits_nothing_and_polling_goes_on(connect):
    """Submitting says what is wrong and sends nothing; `tunnel="none"` goes on, and each result is found by asking."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        session = connect(public_url=f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(kit.TunnelError):
            session.generate_music("a song", save=False)
        assert not session.health().ok
    before = session.sandbox.creates
    session = connect(tunnel="none")
    song = session.generate_music("a song", save=False).wait(timeout=60)

    assert (0, 1) == (before, session.sandbox.creates)
    assert "poll" == session.tasks().set_index("id").loc[song.id, "learned_by"]


def test_a_service_that_had_to_change_its_port_says_so_before_anything_is_bought(connect, caplog, monkeypatch):
    """Killed, with its port taken by another program: the next submission says that it was started again, and where."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    session = connect()
    old, start = session.service, process.attach
    with socket.socket() as taker:

        def taken(area):
            until(lambda: not old.alive())
            if not taker.getsockname()[1]:
                taker.bind(("127.0.0.1", old.public_port))
                taker.listen()
            return start(area)

        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        monkeypatch.setattr("kit.notebook.session.attach", taken)
        os.kill(old.pid, signal.SIGKILL)
        until(lambda: session.attached and session.service.pid != old.pid)
        session.generate_music("a song", save=False)

    assert "was started again; nothing is lost." in caplog.text
    assert f"Port {old.public_port}" in caplog.text
    caplog.clear()
    assert session is connect()
    assert "" == caplog.text


def test_a_token_that_was_copied_badly_is_told_before_anything_starts(connect, monkeypatch):
    """A line break inside the token is a `SettingsError` that does not show it."""
    monkeypatch.setenv("NGROK_AUTHTOKEN", f"{CANARY} {CANARY}")
    with pytest.raises(kit.SettingsError, match="NGROK_AUTHTOKEN holds a space") as raised:
        connect("kie", key="k", speed=None)

    assert CANARY not in str(raised.value)


def test_a_notebook_is_asked_for_the_token_once_and_only_by_name(world, tmp_path):
    """`tunnel="ngrok"` without a token asks with hidden input; the same cell again does not, and no output has it."""
    with running_kernel(tmp_path, {**world, "KIT_NGROK_PATH": str(tmp_path / "no-agent")}) as kernel:
        kernel.run("import kit\nfrom kit.notebook import connect\nconnect.OPENS_WITHIN_S = 1.0")
        cell = kernel.start("s = kit.connect(speed=20, tunnel='ngrok')")
        question = kernel.client.get_stdin_msg(timeout=30)["content"]
        kernel.client.input(CANARY)
        cell.end()
        again = kernel.run("same = s is kit.connect(speed=20, tunnel='ngrok')\nprint(same, repr(s), vars(s), s.reach)")
        kernel.run("s.shutdown()")

    assert question["password"]
    assert "ngrok token" in question["prompt"]
    assert cell.error is None, cell.of("error")
    assert again.printed.startswith("True ")
    assert CANARY not in str([cell.messages, again.messages])


def test_a_notebook_that_asks_for_nothing_does_not_switch_off_anothers_callbacks(connect):
    """Another kernel without a token leaves the way alone; one that names another changes it, till it is asked back."""
    code = "import kit; s = kit.connect('kie', key='one'{}); print(s.way()['driver'])"
    session = connect("kie", key="one", speed=None, public_url="http://127.0.0.1:9")
    quiet = python(code.format(""))
    assert ("url", "url") == (quiet.stdout.split()[-1], session.way()["driver"]), quiet.stderr
    loud = python(code.format(", tunnel='none'"))
    assert ("none", "none") == (loud.stdout.split()[-1], session.way()["driver"]), loud.stderr
    again = connect("kie", key="one", speed=None, public_url="http://127.0.0.1:9")

    assert "url" == again.way()["driver"]
    assert again is not session

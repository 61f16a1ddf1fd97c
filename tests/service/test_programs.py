"""A provider's local program: on its kept port, on another where that was taken, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from kit.errors import ServiceError
from kit.service import programs
from kit.service.children import Children
from kit.service.platforms import identity
from kit.service.programs import Program

PROGRAM = """
import argparse, json, os, socket, sys
parser = argparse.ArgumentParser()
for name in ("--folder", "--port", "--speed", "--admin-token-file"):
    parser.add_argument(name)
parser.add_argument("--until-stdin-closes", action="store_true")
asked = parser.parse_args()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    listener.bind(("127.0.0.1", int(asked.port)))
    listener.listen()
except OSError:
    sys.exit(3)
print(json.dumps({"base_url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
os.read(0, 1)
"""


@pytest.fixture
def make(tmp_path):
    """Make programs that speak as little as a local provider has to."""
    tmp_path.joinpath("program.py").write_text(PROGRAM)

    def made(*argv, port=0):
        return Program(
            argv or ("-I", "-S", str(tmp_path / "program.py")),
            tmp_path / "folder",
            token_file=tmp_path / "token",
            port=port,
            speed=20.0,
            children=Children(tmp_path),
        )

    return made


def recorded(tmp_path):
    """Return the pids that the next service would find."""
    return [child["pid"] for child in json.loads((tmp_path / "children.json").read_text())["children"]]


def during(program, story):
    """Run `story` while the program runs, and end it."""

    async def run():
        await program.start()
        try:
            async with asyncio.timeout(20):
                await story()
        finally:
            await program.stop()

    asyncio.run(run())


async def until(reached):
    """Wait until something has come about."""
    while not reached():
        await asyncio.sleep(0.02)


def answers(program):
    """Tell whether somebody listens where the program says it does."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", program.port), timeout=1):
        return True
    return False


def test_it_is_recorded_while_it_runs_and_struck_out_when_it_ended(make, tmp_path):
    """The next service can find it after a SIGKILL of this one, and finds nothing after an orderly end."""
    program, seen = make(), []

    async def story():
        seen.extend(recorded(tmp_path))
        assert answers(program)

    during(program, story)
    assert 1 == len(seen)
    assert [] == recorded(tmp_path)
    assert identity(seen[0]) is None


def test_its_admin_token_is_in_a_file_of_its_owner_alone(make, tmp_path):
    """The token is neither among the arguments nor readable by others."""
    program = make()

    async def story():
        assert program.admin_token == (tmp_path / "token").read_text()
        assert program.admin_token not in " ".join(psutil.Process(recorded(tmp_path)[0]).cmdline())

    during(program, story)
    assert 0o600 == (tmp_path / "token").stat().st_mode & 0o777


def test_no_signal_to_the_services_group_reaches_it(make, tmp_path):
    """It has a session of its own; what ends it is its pipe."""
    program = make()

    async def story():
        pid = recorded(tmp_path)[0]
        assert os.getsid(pid) == pid

    during(program, story)


def test_one_that_dies_is_started_again_on_its_port(make, tmp_path):
    """Its address stays, and nobody is told of a move."""
    program, moves = make(), []
    program.on_move = moves.append

    async def story():
        before, url = recorded(tmp_path)[0], program.base_url
        psutil.Process(before).kill()
        await until(lambda: recorded(tmp_path) not in ([], [before]) and answers(program))
        assert url == program.base_url

    during(program, story)
    assert [] == moves


def test_one_whose_port_was_taken_meanwhile_moves_and_says_so(make, tmp_path):
    """A stolen port does not leave it down: it takes a free one, and whoever asked is told the new address."""
    program, moves = make(), []
    program.on_move = moves.append

    async def story():
        before = program.port
        psutil.Process(recorded(tmp_path)[0]).kill()
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await until(lambda: not answers(program))
            thief.bind(("127.0.0.1", before))
            thief.listen()
            await until(lambda: program.port != before and answers(program))
        assert f"http://127.0.0.1:{program.port}" == program.base_url

    during(program, story)
    assert [program.base_url] == moves


def test_a_kept_port_that_is_taken_at_the_start_gives_a_free_one(make):
    """The first start on a stolen port is no move: nobody knows the old address."""
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        program, moves = make(port=thief.getsockname()[1]), []
        program.on_move = moves.append

        async def story():
            assert program.port != thief.getsockname()[1]

        during(program, story)
    assert [] == moves


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('the folder is in use')", "ended with code 1:\nthe folder is in use"),
        ("print('hello', flush=True); import time; time.sleep(60)", "could not be started"),
        ("print('{}', flush=True); import time; time.sleep(60)", "could not be started"),
        ("print('[1]', flush=True); import time; time.sleep(60)", "could not be started"),
        ("import sys; sys.exit(3)", "could not get a port"),
        ("import time; time.sleep(60)", "did not say within 1 s"),
    ],
)
def test_one_that_cannot_be_used_is_an_error_with_a_reason_and_is_gone(make, tmp_path, monkeypatch, code, said):
    """Whatever it does instead of listening, the error says it, and no process stays."""
    monkeypatch.setattr(programs, "START_TIMEOUT_S", 1.0)
    program = make("-I", "-S", "-c", code)
    with pytest.raises(ServiceError, match=said):
        asyncio.run(program.start())

    assert [] == recorded(tmp_path)
    assert not [c for c in psutil.Process().children() if "time.sleep(60)" in " ".join(c.cmdline())]


HOLDER = """
import asyncio, sys
from pathlib import Path
from kit.service.children import Children
from kit.service.programs import Program
async def main(home):
    program = Program(("-I", "-S", str(home / "program.py")), home / "folder", token_file=home / "token", port=0,
                      speed=1.0, children=Children(home))
    await program.start()
    print(program.port, flush=True)
    await asyncio.sleep(60)
asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_killed_service_takes_it_along(make, tmp_path):
    """After a SIGKILL its pipe closes, and it ends by itself; what would not is found in the record."""
    make()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert int(holder.stdout.readline()) > 0
    (pid,) = recorded(tmp_path)
    holder.kill()
    holder.communicate()
    deadline = time.monotonic() + 10
    while identity(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)

    assert identity(pid) is None
    assert [] == Children(tmp_path).sweep()

"""The record of processes: what an earlier service left behind is ended, and nobody else."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import psutil
import pytest

from kit.service import children as module
from kit.service.children import Children
from kit.service.platforms import identity
from tests.flows.acting import until

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(120)"]
DEAF = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(120)",
]


@pytest.fixture
def start():
    """Start processes as a service would that is gone by now: somebody else reaps them."""
    started = []

    def begin(argv=SLEEPER, **options):
        process = subprocess.Popen(argv, **options)
        threading.Thread(target=process.wait, daemon=True).start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def leash_of(pid):
    """Return the watchdog process that holds `pid`, or None."""
    for child in psutil.Process().children():
        if child.is_running() and "leash.py" in " ".join(child.cmdline()) and str(pid) in child.cmdline():
            return child
    return None


def ended(process, seconds=10):
    """Tell whether a process ends in time."""
    until(lambda: process.returncode is not None, seconds=seconds)
    return True


def test_what_an_earlier_service_left_behind_is_ended_and_said(tmp_path, start):
    """Exactly what it recorded and did not release ends, and a sentence says which."""
    earlier = Children(tmp_path)
    orphan, released, stranger = start(), start(), start()
    earlier.adopt(orphan.pid, "the tunnel's agent")
    earlier.adopt(released.pid, "something that was let go")
    earlier.release(released.pid)
    sentences = Children(tmp_path).sweep()

    assert [f"Ended the tunnel's agent (process {orphan.pid}), which an earlier service left behind."] == sentences
    assert ended(orphan)
    assert (None, None) == (released.poll(), stranger.poll())


def test_the_record_is_its_owners_alone(tmp_path, start):
    """Nobody else reads which processes run."""
    children = Children(tmp_path)
    children.adopt(start().pid, "a child")

    assert 0o600 == stat.S_IMODE((tmp_path / "children.json").stat().st_mode)
    assert ["children.json"] == [path.name for path in tmp_path.iterdir()]


def test_a_pid_that_somebody_else_got_is_left_alone(tmp_path, start):
    """The number agrees, the identity does not: that process goes on."""
    stranger = start()
    earlier = Children(tmp_path)
    earlier.adopt(stranger.pid, "a child")
    record = json.loads((tmp_path / "children.json").read_text())
    record["children"][0]["identity"] = identity(os.getpid())
    (tmp_path / "children.json").write_text(json.dumps(record))

    assert [] == Children(tmp_path).sweep()
    time.sleep(0.2)
    assert stranger.poll() is None


def test_one_that_does_not_listen_is_killed(tmp_path, start, monkeypatch):
    """Asked first, killed when it does not go."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    deaf = start(DEAF, stdout=subprocess.PIPE)
    deaf.stdout.read(1)
    Children(tmp_path).adopt(deaf.pid, "a deaf child")
    sentences = Children(tmp_path).sweep()
    deaf.stdout.close()

    assert 1 == len(sentences)
    assert ended(deaf)
    assert -signal.SIGKILL == deaf.returncode


def test_a_sweep_is_done_once(tmp_path, start):
    """What was swept is struck out."""
    Children(tmp_path).adopt(start().pid, "a child")
    Children(tmp_path).sweep()

    assert [] == Children(tmp_path).sweep()
    assert {"children": []} == json.loads((tmp_path / "children.json").read_text())


def test_what_has_ended_by_itself_is_not_spoken_of(tmp_path, start):
    """Only what was ended is reported."""
    child = start()
    Children(tmp_path).adopt(child.pid, "a child")
    child.kill()
    assert ended(child)

    assert [] == Children(tmp_path).sweep()


def test_without_a_record_there_is_nothing_to_do(tmp_path):
    """The first start of all ends nothing."""
    assert [] == Children(tmp_path).sweep()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b'{"children": [{"pid":',
        b"[]",
        b"null",
        b'{"children": 5}',
        b'{"children": [5]}',
        b'{"children": [{"pid": "x", "identity": "", "what": ""}]}',
        b'{"children": [{"pid": 1e999, "identity": "", "what": ""}]}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_ends_nothing_and_is_said(tmp_path, damage):
    """Whatever the file holds, the start goes on, says so once, and has a sound record afterwards."""
    (tmp_path / "children.json").write_bytes(damage)

    assert [module.DAMAGED] == Children(tmp_path).sweep()
    assert [] == Children(tmp_path).sweep()


@pytest.mark.parametrize("pid", [0, -1, 2**40, 10**30])
def test_an_impossible_pid_in_the_record_is_nobody(tmp_path, pid):
    """No number makes the sweep signal a group or everybody."""
    rows = [{"pid": pid, "identity": "x", "what": "a child"}]
    (tmp_path / "children.json").write_text(json.dumps({"children": rows}))

    assert [] == Children(tmp_path).sweep()


def test_a_record_that_cannot_be_written_costs_the_record_alone(tmp_path, start):
    """The child serves all the same."""
    children = Children(tmp_path / "gone")
    children.adopt(start().pid, "a child")
    children.release(1)

    assert [] == list(tmp_path.iterdir())


def test_one_that_has_ended_before_it_is_adopted_is_not_recorded(tmp_path, start):
    """A number without a process could become somebody else's."""
    child = start()
    child.kill()
    assert ended(child)
    Children(tmp_path).adopt(child.pid, "a child")

    assert not (tmp_path / "children.json").exists()


def test_a_leash_that_is_released_leaves_its_process_alone_and_ends(tmp_path, start):
    """No watchdog stays for a process that is no longer ours."""
    child, children = start(), Children(tmp_path)
    children.leash(child.pid)
    watchdog = leash_of(child.pid)
    assert watchdog is not None
    children.release(child.pid)
    until(lambda: not psutil.pid_exists(watchdog.pid), seconds=10)

    assert child.poll() is None


def test_a_leash_ends_with_its_process(tmp_path, start):
    """A process that ended by itself leaves no watchdog, also where nobody releases it."""
    child, children = start(), Children(tmp_path)
    children.leash(child.pid)
    watchdog = leash_of(child.pid)
    child.kill()
    until(lambda: not psutil.pid_exists(watchdog.pid), seconds=10)
    children.release(child.pid)


def test_leashing_twice_is_leashing_once(tmp_path, start):
    """One watchdog a process."""
    child, children = start(), Children(tmp_path)
    for _ in range(3):
        children.leash(child.pid)
    held = [c for c in psutil.Process().children() if "leash.py" in " ".join(c.cmdline())]
    children.release(child.pid)
    until(lambda: leash_of(child.pid) is None, seconds=10)

    assert 1 == len(held)


HOLDER = """
import subprocess, sys, time
from pathlib import Path
from kit.service.children import Children
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.read(1)
Children(Path(sys.argv[1])).leash(child.pid)
print(child.pid, flush=True)
time.sleep(120)
"""
LISTENS = [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(120)"]


@pytest.mark.parametrize("argv", [LISTENS, DEAF], ids=["listens", "deaf"])
def test_when_the_service_is_killed_the_leashed_process_ends_with_it(tmp_path, argv):
    """Five seconds after a SIGKILL of whoever holds the leash there is neither process nor watchdog."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), *argv], stdout=subprocess.PIPE, text=True)
    pid = int(holder.stdout.readline())
    watchdogs = [c for c in psutil.Process(holder.pid).children() if c.pid != pid]
    assert 1 == len(watchdogs)
    known_as = identity(pid)
    assert os.getsid(watchdogs[0].pid) == watchdogs[0].pid  # no signal to the service's group reaches it
    holder.kill()
    holder.communicate()
    until(lambda: identity(pid) != known_as and not watchdogs[0].is_running(), seconds=10)


def test_a_leash_is_small(tmp_path, start):
    """A watchdog costs less than 24 MB."""
    child, children = start(), Children(tmp_path)
    children.leash(child.pid)
    watchdog = leash_of(child.pid)
    until(lambda: watchdog.num_threads() > 1, seconds=10)
    held = watchdog.memory_info().rss
    children.release(child.pid)
    until(lambda: not psutil.pid_exists(watchdog.pid), seconds=10)

    assert held < 24e6

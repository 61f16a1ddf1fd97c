"""What differs between operating systems, seen as each of the three; and on this one that it does what it says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from kit.service import platforms

THREE = ("linux", "darwin", "win32")
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux itself")


@pytest.fixture
def on(monkeypatch):
    """Be on another platform."""
    return lambda name: monkeypatch.setattr(sys, "platform", name)


@pytest.fixture
def sleeper():
    """A process that does nothing for a minute."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linux", {"start_new_session": True}),
        ("darwin", {"start_new_session": True}),
        ("win32", {"creationflags": 0x200 | 0x8}),
    ],
)
def test_a_new_process_is_kept_apart_as_each_platform_can(on, name, expected):
    """A session of its own; on Windows a group of its own without a console."""
    on(name)

    assert expected == platforms.apart()


@pytest.mark.parametrize(
    ("name", "ignored", "ending"),
    [
        ("linux", ["SIGINT", "SIGHUP", "SIGQUIT"], ["SIGTERM"]),
        ("darwin", ["SIGINT", "SIGHUP", "SIGQUIT"], ["SIGTERM"]),
        ("win32", ["SIGINT"], []),  # and SIGBREAK, where Python knows it
    ],
)
def test_signals_are_ignored_or_end_the_service(on, monkeypatch, name, ignored, ending):
    """Interrupt, closed terminal and quit key are for somebody else; a termination ends the service in order."""
    on(name)
    monkeypatch.delattr(signal, "SIGBREAK", raising=False)

    assert ignored == [s.name for s in platforms.ignored_signals()]
    assert ending == [s.name for s in platforms.ending_signals()]


@pytest.mark.parametrize("name", THREE)
def test_a_termination_stops_and_nothing_else_does(on, monkeypatch, name):
    """What the loop is told to handle and what the process ignores follow from the two lists."""
    on(name)
    set_aside, handled = [], []
    monkeypatch.setattr(signal, "signal", lambda number, action: set_aside.append((number, action)))

    class Loop:
        def add_signal_handler(self, number, call):
            handled.append((number, call))

    platforms.mind_signals(Loop(), print)
    assert [(s, signal.SIG_IGN) for s in platforms.ignored_signals()] == set_aside
    assert [(s, print) for s in platforms.ending_signals()] == handled


@pytest.mark.parametrize(("name", "expected"), [("linux", 1), ("darwin", 1), ("win32", 0)])
def test_a_listener_reuses_its_address_except_where_that_shares_a_port(on, name, expected):
    """After a restart the same port can be had at once; on Windows the option would mean something else."""
    on(name)
    listener, taken = platforms.bind_loopback(0)
    with closing(listener):
        option = listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)

    assert (expected, False) == (bool(option), taken)


@pytest.mark.parametrize("name", THREE)
def test_modes_are_set_where_they_mean_something(on, monkeypatch, tmp_path, name):
    """Files are their owner's alone; Windows is not asked."""
    on(name)
    asked = []
    monkeypatch.setattr(os, "umask", asked.append)
    platforms.keep_files_private()
    platforms.sync_folder(tmp_path)

    assert ([] if name == "win32" else [0o077]) == asked


def said_by(code):
    """Return what a Python of its own prints, so that no limit reaches this one."""
    code = f"from kit.service import platforms\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@on_linux
def test_memory_beyond_a_limit_is_refused_and_below_it_is_given():
    """So much more than is mapped already, however much that is; what was there before stays."""
    code = (
        "before = bytearray(200 * 2**20)\n"
        "platforms.limit_memory(100 * 2**20)\n"
        "within = bytearray(80 * 2**20)\n"
        "try:\n"
        "    beyond = bytearray(60 * 2**20)\n"
        "except MemoryError:\n"
        "    print('refused', len(before) + len(within))"
    )

    assert ["refused", str(280 * 2**20)] == said_by(code)


@on_linux
def test_a_limit_that_somebody_set_before_is_not_lifted():
    """A container's or a shell's own limit is below whatever is asked for."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "platforms.limit_memory(2**40)\n"
        "print(*resource.getrlimit(resource.RLIMIT_AS))"
    )

    assert [str(2**30)] * 2 == said_by(code)


@pytest.mark.parametrize("name", ["darwin", "win32"])
def test_where_mapped_memory_is_not_counted_it_is_not_limited(on, monkeypatch, name):
    """Elsewhere than on Linux nothing is asked of the system, and nothing fails."""
    import resource

    on(name)
    monkeypatch.setattr(resource, "setrlimit", pytest.fail)
    platforms.limit_memory(1)


def test_a_process_can_step_back():
    """It then has a lower priority than the one that started it."""
    here, there = os.nice(0), said_by("import os; platforms.step_back(); print(os.nice(0))")

    assert [str(min(19, here + 10))] == there


@on_linux
def test_a_session_of_its_own_steps_back_too():
    """Linux shares the processor out between sessions first: there the whole session is less urgent."""
    code = (
        "import os, pathlib\n"
        "os.setsid()\n"
        "platforms.step_back()\n"
        "own = pathlib.Path('/proc/self/autogroup')\n"
        "print(own.read_text().split()[-1] if own.exists() else platforms._NICENESS)"
    )

    assert [str(platforms._NICENESS)] == said_by(code)


def test_on_windows_a_process_steps_back_by_its_class(on, monkeypatch):
    """Windows knows no niceness but classes of priority."""
    on("win32")
    monkeypatch.setattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 0x4000, raising=False)
    asked = []
    monkeypatch.setattr(psutil.Process, "nice", lambda self, value=None: asked.append((self.pid, value)))
    platforms.step_back()

    assert [(os.getpid(), 0x4000)] == asked


@pytest.mark.parametrize("name", THREE)
def test_an_identity_is_of_one_running_process(on, sleeper, name):
    """Two processes differ, one stays the same, and one that has ended has none, reaped or not."""
    on(name)
    ours, theirs = platforms.own_identity(), platforms.identity(sleeper.pid)
    assert ours != theirs
    assert theirs == platforms.identity(sleeper.pid)

    sleeper.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert platforms.identity(sleeper.pid) is None
    sleeper.wait()
    assert platforms.identity(sleeper.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
@pytest.mark.parametrize("name", THREE)
def test_a_number_that_is_no_process_of_anybody_has_no_identity(on, name, pid):
    """Whatever a damaged record holds, it is nobody, and nobody is ended."""
    on(name)
    assert not platforms.end_process(pid, "nobody")
    assert pid == 0 or platforms.identity(pid) is None


@on_linux
def test_a_clock_that_is_set_changes_no_identity(sleeper, monkeypatch):
    """The create time of psutil moves with the clock, for it is counted from the boot; ours does not."""
    before, moving = platforms.identity(sleeper.pid), psutil.Process(sleeper.pid).create_time()
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot + 8 * 3600)

    assert before == platforms.identity(sleeper.pid)
    assert psutil.Process(sleeper.pid).create_time() - moving > 3600  # the reason why it is not used


@on_linux
def test_a_process_name_with_brackets_and_spaces_is_no_riddle(tmp_path):
    """The name stands in the middle of what Linux tells and may hold anything."""
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([odd, "60"])
    try:
        known_as = platforms.identity(process.pid)
        assert int(known_as.rpartition(":")[2]) > 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize(("insist", "expected"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_a_process_is_ended_by_its_identity(on, sleeper, name, insist, expected):
    """Asked first, or ended at once; the answer says that it was there."""
    on(name)
    known_as = platforms.identity(sleeper.pid)

    assert platforms.end_process(sleeper.pid, known_as, insist=insist)
    assert -expected == sleeper.wait(10)
    assert not platforms.end_process(sleeper.pid, known_as, insist=insist)


@pytest.mark.parametrize("name", THREE)
def test_a_number_that_somebody_else_got_is_left_alone(on, sleeper, name):
    """A process that only has the number of one we knew goes on."""
    on(name)

    assert not platforms.end_process(sleeper.pid, "the one before", insist=True)
    assert sleeper.poll() is None


def test_a_wanted_port_is_had_or_reported_as_taken():
    """A free port is taken as asked; a taken one, or a number that is none, gives another and says so."""
    first, taken = platforms.bind_loopback(0)
    with closing(first):
        port = first.getsockname()[1]
        second, moved = platforms.bind_loopback(port)
        with closing(second):
            assert (False, True) == (taken, moved)
            assert second.getsockname()[1] != port
    again, moved = platforms.bind_loopback(port)
    with closing(again):
        assert (port, False) == (again.getsockname()[1], moved)
    beyond, moved = platforms.bind_loopback(70_000)
    with closing(beyond):
        assert moved


def test_a_port_with_connections_just_closed_can_be_had_again():
    """A restart does not wait for the operating system to forget the connections of the run before."""
    listener, _ = platforms.bind_loopback(0)
    port = listener.getsockname()[1]
    listener.setblocking(True)
    with closing(listener), socket.create_connection(("127.0.0.1", port)) as caller:
        answering, _ = listener.accept()
        answering.close()  # the side that closes first keeps the port in TIME_WAIT
        caller.recv(1)
    again, moved = platforms.bind_loopback(port)
    again.close()

    assert not moved


def test_two_that_reuse_an_address_never_both_have_it():
    """A socket that is bound and does not listen yet is found out by listening, not by binding."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        mine, moved = platforms.bind_loopback(port)
        with closing(mine):
            if not moved:
                with pytest.raises(OSError, match="in use"):
                    other.listen()


def test_what_a_process_writes_is_its_owners_alone(tmp_path):
    """The mask holds for every file made afterwards."""
    code = "import sys; from kit.service.platforms import *; keep_files_private(); open(sys.argv[1], 'w')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=True)

    assert 0o600 == stat.S_IMODE((tmp_path / "x").stat().st_mode)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_storm_of_interrupts_does_nothing(number):
    """Twenty a second for a second, on the process and its group, leave the process as it was."""
    code = (
        "import asyncio, sys\n"
        "from kit.service.platforms import mind_signals\n"
        "async def main():\n"
        "    stop = asyncio.Event()\n"
        "    mind_signals(asyncio.get_running_loop(), stop.set)\n"
        "    print('ready', flush=True)\n"
        "    await stop.wait()\n"
        "    print('ended in order', flush=True)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **platforms.apart())
    assert process.stdout.readline() == "ready\n"
    for _ in range(20):
        process.send_signal(number)
        os.killpg(process.pid, number)
        time.sleep(0.05)
    assert process.poll() is None

    process.terminate()
    said, _ = process.communicate(timeout=10)
    assert ("ended in order\n", 0) == (said, process.returncode)


def test_a_bare_python_knows_what_a_leash_needs():
    """The small Python finds the module, reads an identity and imports nothing heavy."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from kit.service.platforms import own_identity\n"
        "assert own_identity()\n"
        "print([name for name in ('asyncio', 'httpx', 'sqlalchemy', 'pandas') if name in sys.modules])"
    )
    root = str(Path(platforms.__file__).parents[2])
    done = subprocess.run([*platforms.bare_python(), "-c", code, root], capture_output=True, text=True, check=False)

    assert ("[]\n", "") == (done.stdout, done.stderr)


def test_signals_are_minded_on_a_real_loop():
    """Handlers can be set and taken away again."""
    before = {number: signal.getsignal(number) for number in platforms.ignored_signals()}

    async def story():
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        platforms.mind_signals(loop, asked.set)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await asked.wait()
        for number in platforms.ending_signals():
            loop.remove_signal_handler(number)

    try:
        asyncio.run(story())
        assert {signal.SIG_IGN} == {signal.getsignal(number) for number in before}
    finally:
        for number, action in before.items():
            signal.signal(number, action)

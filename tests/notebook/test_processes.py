"""Forks, reloads, interrupts and debuggers: what a notebook does to its process leaves session and service alone."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import time

import pytest

from tests.flows.acting import post
from tests.notebook.kernels import Kernel

_numbers = itertools.count(1)

FORKED = """
import multiprocessing, os
def child(line):
    said = []
    for use in (s.tasks, s.credits, lambda: s.sandbox, lambda: task.status, task.wait, s.health, s.shutdown):
        try:
            use()
        except kit.ServiceError as refusal:
            said.append(str(refusal))
    s.close()
    own = kit.connect(speed=20)
    line.put((os.getpid(), s.attached, said, own.attached, own is s, own.service.pid, len(own.tasks())))
    own.close()
context = multiprocessing.get_context("fork")
line = context.Queue()
work = context.Process(target=child, args=(line,))
work.start()
pid, attached, said, own_attached, same, service, rows = line.get(timeout=30)
work.join(30)
"""


def song(kernel: Kernel, name: str = "task") -> None:
    """Buy a song whose files are not fetched."""
    bought = kernel.run(
        f"{name} = s.generate_music(style='x', title='Process {next(_numbers)}', instrumental=True, save=False)"
    )
    assert bought.error is None, bought.of("error")


def test_a_forked_child_cannot_touch_the_session_and_has_one_of_its_own(kernel):
    """Every use in the child says to connect there; what it connects is its own, and the parent never notices."""
    song(kernel)
    before = kernel.value("s.service.pid, s.attached")
    forked = kernel.run(FORKED)
    assert forked.error is None, forked.of("error")

    assert "0 False 7 True" == kernel.value("work.exitcode, attached, len(said), own_attached").translate(
        str.maketrans("", "", "(),")
    )
    assert "True" == kernel.value("all('session = kit.connect()' in text and str(pid) in text for text in said)")
    assert "(False, True, True)" == kernel.value("(same, service == s.service.pid, rows == len(s.tasks()))")
    assert before == kernel.value("s.service.pid, s.attached")
    assert "0" == kernel.value("s.health().service['attached'] - 1")
    assert "succeeded" == kernel.value("(setattr(s.sandbox, 'speed', 200), task.wait(timeout=60).status)[1]")


def test_a_child_that_ends_hard_leaves_the_parent_attached(kernel):
    """A child that dies without any goodbye ends nothing of its parent's."""
    kernel.run(
        "import os, signal\npid = os.fork()\nif pid == 0: os.kill(os.getpid(), signal.SIGKILL)\nos.waitpid(pid, 0)"
    )
    song(kernel)
    kernel.run("s.sandbox.speed = 200")

    assert "True succeeded" == kernel.value("f'{s.attached} {task.wait(timeout=60).status}'").splitlines()[-1]


@pytest.mark.parametrize(
    "loaded",
    [
        "kit",
        "kit.notebook.connect",
        "kit.notebook.registry",
        "kit.notebook.session",
        "kit.notebook.task",
        "kit.notebook.reach",
        "kit.settings",
    ],
)
def test_after_a_reload_the_session_is_found_again(kernel, loaded):
    """Whatever module is loaded again, connecting returns the same session, and old tasks and takes still work."""
    kernel.run("s.sandbox.speed = 200")
    song(kernel, "made")
    kernel.run("made.wait(timeout=60)\ntake = made.tracks[0]")
    attached = kernel.value("s.health().service['attached']")
    kernel.run(f"import importlib, sys\nimportlib.reload(sys.modules[{loaded!r}])")
    cell = kernel.run("again = kit.connect(speed=20)\nprint(again is s)")

    assert ("True", None) == (cell.printed, cell.error), cell.texts
    assert [] == cell.texts
    assert attached == kernel.value("s.health().service['attached']")
    done = kernel.run(
        "w = [s.convert_wav(t, save=False).wait(timeout=60).status for t in (take, made.tracks[1])]\nprint(w)"
    )
    assert "['succeeded', 'succeeded']" == done.printed, done.of("error")
    assert "succeeded" == kernel.value("s.create_cover_images(made, save=False).wait(timeout=60).status")


def test_autoreload_leaves_the_session_alone(kernel):
    """With `%autoreload 2` and a changed file the session stays, and its takes are still takes."""
    kernel.run("s.sandbox.speed = 200\n%load_ext autoreload\n%autoreload 2")
    song(kernel, "made")
    kernel.run("made.wait(timeout=60)\ntake = made.tracks[0]")
    kernel.run(
        "import os, sys\nfor name in ('task', 'connect', 'session'):\n"
        "    os.utime(sys.modules[f'kit.notebook.{name}'].__file__)"
    )
    cell = kernel.run("again = kit.connect(speed=20)\nprint(again is s, s.convert_wav(take, save=False).kind)")
    kernel.run("%autoreload 0")

    assert ("True wav", None) == (cell.printed, cell.error), cell.of("error")


@pytest.mark.timeout(180)
def test_a_storm_of_interrupts_disturbs_nothing(kernel):
    """The Stop button twenty times a second while a cell submits, waits and reads: all goes on when it is over."""
    kernel.run("s.sandbox.speed = 200")
    service = kernel.value("s.service.pid")
    storm = (
        "import time\nended, told = time.monotonic() + 6, 0\nn = 0\n"
        "while time.monotonic() < ended:\n"
        "    try:\n"
        "        n += 1\n"
        "        t = s.generate_music(style='x', title=f'Storm {n // 20}', instrumental=True, save=False)\n"
        "        t.wait(); s.tasks(); s.deliveries(); s.health(); kit.connect(speed=20)\n"
        "    except KeyboardInterrupt:\n"
        "        told += 1\n"
        "print(told > 20)"
    )
    pid = int(kernel.value("__import__('os').getpid()"))
    cell = kernel.start(storm)
    cell.until("status")
    for _ in range(80):
        time.sleep(0.05)
        os.kill(pid, signal.SIGINT)
    cell.end(seconds=60)

    assert None is cell.error, cell.of("error")
    assert f"{service} True" == kernel.value("f'{s.service.pid} {s.attached}'")
    assert "True" == kernel.value("s is kit.connect(speed=20)")
    kernel.run("storm = lambda: s.tasks().query('title.str.startswith(\"Storm\")')")
    kernel.run("for id in storm()['id']: s.task(id).wait(timeout=60)")
    rows = kernel.value("storm()[['status', 'title']].value_counts().to_dict()")
    assert rows.count("'succeeded'") >= 1
    assert rows.count(": 1") == rows.count("Storm"), rows
    assert "1" == kernel.value("s.health().service['attached']")


def asked_again(kernel: Kernel) -> bool:
    """Whether the debugger stops once more."""
    try:
        kernel.client.get_stdin_msg(timeout=1)
    except queue.Empty:
        return False
    return True


def test_a_debugger_in_the_middle_of_a_table_delays_no_callback(kernel):
    """A kernel that stands in the debugger while it reads the ledger holds up no acknowledgement."""
    url = kernel.value("s.callback_url('video')")
    song(kernel)
    kernel.run(
        "import sqlite3\nfrom IPython.core.debugger import set_trace\n"
        "class Slow(sqlite3.Cursor):\n"
        "    def fetchall(self):\n"
        "        first = self.fetchone()\n"
        "        set_trace()\n"
        "        return [first] * bool(first) + super().fetchall()\n"
        "class Held(sqlite3.Connection):\n"
        "    def execute(self, *a): return self.cursor(Slow).execute(*a)\n"
        "plain = sqlite3.connect\n"
        "sqlite3.connect = lambda *a, **k: plain(*a, **k, factory=Held)"
    )
    cell = kernel.start("s.tasks()")
    question = kernel.client.get_stdin_msg(timeout=30)["content"]["prompt"]
    took = []
    for n in range(30):
        began = time.monotonic()
        data = {"task_id": "elsewhere", "video_url": f"https://media.example.com/{n}"}
        assert 200 == post(url, {"code": 200, "msg": "success", "data": data})
        took.append(time.monotonic() - began)
    for command in ("sqlite3.connect = plain", *["continue"] * 9):
        kernel.client.input(command)
        if not asked_again(kernel):
            break
    cell.end()

    assert "db" in question
    assert max(took) < 2, took
    assert "30" == kernel.value("s.tasks().set_index('task_id').loc['elsewhere', 'deliveries']")

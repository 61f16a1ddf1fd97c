"""Kernels and services come and go; what was bought is followed to its end all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

import kit
from kit import settings
from kit.service import process
from kit.service.control_client import Control
from kit.service.platforms import identity
from kit.service.record import ServiceRecord
from tests.flows.acting import make_song, until


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, as a second kernel would."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(180)
def test_a_kernel_killed_while_a_video_is_pending_loses_nothing(connect):
    """The service goes on without the kernel, and a new session finds the video succeeded and saved."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        code = """
import kit, os
session = kit.connect(speed=20)
song = session.generate_music(style="slow piano", title="Window Seat", instrumental=True, save=False).wait(timeout=90)
video = session.create_video(song.tracks[0], author="Ada")
print(video.id, video.status, os.getpid())
"""
        printed = []
        client.execute_interactive(
            code, timeout=100, output_hook=lambda m: printed.append(m["content"].get("text", ""))
        )
        id, status, pid = "".join(printed).split()
        assert status == "pending"
        os.kill(int(pid), signal.SIGKILL)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    video = connect(speed=None).task(id).wait(timeout=60)
    assert (video.status, video.files[0].verified) == ("succeeded", "decoded")


def test_a_killed_service_is_started_again_and_finishes_what_was_pending(connect):
    """After a SIGKILL of the service the session attaches to a new one by itself; nothing is bought again."""
    session = connect(speed=20)
    song = make_song(session)
    video = session.create_video(song.tracks[0], author="Ada")
    old = session.service
    os.kill(old.pid, signal.SIGKILL)
    until(lambda: session.attached and session.service.pid != old.pid, seconds=30)

    assert video.wait(timeout=60).files
    assert session.service.public_port == old.public_port
    assert session.sandbox.creates == 2


def killed(session):
    """SIGKILL the service of a session; return the seconds until the session works with another."""
    old = session.service
    os.kill(old.pid, signal.SIGKILL)
    began = time.monotonic()
    until(lambda: session.attached and session.service.pid != old.pid, seconds=30)
    session.credits()
    return time.monotonic() - began


def test_a_killed_service_is_back_within_three_seconds_on_the_same_port(connect):
    """From SIGKILL to a session that works again with its provider; the best of three, for a busy machine is slower."""
    session = connect(speed=20)
    port = session.service.public_port
    took = [killed(session) for _ in range(3)]

    assert min(took) <= 3 * max(1, os.getloadavg()[0] / os.cpu_count()), took
    assert port == session.service.public_port


def test_what_a_killed_service_left_behind_is_ended_and_nobody_else(connect):
    """A local provider that could not see its leash go is swept by the next start; its double is left alone."""
    session = connect(speed=20)
    provider = next(p for p in psutil.Process(session.service.pid).children() if "kit.sandbox" in p.cmdline())
    double = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", "-m", "kit.sandbox"])
    try:
        provider.suspend()  # it notices nothing, not even the end of its input
        killed(session)
        control = Control(session.service)
        swept = control.health()["swept"]
        control.close()

        assert identity(provider.pid) is None  # it may wait to be reaped
        assert [True] == [f"(process {provider.pid})" in sentence for sentence in swept]
        assert double.poll() is None
    finally:
        double.kill()
        double.wait()


def test_a_service_killed_again_and_again_leaves_one_of_everything(connect):
    """After three kills there is one service with one provider, and what was pending meanwhile is saved."""
    session = connect(speed=20)
    song = make_song(session)
    video = session.create_video(song.tracks[0], author="Ada")
    family = set()
    for _ in range(3):
        family |= {p.pid for p in psutil.Process(session.service.pid).children(recursive=True)}
        killed(session)

    assert video.wait(timeout=60).files
    now = {p.pid for p in psutil.Process(session.service.pid).children(recursive=True)}
    assert [] == [pid for pid in family - now if psutil.pid_exists(pid)]
    assert session.sandbox.creates == 2


def test_connecting_again_is_the_same_session_and_a_second_kernel_attaches(connect, tmp_path):
    """One service serves a folder: the same cell twice is one session, another process is one more attachment."""
    session = connect()
    assert connect() is session

    other = python("import kit; s = kit.connect(); print(s.service.pid)")
    assert (0, session.service.pid) == (other.returncode, int(other.stdout or 0)), other.stderr


def test_an_idle_service_ends_by_itself(connect, monkeypatch):
    """With nobody attached and nothing pending the service is gone after its idle time."""
    monkeypatch.setenv("KIT_IDLE_MINUTES", "0.1")
    session = connect()
    record = session.service
    session.close()
    until(lambda: not record.alive(), seconds=40)

    with pytest.raises(kit.ServiceError, match="closed"):
        session.credits()


def test_another_key_on_a_provider_in_use_is_refused_with_a_sentence(connect):
    """A second session with another key does not take over the provider that the first one uses."""
    connect("kie", key="first", speed=None)
    other = python("import kit; kit.connect('kie', key='second')")

    assert other.returncode != 0
    assert "another key" in other.stderr
    assert "second" not in other.stderr.replace("key='second'", "")


def test_a_service_of_another_version_is_replaced_or_refuses_with_a_sentence(connect, monkeypatch):
    """While a notebook is attached the other version refuses; once nobody is, it makes way."""
    session = connect()
    record = session.service
    newer = "from kit.service import process; process.kit_version = lambda: '99.0'; import kit; kit.connect()"
    other = python(newer)
    assert other.returncode != 0
    assert f"callboard {record.version} runs on" in other.stderr

    session.close()
    control = Control(record)
    until(lambda: control.hello()["attached"] == 0)
    control.close()
    monkeypatch.setattr(process, "kit_version", lambda: "99.0")
    assert connect().service.pid != record.pid


def test_connecting_while_the_old_service_is_ending_starts_a_new_one(connect):
    """A service that was told to end makes way: the next connect waits for its end and then has one of its own."""
    session = connect()
    old = session.service
    os.kill(old.pid, signal.SIGTERM)
    until(lambda: connect().service.pid != old.pid)

    assert connect().credits() > 0


def test_a_lost_service_record_is_written_again(connect):
    """Without its record no kernel would find the service: it looks after it."""
    session = connect()
    record = settings.state_folder(session.area) / "service.json"
    record.write_text('{"pid":')
    until(lambda: ServiceRecord.read(record.parent) == session.service)


def test_waiting_ends_with_a_sentence_when_the_service_is_shut_down_elsewhere(connect):
    """Nothing is followed any more, so the wait says so at once, and the next connect takes it up."""
    session = connect(speed=1)
    task = session.generate_music("a song that takes its time")
    control = Control(session.service)
    control.shutdown()
    control.close()
    with pytest.raises(kit.ServiceError, match="shut down"):
        task.wait(timeout=30)

    assert connect(speed=500).task(task.id).wait(timeout=60).status == "succeeded"

"""One night: work is left running behind a tunnel, everything goes wrong, and in the morning every result is there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from kit import settings
from kit.service.record import ServiceRecord
from tests.agent import TOKEN, StandIn
from tests.flows.acting import until
from tests.notebook.kernels import Kernel, running_kernel

EVENING = """
import kit
session = kit.connect(tunnel="ngrok", speed=10)
song = session.generate_music(style="slow piano", title="Window Seat", instrumental=True).wait(timeout=90)
video = session.create_video(song.tracks[0], author="Ada")
wav = session.convert_wav(song.tracks[1])
covers = session.create_cover_images(song)
"""
URLS = 'import json; print(json.dumps([job["callback_url"] for job in session.sandbox.jobs()]))'
BUSY = "sum(range(4 * 10**8))"  # one call that gives nobody else a turn for seconds


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put a stand-in agent where the settings look for the real one."""
    agent = StandIn(tmp_path / "agent")
    monkeypatch.setenv("KIT_NGROK_PATH", str(agent.path))
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    return agent


def family() -> list[psutil.Process]:
    """Return the service and everything that it started."""
    record = ServiceRecord.read(settings.state_folder(settings.data_folder() / "sandbox"))
    assert record is not None
    service = psutil.Process(record.pid)
    return [service, *service.children(recursive=True)]


def forge(urls: list[str]) -> None:
    """Post what an attacker would who has seen every callback URL there is."""
    body = {"code": 200, "msg": "ok", "data": {"task_id": "f" * 32, "video_url": "https://evil.example/x.mp4"}}
    with contextlib.suppress(httpx.HTTPError):  # the tunnel may be away just now
        for url in urls:
            httpx.post(url, json=body, trust_env=False, timeout=5)


def sleep_of_the_laptop(seconds: float) -> None:
    """Stop everything that runs in the background, and let it go on later."""
    stopped = family()
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    for process in stopped:
        process.send_signal(signal.SIGCONT)


def evening(kernel: Kernel) -> list[str]:
    """Submit everything and return the callback URLs that were handed out."""
    cell = kernel.run(EVENING)
    assert cell.error is None, cell.of("error")
    return json.loads(kernel.run(URLS).printed)


@pytest.mark.timeout(300)
def test_in_the_morning_every_result_is_there_once_and_nobody_else_put_one_there(connect, tmp_path, stand_in):
    """Two kernels die, a cell blocks, the laptop sleeps, the agent and the service are killed, an attacker posts."""
    env = dict(os.environ)
    with running_kernel(tmp_path, env) as kernel:
        urls = evening(kernel)
        forge(urls)
        os.kill(int(kernel.value("__import__('os').getpid()")), signal.SIGKILL)
    with running_kernel(tmp_path, env) as kernel:
        assert urls == evening(kernel)  # the same cells again buy nothing
        cell = kernel.start(BUSY)
        forge(urls)
        sleep_of_the_laptop(3)
        [agent] = [p for p in family() if "--behaviour" in p.cmdline()]
        agent.kill()
        cell.end(seconds=60)
        family()[0].kill()
    session = connect(tunnel="ngrok", speed=None)
    until(lambda: all(session.task(id).state.settled for id in session.tasks()["id"]), seconds=120)
    tasks, files = session.tasks(), session.files()

    assert ["succeeded"] * 4 == list(tasks["status"])
    assert 4 == session.sandbox.creates
    assert ["saved"] * 8 == list(files["status"])
    assert files["path"].is_unique
    assert {"decoded"} == set(files["verified"])
    assert sorted(files["path"]) == sorted(str(p) for p in (session.area / "archive").iterdir())
    assert not files["url"].str.contains("evil").any()

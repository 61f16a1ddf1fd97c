"""A laptop that sleeps: the service stopped, its clock hours ahead afterwards; nothing is lost and nothing storms."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from kit.ledger.fold import fold
from kit.ledger.reading import fetch_facts
from kit.service.control_client import Control
from kit.service.process import running
from kit.settings import Secret
from tests.faults.needs import needs
from tests.flows.acting import until
from tests.services import end_services

TASKS = 20
HOURS_AHEAD = 8
STOPPED_S = 60 if os.environ.get("SOAK") else 4
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)

# A service that asks the provider of this test: the only thing that differs from a real one is the address.
SERVICE = """
import sys
from dataclasses import replace
from pathlib import Path
from kit.provider import profiles
here = replace(profiles.profile_named("sunoapi"), base_url=sys.argv[2])
profiles.PROFILES = {**profiles.PROFILES, "sunoapi": here}
from kit.service.__main__ import serve
sys.exit(serve(Path(sys.argv[1])))
"""


class Provider(ThreadingHTTPServer):
    """A provider that does not sleep: takes submissions, tells how each stands, and notes when it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.callback_urls, self.asked, self.done = [], [], False
        self.guard = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Speaks as much of the provider's API as one kind needs."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Take a submission."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.callback_urls.append(body["callBackUrl"])
            self.answer({"taskId": f"v{len(self.server.callback_urls) - 1}"})

    def do_GET(self):
        """Tell how a task stands."""
        id = self.path.rpartition("=")[2]
        self.server.asked.append((time.monotonic(), id))
        link = {"videoUrl": "https://media.example/a.mp4"} if self.server.done else None
        self.answer({"taskId": id, "successFlag": "SUCCESS" if link else "PENDING", "response": link})

    def answer(self, data):
        """Send what every page of the provider looks like."""
        body = json.dumps({"code": 200, "msg": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def provider():
    """A provider of this test's own."""
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """Set the wall clock of everything started from now on, also while it runs; its monotonic clock is left alone."""
    needs("libfaketime (Debian: apt-get install libfaketime)", LIBRARY is not None)
    file = tmp_path / "clock"

    def set_ahead(seconds):
        part = file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(file)

    set_ahead(0)
    for name, value in {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return set_ahead


@pytest.fixture
def service(tmp_path, provider, clock):
    """A service on a clock that can be set; returns a control client."""
    area = tmp_path / "live"
    area.mkdir()
    with (tmp_path / "out").open("w+") as out:
        process = subprocess.Popen([sys.executable, "-c", SERVICE, str(area), provider.url], stdout=out, stderr=out)
        until(lambda: running(area) is not None or process.poll() is not None, seconds=30)
        assert process.poll() is None, (tmp_path / "out").read_text()
        control = Control(running(area))
        yield control
        control.close()
        for member in family(process.pid):
            member.send_signal(signal.SIGCONT)
        end_services(tmp_path)
        process.wait(10)


def family(pid):
    """Return a process and all that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def states(area):
    """Return how every task stands by the ledger alone."""
    by_task = {}
    for seq, fact in fetch_facts(area / "ledger.sqlite"):
        by_task.setdefault(fact.task, []).append((seq, fact))
    return {id: fold(facts) for id, facts in by_task.items()}


def fullest_second(times):
    """Return how many of `times` fall into the fullest second."""
    return max((sum(a <= b < a + 1 for b in times) for a in times), default=0)


def call_back(provider, number, timeout):
    """Post a task's callback as the provider does; return the status and the seconds, or None where nobody answered."""
    body = {"code": 200, "msg": "ok", "data": {"task_id": f"v{number}", "video_url": "https://media.example/a.mp4"}}
    began = time.monotonic()
    try:
        answer = httpx.post(provider.callback_urls[number], json=body, timeout=timeout, trust_env=False)
    except httpx.TimeoutException:
        return None
    return answer.status_code, time.monotonic() - began


@pytest.mark.timeout(300)
def test_a_service_that_slept_loses_nothing_and_asks_politely(service, provider, clock, tmp_path):
    """Stopped, eight hours ahead, continued: its listener answers at once, all is found, two requests a second."""
    service.open_provider(
        "sunoapi", key=Secret("k"), speed=None, webhook_key=None, user_agent=None, reach={"driver": "direct"}
    )
    for n in range(TASKS):
        service.submit(provider="sunoapi", kind="video", params={"task_id": f"s{n}", "audio_id": "a"}, save=False)
    until(lambda: len(provider.callback_urls) == TASKS, seconds=40)
    time.sleep(1)  # the answers are noted

    members = family(service.record.pid)
    for member in members:
        member.suspend()
    clock(HOURS_AHEAD * 3600)
    provider.done = True
    assert call_back(provider, 0, timeout=1) is None  # told while nobody was awake
    time.sleep(STOPPED_S - 1)
    before = len(provider.asked)
    for member in members:
        member.resume()

    answered = call_back(provider, 1, timeout=15)
    woke = time.monotonic()
    until(lambda: all(s.status == "succeeded" for s in states(tmp_path / "live").values()), seconds=60)
    took, after = time.monotonic() - woke, [at for at, _ in provider.asked[before:]]
    time.sleep(3)

    assert (200, True) == (answered[0], answered[1] < 5), answered
    assert TASKS == len(states(tmp_path / "live"))
    assert took < 30
    # A callback that was waiting in the listener's queue, and the one posted, are asked about beside the polls.
    assert fullest_second(after) <= 2 + 2
    assert len(after) <= TASKS + 3
    assert running(tmp_path / "live") == service.record
    assert abs(time.time() - psutil.Process().create_time()) < 3600  # the clock of this test is its own

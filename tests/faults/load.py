"""Owns the load for the faults: a kernel that buys and a crowd that posts; each keeps what it was promised.

As a program it is the kernel: ``python -m tests.faults.load <first wish> <wishes at most>``.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil

import kit
from kit.service.control_client import Control
from tests.guards.source import ROOT

__all__ = ["SPEED", "BuyingKernel", "Crowd", "Wishes", "buy", "services_of", "title"]

PAUSE_S = 0.55  # between two wishes: the simulated provider takes 20 in 10 s
PER_URL = 150  # deliveries that are kept of one URL are 200, and the provider's own are among them
SPEED = 200


class Crowd:
    """Threads that post deliveries, each with a number of its own, and keep in memory which were answered 200."""

    def __init__(self, threads: int = 2) -> None:
        self.sent: dict[str, int] = {}
        self.kept: set[int] = set()
        self.other_answers: list[int] = []
        self._numbers = itertools.count(1)
        self._urls: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._post, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def know(self, *urls: str) -> None:
        """Post to these URLs too."""
        with self._lock:
            self._urls += [url for url in urls if url not in self.sent]
            self.sent.update({url: 0 for url in urls if url not in self.sent})

    def stop(self) -> None:
        """Post no more, and return when nothing is on its way."""
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def _post(self) -> None:
        while not self._over.is_set():
            if (chosen := self._choose()) is None:
                time.sleep(0.01)
                continue
            url, number = chosen
            try:
                status = _post(url, {"code": 200, "msg": "success", "data": {"task_id": f"posted-{number}"}})
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # nobody listens just now: nothing was promised
            else:
                if status == 200:
                    self.kept.add(number)
                else:
                    self.other_answers.append(status)

    def _choose(self) -> tuple[str, int] | None:
        with self._lock:
            self._urls = [url for url in self._urls if self.sent[url] < PER_URL]
            if not self._urls:
                return None
            url = random.choice(self._urls)
            self.sent[url] += 1
            return url, next(self._numbers)


def _post(url: str, body: Any) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("POST", parts.path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


class BuyingKernel:
    """A process that buys one song after the other as a notebook does, and can be killed; wishes go by number."""

    def __init__(self, first: int, *, most: int = 10_000) -> None:
        argv = [sys.executable, "-m", "tests.faults.load", str(first), str(most)]
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        self.wished, self.told = first - 1, dict[int, str]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        """Whether it goes on buying."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._close()

    def end(self) -> str:
        """Let it end by itself, and return what it wrote on stderr."""
        self._process.terminate()
        return self._close()

    def wait(self, seconds: float) -> str:
        """Wait until it has bought all; return what it wrote on stderr."""
        self._process.wait(seconds)
        return self._close()

    def _close(self) -> str:
        self._process.wait(30)
        self._reader.join(10)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout, self._process.stderr as errors:
            return errors.read()

    def _read(self) -> None:
        lines: IO[str] | None = self._process.stdout
        assert lines is not None
        for line in lines:
            what, number, *rest = line.split()
            if what == "wish":
                self.wished = max(self.wished, int(number))
            elif what == "task":
                self.told[int(number)] = rest[0]


def services_of(area: Path) -> list[psutil.Process]:
    """Return the processes that serve `area` or are about to, by their own command lines."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "kit.service" in line and str(area) in line:
            found.append(process)
    return found


def title(number: int) -> str:
    """Return the title by which the wish `number` is known on both sides."""
    return f"Wish {number}"


def buy(session: kit.Session, number: int) -> kit.Task:
    """Buy what the wish `number` stands for, unless it was bought before."""
    return session.generate_music(style="slow piano", title=title(number), instrumental=True, save=False)


class Wishes:
    """Wishes that go straight to the service, several at once; what got no answer is wished again next time."""

    FIRST = 10_000  # above the numbers of the kernels

    def __init__(self) -> None:
        self.told: dict[int, set[str]] = {}
        self.wished: list[int] = []

    def send(self, control: Control, *, fresh: int = 3) -> list[threading.Thread]:
        """Wish anew, and again what was wished last; the threads end when the service has answered or is gone."""
        self.wished += [self.FIRST + len(self.wished) + n for n in range(fresh)]
        numbers = self.wished[-2 * fresh :]
        threads = [threading.Thread(target=self._send, args=(control, number), daemon=True) for number in numbers]
        for thread in threads:
            thread.start()
        return threads

    def _send(self, control: Control, number: int) -> None:
        params = {"style": "slow piano", "title": title(number), "instrumental": True}
        with contextlib.suppress(kit.KitError):
            done = control.submit(provider="sandbox", kind="music", params=params, save=False, title=title(number))
            self.told.setdefault(number, set()).add(done["id"])


def _buy_all(first: int, most: int) -> None:
    """Buy one wish after the other; where something stood in the way the same wish is tried again."""
    session = _connected()
    for number in range(first, first + most):
        print("wish", number, flush=True)
        while True:
            try:
                print("task", number, buy(session, number).id, flush=True)
                break
            except kit.KitError:
                time.sleep(0.1)
                if not session.attached:
                    session = _connected()
        time.sleep(PAUSE_S)


def _connected() -> kit.Session:
    while True:
        try:
            return kit.connect(speed=SPEED)
        except kit.KitError:
            time.sleep(0.1)


if __name__ == "__main__":
    _buy_all(int(sys.argv[1]), int(sys.argv[2]))

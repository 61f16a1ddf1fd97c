"""Owns a provider on loopback that sells WAVs lying on a media host, and the service that keeps them."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
import wave
from contextlib import AbstractContextManager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from kit.ledger.fold import fold
from kit.ledger.reading import fetch_facts
from kit.service.control_client import Control
from kit.service.process import running
from kit.settings import Secret
from tests.flows.acting import until
from tests.guards.source import ROOT
from tests.services import end_services

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kit.ledger.fold import FileState

__all__ = ["Keeping", "Shop", "keeping", "serving", "shop", "wav"]

Server = TypeVar("Server", bound=ThreadingHTTPServer)

# A service that asks this shop and fetches from its media host: the addresses are all that differs from a real one.
SERVICE = """
import sys
from dataclasses import replace
from pathlib import Path
from kit.provider import profiles
here = replace(profiles.profile_named("sunoapi"), base_url=sys.argv[2], media_origins=(sys.argv[3],), poll_s=1.0)
profiles.PROFILES = {**profiles.PROFILES, "sunoapi": here}
from kit.service.__main__ import serve
area = Path(sys.argv[1])
(area / "logs").mkdir(exist_ok=True)
sys.exit(serve(area))
"""


def wav(size: int, seed: int) -> bytes:
    """Return a whole WAV of about `size` bytes of noise, another one for each seed."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(random.Random(seed).randbytes(max(2, size - 44) // 2 * 2))
    return out.getvalue()


class Shop(ThreadingHTTPServer):
    """Takes orders for WAVs and says of each that it lies where `links` says; callbacks are posted by hand."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.links: list[str] = []
        self.callback_urls: list[str] = []
        self.guard = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def call_back(self, number: int, *, fill: int = 0) -> int:
        """Tell that the order `number` is ready, in a body of at least `fill` bytes; return the status."""
        data = {"task_id": f"w{number}", "audioWavUrl": self.links[number], "fill": "x" * fill}
        body = {"code": 200, "msg": "success", "data": data}
        where = urlsplit(self.callback_urls[number])
        line = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
        with closing(line):
            line.request("POST", where.path, json.dumps(body), {"Content-Type": "application/json"})
            return line.getresponse().status


class _Handler(BaseHTTPRequestHandler):
    server: Shop
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.callback_urls.append(body["callBackUrl"])
            self._answer({"taskId": f"w{len(self.server.callback_urls) - 1}"})

    def do_GET(self) -> None:
        id = self.path.rpartition("=")[2]
        link = self.server.links[int(id[1:])]
        self._answer({"taskId": id, "successFlag": "SUCCESS", "response": {"audioWavUrl": link}})

    def _answer(self, data: Any) -> None:
        body = json.dumps({"code": 200, "msg": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let an HTTP server serve, and end it."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def shop() -> AbstractContextManager[Shop]:
    """Run a shop while the context lasts."""
    return serving(Shop())


class Keeping:
    """A service that keeps what was bought: it can be killed and started again on its folder."""

    def __init__(self, area: Path, shop: Shop, origin: str, before: Sequence[str]) -> None:
        self.area, self.archive, self._shop = area, area / "archive", shop
        self._mounts = bool(before)
        self._argv = [*before, sys.executable, "-c", SERVICE, str(area), shop.url, origin]
        self._numbers = itertools.count()
        self.control: Control | None = None
        area.mkdir(parents=True, exist_ok=True)

    @property
    def inside(self) -> Path:
        """The area folder as the service sees it, also where it has mounts of its own."""
        return type(self.area)(f"/proc/{self.process.pid}/root{self.area}") if self._mounts else self.area

    def start(self) -> None:
        """Start it and attach."""
        self.process = subprocess.Popen(self._argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self._ready() or self.process.poll() is not None, seconds=60)
        record = running(self.area)
        assert record is not None, "the service does not start"
        self.control = Control(record)
        reach = {"driver": "direct"}
        given: dict[str, Any] = {"speed": None, "webhook_key": None, "user_agent": None, "reach": reach}
        self.control.open_provider("sunoapi", key=Secret("k"), **given)

    def kill(self) -> None:
        """End it as a crash does; what it started for itself goes with it, or is swept by the next."""
        self.process.kill()
        self.process.wait(10)
        self.control.close()

    def buy(self, *links: str) -> list[str]:
        """Order a WAV for each link and return the tasks' ids; the shop says at once that they are ready."""
        self._shop.links += links
        given: dict[str, Any] = {"provider": "sunoapi", "kind": "wav", "save": True, "title": "Window Seat"}
        wished = [{"task_id": f"s{next(self._numbers)}", "audio_id": "a"} for _ in links]
        ids = [self.control.submit(params=params, **given)["id"] for params in wished]
        until(lambda: len(self._shop.callback_urls) == len(self._shop.links))
        return ids

    def saved(self, *ids: str, seconds: float = 60) -> None:
        """Wait until the file of each of these tasks is saved."""
        until(lambda: all(self.status(id) == "saved" for id in ids), seconds=seconds)

    def status(self, id: str) -> str:
        """Return how the file of a task stands; "" while its link is not known."""
        files = self._files(id)
        return files[0].status if files else ""

    def file(self, id: str) -> FileState:
        """Return what the ledger says of the file of a task."""
        (file,) = self._files(id)
        return file

    def ledger(self) -> Path:
        """Return the ledger's file, or a copy of it where SQLite cannot get there because of mounts."""
        if not self._mounts:
            return self.area / "ledger.sqlite"
        copy = self.area.parent / "copy"
        copy.mkdir(exist_ok=True)
        time.sleep(0.2)  # whoever waits for something looks all the time, and the service has work to do
        self.process.send_signal(signal.SIGSTOP)  # nothing changes between the two files
        try:
            for name in ("ledger.sqlite", "ledger.sqlite-wal"):
                (copy / name).write_bytes((self.inside / name).read_bytes() if (self.inside / name).exists() else b"")
        finally:
            self.process.send_signal(signal.SIGCONT)
        return copy / "ledger.sqlite"

    def parts(self) -> list[Path]:
        """Return the part files that are there now."""
        return sorted((self.inside / "archive").glob("*.part"))

    def log(self) -> str:
        """Return what the service has logged."""
        return (self.inside / "logs" / "service.log").read_text(encoding="utf-8")

    def _files(self, id: str) -> tuple[FileState, ...]:
        return fold(fetch_facts(self.ledger(), task=id)).files

    def _ready(self) -> bool:
        record = running(self.area)
        return record is not None and record.pid == self.process.pid

    def end(self, folder: Path) -> None:
        """End it in order; what does not end in time is killed."""
        if self.control is not None:
            self.control.close()
        end_services(folder)
        self.process.kill()
        self.process.wait(10)


@contextmanager
def keeping(folder: Path, shop: Shop, origin: str, *before: str) -> Iterator[Keeping]:
    """Run a service that keeps its files below `folder`, by way of the command `before` where one is given."""
    service = Keeping(folder / "live", shop, origin, before)
    try:
        service.start()
        yield service
    finally:
        service.end(folder)

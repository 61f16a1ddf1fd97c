"""No id, title or link from the network leads a file out of its folder, whatever the vendors' samples do with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kit.ledger.fold import fold
from kit.ledger.reading import fetch_facts
from kit.service.control_client import Control
from kit.service.process import running
from kit.settings import Secret
from tests.faults.hostile_names import MARK, hostile_names
from tests.faults.shop import serving
from tests.faults.walled import KINDS, body_of, media_of
from tests.flows.acting import until
from tests.guards.source import ROOT
from tests.services import end_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVED = 3  # of the names, for each kind by a whole service: it sends no more than 20 requests in ten seconds
FORMS = {"music": "audio", "video": "video", "wav": "wav", "cover_image": "image"}
PLAIN = re.compile(r"[^/\\\0]+")


def walled(work: str, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start a process that may write below `folder` alone; what it does elsewhere is in the report beside it."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "tests.faults.walled", work, str(folder), *more]
    return subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def report(folder: Path) -> list[list[str]]:
    """Return what a walled process did outside."""
    return [json.loads(line) for line in (folder.parent / "report").read_text().splitlines()]


def test_the_record_sees_what_leads_outside(tmp_path: Path) -> None:
    """A file written by an id with ".." in it, and one read by it, are seen; what stays inside is not."""
    _, trouble = walled("stray", tmp_path / "area").communicate(timeout=60)

    out = f"{tmp_path}/area/../{MARK}"
    expected = [["open", f"{out}.part"], ["os.rename", f"{out}.part"], ["os.rename", out], ["open", f"/etc/{MARK}"]]
    assert b"" == trouble
    assert expected == report(tmp_path / "area")


def test_no_name_leads_out_of_archive_or_export(tmp_path: Path) -> None:
    """With 300 ids and titles for each kind, nothing outside is touched: not by the archive, an export or its zip."""
    area = tmp_path / "area"
    area.mkdir()

    told, trouble = walled("archive", area).communicate(timeout=110)

    assert b"" == trouble
    done = json.loads(told)
    assert [] == report(area)
    assert 300 <= len(hostile_names())
    assert len(hostile_names()) * len(KINDS) == done["tasks"]
    assert 300 <= min(done["files"].values())  # the others have no link that is one
    assert 300 <= done["done"]["folder"]
    assert 150 <= min(done["done"].values())
    assert 500 <= min(done["counts"][event] for event in ("open", "os.link", "os.rename"))
    assert [] == [name for name in done["zip"] if not PLAIN.fullmatch(name) or name in (".", "..")]
    for place, count in done["done"].items():
        folder = area / {"songs.zip": "unpacked", "file://cloud": "cloud"}.get(place, place)
        assert count + 1 == len([path for path in folder.iterdir() if path.is_file()])
        assert [] == [path for path in folder.iterdir() if path.is_dir()]
    assert {"cloud", "folder", "home", "songs.zip", "unpacked"} == {path.name for path in area.iterdir()}


class _Provider(BaseHTTPRequestHandler):
    """Sells anything, and answers with hostile names for ids, titles and links; its media is honest."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.guard:
            self.server.sold.append(self._kind())
            number = len(self.server.sold) - 1
        self._answer({"taskId": self.server.id_of(number)})

    def do_GET(self) -> None:
        form = self.path.split("/")[1]
        if form in FORMS.values():
            self._send(media_of(form)[0], media_of(form)[1])
            return
        number = next(n for n in range(len(self.server.sold)) if quote(self.server.id_of(n), safe="") in self.path)
        name, kind = self.server.names[number % SERVED], self.server.sold[number]
        place = f"{number}/{quote(name[:300], safe='/.%', errors='replace')}.html"
        links = [f"{self.server.url}/{form}/{place}" for form in (FORMS[kind], "image")]
        self._answer({**body_of(kind, name, *links), "taskId": self.server.id_of(number)})

    def _kind(self) -> str:
        return (
            "video"
            if "mp4" in self.path
            else "cover_image"
            if "cover" in self.path
            else "wav"
            if "wav" in self.path
            else "music"
        )

    def _answer(self, data: Any) -> None:
        self._send(json.dumps({"code": 200, "msg": "success", "data": data}).encode(), "application/json")

    def _send(self, body: bytes, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Provider)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sold: list[str] = []
        self.guard = threading.Lock()
        printable = [name for name in hostile_names() if MARK in name and name.isprintable()]
        self.names = printable[:: len(printable) // SERVED][:SERVED]

    def id_of(self, number: int) -> str:
        """Return the id of the order `number`: hostile, and no two the same."""
        return f"{self.names[number % SERVED]}{number:03d}"


def hostile_provider() -> AbstractContextManager[_Server]:
    """Run it while the context lasts."""
    return serving(_Server())


@contextmanager
def walled_service(area: Path, url: str) -> Iterator[Control]:
    """Run a service behind the wall, attached to, and end it."""
    area.mkdir()
    process = walled("serve", area, url)
    try:
        until(lambda: _serves(area, process.pid) or process.poll() is not None, seconds=30)
        record = running(area)
        assert record is not None, "the service does not start"
        control = Control(record)
        yield control
        control.close()
        end_services(area.parent)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def _serves(area: Path, pid: int) -> bool:
    record = running(area)
    return record is not None and record.pid == pid


def test_a_service_with_a_hostile_provider_stays_in_its_folder(tmp_path: Path) -> None:
    """Hostile ids, titles and links of every kind go through a whole service; each file is saved, and none outside."""
    area = tmp_path / "area"
    with hostile_provider() as provider, walled_service(area, provider.url) as control:
        given: dict[str, Any] = {"speed": None, "webhook_key": None, "user_agent": None, "reach": {"driver": "direct"}}
        control.open_provider("sunoapi", key=Secret("k"), **given)
        for number in range(SERVED * len(KINDS)):
            kind, name = KINDS[number // SERVED], provider.names[number % SERVED]
            wish = {"description": name[:200]} if kind == "music" else {"task_id": provider.id_of(number)}
            wish |= {"audio_id": name[:200]} if kind in ("video", "wav") else {}
            control.submit(provider="sunoapi", kind=kind, params=wish, title=name, save=True)
        ledger = area / "ledger.sqlite"
        until(lambda: _saved(ledger) == SERVED * (len(KINDS) + 1), seconds=60)

    archived = list((area / "archive").iterdir())
    assert [] == report(area)
    assert SERVED * (len(KINDS) + 1) == len(archived)
    assert {"mp3", "mp4", "wav", "png"} == {path.suffix[1:] for path in archived}
    assert all(path.is_file() and MARK in path.name for path in archived)


def _saved(ledger: Path) -> int:
    facts: dict[str, list[Any]] = {}
    for seq, fact in fetch_facts(ledger):
        facts.setdefault(fact.task, []).append((seq, fact))
    states = [state for numbered in facts.values() if (state := fold(numbered))]
    return sum(file.status == "saved" for state in states for file in state.files)

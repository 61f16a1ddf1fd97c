"""Owns the world of a bench: folders of its own, tasks that wait for callbacks, and the services that it ends."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import settings
from kit.ledger.facts import Answer, Departure, Intent, MintedUrl, new_id, request_key
from kit.ledger.store import Ledger
from kit.service.callbacks import PREFIX, secret_hash
from tests.services import end_services

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RUNTIME", "Callback", "World", "prepare", "sample", "stored", "world"]

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "data" / "runtime" / "bench"


def sample(name: str) -> dict[str, Any]:
    """Return a documented callback body."""
    read: dict[str, Any] = json.loads((ROOT / "data" / "samples" / "callbacks" / name).read_text(encoding="utf-8"))
    return read


BODY = sample("sunoapi-video-success.json")


@dataclass(frozen=True)
class Callback:
    """One pending task: the path of its callback URL and the documented body that tells of its success."""

    path: str
    body: bytes

    def request(self, port: int, *, close: bool = True) -> bytes:
        """Return the whole HTTP request that delivers it."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self.body)}\r\n{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n"
        )
        return head.encode("ascii") + self.body


@dataclass(frozen=True)
class World:
    """A data folder, the half of it that the simulated provider uses, and the environment that leads there."""

    folder: Path
    area: Path
    environment: dict[str, str]


@contextmanager
def world(name: str, home: Path = RUNTIME / "work") -> Iterator[World]:
    """Give a bench empty folders in `home` and an environment of its own; end its services afterwards."""
    folder = home / name
    _clear(folder)
    names = {"KIT_DATA_DIR": folder / "data", "KIT_STATE_DIR": folder / "state", "IPYTHONDIR": folder / "ipython"}
    for path in names.values():
        path.mkdir(parents=True)
    before = dict(os.environ)
    for setting in settings.NAMES:
        os.environ.pop(setting, None)
    # Kernels and services work elsewhere and shall still run this very source.
    os.environ.update(
        {variable: str(path) for variable, path in names.items()}, PYTHONPATH=str(ROOT), KIT_IDLE_MINUTES="5"
    )
    try:
        yield World(folder, (folder / "data" / "sandbox").resolve(), dict(os.environ))
    finally:
        os.environ.clear()
        os.environ.update(before)
        _clear(folder)


def _clear(folder: Path) -> None:
    if folder.exists():
        end_services(folder)
        shutil.rmtree(folder)


def prepare(area: Path, count: int) -> list[Callback]:
    """Write `count` submitted video tasks into a fresh ledger, and return the callbacks that they wait for."""
    callbacks, written = [], []
    with Ledger.open(area / "ledger.sqlite") as ledger:
        for number in range(count):
            secret, task_id = secrets.token_urlsafe(24), uuid.uuid4().hex
            facts, url = _submission(number, task_id, secret)
            written.append(ledger.append(*facts, urls=[url]))
            body = {**BODY, "data": {**BODY["data"], "task_id": task_id}}
            callbacks.append(Callback(f"{PREFIX}{secret}", json.dumps(body, separators=(",", ":")).encode()))
        for future in written:
            future.result()
    return callbacks


def _submission(number: int, task_id: str, secret: str) -> tuple[tuple[Intent, Departure, Answer], MintedUrl]:
    """Return what the submitter records of one accepted video, whose files are not wanted."""
    id, now = new_id(), datetime.now(UTC)
    params: dict[str, Any] = {"task_id": uuid.uuid4().hex, "audio_id": str(uuid.uuid4())}
    what: dict[str, Any] = {"kind": "video", "provider": "sandbox", "dialect": "sunoapi"}
    key = request_key("sandbox", "video", params)
    intent = Intent(task=id, at=now, **what, params=params, request_key=key, title=f"Bench {number}", save=False)
    body = json.dumps({"code": 200, "msg": "success", "data": {"taskId": task_id}})
    answer = Answer(
        task=id, at=now, outcome="accepted", task_id=task_id, code=200, message="success", http_status=200, body=body
    )
    url = MintedUrl(secret_hash=secret_hash(secret), task=id, **what, listen_only=False, created_at=now)
    return (intent, Departure(task=id, at=now), answer), url


def stored(area: Path) -> int:
    """Return how many deliveries the ledger file holds, read beside the service that writes it."""
    with closing(sqlite3.connect(f"file:{area / 'ledger.sqlite'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM facts WHERE type = 'delivery'").fetchone()[0])

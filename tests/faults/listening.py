"""Owns a public listener in a process of its own, on a real ledger: started, asked for its counts and ended by pipe."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil

from kit.ledger.facts import Delivery, Departure, Intent, new_id
from kit.ledger.reading import fetch_facts
from kit.ledger.store import Ledger, MintedUrl
from kit.provider.profiles import profile_named
from kit.service.callbacks import CallbackApp, secret_hash
from kit.service.hub import Hub
from kit.service.listener import public_server
from kit.settings import Secret
from tests.guards.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GOOD", "ListenerProcess", "all_of", "asked", "listener_process", "post", "status_of"]

GOOD = b'{"code":200,"msg":"success","data":{"task_id":"v1","video_url":"https://m.example/a.mp4"}}'
ROWS = 40  # tasks, each with a URL of its own


class ListenerProcess:
    """A running listener: its port, the secrets of its URLs, and what it says of itself."""

    def __init__(self, folder: Path, files: int | None) -> None:
        self.path = folder / "ledger.sqlite"
        argv = [sys.executable, "-m", "tests.faults.listening", str(folder), str(files or 0)]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        said = self.say()
        self.port, self.secrets = said["port"], said["secrets"]

    def say(self) -> dict[str, Any]:
        """Return its next line."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def counts(self) -> dict[str, int]:
        """Return what it counted so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"counts\n")
        self._process.stdin.flush()
        return self.say()

    def stored(self) -> int:
        """Return how many deliveries are in the ledger."""
        return sum(isinstance(fact, Delivery) for _, fact in fetch_facts(self.path, only="delivery"))

    def rss(self) -> int:
        """Return its memory in bytes."""
        return psutil.Process(self._process.pid).memory_info().rss

    def end(self) -> int:
        """Close its input, which ends it, and return its exit status."""
        self._process.communicate(timeout=20)
        return self._process.returncode


@contextlib.contextmanager
def listener_process(folder: Path, *, files: int | None = None) -> Iterator[ListenerProcess]:
    """Run a listener, with at most `files` open files; its end has to be orderly."""
    running = ListenerProcess(folder, files)
    try:
        yield running
    finally:
        status = running.end()
    assert status == 0


async def asked(port: int, raw: bytes, *, end: bool = False, deadline_s: float = 11.5) -> bytes | None:
    """Send bytes, and with `end` that they are all; return what comes back, or None past the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                writer.write(raw)
                await writer.drain()
                if end:
                    writer.write_eof()
            got = await all_of(reader)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return got
    except TimeoutError:
        return None


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the end, also where the connection is cut."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65536):
            got += part
    return got


def post(secret: str, body: bytes, *headers: bytes) -> bytes:
    """Return a well-formed delivery on a connection of its own."""
    lines = [b"POST /cb/%b HTTP/1.1" % secret.encode(), b"Host: h", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def status_of(answer: bytes | None) -> int:
    """Return the status of the first answer; 0 for none."""
    return int(answer[9:12]) if answer and answer.startswith(b"HTTP/1.1 ") else 0


def _prepared(ledger: Ledger) -> list[str]:
    now, handed_out = datetime.now(UTC), []
    for _ in range(ROWS):
        task, secret = new_id(), secrets.token_urlsafe(24)
        given = {"kind": "video", "provider": "kie", "dialect": "kie"}
        intent = Intent(task=task, at=now, params={}, request_key=task, **given)
        key = secret_hash(secret)
        url = MintedUrl(secret_hash=key, task=task, listen_only=False, created_at=now, **given)
        ledger.append(intent, Departure(task=task, at=now), urls=[url]).result()
        handed_out.append(secret)
    return handed_out


async def _serve(folder: Path) -> None:
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        handed_out = _prepared(ledger)
        hub, counts = Hub(ledger), Counter()

        async def understand(url: MintedUrl, deliveries: Any) -> None:
            hub.apply([seq for seq, _ in deliveries], [fact for _, fact in deliveries])

        opened = SimpleNamespace(webhook_key=Secret("webhook-key"), profile=profile_named("kie"))
        app = CallbackApp(hub, SimpleNamespace(get=lambda _: opened), counts, understand=understand)  # type: ignore[arg-type]
        server, listener = public_server(app, counts), socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        print(json.dumps({"port": listener.getsockname()[1], "secrets": handed_out}), flush=True)

        def commands() -> None:
            for _ in sys.stdin:
                print(json.dumps(counts), flush=True)
            server.should_exit = True

        threading.Thread(target=commands, daemon=True).start()
        await server.serve(sockets=[listener])


if __name__ == "__main__":
    if limit := int(sys.argv[2]):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    asyncio.run(_serve(Path(sys.argv[1])))

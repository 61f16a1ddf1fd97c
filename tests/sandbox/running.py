"""A running simulated provider and somebody who receives its callbacks, for the tests of every room."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from kit.provider.kinds import KINDS, Dialect
from kit.sandbox.admin import Sandbox
from kit.sandbox.app import build
from kit.sandbox.callbacks import Manners
from kit.sandbox.desk import Rules
from kit.sandbox.files import Made
from kit.sandbox.server import HOST, Server, bind

TOKEN = "a-token-for-tests"
BYTES = bytes(range(256)) * 40
IMPATIENT = Manners(limit_s=0.3, gaps_s=(0.01, 0.02, 0.03))


def stub(recipe: dict[str, Any]) -> Made:
    """Stand in for the media room: 10 kB that begin with the form they should have."""
    return recipe["form"].encode() + BYTES, None if recipe["form"] == "image" else 16.0


class Receiver:
    """Stores what is posted to it; `answers` are the statuses to give first, then 200 for ever."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.silent_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(json.loads(body))
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                time.sleep(outer.silent_s)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}/callback"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stages(self) -> list[str]:
        """Return music's callback types in the order in which they came."""
        return [body["data"]["callbackType"] for body in self.bodies]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Running:
    """A provider on a free port, in a thread, with stub media and 5000 times the speed of life."""

    def __init__(
        self, folder: Path, dialect: Dialect, *, speed: float | None = 5000, port: int = 0, **more: Any
    ) -> None:
        self.dialect: Dialect = dialect
        self.folder = folder
        listener = bind(port)
        self.port = listener.getsockname()[1]
        self.base = f"http://{HOST}:{self.port}"
        more = {"manners": IMPATIENT, "maker": stub, "rules": Rules(burst=1000), **more}
        app = build(folder, dialect=dialect, base=self.base, token=TOKEN, speed=speed, **more)
        listening = threading.Event()
        self._server = Server(app, on_listening=listening.set)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        assert listening.wait(10)
        self.http = httpx.Client(
            base_url=self.base, headers={"Authorization": "Bearer sandbox-key"}, trust_env=False, timeout=10
        )
        self._stranger = httpx.Client(trust_env=False)
        self.sandbox = Sandbox(self.base, TOKEN)

    def get(self, url: str, **more: Any) -> httpx.Response:
        """Fetch a link as anybody may, without the key."""
        return self._stranger.get(url, **more)

    def submit(self, kind: str, callback_url: str = "http://127.0.0.1:9/nobody", **request: Any) -> httpx.Response:
        """Submit a job; music gets the parameters it needs."""
        if kind == "music":
            request = {
                "customMode": True,
                "instrumental": True,
                "model": "V4_5",
                "style": "slow piano",
                "title": "Window Seat",
                **request,
            }
        return self.http.post(KINDS[kind].submit_path, json={**request, "callBackUrl": callback_url})

    def accepted(self, kind: str, callback_url: str = "http://127.0.0.1:9/nobody", **request: Any) -> str:
        """Submit a job and return its task id."""
        answer = self.submit(kind, callback_url, **request).json()
        assert answer["code"] == 200, answer
        return str(answer["data"]["taskId"])

    def details(self, kind: str, task_id: str) -> Any:
        """Return the data of a details answer."""
        return self.http.get(KINDS[kind].details_path, params={"taskId": task_id}).json()["data"]

    def job(self, task_id: str) -> dict[str, Any]:
        """Return what the console says about a job."""
        return next(job for job in self.sandbox.jobs() if job["task_id"] == task_id)

    def ended(self, task_id: str) -> dict[str, Any]:
        """Return the job once it is at its end and nothing is left to deliver."""
        seen: dict[str, Any] = {}

        def over() -> bool:
            seen.update(self.job(task_id))
            return seen["outcome"] != "pending" and not seen["undelivered"]

        until(over)
        return seen

    def song(self) -> dict[str, str]:
        """Return the taskId and audioId of a finished song's first take."""
        task_id = self.accepted("music")
        until(lambda: self.job(task_id)["outcome"] == "succeeded")
        return {"taskId": task_id, "audioId": self.job(task_id)["audio_ids"][0]}

    def reset(self) -> None:
        """Make balance, speed and faults what they were at the beginning; the jobs stay."""
        self.sandbox.clear()
        self.sandbox.credits, self.sandbox.speed = 1000, 5000

    def close(self) -> None:
        """End the server as SIGTERM does."""
        self.sandbox.close()
        self.http.close()
        self._stranger.close()
        self._server.stop()
        self._thread.join()


def until(true: Any, seconds: float = 10) -> None:
    """Return once `true()` is, or fail after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)

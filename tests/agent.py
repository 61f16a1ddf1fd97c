"""Owns the stand-in for the ngrok agent: its command line, log lines and local API, forwarding on loopback for real.

`StandIn(folder)` puts a program `ngrok` into a folder and tells it, also while it runs, how to behave. The rest of this
file is that program; it uses the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["TOKEN", "StandIn"]

TOKEN = "2canarycanaryTOKENcanary_5sTokenOfTheStandInAgent"
LIMIT_108 = (
    r"authentication failed: Your account is limited to 1 simultaneous ngrok agent sessions.\n"
    r"Active ngrok agent sessions in region 'eu':\n  - ts_2c46Kcqe1Gxr8F7oQqFgHLTxzfS (203.0.113.9)"
    r"\r\n\r\nERR_NGROK_108\r\n"
)
WRONG_107 = (
    r"authentication failed: The authtoken you specified is properly formed, but it is invalid."
    r"\nYour authtoken: {token}\nThis usually happens when:\n  - You reset your authtoken\r\n\r\nERR_NGROK_107\r\n"
)
HELD_334 = (
    "failed to start endpoint: The endpoint 'https://window-seat.ngrok-free.app' is already online. Either\n1. stop "
    "your existing endpoint first, or\n2. start both endpoints with `--pooling-enabled`.\r\n\r\nERR_NGROK_334\r\n"
)


class StandIn:
    """A program in `folder` that behaves as it was told last.

    Behaviours (all off at first): `token` it accepts; `refuse`, the words with which a session is refused; `endpoint`,
    the words with which an endpoint is refused; `slow_s` until the session stands; `silent`: it says nothing at all;
    `dies_after_s`; `port`: one public port for good (else each start has another); `black_hole`: it takes connections
    and never answers; `page`: [status, code, text] instead of forwarding; `vanished`: the endpoint is gone; `lost`: the
    session is gone; `upstream`: forward to this port instead; `deaf`: it does not end when asked to.
    """

    def __init__(self, folder: Path, **behaviour: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ngrok"
        self._file = folder / "behaviour.json"
        self._behaviour: dict[str, Any] = {"token": TOKEN}
        self.behave(**behaviour)
        command = shlex.join(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "--behaviour", str(self._file)]
        )
        self.path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        self.path.chmod(0o755)

    def behave(self, **behaviour: Any) -> None:
        """Change how the program behaves from now on, also one that runs."""
        self._behaviour |= behaviour
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self._behaviour), encoding="utf-8")
        part.replace(self._file)

    @property
    def starts(self) -> int:
        """How often the program was started."""
        marks = self._file.with_suffix(".starts")
        return len(marks.read_text(encoding="utf-8").splitlines()) if marks.exists() else 0


class Behaviour:
    """What the program was told, read again at each look."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._path.read_text(encoding="utf-8")).get(name)


def log(level: str, message: str, **fields: str) -> None:
    """Write one line in the agent's format."""
    pairs = [f"t={time.strftime('%Y-%m-%dT%H:%M:%S+0000', time.gmtime())}", f"lvl={level}", f"msg={quoted(message)}"]
    print(" ".join(pairs + [f"{name}={quoted(value)}" for name, value in fields.items()]), flush=True)


def quoted(value: str) -> str:
    """Return a value as logfmt has it."""
    return f'"{value}"' if " " in value or "'" in value else value


class Endpoint:
    """A public port whose connections are piped to the upstream, byte by byte."""

    def __init__(self, asked: dict[str, Any], told: Behaviour) -> None:
        self.name, self.upstream = asked["name"], asked["upstream"]["url"]
        self._inspect, self._told = asked.get("inspect", True), told
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", told["port"] or 0))
        self._socket.listen(128)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._socket.close()

    def describe(self) -> dict[str, Any]:
        """Return the endpoint as the local API has it."""
        uri = f"/api/endpoints/{self.name}"
        return {
            "name": self.name,
            "url": self.url,
            "upstream": {"url": self.upstream},
            "inspect": self._inspect,
            "uri": uri,
        }

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._told["black_hole"]:
                while connection.recv(65536):
                    pass
            elif self._told["vanished"] or self._told["lost"]:
                answer(connection, 404, "ERR_NGROK_3200", "The endpoint is offline.")
            elif self._told["page"]:
                answer(connection, *self._told["page"])
            else:
                port = self._told["upstream"] or int(self.upstream.rpartition(":")[2])
                self._pipe(connection, port)

    def _pipe(self, connection: socket.socket, port: int) -> None:
        try:
            inner = socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            answer(connection, 502, "ERR_NGROK_8012", "Traffic was successfully tunneled, but the upstream refused it.")
            return
        with inner:
            threading.Thread(target=copy, args=(connection, inner), daemon=True).start()
            copy(inner, connection)


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass on all bytes, then the end."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def answer(connection: socket.socket, status: int, code: str, text: str) -> None:
    """Answer a request with one of ngrok's own pages."""
    asked = b""
    while b"\r\n\r\n" not in asked and (chunk := connection.recv(65536)):
        asked += chunk
    body = f"<html><head><title>ngrok</title></head><body><noscript>{text} ({code})</noscript></body></html>".encode()
    head = f"HTTP/1.1 {status} -\r\nNgrok-Error-Code: {code}\r\nContent-Type: text/html\r\nConnection: close\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


class Api(BaseHTTPRequestHandler):
    """The agent's local API, as far as pyngrok and we use it."""

    told: Behaviour
    endpoints: dict[str, Endpoint]

    def do_GET(self) -> None:
        """List the endpoints."""
        here = [] if self.told["vanished"] else [endpoint.describe() for endpoint in self.endpoints.values()]
        self._say(200 if self.path == "/api/endpoints" else 404, {"endpoints": here, "uri": "/api/endpoints"})

    def do_POST(self) -> None:
        """Start an endpoint."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if words := self.told["endpoint"]:
            self._say(502, {"error_code": 103, "status_code": 502, "msg": "failed to start", "details": {"err": words}})
            return
        endpoint = Endpoint(asked, self.told)
        self.endpoints[endpoint.name] = endpoint
        log("info", "started endpoint", obj="tunnels", name=endpoint.name, addr=endpoint.upstream, url=endpoint.url)
        self._say(201, endpoint.describe())

    def do_DELETE(self) -> None:
        """Stop an endpoint."""
        if gone := self.endpoints.pop(self.path.rpartition("/")[2], None):
            gone.close()
        self._say(204, {})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _say(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode() if status != 204 else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def refused(words: str) -> int:
    """End as the agent ends when its session is refused."""
    log("eror", "failed to reconnect session", obj="tunnels.session", err=words)
    log("eror", "session closing", obj="tunnels.session", err=words)
    print("ERROR:  " + words.replace("\\n", "\nERROR:  ").replace("\\r", ""), file=sys.stderr, flush=True)
    return 1


def main() -> int:
    """Be the agent, until somebody ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--behaviour", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    parser.add_argument("--none", action="store_true")
    parser.add_argument("--log")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--authtoken")
    options = parser.parse_args()
    if options.command == ["version"] or options.log != "stdout":
        print("ngrok version 3.39.8")
        return 0
    with options.behaviour.with_suffix(".starts").open("a", encoding="utf-8") as marks:
        marks.write("started\n")
    told = Behaviour(options.behaviour)
    agent = json.loads(options.config.read_text(encoding="utf-8"))["agent"]  # JSON is YAML
    if told["deaf"]:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if told["silent"]:
        time.sleep(600)
    if told["dies_after_s"] is not None:
        threading.Timer(told["dies_after_s"], end).start()
    log("info", "open config file", path=str(options.config), err="nil")
    Api.told, Api.endpoints = told, {}
    host, _, port = agent["web_addr"].partition(":")
    api = ThreadingHTTPServer((host, int(port)), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    log("info", "starting web service", obj="web", addr=agent["web_addr"])
    time.sleep(told["slow_s"] or 0)
    if told["refuse"] or agent["authtoken"] != told["token"]:
        return refused(told["refuse"] or WRONG_107.format(token=agent["authtoken"]))
    established()
    watch(told)
    return 0


def established() -> None:
    """Say that the session stands."""
    log("info", "client session established", obj="tunnels.session")
    log("info", "tunnel session started", obj="tunnels.session")


def watch(told: Behaviour) -> None:
    """Lose the session and get it back, as told."""
    lost = False
    while True:
        time.sleep(0.05)
        if lost == bool(told["lost"]):
            continue
        lost = not lost
        if lost:
            log("eror", "heartbeat timeout, terminating session", obj="csess", id="8dc4d2719c5f")
            log("eror", "session closed, starting reconnect loop", obj="csess", id="e37e06e0f0ba", err="session closed")
        else:
            established()


def end() -> None:
    """Die at once, without a word."""
    import os

    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())

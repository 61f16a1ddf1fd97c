"""Owns a small media host on loopback: each path follows a script of answers, and every request is noted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Host", "host"]

Answer = bytes | int  # a body, or a status without one


class Host:
    """What the host answers: the last line of a path's script is repeated; what has no script is 404."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.pages: dict[str, list[Answer]] = {}
        self.moved: dict[str, str] = {}  # paths that are redirects, and where to
        self.silent: set[str] = set()  # paths that are not answered while the host serves
        self.asked: list[str] = []
        self.dripping = threading.Event()  # set: a body comes byte by byte, until it is cleared
        self.holding = threading.Event()  # cleared: nobody is answered
        self.holding.set()

    def put(self, path: str, *script: Answer) -> str:
        """Give a path its script and return its URL."""
        self.pages[path] = list(script)
        return self.base + path

    def next(self, path: str) -> Answer:
        """Return the answer to a request."""
        self.asked.append(path)
        script = self.pages.get(path, [404])
        return script.pop(0) if len(script) > 1 else script[0]


@contextmanager
def host() -> Iterator[Host]:
    """Serve until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            answer = 302 if self.path in served.moved else served.next(self.path)
            served.holding.wait(10)
            if self.path in served.silent:
                closed.wait(10)
            status, content = (200, answer) if isinstance(answer, bytes) else (answer, b"")
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if self.path in served.moved:
                self.send_header("Location", served.moved[self.path])
            self.end_headers()
            if not body:
                return
            try:
                for start in range(len(content) if served.dripping.is_set() else 0):
                    self.wfile.write(content[start : start + 1])
                    if closed.wait(0.05):
                        return
                self.wfile.write(b"" if served.dripping.is_set() else content)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            return

    closed = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Host(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        closed.set()
        served.holding.set()
        server.shutdown()
        thread.join()
        server.server_close()

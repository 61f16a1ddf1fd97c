"""Owns the media host of the benches: a program that serves the files of one folder by sendfile, as fast as it goes.

Argument: the folder. It prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import os
import re
import socketserver
import sys
import threading
from pathlib import Path

__all__: list[str] = []

FROM = re.compile(rb"\r\nrange: *bytes=(\d+)-\r\n", re.IGNORECASE)
MOST_HEAD = 65536


class Handler(socketserver.BaseRequestHandler):
    """Answers one request on each connection; the bytes go from the file to the socket without passing through here."""

    server: Host

    def handle(self) -> None:
        """Send a file, or the rest of it from where the request says."""
        head = self._head()
        method, target = head.split(b" ", 2)[:2]
        path = self.server.files.get(target.decode("latin-1").lstrip("/"))
        if path is None:
            self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with path.open("rb") as file:
            size, found = os.fstat(file.fileno()).st_size, FROM.search(head)
            start = int(found[1]) if found else 0
            self.request.sendall(_answer(path.name, start, size, part=found is not None))
            while start < size and method == b"GET":
                start += os.sendfile(self.request.fileno(), file.fileno(), start, size - start)

    def _head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MOST_HEAD:
            head += self.request.recv(4096) or b"\r\n\r\n"
        return head


def _answer(name: str, start: int, size: int, *, part: bool) -> bytes:
    span = f"Content-Range: bytes {start}-{size - 1}/{size}\r\n" if part else ""
    return (
        f"HTTP/1.1 {'206 Partial Content' if part else '200 OK'}\r\nContent-Type: application/octet-stream\r\n"
        f'Content-Length: {size - start}\r\n{span}ETag: "{name}-{size}"\r\nAccept-Ranges: bytes\r\n'
        "Connection: close\r\n\r\n"
    ).encode("ascii")


class Host(socketserver.ThreadingTCPServer):
    """Serves the files that are in the folder when it starts, under their names."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path for path in folder.iterdir()}
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """Say nothing of a receiver that hangs up."""


if __name__ == "__main__":
    with Host(Path(sys.argv[1])) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        print(host.server_address[1], flush=True)
        sys.stdin.read()
        host.shutdown()

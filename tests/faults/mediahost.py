"""Owns a media host on a raw socket: every byte on the wire is the page's own, and lines end where it says.

A page is a script: given a request it yields what to send, how long to wait, and how the line ends. What is yielded as
a `memoryview` is content and is counted; heads and framing are plain `bytes`.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import re
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

__all__ = ["Asked", "End", "MediaHost", "Page", "Script", "Wait", "head", "honest", "paced"]

PIECE = 256 * 1024
HEAD_LIMIT = 64 * 1024
OPEN = (1, 8)  # TCP_ESTABLISHED, TCP_CLOSE_WAIT: in any other state nothing arrives any more


class End(enum.Enum):
    """How a line ends: in order, or with a reset; either comes after what was sent before has arrived."""

    FIN = "fin"
    RST = "rst"


@dataclass(frozen=True)
class Wait:
    """Send nothing for so many seconds."""

    seconds: float


Step = bytes | memoryview | Wait | End
Script = Callable[["Page", "Asked"], Iterable[Step]]


@dataclass
class Asked:
    """One request: the how-manieth of its page, from 0, what its head said, and how much content it was sent."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    content_sent: int = 0
    at: float = field(default_factory=time.monotonic)

    @property
    def first(self) -> int | None:
        """The offset from which on it wants the file; None where it wants all of it."""
        found = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("range", ""))
        return int(found[1]) if found else None

    @property
    def last(self) -> int | None:
        """The last offset that it wants, where it says one."""
        found = re.fullmatch(r"bytes=\d+-(\d+)", self.headers.get("range", ""))
        return int(found[1]) if found else None


class Page:
    """One file of the host, the tag it goes by, and the offsets at which lines are cut, each of them once."""

    def __init__(self, content: bytes, script: Script, *, etag: str | None, cuts: Sequence[int], end: End | None):
        self.content, self.script, self.etag = content, script, etag
        self.cuts, self._cut, self._end = sorted(cuts), 0, end
        self.asked: list[Asked] = []
        self.guard = threading.Lock()

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.content)

    def head(self, *fields: str, status: str = "200 OK") -> bytes:
        """Return a head with its tag and these fields."""
        return head(status, *fields, *([f"ETag: {self.etag}"] if self.etag else []))

    def body(self, start: int = 0, stop: int | None = None) -> Iterator[Step]:
        """Yield the content between two offsets, up to the next cut; it may be replaced while it is sent."""
        whole, stop = memoryview(self.content), self.size if stop is None else stop
        end = self._next_cut(start, stop)
        here = stop if end is None else end[0]
        for at in range(start, here, PIECE):
            yield whole[at : min(at + PIECE, here)]
        if end is not None:
            yield end[1]

    def _next_cut(self, start: int, stop: int) -> tuple[int, End] | None:
        with self.guard:
            at = next((cut for cut in self.cuts if start < cut < stop), None)
            if at is None:
                return None
            self.cuts.remove(at)
            self._cut += 1
            return at, self._end or (End.RST if self._cut % 2 else End.FIN)


def head(status: str, *fields: str) -> bytes:
    """Return the head of an answer after which the line ends."""
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "Connection: close", "", ""]).encode("latin-1")


def honest(page: Page, asked: Asked) -> Iterator[Step]:
    """Answer as a good host does: in full, or from an offset where Range and If-Range say so."""
    first = asked.first
    wanted = asked.headers.get("if-range")
    if first is None or (wanted is not None and (wanted != page.etag or wanted.startswith("W/"))):
        yield page.head(f"Content-Length: {page.size}", "Accept-Ranges: bytes")
        start, stop = 0, page.size
    elif first >= page.size:
        yield head("416 Range Not Satisfiable", f"Content-Range: bytes */{page.size}", "Content-Length: 0")
        return
    else:
        start, stop = first, min(page.size, page.size if asked.last is None else asked.last + 1)
        span = f"Content-Range: bytes {start}-{stop - 1}/{page.size}"
        yield page.head(span, f"Content-Length: {stop - start}", status="206 Partial Content")
    if asked.method != "HEAD":
        yield from page.body(start, stop)


def paced(rate: float, script: Script = honest) -> Script:
    """Return a script that sends at most `rate` bytes of content a second, in pieces that take a 50th of one."""
    piece = max(1, int(rate / 50))

    def slow(page: Page, asked: Asked) -> Iterator[Step]:
        for step in script(page, asked):
            if not isinstance(step, memoryview):
                yield step
                continue
            for at in range(0, len(step), piece):
                yield step[at : at + piece]
                yield Wait(len(step[at : at + piece]) / rate)

    return slow


class MediaHost:
    """A host on loopback, a thread for each line; `offer` gives it a file, `asked` says what came for it."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._over = threading.Event()
        self._lines: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()
        self.trouble: list[BaseException] = []
        self._door = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.origin = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._porter = threading.Thread(target=self._accept, daemon=True)
        self._porter.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def offer(
        self,
        content: bytes,
        script: Script = honest,
        *,
        path: str | None = None,
        etag: str | None = '"v1"',
        cuts: Sequence[int] = (),
        end: End | None = None,
    ) -> str:
        """Serve `content` and return its URL; at each of `cuts` one line ends, by turns with a reset and in order."""
        path = path or f"/file-{len(self._pages)}"
        self._pages[path] = Page(content, script, etag=etag, cuts=cuts, end=end)
        return self.origin + path

    def page(self, url: str) -> Page:
        """Return what stands at a URL of this host; its parts may be changed."""
        return self._pages[url.removeprefix(self.origin)]

    def asked(self, url: str) -> list[Asked]:
        """Return the requests for a URL of this host, in the order in which they came."""
        return list(self.page(url).asked)

    def content_sent(self, url: str) -> int:
        """Return how many bytes of content went out for a URL of this host."""
        return sum(asked.content_sent for asked in self.asked(url))

    def close(self) -> None:
        """Cut every line, and return when all threads are gone; raise what went wrong in one."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)  # wakes the porter, which a close alone does not
        self._porter.join(10)
        self._door.close()
        with self._guard:
            lines, threads = list(self._lines), list(self._threads)
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        if self.trouble:
            raise self.trouble[0]

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                line, _ = self._door.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(line,), daemon=True)
            with self._guard:
                self._lines.add(line)
                self._threads = [thread, *(t for t in self._threads if t.is_alive())]
                thread.start()

    def _serve(self, line: socket.socket) -> None:
        try:
            with line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._answer(line)
        except OSError:
            pass  # whoever asked has gone, or the host closes
        except BaseException as reason:  # a script is wrong: the test has to fail, not to wait
            self.trouble.append(reason)
        finally:
            with self._guard:
                self._lines.discard(line)

    def _answer(self, line: socket.socket) -> None:
        raw = _head_of(line)
        if not raw:
            return
        first, *fields = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        page = self._pages.get(target)
        if page is None:
            line.sendall(head("404 Not Found", "Content-Length: 0"))
            return
        headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields if f)}
        with page.guard:
            asked = Asked(len(page.asked), method, target, headers)
            page.asked.append(asked)
        for step in page.script(page, asked):
            if not self._take(line, step, asked):
                return
        _wait_until_arrived(line)

    def _take(self, line: socket.socket, step: Step, asked: Asked) -> bool:
        """Do one step of a script; return False where the line has ended with it."""
        if isinstance(step, Wait):
            return not self._over.wait(step.seconds)
        if isinstance(step, End):
            _wait_until_arrived(line)
            if step is End.RST:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        line.sendall(step)
        if isinstance(step, memoryview):
            asked.content_sent += len(step)
        return not self._over.is_set()


def _head_of(line: socket.socket) -> bytes:
    line.settimeout(30)
    raw = b""
    while b"\r\n\r\n" not in raw and len(raw) < HEAD_LIMIT:
        more = line.recv(4096)
        if not more:
            return b""
        raw += more
    return raw.partition(b"\r\n\r\n")[0]


def _wait_until_arrived(line: socket.socket) -> None:
    """Wait until the other side's system has all that was sent: a reset would throw away what is still on its way."""
    for _ in range(5000):
        waiting = struct.unpack("i", fcntl.ioctl(line, termios.TIOCOUTQ, b"\0" * 4))[0]
        state = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if not waiting or state not in OPEN:
            return
        time.sleep(0.001)

"""Owns one public connection: reads one request at a time, strictly and bounded; it must not know what paths mean.

The parser is llhttp without any of its leniencies: it refuses both lengths, two lengths, bare line feeds, folded
headers and NUL by itself. What is left to decide stands here.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import lru_cache
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["BODY_LIMIT", "HEAD_LIMIT", "REQUEST_S", "Connection", "Watch"]

_log = logging.getLogger(__name__)

REQUEST_S = 10.0  # from a request's first byte to its last, and for a connection that never sends one
IDLE_S = 5.0  # a connection that has asked before is kept so long for its next request
FAREWELL_S = 1.0  # a refused sender has this long to read why
HEAD_LIMIT = 16 * 1024  # request line and headers
BODY_LIMIT = 256 * 1024
MOST_PIECES = 4096  # a body in more pieces than this costs more time than it is worth
PIECE_COST = 64  # bytes beside the body that each of its chunks may bring
THROWN_AWAY = 1024 * 1024  # what a refused sender may still send before the connection is cut

REFUSED = b'{"status":"refused"}'
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MINDED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


def _refusal(status: int) -> bytes:
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(REFUSED)
    return STATUS_LINE[status] + head + REFUSED


_REFUSALS = {status: _refusal(status) for status in (400, 408, 413, 431, 500)}


class Watch(Protocol):
    """Who looks after the connections that have not sent a complete request."""

    counts: Counter[str]

    def wait(self, connection: Connection) -> None:
        """Begin to watch a connection, or begin again."""

    def release(self, connection: Connection) -> None:
        """Leave a connection alone."""


class _Refusal(Exception):
    """What was sent is refused with this status."""

    def __init__(self, status: int, counted: str = "bad_request") -> None:
        super().__init__(status)
        self.status, self.counted = status, counted


class Connection(HttpToolsProtocol):
    """One connection: the app sees a request when all of it is there, and the next one after its answer.

    Attributes:
        due: when the patience with an incomplete request ends (monotonic seconds).
    """

    def __init__(self, *args: Any, watch: Watch, **more: Any) -> None:
        super().__init__(*args, **more)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._watch = watch
        self.due = time.monotonic() + REQUEST_S
        self._asked = False  # it has asked before: being quiet is no offence
        self._begun = False  # a request has begun and is not complete
        self._deaf = False  # what still comes is thrown away
        self._exchange: _Exchange | None = None  # the complete request that is being answered
        self._refusal: _Refusal | None = None
        self._fed = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to be watched."""
        super().connection_made(transport)
        self._watch.wait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; what the app still answers goes nowhere."""
        self._watch.release(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a request that is complete goes to the app."""
        self._fed += len(data)
        if self._deaf:
            if self._fed > THROWN_AWAY:
                self.abort()
            return
        if self._exchange is not None:
            self._hear_no_more(self._exchange)
            return
        waited = self._begun
        try:
            self.parser.feed_data(data)
            self._weigh()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _Refusal) as reason:
            self._refuse(self._refusal or (reason if isinstance(reason, _Refusal) else _Refusal(400)))
            return
        if self._begun and not waited:
            self._watch.wait(self)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks whether to stay
        """Stay for the answer to a complete request; otherwise close."""
        if self._exchange is None:
            return False
        self._exchange.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """Cut off whoever asks on and on and never reads an answer."""
        self.abort()

    def shutdown(self) -> None:
        """Close, after the answer where one is due."""
        if self._exchange is None:
            self.transport.close()
        else:
            self._exchange.keep_alive = False

    def abort(self) -> None:
        """Close at once."""
        self._deaf = True
        self.transport.abort()

    def expire(self) -> None:
        """End what took too long; only a request that has begun gets an answer."""
        if self._begun:
            self._refuse(_Refusal(408, "too_slow"))
            return
        if not self._asked and not self._deaf:
            self._watch.counts["too_slow"] += 1
        self.abort()

    def answering(self, exchange: _Exchange) -> bool:
        """Tell whether this request still waits for its answer, and somebody for that."""
        return self._exchange is exchange and not self.transport.is_closing()

    def answer(self, exchange: _Exchange, written: bytes) -> None:
        """Write the answer, then wait for the next request, or part."""
        if not self.answering(exchange):
            return
        self._exchange = None
        self.transport.write(written)
        if exchange.keep_alive:
            self._asked = True
            self.due = time.monotonic() + IDLE_S
            self._watch.wait(self)
        elif self._deaf:
            self._part()
        else:
            self.transport.close()

    # What the parser calls, in this order. An exception stops it for good.

    def on_message_begin(self) -> None:
        """Begin a request, or stop where the one before is not answered yet."""
        if self._exchange is not None:
            raise self._no(400)
        self._begun, self._head_done = True, False
        self.due = time.monotonic() + REQUEST_S
        self.url = b""
        self.headers = []
        self._hosts = self._head = self._size = 0
        self._pieces: list[bytes] = []
        self.expect_100_continue = False

    def on_url(self, url: bytes) -> None:
        """Take a part of the path."""
        self.url += url
        self._head += len(url)
        if self._head > HEAD_LIMIT:
            raise self._no(431)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what follows a chunked body is none."""
        self._head += len(name) + len(value) + 4
        if self._head > HEAD_LIMIT:
            raise self._no(431)
        if self._head_done:
            return
        name = name.lower()
        if name in _MINDED:
            self._mind(name, value)
        self.headers.append((name, value))

    def _mind(self, name: bytes, value: bytes) -> None:
        """Look at a header that decides how the body is read, or for whom the request is."""
        if name == b"host":
            self._hosts += 1
        elif name == b"content-length" and int(value) > BODY_LIMIT:
            raise self._no(413, "too_large")
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise self._no(400)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """Decide whether the body may come."""
        self._head_done = True
        version = self.parser.get_http_version()
        if self.parser.should_upgrade() or version not in ("1.0", "1.1"):
            raise self._no(400)
        modern = version == "1.1"
        if self._hosts > 1 or (modern and not self._hosts):
            raise self._no(400)
        if not modern and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise self._no(400)
        if modern and self.expect_100_continue:
            self.transport.write(_CONTINUE)
        self._modern = modern

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(body)
        self._size += len(body)
        if self._size > BODY_LIMIT:
            raise self._no(413, "too_large")
        if len(self._pieces) > MOST_PIECES:
            raise self._no(400)

    def on_message_complete(self) -> None:
        """Hand the request to the app."""
        if self._is_costly():
            raise self._no(400)
        self._watch.release(self)
        self._begun, self._fed = False, 0
        method = self.parser.get_method().decode("ascii")
        keep_alive = self._modern and self.parser.should_keep_alive()
        path, _, query = self._target().partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1" if self._modern else "1.0",
            "method": method,
            "scheme": "http",
            "path": path.decode("latin-1"),  # as it came: another spelling of a path is another path
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "state": {},
        }
        self._exchange = _Exchange(self, b"".join(self._pieces), silent=method == "HEAD", keep_alive=keep_alive)
        self._pieces = []
        task = self.loop.create_task(self._exchange.run(self.app, scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _target(self) -> bytes:
        """Return path and query of the request line, also where a proxy wrote the host before them."""
        if self.url.startswith(b"/"):
            return self.url
        try:
            parts = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            raise self._no(400) from None
        return (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")

    def _weigh(self) -> None:
        """Refuse a request that is not complete and already too much: an endless header, trailer or chunk extension."""
        if self._begun and not self._head_done and self._fed > HEAD_LIMIT:
            raise _Refusal(431)
        if self._begun and self._is_costly():
            raise _Refusal(400)

    def _is_costly(self) -> bool:
        """Tell whether more came beside the body than its head and its chunks can need."""
        return self._fed - self._size > 2 * HEAD_LIMIT + PIECE_COST * len(self._pieces)

    def _no(self, status: int, counted: str = "bad_request") -> _Refusal:
        self._refusal = _Refusal(status, counted)
        return self._refusal

    def _refuse(self, refusal: _Refusal) -> None:
        self._watch.counts[refusal.counted] += 1
        if self._exchange is not None:  # the complete request before this is answered, and nothing after it
            self._hear_no_more(self._exchange)
            return
        self._begun = False
        self.transport.write(_REFUSALS[refusal.status])
        self._part()

    def _hear_no_more(self, exchange: _Exchange) -> None:
        self._deaf, exchange.keep_alive = True, False

    def _part(self) -> None:
        """Say goodbye and listen a little longer: closing over unread bytes would destroy the answer on its way."""
        self._deaf, self._fed = True, 0
        self.transport.write_eof()
        self.due = time.monotonic() + FAREWELL_S
        self._watch.wait(self)


class _Exchange:
    """One complete request and its one answer: the `receive` and `send` of ASGI."""

    __slots__ = ("_body", "_connection", "_head", "_parts", "_silent", "keep_alive")

    def __init__(self, connection: Connection, body: bytes, *, silent: bool, keep_alive: bool) -> None:
        self._connection, self._silent, self.keep_alive = connection, silent, keep_alive
        self._body: bytes | None = body
        self._head: dict[str, Any] | None = None
        self._parts: list[bytes] = []

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Let the app answer; where it does not, the sender hears 500."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            _log.exception("the public app broke off")
        finally:
            if self._connection.answering(self):
                self.keep_alive = False
                self._connection.answer(self, _REFUSALS[500])

    async def receive(self) -> dict[str, Any]:
        """Return the whole body, and after it that nothing else comes."""
        body, self._body = self._body, None
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        """Take the parts of the answer and write it when it is whole."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        self._parts.append(message.get("body", b""))
        if not message.get("more_body") and self._head is not None:
            self._connection.answer(self, self._written(self._head))

    def _written(self, head: dict[str, Any]) -> bytes:
        lines = _head(head["status"], tuple(head["headers"]), keep_alive=self.keep_alive)
        return lines if self._silent else b"".join([lines, *self._parts])


@lru_cache(maxsize=64)  # the app has a handful of answers
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...], *, keep_alive: bool) -> bytes:
    lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % pair for pair in headers)]
    return b"".join([*lines, b"\r\n" if keep_alive else b"connection: close\r\n\r\n"])

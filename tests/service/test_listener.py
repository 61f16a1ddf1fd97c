"""The public server over real sockets: strict, bounded, in time, and never at the cost of a complete request."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter

import pytest

from kit.service import connection, listener
from kit.service.connection import BODY_LIMIT, HEAD_LIMIT
from kit.service.listener import public_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
OK_CLOSE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
H = b"POST /cb/x HTTP/1.1\r\nHost: h\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"
REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Request Entity Too Large",
    500: b"Internal Server Error",
}


def refused(status):
    """Return the exact bytes of a refusal."""
    reason = REASONS.get(status, b"Request Header Fields Too Large")
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n" % (status, reason)
    return head + b'content-length: 20\r\nconnection: close\r\n\r\n{"status":"refused"}'


class App:
    """Answers 200 and keeps what it was asked; `hold` keeps it from answering, `trouble` breaks it off."""

    def __init__(self):
        self.asked, self.hold, self.trouble = [], None, None

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        body = (await receive())["body"]
        self.asked.append((scope["method"], scope["path"], body, scope["headers"]))
        if self.trouble:
            raise self.trouble
        if self.hold is not None:
            await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class World:
    """A running public server."""

    def __init__(self):
        self.app, self.counts = App(), Counter()
        self.server = public_server(self.app, self.counts)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.writers = []

    async def open(self, first=b""):
        """Connect and send the first bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(first)
        await writer.drain()
        return reader, writer

    async def ask(self, raw, *, end=False):
        """Send bytes on a connection of its own and return all that comes until the other side closes."""
        reader, writer = await self.open(raw)
        if end:
            writer.write_eof()
        return await all_of(reader)


async def all_of(reader, deadline_s=8):
    """Return what comes until the end; a connection that was cut has ended too."""
    got = b""
    async with asyncio.timeout(deadline_s):
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65536):
                got += part
    return got


def within(act):
    """Run `act(world)` beside a server and return what it returns; afterwards nothing runs on."""

    async def run():
        world = World()
        serving = asyncio.create_task(world.server.serve(sockets=[world.socket]))
        while not world.server.started:
            await asyncio.sleep(0.005)
        try:
            return world, await act(world)
        finally:
            for writer in world.writers:
                writer.close()
            world.server.should_exit = True
            async with asyncio.timeout(5):
                await serving

    return asyncio.run(run())


REFUSED = {
    "both lengths": H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "both lengths turned round": H + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two lengths": H + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "one length twice": H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "list of lengths": H + b"Content-Length: 2, 2\r\n\r\nhi",
    "signed length": H + b"Content-Length: +2\r\n\r\nhi",
    "negative length": H + b"Content-Length: -2\r\n\r\nhi",
    "hexadecimal length": H + b"Content-Length: 0x2\r\n\r\nhi",
    "empty length": H + b"Content-Length: \r\n\r\nhi",
    "length beyond 64 bits": H + b"Content-Length: 99999999999999999999999\r\n\r\nhi",
    "space before the colon": H + b"Content-Length : 2\r\n\r\nhi",
    "bare line feeds": H.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\nhi",
    "one bare line feed": H + b"A: b\nContent-Length: 2\r\n\r\nhi",
    "bare line feed before the body": H + b"Content-Length: 2\r\n\nhi",
    "bare carriage return": H + b"A: b\rContent-Length: 2\r\n\r\nhi",
    "folded header": H + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi",
    "folded encoding": H + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    "NUL in a value": H + b"A: b\0c\r\nContent-Length: 2\r\n\r\nhi",
    "NUL in a name": H + b"A\0: b\r\nContent-Length: 2\r\n\r\nhi",
    "NUL in the path": b"POST /cb/\0x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "bytes above 127 in the path": b"POST /cb/\xff HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "space in the path": b"POST /cb/x y HTTP/1.1\r\nHost: h\r\n\r\n",
    "unknown encoding": H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two encodings": H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked first": H + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "encoding twice": H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": H + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi",
    "vertical tab before chunked": H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /cb/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "hexadecimal mark in a chunk": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "negative chunk": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "chunk beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "space after a chunk size": CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"2\r\nhi0\r\n\r\n",
    "chunks with line feeds": CHUNKED + b"2\nhi\n0\n\n",
    "chunk extension with line feed": CHUNKED + b"2;a\nhi\r\n0\r\n\r\n",
    "length among the trailers": CHUNKED + b"2\r\nhi\r\n0\r\nContent-Length: 5\r\n\r\n",
    "no host": b"POST /cb/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two hosts": H + b"Host: g\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "lower-case method": b"post /cb/x HTTP/1.1\r\nHost: h\r\n\r\n",
    "no colon": H + b"abc\r\n\r\n",
    "empty name": H + b": abc\r\n\r\n",
    "space before the first header": b"POST /cb/x HTTP/1.1\r\n Host: h\r\n\r\n",
    "tunnel": b"CONNECT a:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    "upgrade to h2c": H + b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "upgrade to a socket": H + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
}


def test_whatever_two_parsers_might_read_differently_is_refused() -> None:
    """Each ambiguous or malformed request gets the same fixed 400 and an end, and the app hears nothing."""

    async def act(world):
        return {name: await world.ask(raw) for name, raw in REFUSED.items()}

    world, answers = within(act)

    assert {} == {name: got for name, got in answers.items() if got != refused(400)}
    assert [] == world.app.asked
    assert {"bad_request": len(answers)} == world.counts


@pytest.mark.parametrize(
    ("raw", "answer", "body"),
    [
        (H + b"Content-Length: 2\r\n\r\nhi", OK, b"hi"),
        (H + b"Content-Length: 0\r\n\r\n", OK, b""),
        (H + b"\r\n", OK, b""),
        (b"\r\n\r\n" + H + b"Content-Length: 2\r\n\r\nhi", OK, b"hi"),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", OK, b"hi"),
        (CHUNKED + b"1;a=b\r\nh\r\n1\r\ni\r\n0\r\nX-Webhook-Signature: forged\r\n\r\n", OK, b"hi"),
        (H.replace(b"/cb/x", b"http://other/cb/x") + b"Content-Length: 2\r\n\r\nhi", OK, b"hi"),
        (H.replace(b"/cb/x", b"/cb/x?y=%00") + b"Content-Length: 2\r\n\r\nhi", OK, b"hi"),
        (b"POST /cb/x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", OK_CLOSE, b"hi"),
        (H + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", OK_CLOSE, b"hi"),
        (H + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"hi"),
    ],
)
def test_what_is_well_formed_reaches_the_app(raw, answer, body) -> None:
    """Every honest way to write a request is read; trailers are no headers; a half-closed sender gets its answer."""

    async def act(world):
        return await world.ask(raw, end=True)

    world, got = within(act)
    ((method, path, heard, headers),) = world.app.asked

    assert got in (answer, answer.replace(OK, OK_CLOSE))  # whether its end was seen before the answer left
    assert ("POST", "/cb/x", body) == (method, path, heard)
    assert b"x-webhook-signature" not in dict(headers)
    assert {} == world.counts


def test_a_connection_is_kept_for_the_next_request() -> None:
    """Two requests one after the other, in pieces of one byte, are two requests."""

    async def act(world):
        reader, writer = await world.open()
        got = b""
        for _ in range(2):
            for byte in H + b"Content-Length: 2\r\n\r\nhi":
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            got += await reader.readexactly(len(OK))
        return got

    world, got = within(act)

    assert OK + OK == got
    assert 2 == len(world.app.asked)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_second_request_before_the_first_answer_is_not_read(at_once) -> None:
    """Of pipelined requests the first is answered, then the connection closes; nothing else reaches the app."""
    one = H + b"Content-Length: 2\r\n\r\nhi"

    async def act(world):
        world.app.hold = asyncio.Event()
        reader, writer = await world.open(one * 3 if at_once else one)
        while not world.app.asked:
            await asyncio.sleep(0.005)
        if not at_once:
            writer.write(one)
            await asyncio.sleep(0.05)
        world.app.hold.set()
        return await all_of(reader)

    world, got = within(act)

    assert OK_CLOSE == got
    assert 1 == len(world.app.asked)


def test_garbage_after_a_complete_request_does_not_take_its_answer() -> None:
    """What follows a complete request in the same packet changes nothing for it."""

    async def act(world):
        return await world.ask(H + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi\x00\xff garbage")

    world, got = within(act)

    assert OK_CLOSE == got
    assert 1 == len(world.app.asked)


@pytest.mark.parametrize(
    "raw",
    [
        H + b"A: " + b"b" * HEAD_LIMIT + b"\r\n\r\n",
        H + b"A: b\r\n" * (HEAD_LIMIT // 6) + b"\r\n",
        b"POST /cb/" + b"x" * HEAD_LIMIT + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        H + b"A: " + b"b" * (HEAD_LIMIT + 100),
        b"POST /" + b"x" * (HEAD_LIMIT + 100),
        H + b"A: b\r\n" * 40_000 + b"\r\n",
    ],
)
def test_a_head_over_16_kib_is_refused(raw) -> None:
    """Request line and headers together may be 16 KiB, finished or not."""

    async def act(world):
        return await world.ask(raw)

    world, got = within(act)

    assert refused(431) == got
    assert {"bad_request": 1} == world.counts
    assert [] == world.app.asked


def test_a_body_is_measured_by_its_announcement_and_by_its_bytes() -> None:
    """256 KiB are taken; one more is 413, announced before a byte of it was sent, or counted while it comes."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    async def act(world):
        return [
            await world.ask(H + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % BODY_LIMIT + b"x" * BODY_LIMIT),
            await world.ask(H + b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1)),
            await world.ask(CHUNKED + chunk * 4 + b"1\r\nx\r\n"),
            await world.ask(H + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"),
        ]

    world, got = within(act)

    assert [OK_CLOSE, refused(413), refused(413), refused(413)] == got
    assert {"too_large": 3} == world.counts
    assert [BODY_LIMIT] == [len(body) for _, _, body, _ in world.app.asked]


@pytest.mark.parametrize(
    "raw",
    [
        CHUNKED + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n",
        CHUNKED + b"1;" + b"a" * 60_000 + b"\r\nx\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nA: " + b"b" * 60_000,
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    ],
)
def test_what_comes_beside_a_body_is_bounded(raw) -> None:
    """Tiny chunks, endless chunk extensions and endless trailers are refused."""

    async def act(world):
        return await world.ask(raw)

    world, got = within(act)

    assert got in (refused(400), refused(431))
    assert [] == world.app.asked


@pytest.mark.parametrize(
    ("first", "drip", "answer", "counted"),
    [
        (b"", b"", b"", {"too_slow": 1}),
        (b"", b"\r\n", b"", {"too_slow": 1}),
        (H, b"A: b\r\n", refused(408), {"too_slow": 1}),
        (b"P", b"", refused(408), {"too_slow": 1}),
        (H + b"Content-Length: 9999\r\n\r\n", b"x", refused(408), {"too_slow": 1}),
        (CHUNKED, b"1\r\nx\r\n", refused(408), {"too_slow": 1}),
        (H + b"Content-Length: 0\r\n\r\n", b"", OK, {}),
    ],
)
def test_no_trickle_outlasts_the_deadline(monkeypatch, first, drip, answer, counted) -> None:
    """However the bytes drip, a request has its time from the first to the last; then the connection is closed."""
    monkeypatch.setattr(connection, "REQUEST_S", 0.4)
    monkeypatch.setattr(connection, "IDLE_S", 0.4)
    monkeypatch.setattr(connection, "FAREWELL_S", 0.2)

    async def act(world):
        reader, writer = await world.open(first)
        began = asyncio.get_running_loop().time()

        async def trickle():
            with contextlib.suppress(ConnectionError):
                while drip:
                    writer.write(drip)
                    await writer.drain()
                    await asyncio.sleep(0.03)

        dripping = asyncio.create_task(trickle())
        got = await all_of(reader)
        dripping.cancel()
        return got, asyncio.get_running_loop().time() - began

    world, (got, took) = within(act)

    assert answer == got
    assert counted == world.counts
    assert 0.35 <= took <= 3


def test_the_longest_waiting_goes_where_there_is_no_room(monkeypatch) -> None:
    """At the limit the connection that has waited longest is closed, idle or trickling; a complete request never is."""
    monkeypatch.setattr(listener, "CONNECTIONS", 4)
    monkeypatch.setattr(listener, "GRACE_S", 0)

    async def act(world):
        world.app.hold = asyncio.Event()
        asking, _ = await world.open(H + b"Content-Length: 0\r\n\r\n")
        while not world.app.asked:
            await asyncio.sleep(0.005)
        silent = []
        for number in range(7):
            silent.append((await world.open(b"POST" if number % 2 else b""))[0])
            await asyncio.sleep(0.03)
        gone = [await all_of(reader) for reader in silent[:3]]
        kept = [reader.at_eof() for reader in silent[3:]]
        world.app.hold.set()
        return gone, kept, await asking.readexactly(len(OK))

    world, (gone, kept, answer) = within(act)

    assert [b"", b"", b""] == gone
    assert [False] * 4 == kept
    assert OK == answer
    assert {"evicted": 4} == world.counts  # the last one when the answered connection began to wait again


def test_a_burst_of_connections_costs_no_request(monkeypatch) -> None:
    """Far more requests at once than may wait are all answered, for what has come with a connection is read first."""
    monkeypatch.setattr(listener, "CONNECTIONS", 64)

    async def act(world):
        burst = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(300)]
        for one in burst:
            one.sendall(H + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi")
        readers = [await asyncio.open_connection(sock=one) for one in burst]
        world.writers += [writer for _, writer in readers]
        return [await all_of(reader) for reader, _ in readers]

    world, got = within(act)

    assert [OK_CLOSE] * 300 == got
    assert 300 == len(world.app.asked)


def test_nobody_is_pushed_out_before_it_could_send(monkeypatch) -> None:
    """However many come at once, a connection stays long enough to send its request; those too many wait outside."""
    monkeypatch.setattr(listener, "CONNECTIONS", 8)
    monkeypatch.setattr(listener, "GRACE_S", 0.3)

    async def act(world):
        early = [await world.open() for _ in range(8)]
        await asyncio.sleep(0.1)
        late = [await world.open() for _ in range(40)]
        await asyncio.sleep(0.1)
        for _, writer in early:
            writer.write(H + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        answers = [await all_of(reader) for reader, _ in early]
        for _, writer in late:
            writer.write(H + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        return answers, [await all_of(reader) for reader, _ in late]

    world, (early, late) = within(act)

    assert [OK_CLOSE] * 8 == early
    assert [OK_CLOSE] * 40 == late
    assert {} == world.counts


def test_an_app_that_breaks_off_is_500_and_tells_nothing() -> None:
    """The sender of a request over which the app broke gets a fixed body, and the next one is served."""

    async def act(world):
        world.app.trouble = RuntimeError("a secret")
        broken = await world.ask(H + b"\r\n")
        world.app.trouble = None
        return broken, await world.ask(H + b"Connection: close\r\n\r\n")

    _, got = within(act)

    assert (refused(500), OK_CLOSE) == got


def test_the_end_waits_for_complete_requests_alone() -> None:
    """Told to end, the server answers what is complete, closes the rest, and returns soon."""

    async def act(world):
        world.app.hold = asyncio.Event()
        asking, _ = await world.open(H + b"\r\n")
        trickling, _ = await world.open(b"POST")
        while not world.app.asked:
            await asyncio.sleep(0.005)
        world.server.should_exit = True
        cut = await all_of(trickling)
        world.app.hold.set()
        return cut, await all_of(asking)

    _, got = within(act)

    assert (b"", OK_CLOSE) == got


def test_out_of_descriptors_the_door_makes_room_and_then_pauses(monkeypatch) -> None:
    """Without a descriptor the longest waiting is closed; where nobody waits, asyncio is told, and then not at once."""
    evicted = [True, False]

    class Watch:
        def is_busy(self):
            return False

        def evict(self):
            return evicted.pop(0)

    def no_descriptor(self):
        raise OSError(errno.EMFILE, "too many open files")

    plain = socket.socket()
    door = listener._Door(Watch(), fileno=plain.detach())
    monkeypatch.setattr(socket.socket, "accept", no_descriptor)
    with door:
        with pytest.raises(BlockingIOError):
            door.accept()
        with pytest.raises(OSError, match="too many"):
            door.accept()
        with pytest.raises(BlockingIOError):
            door.accept()

    assert [] == evicted

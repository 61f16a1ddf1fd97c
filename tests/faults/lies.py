"""Owns the misbehaviours of media hosts, by name: what pip's and uv's tests know of ranges, and the rest of the wire.

`RESUMED` hosts are good but for a request that asks for the rest of a file. `WHOLE` hosts do the same to every request.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Callable, Iterator

from tests.faults.mediahost import Asked, End, Page, Script, Step, Wait, head, honest

__all__ = ["RESUMED", "WHOLE", "after", "moved", "other"]

PARTIAL = "206 Partial Content"


def other(content: bytes) -> bytes:
    """Return another version of a file, as long as the first and different at each byte."""
    return content.translate(bytes((n + 1) % 256 for n in range(256)))


def after(lie: Script, *, requests: int = 1) -> Script:
    """Return a script that is honest from the request after so many on."""
    return lambda page, asked: (lie if asked.number < requests else honest)(page, asked)


def moved(*places: str, status: str = "302 Found") -> Script:
    """Return a script that sends whoever asks to the places, one after the other; the last one for good."""

    def script(page: Page, asked: Asked) -> Iterator[Step]:
        place = places[min(asked.number, len(places) - 1)]
        yield head(status, *([f"Location: {place}"] if place else []), "Content-Length: 0")

    return script


def _resumed(lie: Callable[[Page, int], Iterator[Step]]) -> Script:
    """Return a script that lies to those who ask for the rest of a file, and to nobody else."""

    def script(page: Page, asked: Asked) -> Iterator[Step]:
        return lie(page, asked.first) if asked.first is not None else iter(honest(page, asked))

    return script


def _partial(page: Page, span: str | None, content: memoryview | bytes, *fields: str) -> Iterator[Step]:
    """Yield an answer 206 that says `span` and sends `content`."""
    named = [f"Content-Range: {span}"] if span is not None else []
    yield page.head(*named, f"Content-Length: {len(content)}", *fields, status=PARTIAL)
    yield memoryview(content)


def _span(page: Page, first: int, *, shift: int = 0, total: object = None, unit: str = "bytes") -> str:
    return f"{unit} {first + shift}-{page.size - 1}/{page.size if total is None else total}"


def _ignores_range(page: Page, first: int) -> Iterator[Step]:
    yield page.head(f"Content-Length: {page.size}")
    yield memoryview(page.content)


def _tail_with_200(page: Page, first: int) -> Iterator[Step]:
    yield page.head(f"Content-Length: {page.size - first}")
    yield memoryview(page.content)[first:]


def _changed_with(etag: str | None) -> Callable[[Page, int], Iterator[Step]]:
    """Return a lie: the rest of a version that came in between, whatever If-Range says, under the given tag."""

    def lie(page: Page, first: int) -> Iterator[Step]:
        if etag is None or etag != page.etag:
            page.content, page.etag = other(page.content), etag
        yield from _partial(page, _span(page, first), memoryview(page.content)[first:])

    return lie


def _changed_length(page: Page, first: int) -> Iterator[Step]:
    page.content = other(page.content) + b"longer"
    yield from _partial(page, _span(page, first), memoryview(page.content)[first:])


def _short(page: Page, first: int) -> Iterator[Step]:
    stop = min(page.size, first + max(1, page.size // 4))
    span = f"bytes {first}-{stop - 1}/{page.size}"
    yield from _partial(page, span, memoryview(page.content)[first:stop])


def _shorter_than_said(page: Page, first: int) -> Iterator[Step]:
    yield from _partial(page, _span(page, first), memoryview(page.content)[first:-10])


def _refused(size: Callable[[Page], int]) -> Callable[[Page, int], Iterator[Step]]:
    def lie(page: Page, first: int) -> Iterator[Step]:
        yield head("416 Range Not Satisfiable", f"Content-Range: bytes */{size(page)}", "Content-Length: 0")

    return lie


def _answered(status: str) -> Callable[[Page, int], Iterator[Step]]:
    return lambda page, first: iter([head(status, "Content-Length: 5"), b"sorry"])


def _gzipped(page: Page, first: int) -> Iterator[Step]:
    rest = gzip.compress(page.content[first:])
    yield from _partial(page, _span(page, first), rest, "Content-Encoding: gzip")


def _in_parts(page: Page, first: int) -> Iterator[Step]:
    part = f"--x\r\nContent-Type: audio/wav\r\nContent-Range: {_span(page, first)}\r\n\r\n".encode()
    content = part + page.content[first:] + b"\r\n--x--\r\n"
    yield from _partial(page, None, content, "Content-Type: multipart/byteranges; boundary=x")


def _without_length(page: Page, first: int) -> Iterator[Step]:
    """Say where the rest begins and not how long it is; the first of these lines is cut in the middle of it."""
    if len(page.asked) == 2:
        page.cuts.append((first + page.size) // 2)
    yield page.head(f"Content-Range: {_span(page, first)}", status=PARTIAL)
    yield from page.body(first)


def _chunked_partial(page: Page, first: int) -> Iterator[Step]:
    yield page.head(f"Content-Range: {_span(page, first)}", "Transfer-Encoding: chunked", status=PARTIAL)
    yield from _chunks(memoryview(page.content)[first:])


def _elsewhere(page: Page, first: int) -> Iterator[Step]:
    """Say that the wanted rest comes, and mean one that begins 1000 bytes later."""
    rest = memoryview(page.content)[first + 1000 :]
    yield page.head(f"Content-Range: {_span(page, first, shift=1000)}", f"Content-Length: {len(rest)}", status=PARTIAL)
    yield rest


def _spanned(make: Callable[[Page, int], str | None]) -> Callable[[Page, int], Iterator[Step]]:
    """Return a lie that sends the right bytes under a Content-Range that is wrong, or none."""
    return lambda page, first: _partial(page, make(page, first), memoryview(page.content)[first:])


def _from_zero(page: Page, first: int) -> Iterator[Step]:
    yield from _partial(page, f"bytes 0-{page.size - 1}/{page.size}", page.content)


def _overlong(page: Page, first: int) -> Iterator[Step]:
    yield from _partial(page, _span(page, first), page.content[first:] + b"one more")


RESUMED: dict[str, Script] = {
    name: _resumed(lie)
    for name, lie in {
        "200 with all of it": _ignores_range,
        "200 with the tail alone": _tail_with_200,
        "206 from another start": _elsewhere,
        "206 from zero": _from_zero,
        "206 of * bytes": _spanned(lambda page, first: _span(page, first, total="*")),
        "206 of another total": _spanned(lambda page, first: _span(page, first, total=page.size + 1)),
        "206 of a longer version under the same tag": _changed_length,
        "206 that brings less than was asked for": _short,
        "206 that is cut": _shorter_than_said,
        "206 that brings more than it says": _overlong,
        "206 of another version, changed tag": _changed_with('"v2"'),
        "206 of another version, no tag": _changed_with(None),
        "206 of another version, the tag is weak now": _changed_with('W/"v1"'),
        "206 without Content-Range": _spanned(lambda page, first: None),
        "206 without Content-Length": _without_length,
        "206 in chunks": _chunked_partial,
        "206 compressed": _gzipped,
        "206 in parts": _in_parts,
        "206 that ends before it starts": _spanned(lambda page, first: f"bytes {first}-{first - 1}/{page.size}"),
        "206 in another unit": _spanned(lambda page, first: _span(page, first, unit="pages")),
        "206 of nonsense": _spanned(lambda page, first: "bytes -5-\xb2/x"),
        "400": _answered("400 Bad Request"),
        "412": _answered("412 Precondition Failed"),
        "500": _answered("500 Internal Server Error"),
        "416 with the size": _refused(lambda page: page.size),
        "416 with another size": _refused(lambda page: page.size + 7),
        "416 with what is there already": _refused(lambda page: page.size // 3),
    }.items()
}  # fmt: skip


def _chunks(content: memoryview, *, end: bytes = b"0\r\n\r\n", size: int = 7000) -> Iterator[Step]:
    for at in range(0, len(content), size):
        piece = content[at : at + size]
        yield b"%x\r\n" % len(piece)
        yield piece
        yield b"\r\n"
    yield end


def _filled(page: Page, fields: tuple[str, ...]) -> list[str]:
    numbers = {"SIZE": page.size, "HALF": page.size // 2, "LAST": page.size - 1, "MIDDLE": page.size // 2 - 1}
    return [re.sub("SIZE|HALF|LAST|MIDDLE", lambda word: str(numbers[word[0]]), field) for field in fields]


def _chunked(end: bytes, *fields: str) -> Script:
    def script(page: Page, asked: Asked) -> Iterator[Step]:
        yield page.head("Transfer-Encoding: chunked", *_filled(page, fields))
        yield from _chunks(memoryview(page.content), end=end)

    return script


def _whole(*fields: str, status: str = "200 OK", times: float = 1, end: End = End.FIN) -> Script:
    """Return a script that sends these fields and no more, and then so much of the content."""

    def script(page: Page, asked: Asked) -> Iterator[Step]:
        yield page.head(*_filled(page, fields), status=status)
        yield memoryview(page.content)[: int(page.size * times)]
        yield end

    return script


def _raw(*steps: Step) -> Script:
    return lambda page, asked: iter(steps)


def _without_end(*fields: str, framed: bool = False) -> Script:
    def script(page: Page, asked: Asked) -> Iterator[Step]:
        yield page.head(*fields)
        for piece in itertools.repeat(memoryview(bytes(65536))):
            yield from (b"10000\r\n", piece, b"\r\n") if framed else (piece,)

    return script


def _dripping(page: Page, asked: Asked) -> Iterator[Step]:
    yield page.head(f"Content-Length: {page.size}")
    for at in range(page.size):
        yield memoryview(page.content)[at : at + 1]
        yield Wait(0.1)


def _forever(first: bytes, step: bytes) -> Script:
    return lambda page, asked: itertools.chain([first], itertools.repeat(step))


def _squeezed(page: Page, asked: Asked) -> Iterator[Step]:
    content = gzip.compress(page.content)
    yield page.head("Content-Encoding: gzip", f"Content-Length: {len(content)}")
    yield memoryview(content)


def _status(status: str) -> Script:
    return _raw(head(status, "Content-Length: 5"), b"sorry")


WHOLE: dict[str, Script] = {
    "chunked": _chunked(b"0\r\n\r\n"),
    "chunked, with a trailer": _chunked(b"0\r\nX-Late: yes\r\n\r\n"),
    "chunked, without its end": _chunked(b""),
    "chunked, with a size that is none": _chunked(b"zz\r\n\r\n"),
    "chunked and a length that is right": _chunked(b"0\r\n\r\n", "Content-Length: SIZE"),
    "chunked and a length that is wrong": _chunked(b"0\r\n\r\n", "Content-Length: HALF"),
    "coded and chunked": _chunked(b"0\r\n\r\n", "Transfer-Encoding: gzip"),
    "two lengths": _whole("Content-Length: SIZE", "Content-Length: 10"),
    "the same length twice": _whole("Content-Length: SIZE", "Content-Length: SIZE"),
    "a length below zero": _whole("Content-Length: -1"),
    "a length that is no number": _whole("Content-Length: many"),
    "no length": _whole(),
    "no length and a reset": _whole(times=0.5, end=End.RST),
    "always cut": _whole("Content-Length: SIZE", times=0.5),
    "always reset": _whole("Content-Length: SIZE", times=0.5, end=End.RST),
    "always cut before the first byte": _whole("Content-Length: SIZE", times=0),
    "206 of all": _whole("Content-Range: bytes 0-LAST/SIZE", "Content-Length: SIZE", status=PARTIAL),
    "206 of a part": _whole("Content-Range: bytes 0-MIDDLE/SIZE", "Content-Length: HALF", status=PARTIAL, times=0.5),
    "206 of what it does not say": _whole("Content-Length: SIZE", status=PARTIAL),
    "compressed": _squeezed,
    "empty": _whole("Content-Length: 0", times=0),
    "empty, without a length": _whole(times=0),
    "no content": _whole(status="204 No Content", times=0),
    "not modified": _whole(status="304 Not Modified", times=0),
    "without end, no length": _without_end(),
    "without end, chunked": _without_end("Transfer-Encoding: chunked", framed=True),
    "without end, a length beyond the cap": _without_end("Content-Length: 99999999999999"),
    "a drip": _dripping,
    "a head without end": _forever(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
    "a line without end": _forever(b"HTTP/1.1 200 OK\r\nX-More: ", b"and more"),
    "hints without end": _forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "another protocol": _raw(head("101 Switching Protocols", "Upgrade: websocket")),
    "no HTTP": _raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "nothing": _raw(End.FIN),
    "nothing and a reset": _raw(End.RST),
    "half a head": _raw(b"HTTP/1.1 200 OK\r\nContent-Le", End.FIN),
    "forbidden": _status("403 Forbidden"),
    "not authorized": _status("401 Unauthorized"),
    "not found": _status("404 Not Found"),
    "gone": _status("410 Gone"),
    "416 to a plain request": _status("416 Range Not Satisfiable"),
    "too many": _status("429 Too Many Requests"),
    "broken": _status("500 Internal Server Error"),
    "away": _status("503 Service Unavailable"),
    "moved nowhere": moved(""),
    "moved to a file of ours": moved("file:///etc/passwd"),
    "moved to no URL": moved("http://[::1"),
    "moved in a circle": lambda page, asked: moved(asked.path)(page, asked),
    "moved to the metadata of a cloud": moved("http://169.254.169.254/latest/meta-data/"),
}

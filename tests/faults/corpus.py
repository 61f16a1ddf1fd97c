"""Owns hostile input for the public listener: ids, bodies and raw requests, the same ones in every run."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from typing import TYPE_CHECKING

from tests.faults.listening import GOOD, post

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bodies", "paths", "raw_requests", "unfinished"]

KIB = 1024
IDS: tuple[object, ...] = (
    "../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x", "\\\\host\\share", "CON", "NUL.wav", "a\0b", "x" * 4096,
    "\u202egnp.exe", "\ud800", "\udfff\ud800", "<script>alert(1)</script>", "=HYPERLINK(1)", "'; DROP TABLE facts;--",
    "%00", "%2e%2e%2f", "a\r\nb", "\x1b[2J", "", " ", "null", "true", "0", "-1", "1e999", "٣", "ﬃ", "é", "e\u0301",
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**64, [], {}, ["a"], {"a": 1}, "NaN", "a" * 257, "\ufeff", "\u0000",
)  # fmt: skip
CONTENT_TYPES = (
    b"application/json", b"text/plain", b"application/json; charset=utf-16", b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=x", b"image/png", b"\xff\xfe", b"",
)  # fmt: skip


def _ids() -> Iterator[bytes]:
    for value in IDS:
        for key in ("task_id", "taskId"):
            yield json.dumps({"code": 200, "msg": "success", "data": {key: value}}).encode()
        yield json.dumps({"code": 200, "data": {"task_id": value, "taskId": "other"}}).encode()
        yield json.dumps({"code": value, "taskId": value, "data": value}).encode()
        yield json.dumps({"code": 200, "data": {"task_id": "v", "video_url": value, "msg": value}}).encode()


def _tricks() -> Iterator[bytes]:
    yield from (b"", b" ", b"\0", b"{", b"[", b'"', b"nul", b"null", b"true", b"0", b'""', b"[]", b"{}", b"\xff" * 100)
    for depth in (1_000, 100_000, 200_000):
        yield b"[" * depth
        yield b"[" * (depth // 2) + b"]" * (depth // 2)
        yield b'{"a":' * (depth // 5)
        yield b'{"code":200,"data":' + b"[" * (depth - 100)
    for digits in (20, 4_300, 5_000, 200_000):
        yield b'{"code":' + b"9" * digits + b"}"
        yield b'{"code":200,"data":{"task_id":' + b"1" * digits + b"}}"
        yield b'{"code":-' + b"9" * digits + b"." + b"9" * 10 + b"}"
    for word in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1E400", b"0x10", b"01", b"+1", b".5"):
        yield b'{"code":' + word + b',"data":{"task_id":' + word + b"}}"
    yield b'{"code":200,"code":500,"data":{"task_id":"a","task_id":"b"}}'
    yield b'{"code":200,"data":{"task_id":"a"},"data":{"task_id":"b"}}'
    yield b'{"data":{' + b",".join(b'"k%d":%d' % (i, i) for i in range(9_000)) + b"}}"
    yield b'{"data":{' + b'"a":1,' * 20_000 + b'"a":2}}'
    yield b'{"code":200,"msg":"\\ud800","data":{"task_id":"\\udc00"}}'
    yield b'{"code":200,"msg":"' + b"\\ud83d" * 10_000 + b'"}'
    yield b'{"code":200,"msg":"\x00\x01\x1b[31m"}'
    yield b'{"code":200,"msg":"\xed\xa0\x80"}'
    yield b"[" + b"1," * 120_000 + b"1]"
    yield b'{"data":[' + b"{}," * 80_000 + b"{}]}"
    yield b"x" * (256 * KIB)
    yield b" " * (256 * KIB)


def _clothes() -> Iterator[bytes]:
    yield b"\xef\xbb\xbf" + GOOD
    for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"):
        yield GOOD.decode().encode(coding)
    yield gzip.compress(GOOD)
    yield zlib.compress(GOOD)
    yield gzip.compress(GOOD)[:-9]
    yield b"\x1f\x8b" + b"\xff" * 50
    for filling in (b" ", b"[", b"1,", b"[],", b'{"a":1},', b"\xff", b"9"):
        yield gzip.compress(b'{"code":200,"data":[' + filling * (4 * KIB * KIB // len(filling)))
    yield gzip.compress(gzip.compress(b" " * (10 * KIB * KIB)))
    yield b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + GOOD + b"\r\n--x--"
    yield b"payload=" + GOOD
    yield b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"


def bodies() -> Iterator[tuple[bytes, bytes]]:
    """Yield (body, content type)."""
    for number, body in enumerate([*_ids(), *_tricks(), *_clothes()]):
        yield body, CONTENT_TYPES[number % len(CONTENT_TYPES)]
    for kind in CONTENT_TYPES:
        yield GOOD, kind


def paths(secret: str) -> Iterator[bytes]:
    """Yield request targets that are not the URL with this secret, however near they come."""
    plain = secret.encode()
    near = (
        plain[:-1], plain + b"A", plain.swapcase(), plain[::-1], b"%%%02x" % plain[0] + plain[1:], plain + b"%00",
        plain + b"%2f", plain + b"/", plain + b"/..", plain + b"\\", plain + b";x", plain + b"%20", b"../cb/" + plain,
        b"./" + plain, b"/" + plain, b"%2e%2e/cb/" + plain, b"", b".", b"..", b"*", b"null", b"undefined", b"0",
        b"x" * 15, b"x" * 65, b"x" * 9_000, b"A" * 32, b"%ff" * 20, b"%", b"%zz", b"a b", b"\xc3\xa9", b"'--", b'"',
        b"${jndi:ldap://a}", b"{{7*7}}", b"%0d%0aSet-Cookie:%20a=b", b"<script>", b"..%5c..%5c", b"%c0%af",
    )  # fmt: skip
    for target in near:
        yield b"/cb/" + target
        yield b"/" + target
    for prefix in (
        b"/CB/",
        b"/cb",
        b"/cb//",
        b"//cb/",
        b"/cb%2f",
        b"/c%62/",
        b"/cb\\",
        b"/x/../cb/",
        b"/./cb/",
        b"/cb;/",
    ):
        yield prefix + plain
    yield from (b"/", b"/favicon.ico", b"/.env", b"/.git/config", b"/api/v1/x", b"/admin", b"/metrics", b"/health")


def raw_requests(secret: str, count: int) -> Iterator[bytes]:
    """Yield `count` requests made from good ones by breaking them, always the same ones."""
    dice = random.Random(20260101)
    whole = post(secret, GOOD)
    chunked = whole.replace(b"Content-Length: %d" % len(GOOD), b"Transfer-Encoding: chunked")
    chunked = chunked.replace(GOOD, b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD))
    pieces = (
        b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\x0b", b":", b"\xff", b"Content-Length: 5\r\n", b"%", b";", b",",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Content-Length: 0\r\n", b"0\r\n\r\n",
        b"Host: g\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"HTTP/1.1",
        b"HTTP/9.9", b"GET / HTTP/1.1\r\nHost: g\r\n\r\n", b"ffffffff", b"-1", b"\r\n\r\n",
        b"A: " + b"b" * 17_000 + b"\r\n",
        b"A: b\r\n" * 4_000, b"Connection: keep-alive\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    )  # fmt: skip
    for _ in range(count):
        request = dice.choice((whole, chunked, whole + chunked, whole + whole))
        for _ in range(dice.randint(1, 3)):
            head = request.find(b"\r\n\r\n") + 4
            at = dice.randrange(head if dice.random() < 0.7 else len(request))
            cut = dice.choice((0, 0, 1, 2, 8))
            request = request[:at] + (dice.choice(pieces) if dice.random() < 0.8 else b"") + request[at + cut :]
        yield request


def unfinished(secret: str) -> Iterator[bytes]:
    """Yield requests that never end; only the deadline ends them."""
    whole = post(secret, GOOD)
    for at in (1, 10, 40, 90, len(whole) - len(GOOD), len(whole) - 1):
        yield whole[:at]
    yield b""
    yield b"\r\n\r\n"
    yield post(secret, b"")[:-4].replace(b"Content-Length: 0", b"Transfer-Encoding: chunked\r\n\r\nffff\r\nabc")
    yield b"POST /cb/x HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + b"x" * 199_999

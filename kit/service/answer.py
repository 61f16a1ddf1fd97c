"""Owns the judging of a media host's answer: whether it is the file, the rest of it, or neither; it knows no disk."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

__all__ = ["CAPS", "Body", "Had", "NotFetched", "Unfit", "is_page", "judge"]

CAPS = {"image": 64 * 2**20, "audio": 2**30, "wav": 2**30, "video": 4 * 2**30}
GONE = frozenset({404, 410})
REFUSED = frozenset({401, 403})
LATER = frozenset({408, 425, 429, 502, 503, 504})  # the host has the file, or will have, but not now
STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')  # a weak tag (W/) is no promise of the same bytes
SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE | re.ASCII)
NUMBER = re.compile(r"\d{1,18}", re.ASCII)
NO_SPAN = re.compile(r"bytes \*/(\d{1,18})", re.IGNORECASE | re.ASCII)
PAGES = re.compile(r"(text/html|application/xhtml|(application|text)/([a-z.]+\+)?(xml|json))\b", re.IGNORECASE)


class NotFetched(Exception):
    """A download that brought no usable file.

    `gone` where the host says that the file no longer exists, `refused` where it does not give it to us, `away` where
    nobody could be asked, the line broke, or the host asks to come back later.
    """

    def __init__(self, reason: str, *, gone: bool = False, refused: bool = False, away: bool = False) -> None:
        self.gone, self.refused, self.away = gone, refused, away
        super().__init__(reason)


class Unfit(Exception):
    """An answer to a resume that cannot be joined to what is there: the file is to be asked for from its start."""


@dataclass(frozen=True)
class Had:
    """What is in hand of a file that can be resumed: so many bytes of the version that `etag` names."""

    received: int
    total: int | None
    etag: str


@dataclass(frozen=True)
class Body:
    """What an answer brings: bytes from `start` to before `end` of a file of `total`; None where the host does not say.

    `etag` is the version's strong tag, if it has one. `unmarked` where only the end of the line ends the body, so that
    a whole one and a cut one look alike.
    """

    start: int
    end: int | None
    total: int | None
    etag: str | None
    unmarked: bool = False


def judge(answer: httpx.Response, had: Had | None, cap: int) -> Body:
    """Return what an answer brings, from its head alone; `had` is what was named in Range and If-Range.

    Raises `NotFetched` for what is no file, `Unfit` for a rest that does not fit.
    """
    if answer.status_code == 206 and had is not None:
        body = _rest(answer, had)
    elif answer.status_code == 416 and had is not None:
        body = _nothing_more(answer, had)
    else:
        _check_status(answer, resumed=had is not None)
        body = _whole(answer, had)
    if body.total is not None and body.total > cap:
        raise NotFetched(f"larger than {cap // 2**20} MiB, the limit for this kind of file")
    if body.total == 0:
        raise NotFetched(f"empty: the host answered {answer.status_code} with no bytes")
    return body


def is_page(answer: httpx.Response, beginning: bytes) -> bool:
    """Tell whether a body is surely a web page or a message: both its type and its first bytes say so."""
    said = PAGES.match(answer.headers.get("content-type", "").strip())
    return said is not None and beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{", b"[")


def _check_status(answer: httpx.Response, *, resumed: bool) -> None:
    status = answer.status_code
    if status == 200:
        return
    if status == 206:
        raise NotFetched("the host answered 206, a part, though the whole file was asked for")
    if resumed and status not in LATER | REFUSED:  # it may be about the Range, and the file be there
        raise Unfit(f"{status}")
    if status in GONE:
        raise NotFetched(f"the host answered {status}: the file is gone", gone=True)
    later = answer.headers.get("retry-after", "")
    when = f" and asks to come back in {later} s" if re.fullmatch(r"\d{1,8}", later, re.ASCII) else ""
    raise NotFetched(
        f"the host answered {status}{when}", refused=status in REFUSED, away=status >= 500 or status in LATER
    )


def _unclear(answer: httpx.Response) -> str | None:
    """Return what is wrong with a body's coding or its end, where that says nothing sure of the file's bytes."""
    headers = answer.headers
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return "a compressed body although none was accepted"  # it could be a bomb
    if headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        return "a transfer coding that nobody asked for"
    if "content-length" not in headers:
        return None
    if "transfer-encoding" in headers:
        return "a body with two ends, by Content-Length and by Transfer-Encoding"
    return None if NUMBER.fullmatch(headers["content-length"]) else "a length that is no number"


def _length(answer: httpx.Response) -> int | None:
    """Return the announced length of the body in bytes, or None."""
    said = answer.headers.get("content-length")
    return None if said is None else int(said)


def _whole(answer: httpx.Response, had: Had | None) -> Body:
    """Accept a whole file, whatever was there before; but no tail of it that calls itself the whole."""
    if wrong := _unclear(answer):
        raise NotFetched(f"the host sent {wrong}")
    length, etag = _length(answer), _strong_tag(answer)
    if had is not None and etag == had.etag and had.total is not None and length not in (None, had.total):
        raise Unfit("another length of the same version")
    unmarked = length is None and "transfer-encoding" not in answer.headers
    return Body(0, length, length, etag, unmarked)


def _rest(answer: httpx.Response, had: Had) -> Body:
    """Accept the rest of a file where everything about it says that it is the same version's."""
    span = SPAN.fullmatch(answer.headers.get("content-range", "").strip())
    if wrong := _unclear(answer):
        raise Unfit(wrong)
    if span is None:
        raise Unfit("a part without a place")
    start, last, total = (int(number) for number in span.groups())
    if start != had.received or not start <= last < total or had.total not in (None, total):
        raise Unfit("a part of another place or another file")
    if _strong_tag(answer) != had.etag:  # HTTP has the tag on every 206: without it two versions could be joined
        raise Unfit("a part that does not name its version")
    if _length(answer) not in (None, last + 1 - start):
        raise Unfit("a part whose lengths contradict each other")
    return Body(start, last + 1, total, had.etag)


def _nothing_more(answer: httpx.Response, had: Had) -> Body:
    """Accept that there are no more bytes where the host knows a file of just those that are there."""
    found = NO_SPAN.fullmatch(answer.headers.get("content-range", "").strip())
    tag = answer.headers.get("etag", had.etag).strip()  # few hosts name the version in an error
    if found is None or int(found[1]) != had.received or had.total not in (None, had.received) or tag != had.etag:
        raise Unfit("no such part")
    return Body(had.received, had.received, had.received, had.etag)


def _strong_tag(answer: httpx.Response) -> str | None:
    tag = answer.headers.get("etag", "").strip()
    return tag if STRONG.fullmatch(tag) else None

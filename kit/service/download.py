"""Owns fetching one URL into one part file: streamed, counted, hashed, synced; it knows no task and no ledger."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

import httpx

__all__ = ["Fetched", "NotFetched", "Rules", "fetch"]

CAPS = {"image": 64 * 2**20, "audio": 2**30, "wav": 2**30, "video": 4 * 2**30}
OVERALL_S = 1800.0
CHUNK = 256 * 1024
MOVED = frozenset({301, 302, 303, 307, 308})
GONE = frozenset({404, 410})
HEADERS = {"Accept-Encoding": "identity", "Accept": "*/*"}  # a coded body could be a bomb, and its length says nothing


@dataclass(frozen=True)
class Fetched:
    """A part file that is complete and on the disk."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Rules:
    """What holds for one file: its role decides the cap, `allowed` every address, `user_agent` the name we give."""

    role: str
    allowed: Callable[[str], bool]
    user_agent: str


class NotFetched(Exception):
    """A download that brought no usable file.

    `gone` where the host says that the file no longer exists, `away` where nobody could be asked.
    """

    def __init__(self, reason: str, *, gone: bool = False, away: bool = False) -> None:
        self.gone, self.away = gone, away
        super().__init__(reason)


async def fetch(
    http: httpx.AsyncClient,
    url: str,
    part: Path,
    rules: Rules,
    progress: Callable[[int, int | None], None],
) -> Fetched:
    """Stream `url` into `part` and return its size and hash; raise `NotFetched` with the reason otherwise."""
    try:
        async with asyncio.timeout(OVERALL_S):
            return await _follow(http, url, rules, lambda answer: _save(answer, part, CAPS[rules.role], progress))
    except TimeoutError:
        raise NotFetched(f"not complete after {OVERALL_S:.0f} s") from None
    except httpx.HTTPError as reason:
        raise NotFetched(f"the connection failed ({type(reason).__name__})", away=True) from reason
    except OSError as reason:
        raise NotFetched(f"it could not be written ({reason.strerror})") from reason
    except (httpx.InvalidURL, ValueError) as reason:
        raise NotFetched("the link is not a usable URL") from reason


async def _follow(
    http: httpx.AsyncClient, url: str, rules: Rules, save: Callable[[httpx.Response], Awaitable[Fetched]]
) -> Fetched:
    """Fetch, following at most three redirects, each checked like the first link."""
    for _ in range(4):
        if not rules.allowed(url):
            raise NotFetched("the link is neither https nor on this provider's own host")
        async with http.stream("GET", url, headers=HEADERS | {"User-Agent": rules.user_agent}) as answer:
            if answer.status_code not in MOVED:
                return await save(answer)
            url = urljoin(url, answer.headers.get("location", ""))
    raise NotFetched("more than three redirects")


async def _save(answer: httpx.Response, part: Path, cap: int, progress: Callable[[int, int | None], None]) -> Fetched:
    expected = _expected_length(answer, cap)
    digest, received = hashlib.sha256(), 0
    with _fresh(part) as file:
        async for chunk in answer.aiter_raw(CHUNK):
            received += len(chunk)
            if received > cap:
                raise NotFetched(f"larger than {cap // 2**20} MiB, the limit for this kind of file")
            file.write(chunk)
            digest.update(chunk)
            progress(received, expected)
        if expected is not None and received != expected:
            raise NotFetched(f"cut off: {received} of {expected} bytes")
        if received == 0:
            raise NotFetched("empty: the host answered 200 with no bytes")
        await asyncio.to_thread(_sync, file.fileno())
    return Fetched(received, digest.hexdigest())


def _expected_length(answer: httpx.Response, cap: int) -> int | None:
    """Check status and headers before a byte is read; return the announced length."""
    if answer.status_code in GONE:
        raise NotFetched(f"the host answered {answer.status_code}: the file is gone", gone=True)
    if answer.status_code != 200:
        raise NotFetched(f"the host answered {answer.status_code}")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise NotFetched("the host sent a compressed body although none was accepted")
    length = answer.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        return None
    if int(length) > cap:
        raise NotFetched(f"larger than {cap // 2**20} MiB, the limit for this kind of file")
    return int(length)


def _fresh(part: Path) -> BinaryIO:
    """Open a file that was not there before, whatever stands at its name: nobody's link is followed."""
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(part, flags, 0o600), "wb")


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)

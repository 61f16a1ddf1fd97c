"""Owns asking hosts how large files are that were not fetched yet: a few at a time, and not for long."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from urllib.parse import urljoin

import httpx

from kit.service.hands import Hands
from kit.service.outbound import MOST_REDIRECTS, MOVED, Forbidden, media_client

__all__ = ["Asked", "sizes_of"]

AT_ONCE = 8
IN_ALL_S = 10.0
_TOTAL = re.compile(r"bytes 0-0/([0-9]{1,15})\Z")


@dataclass(frozen=True)
class Asked:
    """One file: its links, which are alternatives, and what `media_client` is to know of them."""

    urls: tuple[str, ...]
    listed: tuple[str, ...]
    user_agent: str


async def sizes_of(files: Sequence[Asked], hands: Hands, *, in_all_s: float = IN_ALL_S) -> list[int | None]:
    """Return the size in bytes of each file; None where its hosts did not say in time."""
    found: list[int | None] = [None] * len(files)
    return await hands.run(partial(_ask_all, files, found, in_all_s), name="sizes") if files else found


def _ask_all(files: Sequence[Asked], found: list[int | None], in_all_s: float) -> list[int | None]:
    """Share the files among a few threads and wait for them, for at most `in_all_s`. Blocks."""
    stop, left = threading.Event(), queue.SimpleQueue[int]()
    for number in range(len(files)):
        left.put(number)

    def work() -> None:
        with contextlib.ExitStack() as clients:
            opened = cache(lambda rules: clients.enter_context(media_client(rules[0], user_agent=rules[1], stop=stop)))
            while not stop.is_set():
                try:
                    number = left.get_nowait()
                except queue.Empty:
                    return
                file = files[number]
                found[number] = _size(file.urls, opened((file.listed, file.user_agent)))

    threads = [threading.Thread(target=work, name="size", daemon=True) for _ in range(min(AT_ONCE, len(files)))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + in_all_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    stop.set()
    return list(found)


def _size(urls: Sequence[str], client: httpx.Client) -> int | None:
    """Return what the first link that answers says."""
    for url in urls:
        for method in ("HEAD", "GET"):
            with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, Forbidden, ValueError, OSError):
                size = _follow(url, partial(_announced, client, method))
                if size is not None:
                    return size
    return None


def _follow(url: str, ask: Callable[[str], int | str | None]) -> int | None:
    """Return the size behind at most three redirects, each of which is checked like the first link."""
    for _ in range(MOST_REDIRECTS + 1):
        said = ask(url)
        if not isinstance(said, str):
            return said
        url = urljoin(url, said)
    return None


def _announced(client: httpx.Client, method: str, url: str) -> int | str | None:
    """Return the size that the headers announce, or where else to ask; a body is not read."""
    first = {"Range": "bytes=0-0"} if method == "GET" else {}
    with client.stream(method, url, headers=first) as answer:
        if answer.status_code in MOVED:
            return str(answer.headers.get("location", ""))
        if answer.status_code == 206:
            total = _TOTAL.match(answer.headers.get("content-range", ""))
            return int(total[1]) if total else None
        length = answer.headers.get("content-length", "")
        plain = answer.headers.get("content-encoding", "identity").lower() == "identity"
        if answer.status_code == 200 and plain and re.fullmatch("[0-9]{1,15}", length) and int(length):
            return int(length)
    return None

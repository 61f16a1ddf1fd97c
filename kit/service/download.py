"""Owns fetching one URL into one part file, across cut lines and redirects; it knows no task and no ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from kit.service.answer import CAPS, Body, Had, NotFetched, Unfit, is_page, judge
from kit.service.limits import ANSWER_S, Limit, Pace
from kit.service.outbound import MOST_REDIRECTS, MOVED, Forbidden, media_client
from kit.service.part import NoRoom, Part

__all__ = ["CAPS", "Download", "Fetched", "NoRoom", "NotFetched", "Rules"]

MOST_REQUESTS = 300
VAIN = 4  # requests in a row that bring no new byte, and then it is over for now
PAUSE_S = 0.1  # after the first request in vain; longer after the next
ROOM_STEP = 8 * 2**20
BROKEN = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout)
UNUSABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


@dataclass(frozen=True)
class Rules:
    """What holds for one file: its role decides the cap, `listed` are origins allowed beside public https."""

    role: str
    listed: tuple[str, ...]
    user_agent: str


@dataclass(frozen=True)
class Fetched:
    """A part file that is complete and on the disk; `url` is the link asked for, `identity` its device and inode."""

    bytes: int
    sha256: str
    url: str
    identity: tuple[int, int]


class Download:
    """One file on its way into its part file; it outlives attempts, so that what came is not asked for again.

    All of it blocks: it is for a worker thread. `room(bytes)` is asked before a body and every 8 MiB, and raises
    `NoRoom`; `tell(received, total)` hears of progress; `stop` ends the work within a second.
    """

    def __init__(
        self,
        part: Path,
        rules: Rules,
        *,
        room: Callable[[int], None],
        tell: Callable[[int, int | None], None],
        stop: threading.Event,
    ) -> None:
        self._part, self._rules, self._room, self._tell = Part(part), rules, room, tell
        self._cap, self._limit = CAPS[rules.role], Limit(stop)
        self._link = ""
        self._put_off = False  # the last answer to a resume was none
        self._version: _Version | None = None

    def fetch(self, url: str) -> Fetched:
        """Return the whole file of one link, synced; what came from it in an earlier attempt is used where it can be.

        Raises `NotFetched` with the reason, or `NoRoom`. The part is kept where it can be resumed, also while another
        link is tried in vain.
        """
        self._link = url
        self._limit.begin()
        try:
            return self._fetch_or_reason()
        except (NotFetched, NoRoom) as reason:
            if self._version is None or self._version.etag is None:
                lost = self._part.received
                self._part.discard()  # of no use for a resume, and room for others
                if isinstance(reason, NoRoom):
                    raise NoRoom(reason.needed + lost) from reason  # what came has to come again
            raise
        finally:
            self._part.close()

    def discard(self) -> None:
        """Remove the part file and forget what came."""
        self._version = None
        self._part.discard()

    def _fetch_or_reason(self) -> Fetched:
        try:
            with media_client(self._rules.listed, user_agent=self._rules.user_agent, stop=self._limit) as http:
                return self._fetch(http)
        except Forbidden as reason:
            raise NotFetched(str(reason)) from reason
        except UNUSABLE as reason:
            raise NotFetched("the link is not a usable URL") from reason
        except OSError as reason:
            raise NotFetched(f"it could not be written ({reason.strerror or reason})") from reason

    def _fetch(self, http: httpx.Client) -> Fetched:
        if not self._part.open():
            self._version = None
        attempt = _Attempt(best=self._part.received if self._had(_parsed(self._link)) else 0)
        while not self._ask(http, attempt):
            if attempt.requests >= MOST_REQUESTS or attempt.vain >= VAIN:
                raise NotFetched(attempt.trouble, away=True)
            self._limit.pause(PAUSE_S * attempt.vain)
        received, self._version = self._part.received, None
        digest, identity = self._part.seal()
        self._tell(received, received)
        return Fetched(received, digest, self._link, identity)

    def _ask(self, http: httpx.Client, attempt: _Attempt) -> bool:
        """Make one request and take what it brings; return whether the file is whole now."""
        slow = False
        try:
            if self._follow(http, attempt):
                return True
            attempt.trouble = "only a part came, or the host did not say where the file ends"
        except _Cut as reason:
            attempt.trouble, slow = str(reason), reason.slow
        except Unfit as reason:
            attempt.trouble, attempt.resumes = f"the host answered a resume with {reason}", False
        except BROKEN as reason:
            self._limit.check()
            attempt.trouble = f"the connection failed ({type(reason).__name__})"
            if isinstance(reason, UNREACHED) and not self._part.received:
                raise NotFetched(attempt.trouble, away=True) from reason
        attempt.count(self._part.received, slow=slow)
        return False

    def _follow(self, http: httpx.Client, attempt: _Attempt) -> bool:
        """Ask, going after at most three redirects; the client checks each address that it is sent to."""
        url = _parsed(self._link)
        for _ in range(MOST_REDIRECTS + 1):
            had = self._had(url) if attempt.resumes else None
            self._limit.answer_within(ANSWER_S)
            with http.stream("GET", url, headers=_resuming(had)) as answer:
                self._limit.answered()
                if answer.status_code not in MOVED:
                    return self._take(answer, url, self._judged(answer, had), attempt)
                url = _next(url, answer)
        raise NotFetched(f"more than {MOST_REDIRECTS} redirects")

    def _judged(self, answer: httpx.Response, had: Had | None) -> Body:
        """Judge an answer; who refuses a resume twice, or puts it off, is asked for the whole file."""
        try:
            body = judge(answer, had, self._cap)
        except NotFetched as reason:
            if had is not None and self._put_off:
                raise Unfit(f"{answer.status_code}, and once more") from reason
            self._put_off = had is not None
            raise
        self._put_off = False
        return body

    def _had(self, url: httpx.URL) -> Had | None:
        """Return what can be resumed at this very address: bytes that came from it, of a version with a strong tag."""
        version, received = self._version, self._part.received
        if version is None or version.etag is None or version.url != url or not received:
            return None
        return Had(received, version.total, version.etag)

    def _take(self, answer: httpx.Response, url: httpx.URL, body: Body, attempt: _Attempt) -> bool:
        """Write a body after what is there, or in its place; return whether the file is whole now."""
        self._version = None
        if body.start != self._part.received:
            self._part.restart()
        self._version = _Version(url, body.etag, body.total)
        self._limit.expect(body.total)
        if body.start != body.end:  # else nothing is missing, and what comes is the text of an error
            self._read(answer, body)
        received = self._part.received
        if body.end is not None:
            return received == body.total
        if received == 0:
            raise NotFetched(f"empty: the host answered {answer.status_code} with no bytes")
        return not body.unmarked or attempt.read_twice(received, self._part.digest())

    def _read(self, answer: httpx.Response, body: Body) -> None:
        """Write what comes; raise where it is too much, too slow or no file at all."""
        part, pace, roomy = self._part, Pace(), self._make_room(body.total)
        for piece in answer.iter_raw():
            if part.received == 0 and is_page(answer, piece):
                raise NotFetched("the host sent a page or a message in place of the file")
            self._check_length(part.received + len(piece), body)
            if part.received + len(piece) > roomy:
                roomy = self._make_room(body.total)
            part.write(piece, self._needed(body.total))
            if pace.too_slow(len(piece)):
                raise _Cut("slower than the least rate", slow=True)
            if pace.tell_now():
                self._tell(part.received, body.total)

    def _check_length(self, length: int, body: Body) -> None:
        if length > self._cap:
            self._version = None
            raise NotFetched(f"larger than {self._cap // 2**20} MiB, the limit for this kind of file")
        if body.end is not None and length > body.end:
            self._version = None
            raise _Cut("the host sent more bytes than it announced")

    def _make_room(self, total: int | None) -> int:
        """Have the room that is needed asked for; return the length up to which that answer serves."""
        self._room(self._needed(total))
        return self._part.received + ROOM_STEP

    def _needed(self, total: int | None) -> int:
        return ROOM_STEP if total is None else total - self._part.received


@dataclass(frozen=True)
class _Version:
    """Which version of the file the part holds the beginning of, and where it came from."""

    url: httpx.URL
    etag: str | None
    total: int | None


@dataclass
class _Attempt:
    """How one fetch fares: requests made, those in a row that brought nothing new, and the last trouble."""

    best: int
    requests: int = 0
    vain: int = 0
    resumes: bool = True
    trouble: str = ""
    reading: tuple[int, str] | None = None

    def count(self, received: int, *, slow: bool) -> None:
        """Count a request that did not make the file whole."""
        self.requests += 1
        self.vain = 0 if received > self.best and not slow else self.vain + 1
        self.best = max(self.best, received)

    def read_twice(self, received: int, digest: str) -> bool:
        """Tell whether this was read before: then a body is whole whose end nothing but the end of the line marks."""
        before, self.reading = self.reading, (received, digest)
        return before == self.reading


class _Cut(Exception):
    """A body that broke off; `slow` where we broke it off because hardly anything came."""

    def __init__(self, reason: str, *, slow: bool = False) -> None:
        self.slow = slow
        super().__init__(reason)


def _resuming(had: Had | None) -> dict[str, str]:
    """Return the headers that ask for the rest, of this very version; none where the whole file is wanted."""
    return {} if had is None else {"Range": f"bytes={had.received}-", "If-Range": had.etag}


def _parsed(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """Return a URL that can be asked; `base` is what a relative one is relative to."""
    try:
        url = httpx.URL(text) if base is None else base.join(text)
        if url.host:  # decoded only here, and not every name can be
            return url
    except (httpx.InvalidURL, ValueError):  # the latter from parsers below
        pass
    raise NotFetched("the link, or where it is redirected to, is not a usable URL")


def _next(url: httpx.URL, answer: httpx.Response) -> httpx.URL:
    """Return where a redirect leads; what was safe on its way stays so."""
    target = _parsed(answer.headers.get("location", ""), url)
    if url.scheme == "https" and target.scheme != "https":
        raise NotFetched("a redirect leads from https to http")
    return target

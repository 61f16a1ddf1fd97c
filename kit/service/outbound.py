"""Owns the way out to media hosts: https to public addresses or to listed origins; it must not know tasks or files.

A name is looked up once for a connection, every address it has is judged, and one of those very addresses is
connected; TLS still asks for the name. That holds for each request, and so for each hop of a redirect.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import groupby

import httpcore
import httpx

from kit.service.addresses import is_public
from kit.service.line import Line, SockAddress, connected, deadline_in, failing_as, heed

__all__ = ["MOST_REDIRECTS", "MOVED", "Forbidden", "media_client"]

TRIED = 4  # addresses of one host, both families in turn: one of them may be dead here
MOVED = frozenset({301, 302, 303, 307, 308})  # followed by hand, so that each hop is judged
MOST_REDIRECTS = 3
HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # a coded body could be a bomb, and its length says nothing
    "Connection": "close",  # a connection that was checked long ago serves no later request
}

# The pool raises its own family of errors; callers know httpx's, which has the same names.
SAME_NAME: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ReadError: httpx.ReadError,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.WriteTimeout: httpx.WriteTimeout,
}

Origin = tuple[bytes, bytes, int | None]  # scheme, host, port; None is the scheme's own port
Found = tuple[int, SockAddress]  # the address's family, and the address


class Forbidden(Exception):
    """The link leads where the kit does not go; the text is a sentence's part without path, query or password."""


def media_client(listed: Iterable[str], *, user_agent: str, stop: threading.Event) -> httpx.Client:
    """Return a client for media hosts, which blocks and which threads may share; close it, or use it in a `with`.

    It asks https on port 443 of public addresses, and the origins in `listed` ("http://127.0.0.1:1234") wherever they
    are. It keeps no cookie and no connection, takes no redirect by itself, and heeds no proxy, `.netrc` or certificate
    of the environment.

    Once `stop` is set, whatever waits or reads gives up within half a second with `httpx.ReadError` (or
    `httpx.ConnectError`, `httpx.WriteError`). Only looking up a name cannot be stopped: the system's resolver takes
    up to 30 seconds or so where no name server answers (5 s, twice, for each of three servers), so a program that has
    to end sooner asks in a daemon thread.

    Raises, when asked: Forbidden for a link the kit does not follow; `httpx.InvalidURL` or ValueError for a text that
    is no URL; `httpx.TransportError` for a host that cannot be reached or breaks off.
    """
    return httpx.Client(
        transport=_Transport(listed, stop),
        headers=HEADERS | {"User-Agent": user_agent},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx.Timeout(30, connect=10),
        follow_redirects=False,
        trust_env=False,
    )


class _Transport(httpx.BaseTransport):
    """Judges the link, then leaves the talking to a pool whose connections judge the addresses."""

    def __init__(self, listed: Iterable[str], stop: threading.Event) -> None:
        self._listed = {_origin(httpx.URL(text)) for text in listed}
        tls = _tls()
        self._anywhere, self._in_public = (
            httpcore.ConnectionPool(
                tls, max_connections=None, max_keepalive_connections=0, network_backend=_Backend(stop, public=public)
            )
            for public in (False, True)
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; of its extensions only the timeouts count, others could rename the host."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        pool, url = self._pool_for(request.url), request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={"timeout": request.extensions.get("timeout", {})},
        )
        with _as_httpx():
            answer = pool.handle_request(asked)
        said = {name: answer.extensions[name] for name in ("http_version", "reason_phrase")}
        body = _Body(answer, answer.extensions["network_stream"])
        return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=said)

    def close(self) -> None:
        """End every connection."""
        self._anywhere.close()
        self._in_public.close()

    def _pool_for(self, url: httpx.URL) -> httpcore.ConnectionPool:
        if url.userinfo:
            raise Forbidden("the link carries a user name or a password")
        if not url.host:
            raise Forbidden("the link names no host")
        if _origin(url) in self._listed:
            return self._anywhere
        if url.scheme != "https":
            raise Forbidden("the link is not https")
        if url.port is not None:  # httpx leaves out the scheme's own
            raise Forbidden(f"the link asks for port {url.port} where https has 443")
        return self._in_public


@cache
def _tls() -> ssl.SSLContext:
    """Return the one context of this process: to load the certificates takes 30 ms."""
    return httpx.create_ssl_context(trust_env=False)


def _origin(url: httpx.URL) -> Origin:
    return url.raw_scheme, url.raw_host, url.port


class _Body(httpx.SyncByteStream):
    """The body of an answer, with httpx's errors."""

    def __init__(self, answer: httpcore.Response, line: Line) -> None:
        self._answer, self._line = answer, line

    def __iter__(self) -> Iterator[bytes]:
        self._line.renew()
        with _as_httpx():
            for piece in self._answer.iter_stream():
                self._line.renew()
                yield piece

    def close(self) -> None:
        """End the connection."""
        self._answer.close()


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except tuple(SAME_NAME) as reason:
        raise SAME_NAME[type(reason)](str(reason)) from reason


class _Backend(httpcore.NetworkBackend):
    """Connects to a host; where `public` is set, only to one that has public addresses alone."""

    def __init__(self, stop: threading.Event, *, public: bool) -> None:
        self._stop, self._public = stop, public

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 the pool is given none
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 the pool is given none
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; `timeout` seconds are given to each."""
        with failing_as(httpcore.ConnectTimeout, httpcore.ConnectError):
            heed(self._stop)
            found = _look_up(host, port)
            if self._public:
                _refuse_if_not_public(found)
            return Line(self._first_of(_in_turn(found)[:TRIED], timeout), self._stop)

    def _first_of(self, found: list[Found], timeout: float | None) -> socket.socket:
        trouble: OSError = ConnectionError("the host has no address")
        for family, address in found:
            try:
                return connected(family, address, deadline_in(timeout), self._stop)
            except OSError as reason:
                trouble = reason
        raise trouble


def _look_up(host: str, port: int) -> list[Found]:
    """Return each address of a host, the system's favourite first."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise Forbidden("the link names a host that cannot be") from None
    return [(family, address) for family, _, _, _, address in found]


def _refuse_if_not_public(found: list[Found]) -> None:
    """Raise Forbidden if any address is not public: a name with one good and one bad is a trap."""
    for _, (address, _, *rest) in found:
        if not is_public(address) or any(rest[1:]):  # an IPv6 address ends with its zone, 0 where it has none
            raise Forbidden(f"the link's host is at {address}, which is no public address")


def _in_turn(found: list[Found]) -> list[Found]:
    """Return the addresses with the families alternating, so that a dead family costs one wait."""
    families = [list(group) for _, group in groupby(sorted(found, key=lambda f: f[0] != found[0][0]), lambda f: f[0])]
    ranked = [(rank, entry) for family in families for rank, entry in enumerate(family)]
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])]

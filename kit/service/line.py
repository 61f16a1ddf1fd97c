"""Owns one connection to a host: it reads as much as there is, and each wait can be stopped; it judges no address."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import httpcore

__all__ = ["Line", "SockAddress", "connected", "deadline_in", "failing_as", "heed"]

PIECE = 2**20  # read at once; with the 64 KiB that the pool asks for, the interpreter is busy with counting pieces
SLICE_S = 0.25  # how often a wait looks whether to stop
# Made for each wait: `poll` costs one call to the system where `epoll` costs four. Windows has neither.
SELECTOR: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
UNDERWAY = {errno.EINPROGRESS, errno.EWOULDBLOCK}

T = TypeVar("T")
SockAddress = tuple[Any, ...]  # as `socket.getaddrinfo` gives it and `connect` takes it


def connected(family: int, address: SockAddress, deadline: float, stop: threading.Event) -> socket.socket:
    """Return a socket that is connected to this very address and never blocks."""
    heed(stop)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)
        if code in UNDERWAY:
            _wait(sock, selectors.EVENT_WRITE, deadline, stop)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


class Line(httpcore.NetworkStream):
    """A connection that reads as much as there is, up to 1 MiB, and whose every wait can be stopped.

    For the head of an answer, and for each piece of its body, no read begins later than twice the timeout after the
    first: a host that sends one byte of a header, or of a chunk's size, just in time for each read would hold its
    reader for weeks.
    """

    def __init__(self, sock: socket.socket, stop: threading.Event) -> None:
        self._sock, self._stop = sock, stop
        self._until: float | None = None  # when the head or the piece has to be there

    def renew(self) -> None:
        """Give the next piece of the body its own time, from when it is read."""
        self._until = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 asks for too little
        """Return what has arrived, at most 1 MiB; nothing at the end."""
        if self._until is None:
            self._until = deadline_in(timeout and 2 * timeout)
        with failing_as(httpcore.ReadTimeout, httpcore.ReadError):
            heed(self._stop, self._until)  # here too: a line that is always faster makes nobody wait
            return self._patiently(partial(self._sock.recv, PIECE), selectors.EVENT_READ, deadline_in(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of `buffer`; `timeout` seconds are given to each piece that the system takes."""
        left = memoryview(buffer)
        with failing_as(httpcore.WriteTimeout, httpcore.WriteError):
            while left:
                sent = self._patiently(partial(self._sock.send, left), selectors.EVENT_WRITE, deadline_in(timeout))
                left = left[sent:]

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return the connection under TLS: `server_hostname` is asked for and has to be in the certificate."""
        try:
            with failing_as(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._sock = sock = ssl_context.wrap_socket(
                    self._sock,
                    server_hostname=server_hostname,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=False,  # who cuts the line must not make a body without a length look whole
                )
                self._patiently(sock.do_handshake, selectors.EVENT_READ, deadline_in(timeout))
        except BaseException:
            self.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return the TLS side where asked for; the pool looks there which protocol was agreed."""
        return self._sock if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket) else None

    def _patiently(self, attempt: Callable[[], T], event: int, deadline: float) -> T:
        """Attempt until it needs no waiting any more."""
        while True:
            try:
                return attempt()
            except ssl.SSLWantReadError:
                wanted = selectors.EVENT_READ
            except ssl.SSLWantWriteError:
                wanted = selectors.EVENT_WRITE
            except BlockingIOError:
                wanted = event
            _wait(self._sock, wanted, deadline, self._stop)


def _wait(sock: socket.socket, event: int, deadline: float, stop: threading.Event) -> None:
    """Wait until the socket is ready."""
    with SELECTOR() as selector:
        selector.register(sock, event)
        heed(stop, deadline)
        while not selector.select(min(deadline - time.monotonic(), SLICE_S)):
            heed(stop, deadline)


def heed(stop: threading.Event, deadline: float = math.inf) -> None:
    """Raise an OSError if it is time to give up: for good, or for this time."""
    if stop.is_set():
        raise ConnectionAbortedError("the service is ending")
    if time.monotonic() >= deadline:
        raise TimeoutError("nothing came in time")


def deadline_in(timeout: float | None) -> float:
    """Return when `timeout` seconds are over, on the monotonic clock."""
    return time.monotonic() + (math.inf if timeout is None else timeout)


@contextlib.contextmanager
def failing_as(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """Raise a socket's errors as the pool expects them."""
    try:
        yield
    except TimeoutError as reason:
        raise late(str(reason)) from reason
    except OSError as reason:
        raise broken(str(reason)) from reason

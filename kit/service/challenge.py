"""Owns the proof that a public URL leads to this very service: one request out, and it has to come in here."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx

from kit.service.ngrok_errors import cleaned, complaint_in
from kit.service.tunnel import Trouble

__all__ = ["Challenger", "Expecting"]

Expecting = Callable[[str], AbstractContextManager["asyncio.Future[None]"]]
HEADERS = {"ngrok-skip-browser-warning": "1", "user-agent": "callboard", "content-type": "application/json"}
READ_AT_MOST = 8192
FIRST_WORDS = 90


class Challenger:
    """Sends challenges, each with a fresh secret of 192 bits that is good for this one request."""

    def __init__(self, expecting: Expecting) -> None:
        self._expecting = expecting
        self._tls: ssl.SSLContext | None = None

    async def cross(self, url: str, *, within_s: float) -> Trouble | None:
        """Return None where a challenge went out through `url` and came in here, else what happened instead.

        Both halves are asked for: this service has heard it, and its answer came back through the same URL.
        """
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
        secret = secrets.token_urlsafe(24)
        with self._expecting(secret) as heard:
            try:
                async with asyncio.timeout(within_s):
                    status, headers, body = await self._post(f"{url}/cb/{secret}")
            except TimeoutError:
                return Trouble(_silence(url, within_s, heard.done()))
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as reason:
                return Trouble(_broken(url, reason, within_s, heard.done()))
            if status == 200 and heard.done():
                return None
            return _something_else(url, status, headers, body.replace(secret, "…"), heard.done())

    async def _post(self, target: str) -> tuple[int, httpx.Headers, str]:
        assert self._tls is not None
        # A client of its own each time: a connection that was kept would prove the past.
        client = httpx.AsyncClient(
            verify=self._tls, trust_env=False, follow_redirects=False, timeout=60
        )  # `cross` has the limit
        async with client, client.stream("POST", target, headers=HEADERS, content=b"{}") as answer:
            body = b""
            async for chunk in answer.aiter_raw(1024):
                body += chunk
                if len(body) >= READ_AT_MOST:
                    break
            return answer.status_code, answer.headers, body[:READ_AT_MOST].decode("utf-8", "replace")


def _silence(url: str, within_s: float, heard: bool) -> str:
    if heard:
        return f"A challenge to {url} came in here, but its answer did not find back within {within_s:.0f} s."
    return f"{url} takes requests and answers none: a challenge was lost in it for {within_s:.0f} s."


def _broken(url: str, reason: Exception, within_s: float, heard: bool) -> str:
    causes = list(_chain(reason))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"The name {httpx.URL(url).host} was not found (DNS). Is this machine online, and the address right?"
    if refusal := next((c for c in causes if isinstance(c, ssl.SSLError)), None):
        words = cleaned(getattr(refusal, "verify_message", "") or str(refusal.reason or refusal), longest=FIRST_WORDS)
        return f"{url} could not be trusted (TLS: {words})."
    if isinstance(reason, (httpx.TimeoutException, TimeoutError)):
        return _silence(url, within_s, heard)
    if isinstance(reason, (httpx.ConnectError, OSError)):
        return f"No answer came from {url}: nobody takes connections there."
    return f"What answers at {url} broke off, or does not speak HTTP."


def _something_else(url: str, status: int, headers: httpx.Headers, body: str, heard: bool) -> Trouble:
    complaint = complaint_in(f"{headers.get('ngrok-error-code', '')} {body}")
    if complaint is not None:
        return Trouble(complaint.sentence, lasting=complaint.lasting)
    words = cleaned(body, longest=FIRST_WORDS)
    spoken = f' and "{words}"' if words else ""
    if heard:
        return Trouble(f"A challenge to {url} came in here, but its answer came back as status {status}{spoken}.")
    return Trouble(f"{url} does not lead to this service: something else answered with status {status}{spoken}.")


def _chain(reason: BaseException) -> list[BaseException]:
    """Return an exception and all that led to it."""
    found: list[BaseException] = []
    cause: BaseException | None = reason
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found

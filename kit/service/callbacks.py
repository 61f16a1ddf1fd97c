"""Owns the one public route, the only thing the outside can reach: store, answer 200, and only then think."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

from kit.errors import LedgerError
from kit.ledger.facts import Delivery
from kit.ledger.store import MintedUrl
from kit.provider.signing import Signature, verify
from kit.provider.wire import parse_delivery
from kit.service.hub import Hub
from kit.service.providers import Providers

__all__ = ["PREFIX", "CallbackApp", "echo_of", "secret_hash"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)

PREFIX = "/cb/"
_SECRET = re.compile(
    rb"/cb\\?/([A-Za-z0-9_-]{16,64})"
)  # a slash may be escaped, and the URL may be in JSON in a string
_ECHO = re.compile(rb'cal+backurl\\*"\s*:\s*\\*"https?:', re.IGNORECASE)
BODY_LIMIT = 256 * 1024
DEADLINE_S = 10.0
RECEIVED = b'{"status":"received"}'  # what every sample of the providers answers; it echoes nothing
KEPT_HEADERS = frozenset({"content-type", "user-agent", "x-webhook-timestamp", "x-webhook-signature"})


def secret_hash(secret: str) -> bytes:
    """Return the form in which a callback URL's secret is kept and looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def echo_of(hub: Hub, task: str, body: bytes) -> Literal["ours", "other", "none"]:
    """Tell whose callback URL a details answer repeats: this task's, somebody else's, or nobody's."""
    found = (hub.ledger.find_url(secret_hash(m.decode("ascii"))) for m in _SECRET.findall(body))
    if any(url is not None and url.task == task for url in found):
        return "ours"
    return "other" if _ECHO.search(body) else "none"


class CallbackApp:
    """A plain ASGI app: POST /cb/<secret>, nothing else.

    A delivery on a known URL is stored as it came, committed, and answered 200 within milliseconds; what it means is
    worked out afterwards by `understand`. Only a store that failed earns 503, so that the provider tries again.
    """

    def __init__(
        self,
        hub: Hub,
        providers: Providers,
        *,
        understand: Callable[[MintedUrl, Delivery, int], Coroutine[Any, Any, None]],
    ) -> None:
        self._hub, self._providers, self._understand = hub, providers, understand
        self.counts: Counter[str] = Counter()
        self._thinking: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if not path.startswith(PREFIX):
            await self._refuse(send, 404, "not_found")
        elif scope["method"] != "POST":
            await self._refuse(send, 405, "wrong_method")
        elif (url := self._url(path.removeprefix(PREFIX))) is None:
            await self._refuse(send, 404, "unknown_url")
        elif (body := await _read_body(receive)) is None:
            await self._refuse(send, 413, "too_large_or_slow")
        else:
            await self._keep(url, _headers(scope), body, send)

    def _url(self, secret: str) -> MintedUrl | None:
        """Return the URL that was handed out with this secret, unless its time is over."""
        url = self._hub.ledger.find_url(secret_hash(secret))
        over = url is not None and url.expires_at is not None and url.expires_at < datetime.now(UTC)
        return None if over else url

    async def _keep(self, url: MintedUrl, headers: dict[str, str], body: bytes, send: Send) -> None:
        signature = self._signature(url, headers, body)
        fact = Delivery(task=url.task, at=datetime.now(UTC), body=body, headers=headers, signature=signature)
        try:
            (seq,) = await self._hub.store(fact)
        except LedgerError:
            _log.exception("a delivery could not be stored; answering 503")
            await self._refuse(send, 503, "not_stored", (b"retry-after", b"5"))
            return
        self.counts["stored"] += 1
        await _answer(send, 200, RECEIVED)
        thought = asyncio.create_task(self._understand(url, fact, seq))
        self._thinking.add(thought)
        thought.add_done_callback(self._finished)

    def _signature(self, url: MintedUrl, headers: dict[str, str], body: bytes) -> Signature:
        """Return the verdict on the provider's signature; it covers the id alone and so only raises trust."""
        provider = self._providers.get(url.provider)
        if provider is None or provider.webhook_key is None:
            return "none"
        state = self._hub.states.get(url.task)
        task_id = (state.task_id if state else None) or parse_delivery(url.kind, provider.profile.dialect, body).task_id
        return verify(headers, task_id, provider.webhook_key, datetime.now(UTC))

    def _finished(self, thought: asyncio.Task[None]) -> None:
        self._thinking.discard(thought)
        if not thought.cancelled() and thought.exception() is not None:
            self.counts["not_understood"] += 1
            _log.error("a stored delivery could not be worked through", exc_info=thought.exception())

    async def _refuse(self, send: Send, status: int, counted: str, *headers: tuple[bytes, bytes]) -> None:
        self.counts[counted] += 1
        await _answer(send, status, b'{"status":"refused"}', *headers)


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None where it is over the limit, cut off, or slower than the deadline."""
    chunks, size = [], 0
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > BODY_LIMIT:
                    return None
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        return None


def _headers(scope: Scope) -> dict[str, str]:
    pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    return {name: value[:500] for name, value in pairs if name in KEPT_HEADERS}


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})

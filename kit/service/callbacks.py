"""Owns the one public route, the only thing the outside can reach: store, answer 200, and only then think."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from kit.errors import LedgerError
from kit.ledger.facts import Delivery
from kit.ledger.reading import fetch_facts
from kit.ledger.store import MintedUrl
from kit.provider.signing import Signature, verify
from kit.provider.wire import parse_delivery
from kit.service.hub import Hub
from kit.service.providers import Providers

__all__ = ["PREFIX", "CallbackApp", "echo_of", "secret_hash"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
News = Sequence[tuple[int, Delivery]]  # stored deliveries of one URL with their numbers; none where it is used up
Understand = Callable[[MintedUrl, News], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)

PREFIX = "/cb/"
_SECRET = re.compile(
    rb"/cb\\?/([A-Za-z0-9_-]{16,64})"
)  # a slash may be escaped, and the URL may be in JSON in a string
_ECHO = re.compile(rb'cal+backurl\\*"\s*:\s*\\*"https?:', re.IGNORECASE)

BODY_LIMIT = 256 * 1024
MOST_DELIVERIES = 200  # a URL that brought so many, or
MOST_NAMES = 256  # and up to this many are kept while nobody knows the task's id and a body may bring it
LONG_CALLBACK = 16 * 1024  # more than any documented callback has
MOST_BYTES = 1024 * 1024  # bodies of so many bytes together, is answered and heard but no longer kept
MOST_AT_ONCE = 16  # deliveries that are worked through without a pause
MOST_HELD = 8 * 1024 * 1024  # bytes of bodies that are held in memory until they are worked through
SLICE_S = 0.002  # of thinking, after which the loop is left to others
REST = 1.0  # for so many times as long, or
BUSY_REST = 19.0  # where more arrived meanwhile

RECEIVED = b'{"status":"received"}'  # what every sample of the providers answers; it echoes nothing
REFUSED = b'{"status":"refused"}'
_JSON = (b"content-type", b"application/json")
_KEPT_HEADERS = {
    name.encode(): name for name in ("content-type", "user-agent", "x-webhook-timestamp", "x-webhook-signature")
}


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

    def __init__(self, hub: Hub, providers: Providers, counts: Counter[str], *, understand: Understand) -> None:
        self.counts = counts
        self._hub, self._providers = hub, providers
        self._thinking = _Thinking(understand, counts, hub.ledger.path)
        self._expected: dict[bytes, asyncio.Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if not path.startswith(PREFIX):
            await self._refuse(send, 404, "not_found")
        elif scope["method"] != "POST":
            await self._refuse(send, 405, "wrong_method")
        elif (body := await _read_body(receive)) is None:
            await self._refuse(send, 413, "too_large")
        else:
            await self._take(secret_hash(path[len(PREFIX) :]), scope, body, send)

    @contextmanager
    def expecting(self, secret: str) -> Iterator[asyncio.Future[None]]:
        """Answer POST /cb/<secret> like a delivery while this is open, keep nothing, and set the future it yields."""
        key = secret_hash(secret)
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[key] = arrived
        try:
            yield arrived
        finally:
            del self._expected[key]
            arrived.cancel()

    async def _take(self, key: bytes, scope: Scope, body: bytes, send: Send) -> None:
        """Answer a POST to the URL whose secret has the hash `key`."""
        url = self._hub.ledger.find_url(key)
        if url is None:
            await self._meet(key, send)
        elif url.expires_at is not None and url.expires_at < datetime.now(UTC):
            await self._refuse(send, 404, "expired_url")
        elif self._used_up(url, body):
            self.counts["capped"] += 1
            await _answer(send, 200, RECEIVED)
            self._thinking.about(url)
        else:
            await self._keep(url, _headers(scope), body, send)

    async def _meet(self, key: bytes, send: Send) -> None:
        arrived = self._expected.get(key)
        if arrived is None:
            await self._refuse(send, 404, "unknown_url")
            return
        self.counts["challenged"] += 1
        if not arrived.done():
            arrived.set_result(None)
        await _answer(send, 200, RECEIVED)

    def _used_up(self, url: MintedUrl, body: bytes) -> bool:
        """Tell whether this URL has brought all that is kept of one, counting what is on its way to the disk."""
        so_far = self._hub.arrivals.get(url.task)
        if so_far is None or (so_far.count < MOST_DELIVERIES and so_far.size + len(body) <= MOST_BYTES):
            return False
        return so_far.count >= MOST_NAMES or not self._names_it(url, body)

    def _names_it(self, url: MintedUrl, body: bytes) -> bool:
        """Tell whether this may be the one callback that names a submission whose answer was lost.

        Whoever knows that URL can use it up with anything; this is still kept.
        """
        state = self._hub.states.get(url.task)
        if state is None or state.task_id is not None or len(body) > LONG_CALLBACK:
            return False
        named = parse_delivery(url.kind, "kie" if url.dialect == "kie" else "sunoapi", body).task_id
        return named is not None and all(heard.report.task_id != named for heard in state.evidence.heard)

    async def _keep(self, url: MintedUrl, headers: dict[str, str], body: bytes, send: Send) -> None:
        signature = self._signature(url, headers, body)
        fact = Delivery(task=url.task, at=datetime.now(UTC), body=body, headers=headers, signature=signature)
        try:
            seq = await self._hub.deliver(fact)
        except LedgerError:
            _log.exception("a delivery could not be stored; answering 503")
            await self._refuse(send, 503, "not_stored", (b"retry-after", b"5"))
            return
        self.counts["stored"] += 1
        await _answer(send, 200, RECEIVED)
        self._thinking.about(url, seq, fact)

    def _signature(self, url: MintedUrl, headers: dict[str, str], body: bytes) -> Signature:
        """Return the verdict on the provider's signature; it covers the id alone and so only raises trust."""
        provider = self._providers.get(url.provider)
        if provider is None or provider.webhook_key is None or "x-webhook-signature" not in headers:
            return "none"
        state = self._hub.states.get(url.task)
        task_id = (state.task_id if state else None) or parse_delivery(url.kind, provider.profile.dialect, body).task_id
        return verify(headers, task_id, provider.webhook_key, datetime.now(UTC))

    async def _refuse(self, send: Send, status: int, counted: str, *headers: tuple[bytes, bytes]) -> None:
        self.counts[counted] += 1
        await _answer(send, status, REFUSED, *headers)


class _Thinking:
    """Works through what was stored: one task after the other in the order of arrival, in short slices.

    While more arrives, a twentieth of the loop's time at most goes to thinking, and half of it otherwise. What has to
    wait long is forgotten except for its number, and read again when its turn has come.
    """

    def __init__(self, understand: Understand, counts: Counter[str], ledger: Path) -> None:
        self._understand, self._counts, self._ledger = understand, counts, ledger
        self._waiting: dict[str, tuple[MintedUrl, list[tuple[int, Delivery | None]]]] = {}
        self._held = 0  # bytes of the bodies that wait
        self._arrived = 0
        self._worker: asyncio.Task[None] | None = None

    def about(self, url: MintedUrl, seq: int | None = None, fact: Delivery | None = None) -> None:
        """Have a delivery worked through soon; one that was not kept is still a reason to ask."""
        self._arrived += 1
        _, news = self._waiting.setdefault(url.task, (url, []))
        if seq is not None and fact is not None:
            held = self._held < MOST_HELD
            self._held += len(fact.body) if held else 0
            news.append((seq, fact if held else None))
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        spent, seen = 0.0, self._arrived
        try:
            while self._waiting:
                url, news = self._waiting.pop(next(iter(self._waiting)))
                whole = await self._whole(url.task, news)
                for start in range(0, len(whole) or 1, MOST_AT_ONCE):
                    began = clock()
                    await self._one(url, whole[start : start + MOST_AT_ONCE])
                    spent += clock() - began
                    if spent >= SLICE_S:
                        rest = REST if self._arrived == seen else BUSY_REST
                        pause, spent, seen = spent * rest, 0.0, self._arrived
                        await asyncio.sleep(pause)
        finally:
            self._worker = None

    async def _one(self, url: MintedUrl, news: News) -> None:
        try:
            await self._understand(url, news)
        except Exception:
            self._counts["not_understood"] += max(1, len(news))
            _log.exception("stored deliveries of %s could not be worked through", url.task)

    async def _whole(self, task: str, news: list[tuple[int, Delivery | None]]) -> list[tuple[int, Delivery]]:
        """Return the deliveries with what was forgotten of them read again."""
        held = {seq: fact for seq, fact in news if fact is not None}
        self._held -= sum(len(fact.body) for fact in held.values())
        wanted = {seq for seq, fact in news if fact is None}
        if wanted:
            try:
                read = await asyncio.to_thread(fetch_facts, self._ledger, task=task, since=min(wanted) - 1)
            except LedgerError:
                self._counts["not_understood"] += len(wanted)
                _log.exception("stored deliveries of %s could not be read again", task)
            else:
                held |= {seq: fact for seq, fact in read if seq in wanted and isinstance(fact, Delivery)}
        return sorted(held.items())


async def _read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None where it is over the limit or cut off."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            return None
    return None if message["type"] == "http.disconnect" or len(body) > BODY_LIMIT else body


def _headers(scope: Scope) -> dict[str, str]:
    kept = {}
    for name, value in scope["headers"]:
        if name in _KEPT_HEADERS:
            kept[_KEPT_HEADERS[name]] = value[:500].decode("latin-1")
    return kept


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fixed = (_JSON, (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": (*fixed, *headers)})
    await send({"type": "http.response.body", "body": body})

"""Owns every request that goes to a provider: pacing, retries, error mapping; knows nothing of rows or callbacks."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from kit.errors import ProviderError, SettingsError
from kit.provider.codes import Dialect, meaning
from kit.provider.kinds import CREDITS_PATH, kind_named
from kit.provider.pace import Pace
from kit.provider.reading import MAX_BODY, inflate, load, number, whole
from kit.provider.wire import Report, SubmitAnswer, parse_details, parse_submit, redact, submit_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kit.settings import Secret

__all__ = ["DEFAULT_USER_AGENT", "DetailsAnswer", "Pace", "ProviderClient"]

# Both hosts' edges refuse the defaults of some libraries (provider-api 1.1, 17).
DEFAULT_USER_AGENT = "Mozilla/5.0 (compatible; callboard/0.1)"
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
SUBMIT_PAUSES_S = (2.0, 5.0, 10.0)
DETAILS_PAUSES_S = (1.0, 3.0)

# Raised before a byte of the request has left, so no task can have been created.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)

# Of these, the ones that may be gone a moment later.
_PASSING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetailsAnswer:
    """Hold one details answer: the HTTP status, the body as it came (at most 1 MiB), and what it says."""

    http_status: int
    body: bytes
    report: Report


class ProviderClient:
    """Talks to one provider with one key; belongs to one event loop."""

    def __init__(
        self,
        dialect: Dialect,
        base_url: str,
        key: Secret | None,
        *,
        user_agent: str = DEFAULT_USER_AGENT,
        transport: httpx.AsyncBaseTransport | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.dialect = dialect
        self.base_url = base_url.rstrip("/")
        self._key, self._sleep = key, sleep
        self._pace = pace or Pace(clock=clock, sleep=sleep)
        self._http = httpx.AsyncClient(
            headers={"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
            | _authorization(key),
            transport=transport,
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=False,
            # A connection that the host closes while idle makes a submission's outcome unknown: keep none for long.
            limits=httpx.Limits(keepalive_expiry=2.0),
        )

    async def submit(self, kind: str, params: Mapping[str, Any], callback_url: str) -> SubmitAnswer:
        """Send one submission and return what became of it; raise `InvalidInput` before anything is sent.

        Sent again only where no task can have been created: no connection, a rate limit or maintenance
        (provider-api 1.3). No answer, HTTP 5xx and an unreadable answer give the outcome "unknown".
        """
        path = kind_named(kind).submit_path
        content = json.dumps(submit_body(kind, self.dialect, params, callback_url), ensure_ascii=False).encode()
        answer, again = await self._submit_once(kind, path, content)
        for pause in SUBMIT_PAUSES_S:
            if not again:
                break
            _log.info("%s submission not taken (code %s); next try in %.0f s", kind, answer.code, pause)
            await self._sleep(pause)
            answer, again = await self._submit_once(kind, path, content)
        return answer

    async def _submit_once(self, kind: str, path: str, content: bytes) -> tuple[SubmitAnswer, bool]:
        """Return the answer, and whether the same request may be sent again."""
        await self._pace.turn()
        try:
            status, body = await self._request("POST", path, content=content)
        except _NOT_SENT as reason:
            return SubmitAnswer("rejected", message=f"nothing was sent: {self._unreachable(reason)}"), isinstance(
                reason, _PASSING
            )
        except httpx.HTTPError as reason:
            message = f"the request left and no answer came ({type(reason).__name__}); a task may have been created"
            return SubmitAnswer("unknown", message=message), False
        answer = parse_submit(kind, self.dialect, status, body, secrets=self._secrets())
        if answer.code is None:  # the host's edge, not the provider: there 429 is a rate limit in every dialect
            return answer, status == 429
        cause = meaning(kind, self.dialect, "submit", answer.code).cause
        return answer, answer.outcome == "rejected" and cause in ("rate", "busy")

    async def details(self, kind: str, task_id: str) -> DetailsAnswer:
        """Ask for one task; raise `ProviderError` when the provider cannot be reached after three tries."""
        path = kind_named(kind).details_path
        status, body = await self._get(path, {"taskId": task_id})
        report = parse_details(kind, self.dialect, status, body)
        if report.message:
            report = replace(report, message=self._scrub(report.message))
        return DetailsAnswer(status, body, report)

    async def credits(self) -> float:
        """Return the account's balance in credits; raise `ProviderError` where the provider does not say."""
        status, body = await self._get(CREDITS_PATH[self.dialect], {})
        root = load(body).value
        if not isinstance(root, dict):
            raise ProviderError(self._no_json(status), http_status=status)
        code = whole(root.get("code"))
        balance = number(root.get("data"))
        if status >= 400 or code not in (200, None) or balance is None:
            code = status if code is None else code
            known = meaning("", self.dialect, "submit", code)
            said = self._scrub(str(root.get("msg") or "")[:200])
            raise ProviderError(
                f"{self.base_url} did not give the credits: code {code}, {known.meaning} ({said}). {known.next_step}",
                code=code,
                http_status=status,
            )
        return balance

    async def aclose(self) -> None:
        """Close the connections; more calls than one do no harm."""
        await self._http.aclose()

    async def _get(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body; ask again after a lost connection, HTTP 5xx or a rate limit, twice at most."""
        for pause in (*DETAILS_PAUSES_S, None):
            try:
                status, body = await self._request("GET", path, params=dict(query))
            except (httpx.HTTPError, httpx.InvalidURL) as reason:
                if pause is None or isinstance(reason, (httpx.UnsupportedProtocol, httpx.InvalidURL)):
                    raise ProviderError(self._unreachable(reason)) from reason
            else:
                if pause is None or not (status >= 500 or self._rate_limited(status, body)):
                    return status, body
            await self._sleep(pause)
        raise AssertionError("the last round returns or raises")

    def _rate_limited(self, status: int, body: bytes) -> bool:
        root = load(body).value
        if not isinstance(root, dict):
            return status == 429
        code = whole(root.get("code"))
        code = status if code is None else code
        return meaning("", self.dialect, "submit", code).cause in ("rate", "busy")

    async def _request(self, method: str, path: str, **kwargs: Any) -> tuple[int, bytes]:
        if "content" in kwargs:
            kwargs["headers"] = {"Content-Type": "application/json"}
        async with self._http.stream(method, self.base_url + path, **kwargs) as response:
            body = bytearray()
            # Raw, so that a compressed bomb is unpacked under a cap; a stand-in's answer may be read already.
            chunks = response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY:  # one byte more tells the reader that it was cut
                    break
        return response.status_code, inflate(bytes(body[: MAX_BODY + 1]))

    def _secrets(self) -> tuple[str, ...]:
        return (self._key.reveal(),) if self._key else ()

    def _scrub(self, text: str) -> str:
        return redact(text.encode(errors="replace"), self._secrets())

    def _unreachable(self, reason: Exception) -> str:
        why = self._scrub(str(reason))[:200] or type(reason).__name__
        return f"{self.base_url} could not be reached ({why}). Check the network and the address, then try again."

    def _no_json(self, status: int) -> str:
        if status == 403:
            return (
                f"{self.base_url}: the edge refused the client (HTTP 403 without JSON), before the key was read. "
                "Try another User-Agent or network; the key may be fine."
            )
        return f"{self.base_url} answered HTTP {status} without JSON. Try again in a minute."


def _authorization(key: Secret | None) -> dict[str, str]:
    if key is None:
        return {}
    plain = key.reveal()
    if not plain or not plain.isascii() or not plain.isprintable() or " " in plain:
        # Said here, because the HTTP library would put the key itself into its message.
        raise SettingsError("The API key holds a space, a line break or a non-ASCII character. Copy it again.")
    return {"Authorization": f"Bearer {plain}"}

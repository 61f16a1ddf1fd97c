"""Owns the way of a submission out: intent and callback URL durable first, then one request, then its answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from kit.errors import LedgerError, ServiceError, TunnelError
from kit.ledger.facts import Abandonment, Answer, Departure, Intent, new_id, request_key
from kit.ledger.fold import TaskState
from kit.ledger.store import MintedUrl
from kit.provider.kinds import kind_named
from kit.provider.profiles import Profile, profile_named
from kit.provider.wire import SubmitAnswer, check_params
from kit.service.callbacks import PREFIX, secret_hash
from kit.service.hub import Hub
from kit.service.providers import OpenProvider, Providers
from kit.service.ways import Way, Ways

__all__ = ["Submitter", "Wish"]

_log = logging.getLogger(__name__)

NOWHERE = "https://localhost/callboard-polls-instead"  # the field may not be empty (provider-api 10, OBS)
LISTEN_DAYS = 1
Origin = Literal["here", "adopted", "elsewhere"]
OUTCOME_UNKNOWN = SubmitAnswer(outcome="unknown", task_id=None, code=None, message=None, http_status=None, body="")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a notebook asks for, before it is an intent."""

    provider: str
    kind: str
    params: dict[str, Any]
    again: bool = False
    save: bool = True
    title: str | None = None
    task_id: str | None = None  # adopt this task of the provider instead of buying one
    instead_of: str | None = None  # our id of the row that a person gave up on


class Submitter:
    """Turns wishes into tasks, each sent at most once."""

    def __init__(self, hub: Hub, providers: Providers, ways: Ways) -> None:
        self._hub, self._providers, self._ways = hub, providers, ways
        self._sending: set[asyncio.Task[None]] = set()
        self._promised: dict[str, asyncio.Future[str]] = {}  # request keys whose intent is on its way to the disk
        self._closed = False
        self._again = asyncio.Lock()

    async def take(self, wish: Wish) -> tuple[str, bool]:
        """Return (our id, whether an earlier task answers the wish); the intent is durable on return."""
        profile = profile_named(wish.provider)
        params = check_params(wish.kind, profile.dialect, wish.params) if wish.task_id is None else wish.params
        key = request_key(wish.provider, wish.kind, params if wish.task_id is None else {"task_id": wish.task_id})
        if not wish.again and (known := await self._known(key, wish)):
            return known, True
        return await self._begin(wish, profile, params, key), False

    async def mint(self, kind: str, provider: str) -> tuple[str, str]:
        """Return (our id, URL) of a listen-only callback URL; what arrives there is one unconfirmed row."""
        profile = profile_named(provider)
        kind_named(kind)
        intent = self._intent(Wish(provider=provider, kind=kind, params={}), profile, {}, "", origin="elsewhere")
        secret, url = self._new_url(intent, profile, listen_only=True)
        base = self._way_in(provider)
        await self._hub.record(intent, urls=[url])
        return intent.task, f"{base}{PREFIX}{secret}"

    def _way_in(self, name: str) -> str:
        """Return the address under which what was submitted elsewhere gets here, or raise `TunnelError`."""
        opened, base = self._providers.get(name), self._providers.callback_base(name)
        if opened is None:
            return base
        if opened.profile.reach != "direct" and base == self._ways.direct_url:
            why = opened.way.problem or 'Connect with tunnel="ngrok" or public_url="https://..." first.'
            raise TunnelError(f"No callback can reach this machine, so no address was handed out. {why}")
        self._ways.used(opened.way)
        return base

    async def resubmit(self, id: str) -> str:
        """Buy what `id` wanted again and return our id of the new task; the same one however often it is asked.

        Raises:
            ServiceError: the task may still come to its end, or has come to a good one.
        """
        async with self._again:  # two clicks are one purchase
            provider = self._providers.get(self._hub.states[id].provider)
            if provider is not None:
                await self._ways.prove(provider.way)  # it may take a while, in which a callback may settle the task
            state = self._hub.states[id]
            if earlier := next((s for s in self._hub.states.values() if s.instead_of == id), None):
                return earlier.id
            if state.origin != "here" or state.status not in ("unconfirmed", "failed", "abandoned"):
                raise ServiceError(_not_again(state))
            wish = Wish(
                provider=state.provider,
                kind=state.kind,
                params=state.params,
                again=True,
                save=state.save,
                title=state.title,
                instead_of=id,
            )
            new, _ = await self.take(wish)
            if state.status == "unconfirmed":
                await self._hub.record(
                    Abandonment(task=id, at=datetime.now(UTC), reason=f"a person submitted it again as {new}")
                )
            return new

    async def recover(self) -> None:
        """Mark as unknown what had left when the service ended; it is never sent again by itself."""
        for state in [s for s in self._hub.states.values() if s.status == "submitting"]:
            await self._hub.record(_answer_fact(state.id, OUTCOME_UNKNOWN, None))

    async def drain(self) -> None:
        """Wait until every request that has left is answered and recorded."""
        while self._sending:
            await asyncio.wait(set(self._sending))

    async def close(self) -> None:
        """Take no more wishes, and wait for the answers to those that were sent."""
        self._closed = True
        await self.drain()

    async def _known(self, key: str, wish: Wish) -> str | None:
        if key in self._promised:
            return await asyncio.shield(self._promised[key])
        state = self._hub.earlier(key)
        if state is None and wish.task_id is not None:
            state = self._hub.by_task_id(wish.provider, wish.task_id, besides="")
        return state.id if state else None

    async def _begin(self, wish: Wish, profile: Profile, params: dict[str, Any], key: str) -> str:
        provider = self._providers.get(wish.provider)
        if self._closed:
            raise ServiceError("The background service is ending; connect again, then submit. Nothing was sent.")
        if provider is None:
            raise ServiceError(f"{wish.provider} is not open in the service; connect again: kit.connect().")
        origin: Origin = "here" if wish.task_id is None else "adopted"
        intent = self._intent(wish, profile, params, key, origin=origin)
        promise = self._promised[key] = asyncio.get_running_loop().create_future()
        try:
            await self._send_or_adopt(intent, provider, params)
        except BaseException as reason:
            promise.set_exception(reason)
            promise.exception()  # whoever waits for it raises it; nobody has to
            raise
        else:
            promise.set_result(intent.task)
        finally:
            if self._promised.get(key) is promise:  # a wish with again=True may have put its own in this place
                del self._promised[key]
        return intent.task

    async def _send_or_adopt(self, intent: Intent, provider: OpenProvider, params: dict[str, Any]) -> None:
        if intent.origin == "adopted":
            await self._hub.record(intent)
            return
        way = await self._proven_way(intent.provider, provider)
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sending = asyncio.create_task(self._leave(intent, provider, params, way, recorded))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await asyncio.shield(recorded)

    async def _proven_way(self, name: str, provider: OpenProvider) -> Way:
        """Return the way of the callbacks, proven; nothing is recorded before, so that a refusal costs nothing."""
        while True:
            way = provider.way
            await self._ways.prove(way)
            if self._closed or self._providers.get(name) is not provider:
                raise ServiceError(f"{name} was opened anew just now; nothing was sent. Submit again.")
            if provider.way is way:  # else another notebook chose another way meanwhile
                return way

    async def _leave(
        self,
        intent: Intent,
        provider: OpenProvider,
        params: dict[str, Any],
        way: Way,
        recorded: asyncio.Future[None],
    ) -> None:
        """Record that a request leaves and send it; until it is answered the service does not end."""
        callback_url, urls = NOWHERE, []
        if way.url is not None:
            secret, url = self._new_url(intent, provider.profile, listen_only=False)
            callback_url, urls = f"{way.url}{PREFIX}{secret}", [url]
            self._ways.used(way)
        departure = Departure(task=intent.task, at=datetime.now(UTC), listening=bool(urls))
        try:
            await self._hub.record(intent, departure, urls=urls)
        except Exception as reason:
            recorded.set_exception(reason)
            return
        recorded.set_result(None)
        await self._send(intent, provider, params, callback_url)

    async def _send(self, intent: Intent, provider: OpenProvider, params: dict[str, Any], callback_url: str) -> None:
        try:
            answer = await provider.client.submit(intent.kind, params, callback_url)
        except Exception:  # whatever went wrong, the request may have left: the outcome is unknown, and that is kept
            _log.exception("submitting %s broke off", intent.task)
            answer = OUTCOME_UNKNOWN
        known = self._already_ours(intent, answer) if answer.outcome == "duplicate" else None
        await self._keep(_answer_fact(intent.task, answer, known.id if known else None))

    async def _keep(self, fact: Answer) -> None:
        """Record an answer, and try again where the disk refuses: the id of a paid task exists nowhere else."""
        for pause in (1, 5, 20, None):
            try:
                await self._hub.record(fact)
            except LedgerError:
                _log.exception("the answer for %s could not be kept; its provider id is %s", fact.task, fact.task_id)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    def _already_ours(self, intent: Intent, answer: SubmitAnswer) -> TaskState | None:
        """Return the row that holds what the provider calls a duplicate (provider-api 1.5)."""
        if answer.task_id:
            return self._hub.by_task_id(intent.provider, answer.task_id, besides=intent.task)
        keys = kind_named(intent.kind).dedup
        twins = (
            s
            for s in self._hub.states.values()
            if (s.provider, s.kind) == (intent.provider, intent.kind)
            and s.id != intent.task
            and s.task_id
            and all(s.params.get(k) == intent.params.get(k) for k in keys)
        )
        return next(twins, None) if keys else None

    def _intent(self, wish: Wish, profile: Profile, params: dict[str, Any], key: str, *, origin: Origin) -> Intent:
        return Intent(
            task=new_id(),
            at=datetime.now(UTC),
            kind=wish.kind,
            provider=wish.provider,
            dialect=profile.dialect,
            params=params,
            request_key=key,
            title=wish.title,
            parent_task_id=params.get("task_id"),
            audio_id=params.get("audio_id"),
            origin=origin,
            task_id=wish.task_id,
            save=wish.save,
            instead_of=wish.instead_of,
        )

    def _new_url(self, intent: Intent, profile: Profile, *, listen_only: bool) -> tuple[str, MintedUrl]:
        secret = secrets.token_urlsafe(24)
        url = MintedUrl(
            secret_hash=secret_hash(secret),
            task=intent.task,
            kind=intent.kind,
            provider=intent.provider,
            dialect=profile.dialect,
            listen_only=listen_only,
            created_at=intent.at,
            expires_at=intent.at + timedelta(days=LISTEN_DAYS) if listen_only else None,
        )
        return secret, url


def _answer_fact(id: str, answer: SubmitAnswer, known_as: str | None) -> Answer:
    return Answer(
        task=id,
        at=datetime.now(UTC),
        outcome=answer.outcome,
        task_id=answer.task_id,
        code=answer.code,
        message=answer.message,
        http_status=answer.http_status,
        body=answer.body,
        known_as=known_as,
    )


def _not_again(state: TaskState) -> str:
    """Return why a task cannot be submitted again in its own stead."""
    if state.origin != "here":
        return f"Task {state.id} was not submitted here, so it cannot be submitted again; task.forget() lets it go."
    kind, stands = kind_named(state.kind), f"Task {state.id} is {state.status}, so nothing was submitted again."
    if kind.dedup:  # the provider makes only one
        return f"{stands} Its result: session.task({state.id!r}).wait()."
    return f"{stands} To buy another one: {kind.example[:-1]}, again=True)."

"""Owns the providers that are open: profile, key in memory, client and local program; it submits nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kit.errors import ServiceError
from kit.provider.client import DEFAULT_USER_AGENT, ProviderClient
from kit.provider.profiles import PROFILES, Profile, profile_named
from kit.service.children import Children
from kit.service.programs import Program
from kit.service.record import write_private
from kit.service.ways import Reach, Way, Ways
from kit.settings import Secret

__all__ = ["OpenProvider", "Providers", "Terms"]

_log = logging.getLogger(__name__)

# A local program sells nothing: its keys only have to be the same on both sides, and a person's never go there.
LOCAL_KEY, LOCAL_WEBHOOK_KEY = Secret("sandbox-key"), Secret("sandbox-webhook-key")
DEFAULT_SPEED = 20.0


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a person wants a provider opened; None leaves it as it is."""

    key: Secret | None = None
    webhook_key: Secret | None = None
    speed: float | None = None
    user_agent: str | None = None
    reach: Reach | None = None


@dataclass
class OpenProvider:
    """A provider that can be asked: who it is, where, with which key, and how fast its time runs."""

    profile: Profile
    key: Secret
    webhook_key: Secret | None
    client: ProviderClient
    program: Program | None
    speed: float
    way: Way
    user_agent: str = DEFAULT_USER_AGENT

    @property
    def base_url(self) -> str:
        """The API's address; a local program's may change when it has to start again on another port."""
        return self.client.base_url

    @property
    def poll_s(self) -> float:
        """Seconds between two polls of one task, at the provider's own pace."""
        return max(0.25, self.profile.poll_s / self.speed)

    def describe(self) -> dict[str, object]:
        """Return what a kernel may know of it; the key stays here."""
        return {
            "base_url": self.base_url,
            "admin_token": self.program.admin_token if self.program else None,
            "way": self.way.describe(),
        }


class Providers:
    """The providers of one service, by profile name."""

    def __init__(self, area: Path, state: Path, ways: Ways, children: Children) -> None:
        self._area, self._kept = area, state / "ports.json"
        self._ways, self._children = ways, children
        self._open: dict[str, OpenProvider] = {}
        self._opening = asyncio.Lock()  # two kernels may connect at the same moment, and a program starts once

    def get(self, name: str) -> OpenProvider | None:
        """Return the open provider called `name`."""
        return self._open.get(name)

    def all(self) -> list[OpenProvider]:
        """Return every open provider."""
        return list(self._open.values())

    def callback_base(self, name: str) -> str:
        """Return the address under which callbacks of `name` get here, also where that provider is not open."""
        own = [self._open[name].way] if name in self._open else []
        public = [p.way for p in self._open.values() if p.way.driver in ("ngrok", "url")]
        return next((way.url for way in (*own, *public) if way.url), None) or self._ways.direct_url

    def reachable(self, name: str) -> bool:
        """Tell whether files of `name` can be fetched: media hosts want no key, but a local program has to run."""
        return name in self._open or (name in PROFILES and PROFILES[name].program is None)

    def listed(self, name: str) -> tuple[str, ...]:
        """Return the origins that files of `name` may come from beside public https: those listed, its program's."""
        opened = self._open.get(name)
        own = (opened.base_url,) if opened is not None and opened.program is not None else ()
        return (*profile_named(name).media_origins, *own)

    async def open(self, name: str, terms: Terms, *, in_use: bool) -> OpenProvider:
        """Open a provider, or return the open one; `in_use` forbids replacing its key.

        Raises:
            ServiceError: it is open with another key while tasks or notebooks depend on that one.
        """
        profile = profile_named(name)
        async with self._opening:
            current = self._open.get(name)
            if current is None or not self._suits(current, terms, in_use=in_use):
                if current is not None:
                    del self._open[name]  # first, so that nothing is sent through it where its successor does not start
                    await self._close(current)
                current = self._open[name] = await self._start(profile, terms, current)
            if terms.reach is not None:
                current.way = await self._ways.open(terms.reach)
            return current

    def user_agent(self, name: str) -> str:
        """Return how requests for a provider's files name themselves."""
        opened = self._open.get(name)
        return opened.user_agent if opened is not None else DEFAULT_USER_AGENT

    async def close(self) -> None:
        """Close every client and end every local program."""
        for provider in self._open.values():
            await self._close(provider)
        self._open.clear()

    def _suits(self, current: OpenProvider, terms: Terms, *, in_use: bool) -> bool:
        key = terms.key or LOCAL_KEY
        if current.key != key and in_use:
            raise ServiceError(
                f"The service on {str(self._area)!r} works for {current.profile.name} with another key (fingerprint "
                f"{current.key.fingerprint()}, yours {key.fingerprint()}), and tasks or notebooks depend on it. Close "
                "them first, or use another folder: kit.connect(..., data='~/callboard-2')."
            )
        kept = current.program is not None or terms.webhook_key in (None, current.webhook_key)
        same = terms.speed in (None, current.speed) and terms.user_agent in (None, current.user_agent)
        return current.key == key and kept and same

    async def _start(self, profile: Profile, terms: Terms, before: OpenProvider | None) -> OpenProvider:
        program, speed = None, 1.0
        base_url, key, webhook_key = profile.base_url or "", terms.key or LOCAL_KEY, terms.webhook_key
        way = before.way if before else await self._ways.open(_usual(profile))
        if profile.program is not None:
            speed = terms.speed or DEFAULT_SPEED
            webhook_key = LOCAL_WEBHOOK_KEY if profile.signature else None
            program = await self._run(profile, speed)
            base_url = program.base_url
        agent = terms.user_agent or DEFAULT_USER_AGENT
        client = ProviderClient(profile.dialect, base_url, key, user_agent=agent)
        if program is not None:
            program.on_move = partial(self._follow, profile.name, client)
        return OpenProvider(profile, key, webhook_key, client, program, speed, way, agent)

    async def _run(self, profile: Profile, speed: float) -> Program:
        assert profile.program is not None
        ports = self._read_ports()
        folder = self._area / f"provider-{profile.name}"
        token = self._kept.with_name(f"{profile.name}.token")
        port = ports.get(profile.name, 0)
        program = Program(profile.program, folder, token_file=token, port=port, speed=speed, children=self._children)
        await program.start()
        write_private(self._kept, ports | {profile.name: program.port})
        return program

    def _follow(self, name: str, client: ProviderClient, url: str) -> None:
        """Ask a local program where it listens now, and keep that port for the next start."""
        client.base_url = url
        try:
            write_private(self._kept, self._read_ports() | {name: int(url.rsplit(":", 1)[1])})
        except OSError as reason:
            _log.warning("the port of %s cannot be kept for the next start: %s", name, reason)

    async def _close(self, provider: OpenProvider) -> None:
        await provider.client.aclose()
        if provider.program is not None:
            await provider.program.stop()

    def _read_ports(self) -> dict[str, int]:
        try:
            return {str(k): int(v) for k, v in json.loads(self._kept.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            return {}


def _usual(profile: Profile) -> Reach:
    """Return how callbacks get here where nobody said it: directly from this machine, else not at all."""
    return Reach(driver="direct" if profile.reach == "direct" else "none")

"""Owns the providers that are open: profile, key in memory, client and local program; it submits nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kit.errors import ServiceError
from kit.provider.client import ProviderClient
from kit.provider.profiles import Profile, profile_named
from kit.service.programs import Program
from kit.service.record import write_private
from kit.settings import Secret

__all__ = ["OpenProvider", "Providers"]

LOCAL_KEY = Secret("sandbox-key")  # a local program sells nothing; its key only has to be the same on both sides
DEFAULT_SPEED = 20.0


@dataclass
class OpenProvider:
    """A provider that can be asked: who it is, where, with which key, and how fast its time runs."""

    profile: Profile
    base_url: str
    key: Secret
    webhook_key: Secret | None
    client: ProviderClient
    program: Program | None
    speed: float

    @property
    def poll_s(self) -> float:
        """Seconds between two polls of one task, at the provider's own pace."""
        return max(0.25, self.profile.poll_s / self.speed)

    def may_fetch(self, url: str) -> bool:
        """Tell whether a file may be fetched from `url`: https anywhere, or an origin that the profile lists."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        own = (*self.profile.media_origins, self.base_url) if self.program else self.profile.media_origins
        return parts.scheme == "https" or origin in own

    def describe(self) -> dict[str, object]:
        """Return what a kernel may know of it; the key stays here."""
        return {
            "name": self.profile.name,
            "base_url": self.base_url,
            "reach": self.profile.reach,
            "speed": self.speed,
            "admin_token": self.program.admin_token if self.program else None,
        }


class Providers:
    """The providers of one service, by profile name."""

    def __init__(self, area: Path, state: Path) -> None:
        self._area, self._kept = area, state / "ports.json"
        self._open: dict[str, OpenProvider] = {}
        self._opening = asyncio.Lock()  # two kernels may connect at the same moment, and a program starts once

    def get(self, name: str) -> OpenProvider | None:
        """Return the open provider called `name`."""
        return self._open.get(name)

    def names(self) -> list[str]:
        """Return the names of the open providers."""
        return sorted(self._open)

    async def open(
        self, name: str, *, key: Secret | None, webhook_key: Secret | None, speed: float | None, in_use: bool
    ) -> OpenProvider:
        """Open a provider, or return the open one; `in_use` forbids replacing its key.

        Raises:
            ServiceError: it is open with another key while tasks or notebooks depend on that one.
        """
        profile = profile_named(name)
        async with self._opening:
            current = self._open.get(name)
            if current is not None and self._suits(current, key or LOCAL_KEY, speed, in_use=in_use):
                current.webhook_key = webhook_key or current.webhook_key
                return current
            if current is not None:
                await self._close(current)
            self._open[name] = await self._start(profile, key or LOCAL_KEY, webhook_key, speed)
            return self._open[name]

    async def close(self) -> None:
        """Close every client and end every local program."""
        for provider in self._open.values():
            await self._close(provider)
        self._open.clear()

    def _suits(self, current: OpenProvider, key: Secret, speed: float | None, *, in_use: bool) -> bool:
        if current.key != key and in_use:
            raise ServiceError(
                f"The service on {str(self._area)!r} works for {current.profile.name} with another key (fingerprint "
                f"{current.key.fingerprint()}, yours {key.fingerprint()}), and tasks or notebooks depend on it. Close "
                "them first, or use another folder: kit.connect(..., data='~/callboard-2')."
            )
        return current.key == key and speed in (None, current.speed)

    async def _start(
        self, profile: Profile, key: Secret, webhook_key: Secret | None, speed: float | None
    ) -> OpenProvider:
        program = None
        base_url = profile.base_url or ""
        pace = 1.0
        if profile.program is not None:
            pace = speed or DEFAULT_SPEED
            program = await self._run(profile, pace)
            base_url = program.base_url
        client = ProviderClient(profile.dialect, base_url, key)
        return OpenProvider(profile, base_url, key, webhook_key, client, program, pace)

    async def _run(self, profile: Profile, speed: float) -> Program:
        assert profile.program is not None
        ports = self._read_ports()
        folder = self._area / f"provider-{profile.name}"
        token = self._kept.with_name(f"{profile.name}.token")
        port = ports.get(profile.name, 0)
        program = Program(profile.program, folder, token_file=token, port=port, speed=speed)
        await program.start()
        write_private(self._kept, ports | {profile.name: program.port})
        return program

    async def _close(self, provider: OpenProvider) -> None:
        await provider.client.aclose()
        if provider.program is not None:
            await provider.program.stop()

    def _read_ports(self) -> dict[str, int]:
        try:
            return {str(k): int(v) for k, v in json.loads(self._kept.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            return {}

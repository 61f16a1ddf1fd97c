"""Owns what a way to this machine is, and the small interface of what opens one; it starts nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from kit.errors import TunnelError
from kit.settings import Secret

__all__ = ["Driver", "OwnUrl", "Reach", "State", "Trouble", "Way", "no_way"]

Name = Literal["direct", "ngrok", "url", "none"]
State = Literal["closed", "opening", "open", "proven", "down"]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a session asked for.

    Attributes:
        driver: "direct" on loopback, "ngrok" through its agent, "url" of one's own, "none" for polling alone.
        url: the public address, for "url".
        token: the ngrok account's, for "ngrok".
        program: where the ngrok agent is (KIT_NGROK_PATH); where it is None, pyngrok's own place.
    """

    driver: Name
    url: str | None = None
    token: Secret | None = None
    program: str | None = None


@dataclass(eq=False)
class Way:
    """How callbacks of a provider reach this machine, as it stands now.

    Attributes:
        url: what callback URLs begin with; None where there is none, or none yet. It stays while the way is mended.
        state: "open" has a URL, "proven" was crossed by a challenge, "down" is being mended; "closed" is no way at all.
        problem: what is wrong, or what is going on, and the next step; None where all is well.
        since: since when it has been in this state.
        proven_at: when a challenge last crossed it.
        restarts: how often it had to be opened again.
    """

    driver: Name
    url: str | None = None
    state: State = "closed"
    problem: str | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    proven_at: datetime | None = None
    restarts: int = 0

    def describe(self) -> dict[str, Any]:
        """Return all of it as JSON, times in ISO 8601 (UTC)."""
        return {
            "driver": self.driver,
            "url": self.url,
            "state": self.state,
            "problem": self.problem,
            "since": self.since.isoformat(),
            "proven_at": self.proven_at.isoformat() if self.proven_at else None,
            "restarts": self.restarts,
        }


class Trouble(Exception):  # it travels inside this room alone; whoever submits gets a `TunnelError`
    """A way is not there, or no longer.

    Attributes:
        sentence: what happened and the next step, fit to be shown.
        lasting: only a person can mend it, so that trying again soon is of no use.
        mending: whoever holds the other end is at it, so that it is given a moment before all is opened again.
    """

    def __init__(self, sentence: str, *, lasting: bool = False, mending: bool = False) -> None:
        super().__init__(sentence)
        self.sentence, self.lasting, self.mending = sentence, lasting, mending


class Driver(Protocol):
    """What the keeper asks of whoever opens a way; one `open` after another, each ended by a `close`."""

    advice: str

    async def open(self, tell: Callable[[str], None]) -> str:
        """Return the public URL; `tell` shows what takes long. Raises `Trouble`, and no other exception."""

    async def look(self) -> Trouble | None:
        """Return what is wrong as far as this machine can see, without a request that leaves it."""

    async def close(self) -> None:
        """End all that was started; again and again without harm."""


class OwnUrl:
    """An address that a person made lead here: there is nothing to open, and only a challenge tells how it stands."""

    def __init__(self, url: str, public_port: Callable[[], int]) -> None:
        self._url = url
        self.advice = f"Make {url} lead to http://127.0.0.1:{public_port()} on this machine."

    async def open(self, tell: Callable[[str], None]) -> str:  # noqa: ARG002
        """Return the address."""
        return self._url

    async def look(self) -> Trouble | None:
        """Return None: from here nothing can be seen."""
        return None

    async def close(self) -> None:
        """Leave it as it is."""


def no_way(problem: str | None) -> TunnelError:
    """Return the error of a submission that would never be called back, with the two ways on."""
    return TunnelError(
        f"Callbacks cannot reach this machine, so nothing was submitted. {problem or 'The tunnel is not open yet.'} "
        'Mend it and submit again; or go on without callbacks, by polling: connect again with tunnel="none".'
    )

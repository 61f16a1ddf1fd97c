"""Owns the list of providers one can connect to, as pure data; knows nothing of requests or rows."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from kit.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kit.provider.codes import Dialect

__all__ = ["PROFILES", "Profile", "profile_named"]


@dataclass(frozen=True)
class Profile:
    """Describe one provider.

    Attributes:
        base_url: the API's address; None where the local `program` reports its own.
        key_variable: the setting that holds the API key; None where the service makes one up.
        poll_s: seconds between two details requests for one task (provider-api 11).
        media_origins: origins a file may come from beside public https; a local program's own is added at run time.
        reach: how a callback gets here unless a person says otherwise: through a "tunnel", or "direct" on loopback.
        program: arguments after the Python interpreter for a provider that runs on this machine.
        area: the half of the data folder that holds its rows and files.
        badge: the sentence shown on connecting.
        signature: True where the provider can sign its callbacks (provider-api 12).
    """

    name: str
    dialect: Dialect
    base_url: str | None
    key_variable: str | None
    area: Literal["sandbox", "live"]
    badge: str
    reach: Literal["tunnel", "direct"] = "tunnel"
    poll_s: float = 30
    media_origins: tuple[str, ...] = ()
    program: tuple[str, ...] | None = None
    signature: bool = False


def _sandbox(name: str, dialect: Dialect, site: str) -> Profile:
    return Profile(
        name=name,
        dialect=dialect,
        base_url=None,
        key_variable=None,
        area="sandbox",
        badge=f"{name}: a simulated provider on this machine that speaks as {site} does. It never spends anything.",
        reach="direct",
        program=("-m", "kit.sandbox", "--dialect", dialect),
        signature=dialect == "kie",
    )


def _live(dialect: Dialect, site: str, key_variable: str) -> Profile:
    return Profile(
        name=dialect,
        dialect=dialect,
        base_url=f"https://api.{site}",
        key_variable=key_variable,
        area="live",
        badge=f"{dialect}: the real {site}. Submitting spends credits.",
        signature=dialect == "kie",
    )


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            _sandbox("sandbox", "sunoapi", "sunoapi.org"),
            _sandbox("sandbox-kie", "kie", "kie.ai"),
            _live("sunoapi", "sunoapi.org", "SUNOAPI_KEY"),
            _live("kie", "kie.ai", "KIE_API_KEY"),
        )
    }
)


def profile_named(name: str) -> Profile:
    """Return the profile called `name`; raise `InvalidInput` that lists the names there are."""
    profile = PROFILES.get(name) if isinstance(name, str) else None
    if profile is None:
        raise InvalidInput("profile", name, f"one of {', '.join(PROFILES)}", 'kit.connect("sandbox")')
    return profile

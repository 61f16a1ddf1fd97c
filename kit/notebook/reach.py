"""Owns how callbacks shall reach this machine: what a person asked for, checked, and how it stands in one sentence.

It opens nothing: the service does, and tells how it goes.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kit import settings
from kit.errors import InvalidInput, SettingsError
from kit.notebook.live import has_kernel
from kit.provider.profiles import Profile

__all__ = ["Asked", "Tunnel", "ask_token", "asked_for", "how_it_stands", "is_plain"]

Tunnel = Literal["ngrok", "none"]
TUNNELS = ("ngrok", "none")

_NGROK_HELP = (
    "Put a line NGROK_AUTHTOKEN=... into a file named .env beside your notebook (the token is on your ngrok dashboard) "
    "and connect again"
)


@dataclass(frozen=True)
class Asked:
    """What a session asks of the service: the way of the callbacks; `said` where the person named it with the call."""

    driver: Literal["direct", "ngrok", "url", "none"]
    url: str | None = None
    token: settings.Secret | None = None
    said: bool = False

    def as_reach(self) -> dict[str, Any]:
        """Return it in the form that the service takes; the token travels apart."""
        program = settings.switch("KIT_NGROK_PATH") if self.driver == "ngrok" else None
        return {"driver": self.driver, "url": self.url, "program": program}

    def mark(self) -> tuple[str | None, ...]:
        """Return what two ways share exactly when they are the same, also across a reload of this module."""
        return (self.driver, self.url, self.token.fingerprint() if self.token else None)


def asked_for(profile: Profile, tunnel: Tunnel | None, public_url: str | None) -> Asked:
    """Return the way that fits arguments, settings and profile; an ngrok way may still lack its token.

    Raises:
        InvalidInput: a word or an address that cannot work; nothing was sent.
    """
    example = f"kit.connect({profile.name!r}, "
    if tunnel is not None and tunnel not in TUNNELS:
        raise InvalidInput("tunnel", tunnel, 'either "ngrok" or "none"', f'{example}tunnel="ngrok")')
    if tunnel is not None and public_url is not None:
        expected = "no tunnel beside public_url: callbacks come by one way"
        raise InvalidInput("tunnel", tunnel, expected, f'{example}public_url="https://callbacks.example.org")')
    if public_url is not None:
        return Asked("url", url=settings.checked_url(public_url, profile=profile.name), said=True)
    if tunnel is not None:
        return Asked(tunnel, token=settings.ngrok_token() if tunnel == "ngrok" else None, said=True)
    if profile.reach == "direct":
        return Asked("direct")
    if kept := settings.switch("KIT_PUBLIC_URL"):
        return Asked("url", url=settings.checked_url(kept, name="KIT_PUBLIC_URL", profile=profile.name))
    token = settings.ngrok_token()
    return Asked("ngrok", token=token) if token else Asked("none")


def ask_token(profile: Profile) -> settings.Secret:
    """Ask the person for the ngrok token, where a front end or a terminal can answer; it is kept in memory alone.

    Raises:
        SettingsError: nobody can answer, or the answer is no token.
    """
    if not has_kernel() and not sys.stdin.isatty():
        raise SettingsError(_no_token(profile))
    try:
        token = getpass.getpass("ngrok token (not shown; the service keeps it private while the tunnel runs): ").strip()
    except (EOFError, RuntimeError, OSError) as reason:  # a kernel whose front end takes no questions says so by one
        raise SettingsError(_no_token(profile)) from reason
    if not is_plain(token):
        raise SettingsError(f"What was typed is no ngrok token. {_no_token(profile)}")
    return settings.Secret(token)


def how_it_stands(way: Mapping[str, Any], asked: Asked, profile: Profile) -> str:
    """Return one line that says how callbacks arrive, or what is wrong and what to do about it."""
    driver, state, url = way.get("driver"), way.get("state"), way.get("url")
    often = "" if profile.program is not None else f" every {profile.poll_s:g} s"
    polling = f"results are found by asking{often}"
    if driver == "direct":
        return "Its callbacks arrive directly, on this machine."
    if driver == "none":
        return _polling_only(asked, profile, polling)
    name = "the ngrok tunnel" if driver == "ngrok" else "the public address"
    if state in ("open", "proven") and url:
        through = "through ngrok at" if driver == "ngrok" else "at"
        return f"Callbacks arrive {through} {url}." + ("" if state == "proven" else _unproven(profile))
    alone = f'Or go on by polling alone: kit.connect({profile.name!r}, tunnel="none").'
    problem = str(way.get("problem") or "")
    if state == "opening":
        doing = f" ({problem.rstrip('.')})" if problem else ""
        later = "session.health() says when it is there."
        return f"Callbacks cannot arrive yet: {name} is still opening{doing}. {later} {alone}"
    why = _ended(problem or f"{name} is {state or 'not there'}")
    return f"Callbacks cannot arrive: {why} Meanwhile {polling}. {alone}"


def _polling_only(asked: Asked, profile: Profile, polling: str) -> str:
    if asked.said:
        return f"Polling only, as you asked: no callback can arrive, and {polling}."
    return (
        f"Polling only: no callback can arrive, and {polling}. For callbacks: {_NGROK_HELP}; "
        f'or name an address of your own: kit.connect({profile.name!r}, public_url="https://...").'
    )


def _unproven(profile: Profile) -> str:
    return "" if profile.program is not None else " The first submission proves that it leads here."


def _no_token(profile: Profile) -> str:
    return (
        f"tunnel='ngrok' needs the token of your ngrok account, and NGROK_AUTHTOKEN is not set. {_NGROK_HELP}. "
        f'To go on without callbacks: kit.connect({profile.name!r}, tunnel="none").'
    )


def is_plain(text: str) -> bool:
    """Tell whether text can be a key, a token or an address: printable ASCII without spaces."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", ")")) else f"{sentence}."

"""Owns connecting: what a person asked for is checked, and one session is handed out for each folder and profile."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryFile

from kit import settings
from kit.errors import InvalidInput, SettingsError
from kit.notebook.live import say
from kit.notebook.session import Session
from kit.notebook.task import check_flag
from kit.provider.profiles import Profile, profile_named

__all__ = ["connect"]

_open: dict[tuple[Path, str], Session] = {}
_opening = threading.Lock()  # two threads that connect at once get the same session


def connect(
    profile: str = "sandbox",
    *,
    data: str | os.PathLike[str] | None = None,
    key: str | None = None,
    save: bool = True,
    speed: float | None = None,
) -> Session:
    """Connect this notebook to a provider, starting the background service of the data folder where none runs.

    Connecting again with the same profile and folder returns the same session.

    Args:
        profile: "sandbox" (the default: simulated, free), "sandbox-kie", "sunoapi" or "kie".
        data: the data folder; see `kit.settings.data_folder` for the default.
        key: the provider's API key; by default it is read from the environment or `.env`.
        save: whether finished files are fetched by themselves.
        speed: how many times faster than life a simulated provider works and is polled.

    Raises:
        InvalidInput, SettingsError, ServiceError: with what to change.
    """
    chosen = profile_named(profile)
    speed = _checked_speed(speed, chosen)
    settings.idle_seconds()  # the service reads it; a person should hear of a bad value here
    secret = _checked_key(key, chosen) or _kept_key(chosen)
    check_flag("save", save, "kit.connect(save=False)")
    area = _area(data, chosen)
    with _opening:
        session = _open.get((area, chosen.name))
        if session is not None and session.same_as(key=secret, save=save, speed=speed):
            return session
        if session is not None:
            if session.attached:
                say(f"The earlier session on {chosen.name} is closed now; this one takes its place.")
            session.close()
        session = Session(chosen, area, key=secret, save=save, speed=speed)
        _open[area, chosen.name] = session
    say(f"{chosen.badge} Everything is kept in {area}.")
    return session


def _area(data: str | os.PathLike[str] | None, profile: Profile) -> Path:
    """Return the profile's half of the data folder, made and writable."""
    if data is not None and (not isinstance(data, (str, os.PathLike)) or not str(data).strip() or "\0" in str(data)):
        raise InvalidInput("data", data, "the path of a folder", 'kit.connect(data="~/callboard")')
    area = settings.data_folder(data) / profile.area
    try:
        area.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=area):
            return area.resolve()
    except OSError as reason:
        raise SettingsError(
            f"The folder {str(area)!r} cannot be written ({reason.strerror}). Name a data folder that can: "
            "kit.connect(data='~/callboard') or KIT_DATA_DIR."
        ) from reason


def _checked_key(key: str | None, profile: Profile) -> settings.Secret | None:
    """Return the key given with the call, hidden from the first moment; an empty one counts as none."""
    if key is None or (key == "" and profile.program is None):
        return None
    secret = settings.Secret(str(key))  # it may be a real one, meant for a real provider
    if profile.program is not None:
        raise InvalidInput("key", secret, f"no key: {profile.name} is simulated", f"kit.connect({profile.name!r})")
    if not isinstance(key, str) or not _sendable(secret):
        expected = "the key as the provider shows it: plain ASCII text without spaces or line breaks"
        raise InvalidInput("key", secret, expected, f"kit.connect({profile.name!r}, key=...)")
    return secret


def _kept_key(profile: Profile) -> settings.Secret | None:
    """Return the key from the environment, where the profile needs one."""
    if profile.key_variable is None:
        return None
    secret = settings.key_for(profile.key_variable, profile.name)
    if not _sendable(secret):
        raise SettingsError(
            f"{profile.key_variable} holds a space, a line break or a non-ASCII character, which no API key has. "
            f"Copy it again and connect again. To go on without an account: kit.connect()."
        )
    return secret


def _sendable(secret: settings.Secret) -> bool:
    plain = secret.reveal()
    return bool(plain) and plain.isascii() and plain.isprintable() and " " not in plain


def _checked_speed(speed: float | None, profile: Profile) -> float | None:
    name = "KIT_SPEED" if speed is None else "speed"
    text = settings.switch("KIT_SPEED") if speed is None and profile.program else speed
    if text is None:
        return None
    if profile.program is None:
        expected = f"no speed: {profile.name} is real and works at its own"
        raise InvalidInput(name, text, expected, f"kit.connect({profile.name!r})")
    try:
        value = 0.0 if isinstance(text, bool) else float(text)
    except (TypeError, ValueError):
        value = 0.0
    if not 0.1 <= value <= 10_000:
        raise InvalidInput(name, text, "a number from 0.1 to 10000", "kit.connect(speed=20)")
    return value

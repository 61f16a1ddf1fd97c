"""Owns connecting: what a person asked for is checked, and one session is handed out for each folder and profile."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from kit import settings
from kit.errors import InvalidInput, SettingsError
from kit.notebook.live import LiveLine, say
from kit.notebook.reach import Asked, Tunnel, ask_token, asked_for, how_it_stands, is_plain
from kit.notebook.registry import registry
from kit.notebook.session import Session
from kit.notebook.task import check_flag
from kit.provider.profiles import Profile, profile_named

__all__ = ["connect"]

OPENS_WITHIN_S = 20.0  # a tunnel takes a second or two; what takes longer is told and goes on opening
LOOK_S = 0.2


def connect(
    profile: str = "sandbox",
    *,
    data: str | os.PathLike[str] | None = None,
    key: str | None = None,
    save: bool = True,
    speed: float | None = None,
    tunnel: Tunnel | None = None,
    public_url: str | None = None,
) -> Session:
    """Connect this notebook to a provider, starting the background service of the data folder where none runs.

    Connecting again with the same options returns the same session; with other options the earlier one closes and a
    new one takes its place. One line says how callbacks arrive, or what is wrong and what to do about it.

    Args:
        profile: "sandbox" (the default: simulated, free), "sandbox-kie", "sunoapi" or "kie".
        data: the data folder; see `kit.settings.data_folder` for the default.
        key: the provider's API key; by default it is read from the environment or `.env`.
        save: whether finished files are fetched by themselves.
        speed: how many times faster than life a simulated provider works and is polled.
        tunnel: "ngrok" lets a real provider's callbacks in through your ngrok account (the default where
            NGROK_AUTHTOKEN is set; asked for by name without it, you are asked for the token), "none" polls only.
            A simulated provider needs none and takes either, to try it.
        public_url: an https address of your own that leads to the listener, instead of a tunnel (KIT_PUBLIC_URL).

    Raises:
        InvalidInput, SettingsError, ServiceError: with what to change.
    """
    chosen = profile_named(profile)
    speed = _checked_speed(speed, chosen)
    settings.idle_seconds()  # the service reads these two; a person should hear of a bad value here
    settings.downloads()
    secret = _checked_key(key, chosen) or _kept_key(chosen)
    check_flag("save", save, "kit.connect(save=False)")
    reach = asked_for(chosen, tunnel, public_url)
    area = _area(data, chosen)
    opened = registry()
    with opened.lock:  # two threads that connect at once get the same session
        earlier: Session | None = opened.open.get((area, chosen.name))
        reach = _with_token(reach, chosen, earlier)
        if earlier is not None and earlier.same_as(key=secret, save=save, speed=speed, reach=reach):
            _say_what_is_new(earlier)
            return earlier
        if earlier is not None:
            if earlier.attached:
                say(f"The earlier session on {chosen.name} is closed now; this one takes its place.")
            earlier.close()
        session = Session(chosen, area, key=secret, save=save, speed=speed, reach=reach)
        opened.open[area, chosen.name] = session
    say(f"{chosen.badge} Everything is kept in {area}.")
    for note in session.news():
        say(note)
    _say_how_callbacks_arrive(session)
    return session


def _with_token(reach: Asked, profile: Profile, earlier: Session | None) -> Asked:
    """Return an ngrok way with its token: the setting's, the one that was typed before, or one that is typed now."""
    if reach.driver != "ngrok":
        return reach
    if reach.token is None and earlier is not None and earlier.reach.driver == "ngrok":
        return replace(reach, token=earlier.reach.token)
    token = reach.token or ask_token(profile)
    if not is_plain(token.reveal()):
        raise SettingsError(
            "NGROK_AUTHTOKEN holds a space, a line break or a non-ASCII character, which no token has. Copy it again "
            f'and connect again. To go on without callbacks: kit.connect({profile.name!r}, tunnel="none").'
        )
    return replace(reach, token=token)


def _say_what_is_new(session: Session) -> None:
    """Say of a session that was there already only what a person does not know yet."""
    for note in session.news():
        say(note)
    if session.reach.driver in ("ngrok", "url") and session.way()["state"] not in ("open", "proven"):
        _say_how_callbacks_arrive(session)


def _say_how_callbacks_arrive(session: Session) -> None:
    """Say it in one line, which changes while the way is opening; what stays wrong is told, and nothing is raised."""
    line, deadline = LiveLine(), time.monotonic() + OPENS_WITHIN_S
    while (way := session.way())["state"] == "opening" and time.monotonic() < deadline:
        line.say(f"Opening the way for callbacks: {way.get('problem') or 'a moment ...'}")
        session.wait_for_change(LOOK_S)
    line.say(how_it_stands(way, session.reach, session.profile))


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
    if not isinstance(key, str) or not is_plain(secret.reveal()):
        expected = "the key as the provider shows it: plain ASCII text without spaces or line breaks"
        raise InvalidInput("key", secret, expected, f"kit.connect({profile.name!r}, key=...)")
    return secret


def _kept_key(profile: Profile) -> settings.Secret | None:
    """Return the key from the environment, where the profile needs one."""
    if profile.key_variable is None:
        return None
    secret = settings.key_for(profile.key_variable, profile.name)
    if not is_plain(secret.reveal()):
        raise SettingsError(
            f"{profile.key_variable} holds a space, a line break or a non-ASCII character, which no API key has. "
            f"Copy it again and connect again. To go on without an account: kit.connect()."
        )
    return secret


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

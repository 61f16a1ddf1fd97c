"""Owns the environment: the data folder, the keys and the few switches; secrets here do not print.

No other module reads the environment. Every name it reads is a field of `NAMES`.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from kit.errors import InvalidInput, SettingsError

__all__ = [
    "NAMES",
    "Secret",
    "checked_url",
    "data_folder",
    "downloads",
    "idle_seconds",
    "key_for",
    "ngrok_token",
    "service_environment",
    "state_folder",
    "switch",
    "webhook_key",
]

NAMES = {
    "KIT_DATA_DIR": "the data folder (default: data/runtime of the callboard project, else ~/callboard)",
    "KIT_STATE_DIR": "where tokens, pids and the service record live (default: the platform's state folder)",
    "KIT_SPEED": "how many times faster than life the sandbox works and is polled (default: 20)",
    "KIT_USER_AGENT": "how requests to a provider and its media hosts name themselves (some refuse the default)",
    "KIT_DOWNLOADS": "how many files the archive fetches at once, 1 to 16 (default: 3)",
    "KIT_IDLE_MINUTES": "minutes without kernel and without work after which the service ends (default: 30)",
    "KIT_PUBLIC_URL": "an https address of your own that leads to the listener, instead of an ngrok tunnel",
    "KIT_NGROK_PATH": "the ngrok agent's program (default: pyngrok's own, fetched at its first use)",
    "NGROK_AUTHTOKEN": "the token of your ngrok account",
    "SUNOAPI_KEY": "the API key for sunoapi.org",
    "KIE_API_KEY": "the API key for kie.ai",
    "KIE_WEBHOOK_KEY": "kie.ai's webhook HMAC key, where callback signatures are switched on",
}


_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_URL = 2000


class Secret:
    """A value that never prints; `reveal()` is the only way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; call it only where it leaves for its one destination."""
        return self._value

    def fingerprint(self) -> str:
        """Return eight hex digits that tell two secrets apart and lead back to neither."""
        return hashlib.sha256(b"callboard:" + self._value.encode()).hexdigest()[:8]

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())


def switch(name: str) -> str | None:
    """Return the setting called `name` from the environment or `.env`, stripped; None where unset or empty."""
    if name not in NAMES:
        raise KeyError(f"{name} is not a documented setting; see kit.settings.NAMES")
    value = os.environ.get(name) or _dotenv().get(name) or ""
    return value.strip() or None


def key_for(variable: str, provider: str) -> Secret:
    """Return the API key held by `variable`; raise `SettingsError` with the next step where there is none."""
    value = switch(variable)
    if value is None:
        raise SettingsError(
            f"{provider} needs an API key and {variable} is not set. Put a line {variable}=... into a file named .env "
            "beside your notebook (or set it in the environment) and connect again. "
            "To go on without an account: kit.connect()."
        )
    return Secret(value)


def webhook_key() -> Secret | None:
    """Return kie.ai's webhook key, where callback signatures are switched on (KIE_WEBHOOK_KEY)."""
    value = switch("KIE_WEBHOOK_KEY")
    return Secret(value) if value else None


def ngrok_token() -> Secret | None:
    """Return the token of the ngrok account (NGROK_AUTHTOKEN), where there is one."""
    value = switch("NGROK_AUTHTOKEN")
    return Secret(value) if value else None


def checked_url(value: object, *, name: str = "public_url", profile: str = "sunoapi") -> str:
    """Return a public address to which a provider can post, without a slash at its end; a path in front is kept.

    Raises:
        InvalidInput: it is not https (http only to this machine itself), or has credentials, a query or a fragment.
    """
    text = value.strip() if isinstance(value, str) else ""
    shown = Secret(text) if any(mark in text for mark in "@?#") else value  # such a part may be a secret
    parts, works = _split(text), f'kit.connect({profile!r}, public_url="https://callbacks.example.org")'
    if parts is None or not parts.hostname:
        raise InvalidInput(name, shown, "an https address that leads to this machine", works)
    if "@" in parts.netloc:
        raise InvalidInput(name, shown, "an address without user name and password", works)
    if "?" in text or "#" in text:
        raise InvalidInput(name, shown, "an address without a query: the kit adds its own path", works)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _THIS_MACHINE):
        raise InvalidInput(name, shown, "an address that begins with https://", works)
    return text.rstrip("/")


def service_environment() -> dict[str, str]:
    """Return the environment without keys and tokens: what runs in the background gets them handed over instead."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_AUTHTOKEN"))}
    for name in ("no_proxy", "NO_PROXY"):  # else pyngrok asks a proxy for what is on this machine
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1", "localhost"]))
    return kept


def idle_seconds() -> float:
    """Return the seconds without kernel and work after which the service ends (KIT_IDLE_MINUTES)."""
    text = switch("KIT_IDLE_MINUTES") or "30"
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 < minutes <= 100_000:
        raise InvalidInput("KIT_IDLE_MINUTES", text, "minutes, more than 0", "KIT_IDLE_MINUTES=30")
    return 60 * minutes


def downloads() -> int:
    """Return how many files the archive fetches at once (KIT_DOWNLOADS)."""
    text = switch("KIT_DOWNLOADS") or "3"
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else 0
    if not 1 <= count <= 16:
        raise InvalidInput("KIT_DOWNLOADS", text, "a whole number from 1 to 16", "KIT_DOWNLOADS=3")
    return count


def data_folder(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: argument, else KIT_DATA_DIR, else the project's data/runtime, else ~/callboard."""
    chosen = explicit or switch("KIT_DATA_DIR")
    folder = Path(chosen).expanduser() if chosen else _project_runtime() or Path.home() / "callboard"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise SettingsError(
            f"The data folder {str(folder)!r} cannot be made ({reason.strerror}). Name one that can be written: "
            "kit.connect(data='~/callboard') or KIT_DATA_DIR."
        ) from reason
    return folder.resolve()


def state_folder(home: Path) -> Path:
    """Return the private folder (0700) that holds the service record of the data folder `home`."""
    from platformdirs import user_state_path

    root = Path(switch("KIT_STATE_DIR") or user_state_path("callboard", appauthor=False)).expanduser()
    folder = root / hashlib.sha256(str(home).encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)  # on Windows the user's own folders are private already, and this changes nothing
    except OSError as reason:
        raise SettingsError(
            f"The state folder {str(root)!r} cannot be used ({reason.strerror}). Name one that can be written: "
            "KIT_STATE_DIR."
        ) from reason
    return folder


def _split(text: str) -> SplitResult | None:
    """Return the parts of an address; None for what is none."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text or len(text) > _LONGEST_URL:
        return None
    try:
        parts = urlsplit(text)
        return parts if parts.port != 0 else None  # reading the port refuses one that is no number
    except ValueError:
        return None


@dataclass(frozen=True)
class _Dotenv:
    path: Path
    stamp: float
    values: dict[str, str | None]


_read: _Dotenv | None = None


def _dotenv() -> dict[str, str | None]:
    """Return the nearest `.env` above the working folder, read again only when it changes."""
    global _read
    path = next((p for folder in _upwards() if (p := folder / ".env").is_file()), None)
    if path is None:
        return {}
    stamp = path.stat().st_mtime
    if _read is None or (_read.path, _read.stamp) != (path, stamp):
        from dotenv import dotenv_values

        _read = _Dotenv(path, stamp, dict(dotenv_values(path)))
    return _read.values


def _project_runtime() -> Path | None:
    for folder in _upwards():
        project = folder / "pyproject.toml"
        if project.is_file() and _project_name(project) == "callboard":
            return folder / "data" / "runtime"
    return None


def _project_name(path: Path) -> str | None:
    try:
        name = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {}).get("name")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None
    return name if isinstance(name, str) else None


def _upwards() -> list[Path]:
    try:
        here = Path.cwd()
    except OSError:  # it was removed while the kernel worked in it
        return []
    return [here, *here.parents]

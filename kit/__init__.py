"""The front door: every public name, each fetched on first use, so that importing does no work."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.errors import (
        DuplicateTask,
        InvalidInput,
        KitError,
        LedgerError,
        NotReady,
        NotSaved,
        ProviderError,
        ServiceError,
        SettingsError,
        TaskFailed,
        TunnelError,
        Unconfirmed,
        WaitTimeout,
    )
    from kit.notebook.connect import connect
    from kit.notebook.session import Session
    from kit.notebook.task import Task, Track
    from kit.provider.profiles import PROFILES

    __version__: str

__all__ = [
    "PROFILES",
    "DuplicateTask",
    "InvalidInput",
    "KitError",
    "LedgerError",
    "NotReady",
    "NotSaved",
    "ProviderError",
    "ServiceError",
    "Session",
    "SettingsError",
    "Task",
    "TaskFailed",
    "Track",
    "TunnelError",
    "Unconfirmed",
    "WaitTimeout",
    "__version__",
    "connect",
]

_HOMES = {
    "PROFILES": "kit.provider.profiles",
    "Session": "kit.notebook.session",
    "Task": "kit.notebook.task",
    "Track": "kit.notebook.task",
    "connect": "kit.notebook.connect",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from the room that owns it; the version comes from the installed metadata."""
    if name == "__version__":
        value: object = import_module("importlib.metadata").version("callboard")
    elif name in __all__:
        value = getattr(import_module(_HOMES.get(name, "kit.errors")), name)
    else:
        raise AttributeError(f"module 'kit' has no attribute {name!r}; its public names are in kit.__all__")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)

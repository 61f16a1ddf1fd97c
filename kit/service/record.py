"""Owns the service record: what a kernel must know to find and trust a running service."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from kit.service.platforms import identity, own_identity

__all__ = ["ServiceRecord", "kit_version", "write_private"]


@dataclass(frozen=True, kw_only=True)
class ServiceRecord:
    """What a kernel needs to find and trust the service of one area; kept at 0600 in the state folder.

    `identity` tells the process from another that got its pid; a service that makes its record need not give it.
    """

    pid: int
    version: str
    area: str
    control_port: int
    control_token: str
    media_token: str
    public_port: int
    identity: str = field(default_factory=own_identity)

    def __repr__(self) -> str:
        return f"ServiceRecord(pid={self.pid}, area={self.area!r})"

    def write(self, state: Path) -> None:
        """Publish the record in one step, readable by its owner alone."""
        write_private(state / "service.json", asdict(self))

    @classmethod
    def read(cls, state: Path) -> ServiceRecord | None:
        """Return the record, or None where there is none or it cannot be read."""
        try:
            record = cls(**json.loads((state / "service.json").read_text(encoding="utf-8")))
            numbers = (record.pid, record.control_port, record.public_port)
            texts = (record.version, record.area, record.control_token, record.media_token, record.identity)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        sound = all(type(n) is int for n in numbers) and all(isinstance(t, str) for t in texts)
        return record if sound and record.pid > 0 else None

    def alive(self) -> bool:
        """Tell whether the process that wrote this record still runs (pid and identity agree)."""
        return identity(self.pid) == self.identity


def kit_version() -> str:
    """Return the installed version of the kit."""
    try:
        return metadata.version("callboard")
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        return "0+source"


def write_private(path: Path, values: object, *, sync: bool = True) -> None:
    """Write JSON to `path` atomically with mode 0600; without `sync` it need not survive a power failure."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(values, file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # it may hold a token
        raise

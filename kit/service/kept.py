"""Owns what is known of a file that lies in the archive, and the fact that says so; it fetches and moves nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime

from kit.ledger.facts import FileFact
from kit.service.examination import Verdict

__all__ = ["Kept", "Slot", "saved_fact"]

Slot = tuple[str, str, int]  # task, role, index


@dataclass(frozen=True)
class Kept:
    """A whole, examined, synced file under its final name; `path` is relative to the area folder (posix)."""

    url: str | None
    path: str
    bytes: int
    sha256: str
    verdict: Verdict


def saved_fact(slot: Slot, kept: Kept) -> FileFact:
    """Return the fact after which the file counts as saved."""
    task, role, index = slot
    found = {f.name: getattr(kept.verdict, f.name) for f in fields(kept.verdict) if f.name != "reason"}
    return FileFact(
        task=task,
        at=datetime.now(UTC),
        role=role,
        index=index,
        status="saved",
        url=kept.url,
        path=kept.path,
        bytes=kept.bytes,
        sha256=kept.sha256,
        **found,
    )

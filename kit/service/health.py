"""Owns the report of how everything in the service stands; it looks and changes nothing."""

from __future__ import annotations

import os
import shutil
from typing import Any

from kit.ledger.store import Ledger
from kit.service.archive import Archive
from kit.service.counts import Counts
from kit.service.hub import Hub
from kit.service.poller import Poller
from kit.service.providers import OpenProvider, Providers
from kit.service.record import kit_version
from kit.service.ways import Ways

__all__ = ["report", "trouble_of"]


def report(
    *, hub: Hub, counts: Counts, ways: Ways, providers: Providers, poller: Poller, archive: Archive
) -> dict[str, Any]:
    """Return how ledger, listener, ways, providers and archive stand, as JSON without secrets; sizes are bytes."""
    return {
        "version": kit_version(),
        "pid": os.getpid(),
        "ledger": _ledger(hub.ledger),
        "counts": dict(counts),
        "ways": _ways(ways, providers),
        "providers": [_provider(provider, hub, poller) for provider in providers.all()],
        "attached": hub.attached,
        "unfinished": len(hub.unfinished()),
        "waiting_for_room": archive.waiting_for_room,
        "disk_free": shutil.disk_usage(hub.ledger.path.parent).free,
    }


def _ways(ways: Ways, providers: Providers) -> list[dict[str, Any]]:
    """Return the ways that were opened; those that no provider uses any more serve earlier submissions alone."""
    used = [provider.way.describe() for provider in providers.all()]
    return [{**way, "in_use": way in used} for way in ways.describe()]


def _ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "path": str(ledger.path),
        "journal_mode": ledger.journal_mode,
        "read_only": ledger.read_only,
        "rebuilt": ledger.rebuilt,
        "broken": trouble_of(ledger),
        "bytes": ledger.path.stat().st_size if ledger.path.exists() else 0,
    }


def trouble_of(ledger: Ledger) -> str | None:
    """Return what keeps the ledger from taking facts until the service starts anew, also before anybody has tried."""
    if ledger.broken is None and not ledger.path.exists():
        return (
            f"The ledger {str(ledger.path)!r} was deleted while in use; it is made anew from its journal in a moment."
        )
    return ledger.broken


def _provider(provider: OpenProvider, hub: Hub, poller: Poller) -> dict[str, Any]:
    name = provider.profile.name
    pending = len(hub.unfinished(name))
    return {"name": name, "base_url": provider.base_url, "pending": pending, "failing": poller.failing(name)}

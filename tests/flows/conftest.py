"""Owns what the stories share: sessions on a simulated provider, ended with their services afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kit


@pytest.fixture
def connect() -> Iterator[Callable[..., kit.Session]]:
    """Connect as a notebook would, as often as wanted; every service is ended afterwards."""
    sessions: list[kit.Session] = []

    def connected(profile: str = "sandbox", **options: Any) -> kit.Session:
        sessions.append(kit.connect(profile, **{"speed": 200, **options}))
        return sessions[-1]

    yield connected
    for session in sessions:
        session.shutdown()

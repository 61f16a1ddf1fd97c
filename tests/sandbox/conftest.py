"""Fixtures: a simulated provider in each dialect and a receiver for its callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.running import Receiver, Running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a provider on the test's folder; all of them end with the test."""
    started: list[Running] = []

    def begin(dialect: str = "sunoapi", **more: object) -> Running:
        running = Running(tmp_path / dialect, dialect, **more)  # type: ignore[arg-type]
        started.append(running)
        return running

    yield begin
    for running in started:
        running.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Return the providers that the tests of one module share, by dialect; each is started when first asked for."""
    running: dict[str, Running] = {}

    class Lazy(dict[str, Running]):
        def __missing__(self, dialect: str) -> Running:
            running[dialect] = self[dialect] = Running(tmp_path_factory.mktemp(dialect), dialect)  # type: ignore[arg-type]
            return running[dialect]

    yield Lazy()
    for each in running.values():
        each.close()


@pytest.fixture(params=["sunoapi", "kie"])
def provider(request: pytest.FixtureRequest, shared: dict[str, Running]) -> Running:
    """Return a running provider, once in each dialect, with its balance, speed and faults as at the beginning."""
    running = shared[request.param]
    running.reset()
    return running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return somebody who receives callbacks."""
    receiver = Receiver()
    yield receiver
    receiver.close()

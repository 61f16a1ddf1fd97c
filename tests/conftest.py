"""Owns what holds for every test: a clean environment, no way out of this machine, and nothing left running."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest

from kit import settings
from tests.services import end_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# How long an example takes says how busy the machine is; speed is measured by `make bench`.
hypothesis.settings.register_profile("callboard", deadline=None)
hypothesis.settings.load_profile("callboard")


class OutsideRefused(RuntimeError):
    """A test reached for something beyond this machine; not an OSError, so that no retry swallows it."""


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test an environment, a working folder and a state folder of its own, and leave no service behind."""
    for name in [name for name in os.environ if name in settings.NAMES or name.startswith(("KIT_", "NGROK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KIT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter" / "config"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter" / "data"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter" / "runtime"))
    monkeypatch.chdir(tmp_path)  # so that no `.env` of the person who runs the tests is found on the way up
    yield
    if left := end_services(tmp_path):
        pytest.fail(f"the test left services running (now ended): {left}")


@pytest.fixture(autouse=True, scope="session")
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the run that leaves a process: a child of ours, or a service recorded in a folder of the run."""
    yield
    services = end_services(tmp_path_factory.getbasetemp())
    children = psutil.Process().children(recursive=True)
    _, alive = psutil.wait_procs(children, timeout=5)
    names = [" ".join(child.cmdline()) for child in alive if child.is_running()]
    for child in alive:
        child.kill()
    if services or names:
        pytest.fail(f"the tests left processes behind (now ended): {[*services, *names]}")


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every socket and every look-up beyond this machine, except to tests marked `network`."""
    if request.node.get_closest_marker("network") is not None:
        return
    for name in ("bind", "connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
    monkeypatch.setattr(socket, "getaddrinfo", _guarded_lookup(socket.getaddrinfo))


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *args: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_loopback(args[-1][0]):
            raise OutsideRefused(f"{method.__name__}{args} refused: tests stay on loopback")
        return method(self, *args)

    return guarded


def _guarded_lookup(lookup: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        if host is not None and not _is_loopback(host):
            raise OutsideRefused(f"getaddrinfo({host!r}) refused: tests stay on loopback")
        return lookup(host, *args, **kwargs)

    return guarded


def _is_loopback(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return name == "localhost" or ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False

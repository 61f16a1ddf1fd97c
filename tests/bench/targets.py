"""Owns the baseline receivers as processes: started on a free port, waited for, ended; what they do is their own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BASELINES", "PATH", "Target", "running_baseline"]

PATH = "/callback"
BASELINES = {
    "FastAPI": ["tests.bench.bare_apps", "fastapi"],
    "Starlette": ["tests.bench.bare_apps", "starlette"],
    "Flask sample": ["tests.bench.flask_sample"],
}
STARTS_WITHIN_S = 20.0


class Target:
    """Something that takes callbacks: where, in which process, and on which path, where it has only one."""

    def __init__(self, name: str, port: int, pid: int, path: str | None = None) -> None:
        self.name, self.port, self.pid, self.path = name, port, pid, path


@contextmanager
def running_baseline(name: str, folder: Path) -> Iterator[Target]:
    """Run one of the baselines for as long as the context lasts; what it prints goes to a file in `folder`."""
    port = _free_port()
    argv = [sys.executable, "-m", *BASELINES[name], str(port)]
    with (folder / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _await_listening(port, process)
        yield Target(name, port, process.pid, PATH)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the baseline {process.args!r} does not listen")

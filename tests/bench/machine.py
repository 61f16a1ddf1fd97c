"""Owns what a bench needs of the machine: its facts, the programs it has, and waiting until a process is at rest."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from tests.bench.figures import percentile

__all__ = ["Missing", "cpu_seconds", "facts", "program", "settle"]

SYNCS = 1000
SETTLES_WITHIN_S = 180.0
LOOK_S = 1.0
AT_REST = 0.05  # of a core: what a service uses that only looks after itself
PAGE = b"\0" * 4096


class Missing(Exception):
    """Something that a bench cannot do without; the others go on."""


def program(name: str) -> str:
    """Return the path of a program; raise `Missing` where there is none."""
    path = shutil.which(name)
    if path is None:
        raise Missing(f"This bench needs {name} (Debian: apt-get install {name}).")
    return path


def facts(folder: Path) -> dict[str, Any]:
    """Return cores, versions, load, and S: the 99th percentile of one fdatasync in `folder`, in milliseconds."""
    took = _syncs(folder / "sync.probe")
    names = ("uvicorn", "httptools", "starlette", "fastapi", "flask", "werkzeug")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": os.getloadavg()[0],
        "fdatasync_p50_ms": round(percentile(took, 50), 3),
        "fdatasync_p99_ms": round(percentile(took, 99), 3),
        "libraries": {name: metadata.version(name) for name in names},
    }


def _syncs(path: Path) -> list[float]:
    """Return the milliseconds that each of many one-page appends took to reach the disk."""
    took = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(descriptor, PAGE)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took.append(1000 * (time.perf_counter() - began))
    finally:
        os.close(descriptor)
        path.unlink()
    return took


def cpu_seconds(pid: int, *, family: bool = True) -> float:
    """Return the processor seconds used by a process, with those of its children that still run."""
    process = psutil.Process(pid)
    running = [process, *(process.children(recursive=True) if family else [])]
    return sum(times.user + times.system for times in (each.cpu_times() for each in running))


def settle(pid: int) -> float:
    """Wait until a process and its children have come to rest; return the seconds that took."""
    began, used = time.monotonic(), cpu_seconds(pid)
    while time.monotonic() - began < SETTLES_WITHIN_S:
        time.sleep(LOOK_S)
        before, used = used, cpu_seconds(pid)
        if used - before < AT_REST * LOOK_S:
            return time.monotonic() - began - LOOK_S
    raise RuntimeError(f"process {pid} does not come to rest within {SETTLES_WITHIN_S:.0f} s")

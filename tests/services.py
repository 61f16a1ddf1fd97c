"""Owns ending the background services that tests or the demo started: nobody's children, known by records alone."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import psutil

from kit.errors import KitError
from kit.service.control_client import Control
from kit.service.record import ServiceRecord

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["end_services", "running_services"]


def running_services(folder: Path) -> list[ServiceRecord]:
    """Return the records, anywhere below `folder`, of services that still run."""
    found = [ServiceRecord.read(path.parent) for path in folder.rglob("service.json")]
    return [record for record in found if record is not None and record.alive() and _is_ours(record.pid)]


def end_services(folder: Path, *, deadline_s: float = 15) -> list[ServiceRecord]:
    """Ask every service recorded below `folder` to end, then make it; return those that were running."""
    records = running_services(folder)
    for record in records:
        with contextlib.suppress(psutil.NoSuchProcess):
            _end(record, psutil.Process(record.pid), deadline_s)
    return records


def _is_ours(pid: int) -> bool:
    """Tell whether it is a service, or a child of this run: a record that a test wrote may name anybody."""
    try:
        process = psutil.Process(pid)
        service = any(word.startswith("kit.service") for word in process.cmdline())
        return pid not in (1, os.getpid()) and (service or psutil.Process() in process.parents())
    except psutil.Error:
        return False


def _end(record: ServiceRecord, process: psutil.Process, deadline_s: float) -> None:
    family = [process, *process.children(recursive=True)]
    with contextlib.suppress(KitError):
        control = Control(record)
        control.shutdown()
        control.close()
    for left in _still_running(family, deadline_s):
        left.kill()
    _still_running(family, deadline_s)


def _still_running(processes: list[psutil.Process], deadline_s: float) -> list[psutil.Process]:
    """Wait for the end of all, and return those that did not; what nobody reaps has ended too."""
    deadline = time.monotonic() + deadline_s
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

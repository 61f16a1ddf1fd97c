"""Owns the service's life as seen from outside: its record, launch, attach and stop; not what it does inside."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kit.errors import ServiceError
from kit.service.control_client import Control
from kit.service.record import ServiceRecord, kit_version
from kit.settings import state_folder

__all__ = ["attach", "detach_and_run", "launch", "log_tail", "running"]

_log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0


def running(area: Path) -> ServiceRecord | None:
    """Return the record of the service that runs for `area`, or None."""
    record = ServiceRecord.read(state_folder(area))
    return record if record is not None and record.alive() else None


def attach(area: Path, *, timeout: float = START_TIMEOUT_S) -> Control:
    """Return a control client of the one service of `area`, starting it where none runs.

    Raises:
        ServiceError: it did not answer in time (with its last log lines), or a kernel on another
            version of the kit is still attached to it.
    """
    record = running(area)
    if record is not None and record.version != kit_version():
        _replace_other_version(record, area)
        record = None
    if record is None:
        launch(area)
    return _await_answer(area, timeout)


def launch(area: Path) -> None:
    """Start the service through a launcher that exits at once, so that it is nobody's child."""
    logs = area / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "kit.service", "--launch", "--area", str(area)]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False, **_apart()
    )
    if done.returncode != 0:
        raise ServiceError(f"The background service could not be launched: {done.stderr.strip()[-500:]}")


def detach_and_run(area: Path) -> None:
    """Start the service proper in a session of its own and return; runs inside the launcher."""
    argv = [sys.executable, "-m", "kit.service", "--area", str(area)]
    with (area / "logs" / "service.out").open("ab") as out:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, close_fds=True, **_apart())


def log_tail(area: Path, lines: int = 8) -> str:
    """Return the last lines of the service's logs, for an error that has to explain itself."""
    texts = []
    for name in ("service.out", "service.log"):
        try:
            texts += (area / "logs" / name).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        except OSError:
            continue
    return "\n".join(texts[-lines:]) or "(no log lines)"


def _apart() -> dict[str, Any]:
    """Return the Popen arguments that keep a kernel's interrupt and end away from the new process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def _replace_other_version(record: ServiceRecord, area: Path) -> None:
    control = Control(record)
    hello = control.hello()
    if hello["attached"]:
        control.close()
        raise ServiceError(
            f"A service of callboard {record.version} runs on {str(area)!r} and a notebook is attached to it; this is "
            f"callboard {kit_version()}. Restart that notebook's kernel, or connect with another folder: "
            "kit.connect(data='~/callboard-2')."
        )
    _log.info("restarting the service: it runs %s, this is %s", record.version, kit_version())
    control.shutdown()
    control.close()
    _await_end(record)


def _await_end(record: ServiceRecord, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while record.alive():
        if time.monotonic() > deadline:
            raise ServiceError(f"The service with pid {record.pid} does not end. End it by hand and connect again.")
        time.sleep(0.05)


def _await_answer(area: Path, timeout: float) -> Control:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        record = running(area)
        if record is not None:
            control = Control(record)
            try:
                control.hello()
                return control
            except ServiceError:
                control.close()
        time.sleep(0.05)
    raise ServiceError(
        f"The background service for {str(area)!r} did not answer within {timeout:.0f} s. Its last lines:\n"
        f"{log_tail(area)}\nConnect again; if it stays silent, look into {str(area / 'logs')!r}."
    )

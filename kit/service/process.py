"""Owns the service's life as seen from outside: its record, launch, attach and stop; not what it does inside."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from kit.errors import ServiceError
from kit.service.control_client import Control
from kit.service.record import ServiceRecord, kit_version
from kit.settings import state_folder

__all__ = ["attach", "await_end", "detach_and_run", "launch", "log_tail", "running"]

_log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0
LOSER_WAITS_S = 5.0
END_TIMEOUT_S = 60.0  # the answer to a submission on its way is waited for, so that its id is not lost


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
    deadline, launched = time.monotonic() + timeout, None
    while time.monotonic() < deadline:
        record = running(area)
        if record is not None:
            if (control := _answering(record)) is not None:
                return control
        elif launched is None:
            launched = launch(area)  # also where the service that was there has ended since
        elif not psutil.pid_exists(launched):
            # It ended over an error, or because another kernel's service was first and is about to answer.
            deadline = min(deadline, time.monotonic() + LOSER_WAITS_S)
        time.sleep(0.05)
    raise ServiceError(_silence(area, record))


def launch(area: Path) -> int:
    """Start the service through a launcher that exits at once, so that it is nobody's child; return its pid."""
    logs = area / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "kit.service", "--launch", "--area", str(area)]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False, **_apart()
    )
    if done.returncode != 0:
        raise ServiceError(f"The background service could not be launched: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def detach_and_run(area: Path) -> int:
    """Start the service proper in a session of its own and return its pid; runs inside the launcher."""
    argv = [sys.executable, "-m", "kit.service", "--area", str(area)]
    with (area / "logs" / "service.out").open("ab") as out:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, close_fds=True, **_apart()).pid


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
    await_end(record)


def await_end(record: ServiceRecord, timeout: float = END_TIMEOUT_S) -> None:
    """Wait until a service that was told to end has ended; raise `ServiceError` where it does not."""
    deadline = time.monotonic() + timeout
    while record.alive():
        if time.monotonic() > deadline:
            raise ServiceError(f"The service with pid {record.pid} does not end. End it by hand and connect again.")
        time.sleep(0.05)


def _answering(record: ServiceRecord) -> Control | None:
    control = Control(record)
    try:
        ending = control.hello()["ending"]
    except ServiceError:
        ending = True
    if ending:
        control.close()
        return None
    return control


def _silence(area: Path, record: ServiceRecord | None) -> str:
    """Return the sentence for a service that cannot be reached."""
    if record is not None:
        return (
            f"The background service for {str(area)!r} (process {record.pid}) runs and does not answer. It may be busy "
            f"or stopped: connect again in a moment, or end it by hand. Its logs are in {str(area / 'logs')!r}."
        )
    return (
        f"The background service for {str(area)!r} did not start. Its last lines:\n{log_tail(area)}\n"
        f"Connect again; if it stays silent, look into {str(area / 'logs')!r}."
    )

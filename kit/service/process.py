"""Owns the service's life as seen from outside: its record, launch, attach and stop; not what it does inside."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import psutil

from kit.errors import ServiceError
from kit.service.control_client import Control
from kit.service.platforms import apart, identity
from kit.service.record import ServiceRecord, kit_version
from kit.settings import downloads, idle_seconds, service_environment, state_folder

__all__ = ["attach", "await_end", "launch", "log_tail", "running"]

_log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0
LAUNCH_TIMEOUT_S = 30.0
LOSER_WAITS_S = 10.0
SUSPENDED_WAITS_S = 2.0  # a service that is stopped may be about to go on
END_TIMEOUT_S = 60.0  # the answer to a submission on its way is waited for, so that its id is not lost


def running(area: Path) -> ServiceRecord | None:
    """Return the record of the service that runs for `area`, or None."""
    record = ServiceRecord.read(state_folder(area))
    return record if record is not None and record.alive() else None


def attach(area: Path, *, timeout: float = START_TIMEOUT_S) -> Control:
    """Return a control client of the one service of `area`, starting it where none runs.

    Raises:
        ServiceError: it did not answer in time (with its last log lines), it is suspended, or a kernel on another
            version of the kit is still attached to it.
    """
    record = running(area)
    if record is not None and record.version != kit_version():
        _refuse_suspended(record, area)
        _replace_other_version(record, area)
    deadline, launched = time.monotonic() + timeout, None
    while time.monotonic() < deadline:
        record = running(area)
        if record is not None:
            _refuse_suspended(record, area)
            if (control := _answering(record)) is not None:
                return control
        elif launched is None:
            launched = launch(area)  # also where the service that was there has ended since
        elif identity(launched) is None:
            # It ended over an error, or because another kernel's service was first and is about to answer.
            deadline = min(deadline, time.monotonic() + LOSER_WAITS_S)
        time.sleep(0.05 if launched is None else 0.02)
    raise ServiceError(_silence(area, record))


def launch(area: Path) -> int:
    """Start the service through a launcher that exits at once, so that it is nobody's child; return its pid.

    The service works in `area`, so that it needs no folder of the notebook's and no `.env` there; keys reach it by its
    control port. Raises `ServiceError` where nothing can be started there.
    """
    argv = [sys.executable, "-m", "kit.service", "--launch", "--area", str(area)]
    argv += ["--state", str(state_folder(area)), "--idle", str(idle_seconds()), "--downloads", str(downloads())]
    nothing, waits = subprocess.DEVNULL, LAUNCH_TIMEOUT_S
    try:
        (area / "logs").mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            argv,
            stdin=nothing,
            capture_output=True,
            text=True,
            timeout=waits,
            check=False,
            cwd=area,
            env=service_environment(),
            **apart(),
        )
        return int(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as reason:
        raise ServiceError(
            f"The background service for {str(area)!r} could not be launched ({reason}). Check that the folder can be "
            "written, then connect again, or name another: kit.connect(data='~/callboard-2')."
        ) from reason
    except ValueError as reason:
        raise ServiceError(f"The background service could not be launched: {done.stderr.strip()[-500:]}") from reason


def log_tail(area: Path, lines: int = 8) -> str:
    """Return the last lines of the service's logs, for an error that has to explain itself."""
    texts = []
    for name in ("service.out", "service.log"):
        try:
            texts += (area / "logs" / name).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        except OSError:
            continue
    return "\n".join(texts[-lines:]) or "(no log lines)"


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


def _refuse_suspended(record: ServiceRecord, area: Path) -> None:
    """Raise `ServiceError` where the service exists and does not run, for then no command would be answered."""
    deadline = time.monotonic() + SUSPENDED_WAITS_S
    while _suspended(record.pid):
        if time.monotonic() > deadline:
            raise ServiceError(
                f"The background service for {str(area)!r} is suspended (process {record.pid}), so it answers nothing. "
                f"Let it go on (kill -CONT {record.pid}) and connect again; or end it (kill -KILL {record.pid}): what "
                "it accepted is in the ledger, and the next connect starts another."
            )
        time.sleep(0.05)


def _suspended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP))
    except psutil.Error:
        return False


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

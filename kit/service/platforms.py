"""Owns what differs between operating systems in the service room: sessions, signals, sockets, modes, identities.

It must not know what the processes and sockets are for. The platform is read at each call, so that a test can be
any of the three. Linux is what is claimed; the others are what their manuals say.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = [
    "apart",
    "bare_python",
    "bind_loopback",
    "end_process",
    "ending_signals",
    "identity",
    "ignored_signals",
    "keep_files_private",
    "limit_memory",
    "mind_signals",
    "own_identity",
    "reuses_address",
    "step_back",
    "sync_folder",
]

LOOPBACK = "127.0.0.1"
BACKLOG = 512
_NICENESS = 10
_NEW_PROCESS_GROUP, _DETACHED = 0x00000200, 0x00000008  # subprocess names them on Windows alone
_STATE, _STARTED = 0, 19  # fields of /proc/<pid>/stat, counted behind the name


def _windows() -> bool:
    return sys.platform == "win32"


def _linux() -> bool:
    return sys.platform.startswith("linux")


def apart() -> dict[str, Any]:
    """Return the Popen arguments that keep the interrupts and the end of whoever starts it from a new process."""
    if _windows():
        return {"creationflags": _NEW_PROCESS_GROUP | _DETACHED}
    return {"start_new_session": True}


def bare_python() -> list[str]:
    """Return the command of a small Python for a script that needs `identity` and `end_process` alone."""
    # Without its site packages it starts in a third of the time; elsewhere than on Linux psutil is among them.
    return [sys.executable, "-I", "-S"] if _linux() else [sys.executable, "-I"]


def ignored_signals() -> list[signal.Signals]:
    """Return the signals that are meant for somebody else: an interrupt, a quit key, a closed terminal."""
    return _known("SIGINT", "SIGBREAK") if _windows() else _known("SIGINT", "SIGHUP", "SIGQUIT")


def ending_signals() -> list[signal.Signals]:
    """Return the signals at which the service ends in order; Windows ends a process without asking it."""
    return [] if _windows() else _known("SIGTERM")


def mind_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Ignore what is meant for somebody else and call `stop` on the loop when the process is asked to end."""
    for number in ignored_signals():
        signal.signal(number, signal.SIG_IGN)
    for number in ending_signals():
        loop.add_signal_handler(number, stop)


def reuses_address() -> bool:
    """Tell whether a listener sets SO_REUSEADDR: a restart needs it, but on Windows two programs would share a port."""
    return not _windows()


def bind_loopback(port: int) -> tuple[socket.socket, bool]:
    """Return a listening loopback socket on `port`, or on a free one, and whether a wanted port was taken.

    Port 0 wants no port in particular. Raises `OSError` only where no port at all can be had.
    """
    try:
        return _listener(port), False
    except (OSError, OverflowError):
        if not port:
            raise
        return _listener(0), True


def keep_files_private() -> None:
    """Make what this process writes readable by its owner alone, where modes mean that."""
    if not _windows():
        os.umask(0o077)


def limit_memory(more: int) -> None:
    """Let this process map `more` bytes than it has mapped; what goes beyond is refused it, as `MemoryError`.

    Linux alone counts mapped memory; elsewhere nothing is limited.
    """
    if not _linux():
        return
    import resource

    mapped = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + more if most == resource.RLIM_INFINITY else min(mapped + more, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def step_back() -> None:
    """Let every other process go first where the processor is wanted by more than there are cores."""
    if _windows():
        import psutil

        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(_NICENESS)
    if _linux():
        # Each session has its share of the processor there, and niceness counts only between those of one session.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(_NICENESS))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where a folder can be synced."""
    if _windows():
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def identity(pid: int) -> str | None:
    """Return what tells the running process `pid` from any other that ever had or will have its number.

    None where no such process runs; one that ended and was not reaped does not run. A clock that is set does not
    change it: on Linux psutil's create time is the boot time, which moves with the clock, plus the ticks used here.
    """
    if _linux():
        return _linux_identity(pid)
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (psutil.Error, ValueError, OverflowError):
        return None


def own_identity() -> str:
    """Return the identity of this process."""
    return identity(os.getpid()) or ""


def end_process(pid: int, known_as: str, *, insist: bool = False) -> bool:
    """Ask the process to end (or, with `insist`, end it) if it is the one `known_as`; return whether it was there.

    A number that another process got in the meantime is left alone, also where it got it just now.
    """
    if _linux() and hasattr(os, "pidfd_open"):
        return _end_by_handle(pid, known_as, signal.SIGKILL if insist else signal.SIGTERM)
    import psutil

    try:
        process = psutil.Process(pid)  # remembers the create time: it signals no other process
        if identity(pid) != known_as:
            return False
        (process.kill if insist else process.terminate)()
    except (psutil.Error, ValueError, OverflowError):
        return False
    return True


def _end_by_handle(pid: int, known_as: str, number: int) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except (OSError, OverflowError, ValueError):
        return False
    try:
        # The handle was there first: if the process still is the one, the signal reaches it and nobody else.
        if identity(pid) != known_as:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _linux_identity(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid:d}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return None if fields[_STATE] in (b"Z", b"X") else f"{boot}:{fields[_STARTED].decode()}"


def _listener(port: int) -> socket.socket:
    # The protocol is named because asyncio switches Nagle off only then, which saves 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if reuses_address():
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)  # two that reuse the address may both bind it: only here is it known who has it
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _known(*names: str) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]

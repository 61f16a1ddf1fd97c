"""Owns the record of the processes a service started: what an earlier service left behind is ended, and nothing else.

A process is known by its number and its identity together, so that a number that somebody else got is left alone.
It must not know what the processes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from kit.service import leash as leash_program
from kit.service.platforms import apart, bare_python, end_process, identity
from kit.service.record import write_private

__all__ = ["Children"]

_log = logging.getLogger(__name__)
PATIENCE_S = 1.0  # for one that was asked to end; the start of the next service waits for it
LOOK_EVERY_S = 0.02
DAMAGED = "The record of an earlier service's processes is damaged. If it left one running, end it by hand."


@dataclass(frozen=True)
class _Child:
    pid: int
    identity: str
    what: str

    @property
    def runs(self) -> bool:
        return identity(self.pid) == self.identity


class Children:
    """The processes of one service, recorded (0600, `children.json`) for as long as they run."""

    def __init__(self, state: Path) -> None:
        self._path = state / "children.json"
        self._known: dict[int, _Child] = {}
        self._leashes: dict[int, subprocess.Popen[bytes]] = {}

    def adopt(self, pid: int, what: str) -> None:
        """Record a process that was just started, so that the next service finds it if this one is killed."""
        known_as = identity(pid)
        if known_as is not None:  # else it has ended already
            self._known[pid] = _Child(pid, known_as, what)
            self._write()

    async def end(self, process: asyncio.subprocess.Process) -> None:
        """Kill a process if it still runs, wait for its end, and strike it out."""
        if process.returncode is None:
            process.kill()
        await process.wait()
        self.release(process.pid)

    def release(self, pid: int) -> None:
        """Strike out a process that has ended or no longer is ours, and let its leash go; unknown ones are ignored."""
        held = self._leashes.pop(pid, None)
        if held is not None:
            _let_go(held)
        if self._known.pop(pid, None) is not None:
            self._write()

    def leash(self, pid: int) -> None:
        """Have a process ended when this service is gone, however it went: for one that has no leash of its own."""
        known_as = identity(pid)
        if known_as is None or pid in self._leashes:
            return
        nowhere, folder = subprocess.DEVNULL, self._path.parent
        argv = [*bare_python(), str(Path(leash_program.__file__)), str(pid), known_as]
        held = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, cwd=folder, **apart())
        threading.Thread(target=held.wait, name="leash", daemon=True).start()  # so that no zombie of it stays
        self._leashes[pid] = held

    def sweep(self) -> list[str]:
        """End what an earlier service recorded and left running; return a sentence for each, and one for a bad record.

        Called once, before anything is started, by the one service that holds the folder. Blocks until they have
        ended: a second where one does not listen.
        """
        left, sentences = self._left_behind()
        for child in left:
            end_process(child.pid, child.identity)
        _await_end(left)
        for child in left:
            if end_process(child.pid, child.identity, insist=True):
                _log.warning("%s (process %d) had to be killed", child.what, child.pid)
        _await_end(left)
        self._write()
        return sentences + [f"Ended {c.what} (process {c.pid}), which an earlier service left behind." for c in left]

    def _left_behind(self) -> tuple[list[_Child], list[str]]:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["children"]
            children = [_Child(int(row["pid"]), str(row["identity"]), str(row["what"])) for row in rows]
        except FileNotFoundError:
            return [], []
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
            _log.warning("%s cannot be read; whatever it recorded is left alone", self._path)
            return [], [DAMAGED]
        return [child for child in children if child.runs], []

    def _write(self) -> None:
        try:
            # Not synced: after a power failure there is nobody left to end.
            write_private(self._path, {"children": [asdict(c) for c in self._known.values()]}, sync=False)
        except OSError as reason:  # a child that cannot be recorded still serves
            _log.warning("%s cannot be written (%s)", self._path, reason)


def _let_go(held: subprocess.Popen[bytes]) -> None:
    assert held.stdin is not None
    with contextlib.suppress(OSError):  # it has ended already
        held.stdin.write(b".")  # anything but an end of file
        held.stdin.flush()
    with contextlib.suppress(OSError):
        held.stdin.close()


def _await_end(children: list[_Child]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and any(child.runs for child in children):
        time.sleep(LOOK_EVERY_S)

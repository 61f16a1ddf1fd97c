"""Owns the one thread in the kernel: it holds the event connection, and with it the attachment; it shows nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from kit.errors import KitError, ServiceError
from kit.notebook.progress import Arrived, Progress
from kit.service.control_client import Control

__all__ = ["Pump"]

_log = logging.getLogger(__name__)

ATTACHED_WITHIN_S = 10.0
RETRY_S = 1.0


class Pump:
    """Takes events from the service and wakes who waits; where the service died, it attaches again."""

    def __init__(self, attach: Callable[[], Control]) -> None:
        self._attach = attach
        self.control: Control | None = None
        self.progress: dict[str, Progress] = {}
        self.verifying: tuple[int, int] | None = None  # files checked, of how many
        # An interrupt may break into any step of a waiting cell, so the thread and its waiters share no lock that could
        # stay held: who waits leaves a locked latch here, and the thread unlocks what it finds.
        self._waiters: deque[threading.Lock] = deque()
        self._changes = 0
        self._noticed = threading.local()
        self._owner = os.getpid()
        self._attached = threading.Event()
        self._stopping = threading.Event()
        self.shut_down = False
        self.attachments = 1
        self._thread = threading.Thread(target=self._run, name="callboard events", daemon=True)

    @property
    def attached(self) -> bool:
        """Whether the event connection is open; in a forked child it is not, for it is the parent's."""
        return self.here and self._attached.is_set() and not self._stopping.is_set()

    @property
    def here(self) -> bool:
        """Whether this is the process that attached; a forked child has neither the thread nor the connection."""
        return self._owner == os.getpid()

    def start(self) -> None:
        """Attach, and return when the service counts this kernel; what breaks in leaves nothing attached."""
        try:
            self.control = self._attach()
            self._thread.start()
            if not self._attached.wait(ATTACHED_WITHIN_S):
                raise ServiceError(
                    f"The background service did not take this notebook's event connection within "
                    f"{ATTACHED_WITHIN_S:.0f} s. Connect again: kit.connect()."
                )
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Detach and end the thread."""
        self._stopping.set()
        control, self.control = self.control, None
        if control is not None:
            control.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5)

    def disown(self) -> None:
        """Let go of the event connection in a forked child: the parent's end alone shall keep it open."""
        if self.control is not None:
            self.control.disown()

    def wait_for_change(self, timeout: float) -> bool:
        """Wait for an event, at most `timeout` seconds; return whether one came since this thread last waited."""
        latch = threading.Lock()
        latch.acquire()
        self._waiters.append(latch)
        if self._changes == getattr(self._noticed, "changes", -1):
            latch.acquire(timeout=timeout)
        before, self._noticed.changes = getattr(self._noticed, "changes", -1), self._changes
        with contextlib.suppress(ValueError):  # who was woken is not among them any more
            self._waiters.remove(latch)
        return bool(before != self._noticed.changes)

    def _run(self) -> None:
        while not self._stopping.is_set():
            control = self.control
            if control is not None:
                for event in control.events():
                    self._take(event)
            self._attached.clear()
            if not self._stopping.is_set():
                self._attach_again()
        control, self.control = self.control, None
        if control is not None:
            control.close()

    def _take(self, event: dict[str, Any]) -> None:
        self._attached.set()
        if "stopping" in event:  # somebody shut the service down on purpose
            self.shut_down = True
            self._stopping.set()
        if "received" in event:
            files = self.progress.setdefault(event["task"], {})
            told = Arrived(event["received"], event["total"], event.get("rate"), time.monotonic())
            files[event["role"], event["index"]] = told
        if "verifying" in event:
            self.verifying = (event["verifying"]["done"], event["verifying"]["of"])
        self._changes += 1
        while self._waiters:
            with contextlib.suppress(IndexError):  # its owner may have stopped waiting this moment
                self._waiters.popleft().release()

    def _attach_again(self) -> None:
        """Take up the connection to a service that ended, starting it if need be."""
        _log.warning("the connection to the background service ended; attaching again")
        try:
            control = self._attach()
        except (KitError, OSError, subprocess.SubprocessError) as reason:
            _log.warning("attaching again failed: %s", reason)
            self._stopping.wait(RETRY_S)
            return
        self.attachments += 1
        old, self.control = self.control, control
        if old is not None:
            with contextlib.suppress(OSError):
                old.close()
        if self._stopping.is_set():
            control.close()

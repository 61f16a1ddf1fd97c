"""Owns one promise: when whoever holds the other end of its standard input is gone, one process is ended.

A program of its own, `python leash.py <pid> <identity>`: it must not know what that process is. A byte on its input
releases it; it ends by itself when the process has ended.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

__all__ = ["main"]

LOOK_EVERY_S = 1.0
PATIENCE_S = 3.0  # for a process that was asked to end


def main(pid: int, known_as: str) -> int:
    """Hold the leash until it is released, the process has ended, or the holder is gone; return the exit code."""
    from kit.service.platforms import end_process, identity

    told: list[bytes] = []
    heard = threading.Event()
    threading.Thread(target=_listen, args=(told, heard), daemon=True).start()
    while not heard.wait(LOOK_EVERY_S):
        if identity(pid) != known_as:
            return 0
    if told[0]:
        return 0
    deadline = time.monotonic() + PATIENCE_S
    end_process(pid, known_as)
    while identity(pid) == known_as:
        if time.monotonic() > deadline:
            end_process(pid, known_as, insist=True)
        time.sleep(0.05)
    return 0


def _listen(told: list[bytes], heard: threading.Event) -> None:
    told.append(os.read(0, 1))
    heard.set()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # an isolated Python knows no package of ours
    # The interpreter is left at once: its end would wait for the reading thread's lock on the input.
    os._exit(main(int(sys.argv[1]), sys.argv[2]))

"""Owns the closed-loop load: wrk with its script, and what it reports of one run."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.machine import cpu_seconds, program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.prepared import Callback
    from tests.bench.targets import Target

__all__ = ["CONNECTIONS", "Load", "Run"]

SCRIPT = Path(__file__).with_name("callbacks.lua")
CONNECTIONS = 64


@dataclass(frozen=True)
class Run:
    """What wrk saw: answers of any status, those above 399, requests without an answer, and times in milliseconds."""

    answers: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float
    cpu_seconds: float

    @property
    def good(self) -> int:
        """How many answers were not refusals."""
        return self.answers - self.refused

    @property
    def rate(self) -> float:
        """Good answers in a second."""
        return self.good / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time that the receiver used for one answer while wrk ran."""
        return 1e6 * self.cpu_seconds / max(1, self.answers)


class Load:
    """Sends prepared callbacks in a circle over keep-alive connections, going on where the last run ended."""

    def __init__(self, callbacks: Sequence[Callback], folder: Path) -> None:
        self._program, self._file, self._next = program("wrk"), folder / "callbacks.tsv", 0
        self._file.write_bytes(b"".join(c.path.encode() + b"\t" + c.body + b"\n" for c in callbacks))

    def run(self, target: Target, seconds: int) -> Run:
        """Load a target for `seconds`."""
        argv = [self._program, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "15s", "-s", str(SCRIPT)]
        argv += [f"http://127.0.0.1:{target.port}", "--", str(self._file), str(self._next), target.path or "-"]
        used = cpu_seconds(target.pid, family=False)
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 60)
        used = cpu_seconds(target.pid, family=False) - used
        line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
        run = Run(**json.loads(line.removeprefix("RESULT ")), cpu_seconds=used)
        if target.path is None:
            self._next += run.answers + CONNECTIONS
        return run

"""Owns the bench of slow sockets: real callbacks beside 500 connections that never complete a request."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit.service.process import attach
from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.openloop import RATE, Answers, send_steadily
from tests.bench.prepared import World, prepare, stored, world

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["measure"]

SOCKETS = 500
TASKS = 400
SECONDS = 15
GATHER_S = 3.0
METHOD = (
    f"open loop, {RATE:g} callbacks a second for {SECONDS} s, each on a connection of its own, timed from the planned "
    f"moment. Ours: while another process holds {SOCKETS} connections that say nothing or send a byte of header or "
    "body a second, and opens each again a second after it is closed. Baseline: without them."
)


def measure(runs: int) -> Outcome:
    """Measure without and with the slow sockets, `runs` times."""
    outcome, alone, crowded, seen = Outcome(METHOD), [], [], []
    with world("slow") as place:
        callbacks = prepare(place.area, TASKS)
        control = attach(place.area)
        port = control.record.public_port
        requests = [callback.request(port) for callback in callbacks]
        warm = send_steadily(port, requests, 1)
        for _ in range(runs):
            alone.append(send_steadily(port, requests, SECONDS))
            with _crowd(port, callbacks[0].path, place.folder) as log:
                crowded.append(send_steadily(port, requests, SECONDS))
                seen.append(log.read_text(encoding="ascii").split("\n")[-2])
        _check(outcome, place, [warm, *alone, *crowded])
        control.close()
    outcome.checks.append(f"slow sockets open, and closed by the service so far, at each end: {'; '.join(seen)}")
    outcome.figures = [_figure(alone, crowded)]
    outcome.raw = {"alone": [a.document() for a in alone], "crowded": [a.document() for a in crowded]}
    return outcome


@contextmanager
def _crowd(port: int, path: str, folder: Path) -> Iterator[Path]:
    """Hold the slow sockets for as long as the context lasts; yield the file that says how many are open."""
    argv = [sys.executable, "-m", "tests.bench.slow_sockets", str(port), str(SOCKETS), path]
    log = folder / "slow_sockets.out"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out)
    try:
        time.sleep(GATHER_S)
        assert process.poll() is None, "the slow sockets have ended"
        yield log
    finally:
        process.terminate()
        process.wait(timeout=20)


def _check(outcome: Outcome, place: World, answers: Sequence[Answers]) -> None:
    good, rows = sum(len(one.took_ms) for one in answers), stored(place.area)
    failed = [sentence for one in answers for sentence in one.failed]
    outcome.check(f"{len(failed)} real callbacks refused or not answered {failed[:3] or ''}", holds=not failed)
    outcome.check(f"{good:,} answers 200, and {rows:,} deliveries in the ledger", holds=good == rows)


def _figure(alone: Sequence[Answers], crowded: Sequence[Answers]) -> Figure:
    return Figure(
        bench="slow",
        what=f"p99 of an acknowledgement beside {SOCKETS} slow sockets",
        unit="ms",
        ours=tuple(one.p99_ms for one in crowded),
        baseline_name="none of them",
        baseline=tuple(one.p99_ms for one in alone),
        goal=Goal("ours", "<=", 1000.0, "ms"),
    )

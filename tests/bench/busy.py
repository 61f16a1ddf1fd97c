"""Owns the bench of the busy kernel: acknowledgements while a cell holds the interpreter, against an idle kernel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kit.service.process import running
from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.kernel import kernel_in
from tests.bench.machine import cpu_seconds
from tests.bench.openloop import RATE, Answers, send_steadily
from tests.bench.prepared import World, prepare, stored, world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.notebook.kernels import Kernel

__all__ = ["measure"]

TASKS = 400
SECONDS = 20
CELL = "sum(range(3 * 10**9))"
CONNECT = "import kit\ns = kit.connect(speed=1)"
METHOD = (
    f"open loop, {RATE:g} callbacks a second for {SECONDS} s, each on a connection of its own, timed from the planned "
    f"moment; {TASKS} pending tasks; a Jupyter kernel is attached by kit.connect(speed=1), so that details are asked "
    f"for and polled as a real provider's. Ours: while its cell runs {CELL}. Baseline: while it is idle."
)


def measure(runs: int) -> Outcome:
    """Measure beside an idle and then beside a busy kernel, `runs` times."""
    outcome, idle, busy = Outcome(METHOD), [], []
    with world("busy") as place:
        requests = _Requests(place)
        for _ in range(runs):
            with kernel_in(place, CONNECT) as kernel:
                idle.append(requests.send(SECONDS))
                busy.append(_beside_busy(kernel, requests, outcome))
        good = sum(len(answers.took_ms) for answers in (*idle, *busy)) + requests.warmed
        rows = stored(place.area)
        outcome.check(f"{good:,} answers 200, and {rows:,} deliveries in the ledger", holds=good == rows)
    failed = [sentence for answers in (*idle, *busy) for sentence in answers.failed]
    outcome.check(f"{len(failed)} callbacks refused or not answered {failed[:3] or ''}", holds=not failed)
    outcome.figures = _figures(idle, busy)
    outcome.raw = {"idle": [a.document() for a in idle], "busy": [a.document() for a in busy]}
    return outcome


class _Requests:
    """The callbacks of a world; each run goes on where the last one ended, so that no URL takes too many."""

    def __init__(self, place: World) -> None:
        self._place, self._callbacks, self._next, self.warmed = place, prepare(place.area, TASKS), 0, 0

    def send(self, seconds: float) -> Answers:
        """Send them to the service that runs."""
        record = running(self._place.area)
        assert record is not None, "the kernel has started no service"
        first = self._next % len(self._callbacks)
        turned = [*self._callbacks[first:], *self._callbacks[:first]]
        self._next += int(RATE * seconds)
        if not self.warmed:  # connections and code paths are used for the first time once
            self.warmed = len(
                send_steadily(record.public_port, [c.request(record.public_port) for c in turned], 1).took_ms
            )
        return send_steadily(record.public_port, [c.request(record.public_port) for c in turned], seconds)


def _beside_busy(kernel: Kernel, requests: _Requests, outcome: Outcome) -> Answers:
    """Measure while the cell runs; its kernel is killed afterwards, for nothing else ends such a cell."""
    pid = int(kernel.value("__import__('os').getpid()"))
    kernel.start(CELL)
    time.sleep(0.5)
    began, before = time.monotonic(), cpu_seconds(pid, family=False)
    answers = requests.send(SECONDS)
    share = (cpu_seconds(pid, family=False) - before) / (time.monotonic() - began)
    outcome.check(f"the busy kernel used {share:.0%} of a core throughout", holds=share > 0.5)
    return answers


def _figures(idle: Sequence[Answers], busy: Sequence[Answers]) -> list[Figure]:
    ours, baseline = tuple(a.p99_ms for a in busy), tuple(a.p99_ms for a in idle)
    return [
        Figure(
            bench="busy",
            what="p99 of an acknowledgement beside a busy kernel",
            unit="ms",
            ours=ours,
            baseline_name="idle kernel",
            baseline=baseline,
            goal=goal,
        )
        for goal in (Goal("ratio", "<=", 2.0), Goal("ours", "<=", 50.0, "ms"))
    ]

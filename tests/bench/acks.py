"""Owns the bench of durable acknowledgements: the real service under wrk, beside receivers that store nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kit.service.process import attach
from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.load import CONNECTIONS, Load, Run
from tests.bench.machine import settle
from tests.bench.prepared import World, prepare, stored, world
from tests.bench.targets import BASELINES, Target, running_baseline

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["measure"]

OURS = "Callboard"
TASKS = 4000
SECONDS, WARM_S = 5, 1
GOALS = {"FastAPI": 2.0, "Starlette": 0.8, "Flask sample": 10.0}
METHOD = (
    f"wrk, one thread, {CONNECTIONS} keep-alive connections, {SECONDS} s a run after a warm-up; documented video "
    f"callbacks for {TASKS} pending tasks, each on a URL of its own. Ours is the service process as a kernel starts "
    "it; every 200 is in the ledger, synced. The baselines parse the same bodies and store nothing, FastAPI and "
    "Starlette on the same uvicorn settings (httptools, asyncio, one process, no access log), Flask on its own server."
)


def measure(runs: int) -> Outcome:
    """Alternate over all receivers `runs` times, and compare what the service stored with what wrk was told."""
    outcome = Outcome(METHOD)
    with world("acks") as place, ExitStack() as stack:
        load = Load(prepare(place.area, TASKS), place.folder)
        ours = _service(place, stack)
        baselines = [stack.enter_context(running_baseline(name, place.folder)) for name in BASELINES]
        told = _alternate(outcome, load, ours, baselines, runs)
        _check_stored(outcome, told[OURS], stored(place.area))
    warm = {name: runs_of[1:] for name, runs_of in told.items()}
    outcome.figures = [_figure(name, warm) for name in BASELINES]
    outcome.figures += [_cost(name, warm) for name in BASELINES]
    for name, runs_of in told.items():
        _check_answers(outcome, name, runs_of)
    outcome.raw |= {name: [vars(run) for run in runs_of] for name, runs_of in told.items()}
    outcome.checks.append(f"what was answered was worked through {max(outcome.raw['caught_up_s']):.0f} s later at most")
    return outcome


def _service(place: World, stack: ExitStack) -> Target:
    control = attach(place.area)
    stack.callback(control.close)
    return Target(OURS, control.record.public_port, control.record.pid)


def _alternate(
    outcome: Outcome, load: Load, ours: Target, baselines: Sequence[Target], runs: int
) -> dict[str, list[Run]]:
    """Return what wrk saw of each receiver, the warm-up first; the next turn begins when the last one's is over."""
    targets = [*baselines, ours]
    told = {target.name: [load.run(target, WARM_S)] for target in targets}
    outcome.raw["caught_up_s"] = [settle(ours.pid)]
    for _ in range(runs):
        for target in targets:
            told[target.name].append(load.run(target, SECONDS))
        outcome.raw["caught_up_s"].append(settle(ours.pid))
    return told


def _figure(name: str, told: dict[str, list[Run]]) -> Figure:
    return Figure(
        bench="acks",
        what="acknowledged, durable against stored nowhere",
        unit="1/s",
        ours=tuple(run.rate for run in told[OURS]),
        baseline_name=name,
        baseline=tuple(run.rate for run in told[name]),
        goal=Goal("ratio", ">=", GOALS[name]),
    )


def _cost(name: str, told: dict[str, list[Run]]) -> Figure:
    """Return the processor time, which a machine with other work to do changes least."""
    return Figure(
        bench="acks",
        what="processor time of one, all threads",
        unit="µs",
        ours=tuple(run.cpu_us for run in told[OURS]),
        baseline_name=name,
        baseline=tuple(run.cpu_us for run in told[name]),
    )


def _check_stored(outcome: Outcome, told: Sequence[Run], rows: int) -> None:
    """Every 200 must be a row; what was in flight when a run ended may be one without being counted."""
    good, unseen = sum(run.good for run in told), CONNECTIONS * len(told)
    outcome.check(
        f"{OURS}: wrk counted {good:,} answers 200 in {len(told)} runs; the ledger holds {rows:,} deliveries, "
        f"{rows - good:,} more, where up to {unseen:,} were in flight as runs ended",
        holds=good <= rows <= good + unseen,
    )


def _check_answers(outcome: Outcome, name: str, told: Sequence[Run]) -> None:
    refused, broken = sum(run.refused for run in told), sum(run.broken for run in told)
    outcome.check(f"{name}: {refused} refusals, {broken} requests without an answer", holds=not refused and not broken)

"""Owns the command line of the bench: which benches, how many runs, what is printed and kept."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Outcome, table, write
from tests.bench.machine import Missing, facts
from tests.bench.prepared import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHES = ("acks", "busy", "slow", "news", "fetch", "parallel", "memory", "while_saving")


def main(argv: Sequence[str]) -> int:
    """Run the benches and return 0 where every goal is reached and every check holds."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, _end)  # so that what was started is ended too
    RUNTIME.mkdir(parents=True, exist_ok=True)
    machine = facts(RUNTIME)
    print(_machine_in_words(machine), flush=True)
    outcomes = {name: _run(name, options.runs) for name in options.names or BENCHES}
    figures = [figure for outcome in outcomes.values() for figure in outcome.figures]
    print(f"\nMedians of {options.runs} alternating runs, with the least and the most\n\n{table(figures)}\n")
    print(f"Everything measured: {write(RUNTIME, machine, outcomes)}")
    return _verdict(outcomes)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="bench", help=f"of {', '.join(BENCHES)}; all, where none is named")
    parser.add_argument(
        "--runs", type=int, default=5, help="alternating runs a figure (default: 5; 1 for a quick look)"
    )
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no bench is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    if options.runs < 1:
        parser.error("--runs is 1 or more")
    return options


def _run(name: str, runs: int) -> Outcome:
    print(f"\n{name}: running ...", flush=True)
    began = time.monotonic()
    try:
        outcome: Outcome = import_module(f"tests.bench.{name}").measure(runs)
    except Missing as reason:  # one bench without its tool is a miss, and no reason to lose the others
        outcome = Outcome("not run", problems=[str(reason)])
    print(f"{name}: {outcome.method}")
    for sentence in outcome.checks:
        print(f"  ok  {sentence}")
    for sentence in outcome.problems:
        print(f"  NOT OK  {sentence}")
    print(f"{name}: took {time.monotonic() - began:.0f} s", flush=True)
    return outcome


def _machine_in_words(machine: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return (
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"load before {machine['load_before']:.2f}\n"
        f"Python {machine['python']}, SQLite {machine['sqlite']}, {libraries}\n"
        f"S, the p99 of one fdatasync: {machine['fdatasync_p99_ms']} ms (p50 {machine['fdatasync_p50_ms']} ms)"
    )


def _end(*_: object) -> None:
    sys.exit(143)


def _verdict(outcomes: dict[str, Outcome]) -> int:
    missed = [f for outcome in outcomes.values() for f in outcome.figures if f.verdict == "MISS"]
    problems = [sentence for outcome in outcomes.values() for sentence in outcome.problems]
    for figure in missed:
        print(f"Missed: {figure.bench}, {figure.what} against {figure.baseline_name}: {figure.goal}")
    for sentence in problems:
        print(f"Not right: {sentence}")
    if not missed and not problems:
        print("Every goal is reached and every check holds.")
    return 1 if missed or problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

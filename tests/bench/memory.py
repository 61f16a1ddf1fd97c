"""Owns the bench of memory: what a download of a gigabyte needs more than one of a megabyte."""

from __future__ import annotations

from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.transfers import MB, Fetched, Fetcher, Host, in_memory

__all__ = ["measure"]

LARGE, SMALL = 1000 * MB, MB
MIB = 2**20
METHOD = (
    "the peak of resident memory of a process that runs the service's download, a new one each run. Baseline: after a "
    f"file of {SMALL // MB} MB. Ours: after one of {LARGE // MB:,} MB, which the same process fetches next. Both from "
    "a host of its own, to a file system in memory, whose files are not resident memory of whoever writes them."
)


def measure(runs: int) -> Outcome:
    """Measure `runs` processes."""
    outcome, before, after = Outcome(METHOD), [], []
    with in_memory(5 * LARGE // (2 * MB)) as folder:
        host = Host(folder)
        host.make("large", LARGE)
        host.make("small", SMALL)
        with host.running():
            for _ in range(runs):
                with Fetcher.running(folder) as fetcher:
                    before.append(fetcher.fetch([host.url("small")]))
                    after.append(fetcher.fetch([host.url("large")]))
    whole = all(one.files == [host.made["large"]] for one in after)
    outcome.check(f"{len(after)} downloads had every byte and the right SHA-256", holds=whole)
    outcome.figures = [_figure(before, after)]
    outcome.raw = {"before": [vars(one) for one in before], "after": [vars(one) for one in after]}
    return outcome


def _figure(before: list[Fetched], after: list[Fetched]) -> Figure:
    return Figure(
        bench="memory",
        what=f"peak memory with {LARGE // MB:,} MB fetched",
        unit="MiB",
        ours=tuple(one.peak_bytes / MIB for one in after),
        baseline_name=f"{SMALL // MB} MB fetched",
        baseline=tuple(one.peak_bytes / MIB for one in before),
        goal=Goal("difference", "<=", 32.0, "MiB"),
    )

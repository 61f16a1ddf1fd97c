"""Owns the bench of one large download: the service's own, with its hash, against curl, which only writes."""

from __future__ import annotations

from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.transfers import MB, Fetched, Fetcher, Host, curl, hashing_mb_s, in_memory

__all__ = ["measure"]

SIZE = 500 * MB
SMALL = MB
METHOD = (
    f"one file of {SIZE // MB} MB on a file system in memory, from a host of its own that sends it by sendfile with "
    "Content-Length and a strong ETag. Ours: the service's download in a process of its own, from the call to the "
    "synced and hashed file, after a warm-up. Baseline: `curl -s -o`, by its own clock, without its start. In turn, "
    "the same host; each file is new and is removed."
)


def measure(runs: int) -> Outcome:
    """Alternate between curl and ours, `runs` times."""
    outcome, theirs, ours = Outcome(METHOD), [], []
    with in_memory(3 * SIZE // MB) as folder:
        host = Host(folder)
        host.make("large", SIZE)
        host.make("small", SMALL)
        with host.running(), Fetcher.running(folder) as fetcher:
            fetcher.fetch([host.url("small")])
            curl([host.url("small")], folder)
            for _ in range(runs):
                theirs.append(curl([host.url("large")], folder))
                ours.append(fetcher.fetch([host.url("large")]))
    whole = all(one.files == [host.made["large"]] for one in ours)
    outcome.check(f"{len(ours)} downloads had every byte and the right SHA-256", holds=whole)
    outcome.checks.append(f"hashing alone runs at {hashing_mb_s():,.0f} MB/s here")
    outcome.figures = [_figure(ours, theirs)]
    outcome.raw = {"ours": [vars(one) for one in ours], "curl": [vars(one) for one in theirs]}
    return outcome


def _figure(ours: list[Fetched], theirs: list[Fetched]) -> Figure:
    return Figure(
        bench="fetch",
        what=f"one file of {SIZE // MB} MB, hashed and synced",
        unit="MB/s",
        ours=tuple(one.mb_s for one in ours),
        baseline_name="curl",
        baseline=tuple(one.mb_s for one in theirs),
        goal=Goal("ratio", ">=", 0.6),
    )

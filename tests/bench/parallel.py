"""Owns the bench of many downloads at once: the service's own, with their hashes, against one curl."""

from __future__ import annotations

from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.transfers import MB, Fetched, Fetcher, Host, curl, in_memory

__all__ = ["measure"]

FILES = 8
SIZE = 100 * MB
METHOD = (
    f"{FILES} files of {SIZE // MB} MB at once on a file system in memory, from a host of its own that sends them by "
    f"sendfile with Content-Length and strong ETags. Ours: {FILES} of the service's downloads in threads of one "
    "process, from the first call to the last synced and hashed file, after a warm-up. Baseline: "
    f"`curl --parallel --parallel-max {FILES}`, its slowest file by its own clock. In turn, the same host."
)


def measure(runs: int) -> Outcome:
    """Alternate between curl and ours, `runs` times."""
    outcome, theirs, ours = Outcome(METHOD), [], []
    names = [f"file{number}" for number in range(FILES)]
    with in_memory(5 * FILES * SIZE // (2 * MB)) as folder:
        host = Host(folder)
        for name in names:
            host.make(name, SIZE)
        host.make("small", MB)
        with host.running(), Fetcher.running(folder) as fetcher:
            urls, small = [host.url(name) for name in names], [host.url("small")]
            fetcher.fetch(small * FILES)
            for _ in range(runs):
                theirs.append(curl(urls, folder, "--parallel", "--parallel-max", str(FILES)))
                ours.append(fetcher.fetch(urls))
    whole = all(one.files == [host.made[name] for name in names] for one in ours)
    outcome.check(f"{FILES * len(ours)} downloads had every byte and the right SHA-256", holds=whole)
    outcome.figures = [_figure(ours, theirs)]
    outcome.raw = {"ours": [vars(one) for one in ours], "curl": [vars(one) for one in theirs]}
    return outcome


def _figure(ours: list[Fetched], theirs: list[Fetched]) -> Figure:
    return Figure(
        bench="parallel",
        what=f"{FILES} files of {SIZE // MB} MB at once, hashed and synced",
        unit="MB/s",
        ours=tuple(one.mb_s for one in ours),
        baseline_name="curl --parallel",
        baseline=tuple(one.mb_s for one in theirs),
        goal=Goal("ratio", ">=", 0.6),
    )

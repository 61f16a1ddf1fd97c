"""Owns the bench of news: from a callback leaving the provider to `wait(until="succeeded")` returning in a kernel."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from kit.provider.kinds import kind_named
from kit.service.providers import LOCAL_KEY
from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.kernel import kernel_in, run
from tests.bench.prepared import Callback, sample, world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.notebook.kernels import Kernel

__all__ = ["measure"]

BODY = sample("sunoapi-music-complete.json")
TASKS = 4  # a run: the service asks at once 20 times and then ever slower, by its share of the provider's limits
MADE_WITHIN_S = 120.0
METHOD = (
    f"{TASKS} songs a run in a Jupyter kernel. The simulated provider has made each and was told to lose its callback; "
    "then the cell waits and the documented callback is posted by hand. Ours: from its first byte leaving to "
    'wait(until="succeeded") returning in the kernel, on the clock both share. Baseline: one details request for the '
    "same task with the service's HTTP library, right after it. Each run gives its median."
)
BEGIN = """
import kit, time
s = kit.connect(speed=0.1)  # the kit's own polls come after two minutes, so that the callback is what tells
s.sandbox.speed = 10_000
s.sandbox.always(callbacks="lost")
t = {}
"""
BUY = """
for n in range({first}, {last}):
    t[n] = s.generate_music(style="slow piano", title=f"Bench {{n}}", instrumental=True, save=False)
"""
JOBS = "__import__('json').dumps([[j['task_id'], j['callback_url'], j['outcome']] for j in s.sandbox.jobs()])"
WAIT = "print(t[{number}].wait(until='succeeded') and time.monotonic_ns())"
LEARNED = "sorted({str(each.state.learned_by) for each in t.values()})"
LISTENS_S = 0.3  # for the cell to begin to wait


@dataclass(frozen=True)
class News:
    """One task's times in milliseconds: callback to wait returning, and the details round trip alone."""

    told_ms: float
    asked_ms: float


def measure(runs: int) -> Outcome:
    """Measure `runs` batches of songs in one kernel."""
    outcome, batches = Outcome(METHOD), []
    with world("news") as place, kernel_in(place, BEGIN) as kernel:
        address = kernel.value("s.sandbox.base_url")
        # As the service's own client: no connection is kept for longer than two seconds.
        limits = httpx.Limits(keepalive_expiry=2.0)
        with httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {LOCAL_KEY.reveal()}"}, trust_env=False, limits=limits
        ) as provider:
            for turn in range(runs + 1):
                news = _batch(kernel, provider, first=turn * TASKS)
                batches += [news] if turn else []  # the first warms up
        learned = kernel.value(LEARNED)
    outcome.check(f"what told of the ends: {learned}", holds=learned == "['callback']")
    outcome.figures = [_figure(batches)]
    outcome.raw = {"runs": [[vars(one) for one in batch] for batch in batches]}
    return outcome


def _batch(kernel: Kernel, provider: httpx.Client, *, first: int) -> list[News]:
    """Buy songs, let the provider make them unheard, and tell of them one by one."""
    run(kernel, BUY.format(first=first, last=first + TASKS))
    jobs = _made(kernel, first + TASKS)[first:]
    return [_tell(kernel, provider, first + place, *job) for place, job in enumerate(jobs)]


def _made(kernel: Kernel, count: int) -> list[tuple[str, str]]:
    """Return id and callback URL of every song, once the provider has made them all."""
    deadline = time.monotonic() + MADE_WITHIN_S
    while time.monotonic() < deadline:
        jobs: list[list[str]] = json.loads(kernel.value(JOBS))
        if len(jobs) == count and all(outcome == "succeeded" for _, _, outcome in jobs):
            return [(id, url) for id, url, _ in jobs]
        time.sleep(0.2)
    raise AssertionError("the simulated provider did not make the songs in time")


def _tell(kernel: Kernel, provider: httpx.Client, number: int, task_id: str, url: str) -> News:
    """Post the callback of a task that a cell waits for, and time both the cell's end and a details request."""
    address = urlsplit(url)
    body = {**BODY, "data": {**BODY["data"], "task_id": task_id}}
    request = Callback(address.path, json.dumps(body).encode()).request(address.port or 80)
    cell = kernel.start(WAIT.format(number=number))
    time.sleep(LISTENS_S)
    began = time.monotonic_ns()
    with socket.create_connection(("127.0.0.1", address.port or 80), timeout=15) as line:
        line.sendall(request)
        answer = line.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert cell.end().error is None, cell.of("error")
    told = int(cell.printed.split()[-1]) - began
    return News(told_ms=told / 1e6, asked_ms=_ask(provider, task_id))


def _ask(provider: httpx.Client, task_id: str) -> float:
    """Return the milliseconds of one details round trip."""
    began = time.monotonic_ns()
    answer = provider.get(kind_named("music").details_path, params={"taskId": task_id})
    took = (time.monotonic_ns() - began) / 1e6
    assert answer.json()["data"]["status"] == "SUCCESS", answer.text
    return took


def _figure(batches: Sequence[Sequence[News]]) -> Figure:
    return Figure(
        bench="news",
        what="callback to wait() returning, median",
        unit="ms",
        ours=tuple(median(one.told_ms for one in batch) for batch in batches),
        baseline_name="details round trip",
        baseline=tuple(median(one.asked_ms for one in batch) for batch in batches),
        goal=Goal("difference", "<=", 25.0, "ms"),
    )

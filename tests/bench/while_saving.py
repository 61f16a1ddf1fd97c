"""Owns the bench of acknowledgements while films are saved at full speed, against those while there is nothing."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit.service.process import running
from tests.bench.figures import Figure, Goal, Outcome
from tests.bench.kernel import kernel_in, run
from tests.bench.machine import settle
from tests.bench.openloop import RATE, Answers, send_steadily
from tests.bench.prepared import World, prepare, stored, world
from tests.bench.transfers import MB, in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.notebook.kernels import Kernel

__all__ = ["measure"]

TASKS = 400
SECONDS = 8
SONGS = 5  # two films each, of a gigabyte
MADE_WITHIN_S, SAVED_WITHIN_S = 300.0, 120.0
ROOM_MB = 7000
METHOD = (
    f"open loop, {RATE:g} callbacks a second for {SECONDS} s, each on a connection of its own, timed from the planned "
    f"moment; {TASKS} pending tasks. A Jupyter kernel is attached by kit.connect(speed=1); all folders are on a file "
    "system in memory. Ours: while the service saves films at full speed, as many at once as it does by itself. The "
    'simulated provider makes them of a gigabyte (media="large": the film, then a `free` box, sent with its length and '
    "a strong ETag). A film is removed once it is saved; "
    "verify() then finds it gone and has it fetched again, which begins the next run. Baseline: the same service with "
    "nothing to save."
)
MAKE = f"""
s = kit.connect(speed=200)
s.sandbox.speed = 5000
s.sandbox.always("video", media="large")
asked = {{"style": "slow piano", "instrumental": True, "save": False}}
songs = [s.generate_music(title=f"Bench {{n}}", **asked) for n in range({SONGS})]
films = [s.create_video(take, save=False) for song in songs for take in song.wait(until="succeeded").tracks]
for film in films: film.wait(until="succeeded")
s.shutdown()
"""
BEGIN = """
s = kit.connect(speed=1)
films = [s.task(film.id) for film in films]
"""
SAVE = "for film in films: film.save()"
STATUSES = "' '.join(file.status for film in films for file in film.state.files)"
SAVE_AGAIN = "s.verify()"  # which finds that they are gone, so that they are wanted again


def measure(runs: int) -> Outcome:
    """Measure without and then with films to save, `runs` times."""
    outcome, idle, saving = Outcome(METHOD), [], []
    with in_memory(ROOM_MB) as memory, world("while_saving", memory) as place:
        with kernel_in(place, "import kit") as kernel:
            made = kernel.start(MAKE).end(seconds=MADE_WITHIN_S)
            assert made.error is None, made.of("error")
            requests = _Requests(place)  # written while no service runs, which would poll them instead of making films
            run(kernel, BEGIN)
            for turn in range(runs + 1):
                settle(requests.pid)
                idle.append(requests.send(SECONDS))
                answers, sentence, holds = _beside_saving(kernel, place, requests, SAVE_AGAIN if turn else SAVE)
                saving.append(answers)
                outcome.check(sentence, holds=holds or not turn)  # the first turn warms up
        _check(outcome, place, [*idle, *saving])
    outcome.figures = [_figure(idle[1:], saving[1:])]
    outcome.raw |= {"idle": [a.document() for a in idle], "saving": [a.document() for a in saving]}
    return outcome


class _Requests:
    """The callbacks of a world; each run goes on where the last one ended, so that no URL takes too many."""

    def __init__(self, place: World) -> None:
        self._place, self._callbacks, self._next = place, prepare(place.area, TASKS), 0

    @property
    def pid(self) -> int:
        """The service's process."""
        record = running(self._place.area)
        assert record is not None, "the kernel has started no service"
        return record.pid

    def send(self, seconds: float) -> Answers:
        """Send them to the service that runs."""
        record = running(self._place.area)
        assert record is not None, "the service has ended"
        first = self._next % TASKS
        self._next += int(RATE * seconds)
        turned = [*self._callbacks[first:], *self._callbacks[:first]]
        return send_steadily(record.public_port, [c.request(record.public_port) for c in turned], seconds)


class _Sweep:
    """Removes films that are saved, so that memory is not what ends the downloads, and counts what arrived."""

    def __init__(self, archive: Path) -> None:
        self._archive, self._removed, self._over = archive, 0, threading.Event()

    @contextmanager
    def sweeping(self) -> Iterator[None]:
        """Sweep until the context ends."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def arrived(self) -> int:
        """Return how many bytes there are and have been."""
        return self._removed + sum(path.stat().st_size for path in self._archive.glob("*.part"))

    def _run(self) -> None:
        while not self._over.wait(0.2):
            for path in self._archive.glob("*.mp4"):
                self._removed += path.stat().st_size
                path.unlink()


def _beside_saving(kernel: Kernel, place: World, requests: _Requests, begin: str) -> tuple[Answers, str, bool]:
    """Measure while films are fetched, and wait until all are saved; say whether they lasted."""
    sweep = _Sweep(place.area / "archive")
    with sweep.sweeping():
        run(kernel, begin)
        _until(lambda: sweep.arrived() > 10 * MB, "no film began to arrive")
        began, before = time.monotonic(), sweep.arrived()
        answers = requests.send(SECONDS)
        rate = (sweep.arrived() - before) / MB / (time.monotonic() - began)
        left = kernel.value(STATUSES).split()
        _until(lambda: set(kernel.value(STATUSES).split()) == {"saved"}, "the films were not all saved")
    sentence = f"films arrived at {rate:,.0f} MB/s, {left.count('saved')} of {len(left)} were saved at the end"
    return answers, sentence, "downloading" in left


def _until(reached: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + SAVED_WITHIN_S
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{otherwise} within {SAVED_WITHIN_S:.0f} s")
        time.sleep(0.1)


def _check(outcome: Outcome, place: World, answers: Sequence[Answers]) -> None:
    failed = [sentence for one in answers for sentence in one.failed]
    outcome.check(f"{len(failed)} callbacks refused or not answered {failed[:3] or ''}", holds=not failed)
    good, rows = sum(len(one.took_ms) for one in answers), stored(place.area)
    outcome.check(f"{good:,} answers 200, and {rows:,} deliveries in the ledger", holds=good <= rows)


def _figure(idle: Sequence[Answers], saving: Sequence[Answers]) -> Figure:
    return Figure(
        bench="while_saving",
        what="p99 of an acknowledgement while films are saved",
        unit="ms",
        ours=tuple(one.p99_ms for one in saving),
        baseline_name="nothing to save",
        baseline=tuple(one.p99_ms for one in idle),
        goal=Goal("ratio", "<=", 3.0),
    )

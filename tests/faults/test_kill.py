"""Killed at any moment: what was answered 200 is there, once; what was wanted was bought, once; the file is whole."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import kit
from kit.ledger.reader import Reader
from kit.sandbox.admin import Sandbox
from kit.service.callbacks import secret_hash
from kit.service.control_client import Control
from kit.service.process import attach
from tests.faults.load import SPEED, BuyingKernel, Crowd, Wishes, buy, services_of, title
from tests.flows.acting import until

CYCLES = int(os.environ.get("N") or "30")
FRESH_URLS = 4  # new listen-only URLs in every third cycle
SONGS = 4
DOUBLE = 0.3  # the share of kills that are followed by one of the successor


def reached(area: Path) -> Control:
    """Attach as a kernel does, starting the service where it is gone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return attach(area)
        except kit.KitError:  # it was killed in between, or another kernel is starting it
            assert time.monotonic() < deadline
            time.sleep(0.05)


def learn_urls(control: Control, crowd: Crowd) -> None:
    """Tell the crowd new listen-only URLs and those of every task; have songs fail from now on, which is quick."""
    opened = control.open_provider("sandbox", key=None, speed=SPEED, webhook_key=None, user_agent=None)
    crowd.know(*(control.mint_url("wav", "sandbox")["url"] for _ in range(FRESH_URLS)))
    with contextlib.closing(Sandbox(opened["base_url"], opened["admin_token"])) as sandbox:
        crowd.know(*(job["callback_url"] for job in sandbox.jobs()))
        sandbox.always("music", code=500)


def end(process: psutil.Process) -> None:
    """SIGKILL one process of ours."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def deliveries(area: Path) -> Counter[int]:
    """Return how often each posted number is stored, read from the file itself."""
    with contextlib.closing(sqlite3.connect(area / "ledger.sqlite")) as ledger:
        assert [("ok",)] == ledger.execute("PRAGMA integrity_check").fetchall()
        bodies = [json.loads(raw) for (raw,) in ledger.execute("SELECT raw FROM facts WHERE type = 'delivery'")]
    ids = [body["data"]["task_id"] for body in bodies]
    return Counter(int(id.removeprefix("posted-")) for id in ids if id.startswith("posted-"))


def rows_of_urls(area: Path) -> dict[bytes, str]:
    """Return which row each callback URL belongs to."""
    with contextlib.closing(sqlite3.connect(area / "ledger.sqlite")) as ledger:
        return dict(ledger.execute("SELECT secret_hash, task FROM urls"))


@pytest.fixture
def kernels() -> Iterator[list[BuyingKernel]]:
    """Kernels that are ended with the test, however it ends."""
    started: list[BuyingKernel] = []
    yield started
    for kernel in started:
        if kernel.running:
            kernel.kill()


def one_cycle(area: Path, crowd: Crowd, wishes: Wishes, *, learn: bool) -> None:
    """Attach and kill the service 0 to 300 ms after; now and then its successor too, while it starts."""
    control, sending = reached(area), []
    if learn:
        with contextlib.suppress(kit.KitError):  # it may be gone already
            learn_urls(control, crowd)
            sending = wishes.send(control)
    time.sleep(random.uniform(0, 0.3))
    end(psutil.Process(control.record.pid))
    for thread in sending:
        thread.join(40)
    control.close()
    if random.random() < DOUBLE:
        deadline = time.monotonic() + 2
        while not (starting := services_of(area)) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        for process in starting:
            end(process)


@pytest.mark.timeout(60 + 10 * CYCLES)
def test_what_was_answered_and_what_was_bought_survives_every_kill(connect, kernels, tmp_path):
    """Service and kernels killed at random under load: 0 acknowledged lost, 0 doubled, nothing bought twice."""
    area, crowd = Path(os.environ["KIT_DATA_DIR"]) / "sandbox", Crowd()
    wishes = Wishes()
    area.mkdir(parents=True)
    kernels.append(BuyingKernel(1))
    try:
        for cycle in range(1, CYCLES + 1):
            one_cycle(area, crowd, wishes, learn=cycle % 3 == 1)
            if cycle % 7 == 0:
                kernels[-1].kill()
                kernels.append(BuyingKernel(max(1, kernels[-1].wished - 2)))  # the last wishes again, as a rerun does
        until(lambda: kernels[-1].told, seconds=60)
    finally:
        crowd.stop()
        kernels[-1].end()

    session = connect(speed=SPEED)
    wished = {*range(1, max(kernel.wished for kernel in kernels) + 1), *wishes.wished}
    assert {200} >= set(crowd.other_answers) - {503}, Counter(crowd.other_answers)
    settle(session, area)
    stored = deliveries(area)
    assert set() == crowd.kept - set(stored)
    assert {1} == set(stored.values())
    assert 10 * CYCLES < len(crowd.kept), "there was no load to speak of"
    print(f"{CYCLES} cycles, {len(crowd.kept)} acknowledged, {len(wished)} wishes, {len(kernels)} kernels")
    each_wish_was_bought_at_most_once(session, area, wished)
    told = [*((n, {id}) for kernel in kernels for n, id in kernel.told.items()), *wishes.told.items()]
    assert [] == [(number, ids) for number, ids in told if len(ids) > 1]
    assert [title(number) for number, _ in told] == [session.task(min(ids)).title for _, ids in told]


def settle(session: kit.Session, area: Path) -> None:
    """Wait until every task that the provider knows of has come to its end."""
    rows = rows_of_urls(area)

    def settled() -> bool:
        bought = {rows[secret_hash(job["callback_url"].rsplit("/", 1)[1])] for job in session.sandbox.jobs()}
        with Reader(area / "ledger.sqlite") as reader:
            states = reader.states()
        return all(states[id].status in ("succeeded", "failed") for id in bought)

    until(settled, seconds=60)


def each_wish_was_bought_at_most_once(session: kit.Session, area: Path, wished: set[int]) -> None:
    """One job, one row and one end for each wish; a row without a job was on its way at a kill, and says so."""
    jobs, rows = session.sandbox.jobs(), rows_of_urls(area)
    bought = Counter(rows[secret_hash(job["callback_url"].rsplit("/", 1)[1])] for job in jobs)
    table = session.tasks().query("kind == 'music'")
    titles = Counter(table["title"])

    assert {1} == set(bought.values())
    assert session.sandbox.creates == len(jobs)
    assert {title(number) for number in wished} >= set(titles)
    assert {1} == set(titles.values())
    assert {"unconfirmed"} >= set(table[~table["id"].isin(list(bought))]["status"])
    assert len(jobs) > len(wished) / 4


@pytest.mark.timeout(180)
def test_two_kernels_on_one_folder_are_one_customer(connect, kernels):
    """Two kernels want the same songs and their files at the same moment: one service, one purchase, one download."""
    session = connect(speed=SPEED)
    kernels += [BuyingKernel(1, most=SONGS), BuyingKernel(1, most=SONGS)]
    for _ in range(25):
        act(session, random.choice(["buy", "look", "save", "refresh", "connect"]))
    errors = [kernel.wait(90) for kernel in kernels]
    for task in [session.task(id) for id in session.tasks()["id"]]:
        task.wait(timeout=60)
    facts = [fact for _, fact in Reader(session.area / "ledger.sqlite").facts(only="file")]

    assert ["", ""] == errors
    assert kernels[0].told == kernels[1].told
    assert SONGS == session.sandbox.creates == len(session.tasks())
    assert [1] == list(set(Counter((f.task, f.role, f.index) for f in facts if f.status == "saved").values()))
    assert 1 == (session.area / "logs" / "service.log").read_text(encoding="utf-8").count("listening on")
    assert Counter() == deliveries(session.area)


def act(session: kit.Session, what: str) -> None:
    """Do one of the things that a person does, on any task there is."""
    ids = list(session.tasks()["id"])
    if what == "buy":
        buy(session, random.randint(1, SONGS))
    elif what == "connect":
        assert kit.connect(speed=SPEED) is session
    elif ids and what == "save":
        session.task(random.choice(ids)).save()
    elif ids and what == "refresh":
        session.task(random.choice(ids)).refresh()
    elif what == "look":
        session.files(), session.tracks(), session.deliveries(), session.lineage()

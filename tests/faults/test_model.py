"""Whatever arrives, in whatever order, however often, from whomever: the rows are those of an honest, quiet day."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kit.ledger.evidence import known_id
from kit.ledger.facts import (
    Abandonment,
    Answer,
    Confirmation,
    Delivery,
    Departure,
    Details,
    Fact,
    FileFact,
    Intent,
    MintedUrl,
    SaveRequest,
)  # fmt: skip
from kit.ledger.fold import TaskState, fold
from kit.ledger.reader import Reader
from kit.ledger.store import Ledger
from kit.provider.wire import redact
from kit.service.callbacks import echo_of, secret_hash
from kit.service.hub import Hub
from tests.faults.truth import EVIL, NOTHING, TruthfulJob, forged

SOAK = bool(os.environ.get("SOAK"))
EXAMPLES = int(os.environ.get("EXAMPLES") or (10_000 if SOAK else 500))
STEPS = int(os.environ.get("STEPS") or (50 if SOAK else 24))
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # what is asked here is order; syncing has its own tests
MANNERS = ["success", "failure", "stage", "no id", "two ids", "made up", "a list", "junk"]
ROWS = 4
some = st.integers(0, ROWS - 1)


@dataclass
class Row:
    """One task as the test knows it: what is true, and what was let out."""

    id: str
    kind: str
    dialect: Any
    secret: str
    origin: Any = "here"
    job: TruthfulJob | None = None
    keyed: bool = True
    opening: list[Fact] = field(default_factory=list)
    answer: Answer | None = None
    arrived: list[str] = field(default_factory=list)
    named: bool = False  # whether any arrival, by whomever, named the task's own id
    saved: list[FileFact] = field(default_factory=list)
    forgotten: bool = False
    save_asked: bool = False
    confirmed: bool = False


def result(state: TaskState) -> dict[str, Any]:
    """Return what a row says of its result: all that nobody but the provider may decide."""
    names = ["status", "code", "message", "meaning", "retryable", "refunded", "next_step", "takes", "credits"]
    names += ["confirmed", "title", "shown"]
    files = [(f.role, f.index, f.status, f.urls, f.url, f.path, f.wanted) for f in state.files]
    return {name: getattr(state, name) for name in names} | {"files": files, "task_id": state.task_id}


class Day(RuleBasedStateMachine):
    """A day with a truthful provider, a listener that anybody may post to, and a hub that is now and then restarted."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / "area" / "ledger.sqlite"
        self.rows: list[Row] = []
        self.now, self.number = datetime(2026, 3, 1, tzinfo=UTC), 0
        self.ended: dict[str, dict[str, Any]] = {}
        self._open_hub()

    def _open_hub(self) -> None:
        self.ledger = Ledger.open(self.path)
        self.hub = Hub(self.ledger)

    def _moment(self) -> datetime:
        self.number += 1
        self.now += timedelta(seconds=1)
        return self.now

    def _record(self, *facts: Fact, urls: list[MintedUrl] | None = None) -> None:
        self.loop.run_until_complete(self.hub.record(*facts, urls=urls or []))

    def _state(self, row: Row) -> TaskState:
        return self.hub.states[row.id]

    # -- what the person does ------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Nothing is there yet."""
        assert {} == self.hub.states

    @rule(
        kind=st.sampled_from(["music", "video", "wav", "cover_image"]),
        dialect=st.sampled_from(["sunoapi", "kie"]),
        code=st.sampled_from([0, 0, 500]),
        silent=st.booleans(),
        fate=st.sampled_from(["accepted", "accepted", "slow", "slow", "lost", "lost", "lost before", "rejected"]),
    )
    @precondition(lambda self: len(self.rows) < ROWS)
    def submit(self, *, kind: str, dialect: Any, code: int, silent: bool, fate: str) -> None:
        """Buy something; the answer comes, comes later, is lost, or is a refusal."""
        row = self._make(kind, dialect, "here")
        if fate not in ("lost before", "rejected"):
            url = f"http://127.0.0.1:1/cb/{row.secret}"
            row.job = TruthfulJob(kind, dialect, url, code=code, silent=silent)
        if fate in ("lost", "lost before"):
            self._answer(row, "unknown")
        elif fate == "rejected":
            self._answer(row, "rejected", code=429, http_status=200)
        elif fate == "accepted":
            self.hear_answer(self.rows.index(row))

    @rule(kind=st.sampled_from(["music", "video"]), dialect=st.sampled_from(["sunoapi", "kie"]), keyed=st.booleans())
    @precondition(lambda self: len(self.rows) < ROWS)
    def listen(self, kind: str, dialect: Any, keyed: bool) -> None:
        """Hand out a listen-only URL for something bought elsewhere, with or without the key to ask."""
        row = self._make(kind, dialect, "elsewhere")
        row.keyed, row.job = keyed, TruthfulJob(kind, dialect, f"http://127.0.0.1:1/cb/{row.secret}")

    def _make(self, kind: str, dialect: Any, origin: Any) -> Row:
        at, secret = self._moment(), secrets.token_urlsafe(24)
        row = Row(f"t{len(self.rows)}", kind, dialect, secret, origin=origin)
        row.opening = [
            Intent(
                task=row.id,
                at=at,
                kind=kind,
                provider=dialect,
                dialect=dialect,
                params={},
                request_key="k",
                origin=origin,
            )
        ]
        if origin == "here":
            row.opening.append(Departure(task=row.id, at=at))
        url = MintedUrl(
            secret_hash=secret_hash(secret),
            task=row.id,
            kind=kind,
            provider=dialect,
            dialect=dialect,
            listen_only=origin == "elsewhere",
            created_at=at,
        )
        self._record(*row.opening, urls=[url])
        self.rows.append(row)
        return row

    def _answer(self, row: Row, outcome: Any, **more: Any) -> None:
        row.answer = Answer(task=row.id, at=self._moment(), outcome=outcome, **more)
        self._record(row.answer)

    @rule(n=some)
    @precondition(lambda self: self.rows)
    def hear_answer(self, n: int) -> None:
        """The answer to a submission comes at last."""
        row = self.rows[n % len(self.rows)]
        if row.origin == "here" and row.answer is None and row.job is not None:
            self._answer(row, "accepted", task_id=row.job.id, code=200)

    @rule(n=some, verb=st.sampled_from(["forget", "save", "confirm"]))
    @precondition(lambda self: self.rows)
    def decide(self, n: int, verb: str) -> None:
        """A person forgets a row, wants its files, or vouches for what was heard of it."""
        row, at = self.rows[n % len(self.rows)], self._moment()
        if verb == "forget":
            row.forgotten = row.forgotten or not self._state(row).final
            self._record(Abandonment(task=row.id, at=at, reason="forgotten"))
        elif verb == "save":
            row.save_asked = True
            self._record(SaveRequest(task=row.id, at=at))
        elif row.origin == "elsewhere":
            row.confirmed = True
            self._record(Confirmation(task=row.id, at=at))

    # -- what the provider does ----------------------------------------------------------------------------------

    @rule(n=some, whole=st.booleans())
    @precondition(lambda self: self.rows)
    def work(self, n: int, whole: bool) -> None:
        """A job reaches its next stage, or its end."""
        if (job := self.rows[n % len(self.rows)].job) is not None:
            job.go_on(to_the_end=whole)

    @rule(n=some, stage=st.integers(0, 2), asks=st.booleans())
    @precondition(lambda self: any(row.job and row.job.told for row in self.rows))
    def call_back(self, n: int, stage: int, asks: bool) -> None:
        """A true callback arrives: any stage that was reached, again and out of order as it likes."""
        told = [row for row in self.rows if row.job and row.job.told]
        row = told[n % len(told)]
        assert row.job is not None
        name = row.job.told[stage % len(row.job.told)]
        row.arrived.append(name)
        row.named = True
        self._arrive(row, [row.job.callback(name)], "valid" if row.dialect == "kie" else "none", asks=asks)

    @rule(n=some, asks=st.booleans(), trouble=st.sampled_from(["", "", "outage", "blind"]))
    @precondition(lambda self: self.rows)
    def poll(self, n: int, asks: bool, trouble: str) -> None:
        """Details are asked because their time has come, or because a person wants to know."""
        row = self.rows[n % len(self.rows)]
        if not self._state(row).final or asks:
            self._ask(row, "person" if asks else "poll", trouble=trouble)

    def _ask(self, row: Row, cause: Any, *, trouble: str = "") -> None:
        id = self._state(row).ask_id
        if not id or not row.keyed:
            return
        job = next((r.job for r in self.rows if r.job and r.job.id == id), None)
        hidden = job is None or (trouble == "blind" and not job.begun)
        body = b"Bad Gateway" if trouble == "outage" else NOTHING if hidden or job is None else job.details()
        fact = Details(
            task=row.id,
            at=self._moment(),
            http_status=502 if trouble == "outage" else 200,
            body=redact(body),
            cause=cause,
            asked_id=id,
            echo=echo_of(self.hub, row.id, body),
        )
        self._record(fact)

    # -- what everybody may do -----------------------------------------------------------------------------------

    @rule(
        n=some,
        other=some,
        manner=st.sampled_from(MANNERS),
        whose=st.sampled_from(["its own", "its own", "another's", "nobody's"]),
        signature=st.sampled_from(["none", "valid", "invalid", "stale"]),
        asks=st.booleans(),
    )
    @precondition(lambda self: self.rows)
    def forge(self, *, n: int, other: int, manner: str, whose: str, signature: Any, asks: bool) -> None:
        """Somebody who saw a URL posts what they like on it; "valid" is an old signature over a new body."""
        row, them = self.rows[n % len(self.rows)], self.rows[other % len(self.rows)]
        known = {"its own": row.job, "another's": them.job, "nobody's": None}[whose]
        # A forger who knows the true id tells no lie by it: the provider is asked, and what it says is true.
        row.named = row.named or (known is not None and known is row.job and manner in ("success", "failure", "stage"))
        self._post(row, manner, known.id if known else "nobody's", signature, asks=asks)

    @rule(n=some, manner=st.sampled_from(["success", "made up", "junk"]), asks=st.booleans())
    @precondition(
        lambda self: any(row.origin == "here" and known_id(self._state(row).evidence) is None for row in self.rows)
    )
    def flood(self, n: int, manner: str, asks: bool) -> None:
        """Somebody posts a dozen made-up ids on the URL of a submission whose answer did not come (yet)."""
        open_ = [r for r in self.rows if r.origin == "here" and known_id(self._state(r).evidence) is None]
        self._post(open_[n % len(open_)], manner, "nobody's", "none", asks=asks, times=12)

    def _post(self, row: Row, manner: str, id: str, signature: Any, *, asks: bool, times: int = 1) -> None:
        bodies = []
        for number in range(times):
            self.number += 1
            name = id if number == 0 else f"{id} {self.number}"
            bodies.append(forged(manner, row.kind, row.dialect, name, number=self.number))
        self._arrive(row, bodies, signature, asks=asks)

    def _arrive(self, row: Row, bodies: list[bytes], signature: Any, *, asks: bool) -> None:
        before = {r.id: result(self._state(r)) for r in self.rows if r.origin == "here"}
        self._record(*(Delivery(task=row.id, at=self._moment(), body=body, signature=signature) for body in bodies))

        assert before == {r.id: result(self._state(r)) for r in self.rows if r.origin == "here"}
        if asks:
            self._ask(row, "callback")

    # -- what the machine does -----------------------------------------------------------------------------------

    @rule(n=some)
    @precondition(lambda self: self.rows)
    def archive(self, n: int) -> None:
        """The files of a row are fetched, each once."""
        row = self.rows[n % len(self.rows)]
        for file in self._state(row).files:
            if file.wanted and file.status == "waiting" and file.urls:
                path = f"archive/{row.id}-{file.role}-{file.index}"
                assert path not in [fact.path for fact in row.saved]
                kept = {"role": file.role, "index": file.index, "url": file.urls[0], "path": path}
                row.saved.append(FileFact(task=row.id, at=self._moment(), status="saved", **kept))
                self._record(row.saved[-1])

    @rule(hours=st.sampled_from([0, 0, -24, -1, 1, 8]))
    def restart(self, hours: int) -> None:
        """The service ends and starts: the same rows, and what had left without an answer is unknown.

        Meanwhile the clock was set, or the lid was closed.
        """
        self.now += timedelta(hours=hours)
        before = dict(self.hub.states)
        self.ledger.close()
        self._open_hub()
        with Reader(self.path) as reader:
            assert before == self.hub.states == reader.states()
        for row in self.rows:
            if row.origin == "here" and row.answer is None:
                self._answer(row, "unknown")

    # -- what holds all day --------------------------------------------------------------------------------------

    @invariant()
    def no_row_comes_from_outside(self) -> None:
        """There is one row for each submission and each listen-only URL, and none besides."""
        assert {row.id for row in self.rows} == set(self.hub.states)

    @invariant()
    def nothing_but_the_truth_is_a_file(self) -> None:
        """No link of a submission was ever named by anybody but the provider; elsewhere a person has to vouch."""
        for row in self.rows:
            found = {url for file in self._state(row).files for url in file.urls}
            # A listen-only URL is for whatever task its holder names: the provider's word about that one is true too.
            jobs = [row.job] if row.origin == "here" else [each.job for each in self.rows]
            true = {url for job in jobs if job for url in job.links()}
            assert found <= true or row.confirmed, (row.id, found - true)

    @invariant()
    def nothing_goes_backwards(self) -> None:
        """An end stays; a success stays with its links, and a failure can only become a success."""
        for row in self.rows:
            state = self._state(row)
            old = self.ended.get(row.id)
            if old is not None and old["status"] in ("succeeded", "failed") and not row.confirmed:
                assert old["status"] == state.status
                assert (old["code"], old["message"], old["refunded"]) == (state.code, state.message, state.refunded)
            assert old is None or state.final
            if state.final:
                self.ended[row.id] = result(state)

    def teardown(self) -> None:
        """At the end of the day all that is to be found has been found, and it is as if nobody had meddled."""
        try:
            self._settle()
            for row in self.rows:
                self._compare(row)
        finally:
            self.ledger.close()
            self.loop.close()
            self.folder.cleanup()

    def _settle(self) -> None:
        for row in self.rows:
            if row.job is not None:
                row.job.go_on(to_the_end=True)
            if row.origin == "here" and row.answer is None:
                self._answer(row, "unknown")
        for row in self.rows:
            for _ in range(2 * len(self._state(row).evidence.heard) + 2):
                if not self._state(row).final:
                    self._ask(row, "poll")

    def _compare(self, row: Row) -> None:
        state = self._state(row)
        if row.origin == "elsewhere":
            assert state.status in ("unconfirmed", "pending", "abandoned") or row.keyed or row.confirmed
            assert bool(state.deliveries or state.confirmed) == state.shown
            return
        if row.forgotten and state.status == "abandoned":
            return
        assert self._quiet_day(row) == result(state)
        assert EVIL not in repr(result(state))

    def _quiet_day(self, row: Row) -> dict[str, Any]:
        """Return the result of the same wishes where every true callback came once, in order, and nothing else."""
        assert row.answer is not None
        facts: list[Fact] = [*row.opening, row.answer]
        if row.job is not None:
            names = [name for name in row.job.told if name in row.arrived]
            facts += [Delivery(task=row.id, at=self.now, body=row.job.callback(name)) for name in names]
            if row.named or row.answer.task_id:
                body = redact(row.job.details())
                facts.append(
                    Details(
                        task=row.id,
                        at=self.now,
                        http_status=200,
                        body=body,
                        cause="poll",
                        asked_id=row.job.id,
                        echo="ours",
                    )
                )
        facts += [SaveRequest(task=row.id, at=self.now)] if row.save_asked else []
        state = fold(list(enumerate([*facts, *row.saved], 1)))
        assert state is not None
        return result(state)


@pytest.mark.timeout(max(300, EXAMPLES * STEPS / 25))
def test_any_day_ends_as_a_quiet_one() -> None:
    """Deliveries true and forged, polls, restarts, lost answers, a jumping clock: the rows equal the quiet run's."""
    quiet = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(Day, settings=quiet)

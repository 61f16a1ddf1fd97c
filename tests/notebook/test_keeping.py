"""What a person asks of the archive as a whole, against a service that is played by hand."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kit
from kit.ledger.facts import Loss
from kit.ledger.fold import fold
from kit.notebook import deadlines, keeping
from kit.notebook.keeping import Keeping
from kit.notebook.progress import Arrived
from kit.notebook.task import Task
from tests.ledger.stories import answer, at, departure, details, file, intent, numbered

MB = 1_000_000
SAVED = {
    "path": "archive/a.mp4",
    "bytes": 20 * MB,
    "sha256": "5" * 64,
    "verified": "decoded",
    "media_type": "video/mp4",
}


class Service:
    """Keeping as a session has it: its ledger is a list of facts, and its service does what a test scripted."""

    def __init__(self, home: Path) -> None:
        self.facts: list[Any] = []
        self.path = home / "ledger.sqlite"
        self.script: list[Any] = []  # what happens while somebody waits, one call after the other
        self.sizes: dict[str, int | None] = {}
        self.free, self.asked, self.found = 90 * 10**9, list[str](), list[dict[str, Any]]()
        self.gate = threading.Event()
        self.gate.set()

    def bought(self, id: str, *, days_ago: float = 0, **more: Any) -> Service:
        """Add a task that the provider has made, `days_ago` days before the stories' beginning."""
        second = -86_400 * days_ago
        told = details(second=second + 3, id=id, task=id, completeTime=None, **more.pop("said", {}))
        self.facts += [
            intent(task=id, second=second, save=False, title=f"Title {id}", **more),
            departure(second + 1, task=id),
            answer(second=second + 2, task=id, task_id=id, code=200),
            told,
        ]
        return self

    def states(self) -> dict[str, Any]:
        """Return the tasks as the facts have them now."""
        ids = dict.fromkeys(fact.task for fact in self.facts)
        all_facts = numbered(*self.facts)
        return {id: fold([(seq, fact) for seq, fact in all_facts if fact.task == id]) for id in ids}

    def state(self, either: str) -> Any:
        """Return one task."""
        return self.states().get(either)

    def unsaved(self) -> dict[str, Any]:
        """Tell what is not saved, and its sizes."""
        self.asked.append("unsaved")
        open_ends = [
            (id, f) for id, s in self.states().items() for f in s.files if f.status not in ("saved", "expired")
        ]
        files = [{"task": id, "role": f.role, "index": f.index, "bytes": self.sizes.get(id)} for id, f in open_ends]
        return {"files": files, "free": self.free}

    def save_all(self) -> dict[str, Any]:
        """Begin to save."""
        self.asked.append("save_all")
        return {"tasks": []}

    def verify(self) -> dict[str, Any]:
        """Say what was found, once the gate is open."""
        self.gate.wait(5)
        return {"files": self.found}


class Stand(Keeping):
    """The verbs of a session on the service that is played by hand."""

    def __init__(self, service: Any) -> None:
        self.service: Any = service
        self._pump: Any = SimpleNamespace(progress={}, verifying=None)

    @property
    def _reader(self) -> Any:
        return self.service

    @property
    def _control(self) -> Any:
        return self.service

    def wait_for_change(self, timeout: float) -> bool:
        """Let the next thing happen; a wait that nothing ends any more fails."""
        assert timeout <= 0.2
        self.service.script.pop(0)()
        return True

    def ensure_followed(self) -> None:
        """The service is there."""


@pytest.fixture
def service(tmp_path):
    """The service."""
    return Service(tmp_path)


@pytest.fixture
def session(service, clock):
    """The session's verbs."""
    return Stand(service)


@pytest.fixture
def clock(monkeypatch):
    """The stories' own time, a day after their beginning, unless a test sets it; and every line is said at once."""
    clock = SimpleNamespace(moment=at(86_400))
    monkeypatch.setattr(keeping, "datetime", SimpleNamespace(now=lambda _: clock.moment))
    monkeypatch.setattr("kit.notebook.live.LOG_EVERY_S", 0)
    return clock


@pytest.fixture
def said(caplog):
    """Every sentence that a person is told."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    return lambda: caplog.messages


def saved(service: Service, id: str, status: str = "saved", **more: Any) -> Any:
    """Return something that happens: the file of a task gets a status."""
    return lambda: service.facts.append(
        file(status, task=id, second=90, **({**SAVED, **more} if status == "saved" else more))
    )


def test_save_all_says_first_what_it_is_and_then_how_far(session, service, said):
    """Count, size and room come before anything is fetched; then the line moves; the rows are those of these files."""
    service.bought("t1").bought("t2").bought("t3")
    saved(service, "t3", path="archive/c.mp4")()
    service.sizes = {"t1": 20 * MB, "t2": 60 * MB}
    arrived = {("video", 0): Arrived(30 * MB, 60 * MB, 3e6, float("inf"))}
    service.script = [
        saved(service, "t1"),
        lambda: (saved(service, "t2", "downloading")(), session._pump.progress.update(t2=arrived)),
        saved(service, "t2"),
    ]
    rows = session.save_all()

    assert ["unsaved", "save_all"] == service.asked
    assert "Saving 2 files, 80.0 MB in all; 90.00 GB are free on the disk." == said()[0]
    assert "0 of 2 files saved." == said()[1]
    assert "1 of 2 files saved, 50.0 of 80.0 MB, 3.0 MB/s, 10 s left." in said()
    assert "2 files are saved and verified, 40.0 MB." == said()[-1]
    assert [["t1", "saved"], ["t2", "saved"]] == rows[["id", "status"]].to_numpy().tolist()
    assert list(rows.columns) == list(session.files().columns)


def test_what_cannot_be_saved_is_a_row_with_its_reason_and_no_error(session, service, said):
    """One dead link does not hide what became of the others."""
    service.bought("t1").bought("t2")
    service.script = [saved(service, "t1"), saved(service, "t2", "expired", reason="HTTP 404")]
    rows = session.save_all()

    assert "1 of 2 files saved; of the rest the column `reason` tells." == said()[-1]
    assert ["HTTP 404"] == rows.query("status == 'expired'")["reason"].tolist()


def test_with_nothing_to_save_nothing_is_asked_of_the_service(session, service, said):
    """An empty table has the same columns, and the sentence says that all is saved."""
    service.bought("t1")
    saved(service, "t1")()
    rows = session.save_all()

    assert ["unsaved"] == service.asked
    assert ["Nothing to fetch: 1 file is saved."] == said()
    assert (0, list(session.files().columns)) == (len(rows), list(rows.columns))
    assert session.files().dtypes.to_dict() == rows.dtypes.to_dict()


def test_the_time_a_person_gives_ends_the_waiting_alone(session, service, said):
    """After `timeout` the rows are returned as they stand, and the sentence says that the saving goes on."""
    service.bought("t1")
    rows = session.save_all(timeout=0)

    assert ["waiting"] == rows["status"].tolist()
    assert "0 of 1 files saved. The waiting has ended; the saving goes on." == said()[-1]
    with pytest.raises(kit.InvalidInput, match=r"session\.save_all\(timeout=3600\)"):
        session.save_all(timeout="long")


def interrupt() -> None:
    """Press the Stop button."""
    raise KeyboardInterrupt


def test_the_stop_button_ends_the_waiting_alone(session, service, said):
    """The interrupt reaches the cell, and the sentence says what goes on and how to look again."""
    service.bought("t1")
    service.script = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        session.save_all()

    assert "Stopped waiting. The files go on being saved; session.save_all() shows how far it is." == said()[-1]
    assert ["unsaved", "save_all"] == service.asked


def test_what_an_earlier_attempt_told_is_not_shown_again(session, service, said):
    """Bytes of a file that was fetched before and lost since do not count for the new attempt."""
    service.bought("t1")
    service.sizes = {"t1": 20 * MB}
    session._pump.progress["t1"] = {("video", 0): Arrived(20 * MB, 20 * MB)}
    service.script = [saved(service, "t1", "downloading"), saved(service, "t1")]
    session.save_all()

    assert not [line for line in said()[1:-1] if "20.0 of 20.0 MB" in line]


def test_expiring_has_what_dies_within_the_time_soonest_first(session, service, clock):
    """Saved files are not in it; a link that has died unsaved is, also where its own end was sooner than estimated."""
    service.bought("young").bought("old", days_ago=10).bought("older", days_ago=12).bought("kept", days_ago=12)
    service.bought("dead", days_ago=20).bought("gone")
    saved(service, "kept")()
    saved(service, "gone", "expired")()
    clock.moment = at(3600)

    assert ["dead", "older", "gone"] == session.expiring()["id"].tolist()
    assert ["dead", "older", "old", "gone"] == session.expiring("5d")["id"].tolist()
    assert ["dead", "gone"] == session.expiring(timedelta(hours=1))["id"].tolist()
    assert ["dead", "older", "old", "young", "gone"] == sorted(
        session.expiring("3w")["id"], key=["dead", "older", "old", "young", "gone"].index
    )
    assert list(session.files().columns) == list(session.expiring().columns)


@hypothesis.settings(max_examples=25)
@given(st.timedeltas(timedelta(0), timedelta(days=30)), st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_longer_time_never_has_fewer_rows(shorter, longer):
    """What dies within a time also dies within any longer one."""
    service = Service(Path("nowhere"))
    for days in range(0, 20, 4):
        service.bought(f"t{days}", days_ago=days)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "datetime", SimpleNamespace(now=lambda _: at(0)))
        few, many = (set(Stand(service).expiring(span)["id"]) for span in sorted((shorter, longer)))

    assert {"t16"} <= few <= many
    assert ("t12" in many) == (max(shorter, longer) > timedelta(days=2, seconds=3))


def test_expiring_of_an_empty_ledger_is_an_empty_table(session):
    """The columns and types are those of a full one."""
    assert session.files().dtypes.to_dict() == session.expiring("3d").dtypes.to_dict()


def test_a_check_is_a_row_a_saved_file_with_what_was_found(session, service, said, tmp_path):
    """Ids, absolute paths and results are there; what is wrong is counted, with the next step."""
    one = {"task": "t1", "role": "video", "index": 0, "path": "archive/a.mp4", "result": "changed"}
    service.found = [one, {**one, "task": "t2", "result": "intact"}]
    session._pump.progress.update({id: {("video", 0): Arrived(5, 5)} for id in ("t1", "t2")})
    rows = session.verify()

    assert ["id", "role", "index", "path", "result"] == list(rows.columns)
    assert [["t1", "changed"], ["t2", "intact"]] == rows[["id", "result"]].to_numpy().tolist()
    assert str(tmp_path / "archive" / "a.mp4") == rows["path"][0]
    assert {"t1": 0, "t2": 1} == {id: len(told) for id, told in session._pump.progress.items()}
    assert said()[-1].startswith("Of 2 files, 1 changed. While its link lives, it is fetched again")


def test_an_empty_check_has_the_same_columns_and_types(session, service):
    """Nothing saved is no special case for who goes on with the table."""
    service.found = [{"task": "t", "role": "wav", "index": 0, "path": "a", "result": "intact"}]
    full = session.verify()
    service.found = []

    assert full.dtypes.to_dict() == session.verify().dtypes.to_dict()


def test_while_a_check_runs_the_line_says_how_far_it_is(session, service, said, monkeypatch):
    """Files read, of how many, as the service tells them."""
    service.gate.clear()
    monkeypatch.setattr(keeping, "SLICE_S", 0.01)
    line = keeping.LiveLine.tick

    def tick(self: Any, text: str) -> None:
        line(self, text)
        session._pump.verifying = (3, 12)
        if "3 of 12" in text:
            service.gate.set()

    monkeypatch.setattr(keeping.LiveLine, "tick", tick)
    session.verify()

    assert "Checking every saved file ..." in said()
    assert "Checking: 3 of 12 files read." in said()


def test_the_stop_button_ends_the_waiting_for_a_check_alone(session, service, said, monkeypatch):
    """The service goes on, and the sentence says where its findings show."""
    service.gate.clear()
    monkeypatch.setattr(keeping.LiveLine, "tick", lambda *_: interrupt())
    with pytest.raises(KeyboardInterrupt):
        session.verify()
    service.gate.set()

    assert "Stopped waiting. The service goes on checking; what it finds shows in session.files()." == said()[-1]


def test_what_breaks_in_the_service_is_raised_where_the_person_is(session, service):
    """A refusal during the check comes out of the cell as what it is."""

    def refuse() -> None:
        raise kit.ServiceError("The background service did not answer.")

    service.verify = refuse

    with pytest.raises(kit.ServiceError, match="did not answer"):
        session.verify()


@pytest.fixture
def exported(monkeypatch):
    """What the exporter is called with."""
    calls: list[Any] = []
    module: Any = ModuleType("kit.notebook.export")
    module.export = lambda states, home, target, **more: calls.append(([s.id for s in states], home, target, more))
    monkeypatch.setitem(sys.modules, "kit.notebook.export", module)
    return calls


def test_an_export_has_all_tasks_or_those_that_are_named(session, service, exported, tmp_path):
    """A task, an id, or several of them in any mixture and order, each once; a column of a table will do."""
    service.bought("t1").bought("t2").bought("t3")
    hold: Any = SimpleNamespace()
    rows = session.tasks()
    for ids in (None, "t2", Task(hold, "t2"), ["t3", Task(hold, "t1"), "t3"], rows["id"][1:]):
        session.export("songs", ids=ids)

    assert [["t1", "t2", "t3"], ["t2"], ["t2"], ["t3", "t1"], ["t2", "t3"]] == [call[0] for call in exported]
    assert {(tmp_path, "songs")} == {call[1:3] for call in exported}
    assert [["t1", "t2", "t3"]] * 5 == [[state.id for state in call[3]["among"]] for call in exported]


@pytest.mark.parametrize("ids", [[], (), "t9", ["t1", "t9"], 7, [None], {"t1": 1, 2: 2}, 3.5], ids=repr)
def test_an_export_of_what_is_no_task_is_refused(session, service, exported, ids):
    """Nothing is written, and the message shows a call that works."""
    service.bought("t1")
    with pytest.raises(kit.InvalidInput, match=r"session\.export\(folder, ids=\[song\.id\]\)$"):
        session.export("songs", ids=ids)

    assert [] == exported


def states_of_one(*, days_ago: float) -> Any:
    """Return the states of one unsaved task."""
    return Service(Path("nowhere")).bought("t1", days_ago=days_ago).states().values()


def test_a_person_is_warned_of_what_the_ledger_has_now(session, service, clock):
    """The sentences are those of `deadlines`, at this moment; a file that was lost counts as unsaved again."""
    service.bought("t1", days_ago=8)
    clock.moment = at(0)
    first = session.deadlines()
    saved(service, "t1")()

    assert first == deadlines.warnings(states_of_one(days_ago=8), at(0))
    assert [] == session.deadlines()
    service.facts.append(Loss(task="t1", at=at(100), role="video", index=0, reason="it is not on the disk any more"))
    assert first == session.deadlines()


def test_a_ledger_that_cannot_be_read_warns_of_nothing(session, service):
    """Connecting goes on: what is wrong with the ledger is said elsewhere."""

    def unreadable() -> Any:
        raise kit.LedgerError("it is damaged")

    service.states = unreadable

    assert [] == session.deadlines()


def test_links_past_half_of_their_life_are_told_once_on_connect_and_in_health(shared, said, monkeypatch):
    """The same sentence is not said twice for the same files; `health()` goes on saying it."""
    began = shared.song.state.files[0].linked_at
    monkeypatch.setattr(keeping, "datetime", SimpleNamespace(now=lambda _: began + timedelta(days=8)))
    for _ in range(2):
        kit.connect(speed=200, data=shared.session.area.parent)
    warned = [line for line in said() if line.endswith("Next: session.save_all()")]

    assert 1 == len(warned)
    assert warned[0].startswith("4 files are not saved, and half of their links' time is over; the first ends about ")
    assert warned[0] in repr(shared.session.health())


def test_the_walk_from_links_to_copies_against_a_real_service(shared, said, tmp_path):
    """What was left with the provider is saved, checked, damaged, found, fetched again, and exported by name."""
    session, song = shared.session, shared.session.task(shared.song.id)
    assert 4 == len(session.expiring("15d"))
    saved_rows = session.save_all()
    victim = song.files[0].path
    victim.write_bytes(victim.read_bytes()[:-1])
    found = session.verify()
    session.save_all()
    exported = session.export(tmp_path / "copies", ids=song)

    assert ["saved"] * 4 == saved_rows["status"].tolist()
    assert ["changed", "intact", "intact", "intact"] == found["result"].tolist()
    assert str(victim) == found["path"][0]
    assert ["intact"] * 4 == session.verify()["result"].tolist()
    assert victim != song.files[0].path
    assert [] == session.expiring("15d")["id"].tolist()
    assert all(-70 < f.loudness_lufs < 0 and f.clipped >= 0 for f in song.files if f.role == "audio")
    assert {"Window Seat - take 1.mp3", "Window Seat - take 2.mp3"} <= {p.name for p in (tmp_path / "copies").iterdir()}
    assert (4, str(tmp_path / "copies")) == (exported.files, exported.target)

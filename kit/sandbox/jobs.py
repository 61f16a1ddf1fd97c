"""Owns the jobs: their stages over time, their files, their place in the book; it must not know HTTP or media."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kit.errors import SettingsError
from kit.provider.kinds import KINDS, meaning
from kit.sandbox.clock import DAY
from kit.sandbox.faults import ANSWERS, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.provider.kinds import Dialect, Kind
    from kit.sandbox.clock import Clock
    from kit.sandbox.store import Store

__all__ = ["Book", "File", "Job", "Stage", "stages"]


@dataclass(frozen=True)
class Stage:
    """One step of a job: its name (music's are the callback types) and the work seconds after which it is reached."""

    name: str
    after: float
    told: bool = True


@dataclass
class File:
    """One file a job makes: where it will be served, and the recipe that makes it again at any time."""

    name: str
    role: str
    index: int
    media_type: str
    recipe: dict[str, Any]
    stage: str = "complete"
    alias: str = ""
    duration: float | None = None


@dataclass
class Job:
    """One accepted submission; `stage` is the last one reached, `outbox` the stages not delivered yet."""

    task_id: str
    kind: str
    number: int
    request: dict[str, Any]
    created_at: float
    begun: float
    charged: float
    plan: Plan = field(default_factory=Plan)
    audio_ids: list[str] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    stage: str = ""
    outcome: str = "pending"
    code: int | None = None
    completed_at: float | None = None
    shelved_at: float | None = None
    outbox: list[str] = field(default_factory=list)
    undeliverable: bool = False
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)

    @property
    def row(self) -> Kind:
        """The truth table's entry for this job's kind."""
        return KINDS[self.kind]

    @property
    def callback_url(self) -> str:
        """Where the client wants to hear of it."""
        return str(self.request.get("callBackUrl") or "")

    @property
    def source(self) -> tuple[str, str]:
        """The music task and the track this job was made from, each empty where there is none."""
        return str(self.request.get("taskId") or ""), str(self.request.get("audioId") or "")

    def files_at(self, stage: str) -> list[File]:
        """Return the files that are there once `stage` is reached."""
        there = {"first": ("first",), "complete": ("first", "complete")}.get(stage, ())
        return [file for file in self.files if file.stage in there]


def stages(job: Job) -> list[Stage]:
    """Return the stages of a job in order, with the durations of provider-api 13.4; a failing job ends early."""
    seconds = dict(job.row.work_s)
    whole = seconds["complete"]
    if job.kind == "music":
        early = [Stage("text", seconds["text"]), Stage("first", seconds["first"]), Stage("complete", whole)]
        return [early[0], Stage("error", seconds["first"])] if job.plan.code else early
    last = Stage("error" if job.plan.code else "complete", whole)
    return [Stage("generating", whole / 10, told=False), last] if job.kind == "cover_image" else [last]


class Book:
    """Every job ever accepted, in memory and in the store, with the balance and the count beside them."""

    def __init__(self, store: Store, clock: Clock, dialect: Dialect, *, credits: float = 1000.0) -> None:
        self.dialect: Dialect = dialect
        self._store, self._clock = store, clock
        self._jobs = {job.task_id: job for job in map(_job, store.all("jobs"))}
        self._files: dict[str, tuple[Job, File]] = {}
        for job in self:
            self._index(job)
        self._credits = float(store.get("settings", "credits", credits))
        if store.get("settings", "dialect", dialect) != dialect:
            raise SettingsError(f"This folder belongs to the other dialect, not to {dialect}; name another --folder.")
        store.put("settings", "dialect", dialect)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, task_id: str, kind: str | None = None) -> Job | None:
        """Return the job with this id, if it is of `kind`: asking the wrong kind finds nothing (provider-api 1.4)."""
        job = self._jobs.get(task_id)
        return job if job is not None and kind in (None, job.kind) else None

    def find_file(self, name: str) -> tuple[Job, File] | None:
        """Return the job and the file served under `name`."""
        return self._files.get(name)

    def twin(self, kind: Kind, request: dict[str, Any]) -> Job | None:
        """Return the unfailed job that this request would repeat, by the kind's rule (provider-api 1.5)."""
        wires = [param.wire for param in kind.params if param.name in kind.dedup]
        key = [request.get(wire) for wire in wires]
        same = (job for job in self if job.kind == kind.name and [job.request.get(wire) for wire in wires] == key)
        return next((job for job in same if wires and job.outcome != "failed"), None)

    def open(self, kind: Kind, request: dict[str, Any], plan: Plan) -> Job:
        """Write a new job down, charged, and return it."""
        task_id = plan.task_id if plan.task_id and plan.task_id not in self._jobs else uuid.uuid4().hex
        job = Job(
            task_id=task_id,
            kind=kind.name,
            number=len(self) + 1,
            request=request,
            created_at=self._clock.real(),
            begun=self._clock.work(),
            charged=kind.credits[self.dialect],
            plan=plan,
        )
        self.credits -= job.charged
        self._jobs[task_id] = job
        return job

    def reach(self, job: Job, stage: Stage) -> None:
        """Move a job to a stage it has come to, and put its callback into the outbox."""
        job.stage = stage.name
        if stage.name in ("complete", "error"):
            job.outcome = "succeeded" if stage.name == "complete" else "failed"
            job.code = job.plan.code
            job.completed_at, job.shelved_at = self._clock.real(), self._clock.shelf()
            if job.code and meaning(job.kind, self.dialect, "callback", job.code).refunded:
                self.credits += job.charged
        if stage.told:
            job.outbox.append(stage.name)
        self.keep(job)

    def spoil(self, job: Job, what: str) -> bool:
        """Return whether this answer about `what` is one of those that the job's plan spoils, and count it."""
        job.answered[what] = job.answered.get(what, 0) + 1
        self.keep(job)
        return job.answered[what] <= (job.plan.answers or ANSWERS)

    def keep(self, job: Job) -> None:
        """Store what changed in a job."""
        self._index(job)
        self._store.put("jobs", job.task_id, asdict(job))

    def expired(self, job: Job) -> bool:
        """Return whether the files of a job are past the retention of its kind (provider-api 13.1)."""
        if job.shelved_at is None:
            return False
        return self._clock.shelf() - job.shelved_at > job.row.retention_days[self.dialect] * DAY

    @property
    def credits(self) -> float:
        """The balance."""
        return self._credits

    @credits.setter
    def credits(self, value: float) -> None:
        self._credits = round(float(value), 4)
        self._store.put("settings", "credits", self._credits)

    def _index(self, job: Job) -> None:
        for file in job.files:
            self._files[file.name] = self._files[file.alias or file.name] = (job, file)


def _job(document: dict[str, Any]) -> Job:
    document.pop("attempts", None)  # in folders of versions that tried the stages of a job in one line
    plan, files = Plan(**document.pop("plan")), [File(**file) for file in document.pop("files")]
    return Job(**document, plan=plan, files=files)

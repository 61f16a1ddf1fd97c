"""Owns the handle on one task: its state, waiting for it, and showing what it made; it submits nothing."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, SupportsIndex, overload

from kit.errors import InvalidInput, KitError, NotReady, NotSaved, TaskFailed, Unconfirmed, WaitTimeout
from kit.notebook.live import LiveCard, say
from kit.notebook.progress import Progress
from kit.notebook.widgets.words import clock, size

if TYPE_CHECKING:
    from kit.ledger.fold import FileState, TaskState

__all__ = ["SLICE_S", "SavedFile", "Task", "Track", "Tracks", "check_flag", "check_timeout", "is_a"]

Until = Literal["saved", "succeeded"]
LONGEST_TITLE = 80  # in one line; what was submitted elsewhere may have any title
SLICE_S = 0.2  # how long one step of waiting lasts: the Stop button is heard between two of them


class Hold(Protocol):
    """What a task needs of its session."""

    def state_of(self, id: str) -> TaskState: ...
    def progress_of(self, id: str) -> Progress: ...
    def wait_for_change(self, timeout: float) -> bool: ...
    def ensure_followed(self) -> None: ...
    def command(self, id: str, verb: str) -> None: ...
    def resubmit(self, id: str) -> Task: ...
    def path_of(self, file: FileState) -> Path: ...
    def show_files(self, task: Task, files: list[SavedFile]) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class SavedFile:
    """One file in the archive: absolute `path`, size in bytes, hash, and how far it was verified.

    Of sound: `loudness_lufs` is integrated (EBU R 128), `silence_s` in all, `clipped` the share of samples at full
    scale, 0 to 1.
    """

    task: str
    role: str
    index: int
    path: Path
    bytes: int
    sha256: str
    media_type: str
    verified: str
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    loudness_lufs: float | None = None
    silence_s: float | None = None
    clipped: float | None = None

    def __repr__(self) -> str:
        return f"<SavedFile {self.role} {self.index + 1}, {size(self.bytes)}, {self.verified}: {str(self.path)!r}>"


@dataclass(frozen=True, kw_only=True)
class Track:
    """One take of a song; `create_video` and `convert_wav` take it as it is."""

    task_id: str
    audio_id: str
    index: int
    title: str | None
    tags: str | None
    duration_s: float | None
    model: str | None
    task: Task = field(repr=False, compare=False)

    def __repr__(self) -> str:
        return f"<Track {self.index + 1} {(self.title or 'untitled')[:LONGEST_TITLE]!r} {clock(self.duration_s)}>"

    def show(self) -> Any:
        """Return a player of this take; its song has to be saved."""
        return self.task.show(take=self.index)


class Tracks(tuple[Track, ...]):
    """The takes of a song, numbered from 0; asking for one that is not there says what to wait for."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Track, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Track | tuple[Track, ...]:
        """Return a take; raise `NotReady` where there is none yet."""
        if isinstance(index, slice):
            return super().__getitem__(index)
        try:
            return super().__getitem__(operator.index(index))
        except TypeError:
            raise InvalidInput("index", index, "the number of a take, from 0", "song.tracks[0]") from None
        except IndexError:
            there = f"has {len(self)}, numbered from 0" if self else "has none yet"
            raise NotReady(
                f"tracks[{index}] was asked for, and this task {there}. Takes belong to songs and appear as they are "
                "made: song = session.generate_music(...).wait(), then song.tracks[0]."
            ) from None


class Task:
    """One submitted job. `id` is ours and always there; `task_id` is the provider's and may be missing for a while."""

    def __init__(self, hold: Hold, id: str) -> None:
        self._hold, self.id = hold, id

    def __repr__(self) -> str:
        state = self.state
        title = f" {state.title[:LONGEST_TITLE]!r}" if state.title else ""
        return f"<Task {self.id} {state.kind} {state.status}{title}>"

    def _repr_html_(self) -> str:
        from kit.notebook.widgets.card import task_card

        return task_card(self.state)

    @property
    def state(self) -> TaskState:
        """Everything the ledger knows of this task, as it stands."""
        return self._hold.state_of(self.id)

    @property
    def task_id(self) -> str | None:
        """The provider's id."""
        return self.state.task_id

    @property
    def title(self) -> str | None:
        """The title it was given."""
        return self.state.title

    @property
    def kind(self) -> str:
        """The API type."""
        return self.state.kind

    @property
    def provider(self) -> str:
        """The profile it was submitted to."""
        return self.state.provider

    @property
    def status(self) -> str:
        """One of the words of ``session.tasks().status``."""
        return self.state.status

    @property
    def files(self) -> list[SavedFile]:
        """The files that are saved, in the order of their roles."""
        return [_saved(self.id, f, self._hold.path_of(f)) for f in self.state.files if f.status == "saved"]

    @property
    def tracks(self) -> Tracks:
        """The takes of a song, once the provider names them."""
        state = self.state
        takes = (
            Track(
                task_id=state.task_id or "",
                audio_id=t.audio_id,
                index=t.index,
                title=t.title,
                tags=t.tags,
                duration_s=t.duration_s,
                model=t.model,
                task=self,
            )
            for t in state.takes
        )
        return Tracks(takes)

    def wait(self, *, until: Until = "saved", timeout: float = 1200) -> Task:
        """Return this task when its files are saved and verified, or earlier with ``until="succeeded"``.

        Raises:
            TaskFailed: it ended in failure; the message says what the code means and what to do.
            Unconfirmed: nobody can say what became of it; the message says what it may cost, and the ways on.
            NotSaved: it succeeded, but a file could not be saved.
            WaitTimeout: `timeout` seconds went by; the task goes on and can be collected later.
        """
        waiting = _Waiting(self, until, timeout)
        try:
            while not waiting.over():
                self._hold.wait_for_change(SLICE_S)
        except KeyboardInterrupt:
            waiting.interrupted()
            raise
        return self

    def __await__(self) -> Generator[Any, None, Task]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> Task:
        """Wait like `wait`, in short steps: a kernel hears the Stop button and its widgets' clicks between them."""
        waiting = _Waiting(self, "saved", 1200)
        try:
            while not waiting.over():  # noqa: ASYNC110 - one long await would not hear the Stop button
                await asyncio.sleep(SLICE_S)
        except asyncio.CancelledError:
            waiting.interrupted()
            raise
        return self

    def refresh(self) -> Task:
        """Ask the provider now, and return this task at once; its state follows."""
        self._hold.command(self.id, "refresh")
        return self

    def save(self) -> Task:
        """Fetch the files that are not saved yet, also those that failed."""
        self._hold.command(self.id, "save")
        return self

    def confirm(self) -> Task:
        """Vouch for what arrived on a listen-only URL: it becomes the result, and its files are fetched."""
        self._hold.command(self.id, "confirm")
        return self

    def forget(self) -> Task:
        """Stop following this task; its row stays, as abandoned."""
        self._hold.command(self.id, "forget")
        return self

    def resubmit(self) -> Task:
        """Buy what this task wanted again, and return the new task; this one is let go.

        It is for a submission whose answer was lost (``unconfirmed``), that failed, or that was forgotten. It says what
        it costs: a lost one may have been charged already. Asked twice, it returns the same new task.

        Raises:
            ServiceError: this one may still come to its end, or has come to a good one.
        """
        return self._hold.resubmit(self.id)

    def show(self, *, take: int | None = None) -> Any:
        """Return a widget that plays or shows the saved files; `take` picks one take of a song."""
        files = self.files
        if not files:
            raise NotReady(f"{self!r} has no saved file to show. {self._how_to_get_files()}")
        shown = [f for f in files if take is None or (f.index == take and not isinstance(take, bool))]
        if not shown:
            there = sorted({f.index for f in files})
            expected = f"a take that is saved: {', '.join(map(str, there))}"
            raise InvalidInput("take", take, expected, f"task.show(take={there[0]})")
        return self._hold.show_files(self, shown)

    def _how_to_get_files(self) -> str:
        state = self.state
        if state.status in ("failed", "abandoned"):
            return f"It {'failed' if state.status == 'failed' else 'is not followed any more'}: task.state says why."
        lost = [f for f in state.files if f.status in ("failed", "expired")]
        if state.status == "succeeded" and lost:
            return str(_not_saved(state, lost))
        if state.status == "succeeded" and not state.save:
            return "Its files were not asked for: task.save().wait().show()"
        return "Wait for it: task.wait().show()"


class _Waiting:
    """One wait: what it waits for, until when, and the card that shows it."""

    def __init__(self, task: Task, until: str, timeout: float) -> None:
        if until not in ("saved", "succeeded"):
            raise InvalidInput("until", until, 'either "saved" or "succeeded"', 'task.wait(until="saved")')
        check_timeout(timeout, "task.wait(timeout=1200)")
        from kit.provider.kinds import KINDS

        self._task, self._until, self._timeout = task, until, timeout
        self._card = LiveCard(KINDS[task.kind].label)

    def over(self) -> bool:
        """Bring the card up to date; return True when done, raise when it cannot become so."""
        state, progress = self._task.state, self._task._hold.progress_of(self._task.id)
        if state.status in ("failed", "abandoned") and not state.known_as:
            self._card.show(state, {}, now=True)
            raise failure_of(state)
        if state.known_as:
            self._task = Task(self._task._hold, state.known_as)  # the provider had it already: that row is waited for
            return self.over()
        if state.status == "unconfirmed" and not _may_settle(state):
            self._card.show(state, {}, now=True, note=state.next_step)
            raise unconfirmed(state)
        done = self._done(state)
        self._card.show(state, progress, now=done, note=_note(state) if not done else None)
        if not done:
            self._task._hold.ensure_followed()
        if not done and self._card.elapsed_s >= self._timeout:
            if state.status == "unconfirmed" and state.origin == "here":
                raise unconfirmed(state, waited_s=self._card.elapsed_s)
            self._card.show(state, progress, note="stopped waiting; the task goes on", now=True)
            raise WaitTimeout(
                id=state.id,
                task_id=state.task_id,
                kind=state.kind,
                status=state.status,
                waited_s=self._card.elapsed_s,
            )
        return done

    def interrupted(self) -> None:
        """Say that only the waiting has ended."""
        say(f"Stopped waiting. The task goes on and is followed; session.task({self._task.id!r}).wait() resumes.")

    def _done(self, state: TaskState) -> bool:
        if state.status != "succeeded":
            return False
        if self._until == "succeeded" or not state.save:
            return True
        lost = [f for f in state.files if f.status in ("failed", "expired")]
        if lost and not any(f.status in ("waiting", "downloading") for f in state.files):
            raise _not_saved(state, lost)
        return all(f.status == "saved" for f in state.files)


def _may_settle(state: TaskState) -> bool:
    """Tell whether waiting can end an unconfirmed row: a callback may come, or somebody may confirm it."""
    if state.origin == "elsewhere":
        return True
    known = state.evidence
    nameless = (known.answer is None or known.answer.task_id is None) and known.details_id is None
    return state.listening and nameless  # its own callback names it, and details prove the name


def _note(state: TaskState) -> str | None:
    """Return the quiet line under a waiting card: what a person can do, else what was odd."""
    if state.status == "unconfirmed" and state.next_step:
        return f"Next: {state.next_step}"
    odd = [note for note in state.notes if "time zone" not in note]  # a clock's is nothing that a person can act on
    return odd[-1] if odd else None


def unconfirmed(state: TaskState, *, waited_s: float | None = None) -> Unconfirmed:
    """Return the error that says what is not known of a task, what it may cost, and the ways on."""
    waited = f" Nothing arrived in {waited_s:.0f} s of waiting." if waited_s is not None else ""
    return Unconfirmed(
        f"{state.kind} task {state.id}: {state.meaning or 'nobody can say what became of it'}.{waited} "
        f"It is never sent again by itself. Next: {state.next_step or 'look at session.deliveries().'}"
    )


def is_a(value: object, kind: type) -> bool:
    """Tell whether `value` is a `kind`, also one that was made before this module was loaded again."""
    name = (kind.__module__, kind.__qualname__)
    return isinstance(value, kind) or name in [(c.__module__, c.__qualname__) for c in type(value).__mro__]


def check_flag(name: str, value: object, example: str) -> None:
    """Refuse whatever is not True or False: a word like "no" would count as yes, and may buy something."""
    if not isinstance(value, bool):
        raise InvalidInput(name, value, "True or False", example)


def check_timeout(value: object, example: str) -> None:
    """Refuse what is no number of seconds; infinity is a way to say that one waits to the end."""
    # The comparison also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise InvalidInput("timeout", value, "seconds, 0 or more", example)


def failure_of(state: TaskState) -> KitError:
    """Return the error that tells a person why a task has no result."""
    let_go = state.status == "abandoned"  # by a person: the provider said nothing
    return TaskFailed(
        id=state.id,
        kind=state.kind,
        code=state.code,
        provider_message=None if let_go else state.message,
        meaning=f"{state.meaning}: {state.message}" if let_go else state.meaning or "no reason is known",
        refunded=state.refunded,
        next_step=state.next_step or "look at session.deliveries() for what arrived",
    )


def _not_saved(state: TaskState, lost: list[FileState]) -> NotSaved:
    alike: dict[str, list[str]] = {}
    for file in lost:
        alike.setdefault(file.reason or file.status, []).append(f"{file.role} {file.index + 1}")
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in alike.items())
    died = sum(f.status == "expired" for f in lost)
    return NotSaved(
        f"{state.kind} task {state.id} succeeded, but {len(lost)} of {len(state.files)} files could not be saved "
        f"({reasons}). It is paid for. {_what_now(state.id, len(lost) - died, died)}"
    )


def _what_now(id: str, failed: int, died: int) -> str:
    """Return the next step for files that failed, and for those whose links have died."""
    again = f"ask again with session.task({id!r}).save().wait()."
    gone = "What has expired cannot be fetched any more, unless the provider shows a fresh link"
    if not failed:
        return f"{gone}: session.task({id!r}).save().wait() looks."
    return f"Next: {again}" if not died else f"Next: {again} {gone}."


def _saved(id: str, file: FileState, path: Path) -> SavedFile:
    return SavedFile(
        task=id,
        role=file.role,
        index=file.index,
        path=path,
        bytes=file.bytes or 0,
        sha256=file.sha256 or "",
        media_type=file.media_type or "",
        verified=file.verified or "none",
        duration_s=file.duration_s,
        width=file.width,
        height=file.height,
        loudness_lufs=file.loudness_lufs,
        silence_s=file.silence_s,
        clipped=file.clipped,
    )

"""Owns the live hold on a service from a notebook: connecting and submitting; it keeps no state itself."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kit import settings
from kit.errors import InvalidInput, KitError, ServiceError
from kit.ledger.reader import Reader
from kit.notebook.keeping import Keeping
from kit.notebook.live import say
from kit.notebook.progress import Progress
from kit.notebook.pump import Pump
from kit.notebook.reach import Asked
from kit.notebook.task import SavedFile, Task, Track, check_flag, is_a
from kit.notebook.wishes import (
    check_kind,
    delivery_number,
    duplicate_of,
    earlier_wish,
    not_used,
    refuse_unknown,
    second_try,
)
from kit.provider.kinds import kind_named
from kit.provider.profiles import PROFILES, Profile
from kit.provider.wire import check_params
from kit.sandbox.admin import Sandbox
from kit.service.control_client import Control
from kit.service.process import attach, await_end, running
from kit.service.record import ServiceRecord

if TYPE_CHECKING:
    import pandas as pd

    from kit.ledger.fold import FileState, TaskState
    from kit.notebook.health import Health

__all__ = ["Session"]

ANSWER_WITHIN_S = 15.0
# What a task calls on its session, and a person does not: left out of tab completion.
_FOR_TASKS = {
    "command", "deadlines", "disown", "ensure_followed", "news", "path_of", "progress_of", "reach", "resubmit",
    "same_as", "show_files", "state_of", "wait_for_change", "way",
}  # fmt: skip
LONGEST_ID = 256  # ids are opaque; the bound only keeps nonsense from leaving (provider-api 1.4)


class Session(Keeping):
    """The live hold on the service; `close()` lets go of it, `shutdown()` ends it.

    The tables are in `kit.notebook.tables`; `save_all`, `expiring`, `verify` and `export` in `kit.notebook.keeping`.
    """

    def __init__(
        self,
        profile: Profile,
        area: Path,
        *,
        key: settings.Secret | None,
        save: bool,
        speed: float | None,
        reach: Asked,
    ) -> None:
        self.profile, self.area, self.reach = profile, area, reach
        self._key, self._save, self._speed = key, save, speed
        self._options = _options(key, save, speed, reach)
        self._rows = Reader(area / "ledger.sqlite")
        self._told: set[str] = set()
        self._attached_as = 1  # which attachment a person was told of
        self._sandbox: Sandbox | None = None
        self._pump = Pump(self._attach)
        self._pump.start()

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()) - _FOR_TASKS)

    def __repr__(self) -> str:
        return f"<Session {self.profile.name} in {str(self.area)!r}, {'attached' if self._pump.attached else 'closed'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- submitting ---------------------------------------------------------------------------------------------

    def generate_music(
        self,
        description: str | None = None,
        *,
        style: str | None = None,
        title: str | None = None,
        lyrics: str | None = None,
        instrumental: bool | None = None,
        model: str | None = None,
        negative_tags: str | None = None,
        vocal_gender: str | None = None,
        style_weight: float | None = None,
        weirdness: float | None = None,
        audio_weight: float | None = None,
        persona: str | None = None,
        persona_model: str | None = None,
        duration_s: float | None = None,
        again: bool = False,
        save: bool | None = None,
        **unknown: object,
    ) -> Task:
        """Submit a song and return its task; usually two takes come back.

        A `description` alone is the provider's simple mode: it writes words and style. With `style`, `title` and
        `lyrics` (or ``instrumental=True``) it is the custom mode, where nothing is invented for you. Weights run from
        0 to 1; `duration_s` is kie's, with model V5_5. Limits are in `kit.provider.params` (provider-api 1.6, 6.1).
        A name that is none of these, such as the providers' own `prompt`, is refused with the one that is meant.

        Example:
            session.generate_music(style="slow piano", title="Window Seat", instrumental=True).wait()
        """
        wishes = {k: v for k, v in locals().items() if k not in ("self", "again", "save", "unknown")}
        refuse_unknown(self.generate_music, "music", unknown)
        return self._submit("music", wishes, title, again, save)

    def create_video(
        self,
        track: Track,
        *,
        author: str | None = None,
        domain_name: str | None = None,
        again: bool = False,
        save: bool | None = None,
        **unknown: object,
    ) -> Task:
        """Submit a music video of one take; `author` and `domain_name` (50 characters each) are shown in it."""
        refuse_unknown(self.create_video, "video", unknown)
        params = {**self._params_of(track, "create_video"), "author": author, "domain_name": domain_name}
        return self._submit("video", params, track.title, again, save)

    def create_cover_images(
        self, song: Task, *, again: bool = False, save: bool | None = None, **unknown: object
    ) -> Task:
        """Submit cover images for a song; usually two come back. Each song can have them once."""
        refuse_unknown(self.create_cover_images, "cover_image", unknown)
        if not is_a(song, Task) or song.kind != "music" or song.status != "succeeded":
            raise InvalidInput("song", song, "a finished music task", "session.create_cover_images(song.wait())")
        self._same_provider("song", song, song, "create_cover_images(song)")
        return self._submit("cover_image", {"task_id": song.task_id}, song.state.title, again, save)

    def convert_wav(self, track: Track, *, again: bool = False, save: bool | None = None, **unknown: object) -> Task:
        """Submit the conversion of one take to WAV."""
        refuse_unknown(self.convert_wav, "wav", unknown)
        return self._submit("wav", self._params_of(track, "convert_wav"), track.title, again, save)

    def adopt(self, task_id: str, *, kind: str) -> Task:
        """Follow a task of this provider that was bought elsewhere, by the provider's id; nothing is bought."""
        check_kind(kind, 'session.adopt("5bbe…", kind="video")')
        plain = task_id.strip() if isinstance(task_id, str) else ""
        if not plain.isprintable() or " " in plain or not 1 <= len(plain) <= LONGEST_ID:
            expected = f"the provider's id of a task, 1 to {LONGEST_ID} characters without spaces"
            raise InvalidInput("task_id", task_id, expected, f'session.adopt("5bbe…", kind="{kind}")')
        done = self._control.submit(provider=self.profile.name, kind=kind, params={}, task_id=plain, save=self._save)
        task = self.task(done["id"])
        if task.kind != kind:
            expected = f"{task.kind}, as which {plain} is followed already"
            raise InvalidInput("kind", kind, expected, f"session.task({task.id!r})")
        return task

    def callback_url(self, kind: str, *, provider: str | None = None) -> str:
        """Return a fresh URL for the callback of one task submitted elsewhere.

        What arrives there becomes an unconfirmed row of `tasks()`. Where this session has the provider's key the row is
        confirmed by asking; otherwise nothing is downloaded until ``task.confirm()``. The URL lives for a day.
        """
        check_kind(kind, 'session.callback_url("video")')
        name = self.profile.name if provider is None else provider
        if not isinstance(name, str) or name not in PROFILES:
            expected = f"one of {', '.join(PROFILES)}"
            raise InvalidInput("provider", name, expected, f'session.callback_url("{kind}", provider="kie")')
        url: str = self._control.mint_url(kind, name)["url"]
        return url

    # -- looking ------------------------------------------------------------------------------------------------

    def task(self, either_id: str) -> Task:
        """Return the task with our id or the provider's, also one from before a kernel restart.

        Raises:
            InvalidInput: no row of this folder has that id.
        """
        state = self._reader.state(either_id) if isinstance(either_id, str) and either_id else None
        if state is None:
            where = f"the id of a task kept in {str(self.area)!r}, as session.tasks() lists them"
            bought = either_id if isinstance(either_id, str) and either_id else "5bbe…"
            example = f'session.adopt({bought!r}, kind="video"), where it was bought elsewhere'
            raise InvalidInput("either_id", either_id, where, example)
        return Task(self, state.id)

    def replay(self, delivery: pd.Series[Any] | pd.DataFrame | int) -> Task:
        """Run a delivery that is in the ledger again, as if it arrived now, and return its task.

        Nothing is stored twice: what it says is read again, and the provider is asked again. `delivery` is a row of
        `deliveries()`, a frame of one such row, or its number, the column `seq`.

        Example:
            session.replay(session.deliveries().iloc[-1])
        """
        return Task(self, self._control.replay(delivery_number(delivery))["id"])

    def health(self) -> Health:
        """Return how everything stands: service, ways of the callbacks, ledger, and counts of all that arrived."""
        from kit.ledger import frames
        from kit.notebook.health import Health, open_ends

        states = [state for state in self._reader.states().values() if state.shown]
        needs = [*open_ends(states), *self.deadlines()]
        return Health(self._control.health(), frames.deliveries(self._reader), self.profile.name, needs)

    def credits(self) -> float:
        """Return the balance that the provider reports."""
        return self._control.credits(self.profile.name)

    @property
    def service(self) -> ServiceRecord:
        """Who serves this session: process id, version and ports."""
        return self._control.record

    @property
    def attached(self) -> bool:
        """Whether the service counts this notebook; a closed session is not attached."""
        return self._pump.attached

    @property
    def sandbox(self) -> Sandbox | None:
        """The controls of the simulated provider; None where the provider is real."""
        return self._sandbox if self._control else None

    def news(self) -> list[str]:
        """Return what a person should know and was not told before: of the service, and of links about to die."""
        notes = self._control.hello()["notes"]
        fresh = [note for note in (*notes, *self.deadlines()) if note not in self._told]
        self._told.update(fresh)
        return fresh

    def way(self) -> dict[str, Any]:
        """Return how callbacks of this session's provider get here now, as the service tells it."""
        return self._control.way(self.profile.name)

    # -- leaving ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the service; it goes on by itself until all that is pending has ended and is saved."""
        if not self._pump.here:
            return  # a forked copy of a session holds nothing that it could let go of
        self._leave()
        self._pump.stop()

    def shutdown(self) -> None:
        """End the service; what is pending is taken up again by the next `connect()`."""
        self._check_process()
        self._leave()
        self._pump.stop()
        self._pump.shut_down = True
        record = running(self.area)  # only now: where the service had died, the pump may just have started another
        if record is not None:
            control = Control(record)
            with contextlib.suppress(ServiceError):  # it may be ending already, and then has nothing to say
                control.shutdown()
            control.close()
            await_end(record)

    def disown(self) -> None:
        """Let go of the parent's connection in a forked child, without the parent noticing."""
        self._pump.disown()

    def same_as(self, *, key: settings.Secret | None, save: bool, speed: float | None, reach: Asked) -> bool:
        """Tell whether this session was asked for with the same options and its service is there and stays."""
        return self._options == _options(key, save, speed, reach) and self._holds()

    def _holds(self) -> bool:
        control = self._pump.control
        try:
            if control is None or not self._pump.attached or control.hello()["ending"]:
                return False
            way = control.way(self.profile.name)  # another notebook may have chosen another one since
            return not self.reach.said or (way["driver"], way["url"] if self.reach.url else None) == (
                self.reach.driver,
                self.reach.url,
            )
        except ServiceError:
            return False

    # -- what tasks need of their session -----------------------------------------------------------------------

    def state_of(self, id: str) -> TaskState:
        """Return a task's state as the ledger has it."""
        state = self._reader.state(id)
        if state is None:
            raise KitError(f"Task {id!r} is not in the ledger of {str(self.area)!r} any more.")
        return state

    def progress_of(self, id: str) -> Progress:
        """Return how far each file of a task is that is being fetched now."""
        self._check_process()
        return self._pump.progress.get(id, {})

    def wait_for_change(self, timeout: float) -> bool:
        """Wait until the service told of a change, at most `timeout` seconds."""
        self._check_process()
        return self._pump.wait_for_change(timeout)

    def ensure_followed(self) -> None:
        """Raise `ServiceError` where the service was shut down, so that nothing will change any more."""
        if self._pump.shut_down:
            raise ServiceError(
                "The background service was shut down, so nothing is followed just now. Nothing is lost: connect "
                "again, and it is taken up where it was. session = kit.connect()"
            )

    def command(self, id: str, verb: str) -> None:
        """Run one verb on a task in the service."""
        if verb == "save":
            self._pump.progress.pop(id, None)  # what was told of an earlier attempt
        self._control.command(id, verb)

    def resubmit(self, id: str) -> Task:
        """Buy what a task wanted again, say what it may cost, and return the new task."""
        lost = self.state_of(id)
        before = any(state.instead_of == id for state in self._reader.states().values())
        task = Task(self, self._control.resubmit(id)["id"])
        say(second_try(lost, task.id, before=before))
        return task if before else self._answered(task)

    def path_of(self, file: FileState) -> Path:
        """Return where a saved file is."""
        return self.area / (file.path or "")

    def show_files(self, task: Task, files: list[SavedFile]) -> Any:
        """Return the widget that shows these files of a task."""
        from kit.notebook.showing import widget_for

        return widget_for(task.state, files, self._control.media_url)

    # -- inside -------------------------------------------------------------------------------------------------

    def _check_process(self) -> None:
        """Refuse to work in a forked child: the connection is its parent's, and the thread behind it is not there."""
        if not self._pump.here:
            raise ServiceError(
                f"This session belongs to another process, from which this one (process {os.getpid()}) was forked. "
                "Connect here anew; both can work side by side: session = kit.connect()."
            )

    @property
    def _reader(self) -> Reader:
        self._check_process()
        return self._rows

    @property
    def _control(self) -> Control:
        self._check_process()
        control = self._pump.control
        if control is None:
            raise ServiceError(
                "This session is closed. Connect again: session = kit.connect(); an earlier task is session.task(id)."
            )
        return control

    def _leave(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()

    def _attach(self) -> Control:
        """Attach to the service and make it ready for this provider; also after the service has died."""
        control = attach(self.area)
        opened = control.open_provider(
            self.profile.name,
            key=self._key,
            speed=self._speed,
            webhook_key=settings.webhook_key() if self.profile.signature else None,
            user_agent=settings.switch("KIT_USER_AGENT"),
            # What nobody asked for leaves the way as it is: another notebook may have opened a better one.
            reach=self.reach.as_reach() if self.reach.said or self.reach.driver != "none" else None,
            ngrok_token=self.reach.token,
        )
        token = opened["admin_token"]
        self._sandbox = Sandbox(opened["base_url"], token) if token else None
        return control

    def _submit(self, kind: str, params: dict[str, Any], title: str | None, again: bool, save: bool | None) -> Task:
        example = kind_named(kind).example
        check_flag("again", again, f"{example[:-1]}, again=True)")
        if save is not None:
            check_flag("save", save, f"{example[:-1]}, save=False)")
        self._say_if_restarted()
        given = {name: value for name, value in params.items() if value is not None}
        done = self._control.submit(
            provider=self.profile.name,
            kind=kind,
            params=check_params(kind, self.profile.dialect, given),
            again=again,
            save=self._save if save is None else save,
            title=title,
        )
        task = Task(self, done["id"])
        if done["earlier"]:
            say(earlier_wish(task.state))
            return task
        return self._answered(task)

    def _say_if_restarted(self) -> None:
        """Say, before anything is bought, that the service is another one than before and what that changed."""
        if self._pump.attachments > self._attached_as:
            self._attached_as = self._pump.attachments
            say(" ".join(["The background service had ended and was started again; nothing is lost.", *self.news()]))

    def _answered(self, task: Task) -> Task:
        """Wait for the submit answer, so that a duplicate is met here and not later."""
        state, deadline = self.state_of(task.id), time.monotonic() + ANSWER_WITHIN_S
        while state.status == "submitting" and time.monotonic() < deadline:
            self.wait_for_change(0.2)
            state = self.state_of(task.id)
        if state.known_as:
            known = self.task(state.known_as)
            say(not_used(state, known.state))
            return known
        answer = state.evidence.answer
        if state.status == "failed" and answer is not None and answer.outcome == "duplicate":
            raise duplicate_of(state)
        return task

    def _params_of(self, track: Track, call: str) -> dict[str, Any]:
        if not is_a(track, Track):
            raise InvalidInput("track", track, "one take of a finished song", f"session.{call}(song.tracks[0])")
        self._same_provider("track", track, track.task, f"{call}(song.tracks[0])")
        return {"task_id": track.task_id, "audio_id": track.audio_id}

    def _same_provider(self, name: str, value: object, song: Task, call: str) -> None:
        """Refuse what another provider made: this one does not know its id."""
        if song.provider != self.profile.name:
            expected = f"one that {self.profile.name} made, and this is of {song.provider}"
            raise InvalidInput(name, value, expected, f"kit.connect({song.provider!r}).{call}")


def _options(key: settings.Secret | None, save: bool, speed: float | None, reach: Asked) -> tuple[object, ...]:
    """Return what two sessions share exactly when they were asked for alike; plain values, which survive a reload."""
    return (key.fingerprint() if key else None, save, speed, *reach.mark())

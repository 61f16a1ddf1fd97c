"""Owns the live hold on a service from a notebook: connecting, submitting, and the tables; it keeps no state itself."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kit import settings
from kit.errors import DuplicateTask, InvalidInput, KitError, ServiceError, SettingsError
from kit.ledger.reader import Reader
from kit.notebook.live import Progress, say
from kit.notebook.pump import Pump
from kit.notebook.task import SavedFile, Task, Track, check_flag
from kit.provider.kinds import KINDS, kind_named
from kit.provider.profiles import PROFILES, Profile, profile_named
from kit.provider.wire import check_params
from kit.sandbox.admin import Sandbox
from kit.service.control_client import Control
from kit.service.process import attach, await_end
from kit.service.record import ServiceRecord

if TYPE_CHECKING:
    import pandas as pd

    from kit.ledger.fold import FileState, TaskState

__all__ = ["Session", "connect"]

ANSWER_WITHIN_S = 15.0
LONGEST_ID = 256  # ids are opaque; the bound only keeps nonsense from leaving (provider-api 1.4)

_open: dict[tuple[Path, str], Session] = {}
_opening = threading.Lock()  # two threads that connect at once get the same session


def connect(
    profile: str = "sandbox",
    *,
    data: str | os.PathLike[str] | None = None,
    key: str | None = None,
    save: bool = True,
    speed: float | None = None,
) -> Session:
    """Connect this notebook to a provider, starting the background service of the data folder where none runs.

    Connecting again with the same profile and folder returns the same session.

    Args:
        profile: "sandbox" (the default: simulated, free), "sandbox-kie", "sunoapi" or "kie".
        data: the data folder; see `kit.settings.data_folder` for the default.
        key: the provider's API key; by default it is read from the environment or `.env`.
        save: whether finished files are fetched by themselves.
        speed: how many times faster than life a simulated provider works and is polled.

    Raises:
        InvalidInput, SettingsError, ServiceError: with what to change.
    """
    chosen = profile_named(profile)
    speed = _checked_speed(speed, chosen)
    secret = _checked_key(key, chosen)
    check_flag("save", save, "kit.connect(save=False)")
    area = _area(data, chosen)
    with _opening:
        session = _open.get((area, chosen.name))
        if session is not None and session.same_as(key=secret, save=save, speed=speed):
            return session
        if session is not None:
            session.close()
        session = Session(chosen, area, key=secret, save=save, speed=speed)
        _open[area, chosen.name] = session
    say(f"{chosen.badge} Everything is kept in {area}.")
    return session


class Session:
    """The live hold on the service; `close()` lets go of it, `shutdown()` ends it."""

    def __init__(
        self, profile: Profile, area: Path, *, key: settings.Secret | None, save: bool, speed: float | None
    ) -> None:
        self.profile, self.area = profile, area
        self._asked = {"key": key, "save": save, "speed": speed}
        self._key = key or _kept_key(profile)
        self._reader = Reader(area / "ledger.sqlite")
        self._sandbox: Sandbox | None = None
        self._pump = Pump(self._attach)
        self._pump.start()

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
        self, description: str | None = None, *, again: bool = False, save: bool | None = None, **wishes: Any
    ) -> Task:
        """Submit a song and return its task.

        A `description` alone is the provider's simple mode. With `style`, `title`, `lyrics` or ``instrumental=True`` it
        is the custom mode, where nothing is invented for you. Further wishes: `model`, `negative_tags`,
        `vocal_gender`, `style_weight`, `weirdness`, `audio_weight` (0 to 1), `persona`, `persona_model`, `duration_s`.
        """
        return self._submit("music", {"description": description, **wishes}, wishes.get("title"), again, save)

    def create_video(
        self,
        track: Track,
        *,
        author: str | None = None,
        domain_name: str | None = None,
        again: bool = False,
        save: bool | None = None,
    ) -> Task:
        """Submit a music video of one take; `author` and `domain_name` (50 characters each) are shown in it."""
        params = {**self._params_of(track, "create_video"), "author": author, "domain_name": domain_name}
        return self._submit("video", params, track.title, again, save)

    def create_cover_images(self, song: Task, *, again: bool = False, save: bool | None = None) -> Task:
        """Submit cover images for a song; usually two come back. Each song can have them once."""
        if not isinstance(song, Task) or song.kind != "music" or song.status != "succeeded":
            raise InvalidInput("song", song, "a finished music task", "session.create_cover_images(song.wait())")
        self._same_provider("song", song, song, "create_cover_images(song)")
        return self._submit("cover_image", {"task_id": song.task_id}, song.state.title, again, save)

    def convert_wav(self, track: Track, *, again: bool = False, save: bool | None = None) -> Task:
        """Submit the conversion of one take to WAV."""
        return self._submit("wav", self._params_of(track, "convert_wav"), track.title, again, save)

    def adopt(self, task_id: str, *, kind: str) -> Task:
        """Follow a task of this provider that was bought elsewhere, by the provider's id; nothing is bought."""
        _check_kind(kind, 'session.adopt("5bbe…", kind="video")')
        plain = task_id.strip() if isinstance(task_id, str) else ""
        if not plain.isprintable() or " " in plain or not 1 <= len(plain) <= LONGEST_ID:
            expected = f"the provider's id of a task, 1 to {LONGEST_ID} characters without spaces"
            raise InvalidInput("task_id", task_id, expected, f'session.adopt("5bbe…", kind="{kind}")')
        done = self._control.submit(
            provider=self.profile.name, kind=kind, params={}, task_id=plain, save=bool(self._asked["save"])
        )
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
        _check_kind(kind, 'session.callback_url("video")')
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

    def tasks(self) -> pd.DataFrame:
        """Return one row a task; the columns are listed in `kit.ledger.frames.tasks`."""
        from kit.ledger import frames

        return frames.tasks(self._reader)

    def tracks(self) -> pd.DataFrame:
        """Return one row a take of a song."""
        from kit.ledger import frames

        return frames.tracks(self._reader)

    def files(self) -> pd.DataFrame:
        """Return one row a file, saved or not."""
        from kit.ledger import frames

        return frames.files(self._reader)

    def deliveries(self) -> pd.DataFrame:
        """Return one row an arrival of a callback, with its body as it came."""
        from kit.ledger import frames

        return frames.deliveries(self._reader)

    def lineage(self) -> pd.DataFrame:
        """Return one row a take, with its video, WAV and covers joined."""
        from kit.ledger import frames

        return frames.lineage(self._reader)

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

    # -- leaving ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the service; it goes on by itself until all that is pending has ended and is saved."""
        self._leave()
        self._pump.stop()

    def shutdown(self) -> None:
        """End the service; what is pending is taken up again by the next `connect()`."""
        control = self._control
        self._leave()
        self._pump.stop(closing=control.shutdown)
        await_end(control.record)

    def same_as(self, *, key: settings.Secret | None, save: bool, speed: float | None) -> bool:
        """Tell whether this session is attached and was asked for with the same options."""
        return self._pump.attached and self._asked == {"key": key, "save": save, "speed": speed}

    # -- what tasks need of their session -----------------------------------------------------------------------

    def state_of(self, id: str) -> TaskState:
        """Return a task's state as the ledger has it."""
        state = self._reader.state(id)
        if state is None:
            raise KitError(f"Task {id!r} is not in the ledger of {str(self.area)!r} any more.")
        return state

    def progress_of(self, id: str) -> Progress:
        """Return (bytes received, bytes in all or None) for each file of a task being fetched now."""
        return self._pump.progress.get(id, {})

    def wait_for_change(self, timeout: float) -> bool:
        """Wait until the service told of a change, at most `timeout` seconds."""
        return self._pump.wait_for_change(timeout)

    def command(self, id: str, verb: str) -> None:
        """Run one verb on a task in the service."""
        self._control.command(id, verb)

    def path_of(self, file: FileState) -> Path:
        """Return where a saved file is."""
        return self.area / (file.path or "")

    def show_files(self, task: Task, files: list[SavedFile]) -> Any:
        """Return the widget that shows these files of a task."""
        from kit.notebook.showing import widget_for

        return widget_for(task.state, files, self._control.media_url)

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _control(self) -> Control:
        control = self._pump.control
        if control is None:
            raise ServiceError("This session is closed. Connect again: session = kit.connect().")
        return control

    def _leave(self) -> None:
        if _open.get((self.area, self.profile.name)) is self:
            del _open[self.area, self.profile.name]
        if self._sandbox is not None:
            self._sandbox.close()

    def _attach(self) -> Control:
        """Attach to the service and make it ready for this provider; also after the service has died."""
        control = attach(self.area)
        opened = control.open_provider(
            self.profile.name,
            key=self._key.reveal() if self._key else None,
            speed=self._asked["speed"],  # type: ignore[arg-type]
            webhook_key=settings.switch("KIE_WEBHOOK_KEY") if self.profile.signature else None,
        )
        token = opened["admin_token"]
        self._sandbox = Sandbox(opened["base_url"], token) if token else None
        return control

    def _submit(self, kind: str, params: dict[str, Any], title: str | None, again: bool, save: bool | None) -> Task:
        example = kind_named(kind).example
        check_flag("again", again, f"{example[:-1]}, again=True)")
        if save is not None:
            check_flag("save", save, f"{example[:-1]}, save=False)")
        given = {name: value for name, value in params.items() if value is not None}
        done = self._control.submit(
            provider=self.profile.name,
            kind=kind,
            params=check_params(kind, self.profile.dialect, given),
            again=again,
            save=bool(self._asked["save"]) if save is None else save,
            title=title,
        )
        task = Task(self, done["id"])
        if done["earlier"]:
            say(
                f"These parameters were submitted before: this is the earlier {kind_named(kind).label} task {task.id} "
                f"({task.status}), and nothing was spent. again=True would buy another."
            )
            return task
        return self._answered(task)

    def _answered(self, task: Task) -> Task:
        """Wait for the submit answer, so that a duplicate is met here and not later."""
        state = self.state_of(task.id)
        waited = 0.0
        while state.status == "submitting" and waited < ANSWER_WITHIN_S:
            self.wait_for_change(0.2)
            waited += 0.2
            state = self.state_of(task.id)
        if state.known_as:
            say(f"The provider already has this: it is task {state.known_as}, and nothing was spent.")
            return self.task(state.known_as)
        answer = state.evidence.answer
        if state.status == "failed" and answer is not None and answer.outcome == "duplicate":
            raise DuplicateTask(
                id=state.id,
                kind=state.kind,
                code=state.code,
                provider_message=state.message,
                meaning=state.meaning or "the provider already has this task",
                refunded=None,
                next_step=f'find its id at the provider and follow it: session.adopt("<id>", kind="{state.kind}")',
            )
        return task

    def _params_of(self, track: Track, call: str) -> dict[str, Any]:
        if not isinstance(track, Track):
            raise InvalidInput("track", track, "one take of a finished song", f"session.{call}(song.tracks[0])")
        self._same_provider("track", track, track.task, f"{call}(song.tracks[0])")
        return {"task_id": track.task_id, "audio_id": track.audio_id}

    def _same_provider(self, name: str, value: object, song: Task, call: str) -> None:
        """Refuse what another provider made: this one does not know its id."""
        if song.provider != self.profile.name:
            expected = f"one that {self.profile.name} made, and this is of {song.provider}"
            raise InvalidInput(name, value, expected, f"kit.connect({song.provider!r}).{call}")


def _area(data: str | os.PathLike[str] | None, profile: Profile) -> Path:
    """Return the profile's half of the data folder, made and writable."""
    if data is not None and (not isinstance(data, (str, os.PathLike)) or not str(data).strip() or "\0" in str(data)):
        raise InvalidInput("data", data, "the path of a folder", 'kit.connect(data="~/callboard")')
    area = settings.data_folder(data) / profile.area
    try:
        area.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=area):
            return area
    except OSError as reason:
        raise SettingsError(
            f"The folder {str(area)!r} cannot be written ({reason.strerror}). Name a data folder that can: "
            "kit.connect(data='~/callboard') or KIT_DATA_DIR."
        ) from reason


def _checked_key(key: str | None, profile: Profile) -> settings.Secret | None:
    """Return the key given with the call, hidden from the first moment; an empty one counts as none."""
    if key is None or (key == "" and profile.program is None):
        return None
    secret = settings.Secret(str(key))  # it may be a real one, meant for a real provider
    if profile.program is not None:
        raise InvalidInput("key", secret, f"no key: {profile.name} is simulated", f"kit.connect({profile.name!r})")
    if not isinstance(key, str) or not _sendable(secret):
        expected = "the key as the provider shows it: plain ASCII text without spaces or line breaks"
        raise InvalidInput("key", secret, expected, f"kit.connect({profile.name!r}, key=...)")
    return secret


def _kept_key(profile: Profile) -> settings.Secret | None:
    """Return the key from the environment, where the profile needs one."""
    if profile.key_variable is None:
        return None
    secret = settings.key_for(profile.key_variable, profile.name)
    if not _sendable(secret):
        raise SettingsError(
            f"{profile.key_variable} holds a space, a line break or a non-ASCII character, which no API key has. "
            f"Copy it again and connect again. To go on without an account: kit.connect()."
        )
    return secret


def _sendable(secret: settings.Secret) -> bool:
    plain = secret.reveal()
    return bool(plain) and plain.isascii() and plain.isprintable() and " " not in plain


def _checked_speed(speed: float | None, profile: Profile) -> float | None:
    name = "KIT_SPEED" if speed is None else "speed"
    text = settings.switch("KIT_SPEED") if speed is None and profile.program else speed
    if text is None:
        return None
    if profile.program is None:
        expected = f"no speed: {profile.name} is real and works at its own"
        raise InvalidInput(name, text, expected, f"kit.connect({profile.name!r})")
    try:
        value = 0.0 if isinstance(text, bool) else float(text)
    except (TypeError, ValueError):
        value = 0.0
    if not 0.1 <= value <= 10_000:
        raise InvalidInput(name, text, "a number from 0.1 to 10000", "kit.connect(speed=20)")
    return value


def _check_kind(kind: str, example: str) -> None:
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInput("kind", kind, f"one of {', '.join(KINDS)}", example)

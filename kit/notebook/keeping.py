"""Owns what a person asks of the archive: save all, what expires, verify, export; it fetches and checks nothing itself.

The service does the work and goes on with it; a call here shows how far it is.
"""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from kit.errors import InvalidInput, LedgerError
from kit.notebook.deadlines import duration, warnings
from kit.notebook.live import LiveLine, say
from kit.notebook.saving import Saving, announced, checked, checking, idle
from kit.notebook.tables import Tables
from kit.notebook.task import SLICE_S, check_timeout, is_a

if TYPE_CHECKING:
    from datetime import timedelta

    import pandas as pd

    from kit.ledger.fold import TaskState
    from kit.notebook.export import Exported
    from kit.notebook.pump import Pump
    from kit.notebook.task import Task
    from kit.service.control_client import Control

__all__ = ["Keeping"]

_CHECKED = {"id": "string", "role": "string", "index": "Int64", "path": "string", "result": "string"}


class Keeping(Tables):
    """What a session can do with its archive as a whole."""

    _pump: Pump

    @property
    @abstractmethod
    def _control(self) -> Control:
        """Return the commands of the service."""

    @abstractmethod
    def wait_for_change(self, timeout: float) -> bool:
        """Wait until the service told of a change, at most `timeout` seconds."""

    @abstractmethod
    def ensure_followed(self) -> None:
        """Raise `ServiceError` where the service was shut down."""

    def save_all(self, *, timeout: float = 3600) -> pd.DataFrame:
        """Fetch every file that is not saved and whose link has not died; return their rows of `files()`.

        It says first how many files that are, how large, and what is free on the disk; then it waits, at most
        `timeout` seconds, and shows how far it is. What cannot be saved has its reason in the row and raises nothing.
        Stopping the cell ends only the waiting.

        Raises:
            InvalidInput: `timeout` is no number of seconds.
            ServiceError: the service does not answer, or was shut down meanwhile.
        """
        check_timeout(timeout, "session.save_all(timeout=3600)")
        told = self._control.unsaved()
        sizes = {(f["task"], f["role"], f["index"]): f["bytes"] for f in told["files"]}
        say(announced(sizes, told["free"]) if sizes else idle(self.files()["status"].tolist()))
        if sizes:
            for id, _, _ in sizes:
                self._pump.progress.pop(id, None)  # what an earlier attempt at the same files told
            self._control.save_all()
            self._wait_for(Saving(sizes), timeout)
        files = self.files()
        keys = zip(files["id"], files["role"], files["index"], strict=True)
        return files.loc[[key in sizes for key in keys]].reset_index(drop=True)

    def expiring(self, within: str | timedelta = "3d") -> pd.DataFrame:
        """Return the rows of `files()` that are not saved and whose link dies within a time, soonest first.

        Those whose link died unsaved are among them. `within` is "3d", "12h", "90min", "2w", or a timedelta of the
        standard library or of pandas.

        Raises:
            InvalidInput: `within` is none of these.
        """
        until = datetime.now(UTC) + duration(within)
        files = self.files()
        dying = (files["status"] != "saved") & ((files["expires_at"] <= until) | (files["status"] == "expired"))
        return files[dying].sort_values("expires_at", kind="stable").reset_index(drop=True)

    def verify(self) -> pd.DataFrame:
        """Read every saved file again and compare it with what was saved; return one row a file.

        Columns: id, role, index, path (absolute), result: `intact`, `missing` or `changed`. What is missing or changed
        is not counted as saved any more, and is fetched again while its link lives. Nothing is deleted.
        """
        aside, line = _Aside(self._control.verify), LiveLine()
        self._pump.verifying = None
        aside.start()
        try:
            while aside.is_alive():
                aside.join(SLICE_S)
                line.tick(checking(self._pump.verifying))
        except KeyboardInterrupt:
            say("Stopped waiting. The service goes on checking; what it finds shows in session.files().")
            raise
        found = aside.answer()["files"]
        for file in found:
            if file["result"] != "intact":  # what was told of its first arrival is not the second one's
                self._pump.progress.get(file["task"], {}).pop((file["role"], file["index"]), None)
        line.say(checked([file["result"] for file in found]))
        return self._found(found)

    def export(
        self, target: str | os.PathLike[str], *, ids: Task | str | Iterable[Task | str] | None = None
    ) -> Exported:
        """Copy the saved files to a folder, a ``.zip`` or an address such as ``s3://bucket/songs``, and return what.

        The copies have readable names ("Window Seat - take 1.wav"), tags and cover art, and a manifest lies beside
        them. `ids` picks tasks, by our id or the provider's; all are exported by default. The archive stays as it is.
        """
        from kit.notebook.export import export

        states = [state for state in self._reader.states().values() if state.shown]
        chosen = states if ids is None else self._chosen(ids)
        return export(chosen, self._reader.path.parent, target, say=LiveLine().say, among=states)

    def deadlines(self) -> list[str]:
        """Return a sentence for the unsaved files whose links' time is half over, four fifths over, or over.

        Of a ledger that cannot be read there is none: `connect()` goes on, and the tables say what is wrong.
        """
        try:
            return warnings(self._reader.states().values(), datetime.now(UTC))
        except LedgerError:
            return []

    # -- inside -------------------------------------------------------------------------------------------------

    def _wait_for(self, saving: Saving, timeout: float) -> None:
        line, deadline = LiveLine(), time.monotonic() + timeout
        try:
            while not saving.over(self._reader.states()):
                self.ensure_followed()
                if time.monotonic() >= deadline:
                    line.say(f"{saving.words(self._pump.progress)} The waiting has ended; the saving goes on.")
                    return
                line.tick(saving.words(self._pump.progress))
                self.wait_for_change(SLICE_S)
        except KeyboardInterrupt:
            say("Stopped waiting. The files go on being saved; session.save_all() shows how far it is.")
            raise
        line.say(saving.outcome())

    def _found(self, found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        import pandas as pd

        home = self._reader.path.parent
        rows = [
            {**file, "id": file["task"], "path": str(home / file["path"]) if file["path"] else None} for file in found
        ]
        return pd.DataFrame({name: pd.Series([r[name] for r in rows], dtype=kind) for name, kind in _CHECKED.items()})

    def _chosen(self, ids: Task | str | Iterable[Task | str]) -> list[TaskState]:
        """Return the tasks that are named, each once; refuse what names none."""
        from kit.notebook.task import Task

        one = isinstance(ids, str) or is_a(ids, Task) or not isinstance(ids, Iterable)
        several: list[Any] = [ids] if one else list(cast("Iterable[Any]", ids))
        if not several:
            expected = "tasks, or their ids, at least one; leave it out for all"
            raise InvalidInput("ids", ids, expected, "session.export(folder, ids=[song.id])")
        names = [each.id if is_a(each, Task) else each for each in several]
        found = {name: self._reader.state(name) for name in names if isinstance(name, str)}
        unknown = [name for name in names if not isinstance(name, str) or found[name] is None]
        if unknown:
            expected = "the id of a task that session.tasks() lists"
            raise InvalidInput("ids", unknown[0], expected, "session.export(folder, ids=[song.id])")
        return list({state.id: state for state in found.values() if state is not None}.values())


class _Aside(threading.Thread):
    """A command that takes long, run beside the cell, so that the cell can show how far it is and be stopped."""

    def __init__(self, command: Callable[[], Any]) -> None:
        super().__init__(name="callboard command", daemon=True)
        self._command = command
        self._answer: Any = None
        self._trouble: Exception | None = None

    def run(self) -> None:
        """Run the command and keep what came of it."""
        try:
            self._answer = self._command()
        except Exception as trouble:
            self._trouble = trouble

    def answer(self) -> Any:
        """Return what the command returned, or raise what it raised."""
        if self._trouble is not None:
            raise self._trouble
        return self._answer

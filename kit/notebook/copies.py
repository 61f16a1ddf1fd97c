"""Owns what an export consists of: which saved file becomes a copy of which title, take, tags and cover art.

It reads states and touches no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.notebook.tags import Tags

if TYPE_CHECKING:
    from kit.ledger.fold import FileState, TaskState
    from kit.provider.wire import Take

__all__ = ["Copy", "plan"]

_MADE_OF_A_TAKE = ("video", "wav")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One file to export.

    Attributes:
        title: the title in its name; None where none is known.
        what: the rest of the name, such as "take 1".
        take: the number of the take it is or was made from, from 1; None where there is none or it is not known.
        audio_id: the provider's id of that take.
        art: the saved picture that is shown with it, or None.
    """

    state: TaskState
    file: FileState
    title: str | None
    what: str
    take: int | None
    audio_id: str | None
    tags: Tags
    art: FileState | None


def plan(states: Sequence[TaskState], among: Iterable[TaskState] = ()) -> list[Copy]:
    """Return a copy for every saved file of `states`, in an order that stays: by task, role and index.

    Songs, takes and covers are looked up in `states` and `among`.
    """
    family = _Family([*among, *states])
    rows = sorted(((s, f) for s in states for f in s.files), key=lambda row: (row[0].id, row[1].role, row[1].index))
    return [family.copy(state, file) for state, file in rows if file.status == "saved"]


class _Family:
    """The songs, and what was made from them."""

    def __init__(self, states: Iterable[TaskState]) -> None:
        self._states = sorted({state.id: state for state in states}.values(), key=lambda state: state.id)
        self._songs: dict[tuple[str, str], TaskState] = {}
        for state in (s for s in self._states if s.kind == "music"):
            for name in (state.task_id, state.id):  # a parent is named by the provider's id or by ours
                if name:
                    self._songs[state.provider, name] = state
        self._covers: dict[str, FileState] = {}
        self._authors: dict[str, set[str]] = {}
        for state in self._states:
            self._note_offspring(state)

    def _note_offspring(self, state: TaskState) -> None:
        song = self._song(state)
        if song is None:
            return
        if state.kind == "cover_image":
            for file in state.files:
                if file.status == "saved":
                    self._covers.setdefault(song.id, file)
        if author := _author(state):
            self._authors.setdefault(song.id, set()).add(author)

    def _song(self, state: TaskState) -> TaskState | None:
        if state.kind == "music":
            return state
        return self._songs.get((state.provider, state.parent_task_id or ""))

    def copy(self, state: TaskState, file: FileState) -> Copy:
        """Return the copy of one file."""
        song = self._song(state)
        take = _take_of(state, file, song)
        title = (take.title if take and state.kind == "music" else None) or state.title
        title = title or (take.title if take else None) or (song.title if song else None)
        number = file.index + 1 if state.kind == "music" else take.index + 1 if take else None
        return Copy(
            state=state,
            file=file,
            title=title,
            what=_what(state.kind, file, number),
            take=number,
            audio_id=(take.audio_id if take else None) or state.audio_id,
            tags=self._tags(state, song, take, title),
            art=self._art(song, take),
        )

    def _tags(self, state: TaskState, song: TaskState | None, take: Take | None, title: str | None) -> Tags:
        return Tags(
            title=title,
            artist=_author(state) or self._one_author(song),
            album=(song.title if song else None) or title,
            genre=take.tags if take else None,
            track=(take.index + 1, len(song.takes)) if song and take else None,
            lyrics=_lyrics(song, take) if song and take else None,
            comment=_comment(state, take),
        )

    def _one_author(self, song: TaskState | None) -> str | None:
        # A song names no artist; the person did where they had a video made of it, unless they named several.
        authors = self._authors.get(song.id, set()) if song else set()
        return next(iter(authors)) if len(authors) == 1 else None

    def _art(self, song: TaskState | None, take: Take | None) -> FileState | None:
        if song is None:
            return None
        own = (f for f in song.files if take and f.role == "image" and f.index == take.index and f.status == "saved")
        return next(own, None) or self._covers.get(song.id)


def _take_of(state: TaskState, file: FileState, song: TaskState | None) -> Take | None:
    if song is None or state.kind == "cover_image":
        return None
    if state.kind == "music":
        return next((take for take in song.takes if take.index == file.index), None)
    # Never the index of the file: a video of the second take is the first file of its task.
    return next((take for take in song.takes if take.audio_id and take.audio_id == state.audio_id), None)


def _what(kind: str, file: FileState, take: int | None) -> str:
    if kind == "cover_image":
        return f"cover {file.index + 1}"
    if file.role == "image":
        return f"artwork {file.index + 1}"
    if take is not None and (kind == "music" or kind in _MADE_OF_A_TAKE):
        return f"take {take}"
    return file.role if file.index == 0 else f"{file.role} {file.index + 1}"


def _author(state: TaskState) -> str | None:
    author = state.params.get("author")
    return author if isinstance(author, str) and author.strip() else None


def _lyrics(song: TaskState, take: Take) -> str | None:
    """Return the words that are sung: what a take's prompt is, except where it is the wish in other words."""
    wishes = {str(song.params.get(name) or "").strip() for name in ("description", "style")}
    words = (take.prompt or "").strip()
    return words if words and words not in wishes and song.params.get("instrumental") is not True else None


def _comment(state: TaskState, take: Take | None) -> str:
    ids = [f"task {state.task_id}"] if state.task_id else []
    ids += [f"take {take.audio_id}"] if take and take.audio_id else []
    return ", ".join([f"Made with {state.provider}", *ids, f"kept as {state.id}"])

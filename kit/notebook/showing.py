"""Owns which widget shows which files of a task; it draws nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kit.errors import NotReady
from kit.ledger.fold import TaskState
from kit.notebook.task import SavedFile
from kit.notebook.widgets.media import MediaItem

__all__ = ["Several", "widget_for"]

MediaUrl = Callable[[str, str, int], str]


class Several(tuple[Any, ...]):
    """Widgets shown one below the other, such as the takes of a song."""

    __slots__ = ()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        for widget in self:
            display(widget)  # type: ignore[no-untyped-call]


def widget_for(state: TaskState, files: Sequence[SavedFile], media_url: MediaUrl) -> Any:
    """Return the player, gallery or players for the saved files of one task."""
    if state.kind == "music":
        return _takes(state, files, media_url)
    items = [_item(state, file, media_url, _title(state, file)) for file in files]
    if state.kind == "cover_image":
        from kit.notebook.widgets.gallery import CoverGallery

        return CoverGallery(items)
    if state.kind == "video":
        from kit.notebook.widgets.player import VideoPlayer

        return VideoPlayer(items[0])
    from kit.notebook.widgets.audio import AudioPlayer

    return AudioPlayer(items[0], download_name=items[0].title)


def _takes(state: TaskState, files: Sequence[SavedFile], media_url: MediaUrl) -> Any:
    from kit.notebook.widgets.audio import AudioPlayer

    covers = {file.index: file for file in files if file.role == "image"}
    players = []
    for file in (f for f in files if f.role == "audio"):
        title = f"{state.title or 'Untitled'} - take {file.index + 1}"
        cover = covers.get(file.index)
        item = _item(state, file, media_url, title, poster=cover)
        players.append(AudioPlayer(item, download_name=title))
    if not players:
        raise NotReady(f"Task {state.id} has its pictures saved and no sound yet. Wait for it: task.wait().show()")
    return players[0] if len(players) == 1 else Several(players)


def _item(
    state: TaskState, file: SavedFile, media_url: MediaUrl, title: str, *, poster: SavedFile | None = None
) -> MediaItem:
    return MediaItem(
        path=file.path,
        bytes=file.bytes,
        media_type=file.media_type,
        title=title,
        caption=str(state.params.get("author") or ""),
        loopback_url=media_url(file.task, file.role, file.index),
        poster=poster.path if poster else None,
        width=file.width,
        height=file.height,
        duration_s=file.duration_s,
        index=file.index,
    )


def _title(state: TaskState, file: SavedFile) -> str:
    title = state.title or state.kind
    return f"{title} - cover {file.index + 1}" if state.kind == "cover_image" else title

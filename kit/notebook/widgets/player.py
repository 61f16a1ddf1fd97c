"""Owns the video player: one video played by URL, with a poster that stays; it never holds the video's bytes."""

from __future__ import annotations

from typing import Literal

import traitlets

from kit.notebook.widgets.base import MediaWidget, script
from kit.notebook.widgets.media import MediaItem, data_uri, frame_of, small_poster, static_html, view

__all__ = ["VideoPlayer"]


class VideoPlayer(MediaWidget):
    """Plays one saved video.

    Args:
        item: the video.
        poster: a picture in any common format; None takes the item's own, else a frame of the video.
        preload: ``"none"`` where many players stand together.
    """

    _esm = script("player")
    item = traitlets.Dict().tag(sync=True)
    preload = traitlets.Unicode("metadata").tag(sync=True)

    def __init__(
        self, item: MediaItem, *, poster: bytes | None = None, preload: Literal["metadata", "none"] = "metadata"
    ) -> None:
        picture = small_poster(poster) or small_poster(item.poster) or small_poster(frame_of(item.path))
        uri = data_uri(picture)
        super().__init__(
            words=f"{item.title!r} {item.facts}",
            plain_html=static_html(item, poster=uri),
            item=view(item, poster=uri),
            preload=preload,
        )

"""Owns the audio player: one recording played by URL, its waveform and its download; it never holds the sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import traitlets

from kit.notebook.widgets.base import MediaWidget, script
from kit.notebook.widgets.media import MediaItem, data_uri, peaks_of, small_poster, static_html, view

__all__ = ["AudioPlayer"]

MAX_PEAKS = 400


class AudioPlayer(MediaWidget):
    """Plays one saved recording; the waveform shows where one is and seeks on click and by key.

    Args:
        item: the recording; its poster, where it has one, is the cover beside it.
        download_name: what the saved file is called, such as ``"Window Seat - take 1.wav"``; None takes the title.
        peaks: at most 400 loudnesses from 0 to 1; None measures the file, an empty list shows no waveform.
        preload: ``"none"`` where many players stand together.
    """

    _esm = script("audio")
    item = traitlets.Dict().tag(sync=True)
    peaks = traitlets.List(traitlets.Float()).tag(sync=True)
    preload = traitlets.Unicode("metadata").tag(sync=True)

    def __init__(
        self,
        item: MediaItem,
        *,
        download_name: str | None = None,
        peaks: Sequence[float] | None = None,
        preload: Literal["metadata", "none"] = "metadata",
    ) -> None:
        uri = data_uri(small_poster(item.poster, edge=192))
        measured = peaks_of(item.path) if peaks is None else [float(p) for p in peaks[:MAX_PEAKS]]
        super().__init__(
            words=f"{item.title!r} {item.facts}",
            plain_html=static_html(item, poster=uri),
            item=view(item, poster=uri, download_name=download_name),
            peaks=measured,
            preload=preload,
        )

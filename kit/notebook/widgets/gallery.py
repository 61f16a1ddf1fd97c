"""Owns the cover gallery: pictures shown by URL with small twins that stay; it never holds the pictures' bytes."""

from __future__ import annotations

from collections.abc import Sequence

import traitlets

from kit.notebook.widgets.base import MediaWidget, script
from kit.notebook.widgets.media import MediaItem, data_uri, small_poster, static_html, view

__all__ = ["CoverGallery"]

_ALL_POSTERS = 60_000  # bytes: a saved notebook stays small however many covers one gallery has


class CoverGallery(MediaWidget):
    """Shows saved pictures side by side; each opens in full and can be downloaded."""

    _esm = script("gallery")
    items = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, items: Sequence[MediaItem]) -> None:
        limit = min(8_000, _ALL_POSTERS // max(len(items), 1))
        uris = [data_uri(small_poster(item.path, edge=256, limit=limit)) for item in items]
        pairs = list(zip(items, uris, strict=True))
        super().__init__(
            words=f"{len(items)} pictures, {sum(item.bytes for item in items) / 1e6:.1f} MB",
            plain_html="".join(static_html(item, poster=uri) for item, uri in pairs),
            items=[view(item, poster=uri) for item, uri in pairs],
        )

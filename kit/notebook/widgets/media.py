"""Owns what a browser is told of one saved file: addresses to try, a small poster, plain HTML; it loads no widget."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kit.notebook.widgets.words import clock, file_name, one_line, size

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MediaItem", "data_uri", "frame_of", "peaks_of", "relative_url", "small_poster", "static_html", "view"]

POSTER_BYTES = 8_000  # a WebP of this size is under 11 kB as a data URI
_FRAME_AT = 0.35  # of the duration: past titles that fade in, before the end


@dataclass(frozen=True, kw_only=True)
class MediaItem:
    """One saved file as it is shown: `path` is absolute, `bytes` its length, `index` its place among its kind.

    `loopback_url` is where the service serves it with Range; `poster` is a picture for it (a cover) on disk.
    """

    path: Path
    bytes: int
    media_type: str
    title: str
    caption: str = ""
    loopback_url: str | None = None
    poster: Path | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    index: int = 0

    @property
    def facts(self) -> str:
        """Duration, dimensions and size, as far as they are known."""
        shape = f"{self.width} × {self.height}" if self.width and self.height else ""
        return " · ".join(part for part in (clock(self.duration_s), shape, size(self.bytes)) if part)


def view(item: MediaItem, *, poster: str = "", download_name: str | None = None) -> dict[str, Any]:
    """Return what the browser side needs of an item, as JSON; it holds no media bytes."""
    return {
        "path": item.path.as_posix(),
        "shown_path": str(item.path),
        "bytes": item.bytes,
        "media_type": item.media_type,
        "title": one_line(item.title) or item.path.name,
        "caption": one_line(item.caption, 400),
        "facts": item.facts,
        "duration_s": item.duration_s,
        "width": item.width,
        "height": item.height,
        "loopback_url": item.loopback_url if (item.loopback_url or "").startswith(("http://", "https://")) else None,
        "poster": poster,
        "missing": not item.path.is_file(),
        "changed": item.path.is_file() and item.path.stat().st_size != item.bytes,
        "download_name": file_name((download_name or item.title).removesuffix(item.path.suffix), item.path.suffix),
        "home": _home(),
    }


def _home() -> str:
    """Return the home folder, for Jupyter's page names its root as ``~/...``."""
    try:
        return Path.home().as_posix()
    except RuntimeError:
        return ""


def relative_url(path: Path, start: Path | None = None) -> str | None:
    """Return `path` relative to the kernel's folder, percent-encoded; None where no relative path leads there."""
    try:
        relative = os.path.relpath(path, start or Path.cwd())
    except (ValueError, OSError):  # another drive; or a working folder that was removed
        return None
    url = quote(Path(relative).as_posix(), safe="/")
    return url if url.startswith(".") else f"./{url}"  # a first segment with a colon would read as a scheme


def small_poster(source: bytes | Path | None, *, edge: int = 384, limit: int = POSTER_BYTES) -> bytes | None:
    """Return a picture as WebP no larger than `edge` pixels and `limit` bytes; None where it cannot be read."""
    from PIL import Image

    if source is None:
        return None
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # a poster is a courtesy: without it the path and the words are still there
    return _squeezed(picture, edge, limit)


def _squeezed(picture: Image, edge: int, limit: int) -> bytes | None:
    for side in (edge, edge * 3 // 4, edge // 2, edge // 4):
        smaller = picture.copy()
        smaller.thumbnail((side, side))
        for quality in (82, 65, 45):
            buffer = io.BytesIO()
            smaller.save(buffer, "WEBP", quality=quality, method=4)
            if buffer.tell() <= limit:
                return buffer.getvalue()
    return None


def data_uri(picture: bytes | None) -> str:
    """Return a WebP picture as a data URI, or an empty string."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}" if picture else ""


def frame_of(path: Path) -> bytes | None:
    """Decode one picture from the first half of a video as PNG; None where there is none to decode."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if container.duration:
                container.seek(int(container.duration * _FRAME_AT))
            frame: Any = next(container.decode(stream))
            picture: Image = frame.to_image()
    except (av.FFmpegError, OSError, IndexError, StopIteration, ValueError):
        return None
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def peaks_of(path: Path, bins: int = 300) -> list[float]:
    """Measure the loudness of a sound file in `bins` equal parts, the loudest being 1; empty where it cannot be read.

    The file is decoded in pieces, so a long one costs time and no memory.
    """
    import av
    import numpy as np

    slices: list[Any] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.audio[0]):
                sound = frame.to_ndarray()
                rest = 128.0 if sound.dtype == np.uint8 else 0.0  # silence in 8 bits is the middle
                loud = np.abs(sound.astype(np.float32) - rest).max(axis=0)
                slices.append(np.maximum.reduceat(loud, np.arange(0, loud.size, 256)))
    except (av.FFmpegError, OSError, IndexError, ValueError):
        return []
    fine = np.concatenate(slices) if slices else np.zeros(0, np.float32)
    if not fine.size or bins < 1:
        return []
    edges = np.linspace(0, fine.size, min(bins, fine.size), endpoint=False).astype(int)
    peaks = np.maximum.reduceat(fine, edges)
    return [round(float(p), 3) for p in peaks / max(float(peaks.max()), 1e-9)]


def static_html(item: MediaItem, *, poster: str = "") -> str:
    """Return the plain HTML twin of an item: element with relative URL, poster, words; no script and no style sheet.

    Nothing of the file is loaded before somebody plays it, for the twin is there also where the widget is seen.
    """
    title = escape(one_line(item.title) or item.path.name, quote=True)
    lines = [f"<strong>{title}</strong>"]
    lines += [escape(words, quote=True) for words in (one_line(item.caption, 400), item.facts) if words]
    if item.path.is_file():
        element, url = _element(item, title, poster), relative_url(item.path)
        name = escape(item.path.name, quote=True)
        lines.append(f'<a href="{escape(url, quote=True)}" download>{name}</a>' if url else name)
    else:
        element = _picture(poster, title) if poster else ""
        lines.append(f"file missing: <code>{escape(str(item.path), quote=True)}</code>")
    beside = "display:inline-block;vertical-align:top;" if item.media_type.startswith("image/") else ""
    style = f"{beside}margin:0 16px 12px 0;max-width:640px"
    return f'<figure style="{style}">{element}<figcaption>{"<br>".join(lines)}</figcaption></figure>'


def _element(item: MediaItem, title: str, poster: str) -> str:
    url = relative_url(item.path)
    source = f' src="{escape(url, quote=True)}"' if url else ""
    common = f'controls preload="none" aria-label="{title}" data-lm-suppress-shortcuts="true"'
    if item.media_type.startswith("video/"):
        image = f' poster="{poster}"' if poster else ""
        return f'<video{source}{image} {common} width="640" style="max-width:100%"></video>'
    if item.media_type.startswith("audio/"):
        image = f"{_picture(poster, title, 96)}<br>" if poster else ""
        return f'{image}<audio{source} {common} style="width:100%"></audio>'
    if not poster:
        return f'<img{source} alt="{title}" width="320" style="max-width:100%">'
    # The small picture survives a folder that was left behind; the link under it leads to the full one.
    return _picture(poster, title, 256)


def _picture(poster: str, title: str, width: int = 320) -> str:
    return f'<img src="{poster}" alt="{title}" width="{width}" style="max-width:100%">'

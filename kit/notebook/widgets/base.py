"""Owns what the media widgets share: their scripts, their bundle with a plain twin, their one-line repr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget

__all__ = ["MediaWidget", "script"]

_HERE = Path(__file__).parent
# JupyterLab draws a widget whose kernel is gone as an error, also where plain HTML stands in the same bundle, and a
# widget whose kernel restarts as nothing. So the plain twin is an output of its own before the widget's, and of the two
# the one that has something to show is seen.
_ONE_OF_TWO = (
    "<style>"
    ".jp-OutputArea-child:has(.callboard-twin):has(+.jp-OutputArea-child .callboard-media),"
    ".jp-OutputArea-child:has(.callboard-twin)+.jp-OutputArea-child:not(:has(.callboard-media))"
    "{display:none}</style>"
)


def script(name: str) -> str:
    """Return the browser module of a widget: the shared part, then its own.

    A module that anywidget loads has no address, so it can import nothing beside it.
    """
    parts = (_HERE / "media.js", _HERE / f"{name}.js")
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


class MediaWidget(anywidget.AnyWidget):
    """A widget with a twin of plain HTML and text, for a reader without this kernel."""

    _css = _HERE / "media.css"

    def __init__(self, *, words: str, plain_html: str, **traits: Any) -> None:
        self._words, self._plain_html = words, plain_html
        super().__init__(**traits)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._words}>"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        twin = f'<div class="callboard-twin">{_ONE_OF_TWO}{self._plain_html}</div>'
        display({"text/plain": repr(self), "text/html": twin}, raw=True)  # type: ignore[no-untyped-call]
        bundle = super()._repr_mimebundle_()
        if bundle is not None:
            data, metadata = bundle
            # Where this part is not drawn as a widget it is drawn as nothing: an export, an untrusted notebook.
            alone = {**data, "text/plain": "", "text/html": ""}
            display(alone, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle: tuple[dict[str, Any], dict[str, Any]] | None = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self._plain_html}, metadata

"""Makes any text fit to be drawn in one line or written into a tag; knows nothing of fonts or files."""

from __future__ import annotations

__all__ = ["clean"]


def clean(text: str, limit: int = 160) -> str:
    """Return a text without control characters and lone surrogates, its gaps made single, shortened to a limit."""
    sound = text.encode("utf-8", "replace").decode("utf-8")[: 4 * limit]
    words = " ".join("".join(char if char.isprintable() else " " for char in sound).split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"

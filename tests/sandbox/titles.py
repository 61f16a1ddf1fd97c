"""Owns titles that trip what draws them: empty, endless, in many scripts, with control characters."""

from __future__ import annotations

__all__ = ["ODD_TITLES"]

ODD_TITLES = (
    "",
    "x" * 300,
    "word " * 60,
    "😀🎵👩‍👩‍👧",
    "午夜的雨" * 40,
    "مرحبا بالعالم",
    "שלום",
    "a\x00\nb\ud800",
    "हिन्दी ไทย",
)

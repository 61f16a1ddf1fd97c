"""The sandbox's media: tunes, recordings, videos and covers made from words; knows nothing of tasks, HTTP or files."""

from __future__ import annotations

from kit.sandbox.media.cover import cover_bytes, draw_cover
from kit.sandbox.media.film import video_bytes
from kit.sandbox.media.sound import mp3_bytes, wav_bytes
from kit.sandbox.media.tune import SAMPLE_RATE, Tune, compose

__all__ = ["SAMPLE_RATE", "Tune", "compose", "cover_bytes", "draw_cover", "mp3_bytes", "video_bytes", "wav_bytes"]

"""Owns the gestures that the stories repeat: buying a song, posting a callback by hand, waiting for something."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

import kit

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "callbacks"


def make_song(session: kit.Session, title: str = "Window Seat") -> kit.Task:
    """Buy a song and wait until the provider has made it; its files are not fetched."""
    song = session.generate_music(style="slow piano, rain", title=title, instrumental=True, save=False)
    return song.wait(timeout=60)


def job_of(session: kit.Session, task: kit.Task) -> dict[str, Any]:
    """Return what the simulated provider knows of a task, its callback URL among it."""
    assert session.sandbox is not None
    return next(job for job in session.sandbox.jobs() if job["task_id"] == task.task_id)


def post(url: str, body: Any) -> int:
    """Post a callback by plain HTTP, as a provider does, and return the status."""
    return httpx.post(url, json=body, trust_env=False).status_code


def sample(name: str, *, task_id: str | None = None) -> Any:
    """Return a documented callback body, for another task id where one is given."""
    body = json.loads((SAMPLES / name).read_text(encoding="utf-8"))
    for key in ("task_id", "taskId"):
        if task_id is not None and key in (body["data"] or {}):
            body["data"][key] = task_id
    return body


def until(reached: Callable[[], Any], *, seconds: float = 20) -> None:
    """Wait until something has come about; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)

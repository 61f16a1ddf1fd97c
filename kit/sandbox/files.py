"""Owns the files of the jobs: what each kind makes, making it off the loop, keeping it; it must not know HTTP."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kit.sandbox.jobs import File

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kit.sandbox.jobs import Job
    from kit.sandbox.media import Tune

__all__ = ["TAKES", "Files", "Made", "make", "plan_files"]

TAKES = 2
SECONDS = 16.0
Made = tuple[bytes, float | None]


def plan_files(job: Job, song: Job | None) -> None:
    """Write into `job` which files it will make; `song` is the music job that a derived one starts from."""
    if job.kind == "music":
        job.audio_ids = [str(uuid.uuid4()) for _ in range(TAKES)]
        job.files = [file for take in range(TAKES) for file in _take_files(job, take)]
    elif song is not None:
        job.files = {"video": _video_files, "wav": _wav_files, "cover_image": _cover_files}[job.kind](job, song)


def wording(job: Job) -> dict[str, Any]:
    """Return what a song is made from: style, title, lyrics, instrumental (provider-api 6.1)."""
    asked, prompt = job.request, str(job.request.get("prompt") or "")
    custom = bool(asked.get("customMode"))
    title = str(asked.get("title") or "") if custom else ""
    instrumental = bool(asked.get("instrumental"))
    sung = prompt if custom else f"[Verse]\n{prompt}\n\n[Chorus]\n{_title(prompt)}"
    return {
        "style": str(asked.get("style") or prompt) if custom else prompt,
        "title": title or _title(prompt or str(asked.get("style") or "")),
        "lyrics": "" if instrumental else sung,
        "instrumental": instrumental,
    }


def make(recipe: dict[str, Any]) -> Made:
    """Return the bytes of a file, and its length in seconds where it sounds; takes seconds of work."""
    from kit.sandbox import media

    if recipe["form"] == "image":
        return media.cover_bytes(**recipe["cover"]), None
    tune = _tune(**recipe["song"])
    if recipe["form"] == "video":
        cover = media.draw_cover(**recipe["cover"], size=384)
        return media.video_bytes(tune, cover=cover, **recipe["credits"]), tune.duration_s
    return (media.mp3_bytes if recipe["form"] == "mp3" else media.wav_bytes)(tune), tune.duration_s


@lru_cache(maxsize=4)
def _tune(**song: Any) -> Tune:
    from kit.sandbox import media

    return media.compose(**song)


class Files:
    """The folder of finished files; each is made once, in a worker thread, and made again where it is gone."""

    def __init__(self, folder: Path, *, maker: Callable[[dict[str, Any]], Made] = make, threads: int = 2) -> None:
        self._folder, self._maker = folder, maker
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="media")
        self._making: dict[str, asyncio.Future[None]] = {}

    def path(self, file: File) -> Path:
        """Return where a file is, or will be."""
        return self._folder / file.name

    def begin(self, file: File) -> asyncio.Future[None]:
        """Begin to make a file unless it is there or being made; the future is done when it is complete."""
        loop, future = asyncio.get_running_loop(), self._making.get(file.name)
        if future is not None and not future.done():
            return future
        if self._there(file):
            future = loop.create_future()  # done at once: what is there must not stand in line behind what is made
            future.set_result(None)
            return future
        future = loop.run_in_executor(self._pool, self._make, file)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also if nobody waits
        self._making[file.name] = future
        return future

    async def ready(self, files: list[File]) -> None:
        """Return when all of these files are complete."""
        for file in files:
            await asyncio.shield(self.begin(file))

    def close(self) -> None:
        """Begin nothing more; what is half made is made again next time."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(self, file: File) -> None:
        path = self.path(file)
        content, file.duration = self._maker(file.recipe)
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.duration is not None:
            self._note(file).write_text(repr(file.duration))  # before the file: where that is complete, so is this
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)

    def _there(self, file: File) -> bool:
        """Return whether a file is complete, with the length that a take's answers tell, from an earlier run too."""
        if file.duration is None:
            with suppress(OSError, ValueError):
                file.duration = float(self._note(file).read_text())
        return self.path(file).exists() and (file.duration is not None or file.role != "audio")

    def _note(self, file: File) -> Path:
        path = self.path(file)
        return path.with_name(f".{path.name}.seconds")


def _take_files(job: Job, take: int) -> list[File]:
    stage, audio_id = "first" if take == 0 else "complete", job.audio_ids[take]
    words = wording(job)
    sound = {"form": "mp3", "song": _song(job, take)}
    cover = {"form": "image", "cover": _cover(words, variant=take, seed=job.task_id)}
    audio = File(f"s/{uuid.uuid4().hex}.mp3", "audio", take, "audio/mpeg", sound, stage, alias=f"stream/{audio_id}")
    return [audio, File(_image_name(job, take), "image", take, "image/png", cover, stage)]


def _video_files(job: Job, song: Job) -> list[File]:
    words, take = wording(song), _take(job, song)
    credits = {
        "title": words["title"],
        "author": str(job.request.get("author") or ""),
        "domain_name": str(job.request.get("domainName") or ""),
    }
    cover = _cover(words, variant=take, seed=song.task_id)
    recipe = {"form": "video", "song": _song(song, take), "cover": cover, "credits": credits}
    return [File(f"videos/video_{uuid.uuid4().hex[:12]}.mp4", "video", 0, "video/mp4", recipe)]


def _wav_files(job: Job, song: Job) -> list[File]:
    recipe = {"form": "wav", "song": _song(song, _take(job, song))}
    return [File(f"s/{uuid.uuid4().hex}.wav", "wav", 0, "audio/wav", recipe)]


def _cover_files(job: Job, song: Job) -> list[File]:
    covers = [_cover(wording(song), variant=i, seed=job.task_id) for i in range(2)]
    return [
        File(_image_name(job, i), "image", i, "image/png", {"form": "image", "cover": cover})
        for i, cover in enumerate(covers)
    ]


def _take(job: Job, song: Job) -> int:
    return song.audio_ids.index(job.source[1])


def _song(job: Job, take: int) -> dict[str, Any]:
    return {**wording(job), "take": take, "seconds": SECONDS, "seed": job.task_id}


def _cover(words: dict[str, Any], *, variant: int, seed: str) -> dict[str, Any]:
    return {"title": words["title"], "style": words["style"], "variant": variant, "seed": seed}


def _image_name(job: Job, index: int) -> str:
    return f"s/{int(job.created_at) + 3 * index}_{uuid.uuid4().hex}.png"  # named as in provider-api 5.3


def _title(text: str) -> str:
    words = text.replace(",", " ").replace(".", " ").split()[:4]
    return " ".join(words).title()[:60] or "Untitled"

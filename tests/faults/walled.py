"""Owns processes that may write in their own folders alone: each file they touch elsewhere is put on record.

``python -m tests.faults.walled archive|serve|stray <report> <folder> …``. An audit hook cannot be taken off again,
hence the processes. What a native library opens passes by it; the databases' files are such.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import zipfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.faults.hostile_names import MARK, hostile_names

__all__ = ["KINDS"]

KINDS = ("music", "video", "wav", "cover_image")
# The events whose arguments name places on the disk, and how many of the first do.
EVENTS = {"open": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1}
EVENTS |= {"os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.copyfile": 2, "shutil.move": 2}
EVENTS |= {"os.listdir": 1, "os.scandir": 1, "sqlite3.connect": 1, "tempfile.mkstemp": 1, "tempfile.mkdtemp": 1}
READING = {"os.listdir", "os.scandir"}
BESIDE = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.rename": 2}  # which argument is the folder they are in
NO_FOLDER = -1


class Wall:
    """Keeps what leaves the folders: all that is written, and all that is read by a name from the network."""

    def __init__(self, report: Path, *folders: Path) -> None:
        self._folders = tuple(folder.resolve() for folder in folders)
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._busy = threading.local()
        self.counts: Counter[str] = Counter()
        sys.addaudithook(self._heed)

    def _heed(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in EVENTS or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            for place in given[: EVENTS[event]]:
                self._look(event, place, given)
        finally:
            self._busy.now = False

    def _look(self, event: str, place: Any, given: tuple[Any, ...]) -> None:
        if isinstance(place, int) or place is None:
            return
        path = os.fsdecode(place)
        if event == "sqlite3.connect":
            path = path.removeprefix("file://").partition("?")[0]
        if given[BESIDE.get(event, len(given)) :][:1] not in ((), (NO_FOLDER,)) and path != ".." and "/" not in path:
            return  # a plain name in a folder that is open already
        self.counts[event] += 1
        reads = event in READING or (event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if (MARK in path or not reads) and not self._within(path):
            os.write(self._report, json.dumps([event, path]).encode() + b"\n")

    def _within(self, path: str) -> bool:
        # ".." must not even go out and come back.
        plain = Path(os.path.normpath(Path.cwd() / path))
        return ".." not in path.split("/") and any(plain.is_relative_to(folder) for folder in self._folders)


def body_of(kind: str, name: str, link: str, picture: str | None = None) -> dict[str, Any]:
    """Return the data of a details answer in which every text is `name`; a song has its picture at `picture`."""
    take = {"id": name, "audioUrl": link, "imageUrl": picture or link, "title": name, "tags": name, "prompt": name}
    response: dict[str, Any] = {
        "music": {"sunoData": [take]},
        "video": {"videoUrl": link},
        "wav": {"audioWavUrl": link},
        "cover_image": {"images": [link]},
    }[kind]
    flag: dict[str, Any] = {"status": "SUCCESS", "successFlag": 1 if kind == "cover_image" else "SUCCESS"}
    return {"taskId": name, "title": name, "fileName": name, "response": response, **flag}


@cache
def media_of(role: str) -> tuple[bytes, str, str]:
    """Return a small file of that role, its media type and its extension."""
    from tests.notebook import songs

    return {
        "audio": (songs.mp3(), "audio/mpeg", "mp3"),
        "wav": (songs.wav(frames=100), "audio/wav", "wav"),
        "video": (songs.film(), "video/mp4", "mp4"),
        "image": (songs.picture(), "image/png", "png"),
    }[role]


def archive(area: Path) -> dict[str, Any]:
    """Put a task of each kind for each name into the archive, then export many of them to each sort of place."""
    from kit.notebook.export import export

    os.fsync = lambda _: None  # a thousand waits for the disk, for files that nobody keeps
    for role in ("audio", "wav", "video", "image"):
        media_of(role)  # made before anything is on record
    wall = Wall(area.parent / "report", area)
    (area / "home" / "archive").mkdir(parents=True)
    states = [saved(area / "home", kind, name) for name in hostile_names() for kind in KINDS]
    done = {}
    many = len(KINDS)
    turns = [states[many * n + n % many] for n in range(len(states) // many)]  # every name, its kinds in turn
    for target, chosen in {"folder": turns, "songs.zip": states[::9], "file://cloud": states[1::9]}.items():
        place = target.replace("//", f"//{area}/") if ":" in target else area / target
        done[target] = export(chosen, area / "home", place, say=lambda _: None, among=states).files
    with zipfile.ZipFile(area / "songs.zip") as packed:
        packed.extractall(area / "unpacked")
        names = packed.namelist()
    files = {kind: sum(bool(state.files) for state in states if state.kind == kind) for kind in KINDS}
    return {"tasks": len(states), "files": files, "done": done, "zip": names, "counts": wall.counts}


def saved(home: Path, kind: str, name: str) -> Any:
    """Return the state of a task after its files went through the archive's own steps, in which all text is `name`."""
    from kit.ledger.facts import Answer, Departure, Details, Intent, new_id
    from kit.ledger.fold import advance, fold

    id, now = new_id(), datetime.now(UTC)
    link = f"https://media.example.com/{quote(name[:900], safe='/.:%', errors='replace')}"
    body = json.dumps({"code": 200, "msg": name, "data": body_of(kind, name, link)})
    wish = {"task_id": name, "audio_id": name, "author": name, "title": name}
    intent = Intent(
        task=id,
        at=now,
        kind=kind,
        provider="sandbox",
        dialect="sunoapi",
        params=wish,
        request_key=id,
        title=name or None,
    )
    answer = Answer(task=id, at=now, outcome="accepted", task_id=name or None, code=200)
    details = Details(task=id, at=now, http_status=200, body=body, cause="poll", asked_id=name)
    state = fold(list(enumerate([intent, Departure(task=id, at=now), answer, details], start=1)))
    assert state is not None
    facts = [kept(home, state, file) for file in state.files]
    return advance(state, list(enumerate(facts, start=5))) if facts else state


def kept(home: Path, state: Any, file: Any) -> Any:
    """Put one file into the archive as the archiver does, and return the fact."""
    from hashlib import sha256

    from kit.ledger.facts import FileFact
    from kit.ledger.names import archive_name
    from kit.service.shelf import Content, part_name, put_in_place

    data, media_type, extension = media_of(file.role)
    part = home / "archive" / part_name(state.id, file.role, file.index)
    part.write_bytes(data)
    found, digest = part.stat(), sha256(data).hexdigest()
    content = Content.of(part, len(data), digest, (found.st_dev, found.st_ino))
    name = archive_name(state.title, state.id, file.role, file.index, extension)
    final = put_in_place(part, name, content, threading.Event())
    return FileFact(
        task=state.id, at=datetime.now(UTC), role=file.role, index=file.index, status="saved", url=file.urls[0],
        path=final.relative_to(home).as_posix(), bytes=len(data), sha256=digest, media_type=media_type,
    )  # fmt: skip


def serve(area: Path, url: str) -> None:
    """Be the service, with the provider and its media at `url`, until it is told to end."""
    from kit.provider import profiles
    from kit.service.__main__ import serve as be_the_service

    here = replace(profiles.profile_named("sunoapi"), base_url=url, media_origins=(url,), poll_s=1.0)
    profiles.PROFILES = {**profiles.PROFILES, "sunoapi": here}
    (area / "logs").mkdir(parents=True, exist_ok=True)
    Wall(area.parent / "report", area, Path(os.environ["KIT_STATE_DIR"]), Path("/dev"))
    be_the_service(area)


def stray(area: Path) -> None:
    """Do as the vendors' samples do, so that the record is seen to work."""
    area.mkdir()
    Wall(area.parent / "report", area)
    for name in (MARK, f"../{MARK}"):
        (area / f"{name}.part").write_bytes(b"")
        (area / f"{name}.part").replace(area / name)
    for place in (f"/etc/{MARK}", "/etc/hostname"):
        with contextlib.suppress(OSError):
            Path(place).read_bytes()


if __name__ == "__main__":
    work, folder = sys.argv[1], Path(sys.argv[2])
    if work == "archive":
        json.dump(archive(folder), sys.stdout)
    elif work == "serve":
        serve(folder, sys.argv[3])
    else:
        stray(folder)

"""Owns the export: copies of what is saved, with names, tags and a manifest; the archive it only reads.

It must not know how a folder, a zip or a cloud is written, nor how tags are.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kit.errors import NotReady
from kit.ledger.names import export_name, folded
from kit.notebook.copies import Copy, plan
from kit.notebook.manifest import Earlier, Entry, facts_of, row_of, write_manifest
from kit.notebook.places import CHUNK, Place, open_place
from kit.notebook.tags import LARGEST_PICTURE, NotTagged, Picture, has_tags, write_tags
from kit.notebook.widgets.words import one_line, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kit.ledger.fold import FileState, TaskState

__all__ = ["Exported", "export"]

SAY_EVERY_S = 2.0
LISTED = 10  # of what is missing, so many are shown
_OF_COPY = ("exported_sha256", "exported_bytes", "tagged", "tag_problem")
# A link where a file was saved is not that file; on Windows bytes would be changed on the way.
_READING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export came to.

    Attributes:
        target: where the files are; of an address without user names, passwords and queries.
        files: how many of the saved files lie there now, `there` of them from an earlier export; `bytes` in all.
        manifest: where the list of them is.
        missing: a sentence for each saved file that the archive does not hold as it was saved.
        untagged: how many copies could not be given their tags; the manifest says why.
        not_saved: how many files there were to export, had they been saved.
    """

    target: str
    files: int
    bytes: int
    manifest: str
    there: int = 0
    missing: tuple[str, ...] = ()
    untagged: int = 0
    not_saved: int = 0

    def __repr__(self) -> str:
        return f"<Exported {self._words()} to {self.target!r}>"

    def _repr_html_(self) -> str:
        lacking = "".join(f"<li>{escape(one_line(sentence))}</li>" for sentence in self.missing[:LISTED])
        more = f"<li>and {len(self.missing) - LISTED} more</li>" if len(self.missing) > LISTED else ""
        # What was exported is said already, above.
        said = f"<div>The list of them is in <code>{escape(one_line(self.manifest))}</code></div>"
        return f"{said}<ul>{lacking}{more}</ul>" if lacking else said

    def _words(self) -> str:
        counts = {"there before": self.there, "without tags": self.untagged}
        counts |= {"missing or changed": len(self.missing), "not saved": self.not_saved}
        also = "".join(f", {count} {what}" for what, count in counts.items() if count)
        return f"{_files(self.files)}, {size(self.bytes)}{also},"


class _Lacking(Exception):
    """The archive does not hold a file as it was saved; str() says what is wrong."""


def export(
    states: Sequence[TaskState],
    home: Path,
    target: str | os.PathLike[str],
    *,
    say: Callable[[str], None],
    among: Iterable[TaskState] = (),
) -> Exported:
    """Copy the saved files of `states` to `target`, with names for people, tags and a manifest, and return what.

    `target` is a folder, a ``.zip`` or an address such as "s3://bucket/songs". Whatever lies there stays: the same file
    exported before is left alone, all else gets the next free name. `home` is the folder that paths in `states` begin
    in; `among` are the tasks that titles, takes and covers are looked up in besides `states`.

    Raises:
        NotReady: none of the files is saved.
        InvalidInput: `target` is no place to export to, or a zip that exists.
        KitError: the place cannot be reached or written; what is there already stays.
    """
    copies = plan(states, among)
    unsaved = [(s, f) for s in states if s.status == "succeeded" for f in s.files if f.status != "saved"]
    if not copies:
        raise NotReady(f"There is no saved file to export{_and_how(len(unsaved))}.")
    with open_place(target, outside=home) as place:
        run = _Run(place, home, say)
        run.work(copies)
        manifest = place.finish(run.manifest([s.id for s in states], unsaved), run.earlier.name)
    done = run.exported(manifest, len(unsaved))
    fetchable = sum(file.status != "expired" for _, file in unsaved)
    mend = " session.verify() has what is missing or changed fetched again." if done.missing else ""
    say(f"Exported {done._words()} to {done.target}{_and_how(fetchable)}.{mend}")
    return done


def _and_how(unsaved: int) -> str:
    return f"; session.save_all() fetches {_files(unsaved)} more" if unsaved else ""


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


@dataclass
class _Run:
    """One export on its way."""

    place: Place
    home: Path
    say: Callable[[str], None]
    entries: list[Entry] = field(default_factory=list)
    lacking: list[Entry] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # names given in this run, folded
    there: int = 0

    def __post_init__(self) -> None:
        self.earlier = Earlier(self.place)
        self._part = self.place.workshop / "copy"

    def work(self, copies: Sequence[Copy]) -> None:
        """Export all, and say now and then how far it is."""
        total, done = sum(copy.file.bytes or 0 for copy in copies), 0
        self.say(f"Exporting {_files(len(copies))}, {size(total)}, to {self.place.shown}.")
        told = time.monotonic()
        for number, copy in enumerate(copies, start=1):
            self._export(copy)
            done += copy.file.bytes or 0
            if time.monotonic() - told >= SAY_EVERY_S:
                told = time.monotonic()
                self.say(f"Exported {number} of {_files(len(copies))}, {size(done)} of {size(total)}.")

    def _export(self, copy: Copy) -> None:
        before = self.earlier.copy_of(copy.state, copy.file)
        if before and self._is_there(before):
            self._note(copy, before["name"], {name: before.get(name) for name in _OF_COPY}, there=True)
            return
        try:
            made = self._make(copy)
        except _Lacking as reason:
            self.lacking.append({**row_of(copy.state, copy.file), "title": copy.title, "reason": str(reason)})
            return
        name, there = self._put(copy, made)
        self._note(copy, name, made, there=there)

    def _is_there(self, before: Entry) -> bool:
        name, count, digest = before["name"], before["exported_bytes"], before["exported_sha256"]
        return folded(name) not in self.used and self.place.holds(name, count, digest, listed=True)

    def _note(self, copy: Copy, name: str, made: Entry, *, there: bool) -> None:
        self.used.add(folded(name))
        self.there += there
        self.entries.append({"name": name, **facts_of(copy), **made})

    def _make(self, copy: Copy) -> Entry:
        """Make the copy in the workshop, tagged where that can be, and return what it became."""
        self._fetch(copy.file)
        tagged, problem = has_tags(copy.file.media_type), None
        if tagged:
            try:
                write_tags(self._part, copy.file.media_type or "", copy.tags, self._picture(copy.art))
            except NotTagged as reason:
                tagged, problem = False, str(reason)
                self._fetch(copy.file)
        with self._part.open("rb") as file:
            digest = sha256()
            while piece := file.read(CHUNK):
                digest.update(piece)
        count = self._part.stat().st_size
        return dict(zip(_OF_COPY, (digest.hexdigest(), count, tagged, problem), strict=True))

    def _fetch(self, file: FileState) -> None:
        with self._part.open("wb") as part:
            for piece in _archived(self.home, file):
                part.write(piece)

    def _picture(self, art: FileState | None) -> Picture | None:
        if art is None or not art.media_type or (art.bytes or 0) > LARGEST_PICTURE:
            return None
        try:
            return Picture(b"".join(_archived(self.home, art)), art.media_type)
        except _Lacking:
            return None  # it is a file of its own task, whose row says so

    def _put(self, copy: Copy, made: Entry) -> tuple[str, bool]:
        """Put the copy under the first name that is free, or find that exactly it lies there already."""
        tried, extension = set(self.used), PurePosixPath(copy.file.path or "").suffix.removeprefix(".")
        while True:
            name = export_name(copy.title, copy.what, extension, tried)
            tried.add(folded(name))
            lying = self.place.names.get(folded(name))
            if lying is None:
                try:
                    self.place.put(self._part, name)
                except FileExistsError:  # the disk takes more names for one than we do, or somebody was faster
                    continue
                return name, False
            if self.place.holds(lying, made["exported_bytes"], made["exported_sha256"], listed=False):
                return lying, True

    def manifest(self, tasks: Sequence[str], unsaved: Sequence[tuple[TaskState, FileState]]) -> bytes:
        """Return the manifest: this export, and what earlier ones put there and lies there still."""
        others = self.earlier.others(self.used, tasks)
        waiting = [{**row_of(s, f), "status": f.status, "reason": f.reason} for s, f in unsaved]
        ours = {"files": self.entries, "missing": self.lacking, "not_saved": waiting}
        return write_manifest({name: [*others[name], *ours[name]] for name in ours})

    def exported(self, manifest: str, unsaved: int) -> Exported:
        """Return what it came to."""
        return Exported(
            target=self.place.shown,
            files=len(self.entries),
            bytes=sum(entry["exported_bytes"] for entry in self.entries),
            manifest=manifest,
            there=self.there,
            missing=tuple(f"{e['id']} {e['role']} {e['index'] + 1}: {e['reason']}" for e in self.lacking),
            untagged=sum(entry["tag_problem"] is not None for entry in self.entries),
            not_saved=unsaved,
        )


def _archived(home: Path, file: FileState) -> Iterator[bytes]:
    """Yield the bytes of a saved file; raise `_Lacking` where they are not, or turn out not to be, what was saved."""
    found, count = sha256(), 0
    for piece in _pieces(home, file.path or ""):
        found.update(piece)
        count += len(piece)
        if file.bytes is not None and count > file.bytes:
            break
        yield piece
    if (file.bytes is not None and count != file.bytes) or (file.sha256 and found.hexdigest() != file.sha256):
        raise _Lacking("its bytes in the archive are not those that were saved; session.verify() checks all of them")


def _pieces(home: Path, path: str) -> Iterator[bytes]:
    plain = PurePosixPath(path)
    if not path or plain.is_absolute() or ".." in plain.parts or "\\" in path or ":" in path or "\0" in path:
        raise _Lacking("the ledger names no place inside the archive")
    try:
        with open(home / plain, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _Lacking("what lies in the archive by its name is no file")
            while piece := file.read(CHUNK):
                yield piece
    except FileNotFoundError as reason:
        raise _Lacking("it is not in the archive any more; session.verify() checks all of them") from reason
    except OSError as reason:
        raise _Lacking(f"it cannot be read: {reason.strerror}") from reason


def _opened(path: str, _flags: int) -> int:
    return os.open(path, _READING)

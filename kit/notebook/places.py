"""Owns where an export goes: a folder, a zip or a cloud; it must not know tasks, tags or what a manifest says.

Nothing that lies there is overwritten, except a manifest of ours by its newer self, and nothing is visible half done.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kit.errors import InvalidInput, KitError
from kit.ledger.names import folded
from kit.notebook.widgets.words import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHUNK", "Place", "open_place"]

CHUNK = 2**20
LARGEST_MANIFEST = 64 * 2**20  # a hundred thousand files
_MISTYPED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")  # s3:/bucket would become a folder called "s3:"
_OTHER_ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:://|::)")
_EXPECTED = "a folder, a .zip that does not exist yet, or an address such as s3://bucket/songs"
_EXAMPLE = 'session.export("songs")'


class Place(ABC):
    """Somewhere to put files.

    Attributes:
        shown: what a person calls it, without user names, passwords and queries.
        workshop: a folder of its own for the copies that are being made.
        names: what lies there, by the name `folded`.
        far: whether reading is as slow as writing.
    """

    far = False

    def __init__(self, shown: str, workshop: Path, names: dict[str, str]) -> None:
        self.shown, self.workshop, self.names = shown, workshop, names

    @abstractmethod
    def put(self, part: Path, name: str) -> None:
        """Put the file at `part` there as `name`; raise `FileExistsError` where that exists meanwhile."""

    @abstractmethod
    def size_of(self, name: str) -> int | None:
        """Return how many bytes lie there as `name`; None where that is no file."""

    @abstractmethod
    def opened(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open what lies there as `name` for reading."""

    @abstractmethod
    def finish(self, manifest: bytes, name: str) -> str:
        """Put the manifest there, in place of an older one of ours, and return where it is."""

    def close(self) -> None:  # noqa: B027 - most have nothing open
        """Let go of what is open, whatever came before."""

    def read(self, name: str) -> bytes:
        """Return what lies there as `name`; nothing where it is no file, or too large to be a manifest."""
        if (self.size_of(name) or LARGEST_MANIFEST + 1) > LARGEST_MANIFEST:
            return b""
        with self.opened(name) as file:
            return file.read()

    def holds(self, name: str, size: int, digest: str, *, listed: bool) -> bool:
        """Tell whether exactly that lies there as `name`; `listed` where an earlier manifest says so too."""
        if self.size_of(name) != size:
            return False
        if listed and self.far:  # reading it back would take as long as sending it again
            return True
        with self.opened(name) as file:
            return _digest(file) == digest


class _Folder(Place):
    def __init__(self, folder: Path, workshop: Path) -> None:
        super().__init__(str(folder), workshop, {folded(entry.name): entry.name for entry in os.scandir(folder)})
        self._folder = folder

    def put(self, part: Path, name: str) -> None:
        _sync(part)
        _publish(part, self._folder / name)
        self.names[folded(name)] = name

    def size_of(self, name: str) -> int | None:
        path = self._folder / name
        return path.stat().st_size if path.is_file() and not path.is_symlink() else None

    def opened(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        return (self._folder / name).open("rb")

    def finish(self, manifest: bytes, name: str) -> str:
        part = self.workshop / "manifest"
        part.write_bytes(manifest)
        _sync(part)
        if folded(name) in self.names:
            part.replace(self._folder / name)
        else:
            _publish(part, self._folder / name)
        return str(self._folder / name)


class _Zip(Place):
    def __init__(self, path: Path, workshop: Path) -> None:
        super().__init__(str(path), workshop, {})
        self._path, self._part = path, workshop / "part.zip"
        # Sound and pictures are small already: packing them again costs minutes and gains nothing.
        self._zip = zipfile.ZipFile(self._part, "x", zipfile.ZIP_STORED, allowZip64=True)

    def put(self, part: Path, name: str) -> None:
        with part.open("rb") as source, self._zip.open(_member(name), "w", force_zip64=True) as member:
            shutil.copyfileobj(source, member, CHUNK)
        part.unlink()
        self.names[folded(name)] = name

    def size_of(self, name: str) -> int | None:
        member = self._zip.NameToInfo.get(name)
        return member.file_size if member else None

    def opened(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        return self._zip.open(name)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a zip that is given up: its end may not find room either
            self._zip.close()

    def finish(self, manifest: bytes, name: str) -> str:
        self._zip.writestr(_member(name), manifest)
        self._zip.close()
        _sync(self._part)
        try:
            _publish(self._part, self._path)
        except FileExistsError:
            raise _exists(self._path) from None
        return f"{self._path}/{name}"


class _Cloud(Place):
    far = True

    def __init__(self, system: Any, folder: str, shown: str, workshop: Path) -> None:
        self._system, self._folder = system, folder.rstrip("/")
        system.invalidate_cache()  # it may remember what lay there an hour ago
        if "file" in system.protocol:  # the others make folders themselves; asked to, some would make a bucket
            system.makedirs(self._folder, exist_ok=True)
        try:
            found = [str(path).rstrip("/").rpartition("/")[2] for path in system.ls(folder, detail=False)]
        except FileNotFoundError:
            found = []
        super().__init__(shown, workshop, {folded(name): name for name in found})

    def put(self, part: Path, name: str) -> None:
        size = part.stat().st_size
        self._system.put_file(str(part), self._at(name), mode="create")
        if self.size_of(name) != size:
            raise KitError(f"{name!r} arrived in {self.shown} with another length. Delete it there and export again.")
        part.unlink()
        self.names[folded(name)] = name

    def size_of(self, name: str) -> int | None:
        try:
            info = self._system.info(self._at(name))
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def opened(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        file: contextlib.AbstractContextManager[IO[bytes]] = self._system.open(self._at(name), "rb")
        return file

    def finish(self, manifest: bytes, name: str) -> str:
        part = self.workshop / "manifest"
        part.write_bytes(manifest)
        self._system.put_file(str(part), self._at(name))
        return f"{self.shown.rstrip('/')}/{name}"

    def _at(self, name: str) -> str:
        return f"{self._folder}/{name}"


@contextlib.contextmanager
def open_place(target: str | os.PathLike[str], *, outside: Path) -> Iterator[Place]:
    """Open the place that `target` names; a folder is made where it is missing. Copies left half way are removed.

    Raises:
        InvalidInput: it is no place, a zip that exists, or a folder inside `outside`, where the archive is.
        KitError: it cannot be reached or written, or a library for it is missing.
    """
    text = _text(target)
    shown = re.sub(r"//[^/@]*@", "//", text).partition("?")[0] if _URL.match(text) else text
    with contextlib.ExitStack() as stack:
        with _telling(text, shown):
            make = _cloud if _URL.match(text) else _local
            place = make(text, shown, outside, lambda where: _workshop(stack, where))
            stack.callback(place.close)
        with _telling(text, shown):
            yield place


def _local(text: str, _shown: str, outside: Path, workshop: Callable[[Path | None], Path]) -> Place:
    path = Path(text).expanduser().absolute()
    if _MISTYPED.match(text) or path.suffix.lower() in _OTHER_ARCHIVES:
        raise InvalidInput("target", text, _EXPECTED, 'session.export("songs.zip")')
    if path.resolve().is_relative_to(outside.resolve()):
        expected = f"a place outside {str(outside)!r}, where the ledger and the archive are"
        raise InvalidInput("target", text, expected, _EXAMPLE)
    if path.suffix.lower() == ".zip":
        if os.path.lexists(path):
            raise _exists(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _Zip(path, workshop(path.parent))
    if os.path.lexists(path) and not path.is_dir():
        raise InvalidInput("target", text, _EXPECTED, _EXAMPLE)
    path.mkdir(parents=True, exist_ok=True)
    return _Folder(path, workshop(path))


def _cloud(text: str, shown: str, _outside: Path, workshop: Callable[[Path | None], Path]) -> Place:
    if shown.lower().endswith(".zip"):
        expected = "a folder in a cloud; a zip is made on this machine"
        raise InvalidInput("target", shown, expected, 'session.export("songs.zip"), and send that')
    try:
        system, folder = import_module("fsspec.core").url_to_fs(text)
    except ImportError as reason:
        ours = shown.startswith(("s3://", "s3a://", "memory://"))
        how = "pip install 'callboard[cloud]'" if ours else "fsspec's page on this kind of address names it"
        raise KitError(
            f"An export to {shown} needs a library that is not there ({one_line(str(reason))}). "
            f"Install it, and export again: {how}."
        ) from reason
    except ValueError as reason:
        raise InvalidInput("target", shown, _EXPECTED, 'session.export("s3://bucket/songs")') from reason
    return _Cloud(system, folder, shown, workshop(None))


@contextlib.contextmanager
def _telling(text: str, shown: str) -> Iterator[None]:
    """Turn what goes wrong with the target into a sentence; a cloud's library has errors of its own."""
    try:
        yield
    except KitError:
        raise
    except Exception as reason:
        if not isinstance(reason, OSError) and not _URL.match(text):
            raise
        said = one_line(f"{type(reason).__name__}: {reason}".replace(text, shown))
        raise KitError(
            f"The export to {shown} stopped ({said}). What is there already stays and is not written twice: "
            "make room, or see to the rights, and export again."
        ) from reason


def _workshop(stack: contextlib.ExitStack, where: Path | None) -> Path:
    made = Path(tempfile.mkdtemp(prefix=".callboard-", dir=where))
    stack.callback(shutil.rmtree, made, ignore_errors=True)
    return made


def _text(target: object) -> str:
    try:
        text = os.fspath(target)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidInput("target", target, _EXPECTED, _EXAMPLE)
    return text


def _exists(path: Path) -> InvalidInput:
    expected = "a .zip that does not exist yet: this one stays as it is. Take another name, or delete it first"
    free = next(name for n in range(2, 10**6) if not (name := path.with_stem(f"{path.stem} {n}")).exists())
    return InvalidInput("target", str(path), expected, f"session.export({str(free)!r})")


def _publish(part: Path, final: Path) -> None:
    """Give `part` its final name, which is reserved first: nothing of another is ever overwritten."""
    # Not a hard link, which sticks and memory cards do not have.
    os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        part.replace(final)
    except BaseException:
        final.unlink(missing_ok=True)  # an empty file would look like a copy
        raise


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _digest(file: IO[bytes]) -> str:
    found = sha256()
    while piece := file.read(CHUNK):
        found.update(piece)
    return found.hexdigest()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)  # the same time for all: two exports of the same files are the same bytes
    member.external_attr = 0o644 << 16
    return member

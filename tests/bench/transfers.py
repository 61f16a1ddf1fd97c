"""Owns what the benches of fetching share: files in memory, their host, the fetching process, curl; no figures."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.machine import Missing, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Fetched", "Fetcher", "Host", "curl", "hashing_mb_s", "in_memory"]

MB = 1_000_000
BLOCK = 1 << 20
TAKES_AT_MOST_S = 300.0
SHM = Path("/dev/shm")


@contextmanager
def in_memory(megabytes: int) -> Iterator[Path]:
    """Give a folder on a file system in memory with so much room; it is removed afterwards, whatever happened."""
    if not SHM.is_dir():
        raise Missing(f"This bench needs {SHM}, a file system in memory, which this machine does not have.")
    if (free := shutil.disk_usage(SHM).free // MB) < megabytes:
        raise Missing(f"This bench needs {megabytes:,} MB of {SHM}; {free:,} MB are free.")
    with tempfile.TemporaryDirectory(prefix="callboard-bench-", dir=SHM) as name:
        yield Path(name)


@dataclass(frozen=True)
class Fetched:
    """One run: the seconds it took, size and hash of each file (no hash by curl), and the peak of memory in bytes."""

    seconds: float
    files: list[tuple[int, str]]
    peak_bytes: int = 0

    @property
    def mb_s(self) -> float:
        """Megabytes in a second, all files together."""
        return sum(size for size, _ in self.files) / MB / self.seconds


class Host:
    """Files of random bytes and the program that serves them; `made` has size and hash by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "served"
        self._folder.mkdir()
        self.made: dict[str, tuple[int, str]] = {}
        self._port = 0

    def make(self, name: str, size: int) -> None:
        """Write a file that no two benches share; call it before the host runs."""
        digest, block = hashlib.sha256(), os.urandom(BLOCK)
        with (self._folder / name).open("wb") as file:
            for start in range(0, size, BLOCK):
                piece = (start.to_bytes(8, "big") + block[8:])[: size - start]
                file.write(piece)
                digest.update(piece)
        self.made[name] = (size, digest.hexdigest())

    def url(self, name: str) -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self._port}/{name}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve what was made for as long as the context lasts."""
        with _child("tests.bench.sendfile", str(self._folder)) as process:
            self._port = int(_line(process))
            yield


class Fetcher:
    """A process that runs the service's downloads."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Fetcher]:
        """Run one for as long as the context lasts."""
        with _child("tests.bench.fetching") as process:
            yield cls(process, folder)

    def fetch(self, urls: Sequence[str]) -> Fetched:
        """Fetch files all at once; they are removed again."""
        parts = [self._folder / f"{number}.part" for number in range(len(urls))]
        assert self._process.stdin is not None
        asked = [[url, str(part)] for url, part in zip(urls, parts, strict=True)]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(_line(self._process))
        _remove(parts)
        return Fetched(said["seconds"], [(size, digest) for size, digest in said["files"]], said["peak_bytes"])


def curl(urls: Sequence[str], folder: Path, *more: str) -> Fetched:
    """Fetch files with one curl, timed by itself: the time of the slowest, without the start of the program."""
    targets = [folder / f"{number}.curl" for number in range(len(urls))]
    argv = [program("curl"), "-s", "-S", "--fail", *more, "-w", "%{time_total} %{size_download}\n"]
    for url, target in zip(urls, targets, strict=True):
        argv += ["-o", str(target), url]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=True, timeout=TAKES_AT_MOST_S, stdin=subprocess.DEVNULL
    )
    told = [line.split() for line in done.stdout.splitlines()]
    sizes = [target.stat().st_size for target in targets]
    assert sorted(sizes) == sorted(int(size) for _, size in told), (sizes, told)
    _remove(targets)
    return Fetched(max(float(seconds) for seconds, _ in told), [(size, "") for size in sizes])


def hashing_mb_s() -> float:
    """Return how fast one thread here hashes with SHA-256, the most that a hashing download can reach."""
    block, began, rounds = os.urandom(BLOCK), time.perf_counter(), 200
    digest = hashlib.sha256()
    for _ in range(rounds):
        digest.update(block)
    return rounds * BLOCK / MB / (time.perf_counter() - began)


@contextmanager
def _child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of the bench that ends with its standard input; one that does not is killed."""
    argv = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended without an answer; what it said is above")
    return line


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)

"""Killed, without room, tampered with: what the archive calls saved is whole, and everything else is fetched again."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from kit.ledger.names import archive_name
from kit.ledger.reading import fetch_facts
from kit.service.shelf import part_name
from tests.faults.mediahost import MediaHost, Wait, honest, paced
from tests.faults.needs import needs
from tests.faults.shop import Keeping, Shop, keeping, shop, wav
from tests.flows.acting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLS = int(os.environ.get("N") or "8")
FILES = max(12, KILLS)
MIB = 2**20
CONTENT = wav(60_000, 7)


@pytest.fixture
def host() -> Iterator[MediaHost]:
    """A media host of this test's own."""
    with MediaHost() as running:
        yield running


@pytest.fixture
def seller() -> Iterator[Shop]:
    """A shop of this test's own."""
    with shop() as running:
        yield running


@pytest.fixture
def service(host: MediaHost, seller: Shop, tmp_path: Path) -> Iterator[Keeping]:
    """A service that keeps what this shop sells."""
    with keeping(tmp_path, seller, host.origin) as running:
        yield running


def sha(content: bytes) -> str:
    """Return the SHA-256 of a content, in hex."""
    return hashlib.sha256(content).hexdigest()


def final_names(archive: Path) -> list[str]:
    """Return the names in the archive that are no part's."""
    names = (path.name for path in archive.iterdir()) if archive.is_dir() else ()
    return sorted(name for name in names if not name.endswith(".part"))


class Watch:
    """Looks at the archive's folder all the time; `wrong` are final names that stood for anything but a whole file."""

    def __init__(self, archive: Path, whole: set[str]) -> None:
        self.archive, self.whole = archive, whole
        self.seen: dict[str, str] = {}
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._over.wait(0.001):
            names = final_names(self.archive)
            for name in names:
                self._see(name)
            self.wrong += [f"{name} is gone" for name in self.seen if name not in names]

    def _see(self, name: str) -> None:
        if name in self.seen:
            return
        self.seen[name] = sha((self.archive / name).read_bytes())
        if self.seen[name] not in self.whole:
            self.wrong.append(name)


def each_is_saved_once(service: Keeping, contents: dict[str, bytes]) -> None:
    """Look that each task's file is saved, by one fact, under one name, with its content; and that no part is left."""
    facts = [fact for _, fact in fetch_facts(service.ledger(), only="file")]
    saved = Counter(fact.task for fact in facts if fact.status == "saved")
    files = {id: service.file(id) for id in contents}

    assert dict.fromkeys(contents, 1) == saved
    assert {id: sha(content) for id, content in contents.items()} == {id: file.sha256 for id, file in files.items()}
    assert {id: sha((service.inside / file.path).read_bytes()) for id, file in files.items()} == {
        id: file.sha256 for id, file in files.items()
    }
    assert sorted(Path(file.path).name for file in files.values()) == final_names(service.inside / "archive")
    assert [] == service.parts()


# ------------------------------------------------------------------------------------------------- kills


@pytest.mark.timeout(120 + 15 * KILLS)
def test_killed_while_downloading_every_file_is_saved_once_and_whole(host, seller, service):
    """The service is killed at random moments: each file ends saved once and exact, and no name was ever too early."""
    content = [wav(random.randint(30_000, 900_000), number) for number in range(FILES)]
    urls = [host.offer(each, paced(MIB), cuts=[len(each) // 2]) for each in content]
    with Watch(service.archive, {sha(each) for each in content}) as watch:
        ids = service.buy(*urls)
        for _ in range(KILLS):
            until(lambda: service.parts() or all_saved(service, ids), seconds=30)
            time.sleep(random.uniform(0, 0.6))
            service.kill()
            service.start()
        service.saved(*ids, seconds=60 + FILES)

    assert [] == watch.wrong
    each_is_saved_once(service, dict(zip(ids, content, strict=True)))


def all_saved(service: Keeping, ids: list[str]) -> bool:
    """Tell whether nothing is left to be fetched."""
    return {"saved"} == {service.status(id) for id in ids}


@cache
def can_trace() -> bool:
    """Tell whether strace may look at another process here."""
    argv = ["strace", "-o", os.devnull, "-p"]
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "30"]) as process:
        with subprocess.Popen([*argv, str(process.pid)], stderr=subprocess.PIPE, text=True) as tracer:
            told = tracer.stderr.readline()
            tracer.terminate()
        process.kill()
    return "attached" in told


@contextmanager
def killing_at(pid: int, calls: str, path: Path, out: Path) -> Iterator[None]:
    """Kill a process as it is about to do the first of these system calls on a path."""
    inject = ["-P", str(path), "-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when=1"]
    argv = ["strace", "-f", "-p", str(pid), "-o", str(out), *inject]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            told = tracer.stderr.readline()
            assert "attached" in told, told
            yield
        finally:
            tracer.terminate()  # it lets go of the process and ends


STEPS = {
    "before its name": ("link,linkat", "part"),
    "between its name and the end of the part": ("unlink,unlinkat", "part"),
    "before the folder is on the disk": ("fsync", "folder"),
}


@pytest.mark.timeout(240)
def test_killed_at_each_step_of_naming_a_file_is_saved_once_and_whole(host, service, tmp_path):
    """Whichever step between the part and its row is the last one, the next start ends with one whole file."""
    needs("strace that may trace another process", can_trace())
    content = {step: wav(50_000, number) for number, step in enumerate(STEPS)}
    named, ids = {}, {}
    with Watch(service.archive, {sha(each) for each in content.values()}) as watch:
        for step, (calls, where) in STEPS.items():
            (id,) = service.buy(host.offer(content[step], gate := Gate()))
            until(service.parts)
            path, before = service.parts()[0] if where == "part" else service.archive, len(final_names(service.archive))
            with killing_at(service.process.pid, calls, path, tmp_path / "trace"):
                gate.open()
                until(lambda: service.process.poll() is not None, seconds=40)
            ids[id], named[step] = content[step], len(final_names(service.archive)) - before
            service.kill()
            service.start()
            service.saved(id)

    assert [] == watch.wrong
    assert [0, 1, 1] == [named[step] for step in STEPS]
    each_is_saved_once(service, ids)


class Gate:
    """A script that sends half of a file and then waits until it is opened."""

    def __init__(self) -> None:
        self._gate = threading.Event()

    def open(self) -> None:
        """Let the rest go."""
        self._gate.set()

    def __call__(self, page, asked):
        """Answer as a good host, with a pause in the middle."""
        for step in honest(page, asked):
            if isinstance(step, memoryview) and not self._gate.is_set():
                yield step[: len(step) // 2]
                while not self._gate.is_set():
                    yield Wait(0.02)
                step = step[len(step) // 2 :]  # noqa: PLW2901
            yield step


# ------------------------------------------------------------------------------------------------- no room


@cache
def can_mount() -> bool:
    """Tell whether a mount namespace of one's own can be had here."""
    argv = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(argv, capture_output=True, check=False).returncode == 0
    )


DISK = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"', "sh")


def on_a_disk_of(size: str, tmp_path: Path) -> tuple[str, ...]:
    """Return the command before a service that gives it a small disk of its own."""
    (tmp_path / "live").mkdir()
    return (*DISK, size, str(tmp_path / "live"))


@pytest.mark.timeout(180)
def test_on_a_full_disk_downloads_wait_and_callbacks_do_not(host, seller, tmp_path):
    """Files that do not fit wait and say so, callbacks are stored meanwhile, and with room all is saved by itself."""
    needs("a mount namespace of one's own", can_mount())
    content = [wav(4 * MIB, number) for number in range(3)]
    with keeping(tmp_path, seller, host.origin, *on_a_disk_of("32m", tmp_path)) as service:
        ballast = service.inside / "ballast"
        ballast.write_bytes(bytes(25 * MIB))  # some 5 MiB are left, of which 1.6 are the ledger's
        ids = service.buy(*(host.offer(each, paced(8 * MIB)) for each in content))
        until(
            lambda: sum(service.status(id) == "waiting" and bool(service.file(id).reason) for id in ids) >= 2,
            seconds=60,
        )
        statuses = [seller.call_back(n % 3, fill=5000) for n in range(60)]
        reasons = [service.file(id).reason for id in ids if service.status(id) == "waiting"]
        ballast.unlink()
        began = time.monotonic()
        service.saved(*ids)
        took = time.monotonic() - began

        assert [200] * 60 == statuses
        assert all("room on the disk" in reason for reason in reasons)
        assert took < 30
        each_is_saved_once(service, dict(zip(ids, content, strict=True)))


@pytest.mark.timeout(180)
def test_a_disk_that_others_fill_meanwhile_costs_no_file_and_no_callback(host, seller, tmp_path):
    """The room goes while a file comes: it waits, callbacks do not, and it goes on where it was when room returns."""
    needs("a mount namespace of one's own", can_mount())
    content = wav(24 * MIB, 5)
    url = host.offer(content, paced(8 * MIB))
    with keeping(tmp_path, seller, host.origin, *on_a_disk_of("64m", tmp_path)) as service:
        (id,) = service.buy(url)
        until(lambda: host.content_sent(url) > 2 * MIB, seconds=60)
        ballast = service.inside / "ballast"
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(service.inside).free - 8 * MIB)))
        until(lambda: service.status(id) == "waiting", seconds=30)
        statuses = [seller.call_back(0, fill=5000) for _ in range(30)]
        ballast.unlink()
        service.saved(id)

        assert [200] * 30 == statuses
        each_is_saved_once(service, {id: content})
        assert host.content_sent(url) < 1.5 * len(content)  # most of what had come was not asked for again


# ------------------------------------------------------------------------------------------------- somebody else


def a_link(path: Path, victim: Path) -> None:
    """Put a link to the victim there."""
    path.symlink_to(victim)


def a_hard_link(path: Path, victim: Path) -> None:
    """Put another name of the victim there."""
    path.hardlink_to(victim)


def a_folder(path: Path, victim: Path) -> None:
    """Put a folder there."""
    path.mkdir()


def a_file(path: Path, victim: Path) -> None:
    """Put a file of somebody else there."""
    path.write_bytes(victim.read_bytes())


PLANTS = (a_link, a_hard_link, a_folder, a_file)


def planted(host: MediaHost, service: Keeping, victim: Path, where: Callable[[str], Path]) -> dict[str, Path]:
    """Buy a file for each plant and put it where it stands in the way; return the tasks, and what stands where."""
    victim.write_bytes(b"precious")
    gates = [Gate() for _ in PLANTS]
    ids = service.buy(*(host.offer(CONTENT, gate) for gate in gates))
    places = {}
    for id, plant, gate in zip(ids, PLANTS, gates, strict=True):
        until(lambda id=id: any(id in part.name for part in service.parts()))
        places[id] = where(id)
        if places[id].exists():
            places[id].unlink()
        plant(places[id], victim)
        gate.open()
    return places


@pytest.mark.timeout(180)
def test_whatever_has_the_final_name_stays_and_the_file_is_kept_beside_it(host, service, tmp_path):
    """What somebody put at the final name is neither written to nor replaced; the file gets another name."""
    victim = tmp_path / "victim"
    named = planted(
        host, service, victim, lambda id: service.archive / archive_name("Window Seat", id, "wav", 0, "wav")
    )
    before = [(path.lstat().st_ino, path.lstat().st_mtime_ns) for path in named.values()]
    service.saved(*named)
    kept = [service.area / service.file(id).path for id in named]

    assert b"precious" == victim.read_bytes()
    assert before == [(path.lstat().st_ino, path.lstat().st_mtime_ns) for path in named.values()]
    assert [] == sorted({*kept} & {*named.values()})
    assert {(sha(CONTENT), sha(CONTENT))} == {
        (service.file(id).sha256, sha(path.read_bytes())) for id, path in zip(named, kept, strict=True)
    }


@pytest.mark.timeout(180)
def test_whatever_takes_the_parts_place_is_not_written_to(host, service, tmp_path):
    """A part that is replaced while it comes is fetched anew; what stands in its place is not written to."""
    victim = tmp_path / "victim"
    with Watch(service.archive, {sha(CONTENT)}) as watch:
        parts = planted(host, service, victim, lambda id: service.archive / part_name(id, "wav", 0))
        folder = [*parts.values()][PLANTS.index(a_folder)]
        until(lambda: f"attempt at ('{[*parts][PLANTS.index(a_folder)]}'" in service.log())
        folder.rmdir()  # it is in the way, and the kit removes nobody's folder
        service.saved(*parts)

    assert b"precious" == victim.read_bytes()
    assert [] == watch.wrong
    each_is_saved_once(service, dict.fromkeys(parts, CONTENT))


def test_a_race_for_the_part_never_writes_through_a_link_or_saves_something_else(host, service, tmp_path):
    """For two seconds parts are replaced by links all the time: the victim stays, and each file ends exact."""
    victim, content = tmp_path / "victim", wav(300_000, 9)
    victim.write_bytes(b"precious")
    ids = service.buy(*(host.offer(content, paced(MIB)) for _ in range(3)))
    end, swaps = time.monotonic() + 2, 0
    with Watch(service.archive, {sha(content)}) as watch:
        while time.monotonic() < end:
            for part in service.parts():
                swaps += swap(part, victim)
        service.saved(*ids)

    assert swaps
    assert b"precious" == victim.read_bytes()
    assert [] == watch.wrong
    each_is_saved_once(service, dict.fromkeys(ids, content))


def swap(part: Path, victim: Path) -> bool:
    """Replace a part by a link to the victim, in one step; tell whether it was there."""
    link = part.parent.parent / "link"
    link.symlink_to(victim)
    link.replace(part)
    return True


# ------------------------------------------------------------------------------------------------- rot, and lies


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and leave its length and time."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_rots_after_saving_is_found_and_fetched_again(host, service, tmp_path):
    """A flipped bit, a removed file, one cut short and a link in its place are found, recorded and fetched again."""
    content = [wav(50_000, number) for number in range(5)]
    ids = service.buy(*map(host.offer, content))
    service.saved(*ids)
    paths = [service.area / service.file(id).path for id in ids]
    flip(paths[0])
    paths[1].unlink()
    os.truncate(paths[2], 40_000)
    paths[3].rename(tmp_path / "kept")
    paths[3].symlink_to(tmp_path / "kept")
    found = {row["task"]: row["result"] for row in service.control.verify()["files"]}
    losses = [fact.task for _, fact in fetch_facts(service.ledger(), only="loss")]

    assert ["changed", "missing", "changed", "intact"] == [found[id] for id in (*ids[:3], ids[4])]
    assert found[ids[3]] in ("changed", "missing")
    assert sorted(ids[:4]) == sorted(losses)
    service.saved(*ids)
    assert [sha(each) for each in content] == [sha((service.area / service.file(id).path).read_bytes()) for id in ids]
    assert [2, 2, 2, 2, 1] == [len(host.asked(f"{host.origin}/file-{number}")) for number in range(5)]
    assert {"intact"} == {row["result"] for row in service.control.verify()["files"]}


PAGE = b"<!DOCTYPE html><html><body>Sign in to download</body></html>" * 20
BODIES = {
    "a page": PAGE,
    "a message": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "cut short": wav(60_000, 11)[:-100],
    "another kind": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "zeros": bytes(60_000),
    "a page behind a head": wav(4000, 1)[:44] + PAGE,
}


@pytest.mark.timeout(180)
def test_no_error_page_and_no_short_file_with_200_is_ever_saved(host, service):
    """With 200 and a right length come pages, messages, cut and foreign files: none gets a name, the next try does."""
    content = wav(60_000, 11)

    def first(body: bytes) -> Callable:
        def script(page, asked):
            page.content = body if asked.number == 0 else content
            page.etag = None
            return honest(page, asked)

        return script

    with Watch(service.archive, {sha(content)}) as watch:
        ids = service.buy(*(host.offer(content, first(body)) for body in BODIES.values()))
        service.saved(*ids)

    assert [] == watch.wrong
    assert {2} == {len(host.asked(f"{host.origin}/file-{number}")) for number in range(len(BODIES))}
    each_is_saved_once(service, dict.fromkeys(ids, content))

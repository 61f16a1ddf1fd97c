"""The disk fails in every way that strace and a small tmpfs can bring about: no callback is acknowledged and lost.

A killed process loses nothing that it wrote, so kills prove nothing about syncs: here the order of the system calls
is looked at, and each write and sync on the way to an acknowledgement is made to fail.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kit.ledger.disk import side
from kit.ledger.facts import Delivery, Intent, MintedUrl
from kit.ledger.journal import fact_of, read_journal
from kit.ledger.reading import fetch_facts
from kit.ledger.rescue import journal_of
from kit.ledger.store import Ledger
from kit.service.record import ServiceRecord
from kit.settings import state_folder
from tests.faults.needs import needs
from tests.ledger.stories import at, intent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
URLS = 400
REBUILDING = ("journal", "journal.new", "rebuilding.sqlite", "rebuilding.sqlite-journal")
WRITES = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate")


# ---------------------------------------------------------------------------------------------------------- strace


@contextmanager
def _traced(pid: int, out: Path, *options: str) -> Iterator[None]:
    """Trace all threads of `pid` into `out` for as long as the context lasts."""
    argv = ["strace", "-f", "-p", str(pid), "-o", str(out), *options]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            first = tracer.stderr.readline()
            if "attached" not in first:
                pytest.fail(f"strace does not attach: {first}")
            yield
        finally:
            tracer.terminate()  # it lets go of the process and ends


@cache
def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "30"]) as process:
        argv = ["strace", "-p", str(process.pid), "-o", os.devnull]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            told = tracer.stderr.readline()
            tracer.terminate()
        process.kill()
    return "attached" in told


@dataclass
class _Call:
    """One system call of a trace: the lines on which it began and ended, and its text with arguments and result."""

    name: str
    text: str
    began: int
    ended: int = field(default=sys.maxsize)

    @property
    def on(self) -> str:
        """What its first argument stands for: a path, or the two ends of a connection."""
        found = re.match(r"\w+\(\d+<(.*?)>(?=[,) ]|$)", self.text)
        return found[1] if found else ""

    @property
    def fine(self) -> bool:
        """Whether it ended without an error."""
        return re.search(r"\) += \d+$", self.text) is not None


def _calls(trace: str) -> list[_Call]:
    """Return the calls of a trace in the order in which they began; what was interrupted is put together."""
    calls: list[_Call] = []
    open_: dict[str, _Call] = {}
    for number, line in enumerate(trace.splitlines()):
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if resumed := re.match(r"<\.\.\. \w+ resumed>", rest):
            call = open_.pop(pid, None)
            if call is not None:
                call.text, call.ended = call.text + rest[resumed.end() :], number
        elif name := re.match(r"(\w+)\(", rest):
            call = _Call(name[1], rest.removesuffix("<unfinished ...>").rstrip(), number)
            calls.append(call)
            if rest.endswith("<unfinished ...>"):
                open_[pid] = call
            else:
                call.ended = number
    return calls


# --------------------------------------------------------------------------------------------------- a real service


class _Service:
    """A service of its own process on an area that has `URLS` callback URLs, and what it has acknowledged."""

    def __init__(self, process: subprocess.Popen[bytes], area: Path) -> None:
        self.process, self.area = process, area
        self.ledger = area / "ledger.sqlite"
        self.acknowledged: list[str] = []
        self.refused = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.port = self._started().public_port

    def _started(self) -> ServiceRecord:
        state, end = state_folder(self.area), time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            record = ServiceRecord.read(state)
            if record is not None and record.pid == self.process.pid:
                return record
            time.sleep(0.02)
        raise AssertionError("the service does not start")

    def post(self, size: int = 100, *, seconds: float = 20) -> int:
        """Deliver on a URL not used before; return the status, and note what was acknowledged."""
        with self._lock:
            number = next(self._numbers)
        mark = f"mark-{number:04d}-end"
        body = json.dumps({"code": 200, "mark": mark, "fill": "x" * size})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("POST", f"/cb/{_secret(number)}", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        if answer.status == 200:
            self.acknowledged.append(mark)
        else:
            self.refused += 1
            assert (503, True) == (answer.status, answer.getheader("retry-after") is not None)
        return answer.status


def _secret(number: int) -> str:
    return f"{number:04d}" + "s" * 28


def _prepare(area: Path) -> None:
    tasks = [f"t{number}" for number in range(URLS)]
    urls = [
        MintedUrl(
            secret_hash=hashlib.sha256(_secret(number).encode()).digest(),
            task=task,
            kind="video",
            provider="sandbox",
            dialect="sunoapi",
            listen_only=False,
            created_at=at(),
        )
        for number, task in enumerate(tasks)
    ]
    with Ledger.open(area / "ledger.sqlite") as ledger:
        ledger.append(*(intent(task=task) for task in tasks), urls=urls).result()


@contextmanager
def _service(area: Path, *before: str) -> Iterator[_Service]:
    """Run a service, by way of the command `before` where one is given; afterwards it is gone."""
    argv = [*before, sys.executable, "-m", "kit.service", "--area", str(area)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _Service(process, area)
        finally:
            process.kill()


def _stored(path: Path) -> Counter[str]:
    """Return how often each mark is in the ledger file."""
    found = [fact.body for _, fact in fetch_facts(path, only="delivery") if isinstance(fact, Delivery)]
    return Counter(re.search(rb"mark-\d+-end", body)[0].decode() for body in found)  # type: ignore[index]


def _see_that_nothing_was_lost(service: _Service) -> None:
    """Each acknowledged delivery is there once: now, and after a kill and a new start, which finds a whole file."""
    assert service.acknowledged
    for look in ("now", "after a kill"):
        stored = _stored(service.ledger)
        assert dict.fromkeys(service.acknowledged, 1) == {mark: stored[mark] for mark in service.acknowledged}, look
        service.process.kill()
        service.process.wait(10)
    with Ledger.open(service.ledger) as again:
        assert (None, None) == (again.rebuilt, again.read_only)
        assert set(service.acknowledged) <= set(_stored(service.ledger))
    assert [] == list(service.area.glob("*damaged*"))


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """Return a prepared area."""
    area = tmp_path / "data" / "sandbox"
    _prepare(area)
    return area


# -------------------------------------------------------------------------------------------------- (a) the order


def _too_early(calls: Sequence[_Call], marks: Sequence[str]) -> list[str]:
    """Return the deliveries whose 200 left before a sync that began after they were written had returned."""
    early = []
    for mark in marks:
        came = next(c for c in calls if c.name in ("recvfrom", "recvmsg", "read") and mark in c.text)
        written = next(c for c in calls if c.name == "pwrite64" and "-wal" in c.on and mark in c.text)
        synced = next(
            (
                c
                for c in calls
                if c.name in ("fdatasync", "fsync") and "-wal" in c.on and c.fine and c.began > written.ended
            ),
            None,
        )
        left = next(c for c in calls if c.began > came.began and c.on == came.on and "HTTP/1.1 200" in c.text)
        if synced is None or left.began < synced.ended:
            early.append(mark)
    return early


def test_no_acknowledgement_leaves_before_the_sync_of_its_batch_returned(area: Path, tmp_path: Path) -> None:
    """In the order of system calls each 200 comes after the end of a sync that began after its delivery was written."""
    needs("strace that may trace another process", _can_trace())
    out = tmp_path / "trace"
    watched = "trace=pwrite64,fdatasync,fsync,recvfrom,recvmsg,read,sendto,sendmsg,write,writev"
    with _service(area) as service:
        with _traced(service.process.pid, out, "-yy", "-s", "6000", "-e", watched), ThreadPoolExecutor(12) as pool:
            assert {200} == set(pool.map(lambda _: service.post(), range(60)))
        _see_that_nothing_was_lost(service)
    calls = _calls(out.read_text(errors="replace"))

    assert [] == _too_early(calls, service.acknowledged)
    # And the look would see it: without the syncs, or with the answers first, every one of them is too early.
    unsynced = [call for call in calls if "sync" not in call.name]
    assert sorted(service.acknowledged) == sorted(_too_early(unsynced, service.acknowledged))
    for call in calls:
        if "HTTP/1.1 200" in call.text:
            call.began -= 10_000
    for call in calls:
        if call.name in ("recvfrom", "recvmsg", "read"):
            call.began -= 20_000
    assert sorted(service.acknowledged) == sorted(_too_early(calls, service.acknowledged))


# ---------------------------------------------------------------------------------- (b) each write and sync fails


def _fault(service: _Service, out: Path, call: str, error: str, when: str) -> int:
    """Deliver once while the `when`-th such call on the ledger's files fails; return how many calls failed."""
    files = itertools.chain.from_iterable(
        ("-P", str(path)) for path in (service.ledger, side(service.ledger, "-wal"), journal_of(service.ledger))
    )
    with _traced(
        service.process.pid, out, *files, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"
    ):
        service.post()
    return out.read_text(errors="replace").count("(INJECTED)")


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_whichever_write_or_sync_fails_no_false_acknowledgement(area: Path, tmp_path: Path, error: str) -> None:
    """The first, second, ... call on the way to a 200 fails until there is none left, then all of them at once.

    The delivery is refused with 503, or it is in the file; with the fault gone the very next one is stored.
    """
    needs("strace that may trace another process", _can_trace())
    failed: Counter[str] = Counter()
    with _service(area) as service:
        assert 200 == service.post()
        for call in WRITES:
            for number in itertools.count(1):
                hit = _fault(service, tmp_path / "trace", call, error, str(number))
                failed[call] += hit
                assert 200 == service.post()
                if not hit:
                    break
        for calls in (*WRITES, ",".join(WRITES)):  # nothing of the kind works, also not what the recovery tries
            refused = service.refused
            hit = _fault(service, tmp_path / "trace", calls, error, "1+")
            assert bool(hit) == (service.refused > refused)
            assert 200 == service.post()
        _see_that_nothing_was_lost(service)

    assert {"pwrite64", "fdatasync"} <= set(+failed)


# What the ledger does beside deliveries: facts that go to the journal, checkpoints, opening. It answers each line.
LEDGER = """
import sys
from pathlib import Path
from kit.errors import LedgerError
from kit.ledger import store
from kit.ledger.store import Ledger
from tests.ledger.stories import delivery, intent
path, store._FOLD_EVERY = Path(sys.argv[1]), int(sys.argv[2])
ledger = Ledger.open(path)
print("open", flush=True)
for line in sys.stdin:
    verb, _, name = line.strip().partition(" ")
    try:
        if verb in ("open", "close"):
            ledger.close()
        if verb == "open":
            ledger = Ledger.open(path)
        if verb == "append":
            ledger.append(intent(task=name), delivery(task=name)).result()
    except LedgerError as reason:
        print("refused", reason, flush=True)
    else:
        print("stored", verb == "open" and ledger.rebuilt or None, flush=True)
"""


class _Writer:
    """A process with an open ledger; it does what it is told."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process, self.path = process, path
        self.stored: list[str] = []
        self._numbers = itertools.count()
        self.read()

    def read(self) -> str:
        """Return the next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, verb: str) -> str:
        """Give an order and return the answer; the name of what was stored is noted."""
        name = f"n{next(self._numbers)}"
        assert self.process.stdin is not None
        self.process.stdin.write(f"{verb} {name}\n")
        self.process.stdin.flush()
        answer = self.read()
        if verb == "append" and answer.startswith("stored"):
            self.stored.append(name)
        return answer


@contextmanager
def _writer(path: Path, *, fold_every: int = 1) -> Iterator[_Writer]:
    argv = [sys.executable, "-c", LEDGER, str(path), str(fold_every)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield _Writer(process, path)
        finally:
            process.kill()


def _hit(writer: _Writer, out: Path, verb: str, *, call: str, error: str, when: str) -> tuple[int, str]:
    files = itertools.chain.from_iterable(
        ("-P", str(path))
        for path in (
            writer.path,
            *(side(writer.path, name) for name in ("-wal", "-shm")),
            *(writer.path.with_name(f"ledger.{name}") for name in REBUILDING),
        )
    )
    with _traced(
        writer.process.pid, out, *files, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"
    ):
        answer = writer.tell(verb)
    return out.read_text(errors="replace").count("(INJECTED)"), answer


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_whichever_call_fails_what_the_ledger_confirmed_is_there(tmp_path: Path, error: str) -> None:
    """Each write and sync of commit, journal and checkpoint fails in turn: what was confirmed is in both files."""
    needs("strace that may trace another process", _can_trace())
    path = tmp_path / "ledger.sqlite"
    failed: Counter[str] = Counter()
    with _writer(path) as writer:
        for call in WRITES:
            for number in itertools.count(1):
                hit, _ = _hit(writer, tmp_path / "trace", "append", call=call, error=error, when=str(number))
                failed[call] += hit
                assert "stored None" == writer.tell("append")
                if not hit:
                    break
        lines = {found[1].task for line in read_journal(journal_of(path)).lines if (found := fact_of(line))}
        assert set(writer.stored) <= lines
        writer.process.kill()
    with Ledger.open(path) as ledger:
        kept = Counter(fact.task for _, fact in ledger.facts() if isinstance(fact, Intent))
        assert None is ledger.rebuilt

    assert dict.fromkeys(writer.stored, 1) == {name: kept[name] for name in writer.stored}
    assert {"pwrite64", "fdatasync", "write", "fsync"} <= set(+failed)


@pytest.mark.parametrize("call", ["pread64", "read", "openat", "fdatasync", "pwrite64", "fsync"])
def test_a_disk_that_fails_while_a_ledger_is_opened_is_no_damage(tmp_path: Path, call: str) -> None:
    """Whichever read, write or sync of an opening fails, nothing is moved aside or rebuilt, and later all is there."""
    needs("strace that may trace another process", _can_trace())
    path = tmp_path / "ledger.sqlite"
    hits = 0
    with _writer(path, fold_every=1000) as writer:
        for number in itertools.count(1):
            writer.tell("append")
            hit, answer = _hit(writer, tmp_path / "trace", "open", call=call, error="EIO", when=str(number))
            assert answer == "stored None" or (hit and "cannot be used" in answer), answer
            assert "stored None" == writer.tell("open")
            hits += hit
            if not hit:
                break
        if "read" in call:  # a disk that gives nothing at all
            _, answer = _hit(writer, tmp_path / "trace", "open", call="pread64,read", error="EIO", when="1+")
            assert "cannot be used" in answer
            assert "stored None" == writer.tell("open")
        assert "stored None" == writer.tell("append")
    names = {file.name for file in tmp_path.iterdir() if file.name.startswith("ledger")}

    assert hits or call == "fsync"
    assert not [name for name in names if "damaged" in name or "rebuilding" in name]
    assert writer.stored == [fact.task for _, fact in fetch_facts(path) if isinstance(fact, Intent)]


@pytest.mark.parametrize("call", ["pwrite64,write", "fdatasync,fsync", "openat", "rename,link,unlink"])
def test_a_disk_that_fails_while_a_ledger_is_rebuilt_loses_nothing(tmp_path: Path, call: str) -> None:
    """Whichever call of a rebuild fails, the next opening has all the journal held, and the damaged file is kept."""
    needs("strace that may trace another process", _can_trace())
    path, damage = tmp_path / "ledger.sqlite", b"not a database" * 99
    hits = 0
    with _writer(path) as writer:
        for _ in range(3):
            writer.tell("append")
        for number in itertools.count(1):
            assert "stored None" == writer.tell("close")
            for aside in tmp_path.glob("*.damaged-*"):
                aside.unlink()
            path.write_bytes(damage)
            hit, answer = _hit(writer, tmp_path / "trace", "open", call=call, error="EIO", when=str(number))
            assert answer.startswith("stored") or (hit and "cannot be used" in answer), answer
            assert writer.tell("open").startswith("stored")
            assert [damage] == [aside.read_bytes() for aside in tmp_path.glob("*.damaged-*.sqlite")]
            assert set(writer.stored) == {fact.task for _, fact in fetch_facts(path) if isinstance(fact, Intent)}
            hits += hit
            if not hit:
                break

    assert hits
    assert not list(tmp_path.glob("*rebuilding*"))


def test_readers_write_to_no_file_of_the_ledger(tmp_path: Path) -> None:
    """A kernel that reads writes, cuts and deletes nothing: what it opens of the database is opened for reading."""
    needs("strace that may trace another process", _can_trace())
    path, out = tmp_path / "ledger.sqlite", tmp_path / "trace"
    script = """
import sys
from pathlib import Path
from kit.ledger.reader import Reader
print("ready", flush=True)
for line in sys.stdin:
    with Reader(Path(sys.argv[1])) as reader:
        print(len(reader.states()), len(reader.facts()), flush=True)
"""
    argv = [sys.executable, "-c", script, str(path)]
    watched = "trace=openat,pwrite64,pwritev,write,ftruncate,truncate,unlink,unlinkat,rename,fdatasync,fsync"
    with (
        _writer(path) as writer,
        subprocess.Popen(argv, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader,
    ):
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdout.readline()
        try:
            with _traced(reader.pid, out, "-yy", "-e", watched):
                for number in range(10):
                    writer.tell("append")
                    if number == 7:
                        writer.process.kill()  # from here on the reader is the last to close
                        writer.process.wait(10)
                        break
                    reader.stdin.write("\n")
                    reader.stdin.flush()
                    assert f"{number + 1} {2 * number + 2}\n" == reader.stdout.readline()
                reader.stdin.write("\n")
                reader.stdin.flush()
                assert "8 16\n" == reader.stdout.readline()
        finally:
            reader.kill()
    calls = [call for call in _calls(out.read_text(errors="replace")) if "ledger" in call.text]
    changing = [call.text for call in calls if call.name != "openat" and "-shm" not in call.on]

    assert [] == changing
    opened = [call.text for call in calls if call.name == "openat" and 'ledger.sqlite"' in call.text]
    assert opened
    assert all("O_RDONLY" in text for text in opened)
    assert side(path, "-wal").stat().st_size


# ------------------------------------------------------------------------------------------- (c) a disk that is full


@cache
def _can_mount() -> bool:
    argv = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(argv, capture_output=True, check=False).returncode == 0
    )


def test_a_full_disk_is_refused_and_recovered_from(area: Path, tmp_path: Path) -> None:
    """On a disk of 2 MiB deliveries are stored until it is full, refused with 503 then, and stored again with room."""
    needs("a mount namespace of one's own", _can_mount())
    script = (
        'mount -t tmpfs -o size=2m tmpfs "$1" && cp "$2"/ledger.* "$1" && head -c 700000 /dev/zero > "$1"/ballast '
        '&& shift 2 && exec "$@"'
    )
    prepared = tmp_path / "prepared"
    shutil.copytree(area, prepared)
    statuses = []
    with _service(area, "unshare", "-m", "sh", "-c", script, "sh", str(area), str(prepared)) as service:
        inside = Path(f"/proc/{service.process.pid}/root{area}")
        while len(statuses) < 60 and statuses[-3:] != [503] * 3:
            statuses.append(service.post(50_000))
        assert [200, 503] == [statuses[0], statuses[-1]]
        (inside / "ballast").unlink()
        after = [service.post(5_000) for _ in range(5)]
        os.kill(service.process.pid, signal.SIGSTOP)
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in inside.glob("ledger.*"):
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, copy / file.name)
        stored = _stored(copy / "ledger.sqlite")

    assert [200] * 5 == after
    assert dict.fromkeys(service.acknowledged, 1) == {mark: stored[mark] for mark in service.acknowledged}


def test_a_disk_that_can_only_be_read_is_no_damage(tmp_path: Path) -> None:
    """On a disk mounted read-only the ledger says that it cannot be used, and nothing is moved, there or afterwards."""
    needs("a mount namespace of one's own", _can_mount())
    script = """
import subprocess, sys
from pathlib import Path
from kit.errors import LedgerError
from kit.ledger.store import Ledger
from tests.ledger.stories import intent
folder = Path(sys.argv[1])
for journal in (True, False):
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        ledger.append(intent()).result()
    if not journal:
        (folder / "ledger.journal").unlink()
    before = sorted((file.name, file.read_bytes()) for file in folder.iterdir())
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        Ledger.open(folder / "ledger.sqlite")
    except LedgerError as reason:
        print("cannot be used" in str(reason), before == sorted((f.name, f.read_bytes()) for f in folder.iterdir()))
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
"""
    mount = 'mount -t tmpfs -o size=2m tmpfs "$1" && shift && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)

    assert ("True True\n" * 2, "") == (done.stdout, done.stderr)

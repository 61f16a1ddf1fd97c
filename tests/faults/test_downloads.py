"""Hosts misbehave in every way that is known: a download ends with the exact file, or with a reason and no file.

What a host does is in `lies`, by name; here stands what is right then. `EXACT` counts the same way for everything else.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from kit.service import download, limits
from kit.service.download import Download, Fetched, NotFetched, Rules
from tests.faults.lies import RESUMED, WHOLE, after, moved, other
from tests.faults.mediahost import End, MediaHost, Wait, honest, paced

CONTENT = random.Random(2).randbytes(50_000)
CUT = len(CONTENT) // 3
MANY = 500
AT_ONCE = 4
CUTS = 20

EXACT = {
    "chunked", "chunked, with a trailer", "no length", "the same length twice",
}  # fmt: skip
# h11 takes the chunks where a length stands beside them; a kit that refuses both is as right.
EXACT_OR_REFUSED = {"chunked and a length that is right", "chunked and a length that is wrong", "206 of all"}
GONE = {"not found", "gone"}
FOR_EVER = {"a drip", "hints without end"}
REFUSED = {"forbidden", "not authorized"}


@dataclass
class Fetching:
    """A download of one test: what it was told, and where its part lies."""

    part: Path
    role: str = "wav"
    stop: threading.Event = field(default_factory=threading.Event)
    told: list[tuple[int, int | None]] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)

    def of(self, *hosts: MediaHost) -> Download:
        """Return the download, with these hosts as listed origins."""
        return Download(
            self.part,
            Rules(self.role, tuple(host.origin for host in hosts), "callboard-test"),
            room=self.needed.append,
            tell=lambda received, total: self.told.append((received, total)),
            stop=self.stop,
        )


@pytest.fixture
def host():
    """A host of this test's own."""
    with MediaHost() as running:
        yield running


@pytest.fixture
def fetching(tmp_path):
    """A download of this test's own."""
    return Fetching(tmp_path / "a.part")


def exactly(content: bytes, part: Path, got: Fetched) -> bool:
    """Tell whether what was fetched is this very content: on the disk, and in what is said of it."""
    there = part.read_bytes()
    said = (got.bytes, got.sha256, got.identity)
    here = part.lstat()
    return there == content and said == (len(content), hashlib.sha256(content).hexdigest(), (here.st_dev, here.st_ino))


# ------------------------------------------------------------------------------------------------- misbehaviours


@pytest.mark.parametrize("name", RESUMED)
def test_whatever_a_host_answers_to_a_resume_the_file_is_exact(name, host, fetching):
    """The line is cut after a third; whatever the host does with a Range then, the end is one version, whole."""
    url = host.offer(CONTENT, RESUMED[name], cuts=[CUT], end=End.FIN)

    got = fetching.of(host).fetch(url)
    assert exactly(host.page(url).content, fetching.part, got)
    assert CUT == host.asked(url)[1].first, "it was not resumed: the lie was not told"
    assert len(host.asked(url)) <= 6


@pytest.mark.parametrize("etag", ['W/"v1"', None, "v1", '"v1', '""', '"a" "b"', '"v\t1"'])
def test_without_a_strong_tag_nothing_is_resumed(etag, host, fetching):
    """Where the tag is weak, missing or none, a cut file begins again, whatever the host would have sent."""

    def sly(page, asked):
        if asked.first is not None and etag:
            page.content = other(page.content)
            return RESUMED["206 of * bytes"](page, asked)
        return honest(page, asked)

    url = host.offer(CONTENT, sly, etag=etag, cuts=[CUT])
    got = fetching.of(host).fetch(url)

    assert exactly(host.page(url).content, fetching.part, got)
    if etag not in ('""',):  # an empty tag is a strong one by its grammar
        assert {None} == {asked.first for asked in host.asked(url)}


@pytest.mark.parametrize("name", WHOLE)
def test_whatever_a_host_does_the_end_is_the_exact_file_or_a_reason(name, host, fetching, monkeypatch):
    """A host that does it at each request gives the exact file where all of it came, and else a reason, soon."""
    monkeypatch.setitem(download.CAPS, fetching.role, 2 * 2**20)
    hasten(monkeypatch, name)
    url, began = host.offer(CONTENT, WHOLE[name]), time.monotonic()
    try:
        got = fetching.of(host).fetch(url)
    except NotFetched as reason:
        assert name not in EXACT
        assert (name in GONE, name in REFUSED) == (reason.gone, reason.refused)
        assert 10 < len(str(reason)) < 200
        assert "\n" not in str(reason)
    else:
        assert name in EXACT | EXACT_OR_REFUSED
        assert exactly(CONTENT, fetching.part, got)

    assert 1 <= len(host.asked(url)) <= 8
    assert host.content_sent(url) <= 40 * 2**20  # what the two systems hold on the way is theirs
    assert not fetching.part.exists() or fetching.part.stat().st_size <= 2 * 2**20
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in EXACT | EXACT_OR_REFUSED])
def test_after_a_misbehaviour_the_next_try_is_exact(name, host, fetching, monkeypatch):
    """What a bad answer left behind is in nobody's way: the same download, tried again, ends with the exact file."""
    monkeypatch.setitem(download.CAPS, fetching.role, 2 * 2**20)
    hasten(monkeypatch, name)
    bad, good = host.offer(CONTENT, WHOLE[name], path="/bad"), host.offer(other(CONTENT), path="/good")
    trying = fetching.of(host)
    with pytest.raises(NotFetched):
        trying.fetch(bad)

    assert exactly(other(CONTENT), fetching.part, trying.fetch(good))
    trying.discard()
    assert not fetching.part.exists()


def hasten(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Hardly wait between two tries; where a host goes on for ever, be out of patience at once, not in a minute."""
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    if name in FOR_EVER:
        monkeypatch.setattr(limits, "FLOOR_S", 0.3)
        monkeypatch.setattr(download, "ANSWER_S", 0.3)


# ------------------------------------------------------------------------------------------------- versions


def test_two_sources_of_one_take_are_never_joined(host, fetching):
    """Another link begins from nothing, also where it has the same tag and the same length."""
    one = host.offer(
        CONTENT, lambda page, asked: honest(page, asked) if not asked.number else iter([End.RST]), cuts=[CUT]
    )
    two = host.offer(other(CONTENT), path="/two")
    trying = fetching.of(host)
    with pytest.raises(NotFetched) as reason:
        trying.fetch(one)
    got = trying.fetch(two)

    assert reason.value.away
    assert exactly(other(CONTENT), fetching.part, got)
    assert [None] == [asked.first for asked in host.asked(two)]


def test_a_file_that_changes_at_each_cut_is_one_version_in_the_end(host, fetching):
    """The host follows If-Range, and the file is another one at each request: only the last version is kept."""

    def restless(page, asked):
        if asked.number < 4:
            page.content, page.etag = other(page.content), f'"v{asked.number}"'
            page.cuts = [CUT * (asked.number % 2 + 1)]
        return honest(page, asked)

    url = host.offer(CONTENT, restless)
    got = fetching.of(host).fetch(url)

    assert exactly(host.page(url).content, fetching.part, got)
    assert 5 == len(host.asked(url))


def test_a_refused_link_that_works_later_gives_the_exact_file(host, fetching):
    """403 is a reason of its own, in the beginning and in the middle; a later try goes on and ends exactly."""
    url = host.offer(CONTENT, after(WHOLE["forbidden"]))
    trying = fetching.of(host)
    with pytest.raises(NotFetched) as reason:
        trying.fetch(url)
    assert (True, False) == (reason.value.refused, reason.value.gone)
    assert exactly(CONTENT, fetching.part, trying.fetch(url))

    def in_the_middle(page, asked):
        return WHOLE["forbidden"](page, asked) if asked.number == 1 else honest(page, asked)

    url = host.offer(other(CONTENT), in_the_middle, cuts=[CUT])
    with pytest.raises(NotFetched) as reason:
        trying.fetch(url)
    assert reason.value.refused
    assert exactly(other(CONTENT), fetching.part, trying.fetch(url))


# ------------------------------------------------------------------------------------------------- redirects


def test_three_redirects_are_followed_and_no_fourth(host, fetching):
    """A chain of three leads to the file, one of four nowhere, and a cut after a chain is got over."""
    url = host.offer(CONTENT, path="/0", cuts=[CUT])
    for number in range(1, 5):
        host.offer(b"", moved(f"/{number - 1}"), path=f"/{number}")

    assert exactly(CONTENT, fetching.part, fetching.of(host).fetch(host.origin + "/3"))
    before = len(host.asked(url))
    with pytest.raises(NotFetched):
        fetching.of(host).fetch(host.origin + "/4")
    assert before == len(host.asked(url))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_host_that_is_not_listed_is_never_asked_by_way_of_another(status, host, fetching):
    """Whatever redirect leads there, and also in the middle of a file: another origin on this machine hears nothing."""
    with MediaHost() as stranger:
        secret = stranger.offer(other(CONTENT), path="/secret")

        def turning(page, asked):
            return honest(page, asked) if not asked.number else moved(secret, status=f"{status} Moved")(page, asked)

        for url in (host.offer(b"", moved(secret, status=f"{status} Moved")), host.offer(CONTENT, turning, cuts=[CUT])):
            with pytest.raises(NotFetched):
                fetching.of(host).fetch(url)

        assert [] == stranger.asked(secret)


def test_links_that_lead_elsewhere_in_the_middle_join_nothing(host, fetching):
    """A link that leads to one file first and to another one after a cut gives one of them, whole."""
    host.offer(CONTENT, path="/one", cuts=[CUT])
    host.offer(other(CONTENT), path="/two")
    url = host.offer(b"", moved("/one", "/two"))
    got = fetching.of(host).fetch(url)

    assert exactly(CONTENT if got.sha256 == hashlib.sha256(CONTENT).hexdigest() else other(CONTENT), fetching.part, got)


# ------------------------------------------------------------------------------------------------- cuts


def offered(host: MediaHost, number: int, *, size: int = 256 * 1024, etag: str | None = '"v1"') -> str:
    """Offer a file of its own with cuts of its own; return its URL."""
    drawn = random.Random(number)
    return host.offer(drawn.randbytes(size), cuts=drawn.sample(range(1, size), CUTS), etag=etag)


@pytest.mark.timeout(300)
def test_500_downloads_with_20_cuts_each_are_exact(host, tmp_path):
    """Each of 500 files of 256 KiB, cut at 20 places, ends exact; with a strong tag at most 5 % comes twice."""
    urls = [offered(host, number) for number in range(MANY)]

    def fetch(number: int) -> bool:
        one = Fetching(tmp_path / f"{number}.part")
        got = one.of(host).fetch(urls[number])
        assert one.told[-1] == (256 * 1024, 256 * 1024)
        return exactly(host.page(urls[number]).content, one.part, got)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        right = list(pool.map(fetch, range(MANY)))
    sent = sum(host.content_sent(url) for url in urls)

    assert [True] * MANY == right
    assert {CUTS + 1} == {len(host.asked(url)) for url in urls}
    assert sent <= 1.05 * MANY * 256 * 1024


def test_without_a_tag_20_cuts_end_exact_too(host, tmp_path):
    """Where nothing can be resumed each cut costs all that was there, and the file is exact nevertheless."""
    urls = [offered(host, number, etag=etag) for number, etag in enumerate([None, 'W/"v1"'] * 4)]
    got = [(url, one, one.of(host).fetch(url)) for url in urls for one in [Fetching(tmp_path / url.rpartition("/")[2])]]

    assert [True] * len(urls) == [exactly(host.page(url).content, one.part, done) for url, one, done in got]
    assert {None} == {asked.first for url in urls for asked in host.asked(url)}


def test_100_megabytes_with_20_cuts_are_exact(host, fetching):
    """A large file ends exact as well, at most 5 % of it comes twice, and it is never in memory."""
    size, process = 100_000_000, psutil.Process()
    url = offered(host, 1, size=size)
    whole = hashlib.sha256(host.page(url).content).hexdigest()
    before = process.memory_info().rss
    got = fetching.of(host).fetch(url)
    grown = process.memory_info().rss - before

    assert (size, whole) == (got.bytes, got.sha256)
    assert whole == hashlib.sha256(fetching.part.read_bytes()).hexdigest()
    assert host.content_sent(url) <= 1.05 * size
    assert grown <= 64 * 2**20
    assert len(fetching.needed) >= size / (8 * 2**20)


# ------------------------------------------------------------------------------------------------- the part file


def swapped_while(host: MediaHost, fetching: Fetching, swap) -> tuple[bytes, Fetched | NotFetched]:
    """Fetch a file whose line is cut; `swap` is called before the rest comes. Return the content and the end."""

    def script(page, asked):
        if asked.number == 1:
            swap()
        return honest(page, asked)

    url = host.offer(CONTENT, script, cuts=[CUT])
    try:
        return host.page(url).content, fetching.of(host).fetch(url)
    except NotFetched as reason:
        return host.page(url).content, reason


@pytest.mark.parametrize("what", ["a link", "a folder", "another file", "a hard link", "nothing", "a pipe"])
def test_whatever_takes_the_parts_place_is_not_written_to(what, host, fetching, tmp_path):
    """Between two requests something else stands at the part's name: it stays as it is, or the file is exact there."""
    victim, part = tmp_path / "victim", fetching.part
    victim.write_bytes(b"precious")

    def swap():
        part.unlink()
        if what == "a folder":
            part.mkdir()
        elif what == "a pipe":
            os.mkfifo(part)
        elif what == "another file":
            part.write_bytes(b"x" * CUT)
        elif what != "nothing":
            (part.symlink_to if what == "a link" else part.hardlink_to)(victim)

    content, end = swapped_while(host, fetching, swap)

    assert b"precious" == victim.read_bytes()
    assert isinstance(end, NotFetched) or exactly(content, part, end)
    assert what != "a folder" or part.is_dir()


def test_a_stop_ends_a_download_within_a_second(host, fetching):
    """A service that ends does not wait for a host that sends slowly, or nothing at all."""
    for script in (
        paced(1000),
        lambda page, asked: iter([Wait(30)]),
        lambda page, asked: iter([page.head(), Wait(30)]),
    ):
        fetching.stop.clear()
        url = host.offer(CONTENT, script)
        timer = threading.Timer(0.3, fetching.stop.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(NotFetched):
            fetching.of(host).fetch(url)
        timer.join()

        assert time.monotonic() - began < 1.5

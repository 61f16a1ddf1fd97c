"""Fetching one URL: what is returned is one whole version with its hash, everything else is refused with a reason."""

from __future__ import annotations

import contextlib
import hashlib
import random
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.service import answer, download, limits
from kit.service.download import Download, Fetched, NoRoom, NotFetched, Rules
from tests.faults.mediahost import End, MediaHost, Wait, head, honest

BODY = random.Random(4).randbytes(300_000)
OTHER = random.Random(5).randbytes(300_000)  # of the same length, so that only its tag tells it apart
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def host():
    """Give a media host for all tests of this module; each offers its own pages."""
    with MediaHost() as host:
        yield host


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Ask again at once, and see that no thread is left."""
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    yield
    assert [] == [thread for thread in threading.enumerate() if thread.name == "hash"]


class Fetch:
    """A download into a folder, with all that it told and asked."""

    def __init__(self, host, folder, *, role="audio", listed=None, room=None):
        self.part, self.stop = Path(folder) / "x.part", threading.Event()
        self.told, self.rooms = [], []
        rules = Rules(role, (host.origin,) if listed is None else listed, "callboard-test")
        self.download = Download(
            self.part,
            rules,
            room=room or self.rooms.append,
            tell=lambda received, total: self.told.append((received, total)),
            stop=self.stop,
        )

    def __call__(self, url):
        """Fetch, and return what comes of it."""
        return self.download.fetch(url)


@pytest.fixture
def fetch(host, tmp_path):
    """Give a download from the host into the test's own folder."""
    return Fetch(host, tmp_path)


def once(first, then=honest):
    """Return a script that answers the first request in one way and the others in another."""
    return lambda page, asked: (first if asked.number == 0 else then)(page, asked)


def says(status, *fields, body=b""):
    """Return a script that always gives this answer."""

    def script(page, asked):
        yield head(status, *fields)
        yield memoryview(body)

    return script


def chunked(page, asked):
    """Answer with the whole file in chunks."""
    yield page.head("Transfer-Encoding: chunked")
    for start in range(0, page.size, 50_000):
        piece = page.content[start : start + 50_000]
        yield b"%x\r\n" % len(piece)
        yield memoryview(piece)
        yield b"\r\n"
    yield b"0\r\n\r\n"


def chunked_without_an_end(page, asked):
    """Answer with all bytes of the file in chunks, but never say that it was the last."""
    yield from list(chunked(page, asked))[:-1]
    yield End.FIN


def unmarked(page, asked):
    """Answer with no length, as HTTP/1.0 did: only the end of the line says that it was all."""
    yield page.head()
    yield from page.body()


def test_a_whole_file_is_returned_with_its_size_hash_and_identity(host, fetch):
    """The part file holds exactly the body, its inode is told, and progress ends at its length."""
    url = host.offer(BODY)
    found = fetch(url)
    here = fetch.part.stat()

    assert Fetched(len(BODY), SHA, url, (here.st_dev, here.st_ino)) == found
    assert BODY == fetch.part.read_bytes()
    assert (len(BODY), len(BODY)) == fetch.told[-1]


def test_the_client_says_who_it_is_and_accepts_no_coding(host, fetch):
    """Bodies are asked for as they are; the first request names no range."""
    url = host.offer(BODY)
    fetch(url)
    headers = host.asked(url)[0].headers

    assert ("callboard-test", "identity") == (headers["user-agent"], headers["accept-encoding"])
    assert not {"range", "if-range", "cookie", "authorization"} & headers.keys()


@pytest.mark.parametrize("script", [chunked, unmarked], ids=["chunks", "end of the line"])
def test_a_body_without_a_length_is_whole_at_its_end(host, fetch, script):
    """Chunks have an end of their own; where only the line ends, the file is read twice and has to be the same."""
    url = host.offer(BODY, script, etag=None)

    assert SHA == fetch(url).sha256
    assert (1 if script is chunked else 2) == len(host.asked(url))


def test_an_end_of_the_line_is_proved_by_a_range_where_the_host_knows_them(host, fetch):
    """With a strong tag the host is asked for more, and its 416 says that there is none."""
    url = host.offer(BODY, once(unmarked))

    assert SHA == fetch(url).sha256
    assert [None, len(BODY)] == [asked.first for asked in host.asked(url)]


def test_a_cut_end_of_the_line_is_no_end(host, fetch):
    """Two readings of different lengths prove nothing; the two longest agree."""
    url = host.offer(BODY, unmarked, etag=None, cuts=[100_000], end=End.FIN)

    assert SHA == fetch(url).sha256
    assert 3 == len(host.asked(url))


@pytest.mark.parametrize("end", End)
def test_a_cut_line_is_resumed_where_it_broke(host, fetch, end):
    """With a strong tag no byte is asked for twice, and If-Range names the version."""
    cuts = sorted(random.Random(6).sample(range(1, len(BODY)), 20))
    url = host.offer(BODY, cuts=cuts, end=end)

    assert SHA == fetch(url).sha256
    assert [None, *cuts] == [asked.first for asked in host.asked(url)]
    assert [None, *['"v1"'] * 20] == [asked.headers.get("if-range") for asked in host.asked(url)]
    assert len(BODY) == host.content_sent(url)


@pytest.mark.parametrize("etag", [None, 'W/"v1"', "v1"])
def test_without_a_strong_tag_a_cut_file_is_fetched_from_its_start(host, fetch, etag):
    """A weak tag, a bare one or a date cannot promise that the rest belongs to what is there."""
    dated = "Last-Modified: Sat, 21 Nov 2026 15:00:00 GMT"

    def script(page, asked):
        yield page.head(f"Content-Length: {page.size}", dated, "Accept-Ranges: bytes")
        yield from page.body()

    url = host.offer(BODY, script, etag=etag, cuts=[200_000])

    assert SHA == fetch(url).sha256
    assert [None, None] == [asked.first for asked in host.asked(url)]


def test_a_cut_body_in_chunks_is_resumed(host, fetch):
    """The total is learned with the rest."""

    def half(page, asked):
        yield page.head("Transfer-Encoding: chunked")
        yield b"%x\r\n" % 100_000
        yield memoryview(page.content)[:100_000]
        yield End.FIN

    url = host.offer(BODY, once(half))

    assert SHA == fetch(url).sha256
    assert [None, 100_000] == [asked.first for asked in host.asked(url)]


def test_chunks_that_never_end_are_complete_where_the_host_has_no_more(host, fetch):
    """All bytes came but not the end: 416 with our very length is the end."""
    url = host.offer(BODY, once(chunked_without_an_end))

    assert SHA == fetch(url).sha256


def test_the_text_of_a_416_is_not_taken_for_the_file(host, fetch):
    """An error's body is not appended."""

    def no_more(page, asked):
        yield head("416 No", f"Content-Range: bytes */{page.size}", "Content-Length: 4")
        yield b"oops"

    assert SHA == fetch(host.offer(BODY, once(chunked_without_an_end, no_more))).sha256


def test_a_file_that_changed_is_fetched_anew(host, fetch):
    """The new version has the same length: only If-Range and the tag keep the two apart."""

    def cut(page, asked):
        yield from list(honest(page, asked))[:1]
        yield memoryview(page.content)[:100_000]
        page.content, page.etag = OTHER, '"v2"'

    url = host.offer(BODY, once(cut))

    assert hashlib.sha256(OTHER).hexdigest() == fetch(url).sha256
    assert OTHER == fetch.part.read_bytes()


def test_a_short_part_is_followed_by_the_next(host, fetch):
    """A host may give less than was asked for, as long as it says so."""

    def little(page, asked):
        stop = min(page.size, (asked.first or 0) + 70_000)
        if asked.first is None:
            yield page.head(f"Content-Length: {page.size}")
        else:
            span = f"Content-Range: bytes {asked.first}-{stop - 1}/{page.size}"
            yield page.head(span, f"Content-Length: {stop - asked.first}", status="206 Partial Content")
        yield memoryview(page.content)[asked.first or 0 : stop]

    url = host.offer(BODY, little)

    assert SHA == fetch(url).sha256
    assert [None, 70_000, 140_000, 210_000, 280_000] == [asked.first for asked in host.asked(url)]


def test_a_part_longer_than_its_place_is_not_kept(host, fetch):
    """More bytes than a 206 has announced: the file is fetched from its start, without a range."""

    def too_much(page, asked):
        if asked.first is None:
            yield from honest(page, asked)
            return
        span = f"Content-Range: bytes {asked.first}-{page.size - 1}/{page.size}"
        yield page.head(span, "Transfer-Encoding: chunked", status="206 Partial Content")
        piece = page.content[asked.first :] + b"!"
        yield b"%x\r\n" % len(piece) + piece + b"\r\n0\r\n\r\n"

    url = host.offer(BODY, too_much, cuts=[100_000])

    assert SHA == fetch(url).sha256
    assert [None, 100_000, None] == [asked.first for asked in host.asked(url)]


def test_a_line_that_breaks_at_the_same_place_is_given_up_for_now(host, fetch):
    """A few requests in vain are the end of the attempt; the reason says how far it came."""

    def half(page, asked):
        yield page.head(f"Content-Length: {page.size}")
        yield memoryview(page.content)[:100_000]

    url = host.offer(BODY, half, etag=None)
    with pytest.raises(NotFetched, match="failed") as reason:
        fetch(url)

    assert reason.value.away
    assert 1 + download.VAIN == len(host.asked(url))


def test_a_later_attempt_goes_on_where_the_last_one_stopped(host, fetch):
    """What came stays in the part, and the same link is asked for the rest only."""

    def breaks(page, asked):
        if asked.number == 0:
            yield page.head(f"Content-Length: {page.size}")
            yield memoryview(page.content)[:100_000]
        elif asked.number == 1:
            yield head("503 Busy", "Retry-After: 7", "Content-Length: 0")
        else:
            yield from honest(page, asked)

    url = host.offer(BODY, breaks)
    with pytest.raises(NotFetched, match="503 and asks to come back in 7 s") as reason:
        fetch(url)

    assert reason.value.away
    assert 100_000 == fetch.part.stat().st_size
    assert SHA == fetch(url).sha256
    assert [None, 100_000, 100_000] == [asked.first for asked in host.asked(url)]


@pytest.mark.parametrize("status", ["403 No", "404 No", "503 No"])
def test_who_refuses_only_resumes_is_asked_for_the_whole_file(host, fetch, status):
    """What a host says to a Range keeps no file away for good: after two refusals it is asked without one."""

    def script(page, asked):
        return honest(page, asked) if asked.first is None else says(status, "Content-Length: 0")(page, asked)

    url = host.offer(BODY, script, cuts=[100_000])
    if not status.startswith("404"):
        with pytest.raises(NotFetched, match=status[:3]):
            fetch(url)

    assert SHA == fetch(url).sha256
    assert None is host.asked(url)[-1].first


def test_another_link_is_fetched_from_its_start(host, fetch):
    """Two links that give the same tag may still be two files."""
    stops = once(says("200 OK", 'ETag: "v1"', f"Content-Length: {len(OTHER)}", body=OTHER[:9]), says("503 No"))
    with pytest.raises(NotFetched):
        fetch(host.offer(OTHER, stops))
    url = host.offer(BODY)

    assert SHA == fetch(url).sha256
    assert [None] == [asked.first for asked in host.asked(url)]


def test_a_link_tried_in_vain_costs_the_first_one_nothing(host, fetch):
    """Links are alternatives: what came from one is still there when the next has nothing to give."""

    def cut_then_busy(page, asked):
        if asked.number == 1:
            return says("503 Busy")(page, asked)
        return honest(page, asked)

    first = host.offer(BODY, cut_then_busy, cuts=[100_000])
    with pytest.raises(NotFetched, match="503"):
        fetch(first)
    with pytest.raises(NotFetched) as gone:
        fetch(host.offer(OTHER, says("404 Gone")))

    assert gone.value.gone
    assert SHA == fetch(first).sha256
    assert [None, 100_000, 100_000] == [asked.first for asked in host.asked(first)]


def test_a_redirect_that_leads_elsewhere_now_is_not_resumed(host, fetch):
    """What came from one place is not joined with what comes from another, though the first link is the same."""
    first = host.offer(OTHER, cuts=[100_000])
    second = host.offer(BODY)

    def leads(page, asked):
        yield head("302 Found", f"Location: {first if asked.number == 0 else second}", "Content-Length: 0")

    assert SHA == fetch(host.offer(b"", leads)).sha256
    assert [None] == [asked.first for asked in host.asked(second)]


def test_up_to_three_redirects_are_followed_and_resumed(host, fetch):
    """The link that was asked for is the one that is told."""
    last = host.offer(BODY, cuts=[100_000])
    link = last
    for status in ("301 Moved", "307 Temporary", "308 Permanent"):
        link = host.offer(b"", says(status, f"Location: {link.removeprefix(host.origin)}#there"))
    found = fetch(link)

    assert (SHA, link) == (found.sha256, found.url)
    assert [None, 100_000] == [asked.first for asked in host.asked(last)]
    one_more = host.offer(b"", says("302 Found", f"Location: {link}"))
    with pytest.raises(NotFetched, match="more than 3 redirects"):
        fetch(one_more)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/latest", "not https"),
        ("http://127.0.0.1:1/x", "not https"),
        ("https://127.0.0.1/x", "public"),
        ("https://[::1", "usable URL|RemoteProtocolError"),
        ("file:///etc/passwd", "usable URL"),
        ("gopher://x/", "not https"),
        ("https://user:word@example.com/", "password"),
    ],
)
def test_a_redirect_is_judged_like_the_first_link(host, fetch, target, reason):
    """Where the kit does not go by a link it does not go by a redirect."""
    with pytest.raises(NotFetched, match=reason):
        fetch(host.offer(b"", says("302 Found", f"Location: {target}")))
    with pytest.raises(NotFetched, match=reason):
        fetch(target)


def test_a_redirect_from_https_to_http_is_not_followed():
    """Also not to an origin that is listed: what was safe on its way stays so."""
    moved = httpx.Response(302, headers={"location": "http://127.0.0.1:1/x"})
    with pytest.raises(NotFetched, match="from https to http"):
        download._next(httpx.URL("https://media.example/x"), moved)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (says("200 OK", "Content-Length: 0"), "empty"),
        (says("200 OK", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "empty"),
        (says("200 OK"), "empty"),
        (says("206 Partial Content", "Content-Range: bytes 0-8/9", "Content-Length: 9", body=b"x" * 9), "206"),
        (says("200 OK", "Content-Encoding: gzip", "Content-Length: 5", body=b"\x1f\x8bxxx"), "compressed"),
        (says("200 OK", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"), "two ends"),
        (says("200 OK", "Content-Type: text/html", "Content-Length: 6", body=b"<html>"), "page"),
        (says("200 OK", "Content-Type: application/json", "Content-Length: 2", body=b"{}"), "page"),
        (says("200 OK", f"Content-Length: {2**40}"), "larger"),
    ],
)
def test_what_is_not_the_whole_file_is_refused_at_once(host, fetch, script, reason):
    """One request is enough to know, and asking again soon is of no use."""
    url = host.offer(b"", script)
    with pytest.raises(NotFetched, match=reason) as refused:
        fetch(url)

    assert not (refused.value.gone or refused.value.refused or refused.value.away)
    assert 1 == len(host.asked(url))


def test_a_body_without_end_stops_at_the_cap_of_its_kind(host, fetch, monkeypatch):
    """No length is announced and nothing ever ends: what is read is bounded."""
    monkeypatch.setitem(answer.CAPS, "image", 100_000)

    def endless(page, asked):
        yield page.head("Transfer-Encoding: chunked")
        while True:
            yield b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

    small = Fetch(host, fetch.part.parent, role="image")
    with pytest.raises(NotFetched, match="larger"):
        small(host.offer(b"", endless))

    assert [] == [received for received, _ in small.told if received > 100_000]
    assert not small.part.exists()


def test_a_host_that_is_not_there_is_away(fetch):
    """Nobody could be asked, so the next source may be."""
    dead = Fetch(None, fetch.part.parent, listed=("http://127.0.0.1:9",))
    with pytest.raises(NotFetched, match="ConnectError") as reason:
        dead("http://127.0.0.1:9/x")

    assert reason.value.away


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\xff\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]
)
def test_an_answer_that_is_no_http_is_a_broken_line(host, fetch, raw):
    """It is tried again, and given up for now."""
    with pytest.raises(NotFetched, match="RemoteProtocolError") as reason:
        fetch(host.offer(b"", lambda page, asked: [raw] if raw else [End.FIN]))

    assert reason.value.away


def test_a_stop_ends_it_soon_and_keeps_what_came(host, fetch):
    """The service ends while a line is quiet: the fetch is over within a second."""

    def quiet(page, asked):
        yield page.head(f"Content-Length: {page.size}")
        yield memoryview(page.content)[:100_000]
        while fetch.part.stat().st_size < 100_000:
            yield Wait(0.01)
        fetch.stop.set()
        yield Wait(30)

    began = time.monotonic()
    with pytest.raises(NotFetched, match="stopped") as reason:
        fetch(host.offer(BODY, quiet))

    assert reason.value.away
    assert 5 > time.monotonic() - began
    assert 100_000 == fetch.part.stat().st_size


def test_a_line_that_drips_is_cut_and_resumed(host, fetch, monkeypatch):
    """Below the least rate it is asked for again, from where it was."""
    monkeypatch.setattr(limits, "FLOOR_S", 0.1)
    monkeypatch.setattr(limits, "FLOOR", 10**5)

    def drips(page, asked):
        yield page.head(f"Content-Length: {page.size}")
        for byte in range(2000):
            yield memoryview(page.content)[byte : byte + 1]
            yield Wait(0.01)

    url = host.offer(BODY, once(drips))

    assert SHA == fetch(url).sha256
    assert 2 == len(host.asked(url))
    assert 2000 > host.asked(url)[1].first > 0


def test_a_host_that_only_drips_is_given_up_for_now(host, fetch, monkeypatch):
    """Each line brings new bytes, but never enough of them."""
    monkeypatch.setattr(limits, "FLOOR_S", 0.02)
    monkeypatch.setattr(limits, "FLOOR", 10**6)

    def drips(page, asked):
        yield from list(honest(page, asked))[:1]
        for byte in range(asked.first or 0, 2000):
            yield memoryview(page.content)[byte : byte + 1]
            yield Wait(0.01)

    with pytest.raises(NotFetched, match="slower") as reason:
        fetch(host.offer(BODY, drips))

    assert reason.value.away


def test_a_head_that_drips_in_is_given_up(host, fetch, monkeypatch):
    """Every byte would keep a read timeout happy for ever; the head as a whole has its time."""
    monkeypatch.setattr(download, "ANSWER_S", 0.1)
    monkeypatch.setattr(download, "VAIN", 1)

    def drips(page, asked):
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-Drip: 1\r\n"
            yield Wait(0.02)

    with pytest.raises(NotFetched, match="failed") as reason:
        fetch(host.offer(BODY, drips))

    assert reason.value.away


def test_a_fetch_has_an_end_however_it_goes(host, fetch, monkeypatch):
    """The overall time is over in the middle of a body that comes fast enough: it is another attempt's to go on."""
    monkeypatch.setattr(limits, "OVERALL_S", 0.2)
    monkeypatch.setattr(limits, "OVERALL_RATE", 10**9)

    def long(page, asked):
        yield page.head(f"Content-Length: {page.size}")
        for start in range(0, page.size, 1000):
            yield memoryview(page.content)[start : start + 1000]
            yield Wait(0.01)

    with pytest.raises(NotFetched, match="not complete after") as reason:
        fetch(host.offer(BODY, long))

    assert reason.value.away
    assert [] == [received for received, total in fetch.told if received == total]


def test_room_is_asked_for_before_the_body_and_every_8_mib(host, tmp_path):
    """The first question is for the whole file, the next ones for what is still to come."""
    body = bytes(20 * 2**20)
    fetch = Fetch(host, tmp_path)
    fetch(host.offer(body))
    asked_at = [len(body) - needed for needed in fetch.rooms]

    assert 0 == asked_at[0]
    assert all(0 < later - earlier <= 8 * 2**20 for earlier, later in pairwise(asked_at))
    assert len(body) - 8 * 2**20 <= asked_at[-1]


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_no_room_keeps_the_part_only_where_it_can_be_resumed(host, tmp_path, etag):
    """Bytes that nobody can go on from take room from others: they are removed, and needed once more."""
    questions = []

    def room(needed):
        questions.append(needed)
        if len(questions) == 2:
            raise NoRoom(needed)

    body = bytes(9 * 2**20)
    fetch = Fetch(host, tmp_path, room=room)
    url = host.offer(body, etag=etag)
    with pytest.raises(NoRoom) as reason:
        fetch(url)

    assert (etag is not None) == fetch.part.exists()
    assert (len(body) if etag is None else questions[1]) == reason.value.needed
    assert 0 < questions[1] < len(body)
    assert hashlib.sha256(body).hexdigest() == fetch(url).sha256
    assert (etag is not None) == (host.asked(url)[1].first is not None)


def test_a_part_replaced_by_a_link_is_not_written_through(host, fetch, tmp_path):
    """Somebody swaps the part while it is written: the link's target stays, and the file is not told as whole."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")

    def swaps(page, asked):
        yield page.head(f"Content-Length: {page.size}")
        yield memoryview(page.content)[:100_000]
        while not fetch.told:
            yield Wait(0.01)
        fetch.part.unlink()
        fetch.part.symlink_to(victim)
        yield memoryview(page.content)[100_000:]

    url = host.offer(BODY, once(swaps))
    with pytest.raises(NotFetched, match="taken away"):
        fetch(url)

    assert b"precious" == victim.read_bytes()
    assert SHA == fetch(url).sha256
    assert b"precious" == victim.read_bytes()


def test_a_folder_at_the_parts_name_is_a_reason_like_any_other(host, fetch):
    """It is not removed, and nothing crashes."""
    fetch.part.mkdir()
    with pytest.raises(NotFetched, match="could not be written"):
        fetch(host.offer(BODY))

    assert fetch.part.is_dir()


def test_a_discarded_part_is_gone_and_the_next_fetch_begins_anew(host, fetch):
    """Nothing of it is left on the disk."""
    url = host.offer(BODY)
    fetch(url)
    fetch.download.discard()

    assert not fetch.part.exists()
    assert SHA == fetch(url).sha256
    assert [None, None] == [asked.first for asked in host.asked(url)]


VERSIONS = [random.Random(seed).randbytes(length) for seed, length in [(1, 3000), (2, 3000), (3, 2999)]]
TAGS = ['"{}"', '"{}"', '"{}"', 'W/"w"', None]  # a strong one is never two versions': that lie nobody can see through

MOVE = {
    "version": st.sampled_from([0, 0, 1, 1, 2]),
    "tag": st.sampled_from(TAGS),
    "hears": st.sampled_from(["range", "range", "range and if-range", "nothing"]),
    "tells": st.sampled_from(["tag", "no tag on a part"]),
    "frames": st.sampled_from(["length", "length", "chunks", "line"]),
    "shift": st.sampled_from([0, 0, 0, 0, 1, -1, -500]),
    "total": st.sampled_from(["true", "true", "true", "*", "more"]),
    "serves": st.sampled_from([3000, 3000, 1]),
    "cut": st.sampled_from([None, 0, 1, 700, 700, 1500, 2998, 2999]),
    "status": st.sampled_from([None] * 10 + [404, 500, 503]),
}


class Fickle:
    """A host that takes a move from its list for each request: it changes the file, cuts the line, errs and lies.

    It keeps to what no client can do without: a strong tag belongs to one version, a chunk's end is the file's end,
    and the end of a line that is not the file's comes at another place each time.
    """

    def __init__(self, moves):
        self.moves, self.ends = iter(moves), set()
        self.good = dict.fromkeys(MOVE, None) | {"version": 0, "tag": '"{}"', "hears": "range and if-range", "shift": 0}
        self.good |= {"tells": "tag", "frames": "length", "total": "true", "serves": 3000}

    def __call__(self, request):
        """Answer one request as its move says; when the list is over, as a good host."""
        move = next(self.moves, self.good)
        content, tag = VERSIONS[move["version"]], move["tag"] and move["tag"].format(move["version"])
        headers = {"ETag": tag} if tag else {}
        hears = move["hears"] == "range" or (move["hears"] != "nothing" and request.headers.get("if-range") == tag)
        if move["status"]:
            return httpx.Response(move["status"], headers=headers)
        if "range" not in request.headers or not hears:
            return self._body(move, 200, headers, content)
        first = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        if first >= len(content):
            return httpx.Response(416, headers={"Content-Range": f"bytes */{len(content)}", "ETag": tag or "-"})
        start = max(0, min(first + move["shift"], len(content) - 1))
        stop = min(len(content), start + move["serves"])
        total = {"true": len(content), "*": "*", "more": len(content) + 1}[move["total"]]
        headers = (headers if move["tells"] == "tag" else {}) | {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
        return self._body(move, 206, headers, content[start:stop])

    def _body(self, move, status, headers, content):
        cut = move["cut"] if move["cut"] is not None and move["cut"] < len(content) else None
        frames = {
            "length": {"Content-Length": str(len(content))},
            "chunks": {"Transfer-Encoding": "chunked"},
            "line": {},
        }
        quiet = move["frames"] == "line" and cut is not None
        while quiet and cut and (move["version"], cut) in self.ends:
            cut -= 1
        self.ends.add((move["version"], cut))
        wire = Wire(content[:cut], broken=cut is not None and not quiet)
        return httpx.Response(status, headers=headers | frames[move["frames"]], stream=wire)


class Wire(httpx.SyncByteStream):
    """A body as it comes off a line, which may break after it."""

    def __init__(self, content, *, broken):
        self.content, self.broken = content, broken

    def __iter__(self):
        yield self.content
        if self.broken:
            raise httpx.RemoteProtocolError("the line broke")


@given(st.lists(st.fixed_dictionaries(MOVE), min_size=2, max_size=6))
@settings(max_examples=150)
def test_two_versions_are_never_spliced(moves):
    """Whatever a host changes, cuts, ignores or gets wrong: the end is one of its versions, whole, or a reason."""
    host = httpx.MockTransport(Fickle(moves))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(download, "media_client", lambda listed, **_: httpx.Client(transport=host, trust_env=False))
        fetch = Fetch(None, folder, listed=())
        for _ in range(2):
            with contextlib.suppress(NotFetched):
                found = fetch("https://media.example/take.mp3")
                content = fetch.part.read_bytes()
                assert content in VERSIONS
                assert (len(content), hashlib.sha256(content).hexdigest()) == (found.bytes, found.sha256)


@given(st.text(max_size=60) | st.text(max_size=60).map("https://{}".format))
@settings(max_examples=20)
def test_no_text_is_more_than_a_link_that_is_not_fetched(host_text):
    """Whatever stands where a link should be is a reason, never a crash, and never a look-up of a listed name."""
    with tempfile.TemporaryDirectory() as folder, pytest.raises(NotFetched):
        Fetch(None, folder, listed=())(host_text.replace("https", "http"))

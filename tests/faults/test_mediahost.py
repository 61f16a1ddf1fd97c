"""The host that misbehaves is known to do so: what it puts on the wire is looked at byte by byte."""

from __future__ import annotations

import random
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.faults.lies import RESUMED, WHOLE, other
from tests.faults.mediahost import End, MediaHost, paced

CONTENT = random.Random(1).randbytes(30_000)


@pytest.fixture
def host():
    """A host of this test's own."""
    with MediaHost() as running:
        yield running


def said(url, *fields, most=10**6):
    """Send a plain request; return the head, the body, and whether the line ended in order."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as line:
        line.sendall("\r\n".join([f"GET {parts.path} HTTP/1.1", "Host: h", *fields, "", ""]).encode())
        got, in_order = b"", True
        try:
            while len(got) < most and (more := line.recv(65536)):
                got += more
        except ConnectionResetError:
            in_order = False
    head, _, body = got.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body, in_order


def test_a_file_comes_whole_and_from_any_offset(host):
    """A good page answers 200 with all of it, 206 with the rest where the tag is right, and 416 behind its end."""
    url = host.offer(CONTENT)

    head, body, _ = said(url)
    assert ("HTTP/1.1 200 OK", CONTENT) == (head[0], body)
    head, body, _ = said(url, "Range: bytes=29000-", 'If-Range: "v1"')
    assert (CONTENT[29000:], True) == (body, "Content-Range: bytes 29000-29999/30000" in head)
    assert CONTENT[5:10] == said(url, "Range: bytes=5-9")[1]
    assert CONTENT == said(url, "Range: bytes=29000-", 'If-Range: "v2"')[1]
    assert "HTTP/1.1 416 Range Not Satisfiable" == said(url, "Range: bytes=30000-")[0][0]
    assert [None, 29000, 5, 29000, 30000] == [asked.first for asked in host.asked(url)]
    assert 2 * len(CONTENT) + 1000 + 5 == host.content_sent(url)


def test_a_line_ends_at_its_offset_once_by_turns_with_a_reset(host):
    """Whoever comes back after a cut gets on; exactly what stands before a cut has arrived, also before a reset."""
    url = host.offer(CONTENT, cuts=[20_000, 10_000])

    ends = [said(url, f"Range: bytes={at}-") for at in (0, 10_000, 20_000)]
    assert CONTENT == b"".join(body for _, body, _ in ends)
    assert [10_000, 10_000, 10_000] == [len(body) for _, body, _ in ends]
    assert [False, True, True] == [in_order for _, _, in_order in ends]


def test_each_lie_is_another_one_and_is_told_on_the_wire(host):
    """No two misbehaviours put the same bytes on the wire, and none of those that resume is what a good host says."""
    good = said(host.offer(CONTENT), "Range: bytes=10000-", most=40_000)
    told = [said(host.offer(CONTENT, lie), "Range: bytes=10000-", most=40_000) for lie in RESUMED.values()]
    whole = [said(host.offer(CONTENT, lie), most=40_000) for name, lie in WHOLE.items() if name != "a drip"]

    assert 27 == len(RESUMED)
    assert len(RESUMED) == len({str(answer) for answer in [good, *told]}) - 1
    assert len(WHOLE) - 1 == len({str(answer) for answer in whole})


def test_another_version_shares_no_byte():
    """A splice of two versions can be no version by chance."""
    assert not [a for a, b in zip(CONTENT, other(CONTENT), strict=True) if a == b]


def test_a_paced_page_takes_its_time_and_no_thread_outlives_the_host():
    """A slow page is slow, and a host that closes in the middle of it is gone at once with all its threads."""
    before = threading.active_count()
    with MediaHost() as host:
        url = host.offer(CONTENT, paced(100_000), end=End.RST, cuts=[15_000])
        began = time.monotonic()
        _, body, in_order = said(url)
        took = time.monotonic() - began
        slow = threading.Thread(target=said, args=(host.offer(CONTENT, paced(1000)),))
        slow.start()
        while not host.asked(host.origin + "/file-1"):
            time.sleep(0.01)
        closing = time.monotonic()
    slow.join(10)

    assert (15_000, False, True) == (len(body), in_order, took >= 0.14)
    assert time.monotonic() - closing < 5
    assert before == threading.active_count()

"""Serving saved files to the browser: ranges, caps and tokens, over the service's real loopback port."""

from __future__ import annotations

import httpx
import pytest

import kit
from kit.service.media import PIECE, _span


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 100, 200)),
        ("bytes=0-", (0, 100, 206)),
        ("bytes=10-19", (10, 20, 206)),
        ("bytes=-30", (70, 100, 206)),
        ("bytes=-300", (0, 100, 206)),
        ("bytes=90-300", (90, 100, 206)),
        ("bytes=100-", (0, 0, 416)),
        ("bytes=-0", (0, 0, 416)),
        ("bytes=20-10", (0, 0, 416)),
        ("bytes=-", (0, 100, 200)),
        ("bytes=0-1,5-6", (0, 100, 200)),
        ("bytes=" + "9" * 30 + "-", (0, 100, 200)),
        ("lines=1-2", (0, 100, 200)),
    ],
)
def test_a_range_is_read_as_the_standard_says(header, expected):
    """One simple range is served, an impossible one is 416, anything else is answered in full."""
    assert expected == _span(header, 100)


def test_a_partial_answer_is_capped():
    """An open range of a large file gives at most eight MiB at a time."""
    assert (5, 5 + PIECE, 206) == _span("bytes=5-", 10 * PIECE)


def test_saved_files_are_served_and_nothing_else_is():
    """The right token gives the file in full, in part and as a download; any other address gives nothing."""
    session = kit.connect(speed=500)
    try:
        song = session.generate_music(style="piano", title="Window Seat", instrumental=True).wait(timeout=60)
        file = song.files[0]
        url = session._control.media_url(song.id, file.role, file.index)
        with httpx.Client(trust_env=False) as http:
            whole = http.get(url)
            part = http.get(url, headers={"Range": "bytes=100-199"})
            head = http.head(url)
            saved = http.get(url, params={"download": "1"})
            strange = [
                http.get(url.replace("/media/", "/media/x")).status_code,
                http.get(f"{url}9").status_code,
                http.get(url, headers={"Host": "evil.example"}).status_code,
                http.get(url.replace("audio", "..%2F..%2Fledger.sqlite")).status_code,
                http.get(url.split("/media/")[0] + "/hello").status_code,
            ]
        body = file.path.read_bytes()
        assert (200, body, file.media_type) == (whole.status_code, whole.content, whole.headers["content-type"])
        assert (206, body[100:200]) == (part.status_code, part.content)
        assert f"bytes 100-199/{len(body)}" == part.headers["content-range"]
        assert (200, b"", str(len(body))) == (head.status_code, head.content, head.headers["content-length"])
        assert saved.headers["content-disposition"].startswith("attachment")
        assert [404, 404, 403, 404, 403] == strange
    finally:
        session.shutdown()

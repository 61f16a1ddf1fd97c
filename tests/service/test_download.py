"""Fetching one URL: what is whole is returned with its hash, everything else is refused with a reason."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from kit.service import download
from kit.service.download import NotFetched, Rules, fetch

URL = "https://media.example/take.mp3"
BODY = bytes(range(256)) * 2000


def get(handler, tmp_path, *, url=URL, role="audio", allowed=lambda url: url.startswith("https://")):
    """Fetch through a transport that answers with `handler`; return the result and the part file."""
    part = tmp_path / "x.part"
    seen = []

    async def run():
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
            rules = Rules(role, allowed, "callboard-test")
            return await fetch(http, url, part, rules, lambda got, of: seen.append((got, of)))

    return asyncio.run(run()), part, seen


async def stream(body):
    """Yield a body in two pieces, as it comes off a wire."""
    yield body[: len(body) // 2]
    yield body[len(body) // 2 :]


def answers(status=200, content=BODY, headers=None):
    """Return a handler that always gives this answer."""
    told = {"content-length": str(len(content))} | (headers or {})
    return lambda request: httpx.Response(status, content=stream(content), headers=told)


def test_a_whole_body_is_returned_with_its_size_and_hash(tmp_path):
    """The part file holds exactly the body, and progress ends at its length."""
    fetched, part, seen = get(answers(), tmp_path)

    assert (len(BODY), hashlib.sha256(BODY).hexdigest()) == (fetched.bytes, fetched.sha256)
    assert BODY == part.read_bytes()
    assert (len(BODY), len(BODY)) == seen[-1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answers(403), "403"),
        (answers(500), "500"),
        (answers(206), "206"),
        (answers(content=b""), "empty"),
        (answers(headers={"content-length": str(len(BODY) + 1)}), "cut off"),
        (answers(headers={"content-length": str(2**40)}), "larger"),
        (answers(headers={"content-encoding": "br"}), "compressed"),
        (answers(302, headers={"location": "http://127.0.0.1/x"}), "neither https"),
        (answers(302, headers={"location": URL}), "redirects"),
    ],
)
def test_what_is_not_the_whole_file_is_refused(tmp_path, answer, reason):
    """Statuses, lengths, codings and redirects that cannot be trusted each have a sentence."""
    with pytest.raises(NotFetched, match=reason) as refused:
        get(answer, tmp_path)
    assert not refused.value.gone


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_no_longer_exists_is_gone(tmp_path, status):
    """404 and 410 say that asking again is of no use."""
    with pytest.raises(NotFetched) as refused:
        get(answers(status), tmp_path)
    assert refused.value.gone


def test_a_redirect_to_an_allowed_place_is_followed(tmp_path):
    """Up to three redirects are followed, each checked like the first link."""

    def handler(request):
        if request.url.path == "/take.mp3":
            return httpx.Response(302, headers={"location": "/real.mp3"})
        return httpx.Response(200, content=stream(BODY))

    fetched, _, _ = get(handler, tmp_path)
    assert len(BODY) == fetched.bytes


def test_more_bytes_than_the_kind_allows_stop_the_download(tmp_path, monkeypatch):
    """A body without end is cut at the cap of its kind, also where no length was announced."""
    monkeypatch.setitem(download.CAPS, "audio", 1000)

    async def endless():
        while True:
            yield b"x" * 600

    with pytest.raises(NotFetched, match="larger"):
        get(lambda request: httpx.Response(200, content=endless()), tmp_path)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://media.example/x", "ftp://x/y", "https://", "https://[::1"]
)
def test_an_address_that_is_no_allowed_link_is_never_asked(tmp_path, url):
    """The rule of the provider is asked first, and what is no URL at all is a reason like any other."""

    def handler(request):
        raise AssertionError("it was asked")

    with pytest.raises(NotFetched):
        get(handler, tmp_path, url=url, allowed=lambda url: url.startswith("https://["))


def test_the_client_says_who_it_is_and_accepts_no_coding(tmp_path):
    """Bodies are asked for as they are: a coded one would hide its length and could be a bomb."""
    asked = []

    def handler(request):
        asked.append((request.headers["accept-encoding"], request.headers["user-agent"]))
        return httpx.Response(200, content=stream(BODY))

    get(handler, tmp_path)
    assert [("identity", "callboard-test")] == asked

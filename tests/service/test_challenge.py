"""The proof that a URL leads here: only a challenge that came in counts, and all else is told in a sentence."""

from __future__ import annotations

import asyncio
import socket

from kit.service.challenge import Challenger
from kit.service.ways import Reach
from tests.service.listening import Listener, answering, kept, refusal

EITHER = 'tunnel="none"'


def test_a_foreign_server_is_no_proof(tmp_path):
    """Something else that answers 200 on the URL is refused, and what it said is quoted, clean and short."""

    async def foreign(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = b"<html><script>alert(1)</script><h1>JupyterLab\x1b[31m</h1> token=hunter2" + b"x" * 9000
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def run():
        async with answering(foreign) as port, kept(tmp_path) as (ways, _):
            return await refusal(ways, await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{port}")))

    message = asyncio.run(run())

    assert "something else answered with status 200" in message
    assert '"JupyterLab' in message
    assert "alert" not in message
    assert "\x1b" not in message
    assert "on this machine." in message
    assert len(message) < 700
    assert EITHER in message


def test_a_challenge_whose_answer_is_not_200_is_no_proof(tmp_path):
    """The provider would not be content with another status either, though the challenge came in."""

    async def run():
        async with kept(tmp_path) as (ways, listener):
            listener.answer = 502
            return await refusal(ways, await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{listener.port}")))

    assert "came in here, but its answer came back as status 502" in asyncio.run(run())


def test_nobody_there_and_no_such_name_and_no_trust_are_told_apart(tmp_path, monkeypatch):
    """A refused connection, a name that DNS does not know, and a certificate nobody vouches for: a sentence each."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    async def unknown(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    async def plain(_, writer):
        writer.write(b"HTTP/1.1 400 plain HTTP\r\n\r\n")

    async def run():
        async with answering(plain) as untrusted, kept(tmp_path, pauses_s=(60,)) as (ways, _):
            nobody = await refusal(ways, await ways.open(Reach(driver="url", url=f"http://127.0.0.1:{port}")))
            tls = await refusal(ways, await ways.open(Reach(driver="url", url=f"https://127.0.0.1:{untrusted}")))
            monkeypatch.setattr("anyio.connect_tcp", unknown)
            name = await refusal(ways, await ways.open(Reach(driver="url", url="https://window-seat.invalid")))
            return nobody, tls, name

    nobody, tls, name = asyncio.run(run())

    assert f"No answer came from http://127.0.0.1:{port}" in nobody
    assert "could not be trusted (TLS:" in tls
    assert "The name window-seat.invalid was not found (DNS)" in name


def test_what_answers_slowly_or_nonsense_is_told(tmp_path):
    """An answer that dribbles, breaks off, or is no HTTP ends in a sentence within its limit."""

    async def says(reader, writer, what):
        await reader.readuntil(b"\r\n\r\n")
        for byte in what:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async def run(what: bytes) -> str:
        async with answering(lambda r, w: says(r, w, what)) as port:
            found = await Challenger(Listener().expecting).cross(f"http://127.0.0.1:{port}", within_s=0.5)
            assert found is not None
            return found.sentence

    assert "answers none" in asyncio.run(run(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 99))
    assert "does not speak HTTP" in asyncio.run(run(b"SSH-2.0-x\r\n"))
    assert "broke off" in asyncio.run(run(b"HTTP"))


def test_a_secret_that_was_echoed_is_not_shown(tmp_path):
    """A page that repeats the address it was asked for does not put the challenge into a sentence."""

    async def echo(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"you asked for " + head.split()[1]
        writer.write(b"HTTP/1.1 404 -\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def run():
        async with answering(echo) as port:
            found = await Challenger(Listener().expecting).cross(f"http://127.0.0.1:{port}", within_s=2)
            return found.sentence

    assert '"you asked for /cb/…"' in asyncio.run(run())

"""Owns how a finished file, or a spoiled one, leaves over HTTP; it must not know jobs beyond their plan."""

from __future__ import annotations

import asyncio
import os
import re
import struct
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

__all__ = ["HangUp", "Truncated", "gone", "serve"]

SLOW_BYTES_S = 32_000
LARGE_BYTES = 10**9
_SPAN = re.compile(r"(\d{1,18})-(\d{0,18})|-\d{1,18}", re.ASCII)
_ERROR_PAGE = "<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1><p>The origin did not answer.</p>"


class HangUp(Response):
    """No answer at all: the connection ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Cut the connection that the request came on."""
        scope["state"]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            continue


class Truncated(Response):
    """A file that announces its whole length and ends in the middle."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of the body, then cut the connection."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[: len(self.body) // 2], "more_body": True})
        scope["state"]["transport"].close()  # flushes what was written, where abort() would drop it
        while (await receive())["type"] != "http.disconnect":
            continue


class _File(FileResponse):
    """A file with Range support that ignores a Range which is no valid one, as RFC 9110 (14.2) has it."""

    chunk_size = 1024 * 1024  # each is read in another thread: with 64 KiB a large file waits mostly for those

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the part of it that is asked for."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range" or _is_range(value)]
        await super().__call__({**scope, "headers": headers}, receive, send)


def gone() -> Response:
    """Return what a link past its retention, or one that never was, answers."""
    return PlainTextResponse("Not Found", status_code=404)


def serve(path: Path, media_type: str, *, spoilt: str | None) -> Response:
    """Return the file at `path` with Range support, or what `spoilt` names (kit.sandbox.faults.WORDS["media"])."""
    if spoilt == "expired":
        return gone()
    if spoilt == "forbidden":
        return PlainTextResponse("error code: 1010", status_code=403)
    if spoilt == "html":
        return HTMLResponse(_ERROR_PAGE)
    if spoilt == "truncated":
        return Truncated(path.read_bytes(), media_type=media_type)
    if spoilt == "large" and media_type == "video/mp4":
        return _File(_padded(path), media_type=media_type)
    if spoilt == "slow":
        length = {"Content-Length": str(path.stat().st_size)}
        return StreamingResponse(_drip(path.read_bytes()), media_type=media_type, headers=length)
    return _File(path, media_type=media_type)


def _padded(path: Path) -> Path:
    """Return an MP4 with a box of nothing behind it, which every reader skips; on most disks it takes no room."""
    large = path.with_name(f".{path.name}.large")
    if not large.exists():
        content, part = path.read_bytes(), path.with_name(f".{path.name}.large.part")
        part.write_bytes(content + struct.pack(">I4s", LARGE_BYTES - len(content), b"free"))
        os.truncate(part, LARGE_BYTES)
        part.replace(large)
    return large


def _is_range(value: bytes) -> bool:
    unit, _, listed = value.decode("latin-1").partition("=")
    spans = [_SPAN.fullmatch(span.strip()) for span in listed.split(",")]
    forward = [span is not None and not (span[1] and span[2] and int(span[2]) < int(span[1])) for span in spans]
    return unit.strip().lower() == "bytes" and all(forward)


async def _drip(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), SLOW_BYTES_S // 10):
        yield content[start : start + SLOW_BYTES_S // 10]
        await asyncio.sleep(0.1)

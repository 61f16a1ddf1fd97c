"""Owns serving saved files to the browser, with Range; it serves what the ledger calls saved and nothing else."""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from kit.ledger.fold import FileState
from kit.service.hub import Hub

__all__ = ["MediaServer"]

PIECE = 8 * 2**20  # a 206 covers at most this much: proxies in between cap bodies, and players ask for the rest
CHUNK = 256 * 1024
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


class MediaServer:
    """Answers GET and HEAD for /media/<token>/<task>/<role>/<index>; the path on disk comes from the ledger."""

    def __init__(self, hub: Hub, area: Path, token: str) -> None:
        self._hub, self._area, self._token = hub, area, token

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        file = self._saved(request)
        if file is None or file.path is None:
            return PlainTextResponse("no such file", 404)
        path = self._area / file.path
        if path.is_symlink() or not path.is_file():
            return PlainTextResponse("the file was removed from the archive folder", 404)
        return _piece(request, path, file)

    def _saved(self, request: Request) -> FileState | None:
        if not hmac.compare_digest(request.path_params["token"].encode(), self._token.encode()):
            return None
        state = self._hub.states.get(request.path_params["task"])
        wanted = (request.path_params["role"], request.path_params["index"])
        files = state.files if state else ()
        return next((f for f in files if (f.role, str(f.index)) == wanted and f.status == "saved"), None)


def _piece(request: Request, path: Path, file: FileState) -> Response:
    size = path.stat().st_size
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    headers["Access-Control-Allow-Origin"] = "*"  # the URL holds the token; a page that knows it may play it
    if "download" in request.query_params:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.name)}"
    start, end, status = _span(request.headers.get("range"), size)
    if status == 416:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    body = _read(path, start, end)
    return StreamingResponse(body, status, headers, media_type=file.media_type)


def _span(header: str | None, size: int) -> tuple[int, int, int]:
    """Return (start, end, status) for a Range header; what is not one simple range is answered in full."""
    match = RANGE.match(header or "")
    if match is None or match.group(0) == "bytes=-":
        return 0, size, 200
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    if start >= end:
        return 0, 0, 416
    return start, min(end, start + PIECE), 206


async def _read(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk

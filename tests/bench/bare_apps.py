"""Owns two baselines: a FastAPI and a Starlette receiver that parse the JSON and store nothing, served as ours is."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kit.service.listener import public_server
from tests.bench.targets import PATH

__all__: list[str] = []

RECEIVED = {"status": "received"}
SAME = (
    "loop", "interface", "ws", "lifespan", "log_config", "access_log", "server_header", "date_header", "proxy_headers",
    "backlog", "limit_concurrency", "timeout_keep_alive",
)  # fmt: skip
fast = FastAPI()


@fast.post(PATH, response_model=None)  # which would check each answer and make this baseline slower
async def hear_fast(told: dict[str, Any]) -> dict[str, str]:
    """Take a callback as FastAPI's pages show it: the body as a parameter, the answer as a value."""
    assert "code" in told
    return RECEIVED


async def hear_plain(request: Request) -> JSONResponse:
    """Take a callback with Starlette alone."""
    told = await request.json()
    assert "code" in told
    return JSONResponse(RECEIVED)


plain = Starlette(routes=[Route(PATH, hear_plain, methods=["POST"])])


def serve(app: Any, port: int) -> None:
    """Serve on uvicorn with the settings of the public listener, in one process, on a socket like its own."""
    # The protocol is named because asyncio switches Nagle off only then, as the service does.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    listener.setblocking(False)
    ours = public_server(app, Counter()).config
    config = uvicorn.Config(app, http="httptools", **{name: getattr(ours, name) for name in SAME})
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    serve({"fastapi": fast, "starlette": plain}[sys.argv[1]], int(sys.argv[2]))

"""Owns the fetching process of the benches: the service's own downloads, each in a thread, without the service.

It reads lines of JSON, `[[url, part file], ...]`, fetches all of a line at once, and answers each line with one.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from kit.service.download import Download, Rules

__all__: list[str] = []

AT_ONCE = 8


def fetch_all(files: list[list[str]], pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Return how long all of them took together, in seconds, what came, and this process's peak memory so far."""
    began = time.monotonic()
    done = list(pool.map(lambda file: _fetch(*file), files))
    return {"seconds": time.monotonic() - began, "files": done, "peak_bytes": _peak()}


def _fetch(url: str, part: str) -> tuple[int, str]:
    """Fetch one file by the rules that a film from a listed origin has, looking at the room as the service does."""
    address, path = urlsplit(url), Path(part)
    rules = Rules(role="video", listed=(f"{address.scheme}://{address.netloc}",), user_agent="callboard-bench")
    told: list[int] = []
    download = Download(
        path,
        rules,
        room=lambda needed: told.append(shutil.disk_usage(path.parent).free - needed),
        tell=lambda received, _: told.append(received),
        stop=threading.Event(),
    )
    got = download.fetch(url)
    return got.bytes, got.sha256


def _peak() -> int:
    """Return the most memory that was resident at once, in bytes, since this program began."""
    try:  # not getrusage: that starts from what the parent had when it forked
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except OSError:
        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0)) or psutil.Process().memory_info().rss


if __name__ == "__main__":
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for line in sys.stdin:
            print(json.dumps(fetch_all(json.loads(line), threads)), flush=True)

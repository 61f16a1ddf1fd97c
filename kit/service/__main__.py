"""Owns the command line of the service: `--launch` starts it apart and exits, without it this is the service."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from kit.errors import KitError
from kit.service.platforms import apart, keep_files_private


def main() -> int:
    """Run the launcher or the service; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kit.service", description=__doc__)
    parser.add_argument("--area", type=Path, required=True, help="the half of the data folder to serve")
    parser.add_argument("--launch", action="store_true", help="start the service in a session of its own and exit")
    parser.add_argument("--state", type=Path, help="the private folder of its record (default: by the settings)")
    parser.add_argument(
        "--idle", type=float, help="seconds without need after which it ends (default: by the settings)"
    )
    parser.add_argument("--downloads", type=int, help="files fetched at once (default: by the settings)")
    options = parser.parse_args()
    if options.launch:
        print(detach_and_run(options.area, [word for word in sys.argv[1:] if word != "--launch"]))
        return 0
    try:
        return serve(options.area.resolve(), state=options.state, idle_s=options.idle, at_once=options.downloads)
    except KitError as reason:
        print(reason, file=sys.stderr)  # the sentence alone: a kernel shows the end of this
        return 1


def detach_and_run(area: Path, arguments: list[str]) -> int:
    """Start the service proper in a session of its own and return its pid; runs inside the launcher."""
    argv = [sys.executable, "-m", "kit.service", *arguments]
    with (area / "logs" / "service.out").open("ab") as out:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, close_fds=True, **apart()).pid


def serve(area: Path, *, state: Path | None = None, idle_s: float | None = None, at_once: int | None = None) -> int:
    """Serve one area; return 0 also where another service already does. What is not given is read off the settings."""
    # The launcher needs nothing of this, and a kernel waits for it.
    import asyncio

    from filelock import FileLock, Timeout

    from kit.settings import downloads, idle_seconds, state_folder

    keep_files_private()  # ledger, archive and logs are their owner's alone
    state = state or state_folder(area)
    lock = FileLock(area / "service.lock")  # beside the ledger: whoever shares the folder shares the lock
    try:
        lock.acquire(timeout=0)
    except Timeout:
        # Two kernels connected at the same moment, and the other one's service is the one; or it is a stranger's.
        print(
            f"Another service already works on {area}. It was started by another user, in another container or with "
            "another KIT_STATE_DIR: end that one, or use another folder: kit.connect(data='~/callboard-2').",
            file=sys.stderr,
        )
        return 0
    try:
        _log_to(area / "logs" / "service.log")
        from kit.service.service import Service

        idle_s = idle_seconds() if idle_s is None else idle_s
        service = Service(area, state, idle_s=idle_s, at_once=at_once or downloads())
        asyncio.run(service.run())
    finally:
        lock.release()
    return 0


def _log_to(path: Path) -> None:
    import logging
    from logging.handlers import RotatingFileHandler

    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())

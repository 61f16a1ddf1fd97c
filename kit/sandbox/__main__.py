"""Runs the simulated provider as a program: `python -m kit.sandbox --help`; it must not know what the server says."""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from kit import settings
from kit.errors import SettingsError
from kit.provider.kinds import CREDITS_PATH, DIALECTS, KINDS
from kit.sandbox.app import build
from kit.sandbox.callbacks import Manners
from kit.sandbox.console import TOKEN_HEADER
from kit.sandbox.desk import Rules
from kit.sandbox.server import HOST, Server, bind

__all__ = ["main"]

PORT_TAKEN = 3
FOLDER_TAKEN = 4


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; return 0, 3 where the port is taken, 4 where another one uses the folder."""
    asked = _parser().parse_args(arguments)
    folder: Path = asked.folder or settings.data_folder() / "sandbox" / f"provider-{asked.dialect}"
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.WARNING)
    try:
        with FileLock(folder / ".lock", timeout=0):
            return _serve(asked, folder)
    except SettingsError as reason:
        return _excuse(str(reason), FOLDER_TAKEN)
    except Timeout:
        return _excuse(f"Another simulated provider uses {folder}; end it, or name another --folder.", FOLDER_TAKEN)


def _serve(asked: argparse.Namespace, folder: Path) -> int:
    try:
        listener = bind(asked.port)
    except OSError as reason:
        return _excuse(f"Port {asked.port} cannot be used ({reason.strerror}); name another, or 0 for any.", PORT_TAKEN)
    base = f"http://{HOST}:{listener.getsockname()[1]}"
    token, told = _token(asked.admin_token_file)
    if asked.key is None:
        told = {"api_key": Rules.key, **told}
    app = build(
        folder,
        dialect=asked.dialect,
        base=base,
        token=token,
        speed=asked.speed,
        rules=Rules(
            key=Rules.key if asked.key is None else asked.key,
            tell_duplicates=not asked.silent_duplicates,
        ),
        manners=Manners(
            gaps_s=asked.retry_gaps,
            webhook_key=(asked.webhook_key or None) if asked.dialect == "kie" else None,
        ),
    )
    server = Server(app, on_listening=lambda: _announce({"base_url": base, **told}, asked))
    if asked.until_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(server,), daemon=True).start()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, server.stop)  # uvicorn raises the signal again when it is done; that must not kill us
    server.run(sockets=[listener])
    return 0


def _token(path: Path | None) -> tuple[str, dict[str, str]]:
    """Return the admin token, and what to print of it: nothing where it is in a file."""
    if path is None:
        token = secrets.token_urlsafe(24)
        return token, {"admin_token": token}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text().strip(), {}


def _announce(line: dict[str, str], asked: argparse.Namespace) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    if sys.stderr.isatty() and not asked.quiet:
        sys.stderr.write(
            f"A simulated provider, {asked.dialect} dialect. Send requests there as to the real one, with the header\n"
            f"Authorization: Bearer <api_key, or the value of --key>, and a callBackUrl this machine can reach. "
            f"Paths: --help. Ctrl-C ends it.\n"
        )


def _watch_stdin(server: Server) -> None:
    while os.read(0, 1024):
        continue
    server.stop()


def _excuse(sentence: str, code: int) -> int:
    sys.stderr.write(sentence + "\n")
    return code


_ABOUT = """\
A simulated Suno-style provider on loopback: it validates, charges pretend credits, makes real media, posts
callbacks and misbehaves on request. Prints one line of JSON when it listens: base_url; api_key unless --key
is given; admin_token unless --admin-token-file is."""

_ADMIN = f"""
Admin, with the header {TOKEN_HEADER}: <admin_token, or what is in --admin-token-file>:
  GET    /_sandbox/state, /_sandbox/jobs
  PATCH  /_sandbox/state   {{"credits": 1000}}, {{"speed": 20}} or {{"days": 15}}
  POST   /_sandbox/faults  {{"kind": "video", "plan": {{"code": 500}}, "standing": false}}; DELETE takes all back
  For example: curl -H "{TOKEN_HEADER}: $ADMIN_TOKEN" $BASE_URL/_sandbox/state
  In Python: kit.sandbox.admin.Sandbox(base_url, admin_token), whose help names everything that can go wrong.

Exit codes: 0 ended as asked, 2 wrong arguments, 3 the port is taken, 4 the folder is in use."""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, except where there is none, and keeps the lines of the texts around the options."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _paths() -> str:
    rows = [f"  {kind.name:<12} POST {kind.submit_path:<27} GET {kind.details_path}?taskId=" for kind in KINDS.values()]
    credits = " ".join(f"GET {path} ({dialect})" for dialect, path in CREDITS_PATH.items())
    head = 'Paths, with the header "Authorization: Bearer <api_key>":'
    return "\n".join([head, *rows, f"  {'credits':<12} {credits}", "  media        GET, as linked, no header", ""])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kit.sandbox",
        description=_ABOUT,
        epilog=_paths() + _ADMIN,
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("--dialect", choices=DIALECTS, default="sunoapi", help="whose paths, codes and bodies it speaks")
    add("--folder", type=Path, help="where jobs, balance and media are kept across restarts")
    add("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    add("--speed", type=_speed, help="how many times faster than life it works; unset keeps the folder's, first 20")
    add("--key", help="the API key that clients must send; unset takes one and prints it as api_key")
    add("--webhook-key", default="sandbox-webhook-key", help="signs kie callbacks; empty for no signature")
    add("--retry-gaps", type=_gaps, default="2,4,8", help="seconds before each retry of a callback")
    add("--admin-token-file", type=Path, help="file with the token for /_sandbox; made (0600) where it is missing")
    add("--silent-duplicates", action="store_true", help="leave the existing task's id out of a duplicate's answer")
    add("--until-stdin-closes", action="store_true", help="end when standard input reaches its end")
    add("--quiet", action="store_true", help="say nothing but the line of JSON")
    return parser


def _speed(text: str) -> float:
    value = float(text)
    if not 0.001 <= value <= 100_000:
        raise argparse.ArgumentTypeError("expected a number from 0.001 to 100000, for example 20")
    return value


def _gaps(text: str) -> tuple[float, ...]:
    gaps = tuple(float(gap) for gap in text.split(",") if gap)
    if not all(0 <= gap <= 3600 for gap in gaps):
        raise argparse.ArgumentTypeError("expected seconds from 0 to 3600 with commas between, for example 2,4,8")
    return gaps


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A file that is half made is made again at the next start; waiting for its thread would only hold up the end.
    os._exit(code)

"""Owns what the ngrok agent is started from: its program, fetched once where there is none, and its configuration."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from kit.service.ngrok_errors import cleaned
from kit.service.record import write_private
from kit.service.tunnel import Trouble
from kit.settings import Secret

__all__ = ["clear_away", "configure", "find_program"]

_log = logging.getLogger(__name__)
FETCH_S = 300.0
CONFIG, WRAPPER = "ngrok.yml", "ngrok-agent"
SHELL = Path("/bin/sh")
BY_HAND = "Put the program there by hand (ngrok.com/download) and name it: KIT_NGROK_PATH=/path/to/ngrok."


async def find_program(named: str | None, tell: Callable[[str], None]) -> str:
    """Return the path of the agent's program; where none was named and none is there, pyngrok fetches it.

    Raises:
        Trouble: there is none, it cannot be executed, or it could not be fetched.
    """
    path = _place(named)
    if named is None and not path.exists():
        tell("fetching the ngrok agent (about 10 MB, once) ...")
        await _fetch(path)
    if not path.is_file():
        raise Trouble(f"KIT_NGROK_PATH names {named}, and there is no ngrok agent. {BY_HAND}", lasting=True)
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} cannot be executed. Make it executable: chmod +x {shlex.quote(str(path))}", lasting=True)
    return str(path.resolve())


def configure(folder: Path, program: str, token: Secret) -> tuple[str, str]:
    """Write what the agent is started from into a private folder; return the paths of program and configuration.

    The configuration has mode 0600: the token stands there and nowhere else. JSON is YAML.
    """
    path = folder / CONFIG
    write_private(path, _agent_config(token), sync=False)
    return _wrapper(folder / WRAPPER, program), str(path)


def clear_away(folder: Path) -> None:
    """Take away what an agent was started from, the token above all."""
    for name in (CONFIG, WRAPPER):
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def _agent_config(token: Secret) -> dict[str, object]:
    """Return the agent's configuration, version 3: nothing inspected, nothing updated, nobody else at the wheel."""
    return {
        "version": 3,
        "agent": {
            "authtoken": token.reveal(),
            "web_addr": f"127.0.0.1:{_free_port()}",
            "inspect_db_size": -1,
            "update_check": False,
            "remote_management": False,
        },
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wrapper(path: Path, program: str) -> str:
    """Write a script that becomes the agent, and return its path; where there is no shell, the program itself.

    It takes the token out of the agent's environment, which would win over the configuration, and sends the agent's
    errors, which repeat the token, the way of its log: to whoever reads and cleans it, not into a file.
    """
    if not SHELL.exists():
        return program
    text = f'#!{SHELL}\nunset NGROK_AUTHTOKEN NGROK_API_KEY\nexec {shlex.quote(program)} "$@" 2>&1\n'
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o700)
    part.replace(path)
    return str(path)


def _place(named: str | None) -> Path:
    from pyngrok.conf import PyngrokConfig

    return Path(named).expanduser() if named else Path(PyngrokConfig().ngrok_path)


async def _fetch(path: Path) -> None:
    """Have pyngrok fetch the program beside its place and move it there whole."""
    folder = path.parent / f".fetching-{secrets.token_hex(4)}"
    try:
        async with asyncio.timeout(FETCH_S):
            failure = await _apart(lambda: _install(folder, path))
    except TimeoutError:
        failure = f"it took longer than {FETCH_S:.0f} s"
    if failure is not None:
        raise Trouble(f"The ngrok agent could not be fetched ({failure}). {BY_HAND}")
    _log.info("fetched the ngrok agent to %s", path)


async def _apart(work: Callable[[], str | None]) -> str | None:
    """Do something in a thread that does not delay the end of the service, as one of its pool would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str | None] = loop.create_future()

    def run() -> None:
        result = work()
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_settle, done, result)

    threading.Thread(target=run, name="fetching the ngrok agent", daemon=True).start()
    return await done


def _settle(done: asyncio.Future[str | None], result: str | None) -> None:
    if not done.done():
        done.set_result(result)


def _install(folder: Path, path: Path) -> str | None:
    """Return None once the program is in its place, else why it is not. Blocks: runs in a thread."""
    from pyngrok import installer

    try:
        installer.install_ngrok(str(folder / path.name))
        (folder / path.name).replace(path)
    except Exception as reason:
        return cleaned(str(reason), longest=160)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
    return None

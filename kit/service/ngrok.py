"""Owns the ngrok agent of one service, driven by pyngrok: its program, its configuration, its process, its endpoint.

It must not know what comes through. The token stands in one file (0600) and nowhere else: pyngrok would put it into the
arguments of the agent, and the agent repeats it in what it says about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from kit.errors import InvalidInput
from kit.service.ngrok_errors import cleaned, complaint_in
from kit.service.ngrok_program import clear_away, configure, find_program
from kit.service.tunnel import Trouble
from kit.settings import Secret, checked_url

if TYPE_CHECKING:
    from kit.service.children import Children

__all__ = ["NgrokAgent"]

_log = logging.getLogger(__name__)
START_S = 20
CONNECT_S = 10
LOOK_S = 2.0
END_S = 3.0
PATIENCE = 2  # looks that may go unanswered on a machine that is busy
SPOKEN = 40  # lines of the agent that are kept, to explain an end
GONE = ("session closed", "session closing", "heartbeat timeout", "failed to reconnect", "reconnecting session")
BACK = ("client session established", "tunnel session started")


class NgrokAgent:
    """One agent with one endpoint; a `Driver`. No other agent is looked at or touched.

    What stays open: the agent's local API, on a free loopback port of its own, for pyngrok cannot do without it. It
    captures nothing (`inspect_db_size: -1`, `inspect: false`), so there is nothing to look up or to send again.
    """

    advice = "The kit starts the tunnel again by itself."

    def __init__(
        self, state: Path, children: Children, *, token: Secret, program: str | None, public_port: Callable[[], int]
    ) -> None:
        self._folder, self._children = state, children
        self._token, self._named, self._public_port = token, program, public_port
        self._running: Any = None  # pyngrok's NgrokProcess
        self._adopted: int | None = None
        self._starting: asyncio.Task[str | None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._path = self._endpoint = self._name = ""
        self._said: deque[str] = deque(maxlen=SPOKEN)
        self._lost: str | None = None
        self._unanswered = 0

    async def open(self, tell: Callable[[str], None]) -> str:
        """Start the agent and open the endpoint; return its public URL.

        The first time, where no program is there, pyngrok fetches it. Raises `Trouble` in every case but success.
        """
        _quiet_pyngrok()
        program = await find_program(self._named, tell)
        tell("starting the ngrok agent ...")
        try:
            config = await asyncio.to_thread(self._configuration, program)
            await self._start(config)
            return await self._connect()
        except OSError as reason:
            raise self._refused(f"The ngrok agent could not be started ({reason.strerror}).") from None

    async def look(self) -> Trouble | None:
        """Return what the process, the agent's list of endpoints and its log tell."""
        if self._running is None or self._running.proc.poll() is not None:
            return self._refusal(*self._said) or Trouble(f"The ngrok agent has ended. {self.advice}")
        if self._lost is not None:
            sentence = f'The ngrok agent lost its connection ("{self._lost}") and is trying to get it back.'
            return self._refusal(self._lost) or Trouble(sentence, mending=True)
        listed = await self._lists_endpoint()
        self._unanswered = self._unanswered + 1 if listed is None else 0
        if listed is False:
            return Trouble(f"The ngrok agent no longer serves {self._endpoint}. {self.advice}")
        if self._unanswered >= PATIENCE:
            return Trouble(f"The ngrok agent no longer answers. {self.advice}")
        return None

    async def close(self) -> None:
        """End the agent and wait for its end; take its configuration away."""
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)  # whoever is cancelled meanwhile leaves no agent behind

    async def _close(self) -> None:
        starting, self._starting = self._starting, None
        while starting is not None and not starting.done():
            if self._running is not None:
                self._running.proc.kill()  # pyngrok waits for its next line, whatever its time limit says
            await asyncio.wait([starting], timeout=0.05)
            self._notice()
        running, self._running = self._running, None
        if running is not None:
            await asyncio.to_thread(_end, running)
        if self._adopted is not None:
            self._children.release(self._adopted)
            self._adopted = None
        clear_away(self._folder)

    def _configuration(self, program: str) -> Any:
        """Write the agent's configuration and return pyngrok's; blocks."""
        from pyngrok.conf import PyngrokConfig

        wrapper, settings = configure(self._folder, program, self._token)
        config = PyngrokConfig(
            ngrok_path=wrapper,
            config_path=settings,
            log_event_callback=self._heard,
            startup_timeout=START_S,
            max_logs=10,
            request_timeout=CONNECT_S,
            start_new_session=True,
        )
        config.auth_token = config.api_key = None  # it takes them from the environment where none are given
        return config

    async def _start(self, config: Any) -> None:
        self._said.clear()
        self._lost, self._unanswered = None, 0
        self._path = config.ngrok_path
        self._starting = asyncio.create_task(asyncio.to_thread(_start_agent, config))
        deadline = time.monotonic() + START_S + 1
        while not self._starting.done():
            await asyncio.wait([self._starting], timeout=0.02 if self._running is None else 0.1)
            if pid := self._notice():
                await asyncio.to_thread(self._children.leash, pid)
            if refusal := self._refusal(*self._said):
                raise refusal  # the agent itself would try again and again
            if time.monotonic() > deadline:
                raise self._refused(f"The ngrok agent said nothing for {START_S} s.", *self._said)
        failure = self._starting.result()
        if failure is not None:
            raise self._refused("The ngrok agent did not get a connection.", failure, *self._said)
        self._lost = None

    def _notice(self) -> int | None:
        """Get hold of the agent's process as soon as it is there, and record it; return its pid the first time."""
        from pyngrok import process

        if self._running is None:
            # pyngrok hands it out only once it is healthy, and by then it may have run for 20 s.
            self._running = process._current_processes.get(self._path)
        if self._running is None or self._adopted is not None:
            return None
        pid: int = self._running.proc.pid
        self._adopted = pid
        self._children.adopt(pid, "ngrok agent")
        return pid

    async def _connect(self) -> str:
        self._name = f"callboard-{secrets.token_hex(6)}"
        upstream = f"http://127.0.0.1:{self._public_port()}"
        url, failure = await asyncio.to_thread(_open_endpoint, self._running, self._name, upstream)
        if url is None:
            raise self._refused("The ngrok agent did not open an endpoint.", failure)
        try:
            self._endpoint = checked_url(url)
        except InvalidInput:
            raise Trouble(f"The ngrok agent opened {cleaned(url)}, which is no public https address.") from None
        return self._endpoint

    def _heard(self, line: Any) -> None:
        """Take one line of the agent; pyngrok calls from a thread of its own, which an exception would end."""
        with contextlib.suppress(Exception):
            words = str(getattr(line, "msg", None) or "")
            level, reason = str(getattr(line, "lvl", "")), getattr(line, "err", None)
            if reason not in (None, "nil", "<nil>") or level == "NOTSET":
                self._said.append(cleaned(str(reason or line.line), token=self._token, longest=600))
            if any(phrase in words for phrase in BACK):
                self._lost = None
                self._said.clear()
            elif any(phrase in words for phrase in GONE) and level in ("WARNING", "ERROR", "CRITICAL"):
                self._lost = cleaned(str(reason or words), token=self._token, longest=200)

    def _refused(self, what: str, *texts: str) -> Trouble:
        """Return what a person can do about a failure, by what the agent said."""
        known = self._refusal(*texts)
        if known is not None:
            return known
        said = cleaned(next((text for text in texts if text.strip()), ""), token=self._token, longest=200)
        if not said:
            return Trouble(f"{what} Is this machine online, and is the agent's version 3.30 or later (`ngrok update`)?")
        return Trouble(f'{what} It says: "{said}". A firewall, a proxy or a missing network may be the cause.')

    def _refusal(self, *texts: str) -> Trouble | None:
        """Return the trouble behind the first error code of ngrok, where there is one; it may stand on its own line."""
        found = (complaint_in(text, token=self._token) for text in (*texts, " ".join(texts)))
        complaint = next((complaint for complaint in found if complaint is not None), None)
        return Trouble(complaint.sentence, lasting=complaint.lasting) if complaint else None

    async def _lists_endpoint(self) -> bool | None:
        """Tell whether the agent still has our endpoint; None where it does not answer."""
        try:
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=LOOK_S) as http:  # noqa: S501 loopback
                found = (await http.get(f"{self._running.api_url}/api/endpoints")).json()
                return any(self._is_ours(e) for e in found.get("endpoints") or found.get("tunnels") or [])
        except (httpx.HTTPError, ValueError, TypeError, AttributeError):
            return None

    def _is_ours(self, endpoint: dict[str, Any]) -> bool:
        url = str(endpoint.get("url") or endpoint.get("public_url") or "").rstrip("/")
        return endpoint.get("name") == self._name or url == self._endpoint


def _quiet_pyngrok() -> None:
    """Silence pyngrok: it logs every line of the agent, and the agent repeats the token where it refuses it."""
    logger = logging.getLogger("pyngrok")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("pyngrok.")]:
        logging.getLogger(name).setLevel(logging.NOTSET)


def _start_agent(config: Any) -> str | None:
    """Start the agent and wait until it is connected; return why it did not. Blocks: runs in a thread.

    Exceptions of pyngrok stay in here: their texts hold what the agent said, and that may hold the token.
    """
    from pyngrok import process
    from pyngrok.exception import PyngrokNgrokError

    try:
        process.get_process(config)
    except PyngrokNgrokError as refusal:
        return f"{refusal.ngrok_error or ''}"
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    return None


def _open_endpoint(running: Any, name: str, upstream: str) -> tuple[str | None, str]:
    """Return the endpoint's public URL, or None and why there is none. Blocks: runs in a thread.

    `ngrok.connect` does the same, but would start an agent, or fetch one, where ours has just been ended.
    """
    from pyngrok import ngrok
    from pyngrok.exception import PyngrokNgrokHTTPError

    wanted = {"name": name, "upstream": {"url": upstream}, "inspect": False}
    try:
        made = ngrok.api_request(f"{running.api_url}/api/endpoints", method="POST", data=wanted, timeout=CONNECT_S)
        return ngrok.NgrokTunnel(made, running.pyngrok_config, running.api_url).public_url, "it names no address"
    except PyngrokNgrokHTTPError as refusal:
        return None, refusal.body
    except Exception as fault:
        return None, f"{type(fault).__name__}: {fault}"


def _end(running: Any) -> None:
    """Ask the agent to end, so that ngrok frees its address at once; then insist. Blocks: runs in a thread."""
    from pyngrok import process

    proc = running.proc
    proc.terminate()
    try:
        proc.wait(END_S)
    except subprocess.TimeoutExpired:
        proc.kill()
        proc.wait()
    process.kill_process(running.pyngrok_config.ngrok_path)  # it has ended: this makes pyngrok forget it
    deadline = time.monotonic() + END_S
    while running._monitor_thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    if proc.stdout is not None and running._monitor_thread is None:
        proc.stdout.close()

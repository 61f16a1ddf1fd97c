"""Owns the kernel's side of the control port: commands out, events in; it knows no task and no widget."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from kit import errors
from kit.errors import KitError, ServiceError
from kit.service.record import ServiceRecord
from kit.settings import Secret

__all__ = ["Control"]

NOTHING: Mapping[str, Secret] = {}


class Control:
    """Commands to one running service; safe to share between threads."""

    def __init__(self, record: ServiceRecord) -> None:
        self.record = record
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{record.control_port}",
            headers={"Authorization": f"Bearer {record.control_token}"},
            timeout=httpx.Timeout(30, connect=2),
            trust_env=False,
        )
        self._line: socket.socket | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Control(port={self.record.control_port})"

    def hello(self) -> dict[str, Any]:
        """Return version, number of attached kernels, whether the service is ending, and what it has to say."""
        return self._ask("GET", "/hello", timeout=5)

    def open_provider(
        self,
        name: str,
        *,
        key: Secret | None,
        speed: float | None,
        webhook_key: Secret | None,
        user_agent: str | None,
        reach: dict[str, Any] | None = None,
        ngrok_token: Secret | None = None,
    ) -> dict[str, Any]:
        """Make the service ready for a provider; return ``{"base_url", "admin_token", "way"}``.

        `reach` says how callbacks shall get here: ``{"driver", "url", "program"}`` of `kit.service.ways.Reach`; None
        leaves it as it is. Its opening goes on in the background: `way` tells how it stands.
        """
        asked = {"name": name, "speed": speed, "user_agent": user_agent, "reach": reach}
        hidden = {"key": key, "webhook_key": webhook_key, "ngrok_token": ngrok_token}
        return self._ask("POST", "/providers", asked, hidden={k: v for k, v in hidden.items() if v}, timeout=60)

    def way(self, provider: str) -> dict[str, Any]:
        """Return how callbacks of an open provider get here: driver, url, state, problem, since, proven_at."""
        return self._ask("GET", f"/ways/{provider}")

    def health(self) -> dict[str, Any]:
        """Return how everything in the service stands; `Service.health` lists the parts."""
        return self._ask("GET", "/health")

    def replay(self, seq: int) -> dict[str, Any]:
        """Run the stored delivery numbered `seq` again; return ``{"id"}`` of its task."""
        return self._ask("POST", f"/deliveries/{seq}/replay")

    def resubmit(self, id: str) -> dict[str, Any]:
        """Buy what a task wanted again, as a new task; return its ``{"id"}``."""
        return self._ask("POST", f"/tasks/{id}/resubmit", timeout=60)

    def submit(self, **asked: Any) -> dict[str, Any]:
        """Record an intent and send it; return ``{"id", "earlier"}`` once the intent is durable."""
        return self._ask("POST", "/tasks", asked, timeout=60)  # proving the tunnel may take 25 s

    def command(self, id: str, verb: str) -> dict[str, Any]:
        """Run one verb (refresh, confirm, forget, save) on a task."""
        return self._ask("POST", f"/tasks/{id}/{verb}")

    def unsaved(self) -> dict[str, Any]:
        """Return what `save_all` would fetch and how large it is: ``{"files": [...], "free"}``.

        Each file is ``{"task", "role", "index", "bytes"}``, the bytes None where no host told them within 10 seconds;
        `free` is how many bytes the disk has room for beside what is kept for the ledger.
        """
        return self._ask("GET", "/archive/unsaved", timeout=60)

    def save_all(self) -> dict[str, Any]:
        """Have all that is neither saved nor expired fetched; return the ids of its tasks, ``{"tasks": [...]}``."""
        return self._ask("POST", "/archive/save")

    def verify(self) -> dict[str, Any]:
        """Hash again what is saved; return ``{"files": [...]}``, which takes as long as the disk needs to read it all.

        Each file is ``{"task", "role", "index", "path", "result"}``, the result "intact", "missing" or "changed". How
        far it is comes as events, ``{"verifying": {"done", "of"}}``.
        """
        return self._ask("POST", "/archive/verify", timeout=None)

    def mint_url(self, kind: str, provider: str) -> dict[str, Any]:
        """Return ``{"id", "url"}`` of a fresh listen-only callback URL."""
        return self._ask("POST", "/urls", {"kind": kind, "provider": provider})

    def credits(self, provider: str) -> float:
        """Return the balance that the provider reports."""
        return float(self._ask("GET", f"/credits/{provider}")["credits"])

    def shutdown(self) -> None:
        """Ask the service to end; it finishes what it is writing and then exits."""
        self._ask("POST", "/shutdown")

    def media_url(self, id: str, role: str, index: int) -> str:
        """Return the loopback URL under which the browser can play one saved file."""
        return f"http://127.0.0.1:{self.record.control_port}/media/{self.record.media_token}/{id}/{role}/{index}"

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield events for as long as the connection lives; holding it open is being attached.

        The first event is ``{}``: from then on this kernel is attached. The generator ends when the service ends or
        `close` is called, from whichever thread.
        """
        try:
            with self._http.stream("GET", "/events", timeout=httpx.Timeout(None, connect=2)) as answer:
                self._line = answer.extensions["network_stream"].get_extra_info("socket")
                if self._closed:
                    return
                yield {}
                for line in answer.iter_lines():
                    if line:
                        yield json.loads(line)
        except httpx.HTTPError:
            return  # the service ended; whoever listens decides whether to attach again
        finally:
            self._line = None
            if self._closed:
                self._http.close()

    def disown(self) -> None:
        """Close this process's copy of the event connection, after a fork; the parent's stays open."""
        if self._line is not None:
            self._line.close()

    def close(self) -> None:
        """Detach and drop the connections; the service goes on."""
        self._closed = True
        line = self._line
        if line is not None:  # a thread may be reading from it: only a shutdown wakes that thread
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        else:
            self._http.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        hidden: Mapping[str, Secret] = NOTHING,
        timeout: float | None = 30,
    ) -> dict[str, Any]:
        try:
            # Secrets are revealed in the call itself, so that no frame of ours holds them in a traceback.
            answer = self._http.request(
                method,
                path,
                json={**body, **{k: v.reveal() for k, v in hidden.items()}} if hidden else body,
                timeout=httpx.Timeout(timeout, connect=2),
            )
        except httpx.HTTPError as reason:
            raise ServiceError(
                f"The background service did not answer ({type(reason).__name__}). What it accepted is kept, and an "
                "attached session starts it again: run the cell once more in a moment, or kit.connect(). A wish that "
                "was accepted is returned, not bought twice; one with again=True may be in session.tasks() already."
            ) from reason
        if answer.status_code >= 400:
            raise _refusal(answer)
        result: dict[str, Any] = answer.json()
        return result


def _refusal(answer: httpx.Response) -> KitError:
    """Return the service's refusal as the class it was raised as, where a sentence is all that this class needs."""
    try:
        told = answer.json()
        sentence, name = str(told["error"]), told.get("type")
    except (ValueError, KeyError, TypeError, AttributeError):
        sentence, name = f"The background service answered {answer.status_code} without a reason; see its log.", None
    plain = {
        c.__name__: c for c in (errors.LedgerError, errors.ProviderError, errors.SettingsError, errors.TunnelError)
    }
    return plain.get(name, ServiceError)(sentence)

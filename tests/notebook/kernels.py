"""Owns a real kernel for tests: cells are run in it, interrupted, and everything that they show is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel

__all__ = ["Cell", "Kernel", "running_kernel"]

Message = dict[str, Any]


class Cell:
    """One running or finished cell: the messages it has sent so far."""

    def __init__(self, kernel: Kernel, id: str) -> None:
        self._kernel, self._id = kernel, id
        self.messages: list[Message] = []
        self.over = False

    def until(self, kind: str, *, seconds: float = 30) -> Message:
        """Return the first message of a kind from now on; fail where the cell ends before one comes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self._kernel.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != self._id:
                continue
            self.messages.append(message)
            self.over = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            if self.over or message["msg_type"] == kind:
                assert not self.over or kind == "status", f"the cell ended without {kind}: {self.error}"
                return message
        raise AssertionError(f"no {kind} within {seconds} s")

    def end(self, *, seconds: float = 60) -> Cell:
        """Wait until the kernel is idle again."""
        deadline = time.monotonic() + seconds
        while not self.over:
            self.until("status", seconds=deadline - time.monotonic())
        return self

    def of(self, kind: str) -> list[Message]:
        """Return the contents of the messages of one kind."""
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def error(self) -> str | None:
        """The name of the exception that ended the cell."""
        return next((content["ename"] for content in self.of("error")), None)

    @property
    def printed(self) -> str:
        """What it printed on stdout."""
        return "".join(content["text"] for content in self.of("stream") if content["name"] == "stdout").strip()

    @property
    def texts(self) -> list[str]:
        """The plain text of everything it displayed or changed, in order."""
        shown = [m["content"] for m in self.messages if m["msg_type"] in ("display_data", "update_display_data")]
        return [content["data"].get("text/plain", "") for content in shown]


class Kernel:
    """A Python kernel of this environment, spoken to as a front end does."""

    def __init__(self, manager: Any, client: Any) -> None:
        self._manager, self.client = manager, client

    def start(self, code: str) -> Cell:
        """Begin to run a cell."""
        return Cell(self, self.client.execute(code))

    def run(self, code: str) -> Cell:
        """Run a cell to its end."""
        return self.start(code).end()

    def value(self, code: str) -> str:
        """Return what an expression prints; it may not fail."""
        cell = self.run(f"print({code})")
        assert cell.error is None, cell.of("error")
        return cell.printed

    def stop(self, cell: Cell) -> float:
        """Press the Stop button, and return the seconds until the cell has ended."""
        began = time.monotonic()
        self._manager.interrupt_kernel()
        cell.end(seconds=10)
        return time.monotonic() - began

    def click(self, model_id: str) -> None:
        """Click an ipywidgets button, with the message that a front end sends."""
        content = {"comm_id": model_id, "data": {"method": "custom", "content": {"event": "click"}}}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content=content))


@contextmanager
def running_kernel(folder: Path, env: dict[str, str]) -> Iterator[Kernel]:
    """Start a kernel that works in `folder`; it is ended afterwards."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=env)
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

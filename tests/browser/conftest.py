"""A real JupyterLab and a real Chromium for the browser tests; everything they start ends with the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest

TOKEN = "browser-test"
START_S, STOP_S = 90, 20
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
WIDGET = "window.jupyterapp.shell.currentWidget"


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The system's Chromium: without one these tests are skipped, or fail where CI promised to have it."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        reason = f"no Chromium on this machine (looked for {', '.join(BROWSERS)}); the browser tests need one"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Any]:
    """A headless Chromium; every notebook opened in it has a fresh profile.

    It ends with its module: Playwright keeps an event loop running, in which no other test could run one of its own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install .[dev]")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Lab:
    """A running JupyterLab: its address (ending in ``/``), its root folder, its process and its log."""

    url: str
    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End the server and all it started, politely first, and leave nothing of it behind."""
        try:
            top = psutil.Process(self.process.pid)
            family = [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for member in family:
            _end(member)
        psutil.wait_procs(family, timeout=STOP_S)
        for left in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        self.process.wait(STOP_S)


def _end(process: psutil.Process) -> None:
    # A kernel is ended by its server; one that is gone before gets restarted.
    with contextlib.suppress(psutil.NoSuchProcess):
        if not any("ipykernel" in word for word in process.cmdline()):
            process.terminate()


def lab_environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """This environment, with everything Jupyter keeps for a user moved below `home`."""
    folders = {
        "HOME": home, "JUPYTER_CONFIG_DIR": home / "config", "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime", "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces", "IPYTHONDIR": home / "ipython",
    }  # fmt: skip
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    overrides = home / "settings" / "@jupyterlab" / "apputils-extension"
    overrides.mkdir(parents=True, exist_ok=True)
    news = {"fetchNews": "false", "checkForUpdates": False}
    (overrides / "notification.jupyterlab-settings").write_text(json.dumps(news))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_", "KIT_"))}
    return {**kept, **{k: str(v) for k, v in folders.items()}, "JUPYTER_PREFER_ENV_PATH": "1", **extra}


def lab_options(port: int) -> list[str]:
    """The options of a JupyterLab for tests; a caller with a command of its own appends them to it."""
    return [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=20", f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        # A server whose test was killed ends by itself.
        "--ServerApp.shutdown_no_activity_timeout=300", "--MappingKernelManager.cull_idle_timeout=300",
        "--MappingKernelManager.cull_interval=60",
    ]  # fmt: skip


def free_port() -> int:
    """A loopback port that was free a moment ago; the server itself looks further where it is taken meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Start JupyterLabs: ``start_lab(root, env={}, command=None)``; each ends with the test.

    `command` replaces ``python -m jupyterlab`` (the options of `lab_options` are appended to it unless
    ``options=False``); it runs in `root`, with a home folder of its own at ``tmp_path / "home"``.
    """
    running: list[Lab] = []

    def start(
        root: Path, *, env: Mapping[str, str] | None = None, command: Sequence[str] | None = None, options: bool = True
    ) -> Lab:
        home = tmp_path / "home"
        environment = lab_environment(home, env or {})
        argv = [*(command or [sys.executable, "-m", "jupyterlab"]), *(lab_options(free_port()) if options else [])]
        log = tmp_path / f"lab-{len(running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                argv,
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        lab = Lab("", root, process, log)
        running.append(lab)
        lab.url = _address(home / "runtime", lab)
        return lab

    yield start
    for lab in running:
        lab.stop()


def _address(runtime: Path, lab: Lab) -> str:
    """Wait until the server has written where it listens and answers there."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if lab.process.poll() is not None:
            break
        for record in runtime.glob("jpserver-*.json"):
            try:
                url = str(json.loads(record.read_text())["url"])
                with socket.create_connection(("127.0.0.1", urlsplit(url).port or 80), 1):
                    return url.replace("localhost", "127.0.0.1")
            except (OSError, ValueError, KeyError):
                continue  # half written, or not listening yet
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start in {START_S} s:\n{lab.log.read_text(errors='replace')[-3000:]}")


class NotebookPage:
    """One notebook open in the browser; `page` is Playwright's own page."""

    def __init__(self, page: Any, lab: Lab, path: str) -> None:
        self.page, self.lab, self.path = page, lab, path
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())

    def open(self) -> None:
        """Load the page and wait for an idle kernel."""
        self.page.goto(f"{self.lab.url}lab/tree/{quote(self.path)}?token={TOKEN}&reset", wait_until="domcontentloaded")
        self.wait_idle()

    def wait_idle(self, timeout_s: float = 60) -> None:
        """Wait until the notebook's kernel says idle."""
        ready = f"{WIDGET}?.context?.sessionContext?.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(f"() => window.jupyterapp && {ready}", timeout=timeout_s * 1000)

    def run_all(self) -> None:
        """Start all cells; returns at once."""
        self.command("notebook:run-all-cells")

    def command(self, name: str) -> None:
        """Execute one of JupyterLab's commands without waiting for it."""
        self.page.evaluate(f"() => {{ window.jupyterapp.commands.execute({json.dumps(name)}); }}")

    def cells(self) -> list[dict[str, Any]]:
        """The notebook as it is in the browser: one dict a cell, as in the file."""
        found: list[dict[str, Any]] = self.page.evaluate(f"() => {WIDGET}.content.model.sharedModel.toJSON().cells")
        return found

    def wait_cells_done(self, timeout_s: float = 120) -> list[dict[str, Any]]:
        """Wait until every code cell with a source has run; fail with the traceback of one that raised."""
        done = (
            f"() => {{ const cells = {WIDGET}.content.model.sharedModel.toJSON().cells;"
            "const raised = cells.some(c => (c.outputs || []).some(o => o.output_type === 'error'));"
            "const ran = cells.every(c => c.cell_type !== 'code' || c.source.length === 0 || c.execution_count);"
            f"return (ran || raised) && {WIDGET}.context.sessionContext.session.kernel.status === 'idle'; }}"
        )
        self.page.wait_for_function(done, timeout=timeout_s * 1000)
        cells = self.cells()
        raised = [o for c in cells for o in c.get("outputs", ()) if o["output_type"] == "error"]
        tags = {t for c in cells for t in c["metadata"].get("tags", ())}
        if raised and "expect-failure" not in tags:
            raise AssertionError("\n".join(raised[0]["traceback"]))
        return cells

    def save(self) -> Path:
        """Save the notebook and return its file."""
        self.page.evaluate(f"() => {WIDGET}.context.save()")
        return self.lab.root / self.path

    def restart_kernel(self) -> None:
        """Restart the kernel without asking and wait until it is idle again."""
        self.page.evaluate(f"() => {WIDGET}.context.sessionContext.restartKernel()")
        self.wait_idle()

    def theme(self, name: str) -> None:
        """Change the theme: ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self.page.evaluate(f"() => window.jupyterapp.commands.execute('apputils:change-theme', {{theme: {name!r}}})")
        light = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light={light!r}]", state="attached")
        self.page.wait_for_timeout(600)  # its style sheet follows its name

    def close(self) -> None:
        """Close the page and its profile; a kernel goes on until its server ends."""
        self.page.context.close()


@pytest.fixture
def open_notebook(chromium: Any) -> Iterator[Callable[..., NotebookPage]]:
    """Open notebooks: ``open_notebook(lab, "folder/name.ipynb")``, each in a fresh profile, closed with the test."""
    opened: list[NotebookPage] = []

    def open_one(lab: Lab, path: str, *, width: int = 1280, height: int = 1400, **context: Any) -> NotebookPage:
        fresh = chromium.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **context)
        notebook = NotebookPage(fresh.new_page(), lab, path)
        opened.append(notebook)
        notebook.open()
        return notebook

    yield open_one
    for notebook in opened:
        notebook.close()


def make_notebook(path: Path, *sources: str) -> Path:
    """Write a notebook of code cells without outputs."""
    cells = [
        {"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": s}
        for i, s in enumerate(sources)
    ]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """Write a notebook: ``write_notebook(path, "cell one", "cell two")``."""
    return make_notebook

"""Owns what the tests of the notebook share: sessions that a whole module uses, in a world of the module's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kit
from kit import settings
from tests.flows.conftest import connect  # noqa: F401 - a fixture: sessions of one test's own
from tests.notebook.kernels import Kernel, running_kernel
from tests.services import end_services


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a module: folders of its own; its services are ended afterwards."""
    folder = tmp_path_factory.mktemp("world")
    names = {"KIT_STATE_DIR": "state", "KIT_DATA_DIR": "data", "IPYTHONDIR": "ipython"}
    kept = {name: value for name, value in os.environ.items() if name not in settings.NAMES}
    yield {**kept, **{name: str(folder / sub) for name, sub in names.items()}}
    end_services(folder)


@pytest.fixture(scope="module")
def shared(world: dict[str, str]) -> Iterator[Any]:
    """A session in each dialect and one song whose files are not fetched; the tests of a module share them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in settings.NAMES:
            patch.delenv(name, raising=False)
        for name in ("KIT_STATE_DIR", "KIT_DATA_DIR"):
            patch.setenv(name, world[name])
        patch.chdir(Path(world["KIT_DATA_DIR"]).parent)
        session, kie = kit.connect(speed=200), kit.connect("sandbox-kie", speed=200)
        song = session.generate_music(style="slow piano", title="Window Seat", instrumental=True, save=False)
        song.wait(timeout=60)
    yield SimpleNamespace(session=session, kie=kie, song=song)
    kie.close()
    session.shutdown()


@pytest.fixture(scope="module")
def kernel(world: dict[str, str]) -> Iterator[Kernel]:
    """A kernel with a session `s` on the sandbox, whose work stands still until somebody sets `s.sandbox.speed`."""
    folder = Path(world["KIT_STATE_DIR"]).parent
    with running_kernel(folder, world) as running:
        cell = running.run("import kit\ns = kit.connect(speed=20)\ns.sandbox.speed = 0.01")
        assert cell.error is None, cell.of("error")
        running.run("1 / 0")  # a kernel's first traceback costs IPython half a second, whoever caused it
        yield running
        running.run("s.shutdown()")

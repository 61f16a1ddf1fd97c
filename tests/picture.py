"""Owns `make picture`: the first notebook run in a real JupyterLab and Chromium, and the README's picture of it."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.browser.conftest import WIDGET, chromium, chromium_path, open_notebook, start_lab
from tests.guards.source import ROOT
from tests.services import end_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["chromium", "chromium_path", "open_notebook", "start_lab"]  # fixtures, used by their names

NOTEBOOK = "notebooks/00_start_here.ipynb"
PICTURE = ROOT / "data" / "samples" / "picture.png"
LARGEST = 300 * 1024
FIRST_SHOWN = "video.show()"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with the notebook in it, whose services end with the test."""
    root = tmp_path / "callboard"
    (root / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / NOTEBOOK, root / NOTEBOOK)
    yield root
    end_services(tmp_path)


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_take_the_picture(
    project: Path, tmp_path: Path, start_lab: Callable[..., Any], open_notebook: Callable[..., Any]
) -> None:
    """The picture shows a video, covers and a player that the first notebook made, in at most 300 KB."""
    places = {"KIT_DATA_DIR": str(project / "data" / "runtime"), "KIT_STATE_DIR": str(tmp_path / "state")}
    notebook = open_notebook(start_lab(project, env=places), NOTEBOOK, width=920, height=1400)
    notebook.command("application:toggle-left-area")
    notebook.run_all()
    cells = notebook.wait_cells_done(240)
    _bring_into_view(notebook.page, [cell["source"] for cell in cells])

    picture = _small(notebook.page.screenshot())

    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(picture)
    assert len(picture) <= LARGEST


def _bring_into_view(page: Any, sources: list[str]) -> None:
    """Put the video at the top, standing at its middle, once all below it is there."""
    index = next(number for number, source in enumerate(sources) if FIRST_SHOWN in source)
    page.evaluate(f"() => {WIDGET}.content.scrollToItem({json.dumps(index)}, 'start')")
    video = page.locator("video:visible").first
    video.wait_for(timeout=30_000)
    video.evaluate(
        """async video => {
            video.muted = true;
            await video.play();
            video.currentTime = video.duration / 2;
            await new Promise(done => video.addEventListener('timeupdate', done, {once: true}));
            video.pause();
        }"""
    )
    page.wait_for_function("() => [...document.images].every(image => image.complete)", timeout=30_000)
    video.evaluate("video => video.closest('.jp-Cell').scrollIntoView({block: 'start'})")
    page.wait_for_timeout(1000)  # one more paint


def _small(png: bytes) -> bytes:
    """Return the picture with as many colours as fit into the limit."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        out = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= LARGEST:
            break
    return out.getvalue()

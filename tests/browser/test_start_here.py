"""The first notebook as a newcomer meets it: `make lab`, a real browser, Run All, and everything is there."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kit
from tests.browser.conftest import lab_options
from tests.browser.test_widgets_lab import middle, shoot, wait_video
from tests.guards.source import ROOT
from tests.services import end_services

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Notes each state of the card under a waiting cell, as a person would see them go by.
WATCH_CARDS = """() => {
  window.cards = new Set();
  const note = () => document.querySelectorAll('.callboard-card').forEach((card) => window.cards.add(card.innerText));
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of this repository that git ignores, with a copy of the notebook in it."""
    folder = ROOT / "data" / "runtime" / "browser-test"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", folder)
    yield folder
    end_services(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_newcomer_runs_everything_twice_and_buys_once(
    folder: Path,
    start_lab: Callable[..., Any],
    open_notebook: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Video, covers and WAV are there and sound; cards changed as it went; a restart and two more runs buy nothing."""
    places = {"KIT_DATA_DIR": str(folder / "data"), "KIT_STATE_DIR": str(folder / "state")}
    args = shlex.join(lab_options(0))
    lab = start_lab(ROOT, env=places, command=["make", "lab", f"LAB_ARGS={args}"], options=False)
    path = (folder / "00_start_here.ipynb").relative_to(ROOT).as_posix()
    notebook = open_notebook(lab, path, height=2400)
    page = notebook.page
    page.evaluate(WATCH_CARDS)
    notebook.run_all()
    notebook.wait_cells_done(100)
    shoot(page, "start-here-light")

    wait_video(page, "section video")
    video = middle(page, "section video")
    assert video["width"] > 0
    assert video["sound"] > 0
    assert video["at"] == pytest.approx(video["duration"] / 2, abs=0.3)
    assert video["later"] > video["at"]
    page.wait_for_function("() => document.querySelectorAll('img.callboard-cover').length >= 2")
    page.wait_for_function(
        "() => [...document.querySelectorAll('img.callboard-cover')].every(i => i.naturalWidth > 500)"
    )
    cards = page.evaluate("() => [...window.cards]")
    for label in ("song", "music video", "cover images", "WAV"):
        assert len([card for card in cards if label in card]) >= 3, (label, cards)

    with page.expect_download() as download:
        page.click("a.callboard-button[download='Window Seat.wav']")
    monkeypatch.setenv("KIT_DATA_DIR", places["KIT_DATA_DIR"])
    monkeypatch.setenv("KIT_STATE_DIR", places["KIT_STATE_DIR"])
    session = kit.connect()
    ledger = session.files().query("role == 'wav'")["sha256"].iloc[0]
    assert hashlib.sha256(Path(download.value.path()).read_bytes()).hexdigest() == ledger

    saved = notebook.save()
    page.wait_for_timeout(500)
    assert 10_000 < saved.stat().st_size < 300_000
    creates = session.sandbox.creates
    for _ in range(2):
        notebook.restart_kernel()
        notebook.run_all()
        notebook.wait_cells_done(120)
    assert (4, 4) == (creates, session.sandbox.creates)
    notebook.theme("JupyterLab Dark")
    shoot(page, "start-here-dark")
    assert [] == notebook.problems
    session.shutdown()

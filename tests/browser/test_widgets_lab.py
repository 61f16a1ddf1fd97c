"""The media widgets in a real JupyterLab: they play, seek, download, stay small and survive their kernel."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from kit.sandbox.media import compose, cover_bytes, video_bytes, wav_bytes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SHOTS = os.environ.get("KIT_TEST_SHOTS")  # a folder that keeps the screenshots; without it none are taken
TITLE, STYLE = "Window Seat", "warm indie folk, fingerpicked guitar"
HOSTILE = "<img src=x onerror=\"window.ran='widget'\"><b>Seat</b>"

SETUP = """
from pathlib import Path
from kit.notebook.widgets.audio import AudioPlayer
from kit.notebook.widgets.gallery import CoverGallery
from kit.notebook.widgets.media import MediaItem
from kit.notebook.widgets.player import VideoPlayer

def item(name, media_type, **facts):
    path = (Path("..") / "data" / "archive" / "Window Seat #1" / name).resolve()
    facts = {"title": "Window Seat", "caption": "take 1 · warm indie folk", **facts}
    return MediaItem(path=path, bytes=path.stat().st_size, media_type=media_type, **facts)

NAME = "Window Seat - take 1.wav"
covers = [item(f"cover {i}.png", "image/png", index=i, width=768, height=768, caption=f"cover {i}") for i in (1, 2)]
"""
SHOW = (
    'VideoPlayer(item("film.mp4", "video/mp4", duration_s=8.0, width=640, height=360))',
    "CoverGallery(covers)",
    'AudioPlayer(item("take 1.wav", "audio/wav", duration_s=8.0, poster=covers[0].path), download_name=NAME)',
)


@pytest.fixture(scope="module")
def media() -> dict[str, bytes]:
    """A short song as every file the providers make of one."""
    tune = compose(style=STYLE, title=TITLE, take=0, seconds=8, seed="widgets")
    return {
        "film.mp4": video_bytes(tune, title=TITLE, author="Mara Lindqvist"),
        "take 1.wav": wav_bytes(tune),
        "cover 1.png": cover_bytes(title=TITLE, style=STYLE, variant=0, seed="widgets"),
        "cover 2.png": cover_bytes(title=TITLE, style=STYLE, variant=1, seed="widgets"),
    }


@pytest.fixture
def root(tmp_path: Path, media: dict[str, bytes]) -> Path:
    """A project folder below the server's home, with the media in a folder of awkward names."""
    root = tmp_path / "home" / "my songs"
    folder = root / "data" / "archive" / "Window Seat #1"
    folder.mkdir(parents=True)
    for name, content in media.items():
        (folder / name).write_bytes(content)
    return root


def shoot(page: Any, name: str) -> None:
    """Keep a screenshot of the notebook where a folder for them was named."""
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def wait_video(page: Any, selector: str) -> None:
    """Wait until the video has decoded its first picture."""
    page.wait_for_function(f"() => document.querySelector('{selector}')?.readyState >= 2", timeout=30_000)


def middle(page: Any, tag: str) -> dict[str, Any]:
    """Seek to the middle, play for a moment, and tell what the element then says of itself."""
    found: dict[str, Any] = page.evaluate(
        """async (tag) => {
          const m = document.querySelector(tag);
          const once = (name) => new Promise((done, fail) => {
            m.addEventListener(name, done, { once: true });
            setTimeout(() => fail(new Error(`${tag}: no ${name} in 15 s`)), 15000);
          });
          if (m.readyState < 1) {
            const known = once("loadedmetadata");
            m.preload = "auto";
            m.load();
            await known;
          }
          const auto = { autoplay: m.autoplay, loop: m.loop, paused: m.paused };
          const sought = once("seeked");
          m.currentTime = m.duration / 2;
          await sought;
          const at = m.currentTime;
          await m.play();
          await new Promise((done) => setTimeout(done, 1200));
          m.pause();
          return { ...auto, at, later: m.currentTime, duration: m.duration, seekable: m.seekable.end(0),
                   width: m.videoWidth, height: m.videoHeight, sound: m.webkitAudioDecodedByteCount, src: m.src };
        }""",
        tag,
    )
    return found


def test_media_play_seek_and_download_from_a_small_notebook(
    start_lab: Callable[..., Any],
    open_notebook: Callable[..., Any],
    write_notebook: Callable[..., Path],
    root: Path,
    media: dict[str, bytes],
) -> None:
    """Video, covers and sound come by URL and play from the middle; the WAV arrives whole; the notebook stays small."""
    path = write_notebook(root / "notebooks" / "show.ipynb", SETUP, *SHOW)
    lab = start_lab(root)
    notebook = open_notebook(lab, "notebooks/show.ipynb", height=1900)
    notebook.run_all()
    notebook.wait_cells_done()
    page = notebook.page
    wait_video(page, "section video")
    page.wait_for_selector("section audio[src]")
    page.wait_for_function(
        "() => [...document.querySelectorAll('img.callboard-cover')].every(i => i.naturalWidth > 700)"
    )
    assert not page.locator(".callboard-twin:visible").count()
    notebook.command("notebook:hide-all-cell-code")
    page.wait_for_timeout(500)
    shoot(page, "lab-light-start")

    video, sound = middle(page, "section video"), middle(page, "section audio")
    assert (video["autoplay"], video["loop"], video["paused"]) == (False, False, True)
    assert (video["width"], video["height"]) == (640, 360)
    assert video["seekable"] == pytest.approx(video["duration"])
    assert video["at"] == pytest.approx(video["duration"] / 2, abs=0.3)
    assert video["later"] > video["at"] + 0.5
    assert video["sound"] > 0
    assert sound["seekable"] == pytest.approx(8.0, abs=0.2)
    assert sound["later"] > sound["at"] + 0.5
    assert sound["sound"] > 0
    assert "/files/data/archive/Window%20Seat%20%231/film.mp4" in video["src"]
    sizes = page.evaluate(
        "() => [...document.querySelectorAll('img.callboard-cover')].map(i => [i.naturalWidth, i.alt])"
    )
    assert sizes == [[768, "Window Seat, cover 1"], [768, "Window Seat, cover 2"]]

    shoot(page, "lab-light")
    notebook.theme("JupyterLab Dark")
    shoot(page, "lab-dark")
    with page.expect_download() as download:
        page.click("a.callboard-button[download='Window Seat - take 1.wav']")
    assert download.value.suggested_filename == "Window Seat - take 1.wav"
    saved = Path(download.value.path()).read_bytes()
    assert hashlib.sha256(saved).hexdigest() == hashlib.sha256(media["take 1.wav"]).hexdigest()
    notebook.save()
    assert path.stat().st_size < 150_000
    notebook.restart_kernel()
    page.wait_for_timeout(1000)
    assert (
        page.locator(".callboard-twin:visible").count() + page.locator("section.callboard-media:visible").count() == 3
    )
    assert [] == notebook.problems


def test_reopened_notebook_shows_its_plain_twins(
    start_lab: Callable[..., Any], open_notebook: Callable[..., Any], write_notebook: Callable[..., Path], root: Path
) -> None:
    """With another kernel and the folder gone, posters, names and words of every output are still there."""
    path = write_notebook(root / "notebooks" / "show.ipynb", SETUP, *SHOW)
    lab = start_lab(root)
    first = open_notebook(lab, "notebooks/show.ipynb")
    first.run_all()
    first.wait_cells_done()
    first.save()
    first.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
    first.close()
    again = open_notebook(lab, "notebooks/show.ipynb", height=1900)
    page = again.page
    page.wait_for_selector("figure audio[src]")
    assert page.locator("section.callboard-media").count() == 0
    again.command("notebook:hide-all-cell-code")
    page.wait_for_timeout(500)
    shoot(page, "reopened-light")
    played = middle(page, "figure video")
    assert played["width"] == 640
    assert played["later"] > played["at"]

    (root / "data").rename(root / "elsewhere")
    again.close()
    bundles = [o["data"] for c in json.loads(path.read_text())["cells"] for o in c["outputs"]]
    assert len(bundles) == 6
    third = open_notebook(lab, "notebooks/show.ipynb", height=1900)
    third.page.wait_for_selector("figure img")
    widths = third.page.evaluate("() => [...document.querySelectorAll('figure img')].map(i => i.naturalWidth)")
    assert len(widths) == 3
    assert min(widths) > 100
    third.theme("JupyterLab Dark")
    third.command("notebook:hide-all-cell-code")
    third.page.wait_for_timeout(500)
    shoot(third.page, "folder-gone-dark")


@contextlib.contextmanager
def loopback(path: Path) -> Iterator[str]:
    """Serve one file with Range on a loopback port, as the service does."""

    async def answer(request: Request) -> FileResponse:
        name = "song.wav" if "download" in request.query_params else None
        return FileResponse(path, filename=name, headers={"Access-Control-Allow-Origin": "*"})

    app = Starlette(routes=[Route("/media/secret", answer)])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/media/secret"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(20)


def test_loopback_address_serves_what_the_notebook_server_cannot(
    start_lab: Callable[..., Any],
    open_notebook: Callable[..., Any],
    write_notebook: Callable[..., Path],
    root: Path,
    tmp_path: Path,
) -> None:
    """A file outside the server's root plays and downloads from the loopback address, which no saved output names."""
    outside = tmp_path / "outside" / "take 1.wav"
    outside.parent.mkdir()
    shutil.copy(root / "data" / "archive" / "Window Seat #1" / "take 1.wav", outside)
    gone = tmp_path / "outside" / "gone.wav"
    with loopback(outside) as url:
        show = (
            f"AudioPlayer(MediaItem(path=Path({str(outside)!r}), bytes={outside.stat().st_size}, "
            f"media_type='audio/wav', title='Window Seat', loopback_url={url!r}, duration_s=8.0))"
        )
        lost = f"VideoPlayer(MediaItem(path=Path({str(gone)!r}), bytes=1000, media_type='video/mp4', title='Gone'))"
        away = (
            f"VideoPlayer(MediaItem(path=Path({str(outside)!r}), bytes={outside.stat().st_size}, "
            "media_type='video/mp4', title='Away'), poster=covers[1].path.read_bytes())"
        )
        bent = f"AudioPlayer(MediaItem(path=Path({str(outside)!r}), bytes=7, media_type='audio/wav', title='Bent'))"
        path = write_notebook(root / "notebooks" / "outside.ipynb", SETUP, show, lost, away, bent)
        notebook = open_notebook(start_lab(root), "notebooks/outside.ipynb", height=1500)
        notebook.run_all()
        notebook.wait_cells_done()
        page = notebook.page
        page.wait_for_selector("section audio[src]", timeout=20_000)
        sound = middle(page, "section audio")
        assert sound["src"] == url
        assert sound["later"] > sound["at"]
        with page.expect_download() as download:
            page.click("a.callboard-button")
        assert Path(download.value.path()).read_bytes() == outside.read_bytes()
        page.wait_for_selector("text=This browser cannot reach the file")
        page.wait_for_selector("text=File changed since it was saved")
        assert str(gone) in page.inner_text("section :text('File missing')")
        assert [True] == page.evaluate("() => [...document.querySelectorAll('section video')].map(v => v.hidden)")
        notebook.command("notebook:hide-all-cell-code")
        page.wait_for_timeout(400)
        shoot(page, "outside-light")
        notebook.theme("JupyterLab Dark")
        shoot(page, "outside-dark")
        notebook.save()
        assert "/media/secret" not in "".join(json.dumps(c["outputs"]) for c in json.loads(path.read_text())["cells"])
        page.context.close()


def test_hostile_words_run_nowhere_and_keys_stay_with_the_player(
    start_lab: Callable[..., Any], open_notebook: Callable[..., Any], write_notebook: Callable[..., Path], root: Path
) -> None:
    """Markup in a title is shown as text, and pressing d twice in a player or its waveform deletes no cell."""
    show = f"AudioPlayer(item('take 1.wav', 'audio/wav', title={HOSTILE!r}, caption={HOSTILE!r}))"
    html = f"from IPython.display import HTML\nHTML({show}._plain_html)"
    gallery = f"CoverGallery([item('cover 1.png', 'image/png', title={HOSTILE!r})])"
    write_notebook(root / "notebooks" / "keys.ipynb", SETUP, show, html, gallery)
    notebook = open_notebook(start_lab(root), "notebooks/keys.ipynb", height=1500)
    notebook.run_all()
    notebook.wait_cells_done()
    page = notebook.page
    page.wait_for_selector("section audio[src]")
    page.wait_for_selector("a.callboard-open")
    before = len(notebook.cells())
    page.click("canvas.callboard-wave", position={"x": 200, "y": 20})
    page.wait_for_function("() => document.querySelector('section audio').currentTime > 1")
    for selector in ("canvas.callboard-wave", "section audio", "a.callboard-button", "a.callboard-open"):
        page.focus(selector)
        page.keyboard.press("d")
        page.keyboard.press("d")
    page.focus("canvas.callboard-wave")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => Math.abs(document.querySelector('section audio').currentTime - 5) < 0.2")
    page.wait_for_selector("canvas.callboard-wave[aria-valuetext='0:05 of 0:08']")
    assert len(notebook.cells()) == before
    assert page.evaluate("() => window.ran ?? null") is None
    assert HOSTILE in page.inner_text("section .callboard-title")


def test_cards_are_readable_in_both_themes(
    start_lab: Callable[..., Any], open_notebook: Callable[..., Any], write_notebook: Callable[..., Path], root: Path
) -> None:
    """The wait card shows title, status and words, and its text never has the colour of its background."""
    card = """
from IPython.display import HTML
from kit.notebook.widgets.card import wait_card
HTML(wait_card(label="music video", title="Window Seat", status="pending", words="the provider is working on it",
     elapsed_s=42, note="Stop ends the waiting only; the task goes on.")
   + wait_card(label="music video", title="Window Seat", status="succeeded", words="saving, 1 of 2 files are here",
     elapsed_s=61, progress=0.62, detail="task t0k3ab7 · provider id 3f9c", note="learned by callback")
   + wait_card(label="WAV", title="Harbour Lights", status="failed", words="the provider has no such take",
     elapsed_s=3))
"""
    write_notebook(root / "notebooks" / "cards.ipynb", card)
    notebook = open_notebook(start_lab(root), "notebooks/cards.ipynb", height=700)
    notebook.run_all()
    notebook.wait_cells_done()
    page = notebook.page
    page.wait_for_selector(".callboard-card")
    style = "getComputedStyle(document.querySelector('.callboard-card'))"
    colours = f"() => [{style}.color, {style}.backgroundColor]"
    light = page.evaluate(colours)
    shoot(page, "cards-light")
    notebook.theme("JupyterLab Dark")
    dark = page.evaluate(colours)
    shoot(page, "cards-dark")
    assert len({light[0], light[1], dark[0], dark[1]}) > 2
    assert light[0] != light[1]
    assert dark[0] != dark[1]
    assert page.inner_text(".callboard-card [role=status]") == "The provider is working on it"

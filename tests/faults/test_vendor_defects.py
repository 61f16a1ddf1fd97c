"""The 14 defects of the vendors' own sample receivers, one test each: ours does not have it.

The samples are Express, Flask, Spring and PHP on the providers' pages about callbacks. All tests but one ask the real
service and the simulated provider, started once for all of them, in a time zone 14 hours ahead of UTC.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

import kit
from kit import settings
from kit.service import download
from kit.service.download import Download, NotFetched, Rules
from tests.flows.acting import job_of, post, sample, until
from tests.services import end_services

EVIL = "https://evil.example/made-up.mp4"
HOSTILE = "\x1b[2J<img src=x onerror=alert(1)>\nFORGED LINE\u202e"
WAV, VIDEO = "sunoapi-wav-success.json", "sunoapi-video-success.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of these tests: folders of their own and a zone in which a naive clock is most wrong."""
    folder = tmp_path_factory.mktemp("world")
    yield {"KIT_STATE_DIR": str(folder / "state"), "KIT_DATA_DIR": str(folder / "data"), "TZ": "Pacific/Kiritimati"}
    end_services(folder)


@pytest.fixture(scope="module")
def shared(world: dict[str, str]) -> Iterator[Any]:
    """A session whose polls are rare, so that callbacks tell, and songs whose takes each serve one test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in settings.NAMES:
            patch.delenv(name, raising=False)
        for name, value in world.items():
            patch.setenv(name, value)
        session = kit.connect(speed=1)
        session.sandbox.speed = 5000
        songs = [session.generate_music(f"song {number}", save=False) for number in range(2)]
        takes = [take for song in songs for take in song.wait(timeout=90).tracks]
    yield SimpleNamespace(session=session, songs=songs, films=iter(takes), sounds=iter(takes))
    session.shutdown()


@pytest.fixture(autouse=True)
def same_world(own_world: None, world: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a service that is started again be the same one."""
    for name, value in world.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def session(shared: Any) -> kit.Session:
    """The session of all these tests."""
    return shared.session


@pytest.fixture
def unfilmed(shared: Any) -> kit.Track:
    """A take of which no other test has made a video."""
    return next(shared.films)


@pytest.fixture
def unconverted(shared: Any) -> kit.Track:
    """A take of which no other test has made a WAV."""
    return next(shared.sounds)


def untold(session: kit.Session, call: Any, of: Any, **wish: Any) -> tuple[kit.Task, str]:
    """Submit a task that the provider has finished without calling back; return it and its callback URL."""
    kind = {"create_video": "video", "convert_wav": "wav", "create_cover_images": "cover_image"}[call.__name__]
    with session.sandbox.next(kind, callbacks="lost", **wish):
        task = call(of)
    until(lambda: job_of(session, task)["completed_at"], seconds=40)
    return task, job_of(session, task)["callback_url"]


def archived(session: kit.Session, task: kit.Task) -> list[Path]:
    """Return what the archive holds of a task, part files among it."""
    return sorted(path for path in (session.area / "archive").rglob("*") if task.id in path.name)


def everything(session: kit.Session) -> set[Path]:
    """Return every file and folder of the session's world, the archive's own files aside."""
    home = Path(os.environ["KIT_DATA_DIR"]).parent
    return {path for path in home.rglob("*") if (session.area / "archive") not in path.parents}


def test_01_no_file_is_named_by_a_task_id(session, unfilmed):
    """Defect 1, the file name from `task_id`: one that climbs out of the folder decides nothing about the file."""
    before = everything(session)
    with session.sandbox.next("video", task_id="../../../climbed"):
        video = session.create_video(unfilmed).wait(timeout=60)

    assert "../../../climbed" == video.task_id
    assert archived(session, video) == [video.files[0].path]
    assert session.area / "archive" == video.files[0].path.parent
    assert [] == [path for path in everything(session) - before if "climbed" in str(path)]


def test_02_no_folder_is_named_by_a_task_id(session, shared):
    """Defect 2, the directory from `taskId`: covers lie in the archive itself, and no folder comes to be."""
    before = {path for path in everything(session) if path.is_dir()}
    with session.sandbox.next("cover_image", task_id="../../covers/of"):
        covers = session.create_cover_images(shared.songs[0]).wait(timeout=60)

    assert {session.area / "archive"} == {file.path.parent for file in covers.files}
    assert before == {path for path in everything(session) if path.is_dir()}
    assert not [path for path in (session.area / "archive").iterdir() if path.is_dir()]


def test_03_no_extension_comes_from_a_url(session, shared):
    """Defect 3, the extension from the URL: a JPEG behind a link that ends in .png is saved as what it is."""
    covers = session.create_cover_images(shared.songs[1], save=False).wait(timeout=60)
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 64), "navy").save(jpeg, "JPEG")
    for path in (session.area / "provider-sandbox" / "media" / "s").glob("*.png"):
        if any(path.name in url for file in covers.state.files for url in file.urls):
            path.write_bytes(jpeg.getvalue())
    covers.save().wait(timeout=60)

    assert {".png"} == {Path(file.url).suffix for file in covers.state.files}
    assert {".jpg"} == {file.path.suffix for file in covers.files}


def test_04_the_answer_does_not_wait_for_the_download(session, unfilmed):
    """Defect 4, the download before the 200: a callback whose file takes long is answered while none of it is here."""
    video, url = untold(session, session.create_video, unfilmed, media="slow", answers=1)
    answered = post(url, sample(VIDEO, task_id=video.task_id))
    then = [file.status for file in video.state.files]
    until(lambda: [file.status for file in video.state.files] == ["downloading"])

    assert 200 == answered
    assert "saved" not in then


def test_05_work_after_the_answer_outlives_the_process(session, unconverted):
    """Defect 5, background work in memory alone: killed right after the 200, the service still saves the file."""
    wav, url = untold(session, session.convert_wav, unconverted)
    old = session.service.pid
    assert 200 == post(url, sample(WAV, task_id=wav.task_id))
    os.kill(old, signal.SIGKILL)
    until(lambda: session.attached and session.service.pid != old, seconds=40)
    session.sandbox.speed = 5000
    wav.wait(timeout=60)

    assert ("saved", 1) == (wav.state.files[0].status, wav.state.deliveries)


def test_06_an_error_page_is_never_the_file(session, unfilmed):
    """Defect 6, any status into the .mp4: a 403 leaves neither a file nor a saved row, only its reason."""
    video, url = untold(session, session.create_video, unfilmed, media="forbidden")
    log = session.area / "logs" / "service.log"
    assert 200 == post(url, sample(VIDEO, task_id=video.task_id))
    until(lambda: any(video.id in line and "403" in line for line in log.read_text("utf-8").splitlines()))

    assert [] == [path for path in archived(session, video) if path.suffix != ".part" or path.stat().st_size]
    assert "saved" != video.state.files[0].status


def test_07_a_file_has_its_name_only_when_it_is_whole(session, unconverted):
    """Defect 7, no length check and no temporary file: cut in the middle, no part of it is seen under the name."""
    wav, url = untold(session, session.convert_wav, unconverted, media="truncated", answers=1)
    seen, over = set(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in archived(session, wav):
                with contextlib.suppress(FileNotFoundError):
                    seen.add((path.suffix, path.stat().st_size))

    thread = threading.Thread(target=watch)
    thread.start()
    post(url, sample(WAV, task_id=wav.task_id))
    try:
        wav.wait(timeout=60)
    finally:
        over.set()
        thread.join()
    [original] = [p for p in session.area.rglob("media/s/*.wav") if p.name in (wav.state.files[0].url or "")]

    assert original.read_bytes() == wav.files[0].path.read_bytes()
    assert {(".wav", original.stat().st_size)} >= {found for found in seen if found[0] != ".part"}
    assert any(suffix == ".part" for suffix, _ in seen)


def test_07_a_host_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    """Defect 7, no timeout: a host that takes the request and never answers ends the attempt, for now."""
    monkeypatch.setattr(download, "ANSWER_S", 0.2)
    monkeypatch.setattr(download, "VAIN", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        origin = f"http://127.0.0.1:{mute.getsockname()[1]}"
        fetching = Download(
            tmp_path / "x.part",
            Rules("video", (origin,), "callboard"),
            room=lambda _: None,
            tell=lambda *_: None,
            stop=threading.Event(),
        )
        with pytest.raises(NotFetched) as refused:
            fetching.fetch(f"{origin}/video.mp4")
        fetching.discard()

    assert refused.value.away


def test_08_data_that_is_no_object_costs_nothing(session, unconverted):
    """Defect 8, `data` of another type is a 500 and a burnt retry: each is kept, answered 200, and details decide."""
    wav, url = untold(session, session.convert_wav, unconverted)
    bodies = [{"code": 200, "msg": "success", "data": odd} for odd in (None, [], "text", 7, [{"task_id": "x"}], True)]
    statuses = [post(url, body) for body in (*bodies, {"code": 200}, [], None, "text")]
    wav.wait(timeout=60)

    assert [200] * 10 == statuses
    assert 10 == wav.state.deliveries
    assert "saved" == wav.state.files[0].status


def test_09_no_answer_tells_of_the_inside(session):
    """Defect 9, exception text for the caller: whatever is sent, the body is one of two fixed ones."""
    url = session.callback_url("wav")
    strange = [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"code":1e999}',
        b'{"data":{"task_id":"\\ud800"}}',
        b"x" * 300_000,
    ]
    with httpx.Client(trust_env=False) as http:
        answers = [http.post(url, content=body) for body in strange]
        answers += [http.post(f"{url}{tail}") for tail in ("x", "/..", "%00", "?a=<b>")]
        answers += [http.request(method, url) for method in ("GET", "PUT", "OPTIONS")]

    assert {'{"status":"received"}', '{"status":"refused"}'} == {answer.text for answer in answers}
    assert {200, 404, 405, 413} >= {answer.status_code for answer in answers}


def test_10_nothing_listens_beyond_this_machine(session):
    """Defect 10, bound to 0.0.0.0: every port of the service and of what it started is on loopback."""
    service = psutil.Process(session.service.pid)
    family = [service, *service.children(recursive=True)]
    ports = [line.laddr for one in family for line in one.net_connections("inet") if line.status == psutil.CONN_LISTEN]

    assert {session.service.public_port, session.service.control_port} < {address.port for address in ports}
    assert {"127.0.0.1"} == {address.ip for address in ports}


def test_11_an_expiry_is_a_moment_and_not_a_wall_clock_reading(session, shared):
    """Defect 11, a naive local time: 14 days from now in UTC, though the service's clock on the wall is 14 h ahead."""
    file = session.files().query(f"id == '{shared.songs[0].id}'").iloc[0]
    zones = {psutil.Process(session.service.pid).environ()["TZ"], os.environ["TZ"]}

    assert {"Pacific/Kiritimati"} == zones
    assert "UTC" == str(file["expires_at"].tz)
    assert abs(file["expires_at"] - datetime.now(UTC) - timedelta(days=14)) < timedelta(minutes=10)


def test_12_a_callback_that_comes_again_does_nothing_again(session, unconverted):
    """Defect 12, no dedupe: five arrivals of one callback are five rows, four of them duplicates, and one file."""
    wav, url = untold(session, session.convert_wav, unconverted)
    statuses = [post(url, sample(WAV, task_id=wav.task_id)) for _ in range(5)]
    wav.wait(timeout=60)
    until(lambda: wav.state.deliveries == 5)
    rows = session.deliveries().query(f"id == '{wav.id}'")
    saved = [line for line in (session.area / "logs" / "service.log").read_text("utf-8").splitlines() if wav.id in line]

    assert [200] * 5 == statuses
    assert (5, 4) == (len(rows), rows["duplicate"].sum())
    assert [wav.files[0].path] == archived(session, wav)
    assert 1 == len([line for line in saved if " saved " in line])


def test_13_what_a_stranger_writes_is_shown_as_text(session):
    """Defect 13, untrusted text printed raw: no element, no control character and no line of its own, log included."""
    body = {"code": 500, "msg": HOSTILE, "data": {"task_id": f"id{HOSTILE}"}}
    before = set(session.tasks()["id"])
    assert 200 == post(session.callback_url("wav"), body)
    until(lambda: set(session.tasks()["id"]) - before)
    [id] = set(session.tasks()["id"]) - before
    task = session.task(id)
    log = (session.area / "logs" / "service.log").read_text("utf-8")
    said = [repr(task), repr(session), repr(session.health()), log, "".join(session.news())]
    drawn = [task._repr_html_(), session.health()._repr_html_()]

    assert [] == [text for text in (*said, *drawn) if "\x1b" in text or "\u202e" in text or "\nFORGED" in text]
    assert [] == [markup for markup in (*drawn, session.tasks()._repr_html_()) if "<img" in markup]


def test_14_who_posts_is_never_believed(session, unfilmed):
    """Defect 14, no check of the source: a made-up success changes nothing, and on another URL it is not even kept."""
    session.sandbox.speed = 0.01
    with session.sandbox.next("video", callbacks="lost"):
        video = session.create_video(unfilmed, save=False)
    until(lambda: video.task_id)
    url, body = job_of(session, video)["callback_url"], sample(VIDEO, task_id=video.task_id)
    body["data"]["video_url"] = EVIL
    stored = len(session.deliveries())
    statuses = [post(f"{url[:-4]}AAAA", body), post(url, body)]
    until(lambda: video.state.deliveries == 1)
    forged = (video.status, [link for file in video.state.files for link in file.urls])
    session.sandbox.speed = 5000
    until(lambda: job_of(session, video)["completed_at"])
    assert 200 == post(url, sample(VIDEO, task_id=video.task_id))
    video.wait(timeout=60, until="succeeded")

    assert [404, 200] == statuses
    assert ("pending", []) == forged
    assert stored + 2 == len(session.deliveries())
    assert EVIL not in [link for file in video.state.files for link in file.urls]

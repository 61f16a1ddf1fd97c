"""A provider that misbehaves in each way the sandbox knows: the row and the file come out right all the same."""

from __future__ import annotations

import os
import signal

import pytest

import kit
from kit.sandbox.faults import WORDS
from tests.flows.acting import job_of, make_song, until

ONLY_MUSIC = {"reordered", "last_only"}
ONLY_KIE = {"wrong_signature", "stale_signature"}


@pytest.mark.timeout(300)
def test_no_callback_however_odd_changes_the_result(connect):
    """Late, doubled, reordered, empty, misspelt or badly signed: each task ends as its details say, saved once."""
    session = connect("sandbox-kie")
    songs = [make_song(session, f"Song {n}") for n in range(2)]
    tracks = [track for song in songs for track in song.tracks]
    odd = sorted(set(WORDS["callbacks"]) - ONLY_MUSIC - {"late"})
    calls = [session.create_video, session.convert_wav]
    tasks = {}
    for number, word in enumerate(odd):
        call = calls[number % 2]
        with session.sandbox.next("video" if number % 2 == 0 else "wav", callbacks=word):
            tasks[word] = call(tracks[number // 2 % len(tracks)], again=number >= 2 * len(tracks))
        if number // 2 == len(tracks) - 1 and number % 2:
            tracks = [t for n in (2, 3) for t in make_song(session, f"Song {n}").tracks]
    for word, task in tasks.items():
        assert (word, "succeeded") == (word, task.wait(timeout=60).status)
        assert (word, "decoded") == (word, task.files[0].verified)
    assert session.files()["path"].dropna().is_unique


@pytest.mark.parametrize("word", sorted(ONLY_MUSIC | {"duplicate"}))
def test_stages_in_any_order_never_move_a_song_backwards(connect, word):
    """Music's staged callbacks may be skipped, doubled or reversed: the song is there once, with both takes."""
    session = connect()
    with session.sandbox.next("music", callbacks=word):
        song = make_song(session)

    assert ("succeeded", 2) == (song.status, len(song.tracks))


@pytest.mark.parametrize("word", ["truncated", "html"])
def test_a_file_that_is_not_the_file_is_fetched_again(connect, word):
    """What comes cut off or as an error page is never saved; the next attempt is."""
    session = connect()
    song = make_song(session)
    with session.sandbox.next("wav", media=word, answers=1):
        wav = session.convert_wav(song.tracks[0]).wait(timeout=60)

    assert ("saved", "decoded") == (wav.state.files[0].status, wav.files[0].verified)
    assert [wav.files[0].path] == [p for p in (session.area / "archive").iterdir() if p.suffix == ".wav"]


def test_a_link_that_has_died_says_expired_and_not_saved(connect):
    """A task whose file is gone stays succeeded, its file says expired, and waiting for it ends with the reason."""
    session = connect()
    song = make_song(session)
    with session.sandbox.next("video", media="expired"), pytest.raises(kit.NotSaved, match="404"):
        session.create_video(song.tracks[0]).wait(timeout=60)

    assert ["expired"] == list(session.files().query("kind == 'video'")["status"])


def test_details_that_fail_for_a_while_only_cost_time(connect):
    """An outage of the details endpoint, or answers with no data, end nothing."""
    session = connect()
    song = make_song(session)
    for word, call in (("outage", session.create_video), ("null", session.convert_wav)):
        with session.sandbox.next("video" if call == session.create_video else "wav", details=word):
            assert call(song.tracks[0], save=False).wait(timeout=60).status == "succeeded"


def test_a_refused_submission_is_a_failed_row_that_cost_nothing(connect):
    """Out of credits is said as this dialect says it, and the balance is as before."""
    session = connect()
    song = make_song(session)
    session.sandbox.credits = 1
    with pytest.raises(kit.TaskFailed) as failed:
        session.create_video(song.tracks[0]).wait(timeout=60)

    assert (429, 1.0) == (failed.value.code, session.credits())
    assert "credit" in failed.value.meaning.lower()


def test_a_provider_program_that_dies_is_started_again(connect):
    """The sandbox keeps its state on its own disk: killed and started again it goes on, on the same port."""
    session = connect(speed=20)
    song = make_song(session)
    video = session.create_video(song.tracks[0])
    url = session.sandbox.base_url
    import psutil

    [program] = [p for p in psutil.Process(session.service.pid).children() if "kit.sandbox" in p.cmdline()]
    os.kill(program.pid, signal.SIGKILL)
    assert video.wait(timeout=60).files
    assert url == session.sandbox.base_url


def test_a_flood_of_nonsense_on_one_url_is_kept_and_changes_nothing(connect):
    """Fifty bodies that are no JSON are each stored and answered 200, and the task stands as it stood."""
    session = connect(speed=1)
    session.sandbox.speed = 200
    song = make_song(session)
    with session.sandbox.next("video", callbacks="lost"):
        video = session.create_video(song.tracks[0], save=False)
    import httpx

    url = job_of(session, video)["callback_url"]
    with httpx.Client(trust_env=False) as http:
        statuses = [http.post(url, content=b"{").status_code for _ in range(50)]
    until(lambda: video.state.deliveries == 50)

    assert [200] * 50 == statuses
    assert "pending" == video.status

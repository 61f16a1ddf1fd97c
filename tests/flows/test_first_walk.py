"""The first walk: every kind, from the call to the verified file, over the real path, in both dialects."""

from __future__ import annotations

import hashlib

import pytest

import kit
from tests.flows.acting import make_song


@pytest.mark.parametrize("profile", ["sandbox", "sandbox-kie"])
def test_every_kind_ends_as_a_verified_file_and_a_row(connect, profile):
    """A song, its video, its covers and its WAV arrive by callback, are decoded, and stand in the tables."""
    session = connect(profile, speed=1)  # polls are rare, so that what is learned is learned by callback
    session.sandbox.speed = 200
    song = session.generate_music(style="techno", title="Tail Lights", instrumental=True).wait(timeout=60)
    tasks = [
        song,
        session.create_video(song.tracks[0], author="Ada").wait(timeout=60),
        session.create_cover_images(song).wait(timeout=60),
        session.convert_wav(song.tracks[0]).wait(timeout=60),
    ]
    frame = session.tasks().set_index("id")
    files = session.files()

    assert [4, 1, 2, 1] == [len(task.files) for task in tasks]
    assert ["succeeded"] * 4 == [frame.loc[task.id, "status"] for task in tasks]
    assert {"saved"} == set(files["status"])
    assert {"decoded"} == set(files["verified"])
    assert all(hashlib.sha256(f.path.read_bytes()).hexdigest() == f.sha256 for t in tasks for f in t.files)
    assert {"callback"} == set(frame["learned_by"])


def test_the_same_wish_returns_the_same_task_and_again_buys_another(connect):
    """Two calls with the same parameters are one purchase; `again=True` makes it two."""
    session = connect()
    first, second = make_song(session), make_song(session)
    third = session.generate_music(
        style="slow piano, rain", title="Window Seat", instrumental=True, save=False, again=True
    )

    assert first.id == second.id != third.id
    assert session.sandbox.creates == 2


def test_a_failure_says_what_it_means_and_what_to_do(connect):
    """`wait()` raises with the code, the provider's words, their meaning on that page, the refund and the next step."""
    session = connect()
    song = make_song(session)
    with session.sandbox.next("cover_image", code=531), pytest.raises(kit.TaskFailed) as failed:
        session.create_cover_images(song).wait(timeout=60)

    assert failed.value.code == 531
    assert failed.value.refunded is True
    assert failed.value.provider_message
    assert "refunded" in str(failed.value)
    assert session.task(failed.value.id).status == "failed"


def test_a_duplicate_at_the_provider_leads_to_the_known_task(connect):
    """Another wish for what the provider already has returns the row that holds it, however often it is made."""
    session = connect()
    song = make_song(session)
    video = session.create_video(song.tracks[0], author="Ada", save=False).wait(timeout=60)
    others = [session.create_video(song.tracks[0], author="Bob", save=False) for _ in range(2)]
    again = session.create_video(song.tracks[0], author="Ada", again=True, save=False)
    first = session.create_video(song.tracks[0], author="Ada", save=False)

    assert {video.id} == {task.id for task in (*others, again, first)}
    assert "succeeded" == first.wait(timeout=30).status


def test_a_task_bought_elsewhere_is_adopted_without_buying(connect):
    """`adopt` follows the provider's id to its files; no submission leaves."""
    session = connect()
    song = make_song(session)
    wav = session.convert_wav(song.tracks[0], save=False).wait(timeout=60)
    task_id, creates = wav.task_id, session.sandbox.creates
    elsewhere = connect(data="another")
    assert elsewhere.sandbox.base_url != session.sandbox.base_url

    again = session.adopt(task_id, kind="wav")
    assert (wav.id, creates) == (again.id, session.sandbox.creates)


def test_a_wait_that_ends_early_says_collect_and_not_resubmit(connect):
    """`WaitTimeout` is a `TimeoutError` that names both ids, the last state and the way back."""
    session = connect(speed=1)
    task = session.generate_music("a song that takes its time")
    with pytest.raises(kit.WaitTimeout) as timed_out:
        task.wait(timeout=0.5)

    assert isinstance(timed_out.value, TimeoutError)
    assert task.id in str(timed_out.value)
    assert task.task_id in str(timed_out.value)
    assert "pending" in str(timed_out.value)
    assert "do not submit it again" in str(timed_out.value)


def test_a_lost_submit_answer_is_never_sent_again_and_its_callback_settles_it(connect):
    """The row stays unconfirmed, one job exists, and the callback on its own URL brings the result."""
    session = connect()
    song = make_song(session)
    with session.sandbox.next("wav", submit="lost_answer"):
        wav = session.convert_wav(song.tracks[0]).wait(timeout=60)

    assert wav.status == "succeeded"
    assert wav.files
    assert session.sandbox.creates == 2
    assert wav.task_id == wav.state.evidence.answer.task_id  # its name outlives its deliveries

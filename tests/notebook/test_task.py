"""The handle on one task: what it shows, what waiting ends with, and what a person can tell it to do."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import kit
from kit.ledger.fold import fold
from kit.service.providers import LOCAL_KEY
from tests.flows.acting import post, until
from tests.ledger.stories import answer, departure, details, file, intent, numbered

HOSTILE = "<img src=x onerror=alert(1)>\n</script>\u202e"

_numbers = itertools.count(1)


def buy(session: kit.Session, **wishes: Any) -> kit.Task:
    """Buy a song that no other test has bought."""
    title = wishes.pop("title", f"Task {next(_numbers)}")
    return session.generate_music(style="slow piano", title=title, instrumental=True, **wishes)


@pytest.fixture
def session(shared):
    """The module's session, at work and without faults, whatever the test before did."""
    shared.session.sandbox.speed = 200
    yield shared.session
    shared.session.sandbox.clear()


def test_a_handle_is_one_line_and_its_card_is_escaped(session):
    """The repr names id, kind, status and title in one line; the HTML holds no markup of the title's."""
    task = buy(session, title=HOSTILE, save=False)
    line, card = repr(task), task._repr_html_()

    assert line.startswith(f"<Task {task.id} music {task.status} '<img")
    assert 1 == len(line.splitlines())
    assert "<img" not in card
    assert "</script" not in card
    assert "&lt;img src=x onerror=alert(1)&gt;" in card


def test_a_very_long_title_stays_short_in_the_handle(session):
    """A title of any length from outside does not fill the page."""
    task = session.generate_music(style="x", title="y" * 100, instrumental=True, save=False)

    assert "y" * 80 in repr(task)
    assert "y" * 81 not in repr(task)


def test_a_handle_holds_no_secret(session, shared):
    """Neither tokens nor the callback's secret are in what handles, tracks, session and record print."""
    job = next(job for job in session.sandbox.jobs() if job["task_id"] == shared.song.task_id)
    secrets = [
        session.service.control_token,
        session.service.media_token,
        job["callback_url"].rsplit("/", 1)[1],
        LOCAL_KEY.reveal(),
    ]
    things = [shared.song, *shared.song.tracks, session, session.service, session.sandbox, shared.song.state]
    shown = "".join(map(repr, things)) + shared.song._repr_html_()

    assert [] == [secret for secret in secrets if secret in shown]


def test_a_track_is_a_value_with_the_facts_of_its_take(session, shared):
    """Both takes have ids, numbers and lengths of their own; the same take twice is equal and hashes alike."""
    first, second = shared.song.tracks

    assert (0, 1) == (first.index, second.index)
    assert first.audio_id != second.audio_id
    assert first.task_id == second.task_id == shared.song.task_id
    assert first.title == "Window Seat"
    assert first.duration_s > 1
    assert {first} == {session.task(shared.song.id).tracks[0]}
    assert shared.song.tracks[-1] == second
    assert (first, second) == shared.song.tracks[:]


def test_a_song_has_no_takes_before_the_provider_names_them(session):
    """`tracks` is empty while a song is being made, and asking for one says what to wait for."""
    session.sandbox.speed = 0.01
    task = buy(session, save=False)

    assert () == task.tracks
    with pytest.raises(LookupError, match=r"none yet.*\.wait\(\)"):
        _ = task.tracks[0]
    task.forget()


def test_without_saving_a_wait_ends_with_links_and_save_fetches_later(session):
    """`save=False` leaves the files with the provider; `save().wait()` brings every one, verified."""
    task = buy(session, save=False).wait(timeout=60)
    assert [] == task.files
    assert {"waiting"} == {file.status for file in task.state.files}

    files = task.save().wait(timeout=60).files
    assert [("audio", 0), ("audio", 1), ("image", 0), ("image", 1)] == [(f.role, f.index) for f in files]
    assert all(hashlib.sha256(f.path.read_bytes()).hexdigest() == f.sha256 for f in files)
    assert {"decoded"} == {f.verified for f in files}
    assert all(f.path.is_absolute() for f in files)


def test_a_wait_for_success_ends_before_the_files_are_here(session):
    """`until="succeeded"` returns when the provider is done, while a slow file is still on its way."""
    with session.sandbox.next("wav", media="slow", answers=1):
        song = buy(session, save=False).wait(timeout=60)
        wav = session.convert_wav(song.tracks[0]).wait(until="succeeded", timeout=60)

    assert "succeeded" == wav.status
    assert [] == wav.files
    assert wav.state.files[0].status in ("waiting", "downloading")


def test_what_is_forgotten_stays_as_a_row_and_ends_every_wait(session):
    """`forget` makes the row abandoned; waiting for it says what to do, and nothing of it is fetched."""
    session.sandbox.speed = 0.01
    task = buy(session).forget()
    with pytest.raises(kit.TaskFailed, match="not followed any further"):
        task.wait(timeout=5)

    assert "abandoned" == session.tasks().set_index("id").loc[task.id, "status"]
    assert [] == task.files


def test_a_refresh_asks_now(connect):
    """Where callbacks are lost and the next poll is far away, `refresh` finds the result at once."""
    session = connect(speed=1)
    session.sandbox.speed = 400
    with session.sandbox.always(callbacks="lost"):
        task = session.generate_music("a song", save=False)
        until(lambda: session.sandbox.jobs()[-1]["completed_at"] and session.sandbox.jobs()[-1]["state"] == "SUCCESS")
        assert "pending" == task.status
        assert task.refresh() is task
        task.wait(timeout=10)

    assert "succeeded" == task.status


def test_confirming_makes_a_stranger_s_callback_the_result(session, shared):
    """What arrives on a listen-only URL is unconfirmed and not fetched, until the person vouches for it."""
    wav = session.convert_wav(shared.song.tracks[0], save=False).wait(timeout=60)
    url = session.callback_url("wav")
    data = {"task_id": "bought-elsewhere", "audioWavUrl": wav.state.files[0].urls[0]}
    assert 200 == post(url, {"code": 200, "msg": "success", "data": data})
    until(lambda: "bought-elsewhere" in set(session.tasks()["task_id"]))
    task = session.task("bought-elsewhere")

    assert "unconfirmed" == task.status
    assert [] == task.files
    assert "decoded" == task.confirm().wait(timeout=60).files[0].verified


def test_a_task_bought_with_another_client_is_adopted_and_kept(session):
    """`adopt` follows an id that no call here made; nothing is bought, and adopting twice is one row."""
    wish = {"prompt": "a song", "customMode": False, "instrumental": False, "model": "V4_5"}
    answer = httpx.post(
        f"{session.sandbox.base_url}/api/v1/generate",
        json={**wish, "callBackUrl": "https://localhost/elsewhere"},
        headers={"Authorization": f"Bearer {LOCAL_KEY.reveal()}"},
        trust_env=False,
    )
    task_id, creates = answer.json()["data"]["taskId"], session.sandbox.creates
    task = session.adopt(f" {task_id} ", kind="music").wait(timeout=60)

    assert (4, task_id) == (len(task.files), task.task_id)
    assert task.id == session.adopt(task_id, kind="music").id == session.task(task_id).id
    assert creates == session.sandbox.creates


def test_a_file_that_is_gone_is_not_saved_and_says_how_to_ask_again(session):
    """A link that has died ends the wait at once with `NotSaved`: it is paid for, and `save()` asks again."""
    song = buy(session, save=False).wait(timeout=60)
    with session.sandbox.next("wav", media="expired"):
        wav = session.convert_wav(song.tracks[0])
        with pytest.raises(kit.NotSaved, match=r"1 of 1 files.*It is paid for.*\.save\(\)\.wait\(\)") as raised:
            wav.wait(timeout=60)

    assert wav.id in str(raised.value)
    assert ("succeeded", "expired") == (wav.status, wav.state.files[0].status)


@pytest.mark.parametrize(
    ("statuses", "next_step"),
    [
        (["failed", "saved"], r"Next: ask again with session\.task\('t1'\)\.save\(\)\.wait\(\)\.$"),
        (
            ["expired", "saved"],
            r"expired cannot be fetched any more, unless the provider shows a fresh link: .*looks\.$",
        ),
        (["failed", "expired"], r"Next: ask again .*save\(\)\.wait\(\)\. What has expired cannot be fetched any more"),
    ],
)
def test_what_is_not_saved_says_the_next_step(statuses, next_step):
    """What failed may be asked for again; of what expired nobody is told that asking alone helps."""
    files = [file(status, role="audio", index=n, reason="why") for n, status in enumerate(statuses)]
    state = fold(numbered(intent(), departure(), answer(), details(url=None), *files))
    hold: Any = SimpleNamespace(state_of=lambda _: state, progress_of=lambda _: {})
    state = replace(state, files=tuple(f for f in state.files if f.role == "audio"), status="succeeded", save=True)
    with pytest.raises(kit.NotSaved, match=next_step) as raised:
        kit.Task(hold, "t1").wait(timeout=1)

    assert f"{2 - statuses.count('saved')} of 2 files could not be saved" in str(raised.value)


def test_a_saved_file_has_its_figures():
    """Loudness, silence and clipping of sound are on the handle as they are in the table; a picture has none."""
    facts = {"loudness_lufs": -14.2, "silence_s": 1.5, "clipped": 0.01}
    state = fold(numbered(intent(), departure(), answer(), details(), file("saved", path="a.mp4", **facts)))
    hold: Any = SimpleNamespace(state_of=lambda _: state, path_of=lambda f: Path(f.path))
    (saved,) = kit.Task(hold, "t1").files

    assert facts == {name: getattr(saved, name) for name in facts}


def test_a_timeout_carries_what_is_needed_to_collect_later(session):
    """`WaitTimeout` has both ids, kind, status and the seconds; an endless wait may be asked for."""
    session.sandbox.speed = 0.01
    task = buy(session, save=False)
    until(lambda: task.task_id)
    with pytest.raises(kit.WaitTimeout) as raised:
        task.wait(timeout=0.3)
    timeout = raised.value

    assert (task.id, task.task_id, "music", "pending") == (timeout.id, timeout.task_id, timeout.kind, timeout.status)
    assert 0.3 <= timeout.waited_s < 2
    session.sandbox.speed = 200
    assert "succeeded" == task.wait(timeout=float("inf")).status


def test_tasks_are_awaited_together_in_a_plain_program(session):
    """`asyncio.gather` returns each task in its place; one that fails raises in its own place alone."""
    with session.sandbox.next("music", code=451):
        failing = buy(session, save=False)
    others = [buy(session, save=False) for _ in range(3)]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(failing, *others, return_exceptions=True)

    failed, *made = asyncio.run(all_of_them())
    assert (451, failing.id) == (failed.code, failed.id)
    assert others == made
    assert {"succeeded"} == {task.status for task in made}


def test_a_failed_task_is_bought_again_once_and_says_the_price(session, caplog):
    """`resubmit` sends the same wish as a new task and lets the old one be; asked twice it is the same new task."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    with session.sandbox.next("music", code=451):
        failed = buy(session, save=False)
        with pytest.raises(kit.TaskFailed):
            failed.wait(timeout=60)
    before = session.sandbox.creates
    new = failed.resubmit()

    assert f"again as task {new.id}, for its price" in caplog.text
    assert (failed.title, failed.id) == (new.title, new.state.instead_of)
    assert "succeeded" == new.wait(timeout=60).status
    assert new.id == failed.resubmit().id
    assert "it is returned, and nothing was spent" in caplog.text
    assert before + 1 == session.sandbox.creates


def test_a_published_price_is_said(shared, caplog):
    """Where the provider publishes what a song costs, `resubmit` says it."""
    caplog.set_level(logging.INFO, "kit.notebook.live")
    with shared.kie.sandbox.next("music", submit=451):
        failed = buy(shared.kie, save=False)
    failed.resubmit().wait(timeout=60)

    assert "for up to 12 credits." in caplog.text


def test_a_lost_submission_says_what_it_may_cost_and_the_ways_on(connect):
    """Waiting for it ends in `Unconfirmed` with every way; its card says the same; `resubmit` lets the lost one go."""
    session = connect("sandbox-kie")
    with session.sandbox.next("music", submit="lost_answer", callbacks="lost"):
        lost = buy(session, save=False)
    with pytest.raises(kit.Unconfirmed) as raised:
        lost.wait(timeout=0.5)
    told = str(raised.value)
    new = lost.resubmit().wait(timeout=60)

    parts = [
        "12 credits may have been charged",
        "never sent again by itself",
        "ts callback settles it",
        "session.adopt",
    ]
    for part in (*parts, lost.id, "task.resubmit()", "task.forget()", "12 credits more", "Nothing arrived in"):
        assert part in told, part
    assert ("succeeded", "abandoned") == (new.status, lost.status)
    assert 2 == session.sandbox.creates
    with pytest.raises(kit.TaskFailed, match="not followed"):
        lost.wait()


def test_a_card_of_a_lost_submission_shows_the_ways(session):
    """What the error says stands on the card too, and our own words are not said to be the provider's."""
    with session.sandbox.next("music", submit="lost_answer", callbacks="lost"):
        lost = buy(session, save=False)
    card = lost._repr_html_()
    lost.forget()

    assert "may have been charged" in card
    assert "task.resubmit()" in card
    assert "The provider wrote" not in card


def test_without_an_address_of_ours_a_lost_submission_ends_the_wait_at_once(connect):
    """Under polling alone nothing can name the task, so there is nothing to wait for."""
    session = connect(tunnel="none")
    with session.sandbox.next("music", submit="lost_answer"):
        lost = buy(session, save=False)
    with pytest.raises(kit.Unconfirmed, match=r"task\.resubmit\(\)") as raised:
        lost.wait(timeout=60)

    assert "callback settles" not in str(raised.value)


def test_a_delivery_is_worked_through_again(session):
    """`replay` takes a row, a frame of one row or a number, and returns the task; nothing is stored twice."""
    song = buy(session, save=False).wait(timeout=60)
    until(lambda: song.state.deliveries >= 3)
    rows = session.deliveries().query("id == @song.id")
    replayed = [session.replay(each) for each in (rows.iloc[-1], rows.tail(1), int(rows["seq"].iloc[-1]))]

    assert [song.id] * 3 == [task.id for task in replayed]
    assert rows["seq"].to_list() == session.deliveries().query("id == @song.id")["seq"].to_list()
    assert "succeeded" == song.status

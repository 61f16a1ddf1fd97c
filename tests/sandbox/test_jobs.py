"""Jobs over time, and everything that outlives the program: jobs in flight, balance, count, faults, clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.errors import SettingsError
from kit.provider.kinds import KINDS
from kit.sandbox.clock import Clock
from kit.sandbox.files import Made
from kit.sandbox.jobs import Book, Job, stages
from kit.sandbox.store import Store
from tests.sandbox.running import BYTES, Receiver, Running, stub, until


def test_durations_are_those_of_the_table() -> None:
    """Music 10, 40 and 120 s of work, WAV 60, video 120, cover 146 (provider-api 13.4)."""
    found = {kind: [stage.after for stage in stages(Job("t", kind, 1, {}, 0, 0, 0)) if stage.told] for kind in KINDS}
    assert {"music": [10, 40, 120], "video": [120], "cover_image": [146], "wav": [60]} == found


def test_jobs_in_flight_go_on_after_a_restart(start: Callable[..., Running], receiver: Receiver) -> None:
    """A job begun in one run is finished, called back and served by the next, with its id, links and price kept."""
    first = start(speed=0.01)
    task_id = first.accepted("music", receiver.url)
    first.sandbox.next("wav", code=451)
    first.close()
    again = start(speed=5000)
    assert again.ended(task_id)["state"] == "SUCCESS"
    assert ["text", "first", "complete"] == receiver.stages()
    assert (1, 988.0) == (again.sandbox.creates, again.sandbox.credits)
    audio_id = again.job(task_id)["audio_ids"][0]
    assert again.ended(again.accepted("wav", taskId=task_id, audioId=audio_id))["code"] == 451
    assert {"text", "first", "complete"} == set(receiver.stages())


def test_finished_jobs_are_served_by_the_next_run(start: Callable[..., Running]) -> None:
    """Links and duplicates of an earlier run still hold on the kept port, also where the file is gone from disk."""
    first = start()
    song = first.song()
    wav = first.accepted("wav", **song)
    first.ended(wav)
    url = first.details("wav", wav)["response"]["audioWavUrl"]
    first.close()
    for path in (Path(first.folder) / "media").rglob("*.wav"):
        path.unlink()
    again = start(port=first.port)
    assert again.get(url).content.startswith(b"wav")
    assert again.submit("wav", **song).json()["data"] == {"taskId": wav}


def test_a_finished_file_does_not_wait_behind_those_being_made(start: Callable[..., Running]) -> None:
    """While every thread of the media room is busy, in this run or the next, what is on disk is served at once."""
    free = threading.Event()
    free.set()

    def maker(recipe: dict[str, Any]) -> Made:
        assert free.wait(10)
        return stub(recipe)

    first = start(maker=maker)
    url = first.details("music", first.song()["taskId"])["response"]["sunoData"][0]["audioUrl"]
    free.clear()
    first.accepted("music")
    seen = [first.get(url).content]
    free.set()
    first.close()
    free.clear()
    again = start(port=first.port, maker=maker)
    again.accepted("music")
    seen.append(again.get(url).content)
    free.set()
    assert seen[0] == seen[1] == b"mp3" + BYTES


def test_nothing_is_rendered_again_by_the_next_run(start: Callable[..., Running]) -> None:
    """Files made before their stage was reached are there after a restart, with the length that the takes tell."""
    made: list[str] = []

    def maker(recipe: dict[str, Any]) -> Made:
        made.append(recipe["form"])
        return stub(recipe)

    first = start(speed=0.01, maker=maker)
    task_id = first.accepted("music")
    until(lambda: len(list((first.folder / "media" / "s").glob("[!.]*"))) == 4)
    first.close()
    again = start(speed=5000, maker=maker)
    again.ended(task_id)
    assert [16.0, 16.0] == [take["duration"] for take in again.details("music", task_id)["response"]["sunoData"]]
    assert ["image", "image", "mp3", "mp3"] == sorted(made)


def test_speed_is_kept_unless_another_is_given(start: Callable[..., Running]) -> None:
    """A restart without a speed goes on at the folder's; the first default is 20."""
    first = start(speed=None)
    assert first.sandbox.speed == 20
    first.sandbox.speed = 77
    first.close()
    assert start(speed=None).sandbox.speed == 77


def test_a_change_of_speed_reaches_jobs_in_flight(start: Callable[..., Running]) -> None:
    """A job that would take hours ends at once when the speed is raised."""
    provider = start(speed=0.01)
    task_id = provider.accepted("music")
    provider.sandbox.speed = 50_000
    until(lambda: provider.job(task_id)["outcome"] == "succeeded")


def test_media_that_cannot_be_made_is_a_failure_with_500(start: Callable[..., Running]) -> None:
    """A job whose files cannot be made fails as the provider's would, and does not hang."""

    def broken(recipe: dict[str, object]) -> tuple[bytes, float]:
        raise OSError("no room")

    provider = start(maker=broken)
    job = provider.ended(provider.accepted("music"))
    assert ("failed", 500) == (job["outcome"], job["code"])


def test_work_time_bends_and_shelf_time_skips(tmp_path: Path) -> None:
    """10 s at speed 20 and 10 s at speed 2 are 220 s of work; skipped days move the shelf alone."""
    now = [1000.0]
    clock = Clock(Store(tmp_path / "s"), speed=20, now=lambda: now[0])
    now[0] += 10
    clock.set_speed(2)
    now[0] += 10
    clock.skip(3)
    assert (220.0, 1020.0, 1020.0 + 3 * 86_400) == (clock.work(), clock.real(), clock.shelf())


def test_work_time_never_runs_backwards(tmp_path: Path) -> None:
    """A wall clock that leaps back stops the work and does not undo it."""
    now = [1000.0]
    clock = Clock(Store(tmp_path / "s"), speed=20, now=lambda: now[0])
    now[0] -= 500
    assert clock.work() == 0.0


def test_a_folder_belongs_to_one_dialect(tmp_path: Path) -> None:
    """The other dialect is refused with what to do."""
    store = Store(tmp_path / "s")
    Book(store, Clock(store), "kie")
    with pytest.raises(SettingsError, match="another --folder"):
        Book(store, Clock(store), "sunoapi")

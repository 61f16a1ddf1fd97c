"""The examining process: recorded while it runs, replaced when it dies, and never more than one file's loss."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import struct

import psutil
import pytest

from kit.service.children import Children
from kit.service.examination import MEMORY
from kit.service.platforms import identity
from kit.service.verifier import SLOWEST, Verifier
from tests.service.samples import pcm, tone, wav_of, whole


def recorded(tmp_path):
    """Return the pids that the next service would find."""
    return [child["pid"] for child in json.loads((tmp_path / "children.json").read_text())["children"]]


@pytest.fixture
def files(tmp_path):
    """Files to look at: a picture, and a recording of an hour of silence, which has holes and takes no room."""
    (tmp_path / "picture").write_bytes(whole()["png"])
    head, size = wav_of(pcm(tone(0))), 3600 * 44100 * 4
    with (tmp_path / "hour").open("wb") as file:
        file.write(head[:4] + struct.pack("<I", size + 36) + head[8:40] + struct.pack("<I", size))
        file.truncate(44 + size)
    return tmp_path


def story_of(tmp_path, story, **more):
    """Run a story with a verifier that is closed at its end; return what the story returns."""

    async def run():
        verifier = Verifier(children=Children(tmp_path), **more)
        try:
            return await story(verifier)
        finally:
            await verifier.close()

    return asyncio.run(run())


async def at_work(tmp_path):
    """Return the worker once it decodes: it is far beyond what a walk through the structure reads."""
    while True:
        for pid in recorded(tmp_path) if (tmp_path / "children.json").exists() else []:
            worker = psutil.Process(pid)
            if any(file.position > 1_000_000 for file in worker.open_files() if file.path.startswith(str(tmp_path))):
                return worker
        await asyncio.sleep(0.02)


def test_its_worker_is_recorded_replaced_and_struck_out(tmp_path):
    """One worker at a time is on the record, in a session of its own; a dead one is followed by another."""
    (tmp_path / "file").write_bytes(b"no media at all")

    async def story(verifier):
        await verifier.examine(tmp_path / "file", "video")
        (first,) = recorded(tmp_path)
        assert os.getsid(first) == first
        psutil.Process(first).kill()
        assert "not an MP4" in (await verifier.examine(tmp_path / "file", "video")).reason
        (second,) = recorded(tmp_path)
        return first, second

    seen = story_of(tmp_path, story)
    assert 2 == len(set(seen))
    assert [] == recorded(tmp_path)
    assert [None] * 2 == [identity(pid) for pid in seen]


def test_one_worker_serves_all_files(files):
    """It stays warm from file to file; files come one after the other, however many ask."""

    async def story(verifier):
        verdicts = await asyncio.gather(*(verifier.examine(files / "picture", "image") for _ in range(20)))
        return verdicts, recorded(files)

    verdicts, workers = story_of(files, story)
    assert ["decoded"] * 20 == [verdict.verified for verdict in verdicts]
    assert 1 == len(workers)


def test_a_worker_that_dies_over_a_file_costs_the_verdict_on_that_file(files, caplog):
    """Killed while it decodes, the file is kept at level `structure`, the log says so, and the next is decoded."""
    caplog.set_level(logging.WARNING)

    async def story(verifier):
        asked = asyncio.create_task(verifier.examine(files / "hour", "wav"))
        waiting = asyncio.create_task(verifier.examine(files / "picture", "image"))
        (await at_work(files)).kill()
        return await asked, await waiting

    hour, picture = story_of(files, story)
    assert ("structure", "audio/wav", None) == (hour.verified, hour.media_type, hour.reason)
    assert ("decoded", None) == (picture.verified, picture.reason)
    assert "hour" in caplog.text


def test_a_worker_that_does_not_end_is_ended(files):
    """A file that takes longer than its size allows is kept at level `structure`; whoever sat over it is gone."""

    async def story(verifier):
        return await verifier.examine(files / "hour", "wav"), recorded(files)

    patience = 3.5 - (files / "hour").stat().st_size / SLOWEST
    verdict, workers = story_of(files, story, patience_s=patience)
    assert ("structure", None, []) == (verdict.verified, verdict.reason, workers)


def test_where_no_worker_answers_the_reason_says_so(files):
    """Nobody is kept waiting and nothing is kept that nobody looked at."""

    async def story(verifier):
        return await verifier.examine(files / "picture", "image")

    verdict = story_of(files, story, patience_s=0.0)
    assert "could not be examined" in verdict.reason
    assert "length" == verdict.verified


def test_who_gives_up_waiting_leaves_no_answer_to_the_next(files):
    """A question that was cancelled takes its worker with it: its late answer would be taken for another file's."""

    async def story(verifier):
        asked = asyncio.create_task(verifier.examine(files / "hour", "wav"))
        await at_work(files)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert [] == recorded(files)
        return await verifier.examine(files / "picture", "image")

    assert "image/png" == story_of(files, story).media_type


def test_the_worker_is_limited_and_steps_back(files):
    """Its memory has a limit and every other process goes first."""

    async def story(verifier):
        await verifier.examine(files / "picture", "image")
        worker = psutil.Process(recorded(files)[0])
        return worker.rlimit(psutil.RLIMIT_AS)[0], worker.memory_info().vms, worker.nice()

    limit, mapped, nice = story_of(files, story)
    assert MEMORY <= limit < mapped + MEMORY
    assert os.nice(0) + 10 == nice or nice == 19

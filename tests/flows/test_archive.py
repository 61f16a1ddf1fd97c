"""The archive through the real service: all of it fetched on request, checked by hash, mended, and never in the way."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager

from kit.service.control_client import Control
from kit.service.process import await_end, running
from tests.flows.acting import make_song, until


@contextmanager
def control_of(session):
    """Open a line to the service of a session, for what is asked beneath the notebook."""
    control = Control(running(session.area))
    try:
        yield control
    finally:
        control.close()


def statuses(task):
    """Return the statuses of a task's files."""
    return [file.status for file in task.state.files]


def test_what_was_left_is_counted_fetched_checked_and_mended(connect):
    """Sizes are told before anything is fetched; then all is saved; what is lost or spoilt later is fetched again."""
    session = connect()
    song = make_song(session)
    with control_of(session) as control:
        told = control.unsaved()
        asked = control.save_all()["tasks"]
        until(lambda: song.state.saved)
        files = {(f.role, f.index): f for f in song.state.files}
        left = control.unsaved()["files"]
        paths = [session.area / f.path for f in files.values()]
        paths[0].unlink()
        paths[1].write_bytes(paths[1].read_bytes()[::-1])
        results = {row["path"]: row["result"] for row in control.verify()["files"]}
        until(lambda: song.state.saved)
        waiting = control.health()["waiting_for_room"]

    assert {(f["role"], f["index"]): f["bytes"] for f in told["files"]} == {k: f.bytes for k, f in files.items()}
    assert (4, [song.id], True, [], 0) == (len(files), asked, told["free"] > 0, left, waiting)
    assert ["missing", "changed", "intact", "intact"] == [results[f.path] for f in files.values()]
    for file in song.state.files:
        assert file.sha256 == hashlib.sha256((session.area / file.path).read_bytes()).hexdigest()
    assert paths[0].exists()
    assert 5 == len(list((session.area / "archive").iterdir()))  # what was changed is somebody's, and stays


def test_a_service_that_fetches_ends_at_once_and_the_next_one_goes_on(connect):
    """Told to end while a file drips in, it is gone within three seconds, with nothing half saved and nothing lost."""
    session = connect()
    song, record = make_song(session), running(session.area)
    with session.sandbox.next("wav", media="slow", answers=1):
        wav = session.convert_wav(song.tracks[0])
    until(lambda: list((session.area / "archive").glob("*.part")))
    began = time.monotonic()
    session.shutdown()
    await_end(record)
    took = time.monotonic() - began

    assert took < 3
    assert {".part"} >= {path.suffix for path in (session.area / "archive").iterdir()}
    again = connect().task(wav.id).wait(timeout=60)
    assert (["saved"], [".wav"]) == (statuses(again), [p.suffix for p in (session.area / "archive").iterdir()])

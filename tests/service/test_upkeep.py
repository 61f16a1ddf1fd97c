"""The folder compared with the ledger: what is missing is known, what is whole is taken up, the rest is left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kit.errors import ServiceError
from kit.ledger.facts import Loss
from tests.service.keeping import FILM, details, made, names, story


def saved_before(tmp_path, *, ago=timedelta(0)):
    """Return the id and path of a file that an earlier run saved."""

    async def tell(world):
        id, facts = made(world.served.put("/a", FILM), ago=ago)
        await world.hub.record(*facts)
        await world.until(id, "saved")
        return id, tmp_path / world.file(id).path

    return story(tmp_path, tell)


def losses(world):
    """Return the reasons of the losses that were recorded."""
    return [fact.reason for _, fact in world.ledger.facts() if isinstance(fact, Loss)]


def start(tmp_path):
    """Start again; return the one file's state after the look through the folder, the losses, and the looks."""

    async def tell(world):
        world.hub.on_change = lambda _: None  # nothing is fetched
        [id] = world.hub.states
        await world.when(lambda: world.swept)
        return world.file(id), losses(world), world.judge.looked

    return story(tmp_path, tell)


def test_nothing_is_hashed_or_recorded_where_all_is_as_it_was(tmp_path):
    """A start looks at presence and size, and no more."""
    _, path = saved_before(tmp_path)
    path.write_bytes(FILM[::-1])  # same size: a start does not see it, `verify` does

    file, lost, looked = start(tmp_path)
    assert ("saved", [], 0) == (file.status, lost, looked)


def test_parts_of_a_run_that_ended_are_removed(tmp_path):
    """Nobody else writes there, so a part is from a run that was killed."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "t1c3k9x7q2m4z-wav-1.part").write_bytes(b"half")

    async def tell(world):
        await world.when(lambda: world.swept)

    story(tmp_path, tell)
    assert [] == names(tmp_path / "archive")


@pytest.mark.parametrize("harm", ["deleted", "cut"])
@pytest.mark.parametrize(("days", "status"), [(1, "waiting"), (30, "failed")])
def test_a_saved_file_that_is_gone_is_recorded_and_wanted_again_while_its_link_lives(tmp_path, harm, days, status):
    """The row says what happened; where the link lives the file waits for its turn, and nothing is overwritten."""
    _, path = saved_before(tmp_path, ago=timedelta(days=days))
    path.unlink() if harm == "deleted" else path.write_bytes(b"a film")
    before = names(path.parent)

    file, lost, _ = start(tmp_path)
    assert (1, "not in the archive" if harm == "deleted" else "6 bytes now") == (
        len(lost),
        next(text for text in ("not in the archive", "6 bytes now") if text in lost[0]),
    )
    assert (status, True) == (file.status, lost[0] in file.reason)
    assert before == names(path.parent)


def test_a_file_that_got_its_name_and_no_row_is_adopted(tmp_path):
    """A run that was killed between the name and the row costs no second download."""
    rows = []

    async def placed(world):
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        (world.archive / f"A-Title-{id}-video-1.mp4").write_bytes(FILM)
        (world.archive / f"{id}-video-2.mp4").write_bytes(FILM)  # of no slot that is known
        (world.archive / "holiday.mp4").write_bytes(FILM)
        rows.append(id)

    story(tmp_path, placed, works=False)
    file, lost, looked = start(tmp_path)

    assert ("saved", f"archive/A-Title-{rows[0]}-video-1.mp4", []) == (file.status, file.path, lost)
    assert (len(FILM), "decoded", 1) == (file.bytes, file.verified, looked)
    assert 3 == len(names(tmp_path / "archive"))


def test_a_file_without_a_row_that_is_not_sound_is_left_alone(tmp_path):
    """It is neither taken for saved nor touched: the file is fetched, and gets the next free name."""

    async def placed(world):
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        (world.archive / f"Window-Seat-{id}-video-1.mp4").write_bytes(b"<html>")

    story(tmp_path, placed, works=False)

    async def tell(world):
        [id] = world.hub.states
        world.served.put("/b", FILM)
        await world.hub.record(details(id, world.served.base + "/b"))
        return await world.until(id, "saved")

    file = story(tmp_path, tell)
    assert file.path.endswith("-video-1 (2).mp4")
    assert b"<html>" == (tmp_path / file.path.replace(" (2)", "")).read_bytes()


def test_what_was_changed_after_it_was_saved_is_never_adopted(tmp_path):
    """Bytes that rotted do not become a saved file at the next start, however sound they look."""
    _, path = saved_before(tmp_path, ago=timedelta(days=30))
    path.write_bytes(b"a film that rotted")
    start(tmp_path)

    file, lost, _ = start(tmp_path)
    assert ("failed", 1) == (file.status, len(lost))


def test_a_lost_file_that_is_put_back_is_saved_again(tmp_path):
    """The same bytes under a name of ours are what was saved, wherever they were meanwhile."""
    id, path = saved_before(tmp_path, ago=timedelta(days=30))
    path.rename(tmp_path / "elsewhere")
    assert "failed" == start(tmp_path)[0].status
    (tmp_path / "elsewhere").rename(path.with_name(f"My-own-title-{id}-video-1.mp4"))

    file, _, _ = start(tmp_path)
    assert ("saved", f"archive/My-own-title-{id}-video-1.mp4") == (file.status, file.path)


@pytest.mark.parametrize(
    ("harm", "result"), [(None, "intact"), ("deleted", "missing"), ("linked", "missing"), ("rotted", "changed")]
)
def test_verify_compares_every_byte(tmp_path, harm, result):
    """Each saved file is hashed: what is not as it was is recorded and fetched anew, beside what lies there."""

    async def tell(world):
        events, told = [], world.hub.tell
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        path = tmp_path / (await world.until(id, "saved")).path
        if harm is not None:
            path.unlink()
        if harm == "linked":
            path.symlink_to("/etc/hostname")
        if harm == "rotted":
            path.write_bytes(b"A" + FILM[1:])
        world.hub.tell = lambda event: (events.append(event), told(event))
        rows = (await world.upkeep.verify())["files"]
        lost = losses(world)
        return rows, events, lost, (await world.until(id, "saved")).path, id

    [row], events, lost, path, id = story(tmp_path, tell)
    assert (id, "video", 0, result) == (row["task"], row["role"], row["index"], row["result"])
    assert [{"done": 0, "of": 1}, {"done": 1, "of": 1}] == [e["verifying"] for e in events if "verifying" in e]
    assert (harm is not None) == bool(lost)
    assert FILM == (tmp_path / path).read_bytes()
    assert (path != row["path"]) == (harm in ("linked", "rotted"))


def test_an_archive_that_is_not_there_just_now_has_lost_nothing(tmp_path):
    """A folder on a disk that is not plugged in is looked at when it is back; no file is fetched for it meanwhile."""
    _, path = saved_before(tmp_path)
    away = tmp_path / "away"
    path.parent.rename(away)
    path.parent.symlink_to(tmp_path / "unplugged")

    file, lost, _ = start(tmp_path)
    assert ("saved", []) == (file.status, lost)


def test_a_check_that_the_end_of_the_service_cuts_short_claims_nothing(tmp_path):
    """What was not read is not called intact: the whole check is said to have ended."""
    saved_before(tmp_path)

    async def tell(world):
        await world.when(lambda: world.swept)
        world.hands.stop.set()
        with pytest.raises(ServiceError, match=r"ending.*session\.verify\(\)"):
            await world.upkeep.verify()

    story(tmp_path, tell)

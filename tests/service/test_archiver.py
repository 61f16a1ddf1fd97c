"""Keeping: what is called saved is whole and in its place, what is not is tried again for as long as it can be."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from kit.errors import LedgerError
from kit.service import archiver
from tests.service.keeping import FILM, PLENTY, QUICK, World, made, names, song, story


def test_a_file_is_saved_whole_under_its_name(tmp_path):
    """The bytes, a name that a person can read, a row that says so, and nothing else in the folder."""

    async def tell(world):
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        return id, await world.until(id, "saved")

    id, file = story(tmp_path, tell)
    assert (len(FILM), "decoded", 3.0) == (file.bytes, file.verified, file.duration_s)
    assert f"archive/Window-Seat-{id}-video-1.mp4" == file.path
    assert FILM == (tmp_path / file.path).read_bytes()
    assert 1 == len(names(tmp_path / "archive"))


def test_the_soonest_expiry_goes_first(tmp_path):
    """Whatever order they come in, files are fetched in the order in which their links die."""

    async def tell(world):
        world.served.holding.clear()
        ages, ids = [2, 5, 1, 9, 4], {}
        for age in ages:
            id, facts = made(world.served.put(f"/{age}", FILM), ago=timedelta(days=age))
            ids[age] = id
            await world.hub.record(*facts)
        await world.when(lambda: world.served.asked)
        world.served.holding.set()
        for id in ids.values():
            await world.until(id, "saved")
        return world.served.asked

    assert ["/2", "/9", "/5", "/4", "/1"] == story(tmp_path, tell, at_once=1)  # the first was alone when it came


def test_the_links_of_a_file_are_alternatives(tmp_path):
    """Where the first is gone the second is fetched, and the row says which it was."""

    async def tell(world):
        id, facts = made(world.served.base + "/gone", world.served.put("/b", FILM))
        await world.hub.record(*facts)
        return await world.until(id, "saved"), world.asked

    file, asked = story(tmp_path, tell)
    assert (True, []) == (file.url.endswith("/b"), asked)


@pytest.mark.parametrize("status", [404, 403])
def test_a_dead_or_refused_link_is_replaced_by_a_fresh_one(tmp_path, status):
    """The provider is asked once, and the file is fetched from where it is now."""

    async def tell(world):
        world.fresh = world.served.put("/new", FILM)
        id, facts = made(world.served.put("/old", status))
        await world.hub.record(*facts)
        return await world.until(id, "saved"), world.asked, id, world.served.asked

    file, asked, id, seen = story(tmp_path, tell)
    assert ([id], ["/old", "/new"]) == (asked, seen)
    assert file.url.endswith("/new")


@pytest.mark.parametrize(
    ("status", "days", "end", "attempts"),
    [(404, 1, "expired", 1), (403, 1, "failed", 3), (403, 30, "expired", 3), (500, 30, "failed", 3)],
)
def test_a_link_that_stays_dead_is_given_up(tmp_path, status, days, end, attempts):
    """Gone, or refused past its time: expired; else failed. The provider is asked once, at the latest at the last."""

    async def tell(world):
        id, facts = made(world.served.put("/old", status), ago=timedelta(days=days))
        await world.hub.record(*facts)
        return await world.until(id, "expired", "failed"), world.asked, len(world.served.asked)

    file, asked, requests = story(tmp_path, tell)
    assert (end, 1, attempts) == (file.status, len(asked), requests)
    assert str(status) in file.reason


def test_a_dead_link_is_not_given_up_before_the_provider_was_reached(tmp_path):
    """While nobody says where the file is now, it is asked again later."""

    async def tell(world):
        world.answers = False
        id, facts = made(world.served.put("/old", 404))
        await world.hub.record(*facts)
        await world.when(lambda: len(world.asked) >= 2)
        before = world.file(id).status
        world.answers, world.fresh = True, world.served.put("/new", FILM)
        await world.until(id, "saved")
        return before

    assert "waiting" == story(tmp_path, tell)


def test_a_new_file_that_is_not_there_yet_is_asked_for_again(tmp_path):
    """A host may learn of a file later than its provider says that it is made: one 404 then is not the end."""

    async def tell(world):
        id, facts = made(world.served.put("/a", 404, FILM))
        await world.hub.record(*facts)
        return await world.until(id, "saved", "expired")

    assert "saved" == story(tmp_path, tell).status


def test_a_whole_file_that_is_none_leaves_the_other_link_its_turn(tmp_path):
    """What a link gives in full and is no such file costs that link, not the file."""

    async def tell(world):
        bad, good = world.served.put("/bad", b"<html>" * 9), world.served.put("/good", FILM)
        id, facts = made(bad, good)
        await world.hub.record(*facts)
        return await world.until(id, "saved", "failed"), world.served.asked

    file, asked = story(tmp_path, tell)
    assert ("saved", True, ["/bad", "/good"]) == (file.status, file.url.endswith("/good"), asked)


def test_a_fresh_link_that_dies_in_its_turn_is_asked_for_again(tmp_path, monkeypatch):
    """Some links live for minutes: however often they die, the provider shows new ones."""
    monkeypatch.setattr(archiver, "ASKED_LATELY_S", 0.0)

    async def tell(world):
        links = [world.served.put(f"/{n}", 404) for n in range(3)] + [world.served.put("/last", FILM)]

        async def ask_now(id):
            world.fresh = links[len(world.asked) + 1]
            return await World.ask_now(world, id)

        world.archiver._ask_now = ask_now
        id, facts = made(links[0], ago=timedelta(days=1))
        await world.hub.record(*facts)
        return await world.until(id, "saved", "expired")

    assert "saved" == story(tmp_path, tell).status


def test_while_it_waits_for_the_next_attempt_a_file_says_why(tmp_path):
    """The row has the reason and when it goes on; asked for again by a person it has all its attempts."""

    async def tell(world):
        id, facts = made(world.served.put("/a", 403), ago=timedelta(days=1))
        await world.hub.record(*facts)
        await world.when(lambda: world.file(id).reason)
        return world.file(id)

    file = story(tmp_path, tell, patience=replace(QUICK, attempts=(30.0,)))
    assert ("waiting", "the host answered 403; next attempt after 30 s") == (file.status, file.reason)


def test_what_waited_before_the_start_is_fetched_when_a_person_asks(tmp_path):
    """A provider that was opened by somebody else leads nowhere by itself; `save` takes its files up."""

    async def tell(world):
        world.hub.on_change = lambda state: None
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        world.hub.on_change = world.archiver.consider
        await world.archiver.save(id)
        return await world.until(id, "saved")

    assert "saved" == story(tmp_path, tell).status


def test_a_take_that_is_much_shorter_than_its_provider_says_is_not_whole(tmp_path):
    """Without a length in the file itself, the length that the provider names tells that it was cut."""

    async def tell(world):
        world.judge.heard_s = 1.3
        id, facts = song(world.served.put("/a", FILM), 10.0)
        await world.hub.record(*facts)
        short = await world.until(id, "saved", "failed")
        world.judge.heard_s = 9.8
        await world.archiver.save(id)
        return short, await world.until(id, "saved")

    short, whole = story(tmp_path, tell)
    assert ("failed", "cut off: 1.3 of 10.0 s of sound are there") == (short.status, short.reason)
    assert "saved" == whole.status


def test_while_the_network_is_away_nothing_is_given_up(tmp_path):
    """A host that says "later" is asked on and on while the link lives, and then has the file."""

    async def tell(world):
        id, facts = made(world.served.put("/a", *[503] * 7, FILM))
        await world.hub.record(*facts)
        return await world.until(id, "saved", "failed", "expired")

    assert "saved" == story(tmp_path, tell).status


def test_a_full_disk_makes_files_wait_and_everything_goes_on_when_there_is_room(tmp_path):
    """The row says what is waited for, the count is there to be shown, and nobody has to do anything."""

    async def tell(world):
        world.usage = (10**9, 0, 50 * 10**6 + 100)  # 100 bytes beyond the reserve
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        await world.when(lambda: world.archiver.waiting_for_room)
        waiting = await world.until(id, "waiting")
        await asyncio.sleep(0.1)
        noted = sum(type(fact).__name__ == "FileFact" for _, fact in world.ledger.facts())
        world.usage = PLENTY
        await world.until(id, "saved")
        return waiting, noted, world.archiver.waiting_for_room

    waiting, noted, left = story(tmp_path, tell)
    assert ("waiting", True) == (waiting.status, "room on the disk: 0.0 MB needed, 50.0 MB free" in waiting.reason)
    assert (2, 0) == (noted, left)


def test_a_ledger_that_takes_no_facts_costs_no_second_download(tmp_path, monkeypatch):
    """A file whose row could not be written keeps its name, is not called saved, and gets its row later."""

    async def tell(world):
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts[:-1])
        store, refused = world.hub.store, []

        async def full(*facts, **more):
            if any(getattr(fact, "status", None) == "saved" for fact in facts) and len(refused) < 3:
                refused.append(world.file(id).status)
                raise LedgerError("The disk is full.")
            return await store(*facts, **more)

        monkeypatch.setattr(world.hub, "store", full)
        await world.hub.record(facts[-1])
        file = await world.until(id, "saved")
        return file, refused, world.served.asked

    file, refused, asked = story(tmp_path, tell)
    assert (["downloading"] * 3, ["/a"]) == (refused, asked)
    assert [file.path] == [f"archive/{name}" for name in names(tmp_path / "archive")]


def test_what_was_swapped_under_our_hands_is_fetched_again(tmp_path):
    """A part that becomes a link to something else while it is examined is never called saved nor written through."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"a film of somebody else")

    async def tell(world):
        def swap(path):
            if world.judge.looked == 1:
                path.unlink()
                path.symlink_to(precious)

        world.judge.meanwhile = swap
        id, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        return await world.until(id, "saved")

    file = story(tmp_path, tell)
    assert (FILM, b"a film of somebody else") == ((tmp_path / file.path).read_bytes(), precious.read_bytes())
    assert [file.path] == [f"archive/{name}" for name in names(tmp_path / "archive")]


def test_a_file_that_is_not_wanted_is_fetched_when_a_person_asks(tmp_path):
    """What was bought with save=False waits for `save`, and one that failed is tried again then."""

    async def tell(world):
        id, facts = made(world.served.put("/a", *[b"<html>"] * 3, FILM), save=False)
        await world.hub.record(*facts)
        await asyncio.sleep(0.05)
        idle = (world.served.asked[:], world.archiver.busy)
        await world.archiver.save(id)
        failed = await world.until(id, "failed")
        await world.archiver.save(id)
        return idle, failed, await world.until(id, "saved")

    idle, failed, saved = story(tmp_path, tell)
    assert (([], False), "not an MP4") == (idle, failed.reason)
    assert "saved" == saved.status


def test_it_ends_at_once_while_files_come(tmp_path):
    """A download that would take minutes keeps nobody waiting, and what had come of it has no final name."""

    ids = []

    async def tell(world):
        world.served.dripping.set()
        id, facts = made(world.served.put("/a", FILM))
        ids.append(id)
        await world.hub.record(*facts)
        await world.when(lambda: list(world.archive.glob("*.part")))
        return time.monotonic()

    began = story(tmp_path, tell)
    assert 3 > time.monotonic() - began
    assert {f"{ids[0]}-video-1.part"} >= set(names(tmp_path / "archive"))


def test_progress_says_how_far_and_how_fast(tmp_path):
    """Attached kernels hear of bytes received, the total, and a rate once there is one."""

    async def tell(world):
        events = []
        world.hub.tell = events.append
        world.served.dripping.set()
        _, facts = made(world.served.put("/a", FILM))
        await world.hub.record(*facts)
        await world.when(lambda: any(event.get("rate") for event in events))
        return [event for event in events if "received" in event]

    first, *_, last = story(tmp_path, tell)
    assert ("video", 0, len(FILM), None) == (first["role"], first["index"], first["total"], first["rate"])
    assert 5 < last["rate"] < 40

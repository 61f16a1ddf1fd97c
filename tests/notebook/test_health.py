"""How everything stands, in words: the parts, the counts, and the one thing that matters most."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.ledger import frames
from kit.ledger.fold import fold
from kit.ledger.reader import Reader
from kit.notebook.health import Health, open_ends
from tests.ledger.stories import answer, departure, details, file, intent, numbered
from tests.notebook.test_widgets_card import tags_of, text_of

HOSTILE = "<img src=x onerror=alert(1)>\n</script>\u202e"
SINCE = (datetime.now(UTC) - timedelta(minutes=125)).isoformat()


def told(**parts: Any) -> dict[str, Any]:
    """What a service tells that is well."""
    ledger = {"path": "data/ledger.sqlite", "journal_mode": "wal", "bytes": 40_960, "read_only": None, "rebuilt": None,
              "broken": None}  # fmt: skip
    way = {"driver": "direct", "url": "http://127.0.0.1:4711", "state": "proven", "problem": None, "since": SINCE,
           "proven_at": None, "restarts": 0}  # fmt: skip
    known: dict[str, Any] = {
        "version": "1.2", "pid": 4242, "started_at": SINCE, "ledger": ledger, "counts": {"stored": 3, "capped": 0},
        "ways": [way], "providers": [{"name": "sandbox", "base_url": "http://127.0.0.1:1", "pending": 2, "failing": 0}],
        "attached": 1, "unfinished": 2, "swept": [], "notes": [], "disk_free": 90 * 10**9, "public_port": 4711,
    }  # fmt: skip
    return {**known, **parts}


def health(**parts: Any) -> Health:
    """The health of a service without deliveries."""
    return Health(told(**parts), frames.deliveries(Reader(Path("none.sqlite"))), "sandbox")


def ngrok(state: str, **parts: Any) -> dict[str, Any]:
    """A way through ngrok."""
    return {"driver": "ngrok", "url": "https://a.ngrok.app", "state": state, "since": SINCE, **parts}


def test_a_service_that_is_well_says_so_in_a_few_lines():
    """Process, version, port, way, ledger, counts, providers and notebooks are there; rows of nothing are not."""
    well = health()
    shown = repr(well)

    assert (True, "All is well.") == (well.ok, well.verdict)
    for part in ("process 4242", "callboard 1.2", "(2 h ", "port 4711", "directly", "data/ledger.sqlite", "wal",
                 "41 kB", "3 stored", "sandbox at http://127.0.0.1:1: 2 tasks pending", "1 notebook attached",
                 "90.00 GB free"):  # fmt: skip
        assert part in shown, part
    assert "refused" not in shown
    assert "notes" not in shown
    assert " 0 " not in shown
    assert shown.splitlines()[0] == "Health: All is well."


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"ledger": {"broken": "The ledger file is gone."}, "ways": [ngrok("down", problem="x")]}, "The ledger file"),
        ({"ledger": {"read_only": "A newer version wrote it."}, "disk_free": 5}, "A newer version wrote it."),
        ({"ways": [ngrok("down", problem="The agent died.")], "disk_free": 5},
         "Callbacks cannot arrive through ngrok at https://a.ngrok.app: The agent died."),
        ({"ledger": {"rebuilt": "It was rebuilt, 3 tasks."}, "disk_free": 5}, "It was rebuilt, 3 tasks."),
        ({"disk_free": 10**9}, "Only 1.00 GB are free on the disk"),
        ({"providers": [{"name": "kie", "base_url": "x", "pending": 3, "failing": 2}]},
         "kie left the last 2 requests without an answer"),
        ({"ways": [ngrok("opening", url=None)]}, "The way through ngrok is still opening."),
    ],
)  # fmt: skip
def test_the_verdict_is_the_most_important_problem(parts, verdict):
    """What loses work comes before what costs time."""
    poor = health(**parts)

    assert not poor.ok
    assert poor.verdict.startswith(verdict)
    assert repr(poor).splitlines()[0].startswith(f"Health: {verdict}")
    assert verdict in text_of(poor._repr_html_())


def test_everything_refused_is_counted_in_words():
    """Each word of the listener has a phrase; one that is new to this version is shown all the same."""
    counts = {
        "stored": 1200,
        "capped": 4,
        "unknown_url": 3,
        "too_slow": 2,
        "evicted": 1,
        "not_stored": 5,
        "brand_new": 6,
    }
    shown = repr(health(counts=counts))

    for part in ("1,200 stored", "4 over the limit", "3 at an address that was never", "2 slower",
                 "5 could not be stored", "6 brand new"):  # fmt: skip
        assert part in shown, part


def test_duplicates_and_what_was_set_aside_are_read_off_the_ledger(connect):
    """A service of one's own: a repeated, a foreign and an unreadable delivery are counted, each by its word."""
    from tests.flows.acting import job_of, make_song, post, until

    session = connect()
    song = make_song(session)
    url = job_of(session, song)["callback_url"]
    body = {"code": 200, "msg": "x", "data": {"callbackType": "text", "task_id": "somebody-else", "data": []}}
    for posted in (body, body, "no callback"):
        assert 200 == post(url, posted)
    before = song.state.deliveries
    until(lambda: before <= song.state.deliveries and len(session.deliveries()) >= 3)
    counts = session.health().counts

    assert (2, 1, 1) == (counts["set_aside"], counts["duplicate"], counts["unreadable"])


def test_hostile_words_are_text_on_one_line():
    """Whatever the service passes on stays text: no element of the card comes from it, no line is broken by it."""
    hostile = health(
        notes=[HOSTILE], swept=[HOSTILE], ways=[ngrok("down", problem=HOSTILE, url=f"https://{HOSTILE}")],
        ledger={"path": HOSTILE}, counts={HOSTILE: 1},
    )  # fmt: skip

    assert {"div", "span", "strong"} >= set(tags_of(hostile._repr_html_()))
    assert "<img" not in hostile._repr_html_()
    assert "\u202e" not in repr(hostile)


def test_a_service_that_tells_little_is_shown_all_the_same():
    """Missing parts are left out; nothing raises."""
    bare = Health({}, frames.deliveries(Reader(Path("none.sqlite"))), "sandbox")

    assert "Health: All is well." in repr(bare)
    assert "Health" in text_of(bare._repr_html_())


def test_what_waits_for_a_person_comes_before_all_is_well():
    """A task whose outcome nobody knows, and a file that could not be saved, are named with what to do."""
    told_ = told()
    needs = ["WAV 'Two' (t1) is unconfirmed: the answer was lost. task.resubmit() buys it again."]
    shown = Health(told_, frames.deliveries(Reader(Path("none.sqlite"))), "sandbox", needs)

    assert (False, needs[0]) == (shown.ok, shown.verdict)
    assert needs[0] in repr(shown)


def test_a_way_that_nobody_uses_any_more_is_no_problem():
    """After going on by another way the old one's trouble is over."""
    shown = health(ways=[{**ngrok("down", problem="no agent"), "in_use": False}, {**told()["ways"][0], "in_use": True}])

    assert ("All is well.", ["direct"]) == (shown.verdict, [way["driver"] for way in shown.ways])


def test_a_file_that_waits_for_room_waits_for_a_person():
    """Who looks reads which song it is and that room is short; a file that merely has its turn later is no news."""
    story = (intent(title="Rain"), departure(), answer(), details())
    full = fold(numbered(*story, file("waiting", reason="waiting for room on the disk: 80.1 MB needed")))
    soon = fold(numbered(*story, file("waiting")))

    assert ["1 of 1 files of music video 'Rain' (t1): waiting for room on the disk: 80.1 MB needed."] == open_ends(
        [full]
    )
    assert [] == open_ends([soon])

"""What each arrival meant: one word of a closed set, whatever arrives and in whatever order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.ledger.effects import EFFECTS, Hearing
from kit.ledger.facts import Abandonment, Confirmation, Delivery, Details, Fact
from kit.ledger.fold import fold
from kit.provider.wire import parse_delivery
from tests.ledger.stories import OTHER, answer, any_fact, at, delivery, departure, details, intent, numbered

SENT = (intent(), departure(), answer())
FAILED = "GENERATE_MP4_FAILED"


def effects(*facts: Fact) -> list[str]:
    """Return the words for the deliveries of a story, in their order."""
    state, hearing = fold(numbered(*facts)), Hearing()
    kind, dialect = (state.kind, state.dialect) if state and state.shown else (None, "sunoapi")
    heard = [fact for fact in facts if isinstance(fact, Delivery)]
    return [hearing.effect(parse_delivery(kind, dialect, fact.body), state) for fact in heard]  # type: ignore[arg-type]


def stage(name: str, takes: int, *, second: float) -> Delivery:
    """Return a staged callback of a song."""
    items = [{"id": f"a{n}", "audio_url": f"https://m.example.com/{n}.mp3"} for n in range(takes)]
    body = {"code": 200, "msg": name, "data": {"callbackType": name, "task_id": "v1", "data": items}}
    return Delivery(task="t1", at=at(second), body=json.dumps(body).encode())


def song_done() -> Details:
    """Return the details answer of a finished song."""
    takes = [{"id": f"a{n}", "audioUrl": f"https://m.example.com/{n}.mp3"} for n in range(2)]
    data = {"taskId": "v1", "status": "SUCCESS", "response": {"sunoData": takes}}
    body = json.dumps({"code": 200, "msg": "success", "data": data})
    return Details(task="t1", at=at(90), http_status=200, body=body, cause="callback")


SONG = (intent("music", params={}), departure(), answer())
STAGES = (stage("text", 0, second=10), stage("first", 1, second=40), stage("complete", 2, second=60))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((*SENT, delivery()), ["waiting for details"]),
        ((*SENT, delivery(), details()), ["agrees with details"]),
        ((*SENT, delivery(), details(FAILED, None)), ["contradicted by details"]),
        ((*SENT, delivery(500, None), details()), ["contradicted by details"]),
        ((*SENT, delivery(500, None), details(FAILED, None, error=500)), ["agrees with details"]),
        ((*SENT, delivery(), delivery(second=63), details()), ["agrees with details", "repeat"]),
        ((*SENT, delivery(id="other"), delivery(), details()), ["set aside", "agrees with details"]),
        ((*SENT, Delivery(task="t1", at=at(9), body=b"{"), delivery()), ["unreadable", "waiting for details"]),
        ((*SENT, delivery(), Abandonment(task="t1", at=at(70), reason="x")), ["not followed"]),
        ((*SONG, *STAGES, song_done()), ["first news", "later stage", "agrees with details"]),
        ((*SONG, *STAGES[::-1], song_done()), ["agrees with details", "earlier stage", "earlier stage"]),
        ((intent(), departure(), answer("unknown"), delivery()), ["waiting for details"]),
        ((intent(), departure(), answer("unknown"), delivery(id=None)), ["unconfirmed"]),
        ((intent(origin="elsewhere"), delivery()), ["unconfirmed"]),
        (
            (intent(origin="elsewhere"), delivery(), Confirmation(task="t1", at=at(70)), delivery(url=OTHER)),
            ["confirmed by you", "confirmed by you"],
        ),
        ((intent(origin="elsewhere"), delivery(), details()), ["agrees with details"]),
    ],
)
def test_each_arrival_has_the_word_that_fits(facts: tuple[Fact, ...], expected: list[str]) -> None:
    """The word tells news from repetition, and a claim from what the provider itself answered."""
    assert expected == effects(*facts)


def test_a_delivery_without_a_task_is_unconfirmed() -> None:
    """Where no state is known of the task, nobody but the sender says so."""
    report = parse_delivery("video", "sunoapi", delivery().body)

    assert "unconfirmed" == Hearing().effect(report, None)


@given(st.lists(st.one_of(any_fact(Delivery), any_fact(Details), st.sampled_from(STAGES)), max_size=8))
def test_the_words_are_a_closed_set(facts: list[Any]) -> None:
    """Whatever arrives, each arrival gets one of the documented words."""
    assert set(effects(*SONG, *facts)) <= set(EFFECTS)

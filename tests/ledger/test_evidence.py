"""The gathering of facts: total, and blind to repetition and order of deliveries."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kit.ledger.facts import FACT_TYPES, Confirmation, Delivery, Fact
from kit.ledger.fold import TaskState, advance, fold
from tests.ledger.stories import (
    LINK,
    OTHER,
    answer,
    any_fact,
    at,
    delivery,
    departure,
    details,
    file,
    intent,
    numbered,
    texts,
)

_words = texts | st.sampled_from(["200", LINK, "SUCCESS", "complete", "CALLBACK_EXCEPTION", "GENERATE_MP4_FAILED"])
_keys = st.sampled_from(
    ["code", "msg", "data", "task_id", "taskId", "video_url", "response", "successFlag", "status", "sunoData", "images"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "code",
                    "msg",
                    "data",
                    "task_id",
                    "taskId",
                    "video_url",
                    "response",
                    "successFlag",
                    "status",
                    "sunoData",
                    "images",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
_bodies = _json.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
_intents = st.builds(intent, st.sampled_from(["music", "video", "wav", "cover_image", "stems"])) | st.builds(
    intent, origin=st.sampled_from(["here", "adopted", "elsewhere"]), task_id=st.none() | st.just("v1")
)
_seconds = st.integers(0, 5)
_deliveries = st.builds(
    delivery,
    st.sampled_from([200, 400, 451, 500]),
    st.sampled_from([LINK, OTHER, None, "video_url_847715e66259"]),
    id=st.sampled_from(["v1", "v2", None]),
    second=_seconds,
    signature=st.sampled_from(["none", "valid", "invalid", "stale"]),
)
_details = st.builds(
    details,
    st.sampled_from(["PENDING", "SUCCESS", "GENERATE_MP4_FAILED", "CALLBACK_EXCEPTION", "??"]),
    st.sampled_from([LINK, OTHER, None]),
    error=st.sampled_from([None, 200, 451, 500]),
    id=st.sampled_from(["v1", "v1", "v2", None]),
    second=_seconds,
)
_decisive = st.one_of(
    _intents,
    st.just(departure()),
    st.builds(answer, st.sampled_from(["accepted", "duplicate", "rejected", "unknown"])),
    _details,
    st.builds(file, st.sampled_from(["downloading", "saved", "failed", "expired"])),
)
_junk = st.builds(lambda body: Delivery(task="t1", at=at(), body=body), _bodies)
_likely = st.one_of(_decisive, _deliveries, _junk, any_fact(Confirmation))
_any = st.one_of(_likely, *(any_fact(cls) for cls in FACT_TYPES.values()))


def _seen(state: TaskState | None) -> dict[str, Any]:
    """Return all that a person could see of a state, but the count of arrivals and the last number."""
    assert state is not None
    return {k: v for k, v in vars(state).items() if k not in ("deliveries", "last_seq", "evidence")}


@given(st.lists(_any, max_size=12))
def test_no_sequence_of_facts_raises(facts: list[Fact]) -> None:
    """Whatever facts come in whatever order, there is a state, and step by step gives the same as all at once."""
    state = None
    won = False
    for seq, fact in numbered(*facts):
        state = advance(state, [(seq, fact)])
        won = won or state.status == "succeeded"
        assert not won or state.status == "succeeded"  # a success is never lost
        assert state.final or not state.settled
    assert fold(numbered(*facts)) == state
    if state is not None:
        assert len(facts) == state.last_seq


@given(data=st.data())
def test_repeating_and_reordering_deliveries_changes_nothing(data: st.DataObject) -> None:
    """Deliveries once or many times, early or late among the other facts, amount to the same (promise P5)."""
    # A confirmation freezes what was heard before it, so with one the order is part of the story.
    others: list[Fact] = [data.draw(_intents), *data.draw(st.lists(_decisive, max_size=6))]
    arrivals = data.draw(st.lists(_deliveries, min_size=1, max_size=5))
    repeated = data.draw(st.permutations([*arrivals, *data.draw(st.lists(st.sampled_from(arrivals), max_size=4))]))
    mixed = list(others)
    for arrival in repeated:
        mixed.insert(data.draw(st.integers(0, len(mixed))), arrival)

    expected, found = fold(numbered(*others, *arrivals)), fold(numbered(*mixed))
    assert _seen(expected) == _seen(found)
    assert found is not None
    assert len(repeated) == found.deliveries


def test_two_terminal_deliveries_agree_in_either_order() -> None:
    """A success and a failure that arrive unproven leave the same picture in every order."""
    story = (delivery(200, second=5), delivery(451, None, second=3), delivery(200, OTHER, second=9))
    states = [fold(numbered(intent(origin="elsewhere"), *order)) for order in itertools.permutations(story)]

    assert {LINK} == {s.heard.links[0].urls[0] for s in states if s and s.heard}
    assert all(_seen(states[0]) == _seen(state) for state in states)


def test_a_signature_only_raises_trust() -> None:
    """Of two equal claims the signed one is heard; one with a wrong signature yields to any other."""
    plain, signed = delivery(second=3), delivery(200, OTHER, second=9, signature="valid")
    forged = delivery(200, OTHER, second=1, signature="invalid")
    heard = [fold(numbered(intent(origin="elsewhere"), *facts)) for facts in ((plain, signed), (forged, plain))]

    assert [OTHER, LINK] == [s.heard.links[0].urls[0] for s in heard if s and s.heard]


def test_facts_before_their_intent_wait_for_it() -> None:
    """What came first is read once it is known of what kind the task is."""
    early = fold(numbered(answer(), details(), intent()))
    known = fold(numbered(intent(), answer(), details()))
    lone = fold(numbered(details()))

    assert _seen(known) == _seen(early)
    assert lone is not None
    assert ("unconfirmed", False) == (lone.status, lone.shown)

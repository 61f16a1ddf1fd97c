"""What the facts of a task amount to, story by story."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.ledger.facts import Abandonment, Confirmation, Delivery, Details, Fact, Loss
from kit.ledger.fold import TaskState, fold
from kit.provider.kinds import meaning
from tests.ledger.stories import LINK, OTHER, answer, at, delivery, departure, details, file, intent, numbered

SENT = (intent(), departure(), answer())
PLACEHOLDER = "video_url_847715e66259"


def state_of(*facts: Fact) -> TaskState:
    """Return the state that `facts` amount to."""
    state = fold(numbered(*facts))
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ((intent(),), "planned"),
        ((intent(), departure()), "submitting"),
        (SENT, "pending"),
        ((intent(), departure(), answer("unknown")), "unconfirmed"),
        ((intent(), departure(), answer("rejected", code=400)), "failed"),
        ((intent(), departure(), answer("duplicate", task_id="v9")), "pending"),
        ((intent(), departure(), answer("duplicate", code=409)), "failed"),
        ((intent(), departure(), answer("duplicate", task_id="v9", known_as="t0")), "abandoned"),
        ((intent(origin="adopted", task_id="v1"),), "pending"),
        ((*SENT, delivery()), "pending"),
        ((*SENT, delivery(400, None)), "pending"),
        ((*SENT, details("PENDING", None)), "pending"),
        ((*SENT, details()), "succeeded"),
        ((*SENT, details("GENERATE_MP4_FAILED", None, error=500)), "failed"),
        ((*SENT, details("GENERATE_MP4_FAILED", None), details()), "succeeded"),
        ((*SENT, details(), details("GENERATE_MP4_FAILED", None)), "succeeded"),
        ((*SENT, Abandonment(task="t1", at=at(99), reason="forgotten")), "abandoned"),
        ((*SENT, details(), Abandonment(task="t1", at=at(99), reason="forgotten")), "succeeded"),
        ((intent(), departure(), answer("unknown"), departure(9)), "submitting"),
        ((intent(), departure(), answer("unknown"), delivery()), "unconfirmed"),
        ((intent(), departure(), answer("unknown"), delivery(), details("PENDING", None)), "pending"),
        ((intent(), departure(), answer("unknown"), delivery(id=None)), "unconfirmed"),
    ],
)
def test_the_status_of_each_story(facts: tuple[Fact, ...], status: str) -> None:
    """Details decide, a delivery alone never does, and a success is never lost."""
    assert status == state_of(*facts).status


def test_a_success_tells_what_a_person_needs() -> None:
    """Times, the link, the estimate of its end, how it was learned, and what it cost."""
    state = state_of(*SENT, delivery(), details(completeTime="2026-03-01T12:00:58.000Z"))

    assert (at(1), at(58)) == (state.submitted_at, state.finished_at)
    assert ("callback", True, 1, 200) == (state.learned_by, state.confirmed, state.deliveries, state.code)
    assert ("v1", "m1", "a1", None) == (state.task_id, state.parent_task_id, state.audio_id, state.credits)
    assert (True, False, False) == (state.final, state.settled, state.saved)
    [video] = state.files
    assert ("video", 0, "waiting", (LINK,), LINK, True) == (
        video.role, video.index, video.status, video.urls, video.url, video.wanted,
    )  # fmt: skip
    assert at(58) + timedelta(days=14) == video.expires_at


@pytest.mark.parametrize("clock", ["2026-03-01T11:00:00.000Z", "2031-01-01T00:00:00.000Z", "9999-12-31T23:59:59Z"])
def test_a_wrong_clock_of_the_provider_is_not_believed(clock: str) -> None:
    """A completion before the submission or after our hearing of it shifts nothing to nonsense (promise P13)."""
    state = state_of(*SENT, details(completeTime=clock))

    assert at(61) == state.finished_at
    assert state.files[0].expires_at is not None
    assert state.files[0].expires_at <= at(61) + timedelta(days=14)


@pytest.mark.parametrize(
    ("cause", "expected"), [("callback", "callback"), ("poll", "poll"), ("submit", "submit"), ("person", "poll")]
)
def test_learned_by_is_the_cause_of_the_deciding_question(cause: str, expected: str) -> None:
    """What made us ask is how it was learned; later answers do not change it."""
    assert expected == state_of(*SENT, details(cause=cause), details(cause="callback", second=90)).learned_by


def test_a_failure_carries_the_codes_meaning() -> None:
    """Code, meaning, refund and next step are those of the details answer in this dialect."""
    state = state_of(*SENT, details("GENERATE_MP4_FAILED", None, error=451, errorMessage="no source"))
    code = meaning("video", "sunoapi", "details", 451)

    assert (451, "no source", code.meaning) == (state.code, state.message, state.meaning)
    assert (code.retryable, code.refunded, code.next_step) == (state.retryable, state.refunded, state.next_step)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("signature", ["none", "valid"])
def test_a_callback_does_not_say_why_where_details_only_say_that(order: int, signature: Any) -> None:
    """No signature covers a body, so its code is a note: a forged one claims no refund and no cause (promise P19)."""
    facts = [delivery(531, None, signature=signature), details("GENERATE_MP4_FAILED", None)][::order]
    state = state_of(*SENT, *facts)

    assert ("failed", None, None, None) == (state.status, state.code, state.message, state.refunded)
    assert "a delivery gave the code 531: message 531" in state.notes


def test_a_callbacks_other_code_is_kept_as_a_note() -> None:
    """Where both have a code, details' counts and the callback's is not lost."""
    state = state_of(*SENT, delivery(451, None), details("GENERATE_MP4_FAILED", None, error=500))

    assert 500 == state.code
    assert any("451" in note for note in state.notes)


def test_details_win_over_a_delivery_that_disagrees() -> None:
    """A forged failure or a forged link changes neither the result nor the files (promise P19)."""
    honest = state_of(*SENT, details())
    attacked = state_of(*SENT, delivery(500, None), delivery(200, OTHER), details())

    assert (honest.status, honest.files, honest.code) == (attacked.status, attacked.files, attacked.code)


def test_a_rejected_submission_failed_at_submit() -> None:
    """Its meaning is the submit page's, nothing was bought, and it is final."""
    state = state_of(intent(), departure(), answer("rejected", code=429, message="no credits", http_status=200))

    assert ("failed", "submit", 429, "no credits") == (state.status, state.learned_by, state.code, state.message)
    assert meaning("video", "sunoapi", "submit", 429).meaning == state.meaning
    assert (0.0, True, at(2)) == (state.credits, state.settled, state.finished_at)


def test_a_lost_answer_says_what_to_do() -> None:
    """The row says that it may have been charged, and its own callback settles it (promise P9)."""
    lost = state_of(intent(), departure(), answer("unknown"))
    found = state_of(intent(), departure(), answer("unknown"), delivery(), details())

    assert lost.meaning is not None
    assert lost.next_step is not None
    assert ("may have been charged" in lost.meaning, "session.adopt" in lost.next_step) == (True, True)
    assert ("succeeded", "v1") == (found.status, found.task_id)


def test_a_duplicate_points_to_the_row_that_has_it() -> None:
    """The later row is abandoned in favour of the known one."""
    state = state_of(intent(), departure(), answer("duplicate", task_id="v9", code=409, known_as="t0"))

    assert ("abandoned", "t0", "v9", 0.0) == (state.status, state.known_as, state.task_id, state.credits)
    assert "t0" in (state.next_step or "")


def test_success_without_a_link_stays_pending() -> None:
    """A details answer that says SUCCESS and names no file is asked again, and the notes say why."""
    state = state_of(*SENT, details("SUCCESS", PLACEHOLDER))

    assert ("pending", ()) == (state.status, state.files)
    assert "no usable link" in state.notes


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (details("CALLBACK_EXCEPTION", None), "could not deliver"),
        (
            Details(task="t1", at=at(61), http_status=200, body='{"code":200,"data":null}', cause="poll"),
            "does not show",
        ),
    ],
)
def test_an_unclear_answer_stays_pending_with_a_note(asked: Details, word: str) -> None:
    """Undelivered and missing tasks are asked again; since when it has been so is known to who gives up."""
    state = state_of(*SENT, asked, Details(**{**vars(asked), "at": at(90)}))

    assert "pending" == state.status
    assert any(word in note for note in state.notes)
    assert (at(61), at(90), 2) == (state.details_since, state.asked_at, state.asked)


def test_a_callback_exception_with_a_result_is_a_success() -> None:
    """Only the delivery failed (provider-api 14 row 19)."""
    assert "succeeded" == state_of(*SENT, details("CALLBACK_EXCEPTION", LINK)).status


def test_a_delivery_about_another_task_is_left_aside() -> None:
    """It is counted and noted, and changes neither the id nor what was heard."""
    state = state_of(*SENT, delivery(id="v2"))

    assert ("v1", 1, None) == (state.task_id, state.deliveries, state.heard)
    assert any("v2" in note for note in state.notes)


def test_details_about_another_task_are_left_aside() -> None:
    """An answer to another question decides nothing here."""
    state = state_of(*SENT, details(id="v2"))

    assert "pending" == state.status
    assert any("v2" in note for note in state.notes)


def test_a_listen_only_url_is_no_row_until_something_arrives() -> None:
    """Nothing is shown of a URL that only waits."""
    silent, heard = state_of(intent(origin="elsewhere")), state_of(intent(origin="elsewhere"), delivery())

    assert (False, True) == (silent.shown, heard.shown)


@pytest.mark.parametrize("code", [200, 400, 451, 500])
def test_what_is_heard_of_a_task_elsewhere_is_unconfirmed(code: int) -> None:
    """The right meaning is shown, and no file is listed, until someone who can know confirms it."""
    state = state_of(intent(origin="elsewhere"), delivery(code, LINK if code == 200 else None))

    assert ("unconfirmed", code, "v1", ()) == (state.status, state.code, state.task_id, state.files)
    assert meaning("video", "sunoapi", "callback", code).meaning == state.meaning
    assert (False, None, None) == (state.confirmed, state.finished_at, state.credits)


def test_a_placeholder_link_elsewhere_is_pending() -> None:
    """Seed 002's example value is no link: pending, "no usable link"."""
    state = state_of(intent(origin="elsewhere", dialect="kie"), delivery(200, PLACEHOLDER))

    assert ("pending", ()) == (state.status, state.files)
    assert "no usable link" in (state.meaning or "")


def test_a_confirmation_makes_what_was_heard_the_truth() -> None:
    """A person vouches for it: files are listed, and a later delivery cannot change them."""
    heard = (intent(origin="elsewhere"), delivery(), Confirmation(task="t1", at=at(70)))
    state, later = state_of(*heard), state_of(*heard, delivery(200, OTHER, second=1), delivery(400, None))

    assert ("succeeded", True, "callback") == (state.status, state.confirmed, state.learned_by)
    assert [(LINK,)] == [file.urls for file in state.files]
    assert (state.status, state.files, state.finished_at) == (later.status, later.files, later.finished_at)


def test_details_confirm_a_task_elsewhere() -> None:
    """Where a key can ask, its answer decides against what was heard."""
    state = state_of(intent(origin="elsewhere"), delivery(200, OTHER), details())

    assert ("succeeded", [LINK]) == (state.status, [file.url for file in state.files])


def test_details_take_the_place_of_what_a_person_vouched_for() -> None:
    """Once somebody who can know has answered, not one link of the unproven delivery is left."""
    heard = (intent("cover_image", origin="elsewhere"), _covers(OTHER, OTHER + "2"), Confirmation(task="t1", at=at(70)))
    data = {"taskId": "v1", "successFlag": 1, "response": {"images": [LINK]}}
    said = Details(task="t1", at=at(80), http_status=200, body=json.dumps({"code": 200, "data": data}), cause="poll")

    assert [OTHER, OTHER + "2"] == [file.url for file in state_of(*heard).files]
    assert [LINK] == [file.url for file in state_of(*heard, said).files]


def _covers(*links: str) -> Delivery:
    body = {"code": 200, "msg": "success", "data": {"taskId": "v1", "images": links}}
    return Delivery(task="t1", at=at(60), body=json.dumps(body).encode())


def test_ids_that_deliveries_made_up_have_turns_and_none_pushes_the_true_one_out() -> None:
    """A lost submission is asked about under each id it was told of, those least often not shown first (promise P9)."""
    lost: list[Fact] = [intent(), departure(), answer("unknown")]
    lost += [delivery(id=f"made up {n}", second=n) for n in range(3, 40)] + [delivery(second=50)]
    nothing, asked = '{"code":200,"data":null}', []
    while (state := state_of(*lost)).ask_id != "v1" or asked.count("v1") < 2:
        assert ("unconfirmed", None) == (state.status, state.task_id)
        asked.append(state.ask_id)
        lost.append(Details(task="t1", at=at(60), http_status=200, body=nothing, cause="poll", asked_id=state.ask_id))
        assert len(asked) < 100
    found = state_of(*lost, details())

    assert ("v1", 38 * 2) == (asked[0], len(asked))
    assert ("succeeded", "v1", "v1") == (found.status, found.task_id, found.ask_id)
    assert 4 >= len([note for note in found.notes if "another task" in note or "more task ids" in note])


def test_before_the_submit_answer_an_id_counts_only_where_details_repeat_our_url() -> None:
    """A delivery that is faster than the answer binds its id by our own callback URL alone (promise P9)."""
    early = (intent(), departure(), delivery())
    said = Details(**{**vars(details()), "asked_id": "v1"})

    assert "submitting" == state_of(*early, said).status
    assert "succeeded" == state_of(*early, Details(**{**vars(said), "echo": "ours"})).status
    late = state_of(*early, said, answer(task_id="v2"))
    assert ("pending", "v2", ()) == (late.status, late.task_id, late.files)


def test_a_confirmation_of_nothing_changes_nothing() -> None:
    """Neither an unheard row nor one that details decide can be confirmed."""
    for facts in ((intent(origin="elsewhere"),), (*SENT, delivery())):
        state = state_of(*facts, Confirmation(task="t1", at=at(70)))
        assert not state.final
        assert state.notes


def test_a_saved_file_stays_saved() -> None:
    """New links are taken up, and neither they nor a later failure take a saved file back."""
    saved = file(path="t1/video.mp4", bytes=3, sha256="ab", verified="decoded", url=LINK)
    state = state_of(*SENT, details(), file("downloading"), saved, file("failed"), details(url=OTHER, second=99))
    [video] = state.files

    assert ("saved", "t1/video.mp4", 3, (OTHER,), LINK) == (
        video.status, video.path, video.bytes, video.urls, video.url,
    )  # fmt: skip
    assert (at(70), True, True) == (video.saved_at, state.saved, state.settled)


def test_a_file_that_was_lost_from_the_disk_is_not_saved_any_more() -> None:
    """Only a loss takes a saved file back, and only where one was saved; what is found after it counts again."""
    lost = Loss(task="t1", at=at(90), role="video", index=0, reason="it was removed")
    story = (*SENT, details(), file(path="a.mp4", sha256="ab"), lost)

    gone = state_of(*story).files[0]
    assert ("failed", None, "it was removed") == (gone.status, gone.path, gone.reason)
    assert "saved" == state_of(*story, file("downloading"), file(path="b.mp4")).files[0].status
    assert "waiting" == state_of(*SENT, details(), lost).files[0].status


def test_two_takes_that_are_one_file_are_said_to_be() -> None:
    """Whoever paid for two and got one reads it in the notes."""
    takes = [file(role="audio", index=n, sha256=text) for n, text in enumerate(("ab", "cd", "ab"))]
    state = state_of(*SENT, details(), *takes)

    assert ["audio 3 is the same file as audio 1"] == [note for note in state.notes if "same file" in note]


def test_a_links_life_runs_from_its_making_to_its_retention() -> None:
    """A file knows when its link's life began, so that what is left of it can be told."""
    file_state = state_of(*SENT, details()).files[0]

    assert file_state.linked_at is not None
    assert file_state.expires_at is not None
    assert timedelta(days=14) == file_state.expires_at - file_state.linked_at


@pytest.mark.parametrize(
    ("status", "save", "settled"),
    [("downloading", True, False), ("failed", True, True), ("expired", True, True), ("downloading", False, True)],
)
def test_settled_waits_for_wanted_files_only(status: str, save: bool, settled: bool) -> None:
    """A task is settled when nothing that was wanted is still to come; settled is not saved."""
    state = state_of(intent(save=save), departure(), answer(), details(), file(status))

    assert (settled, False, save) == (state.settled, state.saved, state.files[0].wanted)


def _song(state: str, takes: list[dict[str, Any]], second: float) -> Details:
    data = {"taskId": "v1", "status": state, "response": {"taskId": "v1", "sunoData": takes}}
    return Details(
        task="t1", at=at(second), http_status=200, body=json.dumps({"code": 200, "data": data}), cause="poll"
    )


def test_a_song_has_audio_and_image_for_each_take() -> None:
    """Files come from the details answer that decided; those of an early stage are not listed yet."""
    takes = [
        {"id": f"a{n}", "audioUrl": f"https://m.example.com/{n}.mp3", "imageUrl": f"https://m.example.com/{n}.png",
         "title": "Window Seat", "duration": 12.5}
        for n in (0, 1)
    ]  # fmt: skip
    sent = (intent("music", params={}), departure(), answer())
    first = state_of(*sent, _song("FIRST_SUCCESS", takes[:1], 40))
    done = state_of(*sent, _song("FIRST_SUCCESS", takes[:1], 40), _song("SUCCESS", takes, 120))

    assert ("pending", (), "FIRST_SUCCESS") == (first.status, first.files, first.stage)
    assert [("audio", 0), ("audio", 1), ("image", 0), ("image", 1)] == [(f.role, f.index) for f in done.files]
    assert ["a0", "a1"] == [take.audio_id for take in done.takes]
    assert ("Window Seat", None) == (done.title, done.credits)


def test_every_documented_callback_has_its_meaning_elsewhere() -> None:
    """Each committed sample posted to a listen-only URL is an unconfirmed or pending row with its page's meaning."""
    samples = sorted((Path(__file__).parents[2] / "data" / "samples" / "callbacks").glob("*.json"))
    assert samples
    for sample in samples:
        dialect, kind = sample.stem.split("-")[:2]
        body = sample.read_bytes()
        here = intent(kind, origin="elsewhere", dialect=dialect, params={})
        state = state_of(here, Delivery(task="t1", at=at(60), body=body))
        code = json.loads(body)["code"]
        expected = meaning(kind, dialect, "callback", code)  # type: ignore[arg-type]

        assert (code, ()) == (state.code, state.files), sample.name
        assert (state.meaning or "").startswith(expected.meaning), sample.name
        assert state.status in ("unconfirmed", "pending"), sample.name
        assert state.status == "unconfirmed" or code == 200, sample.name

"""Misbehaviour: what can be asked for, who gets it, and what then happens."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import InvalidInput
from kit.provider.kinds import DIALECTS, KINDS, meaning
from kit.provider.signing import verify
from kit.provider.wire import parse_details
from kit.sandbox.callbacks import Manners
from kit.sandbox.faults import ANY_KIND, WORDS, Faults, Plan, Wish, plan_for
from kit.sandbox.store import Store
from tests.sandbox.running import BYTES, Receiver, Running

FAILURES = [
    (dialect, kind.name, code)
    for dialect in DIALECTS
    for kind in KINDS.values()
    for code in kind.callback_codes[dialect]
    if code != 200
]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """Return an empty line of wishes."""
    return Faults(Store(tmp_path / "faults.sqlite"))


@given(st.lists(st.tuples(st.sampled_from(["video", "wav"]), st.sampled_from([400, 500])), max_size=12))
def test_wishes_are_used_in_order_once_and_by_their_kind(wishes: list[tuple[str, int]]) -> None:
    """Every kind gets its own wishes, first in first out, and then none."""
    faults = Faults(Store(Path(":memory:")))
    for kind, code in wishes:
        faults.add(Wish(kind=kind, plan=Plan(code=code)))
    for kind in ("video", "wav"):
        expected = [code for name, code in wishes if name == kind]
        assert [*expected, None] == [faults.take(kind).code for _ in range(len(expected) + 1)]


def test_a_standing_wish_lies_under_the_one_shot_ones(faults: Faults) -> None:
    """What stands applies to every job, and a one-shot wish adds to it or overrides it."""
    faults.add(Wish(kind=ANY_KIND, plan=Plan(callbacks="lost"), standing=True))
    faults.add(Wish(kind="wav", plan=Plan(code=500)))
    faults.add(Wish(kind="wav", plan=Plan(callbacks="late")))
    assert [(500, "lost"), (None, "late"), (None, "lost")] == [
        (plan.code, plan.callbacks) for plan in (faults.take("wav") for _ in range(3))
    ]
    assert faults.take("music").callbacks == "lost"


def test_wishes_outlive_the_program(tmp_path: Path) -> None:
    """A wish that nobody used up is there again at the next start."""
    Faults(Store(tmp_path / "s")).add(Wish(kind="wav", plan=Plan(code=500, answers=7)))
    assert Plan(code=500, answers=7) == Faults(Store(tmp_path / "s")).take("wav")


@pytest.mark.parametrize(
    ("kind", "dialect", "wanted", "named"),
    [
        ("vidoe", "kie", {"code": 500}, "vidoe"),
        ("video", "kie", {"code": 451}, "[500]"),
        ("video", "kie", {"code": True}, "[500]"),
        ("wav", "sunoapi", {"callbacks": "reordered"}, "music"),
        ("wav", "sunoapi", {"callbacks": "late "}, "lost"),
        ("cover_image", "kie", {"callbacks": "other_url_key"}, "wav"),
        ("wav", "sunoapi", {"callbacks": "wrong_signature"}, "kie"),
        ("wav", "sunoapi", {"media": "gone"}, "truncated"),
        ("wav", "sunoapi", {"media": "large"}, "video"),
        ("wav", "sunoapi", {"details": 500}, "outage"),
        ("wav", "sunoapi", {"submit": 402}, "429"),
        ("wav", "sunoapi", {"answers": 0}, "1 or more"),
        ("wav", "sunoapi", {"task_id": ""}, "character"),
        ("wav", "sunoapi", {"colour": "red"}, "media"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_what_can(
    kind: str, dialect: str, wanted: dict[str, object], named: str
) -> None:
    """The refusal names the value, the choice and a call that would work."""
    with pytest.raises(InvalidInput, match=r"This would work: sandbox\.") as refused:
        plan_for(kind, dialect, wanted)  # type: ignore[arg-type]
    assert named in str(refused.value)


@pytest.mark.parametrize(("dialect", "kind", "code"), FAILURES)
def test_callback_and_details_agree_on_every_documented_failure(
    shared: dict[str, Running], receiver: Receiver, dialect: str, kind: str, code: int
) -> None:
    """Code and message are the same in both, 531 alone gives the credits back, and the reader calls it failed."""
    provider = shared[dialect]
    provider.reset()
    song = {} if kind == "music" else provider.song()
    before = provider.sandbox.credits
    provider.sandbox.next(kind, code=code)
    task_id = provider.accepted(kind, receiver.url, **song)
    provider.ended(task_id)
    said, data = receiver.bodies[-1], provider.details(kind, task_id)
    assert (code, said["msg"], None) == (data["errorCode"], data["errorMessage"], data["response"])
    assert code == said["code"] and said["msg"]
    answer = provider.http.get(KINDS[kind].details_path, params={"taskId": task_id})
    report = parse_details(kind, dialect, 200, answer.content)  # type: ignore[arg-type]
    assert ("failed", code) == (report.state, report.code)
    refunded = meaning(kind, dialect, "callback", code).refunded  # type: ignore[arg-type]
    price = 0 if refunded else KINDS[kind].credits[dialect]  # type: ignore[index]
    assert before - price == pytest.approx(provider.sandbox.credits)


def test_lost_callbacks_never_come_and_the_job_succeeds(provider: Running, receiver: Receiver) -> None:
    """Lost means never sent: no try is made, details say SUCCESS."""
    provider.sandbox.always(callbacks="lost")
    assert provider.ended(provider.accepted("music", receiver.url))["state"] == "SUCCESS"
    assert not receiver.bodies


def test_refused_callbacks_end_in_callback_exception_at_once(provider: Running, receiver: Receiver) -> None:
    """Refused means nothing arrives and the result is kept."""
    provider.sandbox.next("music", callbacks="refused")
    task_id = provider.accepted("music", receiver.url)
    assert provider.ended(task_id)["state"] == "CALLBACK_EXCEPTION"
    assert (2, []) == (len(provider.details("music", task_id)["response"]["sunoData"]), receiver.bodies)


def test_duplicates_arrive_twice_alike(provider: Running, receiver: Receiver) -> None:
    """Each stage comes twice with the same body."""
    provider.sandbox.next("music", callbacks="duplicate")
    provider.ended(provider.accepted("music", receiver.url))
    assert ["text", "text", "first", "first", "complete", "complete"] == receiver.stages()
    assert receiver.bodies[0] == receiver.bodies[1]


def test_reordered_stages_come_last_first(provider: Running, receiver: Receiver) -> None:
    """Complete, then first, then text."""
    provider.sandbox.next("music", callbacks="reordered")
    provider.ended(provider.accepted("music", receiver.url))
    assert ["complete", "first", "text"] == receiver.stages()


def test_music_can_skip_its_early_stages(provider: Running, receiver: Receiver) -> None:
    """last_only sends complete alone (provider-api 6.3)."""
    provider.sandbox.next("music", callbacks="last_only")
    provider.ended(provider.accepted("music", receiver.url))
    assert ["complete"] == receiver.stages()


def test_late_callbacks_come_long_after_the_end(provider: Running, receiver: Receiver) -> None:
    """Details say SUCCESS while nothing was sent; the callback comes 120 s of work later."""
    song = provider.song()
    provider.sandbox.next("wav", callbacks="late")
    provider.sandbox.speed = 300
    task_id = provider.accepted("wav", receiver.url, **song)
    while provider.job(task_id)["outcome"] == "pending":
        assert not receiver.bodies
    assert not receiver.bodies
    provider.ended(task_id)
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize("word", ["null", "no_data", "other_id_key", "other_url_key", "no_link"])
def test_bodies_can_be_spoilt(provider: Running, receiver: Receiver, word: str) -> None:
    """The WAV's body loses its data, changes the spelling of a key, or has no usable link."""
    song = provider.song()
    provider.sandbox.next("wav", callbacks=word)
    task_id = provider.accepted("wav", receiver.url, **song)
    provider.ended(task_id)
    body = receiver.bodies[0]
    if word in ("null", "no_data"):
        assert body.get("data", "absent") == (None if word == "null" else "absent")
        return
    keys = {"other_id_key": {"audioWavUrl", "taskId"}, "other_url_key": {"audio_wav_url", "task_id"}}
    assert keys.get(word, {"audioWavUrl", "task_id"}) == set(body["data"])
    assert (word == "no_link") == (not str(body["data"].get("audioWavUrl", "http")).startswith("http"))


@pytest.mark.parametrize(("word", "expected"), [("wrong_signature", "invalid"), ("stale_signature", "stale")])
def test_signatures_can_be_wrong_or_old(
    start: Callable[..., Running], receiver: Receiver, word: str, expected: str
) -> None:
    """A verifier with the right key calls the one invalid and the other stale."""
    provider = start("kie", manners=Manners(webhook_key="webhook"))
    provider.sandbox.next("music", callbacks=word)
    task_id = provider.accepted("music", receiver.url)
    provider.ended(task_id)
    assert verify(receiver.headers[0], task_id, "webhook", time.time()) == expected


def link(provider: Running, media: str, **more: int) -> str:
    """Return the link of a WAV whose media misbehaves."""
    song = provider.song()
    provider.sandbox.next("wav", media=media, **more)
    task_id = provider.accepted("wav", **song)
    provider.ended(task_id)
    return str(provider.details("wav", task_id)["response"]["audioWavUrl"])


def test_truncated_media_announces_more_than_it_sends(provider: Running) -> None:
    """The connection ends in the middle, for `answers` requests; then the file is whole."""
    url = link(provider, "truncated", answers=2)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            provider.get(url)
    assert provider.get(url).content.startswith(b"wav")


def test_media_can_be_an_error_page(provider: Running) -> None:
    """The page comes with status 200 and text/html, for `answers` requests."""
    url = link(provider, "html", answers=1)
    page, file = provider.get(url), provider.get(url)
    assert (200, "text/html") == (page.status_code, page.headers["Content-Type"].split(";")[0])
    assert file.headers["Content-Type"] == "audio/wav"


def test_a_film_can_be_a_gigabyte(provider: Running) -> None:
    """However often one asks there are 10**9 bytes: the film, then one box of padding; other kinds are as ever."""
    song = provider.song()
    provider.sandbox.always(media="large", answers=1)
    links = {}
    for kind, key in (("video", "videoUrl"), ("wav", "audioWavUrl")):
        task_id = provider.accepted(kind, **song)
        provider.ended(task_id)
        links[kind] = str(provider.details(kind, task_id)["response"][key])
    film = len(b"video" + BYTES)
    head, wav = provider.get(links["video"], headers={"Range": f"bytes=0-{film + 7}"}), provider.get(links["wav"])
    tail = provider.get(links["video"], headers={"Range": "bytes=-5", "If-Range": head.headers["ETag"]})

    assert b"video" + BYTES + struct.pack(">I4s", 10**9 - film, b"free") == head.content
    assert (206, "bytes 999999995-999999999/1000000000") == (tail.status_code, tail.headers["Content-Range"])
    assert b"wav" + BYTES == wav.content


@pytest.mark.parametrize(("word", "status"), [("forbidden", 403), ("expired", 404)])
def test_media_can_be_gone_for_good(provider: Running, word: str, status: int) -> None:
    """However often one asks."""
    url = link(provider, word, answers=1)
    assert {status} == {provider.get(url).status_code for _ in range(5)}


def test_slow_media_arrives_whole_and_slowly(provider: Running) -> None:
    """10 kB take a third of a second at 32 kB a second."""
    answer = provider.get(link(provider, "slow"))
    assert answer.content.startswith(b"wav") and len(answer.content) == int(answer.headers["Content-Length"])
    assert answer.elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize("word", ["outage", "null", "no_link"])
def test_details_can_fail_for_a_while(provider: Running, receiver: Receiver, word: str) -> None:
    """The first `answers` answers are an HTTP 500, have no data, or no usable link; then all is well."""
    provider.sandbox.next("music", details=word, answers=2)
    task_id = provider.accepted("music", receiver.url)
    provider.ended(task_id)
    reports = []
    for _ in range(3):
        answer = provider.http.get(KINDS["music"].details_path, params={"taskId": task_id})
        reports.append(parse_details("music", provider.dialect, answer.status_code, answer.content))
    expected = {"outage": "unreadable", "null": "missing", "no_link": "pending"}[word]
    assert reports[2].state == "succeeded"
    assert {expected} == {report.state for report in reports[:2]} or word == "outage"
    assert "succeeded" not in {report.state for report in reports[:2]}


def test_a_lost_answer_costs_and_works_all_the_same(provider: Running, receiver: Receiver) -> None:
    """The connection ends without an answer, the job is charged, made and called back."""
    before = provider.sandbox.creates
    provider.sandbox.next("music", submit="lost_answer")
    with pytest.raises(httpx.RemoteProtocolError):
        provider.submit("music", receiver.url)
    assert (before + 1, 988.0) == (provider.sandbox.creates, provider.sandbox.credits)
    provider.ended(provider.sandbox.jobs()[-1]["task_id"])
    assert receiver.bodies[-1]["data"]["callbackType"] == "complete"


def test_submissions_can_be_refused_in_words_or_by_code(provider: Running) -> None:
    """rate_limited and no_credits are the dialect's codes; any documented code may be asked for; nothing is charged."""
    before, song = provider.sandbox.creates, provider.song()
    rate, credits = (430, 429) if provider.dialect == "sunoapi" else (429, 402)
    for asked, code in (("rate_limited", rate), ("no_credits", credits), (455, 455)):
        provider.sandbox.next("music", submit=asked)
        assert provider.submit("music").json()["code"] == code
    provider.sandbox.next("cover_image", submit="no_credits")
    assert provider.submit("cover_image", **song).json()["code"] == 402
    assert (before + 1, 988.0) == (provider.sandbox.creates, provider.sandbox.credits)


def test_the_next_task_id_can_be_chosen(provider: Running) -> None:
    """A documented id can be given to a job, once."""
    provider.sandbox.next("music", task_id="taskId_774b9aa0422f")
    assert provider.accepted("music") == "taskId_774b9aa0422f"
    with pytest.raises(InvalidInput, match="an id no job has yet"):
        provider.sandbox.next("video", task_id="taskId_774b9aa0422f")


def test_every_word_is_explained() -> None:
    """Each word has a sentence, and the sentence of the client names each word."""
    from kit.sandbox.admin import Sandbox

    told = Sandbox.__doc__ or ""
    assert [] == [word for words in WORDS.values() for word in words if f'"{word}"' not in told]
    assert all(sentence for words in WORDS.values() for sentence in words.values())

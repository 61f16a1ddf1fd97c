"""What the front desk refuses, with which code on which layer, and what it charges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kit.provider.kinds import KINDS
from kit.sandbox.desk import Rules
from tests.sandbox.running import Running

A, B = "sunoapi", "kie"
LONG = "x" * 6000


def test_a_missing_callback_url_is_refused_as_observed(provider: Running) -> None:
    """Without callBackUrl B answers HTTP 200 with 422 "Please enter callBackUrl.", A 400 (provider-api 1.2, 15.3)."""
    request = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "rain"}
    answer = provider.http.post(KINDS["music"].submit_path, json=request)
    code = 422 if provider.dialect == B else 400
    assert (200, {"code": code, "msg": "Please enter callBackUrl.", "data": None}) == (
        answer.status_code,
        answer.json(),
    )


@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "/callback", "ftp://127.0.0.1/x", "http://[::bad", "http://a:99999/x", "http://a b"]
)
def test_a_callback_url_that_is_none_is_refused(provider: Running, url: str) -> None:
    """What is no http or https URL gets the validation code, names the field, and costs nothing."""
    answer = provider.submit("music", url).json()
    assert (400 if provider.dialect == A else 422) == answer["code"]
    assert "callBackUrl" in answer["msg"] and provider.sandbox.credits == 1000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000])
def test_a_body_that_is_no_json_object_is_400(provider: Running, body: bytes) -> None:
    """What is not a JSON object is refused with 400 in both dialects."""
    assert provider.http.post(KINDS["wav"].submit_path, content=body).json()["code"] == 400


@pytest.mark.parametrize(
    ("dialect", "request_", "code"),
    [
        (A, {"style": LONG}, 413),
        (B, {"style": LONG}, 422),
        (A, {"title": "t" * 101}, 413),
        (B, {"title": "t" * 81}, 422),
        (A, {"model": "V4", "style": "s" * 201}, 413),
        (A, {"customMode": False, "instrumental": False, "prompt": "p" * 501}, 413),
        (B, {"customMode": False, "instrumental": False, "prompt": "p" * 3001}, 422),
        (A, {"customMode": False}, 400),
        (A, {"instrumental": False}, 400),
        (A, {"customMode": "yes"}, 400),
        (A, {"model": "V9"}, 400),
        (B, {"model": None}, 422),
        (B, {"model": "V3_5"}, 422),
        (A, {"model": "V3_5"}, 200),
        (A, {"vocalGender": "x"}, 400),
        (A, {"styleWeight": 2}, 400),
        (A, {"styleWeight": "1"}, 400),
        (A, {"style": 7}, 400),
    ],
)
def test_musics_limits_are_those_of_the_table(
    shared: dict[str, Running], dialect: str, request_: dict[str, Any], code: int
) -> None:
    """Too long is 413 where the dialect lists it, else its validation code, as is every other wrong parameter."""
    provider = shared[dialect]
    provider.reset()
    assert provider.submit("music", **request_).json()["code"] == code
    assert provider.sandbox.credits == (988 if code == 200 else 1000)


def test_the_longest_allowed_values_pass(provider: Running) -> None:
    """A value of exactly the limit is accepted."""
    assert provider.submit("music", style="s" * 1000, title="t" * 80).json()["code"] == 200
    song = provider.song()
    assert provider.submit("video", **song, author="a" * 50, domainName="d" * 50).json()["code"] == 200


@pytest.mark.parametrize("field", ["author", "domainName"])
def test_video_texts_have_fifty_characters(provider: Running, field: str) -> None:
    """51 characters of author or domainName are refused with the validation code (provider-api 3.1)."""
    answer = provider.submit("video", **provider.song(), **{field: "x" * 51}).json()
    assert (400 if provider.dialect == A else 422) == answer["code"]
    assert field in answer["msg"] and "50" in answer["msg"]


def test_unknown_or_unfinished_sources_are_refused(provider: Running) -> None:
    """A song or track that is not there, or not finished, is A 400, B 422; cover's page has 422 in both."""
    song, code = provider.song(), 400 if provider.dialect == A else 422
    provider.sandbox.speed = 0.01
    unfinished = {"taskId": provider.accepted("music"), "audioId": "x"}
    for request in ({**song, "taskId": "none"}, {**song, "audioId": "none"}, unfinished, {"taskId": song["taskId"]}):
        assert provider.submit("wav", **request).json()["code"] == code
    assert provider.submit("cover_image", taskId="none").json()["code"] == 422


def test_a_repeated_job_returns_the_one_that_exists(provider: Running) -> None:
    """WAV 409, video 409 (A) or 422 (B), cover 400, each with the first id and no charge; music never (1.5)."""
    song, video = provider.song(), 409 if provider.dialect == A else 422
    for kind, code in {"wav": 409, "video": video, "cover_image": 400}.items():
        first = provider.accepted(kind, **song)
        credits = provider.sandbox.credits
        again = provider.submit(kind, "http://127.0.0.1:9/elsewhere", **song).json()
        assert (code, {"taskId": first}) == (again["code"], again["data"])
        assert "already" in again["msg"]
        assert credits == provider.sandbox.credits
    assert provider.accepted("music") != provider.accepted("music")


def test_the_two_takes_of_a_song_are_not_duplicates(provider: Running) -> None:
    """WAV and video are known by task and track together."""
    song = provider.song()
    other = provider.job(song["taskId"])["audio_ids"][1]
    provider.accepted("wav", **song)
    provider.accepted("wav", **{**song, "audioId": other})


def test_a_duplicates_id_can_be_left_out(start: Callable[..., Running]) -> None:
    """With tell_duplicates off the answer is the code alone, as the pages leave open (provider-api 1.5)."""
    provider = start(A, rules=Rules(burst=1000, tell_duplicates=False))
    song = provider.song()
    provider.accepted("wav", **song)
    assert provider.submit("wav", **song).json()["data"] is None


def test_a_failed_job_may_be_bought_again(provider: Running) -> None:
    """A job that failed does not stand in the way of another try."""
    song = provider.song()
    provider.sandbox.next("wav", code=500)
    assert provider.ended(provider.accepted("wav", **song))["outcome"] == "failed"
    assert provider.ended(provider.accepted("wav", **song))["outcome"] == "succeeded"


def test_every_kind_costs_its_price(provider: Running) -> None:
    """The balance falls by the table's price at submission."""
    song = provider.song()
    for kind, request in {"music": {}, "video": song, "wav": song, "cover_image": song}.items():
        before = provider.sandbox.credits
        provider.accepted(kind, **request)
        assert before - KINDS[kind].credits[provider.dialect] == pytest.approx(provider.sandbox.credits)


def test_too_low_a_balance_is_refused_with_the_dialects_code(provider: Running) -> None:
    """A says 429 (402 for a cover asked to fail so), B 402, and nothing is created (provider-api 1.3)."""
    before, provider.sandbox.credits = provider.sandbox.creates, 11.9
    answer = provider.submit("music")
    assert (200, 429 if provider.dialect == A else 402) == (answer.status_code, answer.json()["code"])
    assert (before, 11.9) == (provider.sandbox.creates, provider.sandbox.credits)


def test_the_twenty_first_submission_in_ten_seconds_is_refused(start: Callable[..., Running]) -> None:
    """20 pass whatever the speed; then A answers body 430, B HTTP 429 and body 429 (provider-api 13.2)."""
    for dialect, status, code in ((A, 200, 430), (B, 429, 429)):
        provider = start(dialect, rules=Rules())
        answers = [provider.submit("music") for _ in range(21)]
        assert [200] * 20 == [answer.json()["code"] for answer in answers[:20]]
        assert (status, code) == (answers[20].status_code, answers[20].json()["code"])


def test_the_rate_window_slides(start: Callable[..., Running]) -> None:
    """Once the window has passed, submissions are accepted again."""
    provider = start(A, rules=Rules(burst=1, window_s=0.2))
    codes = [provider.submit("music").json()["code"] for _ in range(2)]
    assert [200, 430] == codes
    while (code := provider.submit("music").json()["code"]) != 200:
        assert code == 430

"""Callbacks: the documented bodies, the receiver's limit, retries, giving up, signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.provider.kinds import KINDS
from kit.provider.signing import verify
from kit.sandbox.callbacks import Manners
from tests.sandbox.running import IMPATIENT, Receiver, Running, until

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "callbacks"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.json"))


def shape(value: Any) -> Any:
    """Return a body's keys in their order, and the types of their values, through every level."""
    if isinstance(value, dict):
        return [(key, shape(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [shape(each) for each in value]
    return float if type(value) is int else type(value)


def sample(name: str) -> tuple[str, str, str, dict[str, Any]]:
    """Return dialect, kind, stage and body of a documented callback."""
    kind = next(kind for kind in KINDS if f"-{kind}" in name)
    dialect, _, stage = name.partition(f"-{kind}-")
    return dialect, kind, stage, json.loads((SAMPLES / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_documented_body_is_sent_as_it_stands(shared: dict[str, Running], receiver: Receiver, name: str) -> None:
    """Keys, their order, types, code and msg of what arrives are those of the committed sample."""
    dialect, kind, stage, body = sample(name)
    provider = shared[dialect]
    provider.reset()
    song = {} if kind == "music" else provider.song()
    words: dict[str, Any] = {"code": body["code"]} if body["code"] != 200 else {}
    if stage == "zh-success":
        words["callbacks"] = "other_url_key"  # its code is on both pages, so the other spelling has to be asked for
    if words:
        provider.sandbox.next(kind, **words)
    provider.ended(provider.accepted(kind, receiver.url, **song))
    wanted = {"error-400": "error", "error-501": "error"}.get(stage, stage) if kind == "music" else None
    sent = next(each for each in receiver.bodies if each["data"].get("callbackType") == wanted)
    assert (body["code"], body["msg"], shape(body)) == (sent["code"], sent["msg"], shape(sent))


def test_there_is_a_sample_for_each_kind_and_dialect() -> None:
    """Success and failure of every kind in both dialects are among the samples."""
    found = {(*sample(name)[:2], sample(name)[3]["code"] == 200) for name in NAMES}
    assert {
        (dialect, kind, good) for dialect in ("sunoapi", "kie") for kind in KINDS for good in (True, False)
    } == found


@pytest.mark.parametrize(("code", "key"), [(400, "audio_wav_url"), (500, "audioWavUrl"), (501, "audio_wav_url")])
def test_kies_wav_failures_have_the_key_of_the_page_that_lists_them(
    shared: dict[str, Running], receiver: Receiver, code: int, key: str
) -> None:
    """400 and 501 are on the Chinese page alone, 500 on both (provider-api 4.3)."""
    provider = shared["kie"]
    provider.reset()
    song = provider.song()
    provider.sandbox.next("wav", code=code)
    provider.ended(provider.accepted("wav", receiver.url, **song))
    assert [key, "task_id"] == list(receiver.bodies[0]["data"])


def test_callbacks_carry_the_new_tasks_id_and_working_links(provider: Running, receiver: Receiver) -> None:
    """A derived job is called back under its own id, and the callback's link is the details' (provider-api 1.4)."""
    song = provider.song()
    task_id = provider.accepted("wav", receiver.url, **song)
    provider.ended(task_id)
    data = receiver.bodies[0]["data"]
    assert task_id == data["task_id"] != song["taskId"]
    assert provider.details("wav", task_id)["response"]["audioWavUrl"] == data["audioWavUrl"]
    assert receiver.headers[0]["content-type"] == "application/json"


def test_musics_stages_come_in_order(provider: Running, receiver: Receiver) -> None:
    """Text, first and complete arrive once each."""
    provider.ended(provider.accepted("music", receiver.url))
    assert ["text", "first", "complete"] == receiver.stages()
    assert [0, 1, 2] == [len(body["data"]["data"]) for body in receiver.bodies]


def test_anything_but_200_is_tried_again(provider: Running, receiver: Receiver) -> None:
    """204, 301 and 500 count as refusals; the fourth try is the last and may still succeed (provider-api 10)."""
    song = provider.song()
    receiver.answers = [204, 301, 500, 200]
    job = provider.ended(provider.accepted("wav", receiver.url, **song))
    assert ["204", "301", "500", "200"] == [each["answer"] for each in job["deliveries"]]
    assert job["state"] == "SUCCESS"


def test_after_three_retries_it_stops_and_keeps_the_result(provider: Running, receiver: Receiver) -> None:
    """Four refusals end in CALLBACK_EXCEPTION with the result in the details (provider-api 15.8)."""
    song = provider.song()
    receiver.answers = [500] * 9
    task_id = provider.accepted("wav", receiver.url, **song)
    job = provider.ended(task_id)
    assert (4, "CALLBACK_EXCEPTION") == (len(job["deliveries"]), job["state"])
    assert provider.details("wav", task_id)["response"]["audioWavUrl"].startswith(provider.base)


def test_an_outage_at_one_stage_loses_that_stage_alone(provider: Running, receiver: Receiver) -> None:
    """Four refusals of text lose text; first and complete arrive, and the job is no exception (provider-api 10)."""
    provider.sandbox.speed = 20  # first comes 1.5 s after text, whose tries take a tenth of a second
    receiver.answers = [500] * 4
    task_id = provider.accepted("music", receiver.url)
    until(lambda: len(provider.job(task_id)["deliveries"]) == 4)
    provider.sandbox.speed = 5000
    job = provider.ended(task_id)
    assert ["text"] * 4 + ["first", "complete"] == receiver.stages()
    assert job["state"] == "SUCCESS"


def test_later_stages_do_not_wait_for_the_retries_of_earlier_ones(
    start: Callable[..., Running], receiver: Receiver
) -> None:
    """While text has a minute to wait, first and complete are delivered; text alone is left."""
    provider = start(manners=Manners(gaps_s=(60.0,)))
    receiver.answers = [500]
    task_id = provider.accepted("music", receiver.url)
    until(lambda: provider.job(task_id)["undelivered"] == ["text"] and len(receiver.bodies) == 3)
    assert ["text", "first", "complete"] == receiver.stages()
    assert provider.details("music", task_id)["status"] == "SUCCESS"


def test_only_a_lost_last_stage_is_a_callback_exception(start: Callable[..., Running], receiver: Receiver) -> None:
    """Text and first arrive, complete is refused for good: CALLBACK_EXCEPTION with both takes."""
    provider = start(manners=Manners(gaps_s=(0.01, 0.01)))
    receiver.answers = [200, 200, 500, 500, 500]
    task_id = provider.accepted("music", receiver.url)
    assert provider.ended(task_id)["state"] == "CALLBACK_EXCEPTION"
    assert ["text", "first", "complete", "complete", "complete"] == receiver.stages()
    assert len(provider.details("music", task_id)["response"]["sunoData"]) == 2


def test_a_cover_has_no_word_for_a_failed_delivery(provider: Running) -> None:
    """Cover's integers stay at 1, and B's MP4 page knows no CALLBACK_EXCEPTION (provider-api 3.2, 5.2)."""
    song = provider.song()
    expected = "SUCCESS" if provider.dialect == "kie" else "CALLBACK_EXCEPTION"
    assert provider.ended(provider.accepted("cover_image", **song))["state"] == "1"
    assert provider.ended(provider.accepted("video", **song))["state"] == expected


def test_a_slow_receiver_counts_as_a_timeout(start: Callable[..., Running], receiver: Receiver) -> None:
    """A receiver that does not answer within the limit is tried again, whatever the speed."""
    provider = start(manners=Manners(limit_s=0.05, gaps_s=(0.01,)))
    song = provider.song()
    receiver.silent_s = 0.3
    job = provider.ended(provider.accepted("wav", receiver.url, **song))
    assert ["timeout", "timeout"] == [each["answer"] for each in job["deliveries"]]


def test_the_documented_manners_are_the_default() -> None:
    """15 s, then three retries with growing gaps (provider-api 10)."""
    assert (15.0, (2.0, 4.0, 8.0)) == (Manners().limit_s, Manners().gaps_s)


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/noop", "http://127.0.0.1:9/x"])
def test_an_impossible_callback_url_ends_like_a_refusal(start: Callable[..., Running], url: str) -> None:
    """People send dummy URLs and poll (provider-api 10): the job succeeds and ends undeliverable."""
    provider = start()
    assert provider.ended(provider.accepted("music", url))["state"] == "CALLBACK_EXCEPTION"


def test_kie_signs_and_sunoapi_does_not(start: Callable[..., Running], receiver: Receiver) -> None:
    """B's two headers verify with the task's id; A sends none (provider-api 12)."""
    for dialect, expected in (("kie", "valid"), ("sunoapi", "none")):
        receiver.bodies.clear()
        receiver.headers.clear()
        key = "webhook" if dialect == "kie" else None
        provider = start(dialect, manners=Manners(webhook_key=key))
        task_id = provider.accepted("music", receiver.url)
        provider.ended(task_id)
        now = float(receiver.headers[0].get("x-webhook-timestamp", 0))
        assert verify(receiver.headers[0], task_id, "webhook", now) == expected


def test_undelivered_callbacks_go_on_after_a_restart(start: Callable[..., Running], receiver: Receiver) -> None:
    """What was in the outbox when the provider ended is delivered by the next run, each stage with the tries left."""
    first = start(manners=Manners(gaps_s=(60.0, 60.0, 60.0)))
    receiver.answers = [500] * 6
    task_id = first.accepted("music", receiver.url)
    until(lambda: len(first.job(task_id)["deliveries"]) == 3 and first.job(task_id)["outcome"] == "succeeded")
    first.close()
    job = start(manners=IMPATIENT).ended(task_id)
    assert [2 + 1] * 3 == [receiver.stages().count(stage) for stage in ("text", "first", "complete")]
    assert (["500"] * 6 + ["200"] * 3, "SUCCESS") == ([each["answer"] for each in job["deliveries"]], job["state"])

"""The routes: envelopes, keys, details of each kind, media with Range."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from kit.provider.kinds import CREDITS_PATH, KINDS, Dialect
from kit.provider.wire import parse_details, parse_submit
from tests.sandbox.running import BYTES, Receiver, Running, until

COMMON = "taskId callbackUrl completeTime response successFlag createTime errorCode errorMessage"
DETAILS = {
    "music": "taskId parentMusicId param response status type operationType errorCode errorMessage",
    "video": f"{COMMON} musicId musicIndex",
    "cover_image": f"{COMMON} parentTaskId",
}


def test_a_wrong_key_is_401_on_the_layer_each_dialect_uses(provider: Running) -> None:
    """A says so with HTTP 200 and body 401, B with HTTP 401 and body 401 (provider-api 15.2)."""
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "sandbox-key"}):
        answer = httpx.get(provider.base + CREDITS_PATH[provider.dialect], headers=headers, trust_env=False)
        assert (401 if provider.dialect == "kie" else 200) == answer.status_code
        assert answer.json()["code"] == 401


def test_unknown_paths_and_methods_answer_the_documented_envelope(provider: Running) -> None:
    """A wrong path is HTTP 404, a wrong method HTTP 405, both with body 404."""
    for method, path, status in (("GET", "/api/v1/wav/query", 404), ("GET", "/api/v1/wav/generate", 405)):
        answer = provider.http.request(method, path)
        assert (status, 404, None) == (answer.status_code, answer.json()["code"], answer.json()["data"])


def test_each_dialect_has_its_own_balance_path(provider: Running) -> None:
    """The balance is a bare number on the dialect's path and nothing on the other's (provider-api 9.1)."""
    other: Dialect = "kie" if provider.dialect == "sunoapi" else "sunoapi"
    assert provider.http.get(CREDITS_PATH[provider.dialect]).json() == {"code": 200, "msg": "success", "data": 1000}
    assert provider.http.get(CREDITS_PATH[other]).status_code == 404


def test_the_kits_own_reader_finds_every_kind_succeeded(provider: Running) -> None:
    """What the server answers is read as accepted, then as succeeded with links, for all four kinds."""
    song = provider.song()
    requests = {"music": {}, "video": {**song, "author": "Ada"}, "wav": song, "cover_image": {"taskId": song["taskId"]}}
    for kind, request in requests.items():
        answer = provider.submit(kind, **request)
        read = parse_submit(kind, provider.dialect, answer.status_code, answer.content)
        assert read.outcome == "accepted" and re.fullmatch(r"[0-9a-f]{32}", read.task_id or "")
        provider.ended(read.task_id or "")
        body = provider.http.get(KINDS[kind].details_path, params={"taskId": read.task_id or ""})
        report = parse_details(kind, provider.dialect, 200, body.content)
        expected = {"music": 4, "cover_image": 2}.get(kind, 1)
        assert ("succeeded", expected) == (report.state, len(report.links))


def test_details_have_exactly_the_documented_fields(provider: Running) -> None:
    """Each kind answers the fields of provider-api 3.2, 4.2, 5.2 and 6.2, and response is null until success."""
    song, wav = provider.song(), DETAILS["video"]
    wanted = DETAILS | {"wav": wav if provider.dialect == "kie" else wav.replace(" musicIndex", "")}
    provider.sandbox.speed = 0.01
    for kind, fields in wanted.items():
        task_id = provider.accepted(kind, **({} if kind == "music" else song))
        early = provider.details(kind, task_id)
        assert set(fields.split()) == set(early)
        assert early["response"] is None
        assert early.get("callbackUrl", "http://127.0.0.1:9/nobody") == "http://127.0.0.1:9/nobody"


def test_times_are_written_as_each_kind_writes_them(provider: Running) -> None:
    """Video: epoch ms in A, naive in B; WAV naive; cover ISO with Z; null until complete (provider-api 14.17)."""
    song = provider.song()
    naive = r"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'"
    forms = {"video": r"\d{13}" if provider.dialect == "sunoapi" else naive, "wav": naive}
    forms["cover_image"] = r"'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z'"
    for kind, form in forms.items():
        task_id = provider.accepted(kind, **song)
        provider.ended(task_id)
        data = provider.details(kind, task_id)
        assert re.fullmatch(form, repr(data["createTime"])) and re.fullmatch(form, repr(data["completeTime"]))


def test_a_covers_success_has_error_code_200_and_an_integer_flag(provider: Running) -> None:
    """Cover: 0, then 2, then 1, with errorCode 200 and an empty message (provider-api 5.2)."""
    song = provider.song()
    provider.sandbox.speed = 300
    task_id = provider.accepted("cover_image", taskId=song["taskId"])
    flags: list[int] = []

    def done() -> bool:
        flags.append(provider.details("cover_image", task_id)["successFlag"])
        return flags[-1] == 1

    until(done)
    data = provider.details("cover_image", task_id)
    assert (200, "", song["taskId"]) == (data["errorCode"], data["errorMessage"], data["parentTaskId"])
    assert list(dict.fromkeys(flags)) in ([0, 2, 1], [2, 1])


def test_music_goes_through_its_four_states_with_its_takes(provider: Running, receiver: Receiver) -> None:
    """PENDING and TEXT_SUCCESS have no response, FIRST_SUCCESS has one take, SUCCESS two (provider-api 6.2)."""
    provider.sandbox.speed = 200
    task_id = provider.accepted("music", receiver.url)
    seen: dict[str, int] = {}

    def done() -> bool:
        data = provider.details("music", task_id)
        seen[data["status"]] = len((data["response"] or {"sunoData": []})["sunoData"])
        return data["status"] == "SUCCESS"

    until(done)
    assert {"PENDING": 0, "TEXT_SUCCESS": 0, "FIRST_SUCCESS": 1, "SUCCESS": 2} == seen


def test_the_wrong_kinds_details_find_nothing(provider: Running) -> None:
    """A task asked for at another kind's endpoint, or an unknown one, has no data (provider-api 1.4)."""
    task_id = provider.accepted("music")
    assert provider.details("video", task_id) is None
    assert provider.details("music", "0" * 32) is None


def test_details_without_a_task_id_are_a_bad_request(provider: Running) -> None:
    """No taskId, or an empty one, is the kind's validation code and not an unknown task."""
    for kind in KINDS.values():
        code = 422 if provider.dialect == "kie" or kind.name == "cover_image" else 400
        for params in ({}, {"taskId": ""}):
            answer = provider.http.get(kind.details_path, params=params).json()
            assert (code, "taskId cannot be empty", None) == (answer["code"], answer["msg"], answer["data"])


@pytest.mark.parametrize(
    ("range_", "status"),
    [
        ("bytes=5-2", 200),
        ("bytes=99999-5", 200),
        ("bytes=0-1,5-2", 200),
        ("bytes=abc", 200),
        ("bytes=", 200),
        ("bytes=-", 200),
        ("lines=0-1", 200),
        ("nonsense", 200),
        ("bytes=0-", 206),
        ("bytes=-5", 206),
        ("bytes=3-999999", 206),
        ("bytes=99999-", 416),
        ("bytes=99999-100000", 416),
        ("bytes=-0", 416),
    ],
)
def test_an_invalid_range_is_ignored(provider: Running, range_: str, status: int) -> None:
    """What is no range is answered in full, what lies beyond the end with 416 (RFC 9110, 14.2 and 15.5.17)."""
    take = provider.details("music", provider.song()["taskId"])["response"]["sunoData"][0]
    answer = provider.get(take["audioUrl"], headers={"Range": range_})
    assert status == answer.status_code
    assert status != 200 or answer.content == b"mp3" + BYTES
    assert status != 416 or answer.headers["Content-Range"] == f"bytes */{len(BYTES) + 3}"


def test_media_is_served_whole_and_by_range(provider: Running) -> None:
    """A link answers its type and length, a Range answers 206, and names look like the documented ones."""
    data = provider.details("music", provider.song()["taskId"])["response"]["sunoData"][0]
    whole = provider.get(data["audioUrl"])
    assert (200, "audio/mpeg", b"mp3" + BYTES) == (whole.status_code, whole.headers["Content-Type"], whole.content)
    part = provider.get(data["audioUrl"], headers={"Range": "bytes=3-12"})
    assert (206, BYTES[:10]) == (part.status_code, part.content)
    assert provider.get(data["streamAudioUrl"]).content == whole.content
    assert re.search(r"/media/s/\d{10}_[0-9a-f]{32}\.png$", data["imageUrl"])


def test_media_is_not_there_before_its_stage(start: Callable[..., Running]) -> None:
    """A file that the job has not shown yet answers 404, as does any invented name."""
    provider = start(speed=0.01)
    provider.accepted("music")
    for name in ("s/nothing.mp3", "../sandbox.sqlite", "%2e%2e/sandbox.sqlite"):
        assert provider.get(f"{provider.base}/media/{name}").status_code == 404


def test_the_balance_answers_while_media_is_being_made(start: Callable[..., Running]) -> None:
    """Making files does not hold up the loop: the balance comes back in well under a second."""

    def slow(recipe: dict[str, object]) -> tuple[bytes, float]:
        for _ in range(2000):
            sum(range(10_000))
        return b"x", 1.0

    provider = start(maker=slow)
    provider.accepted("music")
    assert provider.http.get(CREDITS_PATH["sunoapi"]).elapsed.total_seconds() < 2


@pytest.mark.parametrize("field", ["audioUrl", "imageUrl"])
def test_a_success_never_links_to_a_missing_file(provider: Running, field: str) -> None:
    """Every link of a finished song answers 200 the moment the details show it."""
    takes = provider.details("music", provider.song()["taskId"])["response"]["sunoData"]
    assert [200, 200] == [provider.get(take[field]).status_code for take in takes]

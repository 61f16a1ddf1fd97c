"""Answers and deliveries become facts: one test for each row of provider-api 14, and the duplicate rule."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kit.provider.kinds import DIALECTS, KINDS, Dialect
from kit.provider.wire import Report, parse_delivery, parse_details, parse_submit, sort_delivery

URL = "https://example.com/a.bin"
AUDIO = {"id": "a1", "audio_url": URL}


def heard(kind: str | None, data: object, code: object = 200, dialect: Dialect = "sunoapi", **more: object) -> Report:
    """Return the report of a callback with these parts."""
    return parse_delivery(kind, dialect, json.dumps({"code": code, "msg": "m", "data": data} | more).encode())


def asked(kind: str, data: object, code: object = 200, http: int = 200, dialect: Dialect = "sunoapi") -> Report:
    """Return the report of a details answer with these parts."""
    return parse_details(kind, dialect, http, json.dumps({"code": code, "msg": "success", "data": data}).encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["task_id", "taskId"])
def test_row_01_both_id_keys_count_nested_and_on_top(kind: str, key: str) -> None:
    """Either spelling of the id is read in data and beside it, and two that differ make the body malformed."""
    assert heard(kind, {key: "t"}).task_id == "t"
    assert heard(kind, {}, **{key: "t"}).task_id == "t"
    assert heard(kind, {key: "t"}, taskId="t").task_id == "t"
    clash = heard(kind, {"task_id": "t", "taskId": "u", "video_url": URL})
    assert (clash.state, clash.task_id) == ("unreadable", None)
    assert "two ids disagree" in clash.notes
    assert heard(kind, {key: "t"}, task_id="u").state == "unreadable"


def test_row_01_an_undocumented_id_key_is_noted() -> None:
    """An id under the other key is used, and the notes say so."""
    assert "the id is not under data.task_id as documented" in heard("wav", {"taskId": "t", "audioWavUrl": URL}).notes
    assert heard("wav", {"task_id": "t", "audioWavUrl": URL}).notes == ()


@pytest.mark.parametrize("data", [{"audioWavUrl": URL}, {"audio_wav_url": URL}, {"response": {"audioWavUrl": URL}}])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_row_02_the_wav_link_in_any_spelling(data: dict[str, Any], dialect: Dialect) -> None:
    """Camel, snake and nested WAV links are the same link."""
    for report in (heard("wav", data, dialect=dialect), asked("wav", data | {"successFlag": "SUCCESS"})):
        assert (report.state, report.links[0].urls) == ("succeeded", (URL,))


@pytest.mark.parametrize(
    "data",
    [{"video_url": URL}, {"videoUrl": URL}, {"response": {"videoUrl": URL}}, {"response": {"video_url": URL}}],
)
def test_row_03_the_video_link_in_both_places(data: dict[str, Any]) -> None:
    """Both spellings of the video link are read in callback and details."""
    for report in (heard("video", data), asked("video", data | {"successFlag": "SUCCESS"})):
        assert (report.state, report.links[0].role, report.links[0].urls) == ("succeeded", "video", (URL,))


def test_row_04_stems_are_not_taken_for_a_kind_of_ours() -> None:
    """A vocal separation's callback, a type this table does not have, is sorted to none and stays harmless."""
    for key in ("vocal_removal_info", "vocal_separation_info"):
        report = heard(None, {"task_id": "t", key: {"vocal_url": URL}})
        assert (report.state, report.task_id, report.links) == ("pending", "t", ())


@pytest.mark.parametrize("stage", ["complete", "error", "first"])
def test_row_05_the_code_decides_and_not_callback_type(stage: str) -> None:
    """A failing code is a failure whatever callbackType says, and "error" with 200 is no failure."""
    assert heard("music", {"callbackType": stage, "data": [AUDIO]}, code=501).state == "failed"
    assert heard("music", {"callbackType": "error", "data": None}).state == "pending"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", [1, "1", "SUCCESS", "success", 1.0])
def test_row_06_success_in_every_spelling(kind: str, word: object) -> None:
    """1, "1" and SUCCESS in any case are a success for each type."""
    assert asked(kind, _done(kind) | {KINDS[kind].status_field: word}).state == "succeeded"


def _done(kind: str) -> dict[str, Any]:
    results = {
        "music": {"sunoData": [{"id": "a", "audioUrl": URL}]},
        "video": {"videoUrl": URL},
        "cover_image": {"images": [URL]},
        "wav": {"audioWavUrl": URL},
    }
    return {"taskId": "t", "response": results[kind]}


@pytest.mark.parametrize(
    ("flag", "state"), [(0, "pending"), (1, "succeeded"), (2, "pending"), (3, "failed"), ("2", "pending")]
)
def test_row_06_cover_integers(flag: object, state: str) -> None:
    """Cover's successFlag is 0 pending, 1 success, 2 generating, 3 failed."""
    assert state == asked("cover_image", _done("cover_image") | {"successFlag": flag}).state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["DONE", 7, -1, "2.5", True, [], {"a": 1}, None, ""])
def test_row_06_an_unknown_state_is_pending_and_noted(kind: str, word: object) -> None:
    """An unknown status is never a success: it stays pending, with a note."""
    report = asked(kind, _done(kind) | {KINDS[kind].status_field: word})
    assert report.state == "pending"
    assert any(note.startswith(("unknown state", "no status")) for note in report.notes)


def test_row_06_two_is_unknown_elsewhere() -> None:
    """The integer 2 means generating for covers and nothing known for the others."""
    assert "unknown state '2'" in asked("video", _done("video") | {"successFlag": 2}).notes


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", "pending"),
        ("SUCCESS", "succeeded"),
        ("CREATE_TASK_FAILED", "failed"),
        ("GENERATE_COVER_FAILED", "failed"),
    ],
)
def test_row_07_cover_words_count_too(word: str, state: str) -> None:
    """The string states of cover's prose are read beside its integers."""
    assert state == asked("cover_image", _done("cover_image") | {"successFlag": word}).state


@pytest.mark.parametrize("error", [200, 0, "", None, "200"])
def test_row_08_an_error_code_is_no_failure_by_itself(error: object) -> None:
    """200, 0, "" and null in errorCode are no error, and only the status makes a failure."""
    extra = {"errorCode": error, "errorMessage": ""}
    assert asked("cover_image", _done("cover_image") | {"successFlag": 1} | extra).state == "succeeded"
    failed = asked("cover_image", {"successFlag": 3} | extra)
    assert (failed.state, failed.code, failed.message) == ("failed", None, None)


def test_row_08_a_failed_status_carries_its_error_code() -> None:
    """The errorCode and errorMessage of a failed task decide code and message, also as text."""
    data = {"successFlag": "GENERATE_WAV_FAILED", "errorCode": "451", "errorMessage": "no audio"}
    report = asked("wav", data)
    assert (
        report.state,
        report.code,
        report.message,
        report.stage,
    ) == ("failed", 451, "no audio", "GENERATE_WAV_FAILED")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [400, 401, 408, 429, 451, 500, 501, 531, 999, "501"])
def test_row_09_any_other_code_is_a_failure_that_keeps_its_number(kind: str, code: object) -> None:
    """Each code but 200 fails the callback and is kept as a number."""
    report = heard(kind, {"task_id": "t"}, code=code)
    assert ("failed", int(str(code)), "m") == (report.state, report.code, report.message)


@pytest.mark.parametrize("kind", [*KINDS, None])
@pytest.mark.parametrize(
    "data",
    [None, {}, [], "x", 7, {"video_url": None}, {"images": None}, {"data": None}, {"data": []}, {"error": "why"}],
)
def test_row_10_failure_data_of_any_shape(kind: str | None, data: object) -> None:
    """A failure is read whatever its data is, without an id where there is none."""
    report = heard(kind, data, code=500)
    assert (report.state, report.task_id, report.code) == ("failed", None, 500)


def test_row_10_missing_data_and_error_text() -> None:
    """A body without data is a failure, and an error text stands in for a missing msg."""
    assert parse_delivery("video", "kie", b'{"code": 500, "msg": "m"}').state == "failed"
    body = b'{"code": 501, "data": {"callbackType": "error", "task_id": "t", "error": "why"}}'
    assert parse_delivery("music", "kie", body).message == "why"


@pytest.mark.parametrize(
    "link", ["video_url_847715e66259", "", None, "ftp://a/b", "//a/b", "http://", "javascript:1", 7]
)
def test_row_11_success_without_a_usable_link_stays_pending(link: object) -> None:
    """200 with a missing, empty or non-http link is asked again, in callback and details."""
    for report in (
        heard("video", {"task_id": "t", "video_url": link}),
        asked("video", {"taskId": "t", "successFlag": "SUCCESS", "response": {"videoUrl": link}}),
        heard("cover_image", {"taskId": "t", "images": [link]}),
        asked("music", {"status": "SUCCESS", "response": {"sunoData": [{"audioUrl": link}]}}),
        asked("music", {"status": "SUCCESS", "response": {"sunoData": []}}),
        asked("wav", {"successFlag": "SUCCESS", "response": None}),
    ):
        assert (report.state, report.links) == ("pending", ())
        assert "no usable link" in report.notes


def test_row_11_one_usable_cover_is_enough() -> None:
    """Of several images the usable ones keep their index."""
    report = heard("cover_image", {"taskId": "t", "images": ["soon", URL]})
    assert (report.state, [link.index for link in report.links]) == ("succeeded", [1])


def test_row_12_code_zero_counts_with_a_result_only() -> None:
    """0 is a success where a link or a task id is there, and is noted; numeric strings are numbers."""
    good = heard("video", {"task_id": "t", "video_url": URL}, code=0)
    assert good.state == "succeeded"
    assert any("code 0" in note for note in good.notes)
    assert heard("video", {"task_id": "t", "video_url": None}, code=0).state == "pending"
    assert heard("video", {"task_id": "t", "video_url": URL}, code="200").state == "succeeded"
    assert parse_submit("video", "kie", 200, b'{"code": 0, "msg": "", "data": {"taskId": "t"}}').outcome == "accepted"
    assert parse_submit("video", "kie", 200, b'{"code": 0, "msg": "", "data": null}').outcome == "unknown"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_row_13_a_429_submission_is_rejected_with_its_code(dialect: Dialect) -> None:
    """429 creates no task in either dialect, in either layer; its meaning is the table's business."""
    for http, body in ((200, b'{"code": 429, "msg": "x", "data": null}'), (429, b"slow down"), (429, b"{}")):
        answer = parse_submit("video", dialect, http, body)
        assert (answer.outcome, answer.task_id) == ("rejected", None)


DUPLICATES = [
    ("wav", 409, "WAV record already exists", None),
    ("video", 409, "Mp4 record already exists", "old"),
    ("video", 422, "Mp4 record already exists", None),
    ("cover_image", 400, "cover", "old"),
    ("cover_image", 409, "Cover record already exists", None),
    ("cover_image", 400, "Cover already generated", None),
    ("wav", 409, "WAV 记录已存在", None),
    ("wav", 409, "", None),
]


@pytest.mark.parametrize(("kind", "code", "msg", "task_id"), DUPLICATES)
@pytest.mark.parametrize("http", [200, None])
def test_row_14_duplicates(kind: str, code: int, msg: str, task_id: str | None, http: int | None) -> None:
    """400, 409 and 422 with an id or an "already" message are duplicates, in either layer, and name the old id."""
    body = json.dumps({"code": code, "msg": msg, "data": {"taskId": task_id} if task_id else None}).encode()
    answer = parse_submit(kind, "kie", http or code, body)
    assert ("duplicate", task_id, code) == (answer.outcome, answer.task_id, answer.code)


@pytest.mark.parametrize(("kind", "code"), [("video", 400), ("cover_image", 400), ("wav", 422), ("music", 409)])
def test_row_14_a_plain_refusal_is_no_duplicate(kind: str, code: int) -> None:
    """The same codes with neither id nor such a message are refusals."""
    body = json.dumps({"code": code, "msg": "Please enter callBackUrl.", "data": None}).encode()
    assert parse_submit(kind, "kie", 200, body).outcome == "rejected"


@pytest.mark.parametrize(("row", "code"), [(15, 451), (16, 408)])
def test_rows_15_and_16_are_failures_that_keep_their_code(row: int, code: int) -> None:
    """451 and 408 fail the task in both dialects, whatever their page calls them."""
    for dialect in DIALECTS:
        report = heard("cover_image", {"taskId": "t", "images": None}, code=code, dialect=dialect)
        assert ("failed", code) == (report.state, report.code)


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        (1735661400000, datetime(2024, 12, 31, 16, 10, tzinfo=UTC)),
        ("1735661400000", datetime(2024, 12, 31, 16, 10, tzinfo=UTC)),
        (1735661400, datetime(2024, 12, 31, 16, 10, tzinfo=UTC)),
        ("2025-01-15T10:35:27.000Z", datetime(2025, 1, 15, 10, 35, 27, tzinfo=UTC)),
        ("2025-01-15T18:35:27+08:00", datetime(2025, 1, 15, 10, 35, 27, tzinfo=UTC)),
        ("2025-01-01 00:10:00", None),
        ("soon", None),
        (10**18, None),
        (-1, None),
        (True, None),
    ],
)
def test_row_17_times(written: object, instant: datetime | None) -> None:
    """All three time formats are read, and one without a zone is kept as text and not converted."""
    report = asked("video", _done("video") | {"successFlag": "SUCCESS", "completeTime": written})
    assert instant == report.completed_at
    if isinstance(written, str) and instant is None:
        assert any(written in note for note in report.notes)


def test_row_17_create_time_of_an_item() -> None:
    """The camel createTime inside snake items is read."""
    report = heard("music", {"callbackType": "complete", "data": [AUDIO | {"createTime": 1786343609818}]})
    assert report.created_at == datetime(2026, 8, 10, 6, 33, 29, 818000, UTC)


def test_row_18_retention_is_bounded_below_by_14_days() -> None:
    """No type keeps its media for less than the 14 days that expiry is estimated with."""
    assert min(days for kind in KINDS.values() for days in kind.retention_days.values()) == 14


@pytest.mark.parametrize("kind", KINDS)
def test_row_19_callback_exception_with_a_result_is_a_success(kind: str) -> None:
    """CALLBACK_EXCEPTION says that the delivery failed; with a link the task succeeded, without it is undelivered."""
    field = KINDS[kind].status_field
    assert asked(kind, _done(kind) | {field: "CALLBACK_EXCEPTION"}).state == "succeeded"
    assert asked(kind, {"taskId": "t", field: "CALLBACK_EXCEPTION", "response": None}).state == "undelivered"


def test_row_19_a_song_stopped_early_is_not_done() -> None:
    """CALLBACK_EXCEPTION while one take has only a stream link is not taken for the whole song."""
    takes = [{"id": "a", "audioUrl": URL}, {"id": "b", "audioUrl": "", "streamAudioUrl": URL}]
    assert asked("music", {"status": "CALLBACK_EXCEPTION", "response": {"sunoData": takes}}).state == "undelivered"


@pytest.mark.parametrize("kind", KINDS)
def test_row_20_words_of_the_quickstart(kind: str) -> None:
    """GENERATING is pending and FAILED is a failure."""
    field = KINDS[kind].status_field
    assert asked(kind, {field: "GENERATING"}).state == "pending"
    assert asked(kind, {field: "FAILED"}).state == "failed"


def test_row_21_takes_in_either_list_and_spelling() -> None:
    """sunoData with camel keys and data with snake keys give the same takes."""
    camel = {"sunoData": [{"id": "a", "audioUrl": URL, "streamAudioUrl": "https://s/", "duration": "9.5"}]}
    snake = {"data": [{"id": "a", "audio_url": URL, "stream_audio_url": "https://s/", "duration": 9.5}]}
    one, two = (asked("music", {"status": "SUCCESS", "response": response}) for response in (camel, snake))
    assert (one.takes, one.links, one.state) == (two.takes, two.links, "succeeded")
    assert (
        one.takes[0].audio_id,
        one.takes[0].duration_s,
        one.takes[0].audio_url,
        one.takes[0].stream_url,
    ) == ("a", 9.5, URL, "https://s/")


@pytest.mark.parametrize("word", ["TEXT_SUCCESS", "FIRST_SUCCESS", "PENDING"])
def test_row_22_only_success_is_complete(word: str) -> None:
    """Intermediate states with links stay pending, in details and as callback stages."""
    assert asked("music", _done("music") | {"status": word}).state == "pending"
    assert heard("music", {"callbackType": word.split("_", maxsplit=1)[0].lower(), "data": [AUDIO]}).state == "pending"
    assert heard("music", {"callbackType": "complete", "data": [AUDIO]}).state == "succeeded"


@pytest.mark.parametrize("code", [400, 401, 429, 451, 500])
def test_row_23_the_union_of_wav_codes(code: int) -> None:
    """Old and new WAV pages' codes are failures alike."""
    assert heard("wav", {"audioWavUrl": None, "task_id": "t"}, code=code).state == "failed"


@pytest.mark.parametrize("data", [[], None, {}, [{"id": "a", "audio_url": ""}]])
def test_row_25_the_text_stage_in_any_shape(data: object) -> None:
    """The text stage may carry an empty list, null or items without audio."""
    assert heard("music", {"callbackType": "text", "task_id": "t", "data": data}).state == "pending"


def test_row_26_the_kind_is_not_taken_from_the_message() -> None:
    """A WAV wording on a video's answer changes nothing but the message."""
    answer = parse_submit("video", "kie", 200, b'{"code": 409, "msg": "WAV record already exists", "data": null}')
    assert (answer.outcome, answer.message) == ("duplicate", "WAV record already exists")


@pytest.mark.parametrize(
    "message", ["success", "MP4 generated successfully.", "生成完成", "failed", "", None, 7, ["x"]]
)
def test_row_28_the_message_decides_nothing(message: object) -> None:
    """Whatever msg says, code and link decide."""
    assert heard("video", {"task_id": "t", "video_url": URL}, msg=message).state == "succeeded"
    assert heard("video", {"task_id": "t", "video_url": None}, code=500, msg=message).state == "failed"


def test_rows_27_and_29_reports_are_values() -> None:
    """The same body read twice is equal, so that repeats can be told: order is the fold's business."""
    body = json.dumps({"code": 200, "msg": "m", "data": {"task_id": "t", "video_url": URL}}).encode()
    assert parse_delivery("video", "kie", body) == parse_delivery("video", "kie", body)


def test_a_wrapped_shape_with_two_equal_ids_and_task_completed() -> None:
    """The shape of the signature page, id on top and nested and callbackType task_completed, is accepted."""
    data = {"task_id": "t", "callbackType": "task_completed", "data": [AUDIO]}
    report = heard("music", data, taskId="t")
    assert (report.state, report.task_id, report.stage) == ("succeeded", "t", "task_completed")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"video_url": None}, "video"),
        ({"videoUrl": URL}, "video"),
        ({"audioWavUrl": None}, "wav"),
        ({"audio_wav_url": None}, "wav"),
        ({"images": None}, "cover_image"),
        ({"callbackType": "error"}, "music"),
        ({"callbackType": "complete", "data": [{"text": "la"}]}, None),
        ({"task_id": "t"}, None),
        (None, None),
    ],
)
def test_sorting_by_keys(data: object, kind: str | None) -> None:
    """One URL for all types is sorted by the keys that are present, null or not (provider-api 10.1)."""
    assert kind == sort_delivery(json.dumps({"code": 500, "data": data}).encode())


def test_direct_links_come_before_streams() -> None:
    """The several URLs of one take are alternatives: files first, streams last, each once (provider-api 17)."""
    item = {
        "stream_audio_url": "https://s/1",
        "source_stream_audio_url": "https://s/2",
        "audio_url": "https://d/1",
        "source_audio_url": "https://d/1",
        "image_url": "https://i/1",
    }
    report = heard("music", {"callbackType": "complete", "data": [item]})
    assert [(link.role, link.index, link.urls) for link in report.links] == [
        ("audio", 0, ("https://d/1", "https://s/1", "https://s/2")),
        ("image", 0, ("https://i/1",)),
    ]


@pytest.mark.parametrize(
    ("http", "code", "state"),
    [(200, 200, "missing"), (404, 404, "missing"), (200, 422, "missing"), (401, 401, "unreadable")],
)
def test_details_without_data(http: int, code: int, state: str) -> None:
    """data null is a task not visible yet; a refusal of the request says nothing about the task."""
    body = json.dumps({"code": code, "msg": "recordInfo is null", "data": None}).encode()
    report = parse_details("video", "kie", http, body)
    assert (state, code) == (report.state, report.code)


def test_a_details_success_under_a_failing_envelope_is_not_taken() -> None:
    """Success counts only under code 200 and an HTTP status below 400 (provider-api 1.2)."""
    done = _done("video") | {"successFlag": "SUCCESS"}
    assert asked("video", done, code=500).state == "pending"
    assert asked("video", done, http=502).state == "pending"
    assert asked("video", {"successFlag": "GENERATE_MP4_FAILED"}, code=500).state == "failed"


SUBMITS = [
    (200, {"code": 200, "msg": "success", "data": {"taskId": "t"}}, "accepted"),
    (200, {"code": "200", "data": {"task_id": "t"}}, "accepted"),
    (200, {"code": 200, "msg": "success", "data": None}, "unknown"),
    (200, {"code": 422, "msg": "Please enter callBackUrl.", "data": None}, "rejected"),
    (200, {"code": 500, "msg": "Server error", "data": None}, "rejected"),
    (401, {"code": 401, "msg": "You do not have access permissions"}, "rejected"),
    (503, {"code": 455, "msg": "maintenance"}, "rejected"),
    (500, {"code": 500, "msg": "Server error", "data": None}, "unknown"),
    (502, {}, "unknown"),
    (408, {}, "unknown"),
    (200, {}, "unknown"),
]


@pytest.mark.parametrize(("http", "body", "outcome"), SUBMITS)
def test_submit_outcomes(http: int, body: dict[str, Any], outcome: str) -> None:
    """Rejected means that surely no task was created; unknown that one may have been."""
    answer = parse_submit("video", "kie", http, json.dumps(body).encode())
    assert (outcome, http) == (answer.outcome, answer.http_status)
    assert ("t" if outcome == "accepted" else None) == answer.task_id


@pytest.mark.parametrize(
    ("http", "outcome"),
    [(200, "unknown"), (302, "rejected"), (403, "rejected"), (413, "rejected"), (408, "unknown"), (504, "unknown")],
)
def test_a_submit_answer_without_json(http: int, outcome: str) -> None:
    """A proxy's refusal created nothing; its time-out or error page may hide a task."""
    assert outcome == parse_submit("video", "kie", http, b"<html>").outcome


def test_a_403_without_json_is_the_edge_and_not_the_key() -> None:
    """HTTP 403 with a plain body says that the edge refused the client (provider-api 1.1)."""
    for message in (
        parse_submit("video", "kie", 403, b"error code: 1010").message,
        parse_details("video", "kie", 403, b"error code: 1010").message,
    ):
        assert message is not None
        assert message.startswith("edge refused the client")


def test_text_from_the_network_is_capped_and_storable() -> None:
    """Messages keep 2,000 characters at most, and a lone surrogate becomes a replacement character."""
    report = parse_delivery("video", "kie", b'{"code": 500, "msg": "a\\ud800b' + b"x" * 5000 + b'"}')
    assert report.message is not None
    assert (len(report.message), report.message[:4]) == (2000, "a\ufffdbx")
    report.message.encode()


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b"{}", b'{"a": 1}', b"[" * 9999]
)
def test_junk_is_unreadable(body: bytes) -> None:
    """What is no callback is unreadable, with a note, and never an exception."""
    report = parse_delivery("video", "kie", body)
    assert report.state == "unreadable"
    assert report.notes

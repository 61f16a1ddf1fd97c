"""Nothing from the network raises: properties over arbitrary JSON and bytes, and the known tricks."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.provider.kinds import DIALECTS, KINDS, Dialect
from kit.provider.reading import MAX_BODY, MAX_VALUES, load, number, usable_url, whole
from kit.provider.wire import Report, parse_delivery, parse_details, parse_submit, redact, sort_delivery

KEYS = st.sampled_from(
    [
        "code", "msg", "data", "task_id", "taskId", "response", "sunoData", "callbackType", "status", "successFlag",
        "video_url", "videoUrl", "audioWavUrl", "audio_wav_url", "images", "audio_url", "id", "duration", "errorCode",
        "errorMessage", "createTime", "completeTime", "callBackUrl", "param",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    ["SUCCESS", "complete", "CALLBACK_EXCEPTION", "https://a.b/c", "http://[", "\ud800", "200", "1e9"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | WORDS
    | st.sampled_from([200, 0, 2**63, 1e308])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=6),
    max_leaves=25,
)
ENVELOPES = st.fixed_dictionaries(
    {"code": LEAVES, "data": st.dictionaries(KEYS, VALUES, max_size=8) | VALUES}, optional={"msg": LEAVES}
)
KIND = st.sampled_from(list(KINDS))
DIALECT = st.sampled_from(DIALECTS)
STATUS = st.integers(100, 599)


def read_every_way(kind: str, dialect: Dialect, status: int, body: bytes) -> list[Report]:
    """Read `body` as everything it might be, check that the texts can be stored, and return the reports."""
    answer = parse_submit(kind, dialect, status, body)
    reports = [
        parse_delivery(kind, dialect, body),
        parse_delivery(None, dialect, body),
        parse_details(kind, dialect, status, body),
    ]
    sort_delivery(body)
    for text in (redact(body), answer.body, answer.message, answer.task_id):
        (text or "").encode()
    for report in reports:
        repr(report).encode()
        json.dumps([report.message, report.stage, report.notes, report.task_id], ensure_ascii=False).encode()
        assert report.code is None or abs(report.code) < 2**31
        assert len(report.message or "") <= 2000
        assert report.state != "succeeded" or report.links
        assert all(usable_url(url) for link in report.links for url in link.urls)
    return reports


@settings(max_examples=300, deadline=None)
@given(KIND, DIALECT, STATUS, VALUES | ENVELOPES, st.booleans())
def test_any_json_is_read(kind: str, dialect: Dialect, status: int, value: Any, escape: bool) -> None:
    """Arbitrary JSON, also with NaN, lone surrogates and huge numbers, gives a report and storable text."""
    body = json.dumps(value, ensure_ascii=escape).encode("utf-8", "surrogatepass")
    read_every_way(kind, dialect, status, body)


@settings(max_examples=200, deadline=None)
@given(KIND, DIALECT, STATUS, st.binary(max_size=300))
def test_any_bytes_are_read(kind: str, dialect: Dialect, status: int, body: bytes) -> None:
    """Arbitrary bytes, plain and behind the marks of gzip and of a BOM, give a report."""
    for start in (b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\xef\xbb\xbf", b"\xff\xfe", b'{"code": '):
        read_every_way(kind, dialect, status, start + body)


TRICKS = {
    "deep list": b"[" * 200_000,
    "deep object": b'{"data":' * 50_000,
    "deep and closed": b'{"code":200,"data":' + b"[" * 900 + b"]" * 900 + b"}",
    "5,000 digits": b'{"code": ' + b"9" * 5000 + b', "data": {}}',
    "5,000 digits as text": b'{"code": "'
    + b"9" * 5000
    + b'", "data": {"taskId": "t", "createTime": "'
    + b"9" * 5000
    + b'"}}',
    "NaN": b'{"code": NaN, "data": {"duration": -Infinity, "createTime": 1e999}}',
    "2^63": b'{"code": 9223372036854775808, "data": {"completeTime": 9223372036854775808}}',
    "surrogate": b'{"code": 500, "msg": "\\udc80", "data": {"task_id": "\\ud800", "video_url": "https://a/\\ud800"}}',
    "true is no code": b'{"code": true, "data": {"task_id": true}}',
    "nul": b'{"code": 500, "msg": "a\\u0000b"}',
    "utf-16": '{"code": 500}'.encode("utf-16"),
    "cut": b'{"code": 200, "data": {"task_id": "t", "video_url": "https://a/',
    "backslashes": b"\\" * 100_000,
    "callback keys": b'"callBackUrl":"' * 20_000,
    "quadratic duplicates": b'{"a":1,"a":' * 500 + b"1" + b"}" * 500,
}


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("kind", KINDS)
def test_tricks(trick: str, kind: str) -> None:
    """Each known trick gives a report that is no success."""
    for report in read_every_way(kind, "kie", 200, TRICKS[trick]):
        assert report.state != "succeeded"


GOOD = b'{"code": 200, "msg": "success", "data": {"task_id": "t", "video_url": "https://a.b/c.mp4"}}'


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + GOOD,
        gzip.compress(GOOD),
        GOOD.decode().encode("utf-16"),
        b"\n " + GOOD + b"\r\n",
        GOOD.replace(b'"msg"', b'"size": NaN, "n": ' + b"7" * 5000 + b', "msg"'),
        GOOD.replace(b"{", b'{"code": 200, ', 1),
    ],
)
def test_odd_clothes_do_not_hide_a_success(body: bytes) -> None:
    """BOM, gzip, UTF-16, white space, a NaN or a huge number elsewhere, and an equal duplicate key change nothing."""
    report = parse_delivery("video", "kie", body)
    assert (report.state, report.task_id) == ("succeeded", "t")


def test_a_key_twice_with_two_values_is_noted_and_for_ids_refused() -> None:
    """Two parsers may read such a body differently: it is said, and where the id is meant nothing is believed."""
    twice = parse_delivery("video", "kie", GOOD.replace(b"{", b'{"msg": "other", ', 1))
    assert "key 'msg' appears twice with different values" in twice.notes
    ids = parse_delivery("video", "kie", GOOD.replace(b'{"task_id"', b'{"task_id": "u", "task_id"'))
    assert (ids.state, ids.task_id) == ("unreadable", None)


@pytest.mark.parametrize("value", [b"1", b"[]", b"{}", b"1e9", b'"a"', b"NaN"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_a_body_of_too_many_values_is_set_aside_unread(value: bytes, coding: str) -> None:
    """A kilobyte that unfolds into hundreds of thousands of values is not built; what answers really hold is."""
    many = b",".join([value] * (MAX_VALUES + 1)).decode().encode(coding)
    few = b",".join([value] * (MAX_VALUES // 4)).decode()

    document = load(gzip.compress(("[" + many.decode(coding) + "]").encode(coding)))

    assert document.value is None
    assert (f"the body holds more than {MAX_VALUES} values",) == document.notes
    assert MAX_VALUES // 4 == len(load(f"[{few}]".encode()).value)


def test_a_gzip_bomb_is_cut() -> None:
    """What unpacks to more than the cap is not read."""
    assert load(gzip.compress(b" " * (40 * MAX_BODY))).value is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(200, 200), ("200", 200), (" 200 ", 200), (200.0, 200), (True, None), ("2e2", None), ("٢", None), (2**31, None),
     (200.5, None), (float("nan"), None), (None, None), ([], None), ("-1", -1)],
)  # fmt: skip
def test_whole_numbers(value: object, expected: int | None) -> None:
    """Numeric strings and whole floats count as ints; booleans and what does not fit do not."""
    assert expected == whole(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(9.5, 9.5), ("9.5", 9.5), (-1, None), ("inf", None), (True, None), ("x", None), (10**400, None)],
)
def test_numbers(value: object, expected: float | None) -> None:
    """Numbers are finite and not negative."""
    assert expected == number(value)


@pytest.mark.parametrize(
    ("value", "usable"),
    [
        ("https://a.b/c?d=e#f", True),
        ("http://127.0.0.1:8000/x", True),
        ("https://example.com/s/04e6****e727.wav", True),
        ("https://a.b/音乐.mp4", True),
        ("HTTPS://A.B/", True),
        ("https://a b/", False),
        ("https://a.b/\n", True),
        ("https://a\n.b/", False),
        ("https://[::1", False),
        ("https://a:99999/", False),
        ("https:///x", False),
        ("https:\\\\a.b", False),
        ("file:///etc/passwd", False),
        ("data:text/html,x", False),
        ("/x", False),
        ("https://a/" + "x" * 5000, False),
        (None, False),
        (7, False),
    ],
)
def test_usable_links(value: object, usable: bool) -> None:
    """A link is usable where it is absolute http(s) with a host, whole and of bounded length."""
    assert usable == (usable_url(value) is not None)

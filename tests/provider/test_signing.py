"""Callback signatures: the vectors, and what they are worth."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.provider.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, verify
from kit.settings import Secret

# provider-api 12
VECTORS = [
    (
        "21aee3c3c2a01fa5e030b3799fa4dd56",
        1769670760,
        "test-webhook-hmac-key",
        "RzT9hcGcvO0vUlca4+kTewzkO4SN6LV6WW4Fs0WxBlM=",
    ),
    ("988e0000c8d3", 1769670760, "test-webhook-hmac-key", "GxAWnroDsZl99JvL29Opz1VLeveAUxytquVj2dC6QCs="),
    ("task_id_5bbe7721119d", 1700000000, "k", "Z9CykXQ1+9jPcnnZzSBh0VphMto0YIsBbT2WFy45CpY="),
]
NOW = 1_700_000_000


def _headers(task_id: str = "t1", timestamp: object = NOW, key: str = "k") -> dict[str, str]:
    return {TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: sign(task_id, str(timestamp), key)}


@pytest.mark.parametrize(("task_id", "timestamp", "key", "signature"), VECTORS)
def test_vectors(task_id: str, timestamp: int, key: str, signature: str) -> None:
    """The three published vectors come out, with a plain key and a Secret."""
    assert signature == sign(task_id, timestamp, key) == sign(task_id, timestamp, Secret(key))
    headers = {TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: signature}
    assert verify(headers, task_id, Secret(key), timestamp) == "valid"


def test_header_names_compare_without_case() -> None:
    """Lower-cased header names, as servers deliver them, verify too, and a datetime serves as now."""
    headers = {name.lower(): value for name, value in _headers().items()}
    assert verify(headers, "t1", "k", datetime.fromtimestamp(NOW, UTC)) == "valid"


@pytest.mark.parametrize(
    ("expected", "headers", "task_id"),
    [
        ("none", {}, "t1"),
        ("none", {"Content-Type": "application/json"}, None),
        ("invalid", {TIMESTAMP_HEADER: "1700000000"}, "t1"),
        ("invalid", {SIGNATURE_HEADER: "x"}, "t1"),
        ("invalid", _headers("t2"), "t1"),
        ("invalid", _headers(key="other"), "t1"),
        ("invalid", _headers(), None),
        ("invalid", _headers(timestamp="soon"), "t1"),
        ("invalid", _headers(timestamp="-1700000000"), "t1"),
        ("invalid", _headers(timestamp="9" * 5000), "t1"),
        ("invalid", _headers() | {SIGNATURE_HEADER: "ü"}, "t1"),
        ("stale", _headers(timestamp=NOW - 301), "t1"),
        ("stale", _headers(timestamp=NOW + 301), "t1"),
        ("valid", _headers(timestamp=NOW - 300), "t1"),
    ],
)
def test_what_a_signature_is_worth(expected: str, headers: dict[str, str], task_id: str | None) -> None:
    """Missing, half, wrong, foreign, malformed and old signatures are told apart."""
    assert expected == verify(headers, task_id, "k", NOW)


@given(st.text(), st.text(), st.text() | st.none())
def test_verify_never_raises(timestamp: str, signature: str, task_id: str | None) -> None:
    """Whatever the headers hold, there is an answer, and a made-up one is never valid."""
    headers = {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}
    assert verify(headers, task_id, "k", NOW) == "invalid"

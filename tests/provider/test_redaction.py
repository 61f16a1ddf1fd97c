"""Callback URLs and secrets do not stay in text that is kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.provider.redaction import CALLBACK_URL, redact

SECRET_URL = "https://host.example/cb/kR8-secret_secret"


@pytest.mark.parametrize("key", ["callBackUrl", "callbackUrl", "calBackUrl", "CALLBACKURL", "callback_url"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_every_spelling_at_every_depth(key: str, depth: int) -> None:
    """The URL goes and its key stays, however often the object was wrapped into a JSON string."""
    value = json.dumps({"a": 1, key: SECRET_URL, "b": "kept"})
    for _ in range(depth):
        value = json.dumps({"param": value, "other": "kept too"})
    text = redact(value.encode())
    assert "secret" not in text
    assert key in text
    inner = json.loads(text)
    for _ in range(depth):
        inner = json.loads(inner["param"])
    assert inner == {"a": 1, key: CALLBACK_URL, "b": "kept"}


@pytest.mark.parametrize(
    "body",
    [
        '{"callBackUrl" : "https:\\/\\/host\\/cb\\/kR8-secret"}',
        '{"callBackUrl":"https://host/\\"kR8-secret"}',
        '{"callBackUrl":"https://host/cb/kR8-secret',
        '{"callBackUrl":\n"kR8-secret\\',
        '{\'x\': junk, "callbackUrl":"kR8-secret"',
    ],
)
def test_odd_writings(body: str) -> None:
    """Escaped slashes and quotes, a body cut short and a body that is no JSON leak nothing."""
    assert "secret" not in redact(body.encode())


def test_secrets_go_and_the_rest_stays() -> None:
    """Given secrets are replaced, escaped slashes or not, and a body without any is returned as it is."""
    assert redact(b'{"msg": "bad key a/b and a\\/b"}', ["a/b", ""]) == '{"msg": "bad key (secret) and (secret)"}'
    assert redact(b'{"callBackUrl": null, "msg": "\xe9"}') == '{"callBackUrl": null, "msg": "\ufffd"}'


@given(st.recursive(st.text() | st.none(), lambda v: st.dictionaries(st.text(), v) | st.lists(v)), st.booleans())
def test_redacted_json_is_still_json(value: object, wrap: bool) -> None:
    """Redaction changes callback URLs only, so that what was JSON stays JSON."""
    holder = {"callBackUrl": SECRET_URL, "value": value}
    body = json.dumps({"param": json.dumps(holder)} if wrap else holder)
    text = redact(body.encode())
    assert SECRET_URL not in text
    found = json.loads(text)
    assert json.loads(found["param"] if wrap else text)["callBackUrl"] == CALLBACK_URL

"""What may be a public URL, and that nothing of a way tells a secret."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import InvalidInput
from kit.service.ways import Reach
from kit.settings import Secret, checked_url

EITHER = 'tunnel="none"'


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://music.example.org/", "https://music.example.org"),
        ("https://music.example.org/hooks/suno/", "https://music.example.org/hooks/suno"),
        (" https://music.example.org:8443 ", "https://music.example.org:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_a_public_url_keeps_its_path_and_loses_its_last_slash(given_url, expected):
    """A path in front is the person's own; callback URLs are appended to it."""
    assert expected == checked_url(given_url)


@pytest.mark.parametrize(
    "bad",
    [
        "http://music.example.org",
        "ftp://music.example.org",
        "music.example.org",
        "https://",
        "",
        "https://ada:hunter2@music.example.org",
        "https://music.example.org/?key=hunter2",
        "https://music.example.org/#hunter2",
        "https://music.example.org/?",
        "http://127.0.0.1.example.org",
        "https://[::1",
        "https://music.example.org\x00",
        "javascript:alert(1)",
    ],
)
def test_an_url_that_cannot_be_public_is_refused_without_its_secrets(bad):
    """Plain http, credentials, queries and fragments are refused, and what is in them is not repeated."""
    with pytest.raises(InvalidInput) as refused:
        checked_url(bad)

    assert "hunter2" not in str(refused.value)
    assert "public_url=" in str(refused.value)


@given(st.text(max_size=60))
def test_whatever_is_given_as_an_url_is_taken_or_refused(text):
    """No text breaks the check, and what passes is https or this machine."""
    with contextlib.suppress(InvalidInput):
        assert checked_url(text).startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]"))


def test_a_token_makes_no_reach_talkative():
    """A reach with a token prints without it."""
    assert "hunter2" not in repr(Reach(driver="ngrok", token=Secret("hunter2")))
